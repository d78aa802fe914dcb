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
    # From 1.5 to 3: the other is 1.5, 1.0, 0.75, 0.5 at every half; the run a line from 1.25 to 0.25 at 2.5, and as
    # low from there on.
    run = [(1.5, 1.25), (2.5, 0.25)]
    # Gains .25, .25, .5, .25: trapezoids of .25, .375, .375, each · .5, over 1.5.
    assert mean_gain(run, MLE) == pytest.approx(1 / 3)
    assert mean_gain(MLE, run) == pytest.approx(-1 / 3)


def test_what_is_reached_at_less_forward_divergence_is_reached_at_more() -> None:
    # From 1 to 2 as far below as drawn, .25 on average; from 2 to 3 the other stays at 1.5: gains from .5 to 1.
    other = [(1.0, 2.0), (2.0, 1.5)]
    assert mean_gain(MLE, other) == pytest.approx((0.25 + 0.75) / 2)
    # Before its first point nothing is reached: the range begins there.
    assert mean_gain([(2.0, 0.5), (3.0, 0.25)], MLE) == pytest.approx((0.5 + 0.25) / 2)


def test_others_count_for_the_range() -> None:
    lower = [(1.0, 1.0), (2.0, 0.9), (3.0, 0.1)]
    # From 2 to 3: gains .1 and .4. To 4: .4 all the way.
    assert mean_gain(lower, MLE, beside=([(2.0, 9.0), (2.5, 8.0)],)) == pytest.approx(0.25)
    assert mean_gain(lower, MLE, beside=([(2.0, 9.0), (4.0, 8.0)],)) == pytest.approx((0.25 + 0.4) / 2)


def test_a_point_that_is_beaten_changes_nothing() -> None:
    lower = [(1.0, 1.75), (2.0, 0.75), (3.0, 0.25)]
    assert mean_gain([*lower, (1.2, 5.0)], MLE) == mean_gain(lower, MLE)


def test_without_a_range_nothing_is_said() -> None:
    for other in ([(3.0, 0.1)], [(4.0, 0.1)]):
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
