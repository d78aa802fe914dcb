"""Whole files or none: written beside their place, flushed, renamed; and the error of what cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from .errors import CheckpointError

_UNFINISHED = ".tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place; readers see the old or the new one whole.

    Args:
        path: of the file.
        write: is called with the path of an empty place in the same folder.

    Raises:
        CheckpointError: the disk is full or cannot be written; what was at `path` is untouched.
    """
    beside = path.with_name(f".{path.name}{_UNFINISHED}")
    try:
        write(beside)
        flush(beside)
        os.replace(beside, path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        # Nothing is there after the rename; after an error or Ctrl-C, half a file may be.
        if beside.exists():
            beside.unlink()


def cannot_write(path: Path, error: Exception, num_bytes: int | None = None) -> CheckpointError:
    """The error to raise when a file of a run cannot be written.

    Args:
        path: what was to be written.
        error: what the system said.
        num_bytes: what was to be written, where it is known.

    Returns:
        With the reason, the space that is needed and free, and what to do.
    """
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    needed = "" if num_bytes is None else f"{num_bytes:,} bytes are needed, "
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    advice = "Free some space" if is_full else "Check the disk and permissions"
    return CheckpointError(
        f"{path}: cannot be written ({reason}); {needed}{_free_bytes(path)} are free. {advice}, then --resume.",
        code="cannot_write",
        fields={"path": path},
    )


def _free_bytes(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:  # the disk that could not be written may not answer either
        return "unknown"


def flush(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
