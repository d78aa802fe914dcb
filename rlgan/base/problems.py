"""What is wrong with a combination of settings: which rule, at which settings, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

UNSHOWN = object()
"""In the place of a value that a problem does not show."""


class Shown(str):
    """In the place of a value, words that are shown as they are."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """A combination of settings that cannot work, or in which a setting would have no effect.

    Attributes:
        code: names the rule; it stays the same however the sentence is put.
        at: dotted path → value of the settings that contradict the others, the one to change first in the first place.
        text: what is the matter, what is allowed, and what to do.
    """

    code: str
    at: Mapping[str, Any]
    text: str

    @property
    def message(self) -> str:
        """The whole sentence, which begins with the settings."""
        shown = (path if value is UNSHOWN else f"{path}={_shown(value)}" for path, value in self.at.items())
        return f"{', '.join(shown)}: {self.text}"


class ContradictionError(ConfigError):
    """Settings that cannot stand beside each other.

    Args:
        problem: what is wrong.
        message: in the place of the problem's own, where something else is wrong, too.

    Attributes:
        problem: as above.
    """

    def __init__(self, problem: Problem, message: str | None = None) -> None:
        fields = {path: None if value is UNSHOWN else value for path, value in problem.at.items()}
        super().__init__(problem.message if message is None else message, code=problem.code, fields=fields)
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, str(self))


def _shown(value: Any) -> str:
    if isinstance(value, Shown):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)
