"""How often the closing line claims something where there is nothing: A/A pairs and null runs.

    python -m benchmarks.null_runs [--data DIR] [--tasks oracle captions] [--seeds 1 2 3 4 5 6] [--join FILE ...]
        [--set PATH VALUE ...]

DIR holds image_coco, as its publishers name the files; without it the oracle is the only task. Each seed trains a
maximum-likelihood start, and from it several generators that have nothing to gain over each other. Each pair goes
through the very functions by which a run is judged: temperatures by validation data, differences on test data, the
chance of training by four trainings of constant_reward.

* `draws`: one generator, drawn twice. `likelihood`, `random`, `constant`, `adversarial`: two trainings of
mle_continued, of random_reward, of constant_reward, of the preset `quick`, which differ by the seed. Any claim is
false.
* `random run`, `constant run`: random_reward and constant_reward as a run, with the other one, mle_continued and the
start as its controls. "Better" is false; that noise makes a generator worse may be true.
* `temperature 0.4`, `quarter`, `full`: differences that are there, for the power. mle_continued at temperature 0.4
against itself at its own: distinguished is right, and which is better depends on how well it was trained. A generator
of a quarter of the epochs against mle_continued: "worse" is right; mle_continued against the quarter: "better" is
right.

Seeds may be run in several calls: `--seeds --join` and the files that they were printed to makes one table of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.common import add_changes, machine
from benchmarks.presets import line, lines, run
from rlgan.config.config import Config, Control
from rlgan.config.paths import override
from rlgan.envs.tasks import OracleTask, Task, TaskSettings, TextTask, build_task
from rlgan.envs.tasks.pieces import Words
from rlgan.evaluation.evaluator import Evaluator
from rlgan.evaluation.evidence import Evidence, combined
from rlgan.evaluation.verdict import Entrant, Verdict, best_temperature, judge
from rlgan.generators import Generator
from rlgan.presets.controls import control
from rlgan.presets.quick import quick
from rlgan.runs.judging import validation_evaluator

TINY_MARKS = ("slow",)

TEMPERATURES = (1.0, 0.9, 0.8)
NUM_TRAININGS = 4
SIZES: dict[str, Any] = {
    "schedule.mle_epochs": 8,
    "schedule.mle_patience": None,
    "schedule.adversarial_updates": 12,
    "schedule.g_batch": 64,
    "schedule.discriminator_rounds": 2,
    "adversary.sequences_per_round": 128,
    "evaluation.final_sequences": 600,
    "evaluation.encoders": "",
    "workers.threads": 1,
}
NULL_PAIRS = ("draws", "likelihood", "random", "constant", "adversarial")
"""Pairs of which every claim is false."""
NULL_RUNS = ("random run", "constant run")
"""Runs of which "better" is false."""
REAL = {"temperature 0.4": ("better", "worse"), "quarter": ("worse",), "full": ("better",)}
"""Differences that are there → what is right of them."""
_OUTCOMES = {"better": 1.0, "no significant difference": 0.0, "worse": -1.0}


ORACLE = OracleTask(vocab_size=30, max_length=6, num_train=500, num_valid=200, num_test=400)


def captions(data: Path, scratch: Path) -> TextTask:
    """Captions of up to 10 words among the first 1,200, of which 200 words are known.

    Args:
        data: folder with image_coco.
        scratch: folder for a file of those captions.
    """
    file = scratch / "captions.txt"
    read = (data / "image_coco" / "image_coco_train.txt").read_text("utf-8").splitlines()
    file.write_text("\n".join(read[:1_200]), "utf-8")
    return TextTask(data=str(file), tokens=Words(max_size=200), max_length=11)


@dataclass(frozen=True)
class World:
    """What all pairs of a seed have in common.

    Attributes:
        config: of a run of `quick`.
        task: of it.
        start: weights of the maximum-likelihood start.
    """

    config: Config
    task: Task
    start: Any

    def trained(self, name: Control | None, number: int) -> Generator:
        """A generator of a control, or of the run itself, from the start by a seed of its own."""
        config = self.config if name is None else control(self.config, name)
        return run(config.model_copy(update={"seed": 1_000 + number}), self.task, self.start)[0]


def world(settings: TaskSettings, sizes: Mapping[str, Any], seed: int) -> tuple[World, Generator, Generator]:
    """The world of a seed, the start, and a generator of a quarter of its epochs."""
    config = override(quick(settings).model_copy(update={"controls": (), "seed": seed}), dict(sizes))
    task = build_task(config.task)
    schedule = control(config, "mle_continued").schedule.model_copy(update={"adversarial_updates": 0})
    likelihood = control(config, "mle_continued").model_copy(update={"schedule": schedule})
    start, weights, _ = run(likelihood, task)
    epochs = max(1, config.schedule.mle_epochs // 4)
    early = likelihood.model_copy(update={"schedule": schedule.model_copy(update={"mle_epochs": epochs})})
    return World(config, task, weights), start, run(early, task)[0]


class Bench:
    """Judges pairs of one world.

    Args:
        world: of the seed.
    """

    def __init__(self, world: World) -> None:
        self._number = world.config.evaluation.final_sequences
        self._validation = validation_evaluator(world.config, world.task)
        # Other draws than the first: the sequences of a second look at the same generator.
        self._tests = [
            Evaluator(world.task, world.config.evaluation, world.config.seed, draw) for draw in ("first", "second")
        ]

    @cache  # noqa: B019 - one object a seed
    def best(self, generator: Generator, temperatures: tuple[float, ...] = TEMPERATURES) -> tuple[float, float]:
        """Temperature by validation data, and the measure there."""
        return best_temperature({one: self._validated(generator, one) for one in temperatures})

    @cache  # noqa: B019
    def _validated(self, generator: Generator, temperature: float) -> float:
        return self._validation.evidence(generator, temperature, self._number, has_groups=False).total

    @cache  # noqa: B019
    def evidence(self, generator: Generator, temperature: float, look: int) -> Evidence:
        """Of test data, by the first or the second draw."""
        return self._tests[look].evidence(generator, temperature, self._number)

    def entrant(
        self,
        name: str,
        generator: Generator,
        look: int = 0,
        temperatures: tuple[float, ...] = TEMPERATURES,
        is_trained: bool = True,
    ) -> Entrant:
        """A generator at its best temperature."""
        temperature, value = self.best(generator, temperatures)
        return Entrant(name, temperature, value, self.evidence(generator, temperature, look), is_trained)

    def judged(self, ours: Entrant, controls: Sequence[Entrant], equal: Sequence[Generator]) -> Verdict:
        """The verdict, with the chance of training by equal trainings."""
        temperature, _ = self.best(equal[0])
        sides = np.array([self.evidence(one, temperature, 0).sides for one in equal])
        measure = self._tests[0].two_sided(equal[0])
        assert measure is not None
        return judge(measure, ours, controls, sides, "constant_reward")


def one_seed(
    settings: TaskSettings, sizes: Mapping[str, Any], seed: int, num_trainings: int = NUM_TRAININGS
) -> Iterator[tuple[str, dict[str, float]]]:
    """(pair, its figures) of one seed."""
    its, start, early = world(settings, sizes, seed)
    bench = Bench(its)
    equal = [its.trained("constant_reward", number) for number in range(num_trainings)]
    constant = [equal[0], its.trained("constant_reward", 100)]
    continued, again = (its.trained("mle_continued", number) for number in (0, 100))
    noise = [its.trained("random_reward", number) for number in (0, 100)]
    adversarial = [its.trained(None, number) for number in (0, 100)]

    def entrant(generator: Generator, look: int = 0, **changes: Any) -> Entrant:
        return bench.entrant("one" if look == 0 else "run", generator, look, **changes)

    beside = [entrant(start, is_trained=False), entrant(continued)]
    pairs = {
        # What was drawn of both is independent: a run draws by the second stream, controls by the first.
        "draws": (entrant(continued, 1), [entrant(continued)]),
        "likelihood": (entrant(again, 1), [entrant(continued)]),
        "random": (entrant(noise[1], 1), [entrant(noise[0])]),
        "constant": (entrant(constant[1], 1), [entrant(constant[0])]),
        "adversarial": (entrant(adversarial[1], 1), [entrant(adversarial[0])]),
        "random run": (entrant(noise[1], 1), [*beside, entrant(constant[0])]),
        "constant run": (entrant(constant[1], 1), [*beside, entrant(noise[0])]),
        "temperature 0.4": (entrant(continued, 1, temperatures=(0.4,)), [entrant(continued)]),
        "quarter": (entrant(early, 1), [entrant(continued)]),
        "full": (entrant(continued, 1), [entrant(early)]),
    }
    for name, (ours, controls) in pairs.items():
        yield name, _figures(bench.judged(ours, controls, equal), ours, controls)


def _figures(verdict: Verdict, ours: Entrant, controls: Sequence[Entrant]) -> dict[str, float]:
    total = verdict.comparisons[0].total
    best = min(controls, key=lambda one: one.validation)
    low, high = combined((ours.evidence, best.evidence), (1.0, -1.0)).interval()
    assert total.training_error is not None
    return {
        "difference": total.value,
        "low": total.low,
        "high": total.high,
        "claim": _OUTCOMES[verdict.outcome],
        "by draw": float(not low <= 0 <= high),
        "draw error": total.draw_error,
        "training error": total.training_error,
    }


def table(found: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> str:
    """(task, pair) → seed → figures; a line a pair, and what counts in all."""
    header = ("task", "pair", "pairs", "better", "worse", "draw alone excludes 0", "mean difference", "draw error",
              "training error")  # fmt: skip
    text = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for (task, pair), seeds in sorted(found.items(), key=lambda one: (one[0][0], _ORDER.index(one[0][1]))):
        rows = [*seeds.values()]
        counted = [sum(row["claim"] == sign for row in rows) for sign in (1.0, -1.0)]
        means = [float(np.mean([row[name] for row in rows])) for name in ("difference", "draw error", "training error")]
        cells = (
            task,
            pair,
            len(rows),
            *counted,
            sum(int(row["by draw"]) for row in rows),
            *(f"{m:.3f}" for m in means),
        )
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*text, "", *_sums(found)])


_ORDER = (*NULL_PAIRS, *NULL_RUNS, *REAL)


def _sums(found: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> list[str]:
    def rows(names: Sequence[str]) -> list[tuple[str, Mapping[str, float]]]:
        return [(pair, row) for (_, pair), seeds in found.items() if pair in names for row in seeds.values()]

    def share(what: str, hits: int, number: int) -> str:
        limits = binomtest(hits, number).proportion_ci(method="exact") if number else None
        shown = "" if limits is None else f" = {hits / number:.3f}, 95 % interval [{limits.low:.3f}, {limits.high:.3f}]"
        return f"{what}: {hits} of {number}{shown}"

    pairs, runs = rows(NULL_PAIRS), rows(NULL_RUNS)
    false = sum(row["claim"] != 0 for _, row in pairs)
    better = sum(row["claim"] > 0 for _, row in runs)
    drawn = [row for pair, row in pairs if pair == "draws"]
    found_right = sum(row["claim"] in {_OUTCOMES[right] for right in REAL[pair]} for pair, row in rows([*REAL]))
    return [
        share("False claims of A/A pairs and null pairs", false, len(pairs)),
        share('Null runs that are called "better"', better, len(runs)),
        share("False claims in all", false + better, len(pairs) + len(runs)),
        share("One generator drawn twice, told apart by the interval of the draw alone",
              sum(int(row["by draw"]) for row in drawn), len(drawn)),
        share("Real differences that are found", found_right, len(rows([*REAL]))),
    ]  # fmt: skip


def tiny(folder: Path) -> list[str]:
    sizes = {
        "task.vocab_size": 8,
        "task.max_length": 4,
        "task.num_train": 80,
        "task.num_valid": 30,
        "task.num_test": 30,
        "schedule.mle_epochs": 2,
        "schedule.adversarial_updates": 1,
        "schedule.g_batch": 8,
        "schedule.discriminator_rounds": 1,
        "adversary.sequences_per_round": 32,
        "adversary.batch": 16,
        "evaluation.final_sequences": 60,
    }
    return ["--seeds", "1", *(word for path, value in sizes.items() for word in ("--set", path, str(value)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with image_coco, for captions")
    parser.add_argument(
        "--tasks", nargs="*", choices=["oracle", "captions"], help="default: oracle, with --data captions, too"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    add_changes(parser)
    arguments = parser.parse_args()
    names = arguments.tasks if arguments.tasks is not None else ["oracle", *(["captions"] if arguments.data else [])]
    if "captions" in names and arguments.data is None:
        parser.error("--tasks captions needs --data DIR, the folder with image_coco; --tasks oracle needs no data")
    sizes = SIZES | dict(arguments.set)
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for file in arguments.join:
        for seed, name, figures in lines(file.read_text("utf-8")):
            task, _, pair = name.partition(", ")
            found.setdefault((task, pair), {})[seed] = figures
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, TaskSettings] = {"oracle": ORACLE}
        if "captions" in names:
            settings["captions"] = captions(arguments.data, Path(folder))
        for seed in arguments.seeds:
            for task in names:
                begun = time.perf_counter()
                for pair, figures in one_seed(settings[task], sizes, seed):
                    found.setdefault((task, pair), {})[seed] = figures
                    print(line(seed, f"{task}, {pair}", figures), flush=True)
                print(f"{task}: {time.perf_counter() - begun:.0f} s", flush=True)
    print(f"\n{table(found)}")


if __name__ == "__main__":
    main()
