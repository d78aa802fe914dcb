"""All presets beside each other: the same small oracle, generator, start and number of generator updates.

    python -m benchmarks.presets [--pairs] [--seeds 1 2 3] [--updates 60] [--only NAME ...] [--join FILE ...]
        [--set PATH VALUE ...]

Each preset keeps its algorithm, its optimisers and its balance between generator and discriminator; its sizes are those
of a laptop. All begin from the maximum-likelihood start of `quick`, presets that are published without one, too: from
nothing none comes anywhere in as many updates. Those whose generator is a part of their method (`leakgan`, `relgan`)
keep it, in small, and have a start of its own; beside them stands the control `mle_continued` from there, as `NAME,
likelihood`. So it does beside those that learn from real sequences in many steps an update (`spin`, `gsil`): it reads
as many in as many steps. Presets that begin with rounds of the discriminator keep them, at most
5; a language model in its place keeps its sizes and its epochs. Presets of language models have this generator and the
judge of `quick`, and their own batches. Controls: the start at several temperatures,
`mle_continued`, and the ceiling `oracle_ratio`.

With `--pairs` the world is of pairs instead: sequences of 8 of 50 tokens, each of which is to be written in reverse, a
tenth of the tokens replaced at random. `leakgan`, `relgan` and `rankgan` take their networks of pairs.

Figures are means over seeds, with half-widths of 95 % t intervals. Each row stands at the temperature that is best for
it on validation data, and at temperature 1, both on test data. It may be done in several calls: `--join` and the files
that they were printed to takes what is there, and only the other rows are run (`--seeds` alone: none).
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from benchmarks.common import add_changes, machine
from rlgan.config.config import Config, Control
from rlgan.config.paths import flatten, override, to_dict
from rlgan.envs.tasks import Task, TaskSettings, TransductionTask, build_task
from rlgan.envs.tasks.transduction import Reverse
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.generators import Generator
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.presets.controls import control
from rlgan.presets.quick import SMALL_ORACLE, quick
from rlgan.presets.registry import PRESETS, preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TEMPERATURES = (1.0, 0.95, 0.9, 0.85, 0.8)
SMALL: dict[str, Any] = {
    "discriminator.embedding": 32,
    "discriminator.hidden": 64,
    "discriminator.width": 64,
    "discriminator.blocks": 2,
    "discriminator.representations": 32,
    "discriminator.windows": "1,2,3,4",
    "discriminator.filters": "64",
    "discriminator.dropout": 0.5,
    "credit.num_rollouts": 4,
    "adversary.sequences_per_round": 640,
    "adversary.batch": 128,
    "schedule.g_batch": 256,
    "schedule.d_epochs": 1,
    "workers.threads": 1,
}
_CONTROLS: tuple[Control, ...] = ("mle_continued", "oracle_ratio")
_OF_THE_DISCRIMINATOR = {"D AUC": "discriminator/auc_heldout", "D NLL": "discriminator/nll_heldout"}


_ELSEWHERE = ("mle", "mle_continued", "oracle_ratio", "seqgan-quick", "quick_distill", "wgan_gp", "vae_seqgan")
_OF_MOLECULES = ("molecule_mle", "organ", "organ_grpo", "reinvent")

OWN_GENERATORS: dict[str, dict[str, Any]] = {
    "relgan": {"generator.head_size": 32, "discriminator.embedding": 32, "discriminator.representations": 8},
    "leakgan": {
        "generator.feature_embedding": 32,
        "generator.feature_windows": "1,2,3,4",
        "generator.feature_filters": "64",
        "discriminator.dropout": 0.0,
        # Features may not change behind the back of likelihood, and no epoch is taken back.
        "schedule.mle_epochs": 30,
        "schedule.mle_patience": None,
    },
}
"""Presets whose generator is a part of their method, and its sizes."""
OWN_GENERATORS_OF_PAIRS: dict[str, dict[str, Any]] = {
    "relgan": OWN_GENERATORS["relgan"],
    "leakgan": OWN_GENERATORS["leakgan"] | {"generator.feature_hidden": 64, "discriminator.mlp_hidden": 64},
}


_OF_LANGUAGE_MODELS = ("spin", "gsil", "textgail", "gcn", "coldgans", "dial_dpo")
"""Presets of language models whose algorithm needs no prompts."""


SMALL_PAIRS = TransductionTask(
    rule=Reverse(noise=0.1), vocab_size=50, max_length=8, num_train=5_000, num_valid=1_000, num_test=2_000
)
OF_PAIRS = (
    "quick", "seqgan", "seqgan_rloo", "seqgan_grpo", "cgan_seq", "rankgan", "relgan", "leakgan", "constant_reward",
    "random_reward",
)  # fmt: skip
"""What is compared with `--pairs`; presets of translation and dialogue are in `benchmarks.pairs`, on real data."""


def compared() -> list[str]:
    """All presets of sequences but those that are another's size or stand there anyway.

    `wgan_gp` and `vae_seqgan` are none: of their generators no likelihood is known, and so no gaps. Presets of
    molecules are in `benchmarks.molecules`.
    """
    elsewhere = {*_ELSEWHERE, *_OF_MOLECULES}
    plain = [name for name in PRESETS if not preset(name).task.gives_conditions and name not in elsewhere]
    return [*plain, *_OF_LANGUAGE_MODELS]


def small(name: str, updates: int, seed: int, world: TaskSettings = SMALL_ORACLE) -> Config:
    """A preset with sizes, data and start of `quick`."""
    base, common = preset(name, world), quick(world)
    if name in _OF_LANGUAGE_MODELS and base.discriminator is not None:
        base = base.model_copy(update={"discriminator": common.discriminator})
    had = flatten(to_dict(base))
    changes = {path: value for path, value in SMALL.items() if had.get(path)}
    changes |= {
        "seed": seed,
        "schedule.adversarial_updates": updates,
        "schedule.discriminator_rounds": min(5, had["schedule.discriminator_rounds"]),
        "schedule.d_steps": min(5, had["schedule.d_steps"]),
    }
    if base.adversary.loss.is_of_a_distribution:
        # A language model is small already, and is no judge before it has learned for epochs: of half as many sequences
        # in half as many rounds.
        changes = {
            path: value for path, value in changes.items() if not path.startswith(("discriminator", "adversary"))
        }
        changes["schedule.discriminator_rounds"] = had["schedule.discriminator_rounds"] // 2
    if base.schedule.d_fakes == "rollouts" or name in _OF_LANGUAGE_MODELS:
        # A round has the sequences of one update, and in as many steps as the preset makes of them.
        changes = {path: value for path, value in changes.items() if not path.startswith(("adversary", "schedule.g_b"))}
    if isinstance(base.schedule.teacher_forcing, MixedPrefix):
        changes |= {"schedule.teacher_forcing.block": max(1, updates // 6)}
    pretraining = {
        f"schedule.{name}": getattr(common.schedule, name) for name in ("mle_epochs", "mle_patience", "mle_batch")
    }
    optimizers = base.optimizers.model_copy(update={"mle": common.optimizers.mle})
    generator = base.generator if name in OWN_GENERATORS else common.generator
    own = (OWN_GENERATORS_OF_PAIRS if world.gives_conditions else OWN_GENERATORS).get(name, {})
    return override(
        base.model_copy(update={"generator": generator, "optimizers": optimizers, "controls": ()}),
        changes | pretraining | own,
    )


def run(config: Config, task: Task, start: Any = None) -> tuple[Generator, Any, dict[str, float]]:
    """The generator at the end, the maximum-likelihood start, and the last unit's figures."""
    metrics: dict[str, float] = {}
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, start)
        while trainer.next_phase is not None:
            metrics |= trainer.step(measure=False).metrics
        return trainer.current_generator(), trainer.mle_start, metrics


