"""What it costs to make a task of a large file: seconds and the greatest memory, from bytes to numbers.

    python -m benchmarks.numbering [--megabytes 40 300] [--tasks text pairs] [--tokens word] [--words 200000]

Files are generated: words of a vocabulary with Zipf frequencies, 5 to 15 a line (about 60 bytes, so 300 MB
are 5 million lines); of pairs each line is a source and a target of half as many, with a tab between them. Every task
is built in a process of its own, whose greatest resident memory is told with that before the task.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import PROJECT
from rlgan.envs.tasks import build_task
from rlgan.envs.tasks.pairs import PairsTask
from rlgan.envs.tasks.text import TextTask

TINY_MARKS = ("heavy",)

NUM_WORDS = 200_000
TASKS = ("text", "pairs")
_LINES_AT_ONCE = 50_000


def words(number: int, rng: np.random.Generator) -> list[str]:
    """Different words of 1 to 9 letters, the frequent ones short."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    found: dict[str, None] = {}
    while len(found) < number:
        length = min(9, 1 + int(np.log(len(found) + 1) / 2) + int(rng.integers(0, 4)))
        found.setdefault("".join(letters[rng.integers(0, len(letters), length)]))
    return list(found)


def lines(num_bytes: int, seed: int, *, with_pairs: bool, num_words: int = NUM_WORDS) -> Iterator[str]:
    """Lines of about so many bytes in all, without their terminators."""
    rng = np.random.default_rng(seed)
    vocabulary = words(num_words, rng)
    shares = np.cumsum(1.0 / np.arange(1, num_words + 1))
    shares /= shares[-1]
    left = num_bytes
    while left > 0:
        lengths = rng.integers(5, 16, size=_LINES_AT_ONCE)
        drawn = np.searchsorted(shares, rng.random(int(lengths.sum()))).tolist()
        begin = 0
        for length in lengths.tolist():
            found = [vocabulary[word] for word in drawn[begin : begin + length]]
            begin += length
            middle = (length + 1) // 2
            line = " ".join(found[:middle]) + "\t" + " ".join(found[middle:]) if with_pairs else " ".join(found)
            yield line
            left -= len(line) + 1
            if left <= 0:
                return


def write(path: Path, num_bytes: int, seed: int, *, with_pairs: bool, num_words: int = NUM_WORDS) -> int:
    """Write a file of `lines`; returns their number."""
    number = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines(num_bytes, seed, with_pairs=with_pairs, num_words=num_words):
            file.write(line + "\n")
            number += 1
    return number


def settings(task: str, path: str, tokens: str) -> TextTask | PairsTask:
    """Of the task that is made of a file."""
    if task == "text":
        return TextTask.model_validate({"data": path, "tokens": tokens})
    kind = {"kind": tokens}
    vocabulary = {"kind": "separate", "source": kind, "target": kind}
    return PairsTask.model_validate({"input": {"kind": "tsv", "data": path}, "vocabulary": vocabulary})


def measured(task: str, path: str, tokens: str) -> dict[str, Any]:
    """Build a task here: seconds, resident memory before and at most, and what it became."""
    before = _peak_bytes()
    begun = time.perf_counter()
    built = build_task(settings(task, path, tokens))
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    digest = built.fingerprint()
    return {
        "seconds": seconds,
        "fingerprint_s": time.perf_counter() - begun,
        "before_bytes": before,
        "peak_bytes": _peak_bytes(),
        "num_train": int(built.train.shape[0]),
        "max_length": built.space.max_length,
        "vocab_size": built.space.vocab_size,
        "fingerprint": digest,
    }


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def row(task: str, megabytes: float, num_lines: int, found: dict[str, Any]) -> str:
    """One measurement as a row of the table."""
    return (
        f"| {task} | {megabytes:g} | {num_lines:,} | {found['seconds']:.1f} | {found['peak_bytes'] / 1e9:.2f} | "
        f"{found['before_bytes'] / 1e9:.2f} | {found['vocab_size']:,} | {found['max_length']} | "
        f"{found['fingerprint_s']:.1f} | {found['fingerprint'][:12]} |"
    )


HEAD = (
    "| task | MB | lines | seconds | peak GB | of that before | V | T | fingerprint s | digest |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def in_own_process(task: str, path: Path, tokens: str) -> dict[str, Any]:
    """`measured` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.numbering", "--measure", task, "--file", str(path.resolve())]
    done = subprocess.run([*command, "--tokens", tokens], cwd=PROJECT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tiny(folder: Path) -> list[str]:
    return ["--megabytes", "0.02", "--tasks", "pairs", "--words", "500"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[40.0, 300.0])
    parser.add_argument("--tasks", choices=TASKS, nargs="+", default=TASKS)
    parser.add_argument("--tokens", default="word")
    parser.add_argument("--words", type=int, default=NUM_WORDS, help="of the vocabulary")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="where files are written and kept; default: nowhere")
    parser.add_argument("--measure", choices=TASKS, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--file", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(measured(options.measure, options.file, options.tokens)))
        return
    from benchmarks.common import machine

    print(machine(), f"tokens {options.tokens}, seed {options.seed}", HEAD, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.megabytes:
            for task in options.tasks:
                path = (options.folder or Path(folder)) / f"{task}-{megabytes:g}.{'txt' if task == 'text' else 'tsv'}"
                number = write(
                    path, int(megabytes * 1e6), options.seed, with_pairs=task == "pairs", num_words=options.words
                )
                print(row(task, megabytes, number, in_own_process(task, path, options.tokens)), flush=True)


if __name__ == "__main__":
    main()
