"""What the trials are said to tell: in worlds of which we know what matters, and in one where nothing does."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from rlgan.base.errors import ConfigError
from rlgan.tuning.judge.importance import (
    Effect,
    Estimate,
    Feature,
    Importance,
    Interaction,
    estimate,
    importances,
    shuffle_losses,
)
from rlgan.tuning.judge.results import SweepResults, TrialResult
from rlgan.tuning.judge.scales import label, scale
from tests.support.errors import refused
from tests.support.sweeps import a_sweep
from tests.support.usual import usually

pytestmark = pytest.mark.heavy

Point = dict[str, Any]


def points(num: int, seed: int = 0) -> list[Point]:
    """Eight dimensions of every kind; `decay` exists where baseline is ema."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        point: Point = {
            "lr": float(10 ** rng.uniform(-4, -1)),
            "reward": str(rng.choice(["a", "b", "c"])),
            "noise": float(rng.random()),
            "flag": bool(rng.integers(2)),
            "size": [None, 1, 10][int(rng.integers(3))],
            "windows": [[1], [1, 2], [1, 2, 3]][int(rng.integers(3))],
            "baseline": str(rng.choice(["none", "ema"])),
        }
        if point["baseline"] == "ema":
            point["decay"] = float(rng.random())
        found.append(point)
    return found


NAMES = ("lr", "reward", "noise", "flag", "size", "windows", "baseline", "decay")


def results(found: list[Point], values: Callable[[Point], float], names: tuple[str, ...] = NAMES) -> SweepResults:
    trials = tuple(
        TrialResult(index, point, "finished", ((10, values(point)),), {}) for index, point in enumerate(found)
    )
    return SweepResults("s", "study", "question", "task", "kl_sum", ("kl_forward", "kl_reverse"), names, trials)


def noise(seed: int, scale: float) -> Callable[[], float]:
    rng = np.random.default_rng(seed)
    return lambda: scale * float(rng.standard_normal())


def clear(found: Importance) -> set[str]:
    return {effect.dimension for effect in found.effects if effect.clear}


def first(found: SweepResults, **options: Any) -> Importance:
    return importances(found, **{"num_samples": 20, **options})[0]


# ---------------------------------------------------------------------------------------------- known worlds


def test_what_dominates_is_first_and_what_does_nothing_is_not_claimed() -> None:
    rest = noise(1, 0.1)
    found = first(
        results(
            points(100),
            lambda point: math.log10(point["lr"]) + 1.2 * (point["reward"] == "b") + 0.1 * point["flag"] + rest(),
        )
    )
    assert [effect.dimension for effect in found.effects][:2] == ["lr", "reward"]
    assert clear(found) == {"lr", "reward"}
    assert found.fit is not None and found.fit.low > 0.5
    assert found.verdict.startswith("Dimensions with a significant effect: lr, reward; the model predicts (R²")
    assert not any(pair.clear for pair in found.interactions)


@pytest.mark.parametrize("dimension", usually(["windows", "reward"], ["size", "windows", "flag", "reward", "noise"]))
def test_a_dimension_of_each_kind_is_found(dimension: str) -> None:
    rest = noise(2, 0.2)
    wanted = {"size": None, "windows": [1, 2], "flag": True, "reward": "c"}

    def value(point: Point) -> float:
        matters = point["noise"] if dimension == "noise" else point[dimension] == wanted[dimension]
        return 2.0 * float(matters) + rest()

    assert clear(first(results(points(60), value), num_samples=25)) == {dimension}


def test_what_matters_where_it_is_active_is_found_with_its_parent() -> None:
    rest = noise(3, 0.1)
    found = first(results(points(100), lambda point: 2.0 * point.get("decay", 0.5) + rest()))
    assert found.effects[0].dimension == "decay" and "decay" in clear(found)
    assert clear(found) <= {"decay", "baseline"}
    # That decay matters depends on the baseline: where that is another, it does nothing.
    assert (found.interactions[0].one, found.interactions[0].other) == ("decay", "baseline")
    assert found.interactions[0].clear and found.interactions[0].excess.mean < 0


def test_a_dimension_does_not_take_the_importance_of_the_variant_it_belongs_to() -> None:
    rest = noise(4, 0.3)
    found = first(results(points(100), lambda point: 2.0 * (point["baseline"] == "ema") + rest()))
    assert clear(found) == {"baseline"}
    losses = {effect.dimension: effect.loss.mean for effect in found.effects}
    assert abs(losses["decay"]) < 0.05
    # Nor does it stand in for it: twice the share of variance, 2, would be the loss of an exact f on the objective.
    assert losses["baseline"] > 1.0
    assert not any(pair.clear for pair in found.interactions)


