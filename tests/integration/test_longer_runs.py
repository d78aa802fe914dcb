"""A run that is extended has the numbers of one that was asked for all updates at once; others are told why not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlflow
import pytest

import rlgan
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.config.config import Config
from rlgan.runs.run import RunRequest, run
from rlgan.runs.session import RunResult
from rlgan.storage.places import open_place
from rlgan.training.callbacks import Callback, RunView, Stop
from rlgan.training.iteration import Iteration
from tests.support.commands import ask, copy_of, rows_of
from tests.support.errors import refused
from tests.support.runs import assert_ends_alike, small, stop_after

pytestmark = [pytest.mark.heavy, pytest.mark.integration]


def config_of(num_updates: int, every: int = 1, **changes: Any) -> Config:
    config = small(schedule={"adversarial_updates": num_updates, **changes}, controls=("mle_continued",))
    evaluation = config.evaluation.model_copy(update={"every": every, "equal_trainings": 0, "temperatures": (1.0,)})
    return config.model_copy(update={"evaluation": evaluation})


def begun(config: Config, folder: Path, *callbacks: Callback) -> RunResult:
    return run(RunRequest(config, folder, resume=False), callbacks)


def longer(config: Config, folder: Path, num_updates: int, **more: Any) -> RunResult:
    return run(RunRequest(config, folder, resume=True, more_updates=num_updates, **more))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    begun(config_of(4), folder)
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "run"
    begun(config_of(2), folder)
    return folder


def test_an_extended_run_is_one_that_was_asked_for_all_at_once(whole: Path, short: Path, tmp_path: Path) -> None:
    parts = copy_of(short, tmp_path / "run")
    assert rlgan.load(parts).extend(2, quiet=True).is_finished
    assert_ends_alike(whole, parts)
    assert (parts / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    for name in ("checkpoints/00000007/state.json", "checkpoints/00000007/tensors.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("table", "verdict"):  # what it was before is kept under another name
        assert (parts / f"{name}-at-2.json").read_bytes() == (short / f"{name}.json").read_bytes()


def test_an_extension_that_is_stopped_is_gone_on_with(
    whole: Path, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = copy_of(short, tmp_path / "run")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        assert ask(capsys, "extend", "--run", parts, "--updates", "2").status == 130
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    refused = ask(capsys, "extend", "--run", parts, "--updates", "2")
    assert refused.status == 2 and "not complete" in refused.err and f"--resume {parts}" in refused.err
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before
    assert ask(capsys, "train", "--resume", parts).status == 0
    assert_ends_alike(whole, parts)


@pytest.mark.slow
def test_a_measurement_of_the_last_update_alone_stays_in_its_row_and_changes_nothing_else(tmp_path: Path) -> None:
    """Of two updates the second is measured, for it is the last; of four the third is, and the last."""
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    begun(config_of(2, every=3), parts)
    longer(config_of(2, every=3), parts, 2)
    begun(config_of(4, every=3), whole)
    rows, wanted = rows_of(parts), rows_of(whole)
    (other,) = (index for index, pair in enumerate(zip(rows, wanted, strict=True)) if pair[0] != pair[1])
    assert (rows[other]["phase"], rows[other]["step"]) == ("adversarial", 2)
    assert wanted[other]["metrics"].items() < rows[other]["metrics"].items()
    state = "checkpoints/00000007/state.json"
    assert (parts / state).read_bytes() == (whole / state).read_bytes()
    assert (parts / "table.json").read_bytes() == (whole / "table.json").read_bytes()


def test_mlflow_and_the_storage_have_the_run_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "kept").mkdir()
    config, folder = config_of(2), tmp_path / "runs" / "one"
    config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"enabled": True})})
    place = open_place(f"file://{tmp_path}/kept", "storage")
    run(RunRequest(config, folder, resume=False, storage=place))
    run_id = json.loads((folder / "mlflow_run.json").read_text())["run_id"]
    seen: list[bool] = []

    class Looks(Callback):
        def on_iteration(self, run: RunView, iteration: Iteration) -> None:
            # While it is under way again, the storage does not call it complete.
            seen.append((tmp_path / "kept/one/table.txt").exists())

    request = RunRequest(config, folder, resume=True, storage=place.below("one"), more_updates=2)
    run(request, [Looks()])
    assert seen == [False, False]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlruns.db")
    found = client.get_run(run_id)
    logged = {point.step: point.value for point in client.get_metric_history(run_id, "generator/mean_value")}
    rows = [row for row in rows_of(folder) if row["phase"] == "adversarial"]
    assert logged == {row["step"]: row["metrics"]["generator/mean_value"] for row in rows} and len(rows) == 4
    assert found.info.status == "FINISHED" and "2 → 4" in found.data.tags["extended"]
    assert (tmp_path / "kept/one/table.txt").read_bytes() == (folder / "table.txt").read_bytes()
    assert (tmp_path / "kept/one/config.json").read_bytes() == (folder / "config.json").read_bytes()


class StopsAtOnce(Callback):
    def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
        return Stop("enough") if iteration.phase == "adversarial" else None


@pytest.mark.parametrize(
    ("config", "callbacks", "words"),
    [
        (config_of(2, selection={"kind": "best", "every": 1}), (), "schedule.selection='best'"),
        (config_of(3), (StopsAtOnce(),), "by callback StopsAtOnce: enough"),
    ],
)
def test_a_run_of_which_a_longer_one_would_have_other_numbers_is_refused(
    config: Config, callbacks: tuple[Callback, ...], words: str, tmp_path: Path
) -> None:
    begun(config, tmp_path / "run", *callbacks)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=words) as error:
        rlgan.load(tmp_path / "run").extend(2)
    assert "--" not in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_cannot_be_longer_is_told_by_the_configuration(short: Path, tmp_path: Path) -> None:
    from rlgan.layers.relaxation_temperatures import DecayingTemperature, RisingInverse
    from rlgan.policy.objectives import Gumbel
    from rlgan.runs.extending import extended

    # The objective alone is asked, so that the folder may be of any complete run.
    config = config_of(2)
    none = config.model_copy(update={"schedule": config.schedule.model_copy(update={"adversarial_updates": 0})})
    with pytest.raises(ConfigError, match="has no adversarial phase"):
        extended(none, short, 2)
    spread = config.model_copy(update={"objective": Gumbel(temperature=RisingInverse())})
    with pytest.raises(ConfigError, match=r"objective\.temperature"):
        extended(spread, short, 2)
    for name in ("g_rate_end", "d_rate_end"):
        falls = config.model_copy(update={"schedule": config.schedule.model_copy(update={name: 0.1})})
        with refused(ConfigError, "extend_rate", {f"schedule.{name}": 0.1}):
            extended(falls, short, 2)
    fixed = config.model_copy(update={"objective": Gumbel(temperature=DecayingTemperature())})
    with pytest.raises(ConfigError) as error:  # such a run does not stand; it is not the temperature that is told
        extended(fixed, short, 2)
    assert "spread" not in str(error.value)


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
def test_so_many_updates_are_refused(number: Any, short: Path) -> None:
    with pytest.raises(ConfigError, match="updates="):
        rlgan.load(short).extend(number)


@pytest.mark.parametrize("error", [RuntimeError, None], ids=["failed", "stopped"])
def test_a_run_that_failed_or_was_stopped_is_not_extended_and_nothing_is_lost(
    error: type[Exception] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3, error)
        with pytest.raises(error) if error else nullcontext():
            begun(config_of(2), tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"is not complete.*resume\(\)"):
        rlgan.load(tmp_path / "run").extend(2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_more_updates_at_resume_are_told_how_they_are_made(short: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = ask(capsys, "train", "--resume", short, "--schedule.adversarial-updates", "4")
    assert refused.status == 2 and "rlgan extend" in refused.err
