"""A run folder's states: atomic, checked, and plain data that is safe to load from strangers.

A state is a nested dictionary of tensors and JSON values. Tensors go into `tensors.safetensors` under their path, the
rest into `state.json` with checksums of both; nothing is ever unpickled. What networks have frozen is named there, and
written once for all checkpoints (`bases`). A checkpoint is written beside its place,
flushed to the disk and renamed, so a folder named by its position is always whole; the one before is kept until the
next is in place.

A folder has one writer. What a state means is the trainer's; what may differ between a run and its resumption is
`rlgan.runs.run`'s.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from rlgan import __version__
from rlgan.base.errors import CheckpointError
from rlgan.base.files import cannot_write, flush, write_atomically
from rlgan.base.tensor_files import write_tensors
from rlgan.base.weights import Base, Tensors

from .bases import BASES, FrozenParts, read_base, remove_bases_but

_FORMAT, _FORMAT_WITH_BASES = 1, 2
CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints, in the run's folder; each is a folder named by its position in 8 digits or more."""
TENSORS, STATE = "tensors.safetensors", "state.json"
"""The two files of a checkpoint; the second names the hash of the first."""
CONFIG = "config.json"
"""The file that makes a folder a run."""

_TENSOR_KEY, _FLOAT_KEY, _BASE_KEY = "__tensor__", "__float__", "__base__"
# The last one is what safetensors calls its own header entry: it writes a tensor of that name and then cannot read it.
_RESERVED = (_TENSOR_KEY, _FLOAT_KEY, _BASE_KEY, "__metadata__")
_UNFINISHED, _REPLACED = ".tmp", ".old"
_PLACE = re.compile(r"[0-9]{8,}")
_HIDDEN = re.compile(r"\.([0-9]{8,})(\.tmp|\.old)")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The newest whole checkpoint of a run.

    Attributes:
        state: what was saved; tuples come back as lists.
        position: its number.
        path: its folder.
        skipped: why newer ones were passed over, a sentence each.
    """

    state: dict[str, Any]
    position: int
    path: Path
    skipped: tuple[str, ...]


def save_checkpoint(
    run_dir: Path, state: Mapping[str, Any], position: int, keep: int = 2, bases: Collection[Base] = ()
) -> Path:
    """Keep a state.

    Args:
        run_dir: folder of the run.
        state: nested dictionaries and lists of tensors and JSON values; floats may be infinite or NaN.
        position: number of the state; a checkpoint of the same number is replaced. Those of higher numbers are
            removed: a run that saves here has gone back behind them, and would otherwise be resumed from them.
        keep: how many checkpoints stay, this one included.
        bases: what the networks of the run have frozen; tensors of the state that are theirs are written once.

    Returns:
        Folder of the checkpoint.

    Raises:
        CheckpointError: the disk is full or cannot be written; earlier checkpoints are untouched.
        TypeError: the state holds something else than tensors and JSON values.
        ValueError: `position` is negative, `keep` is below 1, or a key cannot be kept.
    """
    if position < 0 or keep < 1:
        raise ValueError(f"position={position}, keep={keep}: position must be at least 0, and keep at least 1.")
    encoder = _Encoder(FrozenParts(bases))
    text = json.dumps(encoder.encoded(state, "", ""), allow_nan=False)
    document = {
        "format": _FORMAT_WITH_BASES if encoder.bases else _FORMAT,
        "rlgan": __version__,
        "position": position,
        "state_sha256": _sha256(text.encode()),
    }
    if encoder.bases:
        document["bases"] = sorted(encoder.bases)
    num_bytes = len(text) + sum(tensor.numel() * tensor.element_size() for tensor in encoder.tensors.values())

    folder = run_dir / CHECKPOINTS
    place = folder / f"{position:08d}"
    beside, replaced = _hidden(place, _UNFINISHED), _hidden(place, _REPLACED)
    try:
        encoder.frozen.write(run_dir, encoder.bases)
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        beside.mkdir()
        document["tensors_sha256"] = write_tensors(beside / TENSORS, encoder.tensors)
        head = json.dumps(document).removesuffix("}")
        _write_flushed(beside / STATE, f'{head}, "state": {text}}}\n'.encode())
        flush(beside)
        if place.exists():
            os.replace(place, replaced)  # a folder cannot be renamed onto another
        os.replace(beside, place)
        flush(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise cannot_write(place, error, num_bytes) from error
    _prune(folder, position, keep)
    return place


def load_latest(run_dir: Path) -> LoadedCheckpoint:
    """The newest whole checkpoint. Nothing in the folder is changed.

    Raises:
        CheckpointError: there is none.
    """
    folder = run_dir / CHECKPOINTS
    skipped: list[str] = []
    for position in sorted(_positions(folder), reverse=True):
        place = folder / f"{position:08d}"
        # The second is there only if a crash fell between the two renames of a checkpoint that was saved again.
        path = place if place.exists() else _hidden(place, _REPLACED)
        try:
            return LoadedCheckpoint(_load(path, position), position, path, tuple(skipped))
        except (OSError, ValueError, TypeError, LookupError, RecursionError, SafetensorError) as error:
            skipped.append(f"checkpoint {place.name} is damaged ({error})")
    if skipped:
        raise CheckpointError(
            f"{run_dir}: no intact checkpoint: {'; '.join(skipped)}. Restore its checkpoints and bases from a backup, "
            "or start a new run.",
            code="no_whole_checkpoint",
            fields={"path": run_dir},
        )
    raise CheckpointError(
        f"{run_dir}: contains no checkpoint. Give the folder of a run with a checkpoint, or start a new run.",
        code="no_checkpoint",
        fields={"path": run_dir},
    )


def load_at(path: Path) -> LoadedCheckpoint:
    """A certain checkpoint.

    Args:
        path: its folder, named by its position.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if not (path / STATE).exists():
        raise CheckpointError(
            f"{path}: is not a checkpoint ({STATE} is missing). Give a folder below {CHECKPOINTS}/.",
            code="not_a_checkpoint",
            fields={"path": path},
        )
    try:
        position = int(path.name)
        return LoadedCheckpoint(_load(path, position), position, path, ())
    except (OSError, ValueError, TypeError, LookupError, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}). Use another checkpoint of the run.",
            code="damaged_checkpoint",
            fields={"path": path},
        ) from None


