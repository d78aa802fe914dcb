"""The closing line: what is claimed of simulated runs, how often falsely, and in which words."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlgan.base.errors import CheckpointError
from rlgan.evaluation.evidence import KL_SUM, Evidence, Floats, beside, combined, in_groups, without_each
from rlgan.evaluation.verdict import (
    Ends,
    Entrant,
    Verdict,
    best_temperature,
    judge,
    no_trainings,
    not_judged,
    read_verdict,
    write_verdict,
)
from tests.support.errors import refused

Rng = np.random.Generator
NUM = 60  # sequences, held out and drawn
SEQUENCE_SD = 0.5


class World:
    """Simulated generators: each has a true quality and coverage, and is measured with the same held-out sequences."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.hard = rng, rng.normal(0, SEQUENCE_SD, NUM)

    def evidence(self, quality: float, coverage: float) -> Evidence:
        """What the real measures are: means over the held-out sequences, which all share, and over those drawn."""
        drawn = self.rng.normal(quality, SEQUENCE_SD, NUM)
        real = coverage + self.hard + self.rng.normal(0, SEQUENCE_SD / 2, NUM)
        ones = np.ones(NUM)
        return Evidence(
            np.array([drawn.mean(), real.mean()]),
            beside(float(drawn.mean()), without_each(real, ones)),
            beside(without_each(drawn, ones), float(real.mean())),
        )

    def entrant(self, name: str, sum_: float = 0.0, is_trained: bool = True, spread: float = 0.0) -> Entrant:
        """A training whose luck is half in each side; the measure on validation data is as noisy as on test data."""
        luck = self.rng.normal(0, spread / math.sqrt(2), 2) if is_trained else np.zeros(2)
        sides = luck + sum_ / 2
        validation = float(sides.sum() + self.rng.normal(0, 2 * SEQUENCE_SD / math.sqrt(NUM)))
        return Entrant(name, 1.0, validation, self.evidence(*sides), is_trained)


def a_run(rng: Rng, gain: float = 0.0, spread: float = 0.1, num_trainings: int = 5, noisier: float = 1.0) -> Verdict:
    """A run that is better than all its controls by `gain`, and as lucky as they are, or luckier."""
    world = World(rng)
    controls = [world.entrant("start", is_trained=False)]
    controls += [world.entrant(name, spread=spread) for name in ("mle_continued", "constant_reward")]
    again = [world.entrant("", spread=spread).evidence.sides for _ in range(num_trainings - 1)]
    trainings = np.array([controls[1].evidence.sides, *again])
    return judge(KL_SUM, world.entrant("run", -gain, spread=noisier * spread), controls, trainings)


def claims(number: int, seed: int, **changes: float) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    found = [a_run(rng, **changes).outcome for _ in range(number)]  # type: ignore[arg-type]
    return {outcome: found.count(outcome) / number for outcome in ("better", "worse")}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "spread",
    [0.0, pytest.param(0.05, marks=pytest.mark.slow), 0.1, pytest.param(0.3, marks=pytest.mark.slow), 1.0],
)
def test_at_most_one_in_twenty_null_runs_is_told_from_its_controls(spread: float) -> None:
    number = 1_000
    found = sum(claims(number, seed=1, spread=spread).values())
    assert found <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / number)


@pytest.mark.heavy
def test_a_run_whose_trainings_vary_more_than_the_controls_is_rarely_called_better() -> None:
    number = 1_000
    assert claims(number, seed=2, noisier=2.0)["better"] <= 0.05


def test_without_the_chance_of_training_null_runs_would_be_told_apart() -> None:
    """What the interval of the draw alone does: the mistake that equal trainings are there to prevent."""
    rng, hits, number = np.random.default_rng(3), 0, 300
    for _ in range(number):
        world = World(rng)
        ours, control = (world.entrant(name, spread=0.3) for name in ("run", "control"))
        low, high = combined((ours.evidence, control.evidence), (1.0, -1.0)).interval()
        hits += not low <= 0 <= high
    assert hits / number > 0.3


def test_few_null_runs_are_told_from_their_controls() -> None:
    """The same in a moment: of 150 runs 7.5 may be, and chance adds 5.3 to that in one case of forty."""
    assert sum(claims(150, seed=7).values()) <= 12 / 150


def test_the_interval_of_the_draw_covers_one_generator_drawn_twice() -> None:
    rng, hits, number = np.random.default_rng(4), 0, 2_000
    for _ in range(number):
        world = World(rng)
        low, high = combined((world.evidence(0.0, 0.0), world.evidence(0.0, 0.0)), (1.0, -1.0)).interval()
        hits += not low <= 0 <= high
    assert abs(hits / number - 0.05) < 3 * math.sqrt(0.05 * 0.95 / number)


def test_a_real_difference_is_found_and_on_its_side() -> None:
    better, worse = claims(60, seed=5, gain=1.5), claims(60, seed=6, gain=-1.5)
    assert better["better"] > 0.9 and better["worse"] == 0
    assert worse["worse"] > 0.9 and worse["better"] == 0


