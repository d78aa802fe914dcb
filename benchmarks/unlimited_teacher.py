"""Which judge teaches a student that is too small, of a teacher that can be sampled without end.

    python -m benchmarks.unlimited_teacher [--seeds 1 2 3 4 5] [--judges NAME ...] [--without ROW ...]
        [--student 8] [--updates 150]
        [--rounds 100]
        [--alpha 0.3] [--d-steps 1 ...] [--join FILE ...] [--plot FILE.png] [--set PATH VALUE ...]

The teacher is an LSTM oracle (50 tokens, length 12, 32 units), and its sequences are a stream: new ones for every
likelihood step and every round of a judge, the same numbers for all. All students begin at one maximum-likelihood
start, make as many updates, and have likelihood mixed in with weight alpha. Sizes are those of preset quick_distill.

    mle_continued              the likelihood alone
    mle_all_reals              the same with the judge's real sequences, too, in larger batches
    oracle_ratio               rewarded by the exact log p_d - log p_θ, likelihood mixed in with weight .3; with _3: 3
    the judges                 rewarded by what they learned; with several --d-steps each is a row for each number of
                               rounds between updates, NAME_d2 of two, with as many more real sequences
    density_ratio_distilled    likelihood of as many sequences of its judge's language model p_φ

Measured on the teacher's own sequences at many temperatures: forward KL(p_d‖p_θ) and reverse KL(p_θ‖p_d), nats a token.
`gain` is how far the reverse KL lies below that of mle_continued at equal forward KL, on average from where the last of
the curves begins to where the exact ratio ends (`rlgan.metrics.temperature_curves`); `share` is the gain over that of
the exact ratio, whose curve is the lowest of its two.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import add_changes, machine
from benchmarks.presets import interval
from rlgan.base.weights import load_weights
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import build_discriminator
from rlgan.discriminators.language_model import LanguageModelDiscriminator
from rlgan.envs.tasks import Task, build_task
from rlgan.evaluation.evaluator import Evaluator
from rlgan.generators import Generator
from rlgan.metrics.temperature_curves import Point, frontier, mean_gain, share_of_gain
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sampler_of
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TEMPERATURES = (1.4, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6)
_OF_CLASSES = {"optimizers.discriminator.lr": 2e-3}
_SEQUENCES = _OF_CLASSES | {"reward": "logit", "credit": "terminal", "adversary.loss": "cross_entropy"}
JUDGES: dict[str, dict[str, Any]] = {
    "density_ratio": {},
    "density_ratio_alone": {"adversary.loss.likelihood": 0.0},
    "lm": {
        "adversary.batch": 64,
        "discriminator": "language_model",
        "discriminator.embedding": 32,
        "discriminator.hidden": 64,
        "discriminator.dropout": 0.0,
        "discriminator.tied": False,
        "adversary.loss": "likelihood",
    },
    "causal": _OF_CLASSES
    | {
        "discriminator": "causal_lstm",
        "discriminator.embedding": 32,
        "discriminator.hidden": 64,
        "discriminator.dropout": 0.0,
        "adversary.loss": "cross_entropy",
        "reward": "logit_increment",
    },
    "cnn": _SEQUENCES
    | {
        "discriminator": "cnn_highway",
        "discriminator.embedding": 32,
        "discriminator.windows": "1,2,3,4,5",
        "discriminator.filters": "64",
    },
    "lstm": _SEQUENCES | {"discriminator": "lstm", "discriminator.embedding": 32, "discriminator.hidden": 64},
    "ensemble": _SEQUENCES
    | {
        "discriminator": "cnn_highway",
        "discriminator.embedding": 32,
        "discriminator.windows": "1,2,3,4,5",
        "discriminator.filters": "32",
        "discriminator.members": 4,
    },
}


CEILINGS = {"oracle_ratio": 0.3, "oracle_ratio_3": 3.0}
"""Rows of the exact ratio, and the weight of likelihood beside it. The ceiling is the lowest of them."""


def judged_by(name: str, arguments: argparse.Namespace, seed: int, d_steps: int) -> Config:
    """The run of one judge with so many rounds between updates."""
    sizes = {
        "seed": seed,
        "generator.embedding": arguments.student,
        "generator.hidden": arguments.student,
        "schedule.adversarial_updates": arguments.updates,
        "schedule.discriminator_rounds": arguments.rounds,
        "schedule.d_steps": d_steps,
        "schedule.teacher_forcing.weight": arguments.alpha,
    }
    base = preset("quick_distill").model_copy(update={"controls": ()})
    return override(override(base, sizes | JUDGES[name]), dict(arguments.set))


def by_likelihood(base: Config) -> Config:
    """The start: the student's network by likelihood alone, at a rate that falls, until it gains nothing more."""
    config, names = preset("mle", base.task), ("mle_epochs", "mle_patience", "mle_batch", "mle_halve_from")
    own = {name: getattr(base, name) for name in ("seed", "generator", "workers", "optimizers")}
    schedule = config.schedule.model_copy(update={name: getattr(base.schedule, name) for name in names})
    return config.model_copy(update=own | {"schedule": schedule})


