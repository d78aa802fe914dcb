"""A run folder's states: atomic, checked, and plain data that is safe to load from strangers.

A state is a nested dictionary of tensors and JSON values. Tensors go into `tensors.safetensors` under their path, the
rest into `state.json` with a checksum of the tensors; nothing is ever unpickled. A checkpoint is written beside its
place, flushed to the disk and renamed, so a folder named by its position is always whole; the one before is kept until
the next is in place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlgan import __version__
from rlgan.envs.errors import CheckpointError

_FORMAT = 1
_TENSORS, _STATE, _CONFIG = "tensors.safetensors", "state.json", "config.json"
_TENSOR_KEY, _FLOAT_KEY = "__tensor__", "__float__"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The newest whole checkpoint of a run.

    Attributes:
        state: what was saved.
        position: its number.
        path: its folder.
        skipped: why newer ones were passed over, a sentence each.
    """

    state: dict[str, Any]
    position: int
    path: Path
    skipped: tuple[str, ...]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place; readers see the old or the new one whole."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        write(beside)
        _flush(beside)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def save_checkpoint(run_dir: Path, state: Mapping[str, Any], position: int, keep: int = 2) -> Path:
    """Keep a state.

    Args:
        run_dir: folder of the run.
        state: nested dictionaries of tensors and JSON values; floats may be infinite or NaN.
        position: number of the state; a checkpoint of the same number is replaced.
        keep: how many checkpoints stay.

    Returns:
        Folder of the checkpoint.

    Raises:
        CheckpointError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    folder = run_dir / "checkpoints"
    place, beside = folder / f"{position:08d}", folder / f".{position:08d}.tmp"
    tensors: dict[str, torch.Tensor] = {}
    tree = _encode(state, "", tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        save_file(tensors, beside / _TENSORS)
        document = {"format": _FORMAT, "rlgan": __version__, "position": position, "state": tree}
        document["tensors_sha256"] = _sha256(beside / _TENSORS)
        (beside / _STATE).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
        for name in (_TENSORS, _STATE):
            _flush(beside / name)
        _flush(beside)
        if place.exists():
            shutil.rmtree(place)
        os.replace(beside, place)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        raise _cannot_write(place, error, needed) from error
    for old in sorted(_positions(folder))[:-keep]:
        shutil.rmtree(folder / f"{old:08d}")
    return place


def load_latest(run_dir: Path) -> LoadedCheckpoint:
    """The newest whole checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    folder = run_dir / "checkpoints"
    skipped: list[str] = []
    for position in sorted(_positions(folder), reverse=True):
        path = folder / f"{position:08d}"
        try:
            return LoadedCheckpoint(_load(path), position, path, tuple(skipped))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            skipped.append(f"checkpoint {path.name} is damaged ({error})")
    if skipped:
        raise CheckpointError(f"{run_dir}: no whole checkpoint: {'; '.join(skipped)}. Start a new run.")
    raise CheckpointError(
        f"{run_dir}: holds no checkpoint. Give the folder of a run that kept one, or start a new run."
    )


def write_run_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration of a run."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    write_atomically(run_dir / _CONFIG, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def read_run_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run.

    Raises:
        CheckpointError: the folder holds no run, or its configuration is damaged.
    """
    path = run_dir / _CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{run_dir}: is no folder of a run ({path.name}: {error.strerror}).") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Restore it, or start a new run.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds {type(values).__name__}, expected an object. Restore it.")
    return values


def config_differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Differences of two flat configurations, as "path: saved → wanted" each."""
    absent = "not set"
    return [
        f"{path}: {saved.get(path, absent)!r} → {wanted.get(path, absent)!r}"
        for path in dict.fromkeys([*saved, *wanted])
        if saved.get(path, absent) != wanted.get(path, absent)
    ]


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # Cloned: safetensors refuses tensors that share memory, and views would be written whole.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR_KEY: path}
    if isinstance(value, Mapping):
        return {
            str(key): _encode(below, f"{path}/{key}" if path else str(key), tensors) for key, below in value.items()
        }
    if isinstance(value, list | tuple):
        return [_encode(below, f"{path}/{index}", tensors) for index, below in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT_KEY: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path}: a checkpoint holds tensors and JSON values, not {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR_KEY in value:
            return tensors[value[_TENSOR_KEY]]
        if _FLOAT_KEY in value:
            return float(value[_FLOAT_KEY])
        return {key: _decode(below, tensors) for key, below in value.items()}
    if isinstance(value, list):
        return [_decode(below, tensors) for below in value]
    return value


def _load(path: Path) -> dict[str, Any]:
    document = json.loads((path / _STATE).read_text(encoding="utf-8"))
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']}, expected {_FORMAT}")
    if _sha256(path / _TENSORS) != document["tensors_sha256"]:
        raise ValueError(f"{_TENSORS} is not what was written")
    state: dict[str, Any] = _decode(document["state"], load_file(path / _TENSORS))
    return state


def _positions(folder: Path) -> Iterator[int]:
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_dir() and entry.name.isdigit():
                yield int(entry.name)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: Exception, needed: int = 0) -> CheckpointError:
    free = "unknown"
    for parent in path.parents:
        if parent.exists():
            free = f"{shutil.disk_usage(parent).free / 1e6:.0f} MB"
            break
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    advice = "Free some space" if getattr(error, "errno", None) == errno.ENOSPC else "Check the disk and permissions"
    size = f"{needed / 1e6:.0f} MB are needed, " if needed else ""
    return CheckpointError(f"{path}: cannot be written ({reason}); {size}{free} are free. {advice}, then --resume.")
