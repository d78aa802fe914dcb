"""How long a sweep takes: worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgan.tuning.search.forecast import Costs, Forecast, RaceSize, duration, search_share, seed_s

COSTS = Costs(start_s=60.0, trial_s=30.0, measure_s=2.0)
# MLE, mle_continued, oracle_ratio and three finalists from one start; 5 temperatures on 2 splits, twice the sequences.
SIZE = RaceSize(starts=1, trained=5, entrants=6, measurements=20.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.44, "0.44 s"), (42.4, "42 s"), (99.4, "99 s"), (120.0, "2 min"), (390.0, "6.5 min"),
        (3600.0, "60 min"), (6480.0, "1.8 hours"), (36000.0, "10 hours"), (864000.0, "10 days"), (1e9, "months"),
    ],
)  # fmt: skip
def test_durations_have_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == (text if text != "2 min" else "2 min")


def test_a_seed_is_its_runs_over_places_and_not_less_than_the_longest() -> None:
    # 60 + 5 · 30 + 6 · 40 = 450 s of work.
    assert seed_s(COSTS, SIZE, 1) == 450.0
    assert seed_s(COSTS, SIZE, 2) == 225.0
    # The longest run: 60 + 30 + 40.
    assert seed_s(COSTS, SIZE, 100) == 130.0


def test_the_search_leaves_the_race_what_it_needs() -> None:
    assert search_share(1000.0, None) == 500.0
    assert search_share(1000.0, 100.0) == 880.0  # a fifth more than 100 is left
    assert search_share(1000.0, 500.0) == 400.0
    assert search_share(1000.0, 5000.0) == 250.0  # the race cannot fit: a quarter is for the search all the same


@given(st.floats(1.0, 1e6), st.floats(0.0, 1e7))
def test_the_search_has_between_a_quarter_and_all(whole: float, race: float) -> None:
    assert 0.25 * whole <= search_share(whole, race) <= whole


def described(left_s: float | None, race_left_s: float | None, seeds: int = 5) -> Forecast:
    return Forecast(COSTS, 2, 40, left_s, race_left_s, seeds, seed_s(COSTS, SIZE, 2))


def test_what_fits_is_counted_in_whole_trials_and_whole_seeds() -> None:
    fits = described(left_s=100.0, race_left_s=500.0)
    assert fits.trials_that_fit == 6  # three rows of 30 s, two at a time
    assert fits.seeds_that_fit == 2  # 2 · 225 <= 500
    assert fits.race_s == 5 * 225
    assert described(None, None).trials_that_fit == 40 and described(None, None).seeds_that_fit == 5
    assert described(-3.0, 10.0).trials_that_fit == 0 and described(-3.0, 10.0).seeds_that_fit == 0


def test_it_is_told_in_words() -> None:
    assert "in the 1.7 min left for" in str(described(100.0, 500.0))
    assert "6 of 40 trials fit" in str(described(100.0, 500.0))
    assert "2 of its seeds fit into the 8.3 min left for it. Use --hours" in str(described(100.0, 500.0))
    assert "so there will be no result" in str(described(100.0, 10.0))
    assert str(described(100.0, 2000.0)).endswith("and fits into the 33 min left for it.")
    assert str(described(None, None)).endswith("(5 seeds of 3.8 min).")
    assert "race" not in str(described(100.0, None, seeds=0))
    # 60 + 20 · 30 + 1.2 · 1125 = 2010 s = .5583 hours, rounded up.
    assert "Use --hours 0.56 to fit all," in str(described(100.0, 500.0))
