"""Whether a finalist beats what it has to beat: numbers worked by hand, and no more said than they bear."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from rlgan.metrics.intervals import Interval, Spread, interval, spread
from rlgan.tuning.judge.results import FinalResult, Kind, SweepResults
from rlgan.tuning.judge.verdict import Verdict, verdict
from tests.support.sweeps import a_sweep

KINDS: Mapping[str, Kind] = {"MLE": "control", "mle_continued": "control", "oracle_ratio": "ceiling"}


def race(**entrants: Mapping[float, Sequence[float | tuple[float, float] | None]]) -> SweepResults:
    """Finals: entrant → temperature → objective by seed, for both sets or as (validation, test); None did not run."""
    finals = []
    for entrant, temperatures in entrants.items():
        for temperature, by_seed in temperatures.items():
            for seed, values in enumerate(by_seed, 1):
                if values is None:
                    continue
                validation, test = values if isinstance(values, tuple) else (values, values)
                # The sides are added: a quarter and three quarters, both exact.
                sets = [{"kl_forward": value / 4, "kl_reverse": value * 3 / 4} for value in (validation, test)]
                kind = KINDS.get(entrant, "finalist")
                finals.append(FinalResult(entrant.replace("_7", " 7"), kind, seed, temperature, *sets))
    beside = {one.entrant: ("mle_continued", "oracle_ratio") for one in finals if one.kind == "finalist"}
    return SweepResults(
        "s", "study", "question", "task", "kl_sum", ("kl_forward", "kl_reverse"), (), (), tuple(finals), beside
    )  # fmt: skip


def judge(**entrants: Mapping[float, Sequence[float | tuple[float, float] | None]]) -> Verdict:
    return verdict(race(**entrants))


def test_mean_deviation_and_interval_by_hand() -> None:
    # 1, 2, 6: mean 3; deviations −2, −1, 3: 4 + 1 + 9 = 14, over 2 is 7; s = 2.6458, s / √3 = 1.5275.
    # t(0.975, 2) = 4.3027, so ± 6.5724.
    assert spread([1.0, 2.0, 6.0]) == Spread(3.0, pytest.approx(math.sqrt(7)), 3)
    assert interval([1.0, 2.0, 6.0]) == Interval(
        3.0, pytest.approx(3 - 6.5724, abs=1e-4), pytest.approx(9.5724, abs=1e-4), 3
    )
    assert str(spread([1.0, 2.0, 6.0])) == "3.000 ± 2.646"
    assert str(interval([1.0, 2.0, 6.0])) == "+3.000 [-3.572, +9.572], 3 seeds"
    assert interval([1.5]) == Interval(1.5, None, None, 1)
    assert str(interval([1.5])) == "+1.500, 1 seed, so no interval"
    assert math.isnan(spread([1.0, math.nan]).mean) and math.isnan(spread([1.0, math.inf]).mean)


def test_the_temperature_is_chosen_on_validation_data_and_reported_on_test_data() -> None:
    # Validation means: 2.5 at 1, 2.25 at 0.5; on test data 0.5 is the worse.
    got = judge(MLE={1.0: [(2.0, 2.0), (3.0, 3.0)], 0.5: [(2.0, 4.0), (2.5, 6.0)]})
    (entry,) = got.entries
    assert entry.temperature == 0.5
    assert entry.validation == Spread(2.25, pytest.approx(0.25 * math.sqrt(2)), 2)
    assert entry.test == Spread(5.0, pytest.approx(math.sqrt(2)), 2) and entry.test_by_seed == {1: 4.0, 2: 6.0}
    assert entry.as_trained == Spread(2.5, pytest.approx(math.sqrt(0.5)), 2)
    assert entry.as_trained_by_seed == {1: 2.0, 2: 3.0}


def test_of_equal_temperatures_the_one_nearest_to_1_is_chosen() -> None:
    got = judge(MLE={0.5: [2.0, 3.0], 1.0: [2.0, 3.0], 2.0: [3.0, 2.0]})
    assert got.entries[0].temperature == 1.0


def test_a_finalist_beats_only_if_the_interval_excludes_0() -> None:
    # Differences −1, −2, −3: mean −2, s = 1, t(0.975, 2) / √3 = 2.4842: [−4.484, +0.484].
    weak = judge(trial_7={1.0: [4.0, 3.0, 2.0]}, MLE={1.0: [5.0, 5.0, 5.0]})
    assert str(weak.differences[0]) == "difference -2.000 [-4.484, +0.484], 3 seeds"
    assert weak.differences[0].outcome == "shows no significant difference from"
    assert weak.finding == (
        "No finalist is significantly better than tempered MLE: trial 7, the best finalist on validation data, "
        "shows no significant difference from it (difference -2.000 [-4.484, +0.484], 3 seeds). It shows no "
        "significant difference from MLE at τ=1 (difference -2.000 [-4.484, +0.484], 3 seeds)."
    )
    # Differences −2, −2.5, −3: mean −2.5, s = 0.5: ± 1.2421.
    strong = judge(trial_7={1.0: [3.0, 2.5, 2.0]}, MLE={1.0: [5.0, 5.0, 5.0]})
    assert strong.differences[0].outcome == "beats"
    assert strong.finding == (
        "trial 7 is significantly better than every control: tempered MLE (difference -2.500 [-3.742, -1.258], 3 "
        "seeds), MLE at τ=1 (difference -2.500 [-3.742, -1.258], 3 seeds)."
    )
    worse = judge(trial_7={1.0: [8.0, 7.5, 7.0]}, MLE={1.0: [5.0, 5.0, 5.0]})
    assert worse.differences[0].outcome == "is worse than"
    assert worse.finding.startswith(
        "No finalist is significantly better than tempered MLE: trial 7, the best finalist on validation"
    )
    assert "is worse than it (difference +2.500 [+1.258, +3.742], 3 seeds)" in worse.finding
    assert worse.finding.endswith("On validation data MLE, which is not a finalist, was the best of all but a ceiling.")
    assert worse.winner == "MLE" and strong.winner == strong.finalist == "trial 7"


def test_the_tempered_start_is_what_has_to_be_beaten_first() -> None:
    # The start at 0.5 is at 1 on both sets, as trained at 5; the finalist stands at 3.
    got = judge(
        mle_continued={1.0: [4.0, 4.0, 4.1]}, trial_7={1.0: [3.0, 3.0, 3.1]},
        MLE={1.0: [5.0, 5.0, 5.1], 0.5: [1.0, 1.0, 1.1]},
    )  # fmt: skip
    assert [one.control for one in got.differences] == ["tempered MLE", "MLE at τ=1", "mle_continued"]
    assert [one.outcome for one in got.differences] == ["is worse than", "beats", "beats"]
    assert got.finding.startswith("No finalist is significantly better than tempered MLE: trial 7")
    assert " It is significantly better than MLE at τ=1 (difference" in got.finding
    assert ", mle_continued (difference" in got.finding


def test_pairs_are_of_the_same_seed() -> None:
    # Far apart between seeds, alike within: −0.1, −0.1, −0.2 by pairs.
    got = judge(trial_7={1.0: [0.9, 9.9, 99.8]}, MLE={1.0: [1.0, 10.0, 100.0]})
    its = got.differences[0].interval
    assert its is not None and its.mean == pytest.approx(-0.4 / 3) and its.num == 3
    assert got.entries[0].test is not None and got.entries[0].test.sd is not None and got.entries[0].test.sd > 50


def test_a_tie_is_no_victory_and_the_control_comes_first() -> None:
    got = judge(trial_7={1.0: [2.0, 3.0]}, MLE={1.0: [2.0, 3.0]})
    assert [entry.entrant for entry in got.entries] == ["MLE", "trial 7"] and got.winner == "MLE"
    assert got.differences[0].interval == Interval(0.0, 0.0, 0.0, 2)
    assert got.differences[0].outcome == "shows no significant difference from"


def test_one_seed_has_no_interval_and_beats_nothing() -> None:
    got = judge(trial_7={1.0: [1.0]}, MLE={1.0: [5.0]})
    assert got.differences[0].outcome == "shows no significant difference from"
    assert "(difference -4.000, 1 seed, so no interval)" in got.finding
    assert "With one seed, chance and real differences cannot be separated." in got.notes


def test_seeds_that_one_lacks_are_left_out_of_the_pairs_and_named() -> None:
    got = judge(trial_7={1.0: [1.0, None, 1.0, 1.5]}, MLE={1.0: [2.0, 2.0, 2.5, None]})
    difference = got.differences[0]
    assert difference.interval is not None and (difference.interval.num, difference.interval.mean) == (2, -1.25)
    assert difference.left_out == ("trial 7 has no result for seed 2", "tempered MLE has no result for seed 4")
    assert str(difference).endswith("2 seeds; trial 7 has no result for seed 2; tempered MLE has no result for seed 4")
    assert "MLE has no result for seed 4: its means are over fewer seeds." in got.notes
    none = judge(trial_7={1.0: [1.0, None]}, MLE={1.0: [None, 2.0]})
    assert none.differences[0].interval is None and "no seed has both" in none.finding


def test_a_temperature_with_fewer_seeds_is_not_chosen() -> None:
    got = judge(MLE={1.0: [2.0, 9.0], 0.5: [1.0, None]})
    assert got.entries[0].temperature == 1.0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_is_named_and_never_wins(broken: float) -> None:
    # On validation data: the temperature is not chosen; at no temperature: no place at all.
    got = judge(trial_7={1.0: [1.0, broken], 0.5: [3.0, 3.0]}, MLE={1.0: [2.0, 2.0]})
    assert {entry.entrant: entry.temperature for entry in got.entries} == {"MLE": 1.0, "trial 7": 0.5}
    gone = judge(trial_7={1.0: [1.0, broken]}, MLE={1.0: [2.0, 2.0]})
    assert (gone.entries[1].entrant, gone.entries[1].temperature, gone.entries[1].test) == ("trial 7", None, None)
    assert gone.finding == "No finalist could be measured."
    assert any(note.startswith("trial 7 is not ranked") for note in gone.notes)
    # On test data alone: the pair is left out and named.
    half = judge(trial_7={1.0: [(1.0, 1.0), (1.0, broken), (1.0, 1.5)]}, MLE={1.0: [2.0, 2.0, 2.0]})
    assert half.differences[0].left_out == ("trial 7 is not finite for seed 2",)
    assert half.differences[0].interval is not None and half.differences[0].interval.num == 2


def test_headroom_by_hand() -> None:
    # Gains of the run 0.5, 1, 0.75 and of the ceiling 2, 2.5, 2.25: means 0.75 and 2.25, whose variances and covariance
    # are all 1/16 over 3. Fieller: a ρ² − 2 b ρ + c = 0 with q = 4.3027² / 48 = 0.38569, a = 5.0625 − q = 4.67681,
    # b = 1.6875 − q = 1.30181, c = 0.5625 − q = 0.17681.
    got = judge(
        trial_7={1.0: [3.5, 4.0, 3.25], 0.5: [1.0, 1.0, 1.0]},
        mle_continued={1.0: [4.0, 5.0, 4.0], 0.9: [1.0, 1.0, 1.0]},
        oracle_ratio={1.0: [2.0, 2.5, 1.75]},
    )
    assert got.headroom.by_seed == {1: 0.25, 2: pytest.approx(0.4), 3: pytest.approx(1 / 3)}
    a, b, c = 4.67681, 1.30181, 0.17681
    root = math.sqrt(b**2 - a * c)
    assert got.headroom.interval == Interval(
        pytest.approx(1 / 3), pytest.approx((b - root) / a, abs=1e-4), pytest.approx((b + root) / a, abs=1e-4), 3
    )
    assert str(got.headroom).endswith(", 3 seeds (0 = mle_continued, 1 = the ceiling)")


def test_a_share_of_a_headroom_that_is_not_told_from_0_is_none() -> None:
    # The ceiling gains 2, 2 and 0: mean 1.333, s = 1.155, t interval ± 2.87. Its two good seeds alone are no evidence.
    got = judge(
        trial_7={1.0: [3.5, 3.5, 3.5]},
        mle_continued={1.0: [4.0, 5.0, 4.0]},
        oracle_ratio={1.0: [2.0, 3.0, 4.0]},
    )
    assert got.headroom.by_seed == {1: 0.25, 2: 0.75, 3: None} and got.headroom.interval is None
    assert str(got.headroom) == (
        "undefined: oracle_ratio gained +1.333 [-1.535, +4.202], 3 seeds over mle_continued, which is not "
        "significantly different from 0"
    )
    one = judge(trial_7={1.0: [3.5]}, mle_continued={1.0: [4.0]}, oracle_ratio={1.0: [2.0]}).headroom
    assert one.interval is None and "+2.000, 1 seed, so no interval over mle_continued" in str(one)


def test_headroom_is_undefined_without_those_it_is_made_of() -> None:
    whole = {"trial_7": {1.0: [3.5]}, "mle_continued": {1.0: [4.0]}, "oracle_ratio": {1.0: [4.5]}}
    assert "oracle_ratio gained -0.500, 1 seed" in str(judge(**whole).headroom)
    for left_out, words in (
        ("trial_7", "no finalist"),
        ("mle_continued", "no mle_con"),
        ("oracle_ratio", "no ceiling"),
    ):
        found = judge(**{name: value for name, value in whole.items() if name != left_out}).headroom
        assert found.interval is None and str(found).startswith(f"undefined: there is {words}")
    apart = judge(**{**whole, "trial_7": {0.9: [3.5]}}).headroom
    assert str(apart) == "undefined: no seed has results for trial 7, mle_continued and oracle_ratio at temperature 1"


def test_the_ceiling_never_wins() -> None:
    got = judge(oracle_ratio={1.0: [1.0]}, trial_7={1.0: [3.0]}, mle_continued={1.0: [2.0]})
    assert [entry.entrant for entry in got.entries] == ["oracle_ratio", "mle_continued", "trial 7"]
    assert got.winner == "mle_continued" and got.finalist == "trial 7"


def test_races_that_lack_much_say_so() -> None:
    assert judge().finding.startswith("There was no final race")
    assert judge().notes == () and judge().winner is None
    assert judge(MLE={1.0: [2.0]}).finding == "No finalist could be measured."
    assert judge(trial_7={1.0: [2.0]}).finding.endswith("there was no control to compare with.")


def test_results_that_contradict_themselves_are_refused() -> None:
    found = race(MLE={1.0: [2.0]})
    with pytest.raises(ValueError, match="rlm_5gram: is a side of the objective but was not measured"):
        verdict(replace(found, sides=("rlm_5gram",)))
    twice = (*found.finals, replace(found.finals[0], kind="finalist"))
    with pytest.raises(ValueError, match="MLE: has two kinds, control and finalist"):
        verdict(replace(found, finals=twice))


def test_the_order_of_finals_does_not_matter() -> None:
    found = a_sweep()
    assert verdict(found) == verdict(replace(found, finals=found.finals[::-1]))
    assert verdict(found).finalist == "trial 17"


def test_who_failed_with_a_seed_is_no_winner_and_beats_nobody() -> None:
    # With the two seeds that it survived, which were the easy ones, trial 7 is far below everybody.
    easy_and_hard = [1.0, 1.0, 3.0, 3.0, 3.0]
    got = judge(
        MLE={1.0: easy_and_hard},
        mle_continued={1.0: easy_and_hard},
        trial_7={1.0: [0.5, 0.5, None, None, None]},
        trial_8={1.0: [value - 0.01 for value in easy_and_hard]},
    )
    assert got.winner == "trial_8" and got.finalist == "trial_8"
    alone = judge(MLE={1.0: easy_and_hard}, trial_7={1.0: [0.5, 0.4, None, None, None]})
    assert alone.winner == "MLE" and {one.outcome for one in alone.differences} == {
        "shows no significant difference from"
    }
    assert "has no result for seed 3, 4, 5" in alone.finding


def test_the_headroom_is_of_the_finalists_own_floor_and_ceiling() -> None:
    results = race(MLE={1.0: [2.0]}, mle_continued={1.0: [1.0]}, trial_7={1.0: [0.8]}, oracle_ratio={1.0: [0.5]})
    other = [replace(one, entrant="mle_continued of trial 3", test={"kl_forward": 0.2, "kl_reverse": 0.6})
             for one in results.finals if one.entrant == "mle_continued"]  # fmt: skip
    shared = replace(
        results,
        finals=(*results.finals, *other),
        beside={"trial 7": ("mle_continued of trial 3", "oracle_ratio")},
    )
    # (0.8 − 0.8) / (0.8 − 0.5), and not (1 − 0.8) / (1 − 0.5).
    assert verdict(shared).headroom.by_seed == {1: pytest.approx(0.0, abs=1e-12)}
    assert verdict(results).headroom.by_seed == {1: pytest.approx(0.4)}
    assert (
        verdict(replace(results, beside={"trial 7": ("mle_continued", None)})).headroom.missing == "there is no ceiling"
    )