def evidence(*sides: float, spread: float = 0.0) -> Evidence:
    values = np.array(sides)
    without = values + spread * np.array([[-1.0, 0.0], [1.0, 0.0]])
    return Evidence(values, without, np.empty((0, 2)))


def entrant(name: str, *sides: float, validation: float = 0.0, spread: float = 0.0, trained: bool = True) -> Entrant:
    return Entrant(name, 0.9, validation, evidence(*sides, spread=spread), trained)


TRAININGS = np.array([[1.0, 1.0], [1.1, 1.0], [0.9, 1.0]])  # sums 2, 2.1, 1.9: variance 0.01


def test_an_interval_by_hand() -> None:
    run, control = entrant("run", 1.5, 1.0, spread=0.1), entrant("mle_continued", 2.0, 1.25)
    found = judge(KL_SUM, run, [control], TRAININGS)
    (against,) = found.comparisons
    # Jackknife of two replicates ∓0.1: ½ · (0.01 + 0.01) = 0.01, 1 degree. Two trainings: 2 · 0.01, 2 degrees.
    # Welch: 0.03² / (0.01²/1 + 0.02²/2) = 3 degrees; t(0.975, 3) = 3.18245 times √0.03.
    assert against.total.value == pytest.approx(-0.75)
    assert against.total.low == pytest.approx(-0.75 - 3.18245 * math.sqrt(0.03), abs=1e-5)
    assert against.total.draw_error == pytest.approx(0.1) and against.total.training_error == pytest.approx(0.02**0.5)
    assert (against.quality.value, against.coverage.value) == pytest.approx((-0.5, -0.25))
    assert found.confidence == 0.95 and found.outcome == "better"


def test_a_start_has_no_chance_of_training() -> None:
    run, control = entrant("run", 1.5, 1.0), entrant("the MLE start", 2.0, 1.25, trained=False)
    (against,) = judge(KL_SUM, run, [control], TRAININGS).comparisons
    assert against.total.training_error == pytest.approx(0.1)


def test_the_best_control_is_that_of_validation_data_and_all_must_be_beaten() -> None:
    run = entrant("run", 0.5, 0.5)
    best, other = entrant("best", 2.0, 2.0, validation=1.0), entrant("other", 0.5, 0.6, validation=2.0)
    found = judge(KL_SUM, run, [other, best], TRAININGS)
    assert [one.control for one in found.comparisons] == ["best", "other"]
    assert found.confidence == pytest.approx(0.975) and found.outcome == "no significant difference"
    assert (
        "No claim is made, because there is no significant difference from other at τ=0.9 (-0.100 [" in found.statement
    )
    assert judge(KL_SUM, run, [best], TRAININGS).outcome == "better"
    # That it is worse is said of the best alone: to be worse than another is no news.
    worse = entrant("run", 2.0, 2.0)
    assert (
        judge(KL_SUM, worse, [replace(other, validation=3.0), best], TRAININGS).outcome == "no significant difference"
    )
    assert judge(KL_SUM, worse, [replace(other, validation=0.0), best], TRAININGS).outcome == "worse"


def test_nothing_is_claimed_where_the_chance_of_training_is_not_known() -> None:
    run, control = entrant("run", 0.5, 0.5), entrant("control", 2.0, 2.0)
    for trainings in (no_trainings(), TRAININGS[:1]):
        found = judge(KL_SUM, run, [control], trainings)
        assert found.outcome == "no significant difference" and found.comparisons[0].total.training_error is None
        assert found.sentences[0].endswith(": no claim, because the variance between trainings is not known.")
        assert "not of training (evaluation.equal_trainings is 0, or no control" in found.statement


def test_the_words() -> None:
    run, control = entrant("run", 0.5, 0.5), entrant("mle_continued", 2.0, 2.0)
    first, sides, seed, chance = judge(KL_SUM, run, [control], TRAININGS, "constant_reward").sentences
    assert first == (
        "kl_sum (kl_reverse + kl_forward; lower is better): this run at τ=0.9 minus its control, mle_continued at "
        "τ=0.9: -3.000 [-3.608, -2.392]: this run's generator is better."
    )
    assert sides == (
        "By sides: kl_reverse -1.500 [-2.108, -0.892], kl_forward -1.500 [-1.500, -1.500]: better in both at once."
    )
    assert seed == "One seed: no evidence about the method."
    assert chance == (
        "Intervals: 95 % (1 control). They include the variance of test sequences, of samples, and of training "
        "(estimated from 3 trainings of constant_reward)."
    )
    equal = judge(KL_SUM, replace(control, name="run"), [control], TRAININGS)
    assert equal.outcome == "no significant difference" and equal.sentences[0].endswith(": no significant difference.")
    assert "at once" not in equal.statement
    # What is better in one side and worse in the other is no claim.
    traded = judge(KL_SUM, entrant("run", 0.5, 3.5), [control], TRAININGS)
    assert traded.outcome == "no significant difference" and "at once" not in traded.statement


