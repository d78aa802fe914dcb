"""Files of safetensors, of the format's own layout, that are read and written without a second copy in memory.

The library's readers map the file, so that whoever writes over it changes what was read, or copy it twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from io import BufferedReader
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
    """All tensors of a file, each in memory of its own; the file may be changed or removed afterwards.

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
            entries = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
            return {name: _tensor(file, 8 + size, **entry) for name, entry in entries}
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path.name} is damaged or incomplete: {error}") from None


def _tensor(file: BufferedReader, start: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    if dtype not in _DTYPES:
        raise ValueError(f"it has numbers of the kind {dtype}")
    # Memory that torch reserves begins where a matrix product rounds alike in every process.
    tensor = torch.empty(shape, dtype=_DTYPES[dtype])
    content, (first, end) = bytes_of(tensor).reshape(-1).data, data_offsets
    file.seek(start + first)
    if len(content) != end - first or file.readinto(content) < len(content):
        raise ValueError(f"{len(content)} bytes of {shape} numbers are not there")
    return tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a file of tensors, and wait until it is on the disk.

    Args:
        path: of the file.
        tensors: name → tensor; they may share memory, or be views of others.

    Returns:
        SHA-256 of the file.

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
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(content: bytes | memoryview) -> None:
            digest.update(content)
            file.write(content)

        put(len(head).to_bytes(8, "little"))
        put(head)
        for name in order:
            put(bytes_of(tensors[name].detach().cpu()).data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
