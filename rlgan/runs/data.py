"""The data of a run: written down when it begins, found again from elsewhere, and checked by whoever rebuilds the task.

A run's folder, and a sweep's, holds `data.json`: the fingerprint of the task, what tells where it differs from another,
and where its files lay. Every task in this package and in `rlgan.tuning` is built by `new_task` or `rebuilt_task`, so
that nothing is measured on other data than a run began with, and no other place asks for `build_task` but
`rlgan.presets.own_data`, which reads what a run will learn from for its sizes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlgan.base.errors import CheckpointError, ConfigError, DataError
from rlgan.base.files import write_atomically
from rlgan.base.settings import IsFile, facts_below, facts_of
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import Task, TaskSettings, build_task
from rlgan.extensions import Plugin
from rlgan.presets.own_data import read_task
from rlgan.storage.checkpoint import peek
from rlgan.tracking import DataInput

RUN_DATA = "data.json"
"""Name of the file, in the folder of a run or of a sweep."""
DATA = "data_sha256"
"""Key under which the fingerprint of the task stands in a checkpoint and in `data.json`."""

_TASK = "task."  # files below it are the data; the others begin networks
_NUM_BLOCKS = 64  # of a split, each with a checksum of its own: enough to say where the first difference is


@dataclass(frozen=True, slots=True)
class KeptData:
    """What is known of the data that a run began with.

    Attributes:
        asked: how messages name the run, as its user did: "--resume runs/a".
        folder: of the run.
        fingerprint: of its task; None where an older version did not keep it.
        files: dotted path in the configuration → where the file lay, and its size and hash.
        parts: "tokens", "train", … → number of its rows, and checksums of blocks of them.
    """

    asked: str
    folder: Path
    fingerprint: str | None
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def new_task(settings: TaskSettings) -> Task:
    """The task of a run that begins.

    Raises:
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    return read_task(settings)


def missing_files(config: Config) -> dict[str, str]:
    """The files of the task that are not there: dotted path in the configuration → the file, as it is named there."""
    files = {path: name for path, name in config_files(config).items() if path.startswith(_TASK)}
    return {path: name for path, name in files.items() if not Path(_absolute(name)).exists()}


def rebuilt_task(
    config: Config,
    kept: KeptData,
    say: Callable[[str], None] = lambda _: None,
    remedy: str | None = None,
) -> Task:
    """The task of a run that began earlier, found to be the same.

    Args:
        config: of the run; see `located` for its files.
        kept: of the run.
        say: is told once, if an older version did not keep the fingerprint, that nothing can be checked.
        remedy: what to do about other data; None says what whoever goes on with the run can do.

    Raises:
        CheckpointError: the data is other data; tells what differs, as far as it is known.
        DataError: a file is missing or unreadable.
    """
    for path, name in missing_files(config).items():
        lay = f"; the run read it from {kept.files[path]['absolute']}" if path in kept.files else ""
        raise DataError(
            f"{kept.asked}: its file {path}={name} is missing{lay}. Restore it, or give the path of a copy "
            f"with {option_of(path)} FILE.",
            code="data_file_missing",
            fields={path: name},
        )
    task = build_task(config.task)
    if kept.fingerprint is None:
        say(
            f"warning: {kept.asked}: this run was written by an older version of rlgan without a record of its "
            "data, so it is unknown whether the data has changed since."
        )
    elif task.fingerprint() != kept.fingerprint:
        raise CheckpointError(_has_changed(config, kept, task, remedy), code="data_changed")
    return task


