"""How the values of a dimension lie: numbers on a linear or logarithmic scale, and levels without an order.

Read off the points of the trials, so that results of a folder and of a server are treated alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..space.spaces import Point

_LOG_FROM = 50.0  # greatest over least number; draws from two decades do not quite reach both ends


@dataclass(frozen=True, slots=True)
class Scale:
    """Of one dimension. A dimension may have numbers and levels at once, such as a size that may be null.

    Attributes:
        dimension: its name.
        low: least number; NaN where no value is a number.
        high: greatest number.
        log: whether numbers are distinguished by their logarithm.
        levels: every value that is no finite number, by its label, in an order that does not depend on the trials'.
    """

    dimension: str
    low: float
    high: float
    log: bool
    levels: tuple[str, ...]

    @property
    def has_numbers(self) -> bool:
        """Whether any value is a number."""
        return not math.isnan(self.low)

    def number(self, value: Any) -> float | None:
        """Where a number stands: itself, or its decimal logarithm; None for a level."""
        if not _is_number(value):
            return None
        return math.log10(value) if self.log else float(value)


def scale(dimension: str, points: Iterable[Point]) -> Scale:
    """The scale of a dimension.

    Args:
        dimension: its name.
        points: of all trials; those in which it is not active have no say.
    """
    values = [point[dimension] for point in points if dimension in point]
    numbers = [float(value) for value in values if _is_number(value)]
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    levels = {label(value) for value in values if not _is_number(value)}
    # Words by the alphabet; lists, which have brackets, by their length.
    in_order = sorted(levels, key=lambda text: (len(text) if text.startswith("[") else 0, text))
    return Scale(dimension, low, high, _is_log(numbers), tuple(in_order))


def label(value: Any) -> str:
    """A value as it is shown: a word as it is, a number in short, anything else as JSON."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def _is_log(numbers: Sequence[float]) -> bool:
    """Whether numbers span decades, and lie more evenly in them: many drawn evenly from 0 to 1 span decades too."""
    if not numbers or min(numbers) <= 0 or max(numbers) / min(numbers) <= _LOG_FROM:
        return False
    low, middle, high = min(numbers), median(numbers), max(numbers)
    linear = (middle - low) / (high - low)
    logarithmic = math.log(middle / low) / math.log(high / low)
    return abs(logarithmic - 0.5) < abs(linear - 0.5)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
