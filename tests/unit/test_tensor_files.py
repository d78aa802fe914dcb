"""Files of tensors: what the library wrote is read, the other way round, and what is damaged is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlgan.base.tensor_files import read_tensors, write_tensors

TENSORS = {
    "half": torch.randn(3, 2).bfloat16(),
    "scalar": torch.tensor(3),
    "none": torch.zeros(0, 4),
    "small": torch.randn(5).to(torch.float8_e4m3fn),
    "flags": torch.tensor([True, False, True]),
    "matrix": torch.randn(7, 3, dtype=torch.float64),
}


def require_equal(found: dict[str, Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name].double(), tensor.double())


def test_files_of_the_library_are_read_and_ours_are_read_by_it(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "theirs", metadata={"format": "pt"})
    require_equal(read_tensors(tmp_path / "theirs"))
    digest = write_tensors(tmp_path / "ours", TENSORS)
    require_equal(load_file(tmp_path / "ours"))
    require_equal(read_tensors(tmp_path / "ours"))
    assert digest == hashlib.sha256((tmp_path / "ours").read_bytes()).hexdigest()


def test_what_was_read_is_not_changed_by_whoever_writes_over_the_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    found = read_tensors(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(bytes(len(content)))
    require_equal(found)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values() if tensor.numel())


def test_views_and_what_shares_memory_are_written_as_they_are(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    write_tensors(tmp_path / "file", {"a": whole, "b": whole.T, "c": whole[:, 1]})
    found = read_tensors(tmp_path / "file")
    assert torch.equal(found["b"], whole.T) and found["c"].tolist() == [1.0, 4.0]


@pytest.mark.parametrize("keep", [0, 4, 20, -3])
def test_half_a_file_is_refused(tmp_path: Path, keep: int) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[:keep])
    with pytest.raises(ValueError, match="file is damaged or incomplete"):
        read_tensors(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="no file of safetensors"):
        read_tensors(tmp_path / "file")