def same_task(settings: TaskSettings, fingerprint: str | None, asked: str) -> Task:
    """The task that another process built before, as a trial of a sweep does on whatever machine it runs.

    Args:
        settings: of the task.
        fingerprint: of the other's; None where nobody told.
        asked: who asks, for the message.

    Raises:
        CheckpointError: the data is other data.
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    task = build_task(settings)
    if fingerprint is not None and task.fingerprint() != fingerprint:
        named = ", ".join(f"{path}={name}" for path, _, name in facts_of(settings, IsFile, _TASK) if name is not None)
        raise CheckpointError(
            f"{asked}: its data has changed: on this machine the task {task.name!r} "
            f"{f'of {named} ' if named else ''}has other sequences than on the machine that started the sweep. "
            "Restore the files on every machine, or start a new sweep.",
            code="sweep_data_differs",
            fields={"run": asked},
        )
    return task


def require_same_files(config: Config, kept: KeptData) -> None:
    """See to it that pretrained files are those that a sweep began with, whose trials read them again and again.

    Raises:
        CheckpointError: one is another file.
    """
    for path, name in config_files(config).items():
        known = kept.files.get(path)
        if (
            not path.startswith(_TASK)
            and known is not None
            and Path(name).is_file()
            and _sha256(Path(name)) != known["sha256"]
        ):
            raise CheckpointError(
                f"{kept.asked}: its file {path}={name} has changed: the sweep began with {known['absolute']} of "
                f"{known['num_bytes']:,} bytes. Restore the file, or start a new sweep.",
                code="sweep_file_changed",
                fields={path: name},
            )


# ---------------------------------------------------------------------------------------------------- files


def config_files(config: Config) -> dict[str, str]:
    """The files that a run reads: dotted path in its configuration → the file, as it is named there."""
    return {path: name for path, _, name in facts_of(config, IsFile) if name is not None}


def option_of(path: str) -> str:
    """The option by which a person names a file of the configuration: "--data", "--task.valid"."""
    short = {option: name for name, option in file_options().items()}
    return f"--{short.get(path, path).replace('_', '-')}"


def is_file_path(path: str) -> bool:
    """Whether a dotted path of a configuration is, in some task or network, that of a file."""
    return path.replace("-", "_") in dict(facts_below(Config, IsFile))


def file_options() -> dict[str, str]:
    """Short options that name a file, with underscores → its path in the configuration."""
    return {fact.option: path for path, fact in facts_below(Config, IsFile) if fact.option}


def with_files(config: Config, files: Mapping[str, str], asked: str) -> Config:
    """The configuration with files where a person says that they lie now.

    Args:
        config: of a run that exists.
        files: dotted path → file.
        asked: how messages name the run.

    Raises:
        ConfigError: the run reads no such file.
    """
    known = config_files(config)
    for path, file in files.items():
        if path.replace("-", "_") not in known:
            there = ", ".join(f"{name}={where} ({option_of(name)} FILE)" for name, where in known.items()) or "none"
            raise ConfigError(
                f"{option_of(path)} {file}: {asked} keeps its settings; only the paths of its files can be "
                f"changed, and these are {there}. Give one of these, or remove the option.",
                code="option_of_other_file",
            )
    return override(config, files) if files else config


def located(config: Config, kept: KeptData) -> Config:
    """The configuration with its files where they lie now.

    A file is looked for where it lay when the run began, then at the same place beside the run's folder, which may have
    been moved with it, then as the configuration names it, from the working directory and from the run's folder. Where
    it does not lie where it lay, a file of the same bytes goes before one that only has its name. One that is nowhere
    keeps its name.

    Args:
        config: of the run.
        kept: of the run.
    """
    changes = {}
    for path, name in config_files(config).items():
        known = kept.files.get(path, {})
        known = known if known.get("path") == name else {}  # of the same file, and not of one that was named since
        candidates = [known.get("absolute"), _joined(kept.folder, known.get("from_run"))]
        candidates += [name, _joined(kept.folder, name)]
        found = _first_there(candidates, known.get("sha256")) or name
        if found != name:
            changes[path] = found
    return override(config, changes) if changes else config


def _first_there(candidates: Sequence[str | None], digest: object) -> str | None:
    """Where the file lay, if something is there; else the first place that holds its bytes, else the first of all."""
    there = [one for one in candidates if one is not None and Path(one).exists()]
    if not there or there[0] == candidates[0]:
        return there[0] if there else None
    return next((one for one in there if Path(one).is_file() and _sha256(Path(one)) == digest), there[0])


def absolute(config: Config) -> Config:
    """The configuration with absolute paths, for processes that may work in another folder."""
    changes = {path: _absolute(name) for path, name in config_files(config).items()}
    return override(config, changes) if changes else config


def _absolute(name: str) -> str:
    return os.path.abspath(os.path.expanduser(name))


def _joined(folder: Path, name: str | None) -> str | None:
    return None if name is None else os.path.normpath(folder.resolve() / name)


# ---------------------------------------------------------------------------------------------------- kept


def write_run_data(folder: Path, config: Config, task: Task, named: Config | None = None) -> None:
    """Write `data.json`.

    Args:
        folder: of the run; it exists.
        config: of the run.
        task: of the run.
        named: the configuration that the folder keeps, if files lie elsewhere now than it says; None is `config`.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    names = config_files(config if named is None else named)
    values = {
        DATA: task.fingerprint(),
        "files": {path: _file(folder, names.get(path, name), name) for path, name in config_files(config).items()},
        "parts": {name: {"num": len(rows), "crc32": _checksums(rows)} for name, rows in _parts(task).items()},
    }
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_atomically(folder / RUN_DATA, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def kept_data(folder: Path, asked: str, fingerprint: str | None = None) -> KeptData:
    """What is known of the data of a run.

    Args:
        folder: of the run, or of a sweep.
        asked: how messages name it.
        fingerprint: for a folder of an older version without `data.json`; None looks into its newest checkpoint.

    Raises:
        CheckpointError: `data.json` is damaged.
    """
    path = folder / RUN_DATA
    if not path.exists():
        known = fingerprint if fingerprint is not None else peek(folder, DATA)
        return KeptData(asked, folder, known if isinstance(known, str) else None)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}). Check the disk and permissions.",
            code="data_unreadable",
            fields={"path": path},
        ) from None
    return parsed_data(content, folder, asked, str(path))


