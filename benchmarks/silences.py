"""How long a training run says nothing: its longest silences, by what ended them.

    python -m benchmarks.silences [--megabytes 10] [--limit 600] [--checkout FOLDER] [-- ARGUMENTS OF rlgan train]

A run of `quick` on words drawn by Zipf's distribution, in a process of its own whose output is no terminal.
`--checkout` runs the code of another folder by the same Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import machine

TINY_MARKS = ("slow",)

_NUM_WORDS = 30_000
_LONGEST_SHOWN = 3
SHORT = [
    "--schedule.mle-epochs", "1", "--schedule.discriminator-rounds", "1", "--schedule.adversarial-updates", "2",
    "--evaluation.temperatures", "1.0", "--controls", "mle_continued", "--tracking.enabled", "false",
]  # fmt: skip
"""A run that comes to its end soon, whatever there is to learn from."""


@dataclass(frozen=True)
class Line:
    """What was printed.

    Attributes:
        at: seconds since the command was given.
        text: the line.
    """

    at: float
    text: str


def corpus(num_bytes: int, seed: int = 0) -> Iterable[str]:
    """Lines of 5 to 20 words, of as many bytes in all, by Zipf's distribution."""
    rng = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, _NUM_WORDS + 1)
    shares /= shares.sum()
    written = 0
    while written < num_bytes:
        lengths = rng.integers(5, 21, 1000)
        words = iter(rng.choice(_NUM_WORDS, int(lengths.sum()), p=shares).tolist())
        for length in lengths.tolist():
            line = " ".join(f"w{next(words)}" for _ in range(length))
            written += len(line) + 1
            yield line
            if written >= num_bytes:
                return


def watched(command: Sequence[str], folder: Path, limit_s: float) -> tuple[list[Line], float, int]:
    """The lines of a command, seconds until it ended or was ended, and its status."""
    started = time.monotonic()
    found: list[Line] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None and time.monotonic() - started < limit_s:
            found += [Line(time.monotonic() - started, line.rstrip()) for line in process.stdout]
            time.sleep(0.1)
        took = time.monotonic() - started
        process.terminate()
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            process.kill()
        os.set_blocking(process.stdout.fileno(), True)
        found += [Line(took, line.rstrip()) for line in process.stdout]
    return found, took, process.returncode


def silences(lines: Sequence[Line], ended: float) -> list[tuple[float, str]]:
    """(seconds, the line that ended it) of each silence, the longest first."""
    times = [0.0, *(line.at for line in lines)]
    ends = [*lines, Line(ended, "(the end)")]
    return sorted(((after.at - before, after.text) for before, after in zip(times, ends, strict=True)), reverse=True)


def report(lines: Sequence[Line], ended: float, status: int) -> str:
    """What became of the run, and its longest silences."""
    noted = [line for line in lines if line.text.startswith("test: ")]
    shown = [f"{len(lines)} lines in {ended:.0f} s, status {status}"]
    if noted:
        later = [line for line in lines if line.at > noted[-1].at]
        first = f"{later[0].at - noted[-1].at:.0f} s" if later else "none came"
        shown.append(f"data notes after {noted[-1].at:.0f} s; the first line after them: {first}")
    shown += [
        f"silent for {seconds:.0f} s, until: {text[:90]}" for seconds, text in silences(lines, ended)[:_LONGEST_SHOWN]
    ]
    return "\n".join(shown)


def tiny(folder: Path) -> list[str]:
    small = ["--evaluation.num-sequences", "20", "--evaluation.final-sequences", "20", "--evaluation.num-bleu", "10"]
    return ["--megabytes", "0.02", "--", *SHORT, *small]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the corpus, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which the run is ended")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--show-lines", action="store_true", help="all lines of the run, with their times")
    parser.add_argument("rest", nargs="*", help="arguments of rlgan train; a short run where there are none")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "words.txt"
        data.write_text("".join(f"{line}\n" for line in corpus(int(asked.megabytes * 1e6))), "utf-8")
        command = [sys.executable, "-m", "rlgan", "train", "quick", "--data", str(data), "--out", f"{name}/run"]
        lines, ended, status = watched([*command, *(asked.rest or SHORT)], asked.checkout, asked.limit)
    if asked.show_lines:
        print("\n".join(f"{line.at:7.1f} {line.text}" for line in lines))
    print(machine())
    print(report(lines, ended, status))
    if status and ended < asked.limit:
        sys.exit(f"The run failed with status {status}; --show-lines shows what it said.")


if __name__ == "__main__":
    main()