def test_an_exclusive_or_is_an_interaction() -> None:
    rest = noise(5, 0.1)
    found = first(
        results(
            points(160),
            lambda point: float(point["flag"] != (point["baseline"] == "ema")) + rest(),
            ("flag", "baseline", "noise", "reward"),
        )
    )
    pair = found.interactions[0]
    assert {pair.one, pair.other} == {"flag", "baseline"} == clear(found)
    # Exact f: each single loss 2, the joint one 2, so the excess is 2 − 4 = −2 (all variance takes both). The forest,
    # which finds no first split to its liking, shrinks it.
    assert pair.clear and -2.0 < pair.excess.mean < -0.5
    assert [pair for pair in found.interactions if pair.clear] == [pair]
    assert "flag × baseline" in found.verdict or "baseline × flag" in found.verdict


def test_of_pure_noise_nothing_is_claimed() -> None:
    claimed = []
    for seed in range(10):
        rest = noise(100 + seed, 1.0)
        found = first(results(points(40, seed), lambda _, rest=rest: rest()), seed=seed, num_samples=10)
        if clear(found) or any(pair.clear for pair in found.interactions):
            claimed.append(seed)
        else:
            assert "do not show" in found.verdict or "No dimension is significantly different" in found.verdict
    assert len(claimed) <= 1, claimed


def test_strong_terms_come_before_weak_ones() -> None:
    """Friedman (1991): 10 sin(π x1 x2) + 20 (x3 − ½)² + 10 x4 + 5 x5; x6 and x7 do nothing."""
    rng = np.random.default_rng(0)
    found = [{f"x{index}": float(value) for index, value in enumerate(row, 1)} for row in rng.random((150, 7))]

    def value(x: Point) -> float:
        return (
            10 * math.sin(math.pi * x["x1"] * x["x2"]) + 20 * (x["x3"] - 0.5) ** 2 + 10 * x["x4"] + 5 * x["x5"]
        )  # fmt: skip

    got = first(results(found, value, tuple(f"x{index}" for index in range(1, 8))))
    place = {effect.dimension: index for index, effect in enumerate(got.effects)}
    assert max(place[name] for name in ("x1", "x2", "x4")) < 3
    assert place["x5"] < min(place["x6"], place["x7"])
    assert {"x1", "x2", "x4"} <= clear(got)
    assert not clear(got) & {"x6", "x7"}


# ------------------------------------------------------------------------------------------------- arithmetic


def test_shuffling_agrees_with_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((5, 3)), rng.random(5)
    one = Feature(np.array([0]), np.array([True, True, False, True, True]))
    two = Feature(np.array([1, 2]), np.ones(5, dtype=bool))
    orders = np.array([[4, 0, 2, 1, 3], [1, 2, 3, 4, 0], [0, 1, 2, 3, 4]])

    def model(row: Any) -> float:
        return float(row[0] * row[1] + row[2] ** 2)

    def twin(features: list[Feature]) -> float:
        def error(rows: Any) -> float:
            return sum((model(row) - target) ** 2 for row, target in zip(rows, y, strict=True)) / 5

        losses = []
        for order in orders:
            rows = [list(row) for row in x]
            for unit in features:
                places = [place for place in range(5) if unit.active[place]]
                sources = [source for source in order if unit.active[source]]
                for place, source in zip(places, sources, strict=True):
                    for column in unit.columns:
                        rows[place][column] = x[source][column]
            losses.append(error(rows) - error(x))
        return sum(losses) / len(losses)

    got = shuffle_losses(lambda rows: np.array([model(row) for row in rows]), x, y, [[one], [two], [one, two]], orders)
    assert got == pytest.approx([twin([one]), twin([two]), twin([one, two])], rel=1e-12)


def test_shuffling_by_hand() -> None:
    # f(x) = x = y on 0, 1, 2: all 6 permutations together move each row to each place twice, so the mean squared error
    # is the mean of (i − j)² over all pairs: (0 + 1 + 4 + 1 + 0 + 1 + 4 + 1 + 0) / 9 = 12 / 9, twice the variance 2/3.
    x = np.array([[0.0], [1.0], [2.0]])
    unit = Feature(np.array([0]), np.ones(3, dtype=bool))
    orders = np.array(list(permutations(range(3))))
    assert shuffle_losses(lambda rows: rows[:, 0], x, x[:, 0], [[unit]], orders) == pytest.approx([12 / 9])
    # Active in the first two alone: half of the permutations swap them, (1 + 1 + 0) / 3 each.
    unit = Feature(np.array([0]), np.array([True, True, False]))
    assert shuffle_losses(lambda rows: rows[:, 0], x, x[:, 0], [[unit]], orders) == pytest.approx([1 / 3])


def test_the_order_of_trials_and_the_size_of_the_objective_do_not_matter() -> None:
    rest = noise(6, 0.1)
    found = results(points(30), lambda point: math.log10(point["lr"]) + rest())
    once = importances(found, num_samples=10)
    assert importances(replace(found, trials=found.trials[::-1]), num_samples=10) == once
    assert importances(found, num_samples=10) == once
    assert importances(found, num_samples=10, seed=1) != once
    # Ranks: what is worst may be worse by any amount, or infinite.
    worst = max(found.trials, key=lambda trial: trial.value or 0.0)
    for value in (50.0, math.inf, math.nan):
        others = (trial for trial in found.trials if trial is not worst)
        again = replace(found, trials=(*others, replace(worst, curve=((10, value),))))
        assert importances(again, num_samples=10) == once


