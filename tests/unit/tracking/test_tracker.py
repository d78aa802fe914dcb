"""Tracking: metrics.jsonl holds every number, MLflow gets each once, and no server can hold up or end a run."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from rlgan import __version__
from rlgan.base.errors import CheckpointError
from rlgan.tracking import DataInput, Tracker, TrackingSettings, run_tags, upload
from rlgan.tracking import tracker as tracker_module
from tests.support.errors import refused
from tests.support.mlflow_server import Flaky, Server, log_units

REFUSING = "http://127.0.0.1:9"  # nobody listens on the discard port


def track(run_dir: Path, *units: int, **settings: Any) -> list[str]:
    """A whole run that does some units; its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tracker = Tracker(TrackingSettings(**settings), run_dir)
        tracker.start("a", {"seed": 3}, {"preset": "quick"})
        log_units(tracker, *units)
        tracker.finish("FINISHED")
    return [str(warning.message) for warning in caught]


def resume(run_dir: Path, after: int, *units: int, **settings: Any) -> None:
    tracker = Tracker(TrackingSettings(**settings), run_dir)
    tracker.truncate_after(after)
    tracker.start("a", {"seed": 3, "tracking.enabled": True}, {"preset": "quick"})
    log_units(tracker, *units)
    tracker.finish("FINISHED")


# ------------------------------------------------------------------------------------------------------ the file


