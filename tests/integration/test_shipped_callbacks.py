"""Callbacks that ship, read back by the readers of those whose files they write."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rlgan
from rlgan.base.errors import ConfigError
from rlgan.callbacks import TensorBoard, WandB
from rlgan.config.config import Config
from rlgan.runs.run import RunRequest, run
from rlgan.training.callbacks import loaded_callbacks
from tests.support.commands import ask, write_config
from tests.support.runs import small, stop_after

pytestmark = [pytest.mark.heavy, pytest.mark.integration]


def brief() -> Config:
    config = small(controls=())
    evaluation = config.evaluation.model_copy(update={"temperatures": (1.0,), "equal_trainings": 0})
    return config.model_copy(update={"evaluation": evaluation})


def logged(folder: Path) -> dict[tuple[str, int], float]:
    """(metric, step) → value of metrics.jsonl, but for the end of the run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    values = [(name, row["step"], value) for row in rows for name, value in row["metrics"].items() if row["iteration"]]
    return {(name, step): math.nan if value is None else value for name, step, value in values}


def test_event_files_have_every_metric_and_the_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = write_config(tmp_path / "settings.json", brief())
    command = ("train", "seqgan", "--config", settings, "--callbacks", "tensorboard", "--out", tmp_path / "run")
    answer = ask(capsys, *command)
    assert answer.status == 0, answer.err
    found = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    written = {(name, one.step): one.value for name in found.Tags()["scalars"] for one in found.Scalars(name)}
    wanted = logged(tmp_path / "run")
    assert written.keys() == wanted.keys()
    for key, value in wanted.items():  # events hold single precision
        assert written[key] == pytest.approx(value, rel=1e-6, nan_ok=True), key
    (text,) = found.Tensors("samples/adversarial/text_summary")[1].tensor_proto.string_val
    block = (tmp_path / "run/samples.txt").read_text().split("=== adversarial 2\n")[1].split("=== final")[0]
    assert [line.strip() for line in text.decode().splitlines()] == block.splitlines()
    # The run knows it by its name, whatever version of rlgan goes on with it.
    (plugin,) = rlgan.load(tmp_path / "run").config.callbacks
    assert plugin.name == "tensorboard" and plugin.digest == "qualified-name:rlgan.callbacks:TensorBoard"


class Double:
    """In the place of `wandb`: keeps what is asked of it."""

    def __init__(self) -> None:
        self.opened: list[dict[str, Any]] = []
        self.rows: list[tuple[dict[str, float], int]] = []
        self.num_finished = 0
        self.id = "abc"

    def init(self, **named: Any) -> Double:
        self.opened.append(named)
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((metrics, step))

    def finish(self) -> None:
        self.num_finished += 1


def test_weights_and_biases_gets_every_metric_and_a_resumed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = Double()
    monkeypatch.setitem(sys.modules, "wandb", double)
    monkeypatch.setattr("rlgan.callbacks.weights_and_biases.require_package", lambda *_, **__: None)
    config, folder = brief(), tmp_path / "mine"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert run(RunRequest(config, folder, resume=False), [WandB("poems", mode="offline")]).stopped
    run(RunRequest(config, folder, resume=True), [WandB("poems", mode="offline")])
    first, second = double.opened
    assert (first["project"], first["mode"], first["name"], first["id"]) == ("poems", "offline", "mine", None)
    assert first["config"]["schedule.g_batch"] == config.schedule.g_batch and first["dir"] == str(folder)
    assert (second["id"], second["resume"]) == ("abc", "allow") and double.num_finished == 2
    assert [step for _, step in double.rows] == [1, 2, 3, 4, 5]
    sent = [(name, float(value)) for row, _ in double.rows for name, value in row.items()]
    wanted = [(name, value) for (name, _), value in logged(folder).items()]
    assert sorted(map(repr, sent)) == sorted(map(repr, wanted))


def records_of(content: bytes) -> Iterator[bytes]:
    """Records of a log of LevelDB behind a head of seven bytes: blocks of 32 KiB; pieces of checksum, length, kind."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        piece, at = content[at + 7 : at + 7 + length], at + 7 + length
        parts = piece if kind in (1, 2) else parts + piece  # whole, first, middle, last
        if kind in (1, 4):
            yield parts


def test_offline_files_of_weights_and_biases_hold_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    run(RunRequest(brief(), folder, resume=False), [WandB(mode="offline")])
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    rows = []
    for data in records_of(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in items})
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1]["generator/mean_value"] == logged(folder)["generator/mean_value", 2]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda wanted, *more: None if wanted == name else real(wanted, *more)
    )
    with pytest.raises(ConfigError, match=rf"needs {name}, which is not installed.*\[{name}\]"):
        {"tensorboard": TensorBoard, "wandb": WandB}[name]()
    with pytest.raises(ConfigError, match=rf"\[{name}\]"):
        loaded_callbacks(Config.model_validate({**brief().model_dump(), "callbacks": [name]}).callbacks)


def test_callbacks_are_public() -> None:
    assert rlgan.callbacks.TensorBoard is TensorBoard and rlgan.callbacks.WandB is WandB
