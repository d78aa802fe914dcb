"""Which judge teaches a student that is too small, of a teacher that can be sampled without end.

    python -m benchmarks.unlimited_teacher [--seeds 1 2 3 4 5] [--judges NAME ...] [--student 8] [--updates 1500]
        [--alpha 0.3] [--d-steps 2] [--join FILE ...] [--set PATH VALUE ...]

The teacher is an LSTM oracle (100 tokens, length 20, 32 units), and its sequences are a stream: new ones for every
likelihood step and every round of a judge, the same numbers for all. All students begin at one maximum-likelihood
start, make as many updates, and have the same likelihood mixed in with weight alpha.

    mle_continued   the likelihood alone
    oracle_ratio    rewarded by the exact log p_d - log p_θ: the ceiling
    the judges      rewarded by what they learned

Measured on the teacher's own sequences at many temperatures: forward KL(p_d‖p_θ) and reverse KL(p_θ‖p_d), nats a token.
`gain` is how far the reverse KL lies below that of mle_continued at equal forward KL, on average over what all three
curves reach; `share` is the gain over that of oracle_ratio.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import add_changes, machine
from benchmarks.presets import interval, run
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import OracleTask, build_task
from rlgan.evaluation.evaluator import Evaluator
from rlgan.generators import Generator
from rlgan.metrics.temperature_curves import Point, mean_gain, share_of_gain
from rlgan.presets.controls import control
from rlgan.presets.registry import preset

TEACHER = OracleTask(
    vocab_size=100, embedding=32, hidden=32, max_length=20, mode="stream", num_train=25_600, num_test=5_000
)
TEMPERATURES = (1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
_SEQUENCES = {"reward": "logit", "credit": "terminal", "adversary.loss": "cross_entropy"}
JUDGES: dict[str, dict[str, Any]] = {
    "density_ratio": {},
    "lm": {
        "discriminator": "language_model",
        "discriminator.embedding": 32,
        "discriminator.hidden": 64,
        "discriminator.dropout": 0.0,
        "discriminator.tied": False,
        "adversary.loss": "likelihood",
    },
    "causal": {
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


CONTROLS = ("mle_continued", "mle_all_reals", "oracle_ratio")
"""Rows beside the judges. `mle_all_reals` learns by likelihood from as many sequences as the run of a judge and its
judge together, in as many updates."""


def judged_by(name: str, arguments: argparse.Namespace, seed: int) -> Config:
    """The run of one judge."""
    sizes = {
        "seed": seed,
        "generator.embedding": arguments.student,
        "generator.hidden": arguments.student,
        "schedule.adversarial_updates": arguments.updates,
        "schedule.discriminator_rounds": arguments.updates,
        "schedule.d_steps": arguments.d_steps,
        "schedule.teacher_forcing.weight": arguments.alpha,
        "schedule.mle_batch": 256,
        "workers.threads": 1,
    }
    base = preset("density_ratio", TEACHER).model_copy(update={"controls": ()})
    return override(override(base, JUDGES[name] | sizes), dict(arguments.set))


def by_likelihood(base: Config) -> Config:
    """The start: the student's network by likelihood alone, until the validation split becomes no likelier."""
    config = preset("mle", TEACHER).model_copy(
        update={"seed": base.seed, "task": base.task, "generator": base.generator, "workers": base.workers}
    )
    epochs = {"schedule.mle_epochs": base.schedule.mle_epochs, "schedule.mle_patience": 3, "schedule.mle_batch": 256}
    return override(config, epochs | {"optimizers.mle.lr": 5e-3})


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


