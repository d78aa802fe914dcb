"""Data of your own, read before a run begins, so that sizes can follow it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from rlgan.base.activity import stage
from rlgan.base.errors import ConfigError
from rlgan.base.settings import IsFile, facts_of, following
from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict
from rlgan.envs.tasks import Task, TaskSettings, build_task

from .registry import PRESETS, follows, preset, sizes_for
from .sizes import DataSummary, sizes_of, summary_of

_known: dict[str, DataSummary] = {}  # a few numbers for each data set that this process has read
_held: dict[str, Task] = {}  # at most one: the task that was read last, until the run that it was read for asks for it


def summary_of_data(settings: TaskSettings) -> DataSummary | None:
    """What sizes follow on a task; None where they follow nothing, for its distribution is known.

    The data is read once, and a summary is made anew only where a file has changed since.

    Raises:
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    if settings.knows_distribution:
        return None
    key = _key(settings)
    if key in _known and _files(settings):  # what a plug-in reads is not known
        return _known[key]
    _held.clear()  # two data sets need not fit into memory
    with stage("data", "reading data"):
        task = build_task(settings)
        _known[key] = summary_of(task)
    _held[key] = task
    return _known[key]


def read_task(settings: TaskSettings) -> Task:
    """The task of a run that begins; the one that was read for its sizes, if it was and no file has changed since.

    Raises:
        DataError: as `summary_of_data`.
    """
    held = _held.pop(_key(settings), None)
    return build_task(settings) if held is None else held


def _key(settings: TaskSettings) -> str:
    """The same for the same settings and the same files."""
    stats = [file.stat() for file in _files(settings) if file.exists()]
    files = [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in stats]
    return f"{settings.model_dump_json()} {files}"


def _files(settings: TaskSettings) -> list[Path]:
    return [Path(name) for _, _, name in facts_of(settings, IsFile) if name is not None]


def sizes_by_data(name: str, task: TaskSettings, kept: Config | None = None) -> dict[str, Any]:
    """What the data changes of a preset: dotted path → value, to stand below all that is set.

    Args:
        name: of the preset.
        task: of the run, as it will be read.
        kept: a run that is gone on with, whose sizes stay what they were; None chooses.

    Returns:
        Nothing where the preset's sizes are a paper's, or the task's distribution is known.

    Raises:
        DataError: as `summary_of_data`.
    """
    if not follows(name) or task.knows_distribution:
        return {}
    if kept is not None:
        return following(kept)
    data = summary_of_data(task)
    return {} if data is None else sizes_for(name, task, data)


def size_notes(config: Config, task: Task) -> tuple[str, ...]:
    """What the log says of the sizes of a run on data of your own: which were chosen and why, which were set.

    Args:
        config: of the run.
        task: that is built of it.
    """
    if config.task.knows_distribution or config.preset not in PRESETS:
        return ()
    try:
        base = preset(config.preset, config.task)
    except ConfigError:
        return ()  # a label alone, of a preset that is for other tasks
    data = summary_of(task)
    values = flatten(to_dict(config))
    wanted = {path: value for path, value in sizes_of(data, base).items() if path in values}
    noun = token_noun(config.task)
    facts = f"{data.num_train:,} sequences of about {data.mean_length:.0f} {noun}, vocabulary {data.vocab_size:,}"
    if not follows(config.preset):
        small = {path: value for path, value in wanted.items() if path in _UNITS and values[path] < value}
        if not small:
            return ()
        return _lines(
            f"{config.preset} keeps its published sizes. For {facts}, quick would choose:",
            [f"{path} {value} (here {values[path]})" for path, value in small.items()],
        )
    own = flatten(to_dict(base))
    chosen = [f"{path} {value}" for path, value in wanted.items() if values[path] == value != own[path]]
    other = [
        f"{path} {values[path]} (from the data: {value})" for path, value in wanted.items() if values[path] != value
    ]
    told = (
        _lines(f"sizes chosen for {facts}; to change one, set it:", chosen)
        if chosen
        else (f"sizes for {facts}: those of {config.preset}",)
    )
    return (
        *told,
        *(_lines("set by you:", other) if other else ()),
    )


def token_noun(settings: TaskSettings) -> str:
    """What tokens of sequences are called."""
    tokens = getattr(settings, "target_tokens", getattr(settings, "tokens", None))
    return _NOUNS.get(str(getattr(tokens, "kind", "")), "tokens")


_NOUNS = {"word": "words", "char": "characters", "bpe": "pieces", "smiles": "atoms and bonds"}
_UNITS = ("generator.embedding", "generator.hidden")


def _lines(title: str, parts: list[str]) -> tuple[str, ...]:
    return (title, *textwrap.wrap(", ".join(parts), 100, initial_indent="  ", subsequent_indent="  "))
