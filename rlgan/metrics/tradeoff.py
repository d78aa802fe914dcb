"""Whether a generator is better than another in two measures at once, each at the best of its temperatures (17.5).

Cooling buys quality for coverage, so two generators are compared as curves over temperature: one that is ahead at one
temperature of its own of the other at one of its own, in both measures, has gained what no temperature gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Point = tuple[float, float]
"""Two measures of one generator at one temperature, lower is better in both."""


@dataclass(frozen=True, slots=True)
class Lead:
    """One generator at one temperature, better in both measures than another at one.

    Attributes:
        temperature: of the better one.
        other_temperature: of the other.
        gains: by how much it is better, one number a measure, both above 0.
    """

    temperature: float
    other_temperature: float
    gains: Point


def greatest_lead(points: Mapping[float, Point], others: Mapping[float, Point]) -> Lead | None:
    """The clearest case in which one curve lies below and left of another.

    max over τ, τ' of min_i (others[τ']_i − points[τ]_i),   τ' not behind another temperature of `others`

    Only what was measured is compared: between two temperatures a straight line would lie above a curve that bends
    towards 0, and a point of that very curve would seem to be ahead of it. So None does not mean that there is no lead,
    but that none was measured. That `others` is worse at a temperature that nobody would choose is no lead.

    Source: Caccia et al. 2020, section 4: a model is better if its curve is below and left of the other.

    Args:
        points: temperature → measures of the one that may be ahead.
        others: temperature → the same of the other.

    Returns:
        The lead whose smaller gain is greatest; None where there is none. Points that are not finite lead nowhere.
    """
    best: Lead | None = None
    for temperature, point in points.items():
        for other_temperature, other in others.items():
            if any(_is_ahead(chosen, other) for chosen in others.values()):
                continue
            gains = (other[0] - point[0], other[1] - point[1])
            if _is_ahead(point, other) and (best is None or min(gains) > min(best.gains)):
                best = Lead(temperature, other_temperature, gains)
    return best


def _is_ahead(point: Point, other: Point) -> bool:
    return point[0] < other[0] and point[1] < other[1]