class Judge:
    """Both KL gaps of a generator at the temperature that is best for it on validation data, and at 1."""

    def __init__(self, config: Config, task: Task) -> None:
        settings = config.evaluation
        self._number = settings.final_sequences
        self._validation = Evaluator(selection_view(task), settings, config.seed, "selection")
        self._test = Evaluator(task, settings, config.seed)

    def __call__(self, generator: Generator) -> dict[str, float]:
        def total(temperature: float) -> float:
            return self._validation.measure(generator, temperature, self._number).metrics["eval/kl_sum"]

        best = min(TEMPERATURES, key=total)
        found = {"τ": best}
        for suffix, temperature in (("", best), (" at 1", 1.0)):
            measured = self._test.measure(generator, temperature, self._number).metrics
            found |= {f"{gap}{suffix}": measured[f"eval/kl_{gap}"] for gap in ("forward", "reverse", "sum")}
        return found


def by_likelihood(name: str, base: Config, changes: Mapping[str, Any]) -> Config:
    """A preset of likelihood alone, for as long as it learns."""
    config = preset(name, base.task).model_copy(update={"seed": base.seed, "workers": base.workers})
    return override(override(config, {"schedule.mle_epochs": 60, "schedule.mle_patience": 3}), changes)


def one_seed(
    names: Sequence[str],
    updates: int,
    seed: int,
    changes: Mapping[str, Any],
    world: TaskSettings = SMALL_ORACLE,
    done: Collection[str] = (),
) -> Iterator[tuple[str, dict[str, float]]]:
    """(row, its figures) of one seed.

    Args:
        names: presets.
        updates: of the generator.
        seed: of data and runs.
        changes: settings of every run.
        world: task.
        done: rows that are there already. The start of `quick` is trained where one of the others begins there.
    """
    base = override(small("quick", updates, seed, world), changes)
    task = build_task(base.task)
    judge = Judge(base, task)
    names = [name for name in names if not {name, *_control_rows(name)} <= {*done}]
    common = [name for name in _CONTROLS if name not in done]
    start = None
    if (
        "MLE" not in done
        or common
        or any(name not in OWN_GENERATORS and preset(name).schedule.adversarial_updates for name in names)
    ):
        generator, start, _ = run(by_likelihood("mle", base, changes), task)
        if "MLE" not in done:
            yield "MLE", judge(generator)
    for beside in common:
        generator, _, _ = run(control(base, beside), task, start)
        yield beside, judge(generator)
    for name in names:
        begun, its_start = time.perf_counter(), start
        # What has a start of its own is run again for it, where its control is not there.
        is_there = name in done and name not in OWN_GENERATORS
        config = override(small(name, updates, seed, world), changes)
        if name in OWN_GENERATORS:
            generator, its_start, metrics = run(config, task)
        elif not preset(name).schedule.adversarial_updates:  # Pretraining of another kind
            generator, _, metrics = run(by_likelihood(name, base, changes), task)
        elif not is_there:
            generator, _, metrics = run(config, task, start)
        if not is_there:
            figures = {"seconds": time.perf_counter() - begun}
            for column, figure in _OF_THE_DISCRIMINATOR.items():
                if figure in metrics:
                    figures[column] = metrics[figure]
            yield name, judge(generator) | figures
        for row in _control_rows(name):
            generator, _, _ = run(control(config, "mle_continued"), task, its_start)
            yield row, judge(generator)