def parsed_data(content: bytes, folder: Path, asked: str, where: str) -> KeptData:
    """What a `data.json` says.

    Args:
        content: of the file.
        folder: of the run.
        asked: how messages name the run.
        where: the file, for messages.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        values = json.loads(content)
        kept = KeptData(asked, folder, values[DATA], values["files"], values["parts"])
        for file in kept.files.values():
            if not all(isinstance(file[key], str) for key in ("path", "absolute", "from_run", "sha256")):
                raise ValueError("a file without a path")
            int(file["num_bytes"])
        for part in kept.parts.values():
            if not isinstance(part["crc32"], list):
                raise ValueError("a part without checksums")
            int(part["num"])
        if not isinstance(kept.fingerprint, str):
            raise ValueError("the fingerprint is missing")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: is damaged ({error}). It stores which data the run began with. Restore it, or remove it: "
            "the newest checkpoint of the run stores the same.",
            code="damaged_data_record",
            fields={"where": where},
        ) from None
    return kept


def _file(folder: Path, path: str, name: str) -> dict[str, Any]:
    place = Path(_absolute(name))
    return {
        "path": path,
        "absolute": str(place),
        "from_run": os.path.relpath(place.resolve(), folder.resolve()),
        "num_bytes": place.stat().st_size if place.is_file() else 0,
        "sha256": _sha256(place) if place.is_file() else "",
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def data_inputs(config: Config, task: Task, fingerprint: str) -> tuple[DataInput, ...]:
    """The data of a run, split by split, for MLflow.

    Args:
        config: of the run.
        task: of the run.
        fingerprint: of the task.
    """
    files = {path.removeprefix("task.").removeprefix("input."): file for path, file in config_files(config).items()}
    whole = files.get("data") or files.get("target") or files.get("params") or files.get("demonstrations")
    found = []
    for split, context in (("train", "training"), ("valid", "validation"), ("test", "test")):
        own = files.get(split) or files.get(f"{split}_target")
        file = own or whole
        name = task.name if file is None else Path(file).name
        rows = getattr(task, split)
        profile = {"num_sequences": len(rows), "max_length": task.space.max_length, "num_tokens": task.space.vocab_size}
        source = None if file is None else _absolute(file)
        found.append(
            DataInput(f"{name}, {split}", fingerprint, context, source, task.columns, {"split": split, **profile})
        )
    return tuple(found)


# ---------------------------------------------------------------------------------------------------- differences


def _parts(task: Task) -> dict[str, Sequence[str] | Tensor]:
    """What a fingerprint is of, part by part."""
    parts: dict[str, Sequence[str] | Tensor] = {"tokens": task.token_names}
    parts |= {"train": task.train, "valid": task.valid, "test": task.test}
    if (given := task.conditions) is not None:
        parts["tokens of sources"] = given.token_names
        parts |= {"sources of train": given.train, "sources of valid": given.valid, "sources of test": given.test}
    return parts


def _block_size(num_rows: int) -> int:
    return max(1, -(-num_rows // _NUM_BLOCKS))


def _checksums(rows: Sequence[str] | Tensor) -> list[int]:
    """Of blocks of rows, one after another; the same whatever integers hold the ids."""
    size = _block_size(len(rows))
    sums = []
    for first in range(0, len(rows), size):
        block = rows[first : first + size]
        if isinstance(block, Tensor):
            content = block.to(torch.int32).contiguous().numpy().tobytes()
        else:
            content = "\n".join(block).encode()
        sums.append(zlib.crc32(content))
    return sums


def _has_changed(config: Config, kept: KeptData, task: Task, remedy: str | None) -> str:
    """The message."""
    found = [*_changed_files(config, kept), *_changed_parts(kept, task)]
    what = "; ".join(found) or f"the sequences of the task {task.name!r} differ from those at the start of the run"
    files = [path for path in config_files(config) if path.startswith("task.")]
    if isinstance(config.task, Plugin):
        known = (
            f"Make {config.task.name} return the same sequences for the same options, restore what it reads, or start "
            "a new run."
        )
    elif not files:
        known = "The task is generated by rlgan. Use the version of rlgan that the run began with, or start a new run."
    elif kept.files and not _changed_files(config, kept):
        known = (
            "Its files are byte-for-byte the same, but they are read differently. Use the version of rlgan that "
            "the run began with, or start a new run."
        )
    else:
        known = (
            f"Restore the {'file' if len(files) == 1 else 'files'}, give the path of an unchanged copy with "
            f"{option_of(files[0])} FILE, or start a new run."
        )
    return f"{kept.asked}: its data has changed since the run began: {what}. {remedy or known}"


def _changed_files(config: Config, kept: KeptData) -> list[str]:
    described = []
    for path, name in config_files(config).items():
        known = kept.files.get(path)
        if known is None or not path.startswith("task.") or not Path(name).is_file():
            continue
        if _sha256(Path(name)) != known["sha256"]:
            size = Path(name).stat().st_size
            before = "as before" if size == known["num_bytes"] else f"was {known['num_bytes']:,}"
            lay = "" if _absolute(name) == known["absolute"] else f"; the run read it from {known['absolute']}"
            described.append(f"{path}={name} has different content ({size:,} bytes, {before}{lay})")
    return described


def _changed_parts(kept: KeptData, task: Task) -> list[str]:
    described, parts = [], _parts(task)
    for name, known in kept.parts.items():
        rows = parts.get(name, ())
        noun = " sequences" if name in ("train", "valid", "test") else ""
        if len(rows) != known["num"]:
            described.append(f"{name}: {len(rows):,}{noun}, was {known['num']:,}")
            continue
        new, old = _checksums(rows), known["crc32"]
        place = next((index for index, pair in enumerate(zip(new, old, strict=False)) if pair[0] != pair[1]), None)
        if place is not None:
            size = _block_size(len(rows))
            first, last = place * size + 1, min(len(rows), (place + 1) * size)
            where = f"no. {first:,}" if first == last else f"among no. {first:,} to {last:,}"
            described.append(
                f"{name}: {len(rows):,}{noun} as before, but the content differs; the first difference is {where}"
            )
    return described
