"""Which runs lie in a folder, and what their files say of them. Light: neither torch nor Ray is needed to look.

Only files are read. So a run that goes on at this moment and one that was stopped look the same but for their age.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlgan.base.errors import CheckpointError

LATEST = "latest"
"""The word that stands for the run which was worked on last."""
RUNS = Path("runs")
"""Where runs lie unless something else is said."""

# As the modules that write them have them, whose import takes seconds; a test holds them equal.
CONFIG, SWEEP, METRICS, LAST_FILE = "config.json", "sweep.json", "metrics.jsonl", "table.txt"

_BEST: Mapping[str, Callable[[Iterable[float]], float]] = {
    "kl_sum": min, "corpus_bleu": max, "chrf": max, "rlm_5gram": min, "nll_gen": min, "valid_nll": min,
}  # fmt: skip
"""Figures by which a run is described in a line, the most telling first, and how its best value is chosen."""
_MEASURED = ("mle", "eval")
_PHASES = {"mle": "mle_epochs", "discriminator": "discriminator_rounds", "adversarial": "adversarial_updates"}

State = Literal["complete", "unfinished", "sweep", "damaged"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What the files of a run say.

    Attributes:
        path: of the folder.
        state: "complete" has its final table; "unfinished" goes on or was stopped; "sweep" is a sweep; "damaged" has
            a configuration that cannot be read.
        preset: name; None where it is not known.
        task: kind; None likewise.
        seed: of the run; None likewise.
        phase: that the last iteration was of; None before the first.
        done: iterations of that phase.
        wanted: iterations of that phase that were asked for; None where it is not known.
        figure: name of the best figure; None where nothing was measured.
        best: its best value of all measurements; None likewise.
        changed: when it was worked on last, in seconds since 1970.
    """

    path: Path
    state: State
    preset: str | None
    task: str | None
    seed: int | None
    phase: str | None
    done: int
    wanted: int | None
    figure: str | None
    best: float | None
    changed: float


def runs_in(folder: Path) -> list[RunFolder]:
    """The runs and sweeps of a folder, the one that was worked on last first; also those one folder below.

    Args:
        folder: that holds run folders; need not be there.
    """
    found = [_described(path) for path in _paths(folder)]
    return sorted(found, key=lambda one: (-one.changed, str(one.path)))


def latest_run(folder: Path, option: str) -> Path:
    """The run that was worked on last.

    Args:
        folder: that holds run folders.
        option: that asked for it, for the message.

    Raises:
        CheckpointError: there is none.
    """
    paths = [path for path in _paths(folder) if (path / CONFIG).is_file()]
    if not paths:
        raise CheckpointError(
            f"{option} {LATEST}: there is no run in {folder.resolve()}. Give the folder of a run, or change to the "
            f"folder that contains {folder}/; `rlgan runs list DIR` lists the runs of another folder.",
            code="no_latest_run",
        )
    return max(paths, key=lambda path: (_changed(path), str(path)))


def table_of(runs: Iterable[RunFolder], above: Path, now: float | None = None) -> list[str]:
    """Lines of a table of runs.

    Args:
        runs: in the order in which they are shown.
        above: folder that they lie in, which their names leave out.
        now: seconds since 1970; None asks the clock.
    """
    now = time.time() if now is None else now
    head = ("name", "preset", "task", "seed", "state", "iterations", "best figure", "age")
    rows = [head, *(_row(one, above, now) for one in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def as_json(one: RunFolder) -> dict[str, Any]:
    """A run as JSON values."""
    return {name: str(value) if isinstance(value := getattr(one, name), Path) else value for name in one.__slots__}


def _row(one: RunFolder, above: Path, now: float) -> tuple[str, ...]:
    of = "" if one.wanted is None else f" of {one.wanted}"
    return (
        str(one.path.relative_to(above)),
        one.preset or "–",
        one.task or "–",
        "–" if one.seed is None else str(one.seed),
        one.state,
        "–" if one.phase is None else f"{one.phase} {one.done}{of}",
        "–" if one.best is None else f"{one.figure} {one.best:.3f}",
        _age(now - one.changed),
    )


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _paths(folder: Path) -> Iterator[Path]:
    """Folders of runs and sweeps. What a sweep holds belongs to it and is not shown by itself."""
    for path in _below(folder):
        if (path / CONFIG).is_file() or (path / SWEEP).is_file():
            yield path
        else:
            yield from (one for one in _below(path) if (one / CONFIG).is_file())


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not there, or not ours to read: nothing to show
        return []


def _changed(path: Path) -> float:
    times = [one.stat().st_mtime for name in (CONFIG, METRICS, SWEEP, LAST_FILE) if (one := path / name).exists()]
    return max(times, default=0.0)


def _described(path: Path) -> RunFolder:
    changed = _changed(path)
    if not (path / CONFIG).is_file():
        study = _values(path / SWEEP).get("words", {})
        name = study.get("study") if isinstance(study, Mapping) else None
        return RunFolder(path, "sweep", name, None, None, None, 0, None, None, None, changed)
    config = _values(path / CONFIG)
    task, schedule = config.get("task"), config.get("schedule")
    state: State = "complete" if (path / LAST_FILE).is_file() else "unfinished"
    phase, done, values = _measured(path / METRICS)
    figure = next((name for name in _BEST if values.get(name)), None)
    asked = _PHASES.get(phase or "")
    wanted = schedule.get(asked) if isinstance(schedule, Mapping) else None
    return RunFolder(
        path,
        state if config else "damaged",
        config.get("preset"),
        task.get("kind") if isinstance(task, Mapping) else None,
        config.get("seed"),
        phase,
        done,
        wanted if isinstance(wanted, int) else None,
        figure,
        None if figure is None else _BEST[figure](values[figure]),
        changed,
    )


def _values(path: Path) -> dict[str, Any]:
    """The object that a file holds; empty where it holds none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _measured(path: Path) -> tuple[str | None, int, dict[str, list[float]]]:
    """The last phase, its iterations, and the values of each figure that describes a run."""
    phase, done = None, 0
    values: dict[str, list[float]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None, 0, {}
    for line in lines:
        try:
            row = json.loads(line)
            if row["phase"] in _PHASES:
                phase, done = row["phase"], int(row["step"])
            for name, value in row["metrics"].items():
                prefix, _, figure = name.partition("/")
                if prefix in _MEASURED and figure in _BEST and isinstance(value, int | float) and not math.isnan(value):
                    values.setdefault(figure, []).append(float(value))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a line that is being written
    return phase, done, values