def test_every_number_is_in_the_file_without_any_server(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    tracker.start("a", {}, {})
    tracker.log_metrics({"x": 0.1, "n": 2, "nan": math.nan, "inf": math.inf}, step=1, phase="mle", iteration=1)
    tracker.log_metrics({"y": 1e-300}, step=0, phase="final", iteration=None)
    tracker.log_artifact(tmp_path / "absent.txt")
    tracker.finish("FINISHED")
    first, second = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first.pop("time") <= second.pop("time")
    assert first == {
        "iteration": 1,
        "phase": "mle",
        "step": 1,
        "metrics": {"x": 0.1, "n": 2.0, "nan": None, "inf": None},
    }
    assert second == {"iteration": None, "phase": "final", "step": 0, "metrics": {"y": 1e-300}}
    assert [row["iteration"] for row in tracker.rows()] == [1, None]


def test_mlflow_is_imported_only_when_a_tracked_run_starts(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from rlgan.tracking import Tracker, TrackingSettings
tracker = Tracker(TrackingSettings(enabled=False), Path({str(tmp_path)!r}))
tracker.start("a", {{}}, {{}})
tracker.log_metrics({{"x": 1.0}}, step=1, phase="mle", iteration=1)
tracker.finish("FINISHED")
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_going_back_drops_what_will_be_done_again(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    log_units(tracker, 1, 2, 3, 4)
    tracker.log_metrics({"final/x": 1.0}, step=0, phase="final", iteration=None)
    before = tracker.rows()
    tracker.truncate_after(2)
    assert tracker.rows() == before[:2]
    log_units(tracker, 3)
    assert [row["iteration"] for row in tracker.rows()] == [1, 2, 3]


def test_a_row_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    assert tracker.rows() == []
    log_units(tracker, 1, 2)
    whole = tracker.rows()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"unit": 3, "phase": "mle"}')
    assert tracker.rows() == whole
    tracker.truncate_after(5)
    log_units(tracker, 3)
    assert [row["iteration"] for row in tracker.rows()] == [1, 2, 3]


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    log_units(tracker, 1, 2, 3)
    path = tmp_path / "metrics.jsonl"
    text = path.read_text().replace('{"iteration": 2,', '{"iteration" 2,')
    path.write_text(text)
    with refused(CheckpointError, "damaged_metrics_line", {"line": 2}, match="metrics.jsonl"):
        tracker.truncate_after(3)
    assert path.read_text() == text


def test_a_full_disk_ends_the_run_and_says_so(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    log_units(tracker, 1, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 20, limits[1]))
    try:
        with refused(CheckpointError, "cannot_write", match=r"metrics.jsonl: .*\(File too large\)"):
            log_units(tracker, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [row["iteration"] for row in tracker.rows()] == [1, 2]


# ------------------------------------------------------------------------------------------------------ the server


def test_a_run_is_in_mlflow_as_it_was(run_dir: Path) -> None:
    (run_dir / "table.txt").write_text("table")
    tracker = Tracker(TrackingSettings(experiment="mine"), run_dir)
    params = {"seed": 3, "task.data": "a b", "credit": None, "on": True, "windows": [1, 2], "long": "x" * 6001}
    params |= {f"p.{number}": number for number in range(250)}
    tracker.start("the name", params, {"preset": "quick", "seed": "3"})
    log_units(tracker, 1, 2)
    tracker.log_metrics({"final/nan": math.nan, "final/inf": math.inf}, step=0, phase="final", iteration=None)
    tracker.log_artifact(run_dir / "table.txt")
    tracker.log_artifact(run_dir / "metrics.jsonl", "numbers")
    tracker.finish("FINISHED")

    server = Server(run_dir)
    run = server.run
    assert run.info.run_name == "the name"
    assert run.info.status == "FINISHED"
    assert server.client.get_experiment(run.info.experiment_id).name == "mine"
    assert {"preset": "quick", "seed": "3"}.items() <= run.data.tags.items()
    assert run.data.params == {
        "seed": "3",
        "task.data": "a b",
        "credit": "null",
        "on": "true",
        "windows": "[1, 2]",
        "long": "x" * 5999 + "…",
        **{f"p.{number}": str(number) for number in range(250)},
    }
    assert server.history("mle/nll") == [(1, 1.0), (2, 2.0)]
    assert [math.isnan(value) for _, value in server.history("final/nan") + server.history("final/inf")] == [True, True]
    first = server.client.get_metric_history(run.info.run_id, "mle/nll")[0]
    assert first.timestamp == int(tracker.rows()[0]["time"] * 1000)
    assert server.artifacts() == ["numbers", "table.txt"]
    assert server.artifacts("numbers") == ["numbers/metrics.jsonl"]
    assert (run_dir.parent / "mlartifacts" / run.info.run_id / "artifacts" / "table.txt").read_text() == "table"


def test_the_first_run_makes_the_database_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "a"
    run_dir.mkdir()
    assert track(run_dir, 1, 2) == []
    assert Server(run_dir).history("mle/nll") == [(1, 1.0), (2, 2.0)]
    assert capfd.readouterr() == ("", "")


def test_calls_are_as_large_as_mlflow_allows(run_dir: Path, flaky: Flaky) -> None:
    metrics = {f"m/{number}": float(number) for number in range(2_100)}
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.log_metrics(metrics, step=1, phase="mle", iteration=1)
    tracker.start("a", {f"p.{number}": number for number in range(250)}, {})
    tracker.finish("FINISHED")
    # At most 100 parameters, and 1,000 of all kinds; the last call brings the tag too.
    assert flaky.sizes == [100, 100, 50, 999, 999, 103]
    run = Server(run_dir).run
    assert run.data.metrics == metrics
    assert len(run.data.params) == 250


def test_rows_arrive_while_the_run_goes_on(run_dir: Path, flaky: Flaky) -> None:
    connected, arrived = threading.Event(), threading.Event()
    flaky.before = lambda name: {"create_run": connected, "log_batch": arrived}.get(name, connected).set()
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {})
    connected.wait()
    log_units(tracker, 1)
    assert arrived.wait(60.0)
    tracker.finish("FINISHED")


def test_rows_go_many_to_a_call(run_dir: Path, flaky: Flaky) -> None:
    tracker = Tracker(TrackingSettings(), run_dir)
    log_units(tracker, *range(600))
    tracker.start("a", {}, {})
    tracker.finish("FINISHED")
    assert Server(run_dir).history("mle/nll") == [(unit, float(unit)) for unit in range(600)]
    assert flaky.sizes == [501, 501, 201]


def test_mlflows_page_opens_on_runs(run_dir: Path) -> None:
    track(run_dir, 1)
    server = Server(run_dir)
    experiment = server.client.get_experiment(server.run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_experiment_that_somebody_made_becomes_one_of_model_training(run_dir: Path) -> None:
    server = Server(run_dir)
    made, theirs = server.client.create_experiment("made"), server.client.create_experiment("theirs")
    server.client.set_experiment_tag(theirs, "mlflow.experimentKind", "finetuning")
    for name in ("made", "theirs"):
        folder = run_dir.parent / name
        folder.mkdir()
        track(folder, 1, experiment=name)
    kinds = [server.client.get_experiment(one).tags["mlflow.experimentKind"] for one in (made, theirs)]
    assert kinds == ["custom_model_development", "finetuning"], "what they said stays"


def test_a_run_says_where_it_comes_from(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rlgan", "train", "quick", "--tracking.uri", "http://me:secret@x"])
    monkeypatch.setenv("LOGNAME", "somebody")
    data = tuple(
        DataInput(f"a.txt, {split}", "0123456789" * 6, context, "/data/a.txt", ("text",), {"num_sequences": 3})
        for split, context in (("train", "training"), ("test", "test"))
    )
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {"git_commit": "c0ffee"}, data)
    log_units(tracker.child(run_dir / "trials" / "0", "trial", {}, {}), 1)
    tracker.tag_at_end({"verdict": "none", "state": "early"})
    tracker.finish("FINISHED", tags={"state": "late"})
    for run in Server(run_dir).runs:  # a child says it too
        tags = run.data.tags
        assert run.info.user_id == "somebody" and tags["mlflow.source.name"] == "rlgan"
        assert (tags["mlflow.source.type"], tags["mlflow.source.git.commit"]) == ("LOCAL", "c0ffee")
        assert tags["command"] == "rlgan train quick --tracking.uri http://…@x"
    (top,) = [run for run in Server(run_dir).runs if run.info.run_name == "a"]
    assert (top.data.tags["verdict"], top.data.tags["state"]) == ("none", "late")
    found = {one.dataset.name: (one.tags[0].value, one.dataset) for one in top.inputs.dataset_inputs}
    assert {name: context for name, (context, _) in found.items()} == {
        "a.txt, train": "training",
        "a.txt, test": "test",
    }
    dataset = found["a.txt, train"][1]
    assert dataset.digest == ("0123456789" * 6)[:36] and json.loads(dataset.source) == {"uri": "/data/a.txt"}
    assert json.loads(dataset.profile) == {"num_sequences": 3, "fingerprint": "0123456789" * 6}


def test_a_busy_database_of_our_own_is_asked_again_at_the_end(
    run_dir: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives up after five seconds, and another process may be at work for longer."""
    monkeypatch.setattr(upload, "_RETRY_EVERY_S", 1_000.0)
    monkeypatch.setattr(upload, "_LAST_TRY_EVERY_S", 0.0)
    tries: list[str] = []

    def busy_at_first(name: str) -> None:
        tries.append(name)
        if len(tries) <= 3:
            raise MlflowException("(sqlite3.OperationalError) database is locked")

    flaky.before = busy_at_first
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {})
    log_units(tracker, 1)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        tracker.finish("FINISHED")
    assert Server(run_dir).run.info.status == "FINISHED" and Server(run_dir).history("mle/nll") == [(1, 1.0)]


def test_addresses_come_from_settings_then_environment(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (run_dir.parent / name).mkdir()
        shutil.copy(run_dir.parent / "mlruns.db", run_dir.parent / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{run_dir.parent / 'one' / 'mlruns.db'}")
    track(run_dir, 1)
    assert len(Server(run_dir.parent / "one" / "_").runs) == 1
    monkeypatch.chdir(run_dir.parent / "two")
    track(run_dir, uri="sqlite:///mlruns.db")
    other = Server(run_dir.parent / "two" / "_")
    assert other.history("mle/nll") == [(1, 1.0)], "another server is another run, and gets all rows"
    experiment = other.client.get_experiment(other.run.info.experiment_id)
    assert experiment.artifact_location == (run_dir.parent / "two" / "mlartifacts").as_uri()
    assert Server(run_dir).runs == []


def test_passwords_go_nowhere(run_dir: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9/"
    (warning,) = track(run_dir, 1, uri=uri)
    assert "http://…@127.0.0.1:9/" in warning and "secret" not in warning
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {"tracking.uri": uri}, {})
    tracker.finish("FINISHED")
    assert Server(run_dir).run.data.params == {"tracking.uri": "http://…@127.0.0.1:9/"}


@pytest.mark.parametrize("own", [None, "7"])
def test_waiting_is_short_unless_the_user_wants_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY")
    for name in names if own else ():
        monkeypatch.setenv(name, own or "")
    track(tmp_path, uri="nonsense://x")
    assert [os.environ[name] for name in names] == ([own] * 3 if own else ["1", "10", "true"])


# ------------------------------------------------------------------------------------------------------ failures


def test_a_dead_server_is_told_once_and_holds_nothing_up(tmp_path: Path) -> None:
    (warning,) = track(tmp_path, *range(1, 101), uri=REFUSING)
    assert warning.startswith(f"MLflow at {REFUSING} does not accept metrics (MlflowException: API request to ")
    assert f"all metrics are in {tmp_path / 'metrics.jsonl'}" in warning
    assert [row["iteration"] for row in Tracker(TrackingSettings(), tmp_path).rows()] == list(range(1, 101))


def test_an_address_that_mlflow_does_not_know_is_told_too(tmp_path: Path) -> None:
    (warning,) = track(tmp_path, 1, uri="nonsense://x")
    assert "nonsense://x" in warning


def test_a_server_that_hangs_does_not_hold_up_a_run(
    run_dir: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_module, "_FINISH_WAIT_S", 0.0)
    hangs, answers = threading.Event(), threading.Event()

    def hang(name: str) -> None:
        hangs.set()
        answers.wait()

    flaky.before = hang
    others = threading.enumerate()
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {})
    hangs.wait()
    log_units(tracker, *range(50))  # would never return if it waited
    with pytest.warns(UserWarning, match="no answer within 0 s"):
        tracker.finish("FINISHED")
    assert len(tracker.rows()) == 50
    answers.set()
    for thread in set(threading.enumerate()) - set(others):
        thread.join()
    assert len(Server(run_dir).history("mle/nll")) == 50


@pytest.mark.parametrize("arrives", [False, True], ids=["lost", "only the answer lost"])
def test_a_server_that_comes_back_gets_every_row_once(run_dir: Path, flaky: Flaky, arrives: bool) -> None:
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {"seed": 3}, {})
    sent = threading.Event()
    flaky.before = lambda name: sent.set() if name == "log_batch" else None
    log_units(tracker, 1, 2)
    sent.wait()
    flaky.forgets, flaky.failure = not arrives, MlflowException("connection reset")
    with pytest.warns(UserWarning, match="connection reset") as caught:
        for unit in range(3, 8):
            flaky.failed.clear()
            log_units(tracker, unit)
            flaky.failed.wait()
        flaky.failure = None
        log_units(tracker, 8, 9)
        tracker.finish("FINISHED")
    assert len(caught) == 1
    assert flaky.arrived == list(range(1, 10))
    server = Server(run_dir)
    assert server.history("mle/nll") == [(unit, float(unit)) for unit in range(1, 10)]
    assert server.run.data.params == {"seed": "3"}
    assert server.run.info.status == "FINISHED"


def test_what_failed_is_tried_again_without_being_asked_and_no_second_run_is_made(run_dir: Path, flaky: Flaky) -> None:
    calls: list[str] = []
    recovered = threading.Event()

    def fail_once(name: str) -> None:
        calls.append(name)
        if name == "log_batch" and calls.count(name) == 1:
            raise ConnectionError("in the middle of it")
        if calls.count("log_batch") == 3:  # parameters, parameters again, rows
            recovered.set()

    flaky.before = fail_once
    tracker = Tracker(TrackingSettings(), run_dir)
    log_units(tracker, 1)
    tracker.start("a", {"seed": 3}, {})
    assert recovered.wait(60.0)
    with pytest.warns(UserWarning, match="in the middle of it"):
        tracker.finish("FINISHED")
    server = Server(run_dir)
    assert server.run.data.params == {"seed": "3"}
    assert server.history("mle/nll") == [(1, 1.0)]


def test_two_runs_that_make_the_experiment_at_once_share_it(run_dir: Path, flaky: Flaky) -> None:
    real = Server(run_dir).client

    def overtake(name: str) -> None:
        if name == "create_experiment":
            real.create_experiment("rlgan")

    flaky.before = overtake
    assert track(run_dir, 1) == []
    assert Server(run_dir).history("mle/nll") == [(1, 1.0)]


def test_an_experiment_that_cannot_be_made_is_told(run_dir: Path, flaky: Flaky) -> None:
    def refuse(name: str) -> None:
        if name == "create_experiment":
            raise MlflowException("you may not")

    flaky.before = refuse
    (warning,) = track(run_dir, 1)
    assert "(MlflowException: you may not)" in warning


def test_a_refused_row_does_not_hold_up_the_others(run_dir: Path) -> None:
    tracker = Tracker(TrackingSettings(), run_dir)
    log_units(tracker, 1)
    tracker.log_metrics({"not@allowed": 1.0}, step=2, phase="mle", iteration=2)
    tracker.log_metrics({"neither@allowed": 1.0}, step=3, phase="mle", iteration=3)
    log_units(tracker, 4)
    with pytest.warns(
        UserWarning, match=r"MLflow refused row 2 of .*metrics.jsonl \(MlflowException: .*\)\. It is kept"
    ) as all:
        tracker.start("a", {}, {})
        tracker.finish("FINISHED")
    assert len(all) == 1
    assert Server(run_dir).history("mle/nll") == [(1, 1.0), (4, 4.0)]


def test_a_server_is_asked_seldom(run_dir: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_RETRY_EVERY_S", 1_000.0)
    flaky.failure = ConnectionError("down")
    asked: list[str] = []
    flaky.before = asked.append
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {})
    flaky.failed.wait()
    with pytest.warns(UserWarning, match="down"):
        log_units(tracker, *range(50))
        tracker.finish("FINISHED")
    assert len(asked) == 2, "once when the run starts and once when it ends"


def test_rows_of_a_moment_are_sent_together(run_dir: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_SEND_EVERY_S", 1_000.0)
    sent = threading.Event()
    flaky.before = lambda name: sent.set() if name == "log_batch" else None
    tracker = Tracker(TrackingSettings(), run_dir)
    log_units(tracker, 0)
    tracker.start("a", {}, {})
    sent.wait()
    log_units(tracker, *range(1, 50))
    tracker.finish("FINISHED")
    assert flaky.sizes == [3, 99]
    assert flaky.arrived == list(range(50))


def test_a_file_that_is_not_there_is_told_and_the_rest_goes_on(run_dir: Path) -> None:
    (run_dir / "table.txt").write_text("table")
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("a", {}, {})
    tracker.log_artifact(run_dir / "curves.png")
    tracker.log_artifact(run_dir / "table.txt")
    with pytest.warns(UserWarning, match=r"curves.png: does not exist, so it is not uploaded"):
        tracker.finish("FINISHED")
    assert Server(run_dir).artifacts() == ["table.txt"]


def test_warnings_that_are_errors_reach_the_caller_and_not_the_thread(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(uri=REFUSING), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker.start("a", {}, {})
        with pytest.raises(UserWarning, match="does not accept metrics"):
            tracker.finish("FINISHED")


# ------------------------------------------------------------------------------------------------------ resuming


def test_a_resumed_run_goes_on_in_the_same_run_without_doubling(run_dir: Path) -> None:
    track(run_dir, 1, 2, 3, 4)
    server = Server(run_dir)
    first = server.run.info.run_id
    kept = server.client.get_metric_history(first, "mle/nll")
    resume(run_dir, 2, 3, 4, 5, 6)
    assert server.run.info.run_id == first
    assert server.history("mle/nll") == [(unit, float(unit)) for unit in range(1, 7)]
    assert server.client.get_metric_history(first, "mle/nll")[:4] == kept
    assert server.run.data.params == {"seed": "3", "tracking.enabled": "true"}


def test_a_resumed_run_that_is_behind_the_server_sends_nothing_until_it_is_past_it(run_dir: Path) -> None:
    track(run_dir, 1, 2, 3, 4)
    resume(run_dir, 1, 2)
    resume(run_dir, 2, 3, 4, 5)
    assert Server(run_dir).history("mle/nll") == [(unit, float(unit)) for unit in range(1, 6)]


def test_rows_read_while_behind_the_server_are_still_counted(run_dir: Path, flaky: Flaky) -> None:
    track(run_dir, 1, 2, 3)
    (run_dir / "table.txt").write_text("table")
    read = threading.Event()
    flaky.before = lambda name: read.set() if name == "log_artifact" else None
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.truncate_after(1)
    tracker.start("a", {}, {})
    tracker.log_artifact(run_dir / "table.txt")
    assert read.wait(60.0)
    log_units(tracker, 2, 3, 4)
    tracker.finish("FINISHED")
    assert flaky.arrived == [1, 2, 3, 4]


def test_a_resumed_run_is_running_until_it_ends(run_dir: Path, flaky: Flaky) -> None:
    track(run_dir, 1)
    statuses = []
    server = Server(run_dir)
    flaky.before = lambda name: statuses.append(server.run.info.status) if name == "set_terminated" else None
    resume(run_dir, 1, 2)
    assert statuses == ["RUNNING"]
    assert server.run.info.status == "FINISHED"


def test_a_parameter_that_may_differ_keeps_its_first_value(run_dir: Path) -> None:
    track(run_dir, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker = Tracker(TrackingSettings(), run_dir)
        tracker.start("a", {"seed": 4}, {})
        tracker.finish("FINISHED")
    assert Server(run_dir).run.data.params == {"seed": "3"}


def test_rows_of_an_untracked_start_are_sent_when_it_is_resumed_tracked(run_dir: Path) -> None:
    track(run_dir, 1, 2, enabled=False)
    resume(run_dir, 2, 3)
    assert Server(run_dir).history("mle/nll") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_run_deleted_on_the_server_begins_anew(run_dir: Path) -> None:
    track(run_dir, 1, 2)
    server = Server(run_dir)
    server.client.delete_run(server.run.info.run_id)
    resume(run_dir, 2, 3)
    assert server.history("mle/nll") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_lost_database_begins_anew(run_dir: Path, empty_database: Path) -> None:
    track(run_dir, 1, 2)
    shutil.copy(empty_database, run_dir.parent)
    resume(run_dir, 2, 3)
    assert Server(run_dir).history("mle/nll") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_run_moved_with_its_database_goes_on_in_it(run_dir: Path) -> None:
    track(run_dir, 1, 2)
    moved = run_dir.parent.with_name("elsewhere")
    run_dir.parent.rename(moved)
    resume(moved / run_dir.name, 2, 3)
    assert Server(moved / run_dir.name).history("mle/nll") == [(1, 1.0), (2, 2.0), (3, 3.0)]


# ------------------------------------------------------------------------------------------------------ tags


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A git repository that seems to hold the code; runs git in it."""
    monkeypatch.setattr(tracker_module, "__file__", str(tmp_path / "rlgan" / "tracker.py"))
    (tmp_path / "rlgan").mkdir()
    (tmp_path / "rlgan" / "tracker.py").write_text("code\n")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    return git


IDENTITY = {"preset": "quick", "seed": "5", "rlgan_version": __version__}


def test_tags_name_the_commit_and_whether_it_was_changed(repository: Callable[..., str], tmp_path: Path) -> None:
    repository("add", ".")
    repository("commit", "-m", "code")
    commit = repository("rev-parse", "HEAD")
    assert run_tags("quick", 5) == {**IDENTITY, "git_commit": commit, "git_dirty": "false"}
    (tmp_path / "rlgan" / "tracker.py").write_text("changed\n")
    assert run_tags("quick", 5) == {**IDENTITY, "git_commit": commit, "git_dirty": "true"}


def test_the_commit_of_a_repository_that_code_is_only_installed_in_is_no_tag(repository: Callable[..., str]) -> None:
    assert run_tags("quick", 5) == IDENTITY


def test_a_machine_without_git_gives_the_other_tags(
    repository: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository("add", ".")
    monkeypatch.setenv("PATH", "")
    assert run_tags("quick", 5) == IDENTITY


def test_rows_of_0_1_0_are_read_and_the_file_goes_on_with_the_words_of_now(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path)
    rows = [{"unit": number, "phase": "mle", "step": 1, "metrics": {"timing/unit_s": 2.0}} for number in (1, 2, 3)]
    end = {"unit": None, "phase": "final", "step": 0, "metrics": {}}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, end]))
    assert [(row["iteration"], "unit" in row) for row in tracker.rows()] == [
        (1, False),
        (2, False),
        (3, False),
        (None, False),
    ]
    assert tracker.rows()[0]["metrics"] == {"timing/iteration_s": 2.0}
    tracker.truncate_after(2)
    log_units(tracker, 3)
    assert [json.loads(line)["iteration"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]
