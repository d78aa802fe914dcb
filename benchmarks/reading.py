"""Time and peak memory of reading files, against pyarrow and Hugging Face datasets on the same generated files.

    python -m benchmarks.reading [--lines 5000000] [--repeats 3] [--only NAME ...] [--folder DIR] [--json FILE]

Each reading happens in a process of its own, so that its peak memory is its own; the time is that of the reading alone,
without the start of the process and its imports. The sides take turns; ratios are formed within a round. "rlgan" ends
with Python strings and their line numbers, which is what tasks go on with; "pyarrow" ends with Python strings, too, and
"pyarrow, its own table" with Arrow's. `datasets` writes its own cache of the file first, which is the time that is
measured, and its strings stay on disk; without the package its rows are left out. Files in `--folder` are kept, and
taken as they are when they are there.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import PROJECT

TINY_MARKS = ("heavy",)

WORDS = 50_000
"""Different words of the generated text."""


def generate(folder: Path, num_lines: int) -> None:
    """Write the files: lines of 5 to 13 words, alone and beside others of the same kind."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(WORDS)]
    with (
        (folder / "lines.txt").open("w") as lines,
        (folder / "targets.txt").open("w") as targets,
        (folder / "pairs.tsv").open("w") as table,
        (folder / "records.jsonl").open("w") as records,
    ):
        for _ in range(num_lines):
            source, target = (" ".join(rng.choices(words, k=rng.randint(5, 13))) for _ in range(2))
            lines.write(source + "\n")
            targets.write(target + "\n")
            table.write(f"{source}\t{target}\n")
            records.write(f'{{"source": "{source}", "target": "{target}"}}\n')


# Readers: each gives the number of records, so that all are seen to have read the same.


def _rlgan_lines(folder: Path) -> int:
    from rlgan.envs.reading import How, Wanted, read_texts

    return len(read_texts(str(folder / "lines.txt"), How(), Wanted("text", "--task.column"), "text").texts)


def _rlgan_pairs(name: str) -> Callable[[Path], int]:
    def read(folder: Path) -> int:
        from rlgan.envs.reading import How, Wanted, read_pairs_of_file

        sides = Wanted("source", "--task.input.source"), Wanted("target", "--task.input.target")
        return len(read_pairs_of_file(str(folder / name), How(), *sides).targets)

    return read


def _rlgan_parallel(folder: Path) -> int:
    from rlgan.envs.reading import How
    from rlgan.envs.tasks.pair_files import ParallelFiles, read_pairs

    files = ParallelFiles(source=str(folder / "lines.txt"), target=str(folder / "targets.txt"))
    return len(read_pairs(files, "train", How()).targets)


def _pyarrow_csv(name: str, separator: str, *, strings: bool) -> Callable[[Path], int]:
    def read(folder: Path) -> int:
        from pyarrow import csv, string

        names = ["a", "b"] if separator == "\t" else ["a"]
        table = csv.read_csv(
            folder / name,
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(delimiter=separator, quote_char=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, string()), strings_can_be_null=False),
        )
        return len([column.to_pylist() for column in table.columns][0]) if strings else len(table)

    return read


def _pyarrow_json(folder: Path) -> int:
    from pyarrow import json as arrow_json

    table = arrow_json.read_json(folder / "records.jsonl")
    return len([column.to_pylist() for column in table.columns][0])


def _datasets(kind: str, name: str, **options: object) -> Callable[[Path], int]:
    def read(folder: Path) -> int:
        from datasets import load_dataset

        with tempfile.TemporaryDirectory(dir=folder) as cache:
            return len(load_dataset(kind, data_files=str(folder / name), split="train", cache_dir=cache, **options))

    return read


READERS: dict[str, dict[str, Callable[[Path], int]]] = {
    "lines": {
        "rlgan": _rlgan_lines,
        "pyarrow": _pyarrow_csv("lines.txt", "\x01", strings=True),
        "pyarrow, its own table": _pyarrow_csv("lines.txt", "\x01", strings=False),
        "datasets": _datasets("text", "lines.txt"),
    },
    "two files": {"rlgan": _rlgan_parallel},
    "table": {
        "rlgan": _rlgan_pairs("pairs.tsv"),
        "pyarrow": _pyarrow_csv("pairs.tsv", "\t", strings=True),
        "datasets": _datasets("csv", "pairs.tsv", sep="\t", names=["a", "b"], quoting=3),
    },
    "JSON lines": {
        "rlgan": _rlgan_pairs("records.jsonl"),
        "pyarrow": _pyarrow_json,
        "datasets": _datasets("json", "records.jsonl"),
    },
}


@dataclass(frozen=True)
class Reading:
    """What one reading took.

    Attributes:
        num_records: that were read.
        seconds: of wall time.
        cpu_seconds: of all cores together, in the same time.
        peak_bytes: greatest resident memory of the process.
    """

    num_records: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def read_once(what: str, who: str, folder: Path) -> Reading:
    """Read in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.reading", "--child", what, who, str(folder.resolve())]
    done = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True)
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


def _child(what: str, who: str, folder: Path) -> None:
    if who == "rlgan":
        import rlgan.envs  # noqa: F401  # not part of the time
    elif who.startswith("pyarrow"):
        from pyarrow import csv  # noqa: F401
    elif who == "datasets":
        import datasets

        datasets.disable_progress_bars()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    num_records = READERS[what][who](folder)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(vars(Reading(num_records, seconds, cpu_seconds, kilobytes * 1024))))


def measure(folder: Path, repeats: int, only: Sequence[str]) -> dict[str, dict[str, list[Reading]]]:
    """Of each file and each side as many readings as there are rounds."""
    found: dict[str, dict[str, list[Reading]]] = {what: {} for what in only}
    for _ in range(repeats):
        for what in only:
            for who in READERS[what]:
                if who != "datasets" or find_spec("datasets") is not None:
                    found[what].setdefault(who, []).append(read_once(what, who, folder))
    return found


def lines_of(found: dict[str, dict[str, list[Reading]]]) -> list[str]:
    """A table: seconds, peak memory, and how many times as long as rlgan a side takes (least, greatest)."""
    rows = [f"{'':<34} {'seconds':>8} {'of CPU':>8} {'peak GB':>8} {'÷ rlgan':>24}"]
    for what, sides in found.items():
        for who, readings in sides.items():
            seconds = statistics.median(reading.seconds for reading in readings)
            cpu = statistics.median(reading.cpu_seconds for reading in readings)
            peak = statistics.median(reading.peak_bytes for reading in readings) / 1e9
            ratios = [theirs.seconds / ours.seconds for theirs, ours in zip(readings, sides["rlgan"], strict=True)]
            described = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append(f"{f'{what}: {who}':<34} {seconds:>8.2f} {cpu:>8.2f} {peak:>8.2f} {described:>24}")
    return rows


def tiny(folder: Path) -> list[str]:
    words = ["--lines", "50", "--repeats", "1", "--only", "two files"]
    return [*words, "--folder", str(folder), "--json", str(folder / "found.json")]


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, list[Reading]]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--folder", metavar="DIR", type=Path)
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        what, who, folder = options.child
        _child(what, who, Path(folder))
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "lines.txt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            generate(folder, options.lines)
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.iterdir()))
        print(sizes)
        found = measure(folder, options.repeats, options.only)
    for row in lines_of(found):
        print(row)
    if options.json is not None:
        table = {what: {who: [vars(r) for r in rs] for who, rs in sides.items()} for what, sides in found.items()}
        options.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
