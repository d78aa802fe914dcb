"""Made-up results of sweeps, as large as real ones: their numbers follow a known distribution with noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlgan.tuning.judge.results import FinalResult, Kind, SweepResults, TrialResult, TrialState

DIMENSIONS = (
    "reward",
    "credit",
    "credit.num_rollouts",
    "baseline",
    "baseline.decay",
    "optimizers.generator.lr",
    "optimizers.discriminator.lr",
    "discriminator.windows",
    "schedule.g_batch",
    "schedule.d_steps",
    "adversary.buffer",
    "objective.whiten",
)
SEEDS = (101, 102, 103, 104, 105)
_UPDATES = (10, 20, 30, 40, 50, 60)
# (entrant, kind, shift of the objective against MLE at 1, temperatures)
_ENTRANTS: tuple[tuple[str, Kind, float, tuple[float, ...]], ...] = (
    ("MLE", "control", 0.0, (0.7, 0.8, 0.9, 1.0, 1.1)),
    ("mle_continued", "control", -0.03, (0.9, 1.0)),
    ("constant_reward", "control", 0.04, (0.9, 1.0)),
    ("oracle_ratio", "ceiling", -0.6, (1.0,)),
    ("trial 17", "finalist", -0.05, (0.9, 1.0, 1.1)),
    ("trial 31", "finalist", -0.02, (0.9, 1.0, 1.1)),
    ("trial 5", "finalist", 0.02, (0.9, 1.0, 1.1)),
)


def a_point(rng: np.random.Generator) -> dict[str, Any]:
    """A point of `DIMENSIONS`: log scales, conditional dimensions, lists, null and booleans."""

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    point: dict[str, Any] = {"reward": one_of("probability", "ratio", "logit")}
    point["credit"] = one_of("terminal", "monte_carlo", "reward_to_go")
    if point["credit"] == "monte_carlo":
        point["credit.num_rollouts"] = one_of(1, 4, 16)
    point["baseline"] = one_of("none", "ema", "batch_mean")
    if point["baseline"] == "ema":
        point["baseline.decay"] = float(rng.uniform(0.5, 0.99))
    point["optimizers.generator.lr"] = float(10 ** rng.uniform(-5, -1))
    point["optimizers.discriminator.lr"] = float(10 ** rng.uniform(-4, -2))
    point["discriminator.windows"] = one_of([1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 8, 10])
    point["schedule.g_batch"] = one_of(64, 128, 256, 512)
    point["schedule.d_steps"] = one_of(1, 2, 5)
    point["adversary.buffer"] = one_of(None, 1, 10)
    point["objective.whiten"] = one_of(False, True)
    return point


def quality(point: dict[str, Any]) -> float:
    """What a point adds to the objective: learning rate most, baseline some, windows a little, all else nothing."""
    far = abs(math.log10(point["optimizers.generator.lr"]) + 3.5)
    return 0.5 * far + 0.3 * (point["baseline"] == "none") + 0.05 * (len(point["discriminator.windows"]) == 2)


def a_sweep(*, text: bool = False, num_trials: int = 60, seed: int = 0) -> SweepResults:
    """Sixty trials, most of them stopped early, a few failed or diverged, and a final race over five seeds.

    Args:
        text: whether the task is text; otherwise it knows its distribution.
        num_trials: of the search.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    sides = ("lm_5gram", "rlm_5gram") if text else ("kl_forward", "kl_reverse")
    level = 4.0 if text else 1.2

    def split(value: float) -> dict[str, float]:
        first = value / 2 + 0.03 * float(rng.standard_normal())
        return {sides[0]: first, sides[1]: value - first, "nll_gen": 5.0 + 0.1 * float(rng.standard_normal())}

    points = [a_point(rng) for _ in range(num_trials)]
    finish = set(np.argsort([quality(point) for point in points])[: num_trials // 3].tolist())
    trials = []
    for index, point in enumerate(points):
        state: TrialState = "finished" if index in finish else "stopped"
        last = 60 if index in finish else int(rng.choice((20, 20, 30)))
        error = None
        if index % 17 == 3:
            state, error = "failed", "ValueError: the gradient is not finite\n  at update 21; lower the learning rate"
            last = 0 if index % 2 else 20
        elif index == num_trials - 1:
            state, last = "unfinished", 20
        wanted = level + 0.4 * quality(point)
        curve = [
            (update, wanted + 0.5 * math.exp(-update / 15) + 0.03 * float(rng.standard_normal()))
            for update in _UPDATES
            if update <= last
        ]
        if index in (8, 29) and curve:  # diverged
            curve[-1] = (curve[-1][0], 50.0 + index)
        metrics = split(curve[-1][1]) if curve else {}
        trials.append(TrialResult(index, point, state, tuple(curve), metrics, 90.0 + last, error))
    finals = []
    for entrant, kind, shift, temperatures in _ENTRANTS:
        if text and kind == "ceiling":  # nobody knows the distribution
            continue
        for one in SEEDS:
            of_seed = 0.04 * math.sin(one) + 0.015 * float(rng.standard_normal())
            for temperature in temperatures:
                value = level + 0.1 + shift + of_seed + 2.0 * (temperature - 0.9) ** 2
                cooler = 0.8 * (temperature - 1.0)
                sets = []
                for _ in range(2):
                    both = split(value + 0.005 * float(rng.standard_normal()))
                    both[sides[0]] += cooler if text else -cooler
                    both[sides[1]] -= cooler if text else -cooler
                    sets.append(both)
                finals.append(FinalResult(entrant, kind, one, temperature, *sets))
    return SweepResults(
        name="made-up",
        study="everything",
        description="Which reward map, credit and baseline help, and at which learning rate?",
        task="text: prose" if text else "oracle: vocabulary 500, 20 tokens",
        objective="lm_rlm" if text else "kl_sum",
        sides=sides,
        dimensions=DIMENSIONS,
        trials=tuple(trials),
        finals=tuple(finals),
        beside={
            name: ("mle_continued", None if text else "oracle_ratio")
            for name, kind, *_ in _ENTRANTS
            if kind == "finalist"
        },
        contradictions={"needs credit=monte_carlo": 7, "has no effect with baseline=none": 3},
    )
