"""How many units a generator should have: validation NLL by its size, for files and numbers of lines.

    python -m benchmarks.sizes FILE [--tokens word|char|smiles|bpe] [--lines 1000 10000] [--hidden 32 64 128 256]
        [--seconds 120] [--seed 0] [--set PATH VALUE ...]

The rule of `rlgan.presets.sizes` was chosen by these figures. Of a file so many lines are drawn; the preset `mle`
learns them with each size, an embedding as wide as the LSTM, and the same budget of CPU seconds. A row has the best
validation NLL in nats a token that was reached, the test NLL of those weights, and after which epoch and how many
seconds it was reached. `*` stands where the budget ended before patience did.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import add_changes, machine
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.reading import Wanted, read_texts
from rlgan.envs.reading.how import How
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.presets.quick import mle
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts


@dataclass(frozen=True, slots=True)
class Row:
    """What a size came to.

    Attributes:
        valid_nll: the best, nats a token.
        test_nll: of the same weights.
        epoch: in which it was reached, counted from 1.
        seconds: of CPU until then.
        ended: whether patience ended it, and not the budget.
        total_s: seconds of CPU in all.
    """

    valid_nll: float
    test_nll: float
    epoch: int
    seconds: float
    ended: bool
    total_s: float


def learned(config: Config, task: Task, budget_s: float) -> Row:
    """Learn by likelihood until patience or the budget ends it."""
    best, best_at, best_s, weights = math.inf, 0, 0.0, None
    with build_parts(config, task) as parts, torch_threads(1):
        trainer = Trainer(config, task, parts)
        started, used, epoch = time.process_time(), 0.0, 0
        while trainer.next_phase == "mle" and used < budget_s:
            nll = trainer.step(measure=False).metrics["mle/valid_nll"]
            used, epoch = time.process_time() - started, epoch + 1
            if nll < best:
                best, best_at, best_s, weights = nll, epoch, used, parts.learners.weights().complete
        has_ended = trainer.next_phase != "mle"
        assert weights is not None  # of the first epoch at least
        parts.learners.load(weights)
        test_nll = trainer.evaluator.held_out_nll(trainer.current_generator(), task.test)
        return Row(best, test_nll, best_at, best_s, has_ended, used)


def subset(lines: Sequence[str], number: int, seed: int, path: Path) -> Path:
    """A file of so many of the lines, drawn."""
    drawn = random.Random(seed).sample(list(lines), min(number, len(lines)))
    path.write_text("".join(f"{line}\n" for line in drawn), "utf-8")
    return path


def rows(
    task_settings: TextTask, hidden: Sequence[int], budget_s: float, seed: int, changes: Mapping[str, Any]
) -> Iterator[tuple[Task, int, Row]]:
    """Every size on one file."""
    task = build_task(task_settings)
    for width in hidden:
        sizes = {"generator.hidden": width, "generator.embedding": width, "seed": seed, "workers.threads": 1}
        config = override(mle(task_settings), {"schedule.mle_epochs": 10_000} | sizes | dict(changes))
        yield task, width, learned(config, task, budget_s)


def tiny(folder: Path) -> list[str]:
    path = folder / "lines.txt"
    path.write_text("".join(f"{who} {does} {what}\n" for who in "abc" for does in "def" for what in "ghij"), "utf-8")
    return [str(path), "--lines", "30", "--hidden", "4", "8", "--seconds", "0.2", "--set", "schedule.mle_batch", "8"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--tokens", default="word", choices=("word", "char", "smiles", "bpe"))
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000, 10_000], metavar="N")
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64, 128, 256], metavar="N")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="N", help="CPU seconds of each size")
    parser.add_argument("--seed", type=int, default=0)
    add_changes(parser)
    arguments = parser.parse_args()
    print(f"{machine()}; {arguments.file}, {arguments.tokens}, {arguments.seconds:g} s each\n")
    print("| lines | tokens | longest | sequences | units | valid NLL | test NLL | best epoch | after s | in all s |")
    print("|---" * 10 + "|")
    lines = [
        line
        for line in read_texts(arguments.file, How(), Wanted("text", "--task.column"), "a text file").texts
        if isinstance(line, str)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number in arguments.lines:
            path = subset(lines, number, arguments.seed, Path(folder) / f"{number}.txt")
            settings = TextTask.model_validate({"data": str(path), "tokens": arguments.tokens})
            changes = dict(arguments.set)
            for task, width, row in rows(settings, arguments.hidden, arguments.seconds, arguments.seed, changes):
                cells = (
                    number, task.space.vocab_size, task.space.max_length, len(task.train), width,
                    f"{row.valid_nll:.3f}", f"{row.test_nll:.3f}", row.epoch, f"{row.seconds:.0f}",
                    f"{row.total_s:.0f}{'' if row.ended else '*'}",
                )  # fmt: skip
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
