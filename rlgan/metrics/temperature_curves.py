"""Reverse against forward KL divergence of one generator at many temperatures, and what lies between two such curves.

A generator that is cooled gives up coverage for quality. Two generators are compared fairly at equal forward
divergence, each at the temperature that it needs for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlgan.base.errors import ShapeError

Point = tuple[float, float]
"""Forward KL(oracle‖generator), reverse KL(generator‖oracle), nats a token, of a generator at one temperature."""


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats on both sides, by rising forward and falling reverse divergence.

    Args:
        points: of one generator, at least one; finite.

    Raises:
        ShapeError: there are none, or one is not finite.
    """
    if not points or not np.isfinite(np.asarray(points, dtype=np.float64)).all():
        raise ShapeError(
            f"points={points!r}: expected at least one point, and finite divergences.",
            code="points_not_finite",
            fields={"points": list(points)},
        )
    kept: list[Point] = []
    for forward, reverse in sorted(points):
        if not kept or reverse < kept[-1][1]:
            kept.append((forward, reverse))
    return kept


def mean_gain(run: Sequence[Point], other: Sequence[Point], beside: Sequence[Sequence[Point]] = ()) -> float | None:
    """How far the reverse divergence of a run lies below another's at equal forward divergence, on average.

        (1/(b - a)) ∫_a^b (R_other(f) - R_run(f)) df

    R is a frontier, linear between its points, and beyond its end as low as there: what is reached at less forward
    divergence is reached at more. So [a, b] begins where the last frontier begins, and ends where the last one ends.

    Args:
        run: points of the run's generator, one a temperature.
        other: points of the other's.
        beside: of further generators, whose frontiers count for [a, b]; so that several gains are of one range.

    Returns:
        Nats a token, positive where the run is better; None where that range has no more than one point.
    """
    curves = [np.asarray(frontier(points), dtype=np.float64) for points in (run, other, *beside)]
    low, high = (max(curve[end, 0] for curve in curves) for end in (0, -1))
    if not low < high:
        return None
    # Linear between all corners, so that the trapezoids are exact.
    corners = np.concatenate([curve[:, 0] for curve in curves[:2]])
    at = np.unique(np.concatenate([[low, high], corners[(corners > low) & (corners < high)]]))
    mine, theirs = (np.interp(at, curve[:, 0], curve[:, 1]) for curve in curves[:2])
    return float(np.trapezoid(theirs - mine, at) / (high - low))


def share_of_gain(run: Sequence[Point], continued: Sequence[Point], ceiling: Sequence[Point]) -> float | None:
    """Share of what the exact ratio gains over more maximum likelihood that a run gains, at equal forward divergence.

    Args:
        run: points of the run.
        continued: of as many updates of maximum likelihood.
        ceiling: of as many updates by the exact density ratio.

    Returns:
        0: no better than maximum likelihood at any temperature, 1: as good as the exact ratio; None where the three
        have no range in common, or the exact ratio gains nothing there.
    """
    gained = mean_gain(run, continued, beside=(ceiling,))
    there_is = mean_gain(ceiling, continued, beside=(run,))
    if gained is None or there_is is None or not there_is > 0:
        return None
    return gained / there_is