def test_a_dimension_that_never_varied_or_never_was_active_has_no_importance() -> None:
    found = [{**point, "fixed": 3} for point in points(30)]
    fit, _, effects, _ = estimate(
        found, np.array([point["noise"] for point in found]), ("noise", "fixed", "absent"), seed=0, num_samples=5
    )
    losses = {effect.dimension: (effect.loss, effect.clear) for effect in effects}
    assert losses["fixed"] == losses["absent"] == (Estimate(0.0, 0.0, 0.0), False)
    assert fit.mean > 0.5


# --------------------------------------------------------------------------------------- which trials, and when


def test_trials_are_compared_at_the_last_update_that_all_reached_and_at_the_end() -> None:
    early, late = importances(a_sweep(), num_samples=20)
    measured = [trial for trial in a_sweep().trials if trial.curve]
    assert (early.target, early.updates) == ("kl_sum after 20 updates, all trials", 20)
    assert early.num_trials == len(measured) < 60
    assert (late.target, late.updates) == ("kl_sum after 60 updates, finished trials", 60)
    assert late.num_trials == sum(trial.state == "finished" for trial in measured)
    assert early.effects[0].dimension == "optimizers.generator.lr"
    assert "optimizers.generator.lr" in early.verdict


def test_the_end_is_not_looked_at_twice_nor_with_few_trials() -> None:
    whole = results(points(12), lambda point: point["noise"])
    assert len(importances(whole, num_samples=2)) == 1
    few = tuple(replace(trial, state="stopped") if trial.index > 8 else trial for trial in whole.trials)
    assert len(importances(replace(whole, trials=few), num_samples=2)) == 1


def test_too_few_trials_are_no_importance_but_a_reason() -> None:
    whole = results(points(12), lambda point: point["noise"])
    for num, reason in ((7, "7 trials were measured, but at least 8 are needed"), (0, "no trial was measured")):
        (found,) = importances(replace(whole, trials=whole.trials[:num]))
        assert (found.missing, found.effects, found.fit, found.num_trials) == (reason, (), None, num)
        assert found.verdict == f"The importance of single dimensions is unknown: {reason}."
    same = results(points(12), lambda _: 1.0)
    assert "all trials have the same kl_sum" in first(same).verdict
    apart = (replace(whole.trials[0], curve=((5, 1.0),)), *whole.trials[1:])
    assert "no number of updates was measured for all trials" in first(replace(whole, trials=apart)).verdict


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with refused(ConfigError, "importance_needs_sklearn", match=r"'.\[tune\]'"):
        importances(results(points(12), lambda point: point["noise"]))


# ----------------------------------------------------------------------------------------------------- words


def test_verdicts_do_not_flatter() -> None:
    nothing, something = Estimate(0.0, -0.1, 0.1), Estimate(0.5, 0.3, 0.7)
    effects = (Effect("a", something, True), Effect("b", nothing, False))
    described = Importance("t", 10, 20, None, something, nothing, effects, (Interaction("a", "b", something, True),))
    fit = "R² on unseen trials +0.50 [+0.30, +0.70]"
    assert described.verdict == (
        f"Dimensions with a significant effect: a; the model predicts ({fit}). Pairs with an interaction: a × b."
    )
    assert replace(described, effects=effects[1:]).verdict == (
        f"No dimension is significantly different from a dimension without effect, although the model predicts ({fit})."
    )
    assert "predicts, weakly (R²" in replace(described, fit=Estimate(0.1, -0.1, 0.3)).verdict
    assert replace(described, fit=nothing).verdict == (
        "The trials do not show which dimensions matter: the model predicts no better than the mean "
        "(R² on unseen trials +0.00 [-0.10, +0.10])."
    )


def test_scales_are_read_off_the_points() -> None:
    found = points(200)
    assert scale("lr", found).log and not scale("noise", found).log
    assert scale("size", found).levels == ("null",) and scale("size", found).high == 10
    assert scale("windows", found).levels == ("[1]", "[1, 2]", "[1, 2, 3]")
    assert scale("flag", found).levels == ("false", "true") and not scale("flag", found).has_numbers
    assert not scale("absent", found).has_numbers and scale("absent", found).levels == ()
    assert scale("lr", found).number(0.01) == pytest.approx(-2) and scale("flag", found).number(True) is None
    spans = {(1, 10, 100): True, (1, 10, 40): False, (0, 10, 100): False, (1, 60, 100): False}
    assert {values: scale("x", [{"x": value} for value in values]).log for values in spans} == spans
    assert [label(value) for value in ("a", 0.00012345, 3, None, True, [1, 2])] == [
        "a", "0.000123", "3", "null", "true", "[1, 2]",
    ]  # fmt: skip
