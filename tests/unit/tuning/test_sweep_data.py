"""The data of a sweep: found from other folders, checked when it is taken up again, and by every trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.config.paths import to_dict
from rlgan.envs.tasks import TextTask
from rlgan.runs.data import DATA, config_files
from rlgan.runs.ray_tune import SequenceGAN
from rlgan.tuning import sweep as sweeps
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.sweep import SweepRequest, preview, sweep
from tests.support.errors import refused
from tests.support.tiny_sweep import CHANGES, STUDY

WORDS = "abcdefgh"
CONTENT = "".join(f"{a} {b} {c}\n" for a in WORDS for b in WORDS for c in "xy")
CHANGED = CONTENT.replace("a b x", "b a x")


def request(folder: Path, resume: bool = False, **more: Any) -> SweepRequest:
    settings = SweepSettings(search="grid", scheduler="none", trials=2, finalists=0)
    changes = {"tracking.enabled": False}
    return SweepRequest(STUDY, TextTask(data="lines.txt", test="test.txt"), changes, settings, folder, resume, **more)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep of no trial yet, `sweep`, and its data; it is the working directory."""
    assert "task.data" not in CHANGES
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps, "_work", lambda *_: "interrupted")
    Path("lines.txt").write_text(CONTENT)
    Path("test.txt").write_text("a b y\nb a y\n" * 20)
    sweep(request(Path("sweep")), lambda _: None)
    return tmp_path


def test_a_sweep_goes_on_from_another_folder(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (begun / "other").mkdir()
    monkeypatch.chdir(begun / "other")
    space, _, _ = sweeps._checked(request(begun / "sweep", resume=True), lambda _: None)
    assert config_files(space.base) == {"task.data": f"{begun}/lines.txt", "task.test": f"{begun}/test.txt"}
    sweep(request(begun / "sweep", resume=True), lambda _: None)


def test_a_sweep_goes_on_with_the_same_content_elsewhere(begun: Path) -> None:
    Path("lines.txt").rename("moved.txt")
    moved = request(Path("sweep"), resume=True, files={"task.data": "moved.txt"})
    sweep(moved, lambda _: None)
    space, _, _ = sweeps._checked(request(Path("sweep"), resume=True), lambda _: None)  # now it knows
    assert config_files(space.base)["task.data"] == f"{begun}/moved.txt"
    with refused(ConfigError, "option_of_other_file", match=r"--pairs x: --resume sweep.*--task\.test FILE"):
        preview(request(Path("sweep"), resume=True, files={"task.input.data": "x"}))


@pytest.mark.parametrize("name", ["lines.txt", "test.txt"])
def test_a_sweep_on_other_data_is_refused(begun: Path, name: str) -> None:
    path = Path(name)
    path.write_text(CHANGED if name == "lines.txt" else "b a y\na b y\n" * 20)
    with refused(CheckpointError, "data_changed", match=rf"--resume sweep: .*{name}"):
        sweep(request(Path("sweep"), resume=True), lambda _: None)


def test_a_sweep_of_an_older_version_is_checked_by_what_it_kept(begun: Path) -> None:
    (begun / "sweep" / "data.json").unlink()
    path = begun / "sweep" / "sweep.json"
    kept = json.loads(path.read_text())
    kept["base"]["task.test"] = "test.txt"  # older versions kept it as it was named
    path.write_text(json.dumps(kept))
    preview(request(Path("sweep"), resume=True))
    sweep(request(Path("sweep"), resume=True), lambda _: None)
    (begun / "sweep" / "data.json").unlink()
    Path("lines.txt").write_text(CHANGED)
    with refused(CheckpointError, "data_changed", match="--resume sweep: "):
        preview(request(Path("sweep"), resume=True))


def test_a_trial_on_a_machine_with_another_file_refuses(begun: Path) -> None:
    space, task, _ = sweeps._checked(request(Path("fresh")), lambda _: None)
    config = {**to_dict(space.base), DATA: task.fingerprint()}
    SequenceGAN(config).stop()
    Path("lines.txt").write_text(CHANGED)
    with refused(CheckpointError, "sweep_data_differs", match="^trial: "):
        SequenceGAN(config)


def test_a_state_of_another_trials_data_is_refused(begun: Path) -> None:
    space, _, _ = sweeps._checked(request(Path("fresh")), lambda _: None)
    trial = SequenceGAN(to_dict(space.base))
    Path("state").mkdir()
    trial.save_checkpoint("state")
    trial.load_checkpoint("state")
    trial.stop()
    Path("lines.txt").write_text(CHANGED)
    other = SequenceGAN(to_dict(space.base))
    with refused(CheckpointError, "tune_state_of_other_data", match="^state: "):
        other.load_checkpoint("state")
    other.stop()
