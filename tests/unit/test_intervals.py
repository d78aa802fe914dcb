"""Intervals: by hand, against the textbook's standard errors, and against what they are an interval of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from rlgan.metrics.intervals import Chance, Uncertain, jackknife, ratio_interval, student_quantile


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    # 1, 2, 6: mean 3, s² = 7, and s²/3 is the variance of the mean. Without each: 4, 3.5, 1.5.
    found = jackknife(np.array([4.0, 3.5, 1.5]))
    assert found.variance == pytest.approx(7 / 3) and found.degrees == 2


def test_chance_is_seen_between_two_groups_at_least() -> None:
    with pytest.raises(ValueError, match="1 group"):
        jackknife(np.array([1.0]))


def test_sources_add_up_with_welch_s_degrees() -> None:
    # Variances 1 with 4 degrees and 3 with 9: 16 / (1/4 + 9/9) = 12.8.
    figure = Uncertain(2.0, (Chance(1.0, 4), Chance(3.0, 9)))
    assert figure.variance == 4.0 and figure.degrees == pytest.approx(12.8)
    low, high = figure.interval()
    assert (low, high) == pytest.approx((2 - 2 * t.ppf(0.975, 12.8), 2 + 2 * t.ppf(0.975, 12.8)))
    assert figure.interval(0.99)[0] < low and figure.reach(0.99) > figure.reach()


def test_what_does_not_vary_is_exact() -> None:
    assert Uncertain(2.0, ()).interval() == Uncertain(2.0, (Chance(0.0, 3),)).interval() == (2.0, 2.0)
    assert student_quantile(0.95, math.inf) == pytest.approx(1.959964)


def exactly(value: float) -> Uncertain:
    return Uncertain(value, ())


def known(value: float, variance: float) -> Uncertain:
    return Uncertain(value, (Chance(variance, 1_000_000_000),))


def test_a_ratio_without_chance_is_itself() -> None:
    assert ratio_interval(exactly(1.0), exactly(4.0), exactly(-3.0)) == (0.25, 0.25)


def test_a_ratio_by_hand() -> None:
    # N = 1 ± 0.1, D = 4 exactly: 0.25 ± 1.96 · 0.1 / 4.
    low, high = ratio_interval(known(1.0, 0.01), exactly(4.0), known(-3.0, 0.01)) or (0, 0)
    assert (low, high) == pytest.approx((0.25 - 0.0489991, 0.25 + 0.0489991))


def test_what_numerator_and_denominator_have_in_common_counts() -> None:
    # N = 0.75, D = 2.25, both of variance 0.02 and N − D exact: their covariance is 0.02. With q = 1.96² · 0.02:
    # (D² − q) ρ² − 2 (N D − q) ρ + N² − q = 0.
    q = 3.841459 * 0.02
    a, b, c = 2.25**2 - q, 0.75 * 2.25 - q, 0.75**2 - q
    root = math.sqrt(b * b - a * c)
    found = ratio_interval(known(0.75, 0.02), known(2.25, 0.02), exactly(-1.5))
    assert found == pytest.approx(((b - root) / a, (b + root) / a), abs=1e-6)


def test_a_ratio_has_no_interval_where_its_denominator_may_be_0() -> None:
    assert ratio_interval(exactly(1.0), known(1.0, 0.27), known(0.0, 0.27)) is None  # 1 < 1.96 √0.27 = 1.018
    assert ratio_interval(exactly(1.0), known(1.0, 0.25), known(0.0, 0.25)) is not None  # 1 > 0.98


def test_ratios_are_in_their_intervals_as_often_as_is_said() -> None:
    rng = np.random.default_rng(0)
    true, inside, number = (0.3, 1.0), 0, 2_000
    for top, bottom in rng.normal(true, 0.1, (number, 2)):
        limits = ratio_interval(known(top, 0.01), known(bottom, 0.01), known(top - bottom, 0.02))
        assert limits is not None
        inside += limits[0] <= 0.3 <= limits[1]
    assert abs(inside / number - 0.95) < 3 * math.sqrt(0.95 * 0.05 / number)
