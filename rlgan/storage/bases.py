"""Frozen parts of networks in a run's folder: a file each, written once, and named by the hash of what it holds.

Every role that has the same frozen part (the generator, where it began, the best one so far, the policy of rollouts)
names it, and so does every checkpoint. A file goes when no checkpoint names it any more. What names them, and where in
a state, is `checkpoint`'s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

import torch

from rlgan.base.files import flush
from rlgan.base.tensor_files import read_tensors, write_tensors
from rlgan.base.weights import Base, Tensors, as_base

BASES = "bases"
"""Folder of a run that holds the frozen parts of its networks."""


class FrozenParts:
    """The frozen parts that the networks of a run have now: which tensors of a state need not be written.

    Args:
        bases: of the networks, with their tensors.
    """

    def __init__(self, bases: Collection[Base]) -> None:
        self._bases = {base.digest: base for base in bases}

    def holding(self, name: str, tensor: torch.Tensor) -> str | None:
        """Digest of the part that has the same tensor, bit for bit, under the same name; None where none has.

        Args:
            name: of the parameter or buffer.
            tensor: its value in a state.
        """
        for digest, base in self._bases.items():
            own = (base.tensors or {}).get(name)
            if own is not None and (own is tensor or _are_alike(own, tensor)):
                return digest
        return None

    def write(self, run_dir: Path, digests: Collection[str]) -> None:
        """Write those that are not in the folder.

        Args:
            run_dir: folder of the run.
            digests: of parts that `holding` returned.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        folder = run_dir / BASES
        for digest in digests:
            path = base_path(run_dir, digest)
            if path.exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            tensors = self._bases[digest].tensors
            assert tensors is not None
            beside = path.with_name(f".{path.name}.tmp")
            try:
                write_tensors(beside, tensors)
                os.replace(beside, path)
            except OSError:
                beside.unlink(missing_ok=True)
                raise
            flush(folder)


def base_path(run_dir: Path, digest: str) -> Path:
    """The file of a frozen part."""
    return run_dir / BASES / f"{digest}.safetensors"


def read_base(run_dir: Path, digest: str) -> Tensors:
    """A frozen part.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is not what was written.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a hash")
    path = base_path(run_dir, digest)
    try:
        found = as_base(read_tensors(path))
    except FileNotFoundError:
        raise ValueError(f"{BASES}/{path.name} is missing") from None
    if found is None or found.digest != digest:
        is_now = "nothing" if found is None else found.digest
        raise ValueError(
            f"{BASES}/{path.name} does not match its checksum ({path.stat().st_size:,} bytes): it should have the hash "
            f"{digest}, but has {is_now}"
        )
    assert found.tensors is not None
    return found.tensors


def remove_bases_but(run_dir: Path, digests: Collection[str]) -> None:
    """Remove the frozen parts that no checkpoint names.

    Args:
        run_dir: folder of the run.
        digests: that checkpoints name.

    Raises:
        OSError: a file cannot be removed.
    """
    folder = run_dir / BASES
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name.partition(".")[0] not in digests:
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _are_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same in kind, shape and every bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    first, second = (tensor.detach().cpu().contiguous().view(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)