def one_seed(names: Sequence[str], arguments: argparse.Namespace, seed: int) -> Iterator[tuple[str, Row]]:
    """(name, curve with the real sequences that were drawn) of every row."""
    base = judged_by("density_ratio", arguments, seed)
    task = build_task(base.task)
    evaluator = Evaluator(task, base.evaluation, seed)
    number = base.evaluation.final_sequences
    generator, start, metrics = run(by_likelihood(base), task)
    yield "start", Row(metrics["data/real_sequences"], curve(generator, evaluator, number))
    configs = {
        "mle_continued": control(base, "mle_continued"),
        "mle_all_reals": with_all_reals(base),
        "oracle_ratio": control(base, "oracle_ratio"),
    } | {name: judged_by(name, arguments, seed) for name in names}
    for name, config in configs.items():
        generator, _, metrics = run(config, task, start)
        yield name, Row(metrics["data/real_sequences"], curve(generator, evaluator, number))


@dataclass(frozen=True)
class Row:
    """A generator of one seed.

    Attributes:
        reals: real sequences that were drawn for it after the start.
        points: forward and reverse divergence at `TEMPERATURES`.
    """

    reals: float
    points: list[Point]

    def line(self, seed: int, name: str) -> str:
        """What is printed; `rows_in` reads it."""
        points = " ".join(f"{forward:.5f}/{reverse:.5f}" for forward, reverse in self.points)
        return f"seed {seed}: {name}: reals {self.reals:.0f}: {points}"


def rows_in(text: str) -> Iterator[tuple[int, str, Row]]:
    """(seed, name, row) of what `Row.line` made."""
    for found in re.finditer(r"^seed (\d+): (\w+): reals (\d+): (.*)$", text, re.MULTILINE):
        pairs = (pair.split("/") for pair in found[4].split())
        yield int(found[1]), found[2], Row(float(found[3]), [(float(one), float(other)) for one, other in pairs])


def table(rows: Mapping[str, Mapping[int, Row]]) -> str:
    """Means over seeds with half-widths of 95 % t intervals; gains and shares are formed within a seed."""
    header = ("", "forward, reverse at 1", "best sum", "gain", "share of the exact ratio's", "real sequences")
    text = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    at = TEMPERATURES.index(1.0)
    for name, found in rows.items():
        gains, shares = [], []
        for seed, row in found.items():
            if seed in rows.get("mle_continued", {}) and seed in rows.get("oracle_ratio", {}):
                continued, ceiling = rows["mle_continued"][seed].points, rows["oracle_ratio"][seed].points
                gains.append(mean_gain(row.points, continued, within=(ceiling,)))
                shares.append(share_of_gain(row.points, continued, ceiling))
        cells = [
            name,
            ", ".join(interval([row.points[at][side] for row in found.values()]) for side in (0, 1)),
            interval([min(map(sum, row.points)) for row in found.values()]),
            _interval(gains, len(found)),
            _interval(shares, len(found), 2),
            f"{next(iter(found.values())).reals:,.0f}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


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
    judges = ["--judges", "density_ratio", "causal", "cnn"]
    return ["--seeds", "1", "--updates", "2", "--student", "4", *judges, *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    parser.add_argument("--judges", nargs="*", default=list(JUDGES), choices=list(JUDGES), metavar="NAME")
    parser.add_argument("--student", type=int, default=8, help="units and embedding of the student")
    parser.add_argument("--updates", type=int, default=1_500)
    parser.add_argument("--alpha", type=float, default=0.3, help="weight of the likelihood that is mixed in")
    parser.add_argument("--d-steps", type=int, default=2, help="rounds of the judge after each generator update")
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    add_changes(parser)
    arguments = parser.parse_args()
    rows: dict[str, dict[int, Row]] = {}
    for file in arguments.join:
        for seed, name, row in rows_in(file.read_text("utf-8")):
            rows.setdefault(name, {})[seed] = row
    print(machine())
    for seed in arguments.seeds:
        for name, row in one_seed(arguments.judges, arguments, seed):
            rows.setdefault(name, {})[seed] = row
            print(row.line(seed, name), flush=True)
    print(f"\nstudent {arguments.student}, {arguments.updates} updates, alpha {arguments.alpha:g}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
