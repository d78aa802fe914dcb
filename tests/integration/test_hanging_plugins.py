"""Plug-ins that hang: told by name when it happens, in whatever part of a run, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import ConfigError, PluginError
from rlgan.cli.main import main
from rlgan.config.paths import override
from rlgan.envs.tasks.plugin import PluginTask
from rlgan.extensions import PLUGIN_TIMEOUT
from rlgan.presets.registry import preset
from rlgan.runs.plugin_changes import recorded_changes
from rlgan.storage.checkpoint import load_latest
from rlgan.training.trainer import Trainer
from tests.support.commands import ask, rows_of, write_config
from tests.support.errors import refused
from tests.support.runs import assert_ends_alike, small

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

NETWORKS = """
import time
from pathlib import Path

import torch
from torch import nn


class Slow(nn.Module):
    def __init__(self, space, flag, width=4):
        super().__init__()
        self.flag = flag
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, space.vocab_size)

    def forward(self, tokens):
        while Path(self.flag).exists():
            time.sleep(0.01)
        return self.output(self.gru(self.embedding(tokens))[0])


class Judge(nn.Module):
    def __init__(self, space, flag, width=4):
        super().__init__()
        self.flag = flag
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.output = nn.Linear(width, 1)

    def forward(self, tokens, mask):
        while Path(self.flag).exists():
            time.sleep(0.01)
        mean = (self.embedding(tokens) * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        return self.output(mean).squeeze(1)
"""

CALLBACK = """
import time
from pathlib import Path

from rlgan.training.callbacks import Callback


class Waits(Callback):
    def __init__(self, flag):
        self.flag = flag

    def on_iteration(self, run, iteration):
        while Path(self.flag).exists():
            time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("setting", "name", "line"),
    [
        ("generator", "networks.py:Slow", "in forward"),
        ("discriminator", "networks.py:Judge", "in forward"),
        ("callbacks", "callback.py:Waits", "in on_iteration"),
    ],
)
def test_a_run_whose_plugin_hangs_stops_and_goes_on_as_if_never_stopped(
    setting: str,
    name: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "callback.py").write_text(CALLBACK)
    flag = tmp_path / "flag"
    own = {"kind": "plugin", "name": f"{tmp_path / name}", "options": {"flag": str(flag)}, "timeout_s": 1.0}
    config = override(small(controls=(), checkpoint_every_s=1e6), {setting: [own] if setting == "callbacks" else own})
    path = write_config(tmp_path / "base.json", config)
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "whole")]) == 0
    real = Trainer.step

    def step(trainer: Trainer, measure: bool = True) -> Any:
        if trainer.position.adversarial_updates == 1:
            flag.touch()
        return real(trainer, measure)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        capsys.readouterr()
        assert main(["train", "--config", str(path), "--out", str(tmp_path / "stopped")]) == 1
    said = capsys.readouterr()
    assert "[plugin_interrupted]" in said.err and "timeout_s=1 " in said.err and line in said.err
    assert name.rpartition(":")[2] in said.err
    done = 5 if setting == "callbacks" else 4  # a callback comes when the iteration is done
    assert load_latest(tmp_path / "stopped").position == done == len(rows_of(tmp_path / "stopped"))
    flag.unlink()
    # A run that is gone on with may be given more time; a generator's description has its settings.
    longer = {"generator": [], "discriminator": ["--discriminator.timeout_s", "100"]}
    longer["callbacks"] = ["--callbacks.0.timeout_s", "100"]
    assert main(["train", "--resume", str(tmp_path / "stopped"), *longer[setting]]) == 0
    assert_ends_alike(tmp_path / "whole", tmp_path / "stopped")
    assert recorded_changes(tmp_path / "stopped") == []


def test_a_task_and_a_preset_and_an_import_that_hang_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import time\n\n\ndef hangs():\n    time.sleep(1000)\n")
    with refused(PluginError, "plugin_interrupted", {"timeout_s": 0.2}, match=r"task plug-in [^$]*in hangs"):
        PluginTask.model_validate({"name": f"{file}:hangs", "timeout_s": 0.2})
    monkeypatch.setenv(PLUGIN_TIMEOUT, "0.2")
    with refused(PluginError, "plugin_interrupted", {"timeout_s": 0.2}, match=r"preset plug-in [^$]*in hangs"):
        preset(f"{file}:hangs")
    file.write_text("import time\n\ntime.sleep(1000)\n")
    with refused(PluginError, "plugin_interrupted", {"timeout_s": 0.2}, match=r"preset plug-in [^$]*line 3"):
        preset(f"{file}:hangs")


HANGS = "import time\n\ntime.sleep(1000)\n"


@pytest.mark.parametrize(
    "words",
    [
        ("show-config", "FILE:anything"),
        ("train", "quick", "--reward", "FILE:anything", "--dry-run"),
        ("tune", "reward_baseline", "--generator", "FILE:anything", "--dry-run"),
    ],
)
def test_the_time_of_an_import_is_an_option(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGIN_TIMEOUT, "900")
    file = tmp_path / "mine.py"
    file.write_text(HANGS)
    typed = [word.replace("FILE", str(file)) for word in words]
    answer = ask(capsys, *typed, "--plugin-timeout", 0.2)
    assert answer.status == 1 and "after 0.2 seconds" in answer.err and "[plugin_interrupted]" in answer.err
    assert "increase --plugin-timeout (RLGAN_PLUGIN_TIMEOUT in Python)" in answer.err
    told, _, lines = answer.err.partition("\n")
    assert told.endswith("[plugin_interrupted]") and "line 3" in lines, "the code stands before the user's own lines"
    assert os.environ[PLUGIN_TIMEOUT] == "900", "the option is of one command"


def test_a_time_of_an_import_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HANGS)
    answer = ask(capsys, "show-config", f"{file}:anything", "--plugin-timeout", 0)
    assert answer.status == 2 and "--plugin-timeout" in answer.err
    for wrong in ("soon", "0", "-3", "inf", "nan", ""):
        monkeypatch.setenv(PLUGIN_TIMEOUT, wrong)
        with refused(ConfigError, "plugin_timeout_variable", {PLUGIN_TIMEOUT: wrong}):
            preset(f"{file}:anything")
