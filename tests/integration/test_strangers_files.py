"""Files from strangers: pickles under our names are refused and never loaded, whichever verb reads them."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.commands import ask, copy_of, write_config
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.integration


class Payload:
    """Makes a folder when it is unpickled, whoever does it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def as_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark)))


def as_torch_archive(path: Path, mark: Path) -> None:
    torch.save({"output.bias": Payload(mark)}, path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a stranger: complete, and without its last file so that --resume has work to do."""
    from rlgan.cli.main import main

    folder = tmp_path_factory.mktemp("stranger")
    config = write_config(folder / "c.json", tiny_config())
    assert main(["train", "--config", str(config), "--out", str(folder / "run")]) == 0
    (folder / "run" / "table.txt").unlink()
    return folder / "run"


VERBS = {
    "train --resume": ["train", "--resume"],
    "sample": ["sample", "--num", "2", "--run"],
    "evaluate": ["evaluate", "--run"],
}
FILES = [
    "config.json",
    "data.json",
    "generator.json",
    "generator.safetensors",
    "checkpoints/*/state.json",
    "checkpoints/*/*.safetensors",
]
READ_BY = {  # what a verb does not read cannot harm it either
    "train --resume": {"config.json", "data.json", "checkpoints/*/state.json", "checkpoints/*/*.safetensors"},
    "sample": {"generator.json", "generator.safetensors"},
    "evaluate": {"config.json", "data.json", "generator.json", "generator.safetensors"},
}


@pytest.mark.heavy
@pytest.mark.parametrize("disguise", [as_pickle, as_torch_archive])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_pickle_under_our_name_is_refused_and_not_loaded(
    verb: str,
    file: str,
    disguise: Callable[[Path, Path], None],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, mark = copy_of(finished, tmp_path / "run"), tmp_path / "was-unpickled"
    replaced = sorted(run_dir.glob(file))
    assert replaced, f"a run has no {file} any more"
    for path in replaced:
        disguise(path, mark)
    answer = ask(capsys, *VERBS[verb], run_dir)
    assert not mark.exists(), "a stranger's code was run"
    if file in READ_BY[verb]:
        assert answer.status == 2 and answer.err.startswith("rlgan: ") and answer.err.count("\n") == 1, answer
    else:
        assert answer.status == 0, answer


@pytest.mark.parametrize("disguise", [as_pickle, as_torch_archive])
def test_the_disguises_would_act_if_they_were_loaded(disguise: Callable[[Path, Path], None], tmp_path: Path) -> None:
    disguise(tmp_path / "file", tmp_path / "mark")
    torch.load(tmp_path / "file", weights_only=False) if disguise is as_torch_archive else pickle.loads(
        (tmp_path / "file").read_bytes()
    )
    assert (tmp_path / "mark").exists()
    shutil.rmtree(tmp_path / "mark")
