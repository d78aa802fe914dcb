"""What a search may try of a setting, written beside the setting; what no search tries, with the reason.

    dropout: Annotated[float, Uniform(0.0, 0.5)] = 0.25

Priors are data. Whoever searches draws from them by a quantile, so that one number in [0, 1) is one value whatever the
prior, or turns them into the words of a library.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, all alike likely.

    Attributes:
        values: in an order that means nothing.
    """

    values: tuple[Any, ...]

    def quantile(self, level: float) -> Any:
        """The value at a level in [0, 1)."""
        return self.values[int(level * len(self.values))]

    def examples(self) -> tuple[Any, ...]:
        """Every value."""
        return self.values


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between two numbers.

    Attributes:
        low: least.
        high: greatest.
    """

    low: float
    high: float

    def quantile(self, level: float) -> float:
        """The value at a level in [0, 1)."""
        return self.low + level * (self.high - self.low)

    def examples(self) -> tuple[float, ...]:
        """Both ends and the middle."""
        return (self.low, self.quantile(0.5), self.high)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Uniform in the logarithm between two positive numbers.

    Attributes:
        low: least.
        high: greatest.
    """

    low: float
    high: float

    def quantile(self, level: float) -> float:
        """The value at a level in [0, 1)."""
        return math.exp(math.log(self.low) + level * (math.log(self.high) - math.log(self.low)))

    def examples(self) -> tuple[float, ...]:
        """Both ends and the geometric middle."""
        return (self.low, self.quantile(0.5), self.high)


Prior = Choice | Uniform | LogUniform


def read_prior(text: str) -> Prior:
    """A prior as `repr` wrote it, for whoever keeps one as text; nothing is evaluated.

    Raises:
        ValueError: it is none.
    """
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("is not a prior")
        values = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
        return {"Choice": Choice, "Uniform": Uniform, "LogUniform": LogUniform}[call.func.id](**values)
    except (SyntaxError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r}: is not a prior ({error}).") from None


@dataclass(frozen=True, slots=True)
class NotSearched:
    """A setting that no search varies, or a variant of an axis that none chooses.

    Where a base has such a variant, those of its settings that carry priors may be searched all the same.

    Attributes:
        reason: why, in a clause.
    """

    reason: str
