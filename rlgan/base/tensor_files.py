"""Files of safetensors, of the format's own layout, that are read and written without a second copy in memory.

The library's readers map the file, so that whoever writes over it changes what was read, or copy it twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .weights import Tensors, bytes_of

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_MOST_HEADER_BYTES = 100_000_000  # as safetensors itself has it


def read_tensors(path: Path) -> Tensors:
    """All tensors of a file, side by side in one piece of memory; the file may be changed or removed afterwards.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is damaged, or has numbers of a kind that torch does not know.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _MOST_HEADER_BYTES:
            raise ValueError(f"{path.name} is no file of safetensors: its header would have {size} bytes")
        try:
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            content = bytearray(max((entry["data_offsets"][1] for entry in header.values()), default=0))
            if (found := file.readinto(content)) < len(content):
                raise ValueError(f"{len(content) - found} bytes are missing")
            return {name: _tensor(name, content, **entry) for name, entry in header.items()}
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path.name} is damaged or incomplete: {error}") from None


def _tensor(name: str, content: bytearray, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    if (kind := _DTYPES.get(dtype)) is None:
        raise ValueError(f"{name} has the dtype {dtype}")
    first, end = data_offsets
    if not (count := (end - first) // kind.itemsize):
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(content, dtype=kind, count=count, offset=first).view(shape)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file of tensors, and wait until it is on the disk.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    # As the library orders them, so that each begins at a multiple of the size of its numbers.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        first, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [first, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(head)
        for name in order:
            file.write(bytes_of(tensors[name]).data)
        file.flush()
        os.fsync(file.fileno())
