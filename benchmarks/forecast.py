"""How well `rlgan presets --for FILE` foretells what a run takes: its forecast beside the run, in CPU seconds.

    python -m benchmarks.forecast FILE [FILE ...] [--tokens word|char|smiles] [--lines 300] [--presets quick mle]
        [--seconds 24] [--seed 0] [--set PATH VALUE ...]

Of each file so many lines are drawn. The probe is the one of the command, with a clock that counts CPU seconds of this
process, and the run is the whole run in this process, its final table included: a busy machine makes neither longer.
The forecast is of all epochs, although patience may end training before them; the table has how many there were. A row
has the forecast, the run, and their ratio, which is to be at most 1.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rlgan
from benchmarks.common import add_changes, machine
from rlgan.config.paths import override
from rlgan.envs.reading import Wanted, read_texts
from rlgan.envs.reading.how import How
from rlgan.envs.tasks import TextTask, build_task
from rlgan.runs.progress import Silence
from rlgan.runs.recommending import PROBE_S, recommended
from rlgan.runs.run import RunRequest, run

TINY_MARKS = ("heavy",)


@dataclass(frozen=True, slots=True)
class Row:
    """A preset on a file.

    Attributes:
        preset: its name.
        forecast_s: CPU seconds that the probe foretold.
        measured: kinds of work that it measured.
        probe_s: CPU seconds of the probe.
        run_s: CPU seconds of the run.
        epochs: of likelihood that the run did.
        most_epochs: that it could have done.
    """

    preset: str
    forecast_s: float
    measured: tuple[str, ...]
    probe_s: float
    run_s: float
    epochs: int
    most_epochs: int


def rows(
    settings: TextTask, names: Sequence[str], seed: int, seconds: float, changes: Mapping[str, Any], folder: Path
) -> Iterator[Row]:
    """Forecast and run of each preset."""
    task, began = build_task(settings), time.process_time()
    for one in recommended(settings, task, changes, seconds, time.process_time):
        probe_s = time.process_time() - began
        if one.preset in names and one.config is not None and one.seconds is not None:
            config = override(one.config, {"seed": seed, "tracking.enabled": False})
            began = time.process_time()
            result = run(RunRequest(config, folder / one.preset, resume=False), (), Silence())
            run_s = time.process_time() - began
            logged = rlgan.load(result.run_dir).metrics
            epochs = int((logged["phase"] == "mle").sum())
            most = config.schedule.mle_epochs
            yield Row(one.preset, one.seconds, one.measured, probe_s, run_s, epochs, most)
        began = time.process_time()


def tiny(folder: Path) -> list[str]:
    path = folder / "lines.txt"
    path.write_text("".join(f"{who} {does} {what}\n" for who in "abc" for does in "def" for what in "ghij"), "utf-8")
    small = {
        "schedule.mle_epochs": "2", "evaluation.num_sequences": "20", "evaluation.final_sequences": "20",
        "generator.hidden": "4", "generator.embedding": "4",
    }  # fmt: skip
    changes = [word for path, value in small.items() for word in ("--set", path, value)]
    return [str(path), "--lines", "30", "--presets", "mle", "--seconds", "0.1", *changes]


def main() -> None:
    """Forecast, run, print a row each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--tokens", default="word", choices=("word", "char", "smiles"))
    parser.add_argument("--lines", type=int, default=300, metavar="N")
    parser.add_argument("--presets", nargs="+", default=["quick", "mle", "seqgan-quick"], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=PROBE_S, help="that all probes together may take")
    parser.add_argument("--seed", type=int, default=0)
    add_changes(parser)
    arguments = parser.parse_args()
    print(f"{machine()}; {arguments.tokens}, seed {arguments.seed}\n")
    print("| file | lines | preset | forecast s | run s | run / forecast | epochs | of | probe s | guessed by size |")
    print("|---" * 10 + "|", flush=True)
    for file in arguments.files:
        read = read_texts(file, How(), Wanted("text", "--task.column"), "a text file")
        lines = [line for line in read.texts if isinstance(line, str)]
        drawn = random.Random(arguments.seed).sample(lines, min(arguments.lines, len(lines)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines.txt"
            path.write_text("".join(f"{line}\n" for line in drawn), "utf-8")
            settings = TextTask.model_validate({"data": str(path), "tokens": arguments.tokens})
            changes = dict(arguments.set)
            for row in rows(settings, arguments.presets, arguments.seed, arguments.seconds, changes, Path(folder)):
                kinds = {"likelihood", "table"} | (
                    {"discriminator", "adversarial"} if row.preset != "mle" else set[str]()
                )
                guessed = ", ".join(sorted(kinds - set(row.measured))) or "nothing"
                cells = (
                    Path(file).name, len(drawn), row.preset, f"{row.forecast_s:.0f}", f"{row.run_s:.0f}",
                    f"{row.run_s / row.forecast_s:.2f}", row.epochs, row.most_epochs, f"{row.probe_s:.0f}", guessed,
                )  # fmt: skip
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