def peek(run_dir: Path, key: str) -> Any:
    """One JSON value of the newest state that can be read; tensors are not, and nothing is checked.

    Args:
        run_dir: folder of the run.
        key: of the state.

    Returns:
        The value; None where there is no such state or value.
    """
    folder = run_dir / CHECKPOINTS
    for position in sorted(_positions(folder), reverse=True):
        try:
            state = json.loads((folder / f"{position:08d}" / STATE).read_text(encoding="utf-8"))["state"]
            return state.get(key)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # `load_latest` says which are damaged
    return None


def write_run_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration of a run.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    text = json.dumps(config, indent=2, ensure_ascii=False)
    write_atomically(run_dir / CONFIG, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def read_run_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run.

    Raises:
        CheckpointError: the folder holds no run, or its configuration is damaged.
    """
    path = run_dir / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{run_dir}: is not the folder of a run ({path.name}: {error.strerror}). Give the folder from `rlgan "
            "train --out`, or one in runs/ (the default).",
            code="not_a_run",
            fields={"path": run_dir},
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}). Restore it, or start a new run.",
            code="damaged_run_file",
            fields={"path": path},
        ) from None
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: contains {type(values).__name__}, expected an object. Restore it.",
            code="run_file_type",
            fields={"path": path},
        )
    return values


def config_differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Differences of two flat configurations, as "path: saved → wanted" each.

    Args:
        saved: dotted path → value.
        wanted: dotted path → value.

    Returns:
        In the order of `saved`, then what only `wanted` has; empty where nothing differs.
    """

    def shown(values: Mapping[str, Any], path: str) -> str:
        return repr(values[path]) if path in values else "not set"

    return [
        f"{path}: {shown(saved, path)} → {shown(wanted, path)}"
        for path in dict.fromkeys([*saved, *wanted])
        if path not in saved or path not in wanted or saved[path] != wanted[path]
    ]


def require_keepable(state: Any, path: str) -> None:
    """See to it that a checkpoint can hold a state.

    Args:
        state: JSON values and tensors, at any depth.
        path: of it, for messages.

    Raises:
        TypeError: something else is in it.
        ValueError: a key cannot be kept.
    """
    _Encoder(FrozenParts(())).encoded(state, path, "")


class _Encoder:
    """A state on its way into files.

    Args:
        frozen: what need not be written.

    Attributes:
        tensors: path → what goes into the checkpoint's own file.
        bases: digests of the frozen parts that are named.
    """

    def __init__(self, frozen: FrozenParts) -> None:
        self.frozen = frozen
        self.tensors: dict[str, torch.Tensor] = {}
        self.bases: set[str] = set()

    def encoded(self, value: Any, path: str, name: str) -> Any:
        """JSON values; `name` is the last part of the path."""
        if isinstance(value, torch.Tensor):
            return self._of_tensor(value, path, name)
        if isinstance(value, Mapping):
            return {
                _key(key, path): self.encoded(below, f"{path}/{key}" if path else key, key)
                for key, below in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.encoded(below, f"{path}/{index}", str(index)) for index, below in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            return {_FLOAT_KEY: repr(float(value))}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{path}: a checkpoint can contain tensors and JSON values, not {type(value).__name__}")

    def _of_tensor(self, tensor: torch.Tensor, path: str, name: str) -> dict[str, Any]:
        if (digest := self.frozen.holding(name, tensor)) is not None:
            self.bases.add(digest)
            return {_BASE_KEY: [digest, name]}
        if path in self.tensors:
            raise ValueError(f"{path}: two tensors have this path, because a key contains '/'")
        self.tensors[path] = tensor
        return {_TENSOR_KEY: path}


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{path}: keys of a checkpoint must be text, not {type(key).__name__} {key!r}")
    if key in _RESERVED:
        raise ValueError(f"{path}: the key {key!r} is reserved")
    return key


def _decode(value: Any, tensors: Mapping[str, torch.Tensor], bases: Mapping[str, Tensors]) -> Any:
    if isinstance(value, dict):
        if _TENSOR_KEY in value:
            return tensors[value[_TENSOR_KEY]]
        if _BASE_KEY in value:
            digest, name = value[_BASE_KEY]
            return bases[digest][name]
        if _FLOAT_KEY in value:
            return float(value[_FLOAT_KEY])
        return {key: _decode(below, tensors, bases) for key, below in value.items()}
    if isinstance(value, list):
        return [_decode(below, tensors, bases) for below in value]
    return value


def _load(path: Path, position: int) -> dict[str, Any]:
    try:
        document = json.loads((path / STATE).read_text(encoding="utf-8"))
        form, version = document["format"], document["rlgan"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{STATE} does not match its checksum: {error}") from error
    if form not in (_FORMAT, _FORMAT_WITH_BASES):
        raise ValueError(
            f"{STATE} has format {form} of rlgan {version}, but rlgan {__version__} reads formats {_FORMAT} and "
            f"{_FORMAT_WITH_BASES}"
        )
    if document["position"] != position:
        raise ValueError(f"it contains position {document['position']}")
    # Floats are written so that reading gives the same bits, hence writing again gives the same text.
    if _sha256(json.dumps(document["state"]).encode()) != document["state_sha256"]:
        raise ValueError(f"{STATE} does not match its checksum")
    packed = (path / TENSORS).read_bytes()
    if _sha256(packed) != document["tensors_sha256"]:
        raise ValueError(f"{TENSORS} does not match its checksum ({len(packed):,} bytes)")
    bases = {digest: read_base(path.parent.parent, digest) for digest in document.get("bases", ())}
    state = _decode(document["state"], load(packed), bases)
    if not isinstance(state, dict):
        raise ValueError(f"{STATE} contains {type(state).__name__}, expected an object")
    return state


def _positions(folder: Path) -> set[int]:
    """Numbers of the checkpoints in a folder."""
    if not folder.is_dir():
        return set()
    names = [entry.name for entry in folder.iterdir()]
    replaced = [match[1] for name in names if (match := _HIDDEN.fullmatch(name)) and match[2] == _REPLACED]
    return {int(name) for name in (*filter(_PLACE.fullmatch, names), *replaced)}


def _hidden(place: Path, suffix: str) -> Path:
    return place.with_name(f".{place.name}{suffix}")


def _tidy(folder: Path) -> None:
    """Clear up after a crash: half-written checkpoints, and those that were being replaced."""
    for entry in list(folder.iterdir()):
        match = _HIDDEN.fullmatch(entry.name)
        if match and match[2] == _REPLACED and not (folder / match[1]).exists():
            os.replace(entry, folder / match[1])
        elif match:
            shutil.rmtree(entry)


def _prune(folder: Path, position: int, keep: int) -> None:
    """Leave the checkpoint at `position` and the `keep` - 1 before it."""
    earlier = sorted(other for other in _positions(folder) if other < position)
    later = [other for other in _positions(folder) if other > position]
    places = [folder / f"{other:08d}" for other in (*later, *earlier[: max(0, len(earlier) - (keep - 1))])]
    try:
        _tidy(folder)
        for place in places:
            shutil.rmtree(place)
        if (named := _named_bases(folder)) is not None:
            remove_bases_but(folder.parent, named)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename}: cannot be removed ({error.strerror}). The new checkpoint is saved. Remove this "
            "one, then --resume.",
            code="cannot_remove_checkpoint",
        ) from error


def _named_bases(folder: Path) -> set[str] | None:
    """Digests of the frozen parts that the checkpoints of a folder name; None where one of them cannot be read."""
    if not (folder.parent / BASES).is_dir():
        return None
    named: set[str] = set()
    for position in _positions(folder):
        try:
            named |= set(json.loads((folder / f"{position:08d}" / STATE).read_text("utf-8")).get("bases", ()))
        except (OSError, ValueError, AttributeError):
            return None  # nothing that it may need is removed
    return named


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
