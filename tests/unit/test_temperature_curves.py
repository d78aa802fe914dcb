"""What lies between curves of forward and reverse divergence: by hand, and where nothing can be said."""

from __future__ import annotations

import math

import pytest

from rlgan.base.errors import ShapeError
from rlgan.metrics.temperature_curves import frontier, mean_gain, share_of_gain
from tests.support.errors import refused

MLE = [(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)]


def test_a_frontier_drops_what_another_point_beats() -> None:
    points = [(2.0, 1.0), (1.0, 2.0), (1.5, 2.5), (2.0, 1.5), (3.0, 1.0), (4.0, 0.25)]
    assert frontier(points) == [(1.0, 2.0), (2.0, 1.0), (4.0, 0.25)]


def test_a_curve_moved_down_gains_by_how_far_and_loses_the_other_way() -> None:
    lower = [(forward, reverse - 0.25) for forward, reverse in MLE]
    assert mean_gain(lower, MLE) == pytest.approx(0.25)
    assert mean_gain(MLE, lower) == pytest.approx(-0.25)
    assert mean_gain(MLE, MLE) == 0.0


def test_curves_are_linear_between_points_that_lie_at_different_places() -> None:
    # From 1.5 to 2.5: the other is 1.5, 1.0, 0.75; the run 1.25 to 0.25, a line through 0.75 at 2.
    run = [(1.5, 1.25), (2.5, 0.25)]
    # Gains .25, .25, .5 at 1.5, 2, 2.5: trapezoids of .25 · .5 and .375 · .5.
    assert mean_gain(run, MLE) == pytest.approx(0.3125)


def test_others_narrow_the_range() -> None:
    lower = [(1.0, 1.0), (2.0, 0.9), (3.0, 0.1)]
    narrow = [(1.0, 9.0), (2.0, 8.0)]
    # Only from 1 to 2: gains 1 and .1.
    assert mean_gain(lower, MLE, within=(narrow,)) == pytest.approx(0.55)


def test_another_that_ends_before_is_as_low_as_at_its_end() -> None:
    # From 1 to 2 as far below as drawn, .25 on average; from 2 to 3 the other stays at 1.5: gains .5 and 1.
    other = [(1.0, 2.0), (2.0, 1.5)]
    assert mean_gain(MLE, other) == pytest.approx((0.25 + 0.75) / 2)
    # The run's own end is where it ends, and so is that of what narrows the range.
    assert mean_gain(other, MLE) == pytest.approx(-0.25)
    assert mean_gain(MLE, other, within=(other,)) == pytest.approx(0.25)


def test_a_point_that_is_beaten_changes_nothing() -> None:
    lower = [(1.0, 1.75), (2.0, 0.75), (3.0, 0.25)]
    assert mean_gain([*lower, (1.2, 5.0)], MLE) == mean_gain(lower, MLE)


@pytest.mark.parametrize("other", [[(4.0, 0.1), (5.0, 0.05)], [(3.0, 0.1), (5.0, 0.05)]])
def test_without_a_common_range_nothing_is_said(other: list[tuple[float, float]]) -> None:
    assert mean_gain(MLE, other) is None and share_of_gain(MLE, other, MLE) is None


def test_a_share_is_a_gain_over_the_gain_of_the_ceiling() -> None:
    def below(by: float) -> list[tuple[float, float]]:
        return [(forward, reverse - by) for forward, reverse in MLE]

    assert share_of_gain(below(0.1), MLE, below(0.4)) == pytest.approx(0.25)
    assert share_of_gain(below(-0.1), MLE, below(0.4)) == pytest.approx(-0.25)
    assert share_of_gain(below(0.4), MLE, below(0.4)) == pytest.approx(1.0)
    assert share_of_gain(below(0.1), MLE, MLE) is None and share_of_gain(below(0.1), MLE, below(-0.1)) is None


@pytest.mark.parametrize("points", [[], [(math.inf, 1.0)], [(1.0, math.nan)]])
def test_points_that_say_nothing_are_refused(points: list[tuple[float, float]]) -> None:
    with refused(ShapeError, "points_not_finite"):
        frontier(points)
