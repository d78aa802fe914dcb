"""Runs read back: by id, by folder and by name, ours and those that plain MLflow made."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest

from rlgan.base.errors import CheckpointError, TrackingError
from rlgan.tracking import Tracker, TrackingSettings, children, history, read_run, reading
from tests.support.errors import refused
from tests.support.mlflow_server import Server, log_units

REFUSING = "http://127.0.0.1:9"  # nobody listens on the discard port


@pytest.fixture
def uri(run_dir: Path) -> str:
    return f"sqlite:///{run_dir.parent / 'mlruns.db'}"


@pytest.fixture
def sweep(run_dir: Path) -> Path:
    """A run with two children, tracked by us."""
    tracker = Tracker(TrackingSettings(experiment="sweeps/text"), run_dir)
    tracker.start("lr", {"study": "lr"}, {"preset": "quick"})
    for name in ("one", "two"):
        child = tracker.child(run_dir / "trials" / name, name, {"lr": 0.5}, {})
        log_units(child, 3, 1, 2)
        child.finish("FINISHED", tags={"value": "1"})
    tracker.finish("KILLED")
    return run_dir


def test_a_run_is_read_by_folder_id_and_name(sweep: Path, uri: str) -> None:
    run = read_run(None, sweep)
    assert (run.name, run.status, run.experiment, run.parent_id) == ("lr", "KILLED", "sweeps/text", None)
    assert run.params == {"study": "lr"} and run.tags["preset"] == "quick" and run.metrics == {}
    for address in (str(sweep), run.run_id, "sweeps/text/lr"):
        assert read_run(uri, address) == run
    trial = read_run(None, sweep / "trials" / "two")
    assert (trial.name, trial.parent_id, trial.params) == ("two", run.run_id, {"lr": "0.5"})
    assert trial.metrics == {"mle/nll": 3.0, "timing/iteration_s": 0.5}, "the last value is that of the greatest step"
    server = Server(sweep).client.get_run(trial.run_id)
    assert trial.start_time_ms == server.info.start_time


def test_addresses_come_from_the_argument_then_the_environment_then_the_folder(
    sweep: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = read_run(None, sweep)
    monkeypatch.chdir(sweep.parent.parent)
    with refused(TrackingError, "no_tracking_database"):
        read_run(None, run.run_id)
    assert not Path("runs").exists()
    sweep.parent.rename("runs")
    assert read_run(None, run.run_id).run_id == read_run(None, "sweeps/text/lr").run_id == run.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", REFUSING)
    with refused(TrackingError, "mlflow_no_answer", match="127.0.0.1"):
        read_run(None, Path("runs") / sweep.name)
    assert read_run("sqlite:///runs/mlruns.db", run.run_id).run_id == run.run_id


def test_history_is_by_step_and_of_all_that_is_asked(sweep: Path) -> None:
    run = read_run(None, sweep / "trials" / "one")
    assert history(run, ["mle/nll", "absent"]) == {"mle/nll": [(1, 1.0), (2, 2.0), (3, 3.0)], "absent": []}


def test_what_was_logged_late_or_twice_at_a_step_stands_in_order(run_dir: Path, uri: str) -> None:
    client = Server(run_dir).client
    run_id = client.create_run(client.create_experiment("x")).info.run_id
    for step, value, timestamp in ((2, 0.2, 1), (1, 0.15, 5), (1, 0.1, 4)):
        client.log_metric(run_id, "m", value, timestamp, step)
    assert history(read_run(uri, run_id), ["m"]) == {"m": [(1, 0.1), (1, 0.15), (2, 0.2)]}


def test_children_are_all_of_them_by_their_start(run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_RUNS_A_PAGE", 2)
    client = Server(run_dir).client
    experiment = client.create_experiment("x")
    top = client.create_run(experiment, run_name="top").info.run_id
    for number in (3, 1, 4, 5, 2):
        tags = {"mlflow.parentRunId": top}
        run_id = client.create_run(experiment, start_time=number, run_name=str(number), tags=tags).info.run_id
        client.create_run(experiment, start_time=9, tags={"mlflow.parentRunId": run_id})
    found = children(uri, top)
    assert [(run.name, run.start_time_ms) for run in found] == [(str(number), number) for number in range(1, 6)]
    assert {run.parent_id for run in found} == {top} and {run.experiment for run in found} == {"x"}
    assert len(children(uri, found[0].run_id)) == 1


def test_a_run_of_plain_mlflow_is_read_without_complaint(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("stranger")
        with mlflow.start_run(run_name="theirs") as theirs:
            mlflow.log_param("depth", 3)
            for step, value in enumerate([1.0, math.nan, 3.0]):
                mlflow.log_metric("loss", value, step=step)
            mlflow.log_metric("loss", 4.0, step=2)
            with mlflow.start_run(nested=True, run_name="inner"):
                pass
    finally:
        mlflow.set_tracking_uri(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = read_run(uri, "stranger/theirs")
        ((first, second, third, fourth),) = history(run, ["loss"]).values()
        (inner,) = children(uri, run.run_id)
    assert (run.run_id, run.status, run.params) == (theirs.info.run_id, "FINISHED", {"depth": "3"})
    assert (first, third, fourth) == ((0, 1.0), (2, 3.0), (2, 4.0)) and math.isnan(second[1])
    assert run.metrics == {"loss": 4.0}
    assert inner.name == "inner"


def test_all_pages_of_a_history_are_read(run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.entities import Metric
    from mlflow.store.entities.paged_list import PagedList
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    pages = {None: PagedList([Metric("m", 1.0, 0, 1)], "more"), "more": PagedList([Metric("m", 2.0, 0, 2)], None)}
    client = Server(run_dir).client
    run_id = client.create_run(client.create_experiment("x"), run_name="r").info.run_id
    # As a server does it: a database hands out everything at once.
    monkeypatch.setattr(SqlAlchemyStore, "get_metric_history", lambda *_, page_token=None, **__: pages[page_token])
    assert history(read_run(uri, run_id), ["m"]) == {"m": [(1, 1.0), (2, 2.0)]}


def test_what_is_not_there_is_named_with_what_is(sweep: Path, uri: str, tmp_path: Path) -> None:
    with refused(TrackingError, "no_mlflow_run", match="'lr'"):
        read_run(uri, "lr")
    with refused(TrackingError, "no_mlflow_run", match="'0{32}'"):
        read_run(uri, "0" * 32)
    with refused(TrackingError, "no_mlflow_experiment", match="'sweeps/txt'.*Did you mean 'sweeps/text'"):
        read_run(uri, "sweeps/txt/lr")
    with refused(TrackingError, "no_mlflow_run_of_name", match="'tow'.*Did you mean 'two'"):
        read_run(uri, "sweeps/text/tow")
    with refused(CheckpointError, "folder_of_no_mlflow_run", match="mlflow_run.json"):
        read_run(uri, tmp_path)
    with refused(CheckpointError, "folder_of_no_mlflow_run", match="mlflow_run.json"):
        read_run(uri, tmp_path / "absent")
    with refused(TrackingError, "no_mlflow_run"):
        children(uri, "absent")


def test_two_runs_of_a_name_are_told_apart_by_id(run_dir: Path, uri: str) -> None:
    client = Server(run_dir).client
    experiment = client.create_experiment("x")
    ids = [client.create_run(experiment, run_name="it's").info.run_id for _ in range(2)]
    with refused(TrackingError, "mlflow_runs_of_one_name", match="'x'") as raised:
        read_run(uri, "x/it's")
    assert all(run_id in str(raised.value) for run_id in ids)


def test_a_folder_that_never_reached_its_server_says_how_to_send_it(run_dir: Path, uri: str) -> None:
    tracker = Tracker(TrackingSettings(), run_dir)
    (run_dir / "mlflow_run.json").write_text('{"run_id": "", "key": "k", "artifacts": []}')
    with refused(CheckpointError, "mlflow_run_not_created", match="--resume"):
        read_run(uri, run_dir)
    assert tracker.rows() == []


@pytest.mark.parametrize("address", [REFUSING, "http://me:secret@127.0.0.1:9", "nonsense://x"])
def test_a_server_that_cannot_be_asked_is_named_without_its_password(address: str) -> None:
    with refused(TrackingError, "mlflow_no_answer") as raised:
        read_run(address, "a" * 32)
    assert "secret" not in str(raised.value)


def test_a_password_is_not_shown(run_dir: Path, uri: str) -> None:
    client = Server(run_dir).client
    run_id = client.create_run(client.create_experiment("x")).info.run_id
    assert "sqlite" not in repr(read_run(uri, run_id))