def ceiling(base: Config, alpha: float) -> Config:
    """Rewarded by the exact ratio, at the run's own rate."""
    own = {"optimizers.generator.lr": base.optimizers.generator.lr, "schedule.teacher_forcing.weight": alpha}
    return override(control(base, "oracle_ratio"), own)


def with_all_reals(base: Config) -> Config:
    """`mle_continued` with the judge's sequences, too: larger batches."""
    rounds = base.schedule.discriminator_rounds + base.schedule.adversarial_updates * base.schedule.d_steps
    shown = rounds * base.adversary.sequences_per_round // base.schedule.adversarial_updates
    return override(control(base, "mle_continued"), {"schedule.mle_batch": base.schedule.mle_batch + shown})


def curve(generator: Generator, evaluator: Evaluator, number: int) -> list[Point]:
    """Both divergences at every temperature."""
    points = []
    for temperature in TEMPERATURES:
        found = evaluator.measure(generator, temperature, number).metrics
        points.append((found["eval/kl_forward"], found["eval/kl_reverse"]))
    return points


def taught_by(judge: Generator, task: Task) -> Task:
    """The same task, whose training sequences are drawn from the language model of a judge."""
    sampler = sampler_of(judge, task.space)

    def stream(num_sequences: int, seed: int) -> tuple[Tensor, Tensor | None]:
        return sampler.sample(num_sequences, torch.Generator().manual_seed(seed)).tokens, None

    return replace(task, stream=stream)


def one_seed(
    names: Sequence[str], arguments: argparse.Namespace, seed: int, known: Collection[str]
) -> Iterator[tuple[str, Row]]:
    """(name, curve with the real sequences that were drawn) of every row that is not known yet."""
    first, *more = arguments.d_steps
    base = judged_by("density_ratio", arguments, seed, first)
    task = build_task(base.task)
    evaluator = Evaluator(task, base.evaluation, seed)

    def row(learned: Learned) -> Row:
        return Row(learned.reals, learned.seconds, curve(learned.generator, evaluator, base.evaluation.final_sequences))

    learned = learn(by_likelihood(base), task)
    start = learned.start
    if "start" not in known:
        yield "start", row(learned)
    configs = {"mle_continued": control(base, "mle_continued")}
    configs |= {name: ceiling(base, alpha) for name, alpha in CEILINGS.items()}
    configs |= {name: judged_by(name, arguments, seed, first) for name in names}
    configs |= {"mle_all_reals": with_all_reals(base)}
    for steps in more:
        several = {f"{name}_d{steps}": judged_by(name, arguments, seed, steps) for name in names}
        # Likelihood with as many real sequences as these judges saw.
        configs |= several | {
            f"mle_all_reals_d{steps}": with_all_reals(judged_by("density_ratio", arguments, seed, steps))
        }
    for name, config in configs.items():
        if name in known or name in arguments.without:
            continue
        learned = learn(config, task, start)
        yield name, row(learned)
        distilled = f"{name}_distilled"
        if name == "density_ratio" and learned.judge is not None and distilled not in arguments.without:
            judge, reals = learned.judge, learned.reals
            learned = learn(control(config, "mle_continued"), taught_by(judge, task), start)
            yield distilled, row(replace(learned, reals=reals))


@dataclass(frozen=True)
class Learned:
    """What a run ends with.

    Attributes:
        generator: of the run.
        start: the maximum-likelihood start, for other runs.
        reals: real sequences that were drawn.
        seconds: CPU time of the whole run.
        judge: the language model that judged; None without one.
    """

    generator: Generator
    start: Any
    reals: float
    seconds: float
    judge: Generator | None


def learn(config: Config, task: Task, start: Any = None) -> Learned:
    """A run to its end, without measurements on the way."""
    begun, metrics = time.process_time(), dict[str, float]()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, start)
        while trainer.next_phase is not None:
            metrics |= trainer.step(measure=False).metrics
        judge: Generator | None = None
        if config.discriminator is not None and config.discriminator.gives_distribution:
            assert parts.discriminator is not None
            network = build_discriminator(config.discriminator, task.space)
            assert isinstance(network, LanguageModelDiscriminator)
            load_weights(network, parts.discriminator.weights().complete)
            judge = network.model
        seconds = time.process_time() - begun
        return Learned(trainer.current_generator(), trainer.mle_start, metrics["data/real_sequences"], seconds, judge)


@dataclass(frozen=True)
class Row:
    """A generator of one seed.

    Attributes:
        reals: real sequences that were drawn for it after the start.
        seconds: CPU time that it took.
        points: forward and reverse divergence at `TEMPERATURES`.
    """

    reals: float
    seconds: float
    points: list[Point]

    def line(self, seed: int, name: str) -> str:
        """What is printed; `rows_in` reads it."""
        points = " ".join(f"{forward:.5f}/{reverse:.5f}" for forward, reverse in self.points)
        return f"seed {seed}: {name}: reals {self.reals:.0f}: seconds {self.seconds:.0f}: {points}"