@pytest.mark.parametrize("outcome", ["better", "worse", "no significant difference"])
def test_no_statement_has_two_opposite_claims(outcome: str) -> None:
    run = {"better": (0.5, 0.5), "worse": (3.5, 3.5), "no significant difference": (2.0, 2.0)}[outcome]
    found = judge(KL_SUM, entrant("run", *run), [entrant("a", 2.0, 2.0), entrant("b", 2.0, 2.0)], TRAININGS)
    assert found.outcome == outcome
    for word in ("better", "worse"):
        assert (f"generator is {word}" in found.statement) == (word == outcome)
        assert (f"{word} in both at once" in found.statement) == (word == outcome)


def ends(run: float, continued: float, ceiling: float) -> Ends:
    return Ends(*(evidence(total / 2, total / 2) for total in (run, continued, ceiling)))


def shared(ends_: Ends, trainings: Floats = TRAININGS) -> Verdict:
    return judge(
        KL_SUM, entrant("run", 1.0, 1.0), [entrant("mle_continued", 1.0, 1.0)], trainings, "constant_reward", ends_
    )


def test_a_share_needs_a_headroom_that_is_significant() -> None:
    # Training alone: √0.02 · t(0.975, 2) = 0.1414 · 4.3027 = 0.6085.
    found = shared(ends(1.5, 2.0, 1.0))
    assert found.share is not None and found.share.value == pytest.approx(0.5)
    assert found.share.low is not None and found.share.high is not None
    assert found.share.low < 0 and found.share.high > 0.5
    assert "oracle_ratio knows the exact distribution" in found.statement and "+0.50 [" in found.statement
    for ceiling in (1.5, 2.0, 3.0):
        found = shared(ends(1.5, 2.0, ceiling))
        assert found.share is not None and found.share.value is None
        assert "Share of the headroom captured: not defined, because oracle_ratio gains" in found.statement
        assert "final/headroom_captured" not in found.figures()
    unknown = shared(ends(1.5, 2.0, 1.0), no_trainings())
    assert unknown.share is not None and unknown.share.value is None


def test_of_a_stream_no_data_is_wanting() -> None:
    found = shared(dataclasses.replace(ends(1.5, 2.0, 1.0), of_stream=True))
    assert "drawn anew each time" in found.statement and "fixed data set" not in found.statement
    assert "drawn anew" not in shared(ends(1.5, 2.0, 1.0)).statement


def test_what_is_logged() -> None:
    found = shared(ends(1.5, 2.0, 1.0))
    assert found.share is not None
    total = found.comparisons[0].total
    assert found.figures() == {
        "final/difference": total.value,
        "final/difference_low": total.low,
        "final/difference_high": total.high,
        "final/headroom_captured": found.share.value,
        "final/headroom_captured_low": found.share.low,
        "final/headroom_captured_high": found.share.high,
    }
    assert not_judged("x").figures() == {}


def test_what_is_not_judged_says_why() -> None:
    found = not_judged("no control was trained beside it")
    assert (
        found.outcome == "not judged" and found.statement == "This run is not judged: no control was trained beside it."
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_verdict(tmp_path) is None
    for found in (shared(ends(1.5, 2.0, 1.0)), not_judged("there is nothing to compare")):
        write_verdict(found, tmp_path)
        assert read_verdict(tmp_path) == found
    # Earlier versions wrote other words for the same outcome.
    found = judge(KL_SUM, entrant("run", 2.0, 2.0), [entrant("mle_continued", 2.0, 2.0)], TRAININGS)
    write_verdict(found, tmp_path)
    kept = json.loads((tmp_path / "verdict.json").read_text())
    (tmp_path / "verdict.json").write_text(json.dumps(kept | {"outcome": "not told apart"}))
    assert read_verdict(tmp_path) == found and found.outcome == "no significant difference"
    (tmp_path / "verdict.json").write_text("{}")
    with refused(CheckpointError, "damaged_verdict", match=r"verdict\.json.*table\.txt"):
        read_verdict(tmp_path)


def test_of_equal_temperatures_the_nearest_to_1_is_taken() -> None:
    assert best_temperature({0.7: 2.0, 0.9: 2.0, 1.0: 3.0}) == (0.9, 2.0)
    assert best_temperature({0.7: 1.5, 1.0: math.nan}) == (0.7, 1.5)
    assert best_temperature({1.0: math.inf, 0.5: math.nan}) == (1.0, math.inf)


def test_groups_left_out_by_hand() -> None:
    assert without_each(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0])).tolist() == [8 / 3, 7 / 3, 1.5]
    assert in_groups(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]), 3).tolist() == [5.0, 2.0, 0.0]


def test_a_verdict_prints_as_its_sentences() -> None:
    assert str(not_judged("nothing stands beside it")) == "This run is not judged: nothing stands beside it."