def _control_rows(name: str) -> tuple[str, ...]:
    """Rows beside that of a preset: the control from its own start, or in as many steps as it learns real ones in."""
    has_own = name in OWN_GENERATORS or preset(name).objective.contrasts_reals
    return (f"{name}, likelihood",) if has_own else ()


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± half of the 95 % t interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def line(seed: int, name: str, figures: dict[str, float]) -> str:
    """What is printed of a row of one seed; `lines` reads it."""
    return f"seed {seed}: {name}: " + "  ".join(f"{key} {value:.4f}" for key, value in figures.items())


def lines(text: str) -> Iterator[tuple[int, str, dict[str, float]]]:
    """(seed, row, its figures) of what `line` made."""
    for found in re.finditer(r"^seed (\d+): ([^:]+): (.*)$", text, re.MULTILINE):
        figures = (cell.rpartition(" ") for cell in found[3].split("  "))
        yield int(found[1]), found[2], {key: float(value) for key, _, value in figures}


def table(rows: dict[str, dict[int, dict[str, float]]]) -> str:
    """Means over seeds, the best first: row → seed → figures."""
    continued = rows.get("mle_continued", {})
    columns = ("sum", "forward", "reverse", "sum at 1", *_OF_THE_DISCRIMINATOR)
    header = ("", "τ", "sum less mle_continued's", *columns)
    text = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, found in sorted(rows.items(), key=lambda row: statistics.mean(one["sum"] for one in row[1].values())):
        # Of the same seed, so that what a seed does to all is not counted as chance.
        beside = [one["sum"] - continued[seed]["sum"] for seed, one in found.items() if seed in continued]
        described = {column: [one[column] for one in found.values() if column in one] for column in columns}
        cells = [
            "/".join(f"{one['τ']:g}" for one in found.values()),
            interval(beside) if beside and name != "mle_continued" else "",
            *(interval(values) if len(values) == len(found) else "" for values in described.values()),
        ]
        text.append("| " + " | ".join((name, *cells)) + " |")
    return "\n".join(text)


def tiny(folder: Path) -> list[str]:
    sizes = {
        "task.vocab_size": 20,
        "task.num_train": 64,
        "task.num_valid": 20,
        "task.num_test": 20,
        "schedule.mle_epochs": 1,
        "adversary.sequences_per_round": 64,
        "evaluation.num_sequences": 20,
        "evaluation.final_sequences": 20,
    }
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    return ["--seeds", "1", "--updates", "1", "--only", "quick", "seqgan", *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--only", nargs="*", choices=[*compared(), *OF_PAIRS], metavar="NAME")
    parser.add_argument("--pairs", action="store_true", help="in a world of pairs")
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    add_changes(parser)
    arguments = parser.parse_args()
    there = OF_PAIRS if arguments.pairs else compared()
    names: Sequence[str] = there if arguments.only is None else arguments.only
    if unknown := [name for name in names if name not in there]:
        parser.error(f"--only {' '.join(unknown)}: not compared {'with' if arguments.pairs else 'without'} --pairs")
    world: TaskSettings = SMALL_PAIRS if arguments.pairs else SMALL_ORACLE
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for file in arguments.join:
        for seed, name, figures in lines(file.read_text("utf-8")):
            rows.setdefault(name, {})[seed] = figures
    print(machine())
    for seed in arguments.seeds:
        done = [name for name, found in rows.items() if seed in found]
        for name, figures in one_seed(names, arguments.updates, seed, dict(arguments.set), world, done):
            rows.setdefault(name, {})[seed] = figures
            print(line(seed, name, figures), flush=True)
    print(f"\n{arguments.updates} generator updates\n\n{table(rows)}")


if __name__ == "__main__":
    main()