def rows_in(text: str) -> Iterator[tuple[int, str, Row]]:
    """(seed, name, row) of what `Row.line` made."""
    for found in re.finditer(r"^seed (\d+): (\w+): reals (\d+): seconds (\d+): (.*)$", text, re.MULTILINE):
        pairs = (pair.split("/") for pair in found[5].split())
        points = [(float(one), float(other)) for one, other in pairs]
        yield int(found[1]), found[2], Row(float(found[3]), float(found[4]), points)


def table(rows: Mapping[str, Mapping[int, Row]]) -> str:
    """Means over seeds with half-widths of 95 % t intervals; gains and shares are formed within a seed."""
    header = ("", "forward, reverse at 1", "best sum", "gain", "share of the exact ratio's", "real sequences", "CPU s")
    text = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    at = TEMPERATURES.index(1.0)
    for name, found in rows.items():
        gains, shares = [], []
        for seed, row in found.items():
            if seed in rows.get("mle_continued", {}):
                continued = rows["mle_continued"][seed].points
                exact = [point for one in CEILINGS for point in rows[one][seed].points]
                gains.append(mean_gain(row.points, continued, beside=(exact,)))
                shares.append(share_of_gain(row.points, continued, exact))
        cells = [
            name,
            ", ".join(interval([row.points[at][side] for row in found.values()]) for side in (0, 1)),
            interval([min(map(sum, row.points)) for row in found.values()]),
            _interval(gains, len(found)),
            _interval(shares, len(found), 2),
            f"{next(iter(found.values())).reals:,.0f}",
            f"{statistics.median(row.seconds for row in found.values()):.0f}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def plot(rows: Mapping[str, Mapping[int, Row]], path: Path) -> None:
    """Draw the mean over seeds of each row's frontiers; the rows of the exact ratio are one, the lowest of them."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    curves = {
        name: [frontier(row.points) for row in found.values()] for name, found in rows.items() if name not in CEILINGS
    }
    ceilings = [rows[name] for name in CEILINGS if name in rows]
    seeds = {seed for found in ceilings for seed in found}
    if seeds:
        curves["exact ratio"] = [
            frontier([point for found in ceilings if seed in found for point in found[seed].points]) for seed in seeds
        ]
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axes = figure.subplots()
    for (name, found), colour in zip(curves.items(), mpl.color_sequences["tab10"], strict=False):
        at = np.linspace(max(one[0][0] for one in found), max(one[-1][0] for one in found), 200)
        mean = np.mean([np.interp(at, *np.transpose(one)) for one in found], axis=0)
        axes.plot(at, mean, color=colour, label=name)
    axes.set_xlabel("forward KL, nats per token (lower: more coverage)")
    axes.set_ylabel("reverse KL, nats per token (lower: more quality)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _interval(values: Sequence[float | None], number: int, digits: int = 3) -> str:
    known = [value for value in values if value is not None]
    return interval(known, digits) if known and len(known) == number else "not defined"


def tiny(folder: Path) -> list[str]:
    sizes = {
        "task.vocab_size": 12,
        "task.max_length": 4,
        "task.num_train": 512,
        "task.num_valid": 20,
        "task.num_test": 40,
        "schedule.mle_epochs": 1,
        "adversary.sequences_per_round": 32,
        "schedule.g_batch": 32,
        "evaluation.num_sequences": 20,
        "evaluation.final_sequences": 20,
    }
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    judges = ["--judges", "density_ratio", "cnn", "--d-steps", "1", "2"]
    sizes_of_run = ["--updates", "2", "--rounds", "2", "--student", "4"]
    return ["--seeds", "1", *sizes_of_run, *judges, "--plot", str(folder / "curves.png"), *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    parser.add_argument("--judges", nargs="*", default=list(JUDGES), choices=list(JUDGES), metavar="NAME")
    parser.add_argument("--without", nargs="*", default=[], metavar="ROW", help="rows beside the judges to leave out")
    parser.add_argument("--student", type=int, default=8, help="units and embedding of the student")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of the judge before the first update")
    parser.add_argument("--alpha", type=float, default=0.3, help="weight of the likelihood that is mixed in")
    parser.add_argument(
        "--d-steps", type=int, nargs="+", default=[1], help="rounds of the judge after each generator update"
    )
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves of all temperatures")
    add_changes(parser)
    arguments = parser.parse_args()
    rows: dict[str, dict[int, Row]] = {}
    for file in arguments.join:
        for seed, name, row in rows_in(file.read_text("utf-8")):
            rows.setdefault(name, {})[seed] = row
    print(machine())
    for seed in arguments.seeds:
        known = [name for name, found in rows.items() if seed in found]
        for name, row in one_seed(arguments.judges, arguments, seed, known):
            rows.setdefault(name, {})[seed] = row
            print(row.line(seed, name), flush=True)
    if arguments.plot is not None:
        plot(rows, arguments.plot)
    print(f"\nstudent {arguments.student}, {arguments.updates} updates, alpha {arguments.alpha:g}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
