"""Trials of Ray Tune in which code of the user's own raises: told by name, and nothing of the trial is lost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext

from rlgan.base.errors import CallbackError, PluginError
from rlgan.config.paths import override, to_dict
from rlgan.policy.reward_functions import PluginReward
from rlgan.runs.ray_tune import KEPT, SequenceGAN
from rlgan.storage.checkpoint import load_latest
from rlgan.tuning.search.trial import RESUME, STARTS, Trial
from rlgan.tuning.search.tuner import checkpoints, error_of
from tests.support.errors import refused
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.integration

FILE = """
from pathlib import Path

from rlgan.training.callbacks import Callback


def picky(completions, flag, **kwargs):
    if Path(flag).exists():
        raise RuntimeError("the service is gone")
    return [float(len(text)) for text in completions]


class Picky(Callback):
    def __init__(self, flag):
        self.flag, self.seen = flag, 0

    def on_iteration(self, run, iteration):
        if Path(self.flag).exists():
            raise RuntimeError("the service is gone")
        self.seen += 1

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]
"""


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """While it is there, the user's code raises."""
    return tmp_path / "flag"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


class Storage(StorageContext):
    """Tune's, for a trial that no cluster runs."""

    @property
    def trial_working_directory(self) -> str:
        return str(Path(self.storage_fs_path).parent / "working")


def storage(tmp_path: Path, session: str = "session_0") -> StorageContext:
    """Where Tune keeps what a trial saves, and a trial what it cannot give Tune any more."""
    return Storage(str(tmp_path / "tune"), session, trial_dir_name="trial_0000")


@pytest.fixture(autouse=True)
def stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune sends trials into a folder of their own, for the rest of the process."""
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(Path.cwd()))


def with_reward(file: Path, flag: Path) -> dict[str, Any]:
    reward = PluginReward(functions=({"name": f"{file}:picky", "options": {"flag": str(flag)}},))
    config = tiny_config({"adversarial_updates": 3}, reward=reward)
    return to_dict(override(config, {"evaluation.every": 3}))


def with_callback(file: Path, flag: Path) -> dict[str, Any]:
    callback = {"name": f"{file}:Picky", "options": {"flag": str(flag)}}
    return to_dict(override(tiny_config({"adversarial_updates": 3}), {"callbacks": [callback]}))


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """What training gave, but for times."""
    return {name: result[name] for name in ("generator/loss", "reward/mean", "eval/kl_sum") if name in result}


def test_a_trial_is_kept_where_a_reward_raises_and_goes_on_as_if_it_never_had(
    file: Path, flag: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = with_reward(file, flag)
    whole = SequenceGAN(config)
    expected = [whole.train() for _ in range(6)][-1]
    assert expected["done"]

    one = SequenceGAN(config, storage=storage(tmp_path))
    for _ in range(3):
        one.train()
    saved = one.save()  # as Tune does now and then; two iterations later it is old
    for _ in range(2):
        one.train()
    flag.touch()
    with refused(PluginError, "reward_raised", match="picky.*RuntimeError: the service is gone"):
        one.train()
    kept = tmp_path / "tune" / "session_0" / "trial_0000" / KEPT
    assert load_latest(kept).position == 5
    assert f"the trial after 5 iterations is kept in {kept}" in caplog.text

    flag.unlink()
    again = SequenceGAN(config, storage=storage(tmp_path))
    again.restore(saved)  # what Tune knows of
    assert again.trainer.position.iterations == 5
    again.save()
    assert not kept.exists(), "Tune has it now, and a later restart begins at what Tune has"
    last = again.train()
    assert last["done"] and numbers(last) == numbers(expected)
    for each in (whole, one, again):
        each.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Failure # 1 (occurred at 2026-11-29_09-13-55)\nTraceback (most recent call last):\n  File "a.py", line 3\n'
            "rlgan.base.errors.PluginError: reward function 'picky': raises RuntimeError: gone; row 0.\n"
            "  /home/me/mine.py, line 9, in picky\n    raise RuntimeError('gone')\n",
            "rlgan.base.errors.PluginError: reward function 'picky': raises RuntimeError: gone; row 0.",
        ),
        ("Traceback (most recent call last):\nValueError: no\n", "ValueError: no"),
        ("Traceback (most recent call last):\nKeyboardInterrupt\n", "KeyboardInterrupt"),
    ],
)
def test_what_is_told_of_a_trial_is_what_it_raised_and_not_the_last_line_of_a_users_file(
    text: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert error_of(SimpleNamespace(error_file=str(tmp_path / "error.txt"))) == expected  # type: ignore[arg-type]


def test_a_trial_is_kept_after_the_iteration_that_a_callback_raised_at(file: Path, flag: Path, tmp_path: Path) -> None:
    one = SequenceGAN(with_callback(file, flag), storage=storage(tmp_path))
    one.train()
    flag.touch()
    with refused(CallbackError, "callback_raised", match="Picky.*on_iteration after mle iteration 2.*RuntimeError"):
        one.train()
    flag.unlink()
    again = SequenceGAN(with_callback(file, flag), storage=storage(tmp_path))
    assert again.trainer.position.iterations == 2
    assert again.state()["callbacks"] == {"Picky": {"seen": 1}}
    for each in (one, again):
        each.stop()


def test_updates_of_a_sweeps_trial_since_its_last_measurement_are_kept(file: Path, flag: Path, tmp_path: Path) -> None:
    config = {**with_reward(file, flag), STARTS: str(tmp_path / "starts")}
    one = Trial(config, storage=storage(tmp_path))
    step, calls = one.trainer.step, []

    def at_the_second_update() -> Any:
        calls.append(one.trainer.next_phase)
        if calls.count("adversarial") == 2:
            flag.touch()
        return step()

    one.trainer.step = at_the_second_update  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="picky"):
        one.train()
    flag.unlink()
    found = checkpoints(tmp_path / "tune", "trial_0000")
    again = Trial({**config, RESUME: found}, storage=storage(tmp_path, "session_1"))
    assert again.trainer.position.adversarial_updates == 1
    assert again.train()["done"]
    for each in (one, again):
        each.stop()
