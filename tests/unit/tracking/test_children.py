"""Children of a run: each whole in its own folder and below its parent in MLflow, by one thread, and never twice."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.tracking import MlflowClient

from rlgan.base.errors import CheckpointError
from rlgan.tracking import Tracker, TrackingSettings, upload
from rlgan.tracking.upload import RunUpload
from tests.support.errors import refused
from tests.support.mlflow_server import Flaky, Server, log_units

REFUSING = "http://127.0.0.1:9"  # nobody listens on the discard port
PARENT = "mlflow.parentRunId"


def started(run_dir: Path, **settings: Any) -> Tracker:
    tracker = Tracker(TrackingSettings(**settings), run_dir)
    tracker.start("sweep", {}, {})
    return tracker


def child_of(tracker: Tracker, run_dir: Path, name: str, **named: Any) -> Tracker:
    return tracker.child(run_dir / "trials" / name, name, {"lr": name}, {"kind": "trial"}, **named)


def by_name(run_dir: Path) -> dict[str, Any]:
    runs = Server(run_dir).runs
    found = {run.info.run_name: run for run in runs}
    assert len(found) == len(runs), "a run is there twice"
    return found


def history(run_dir: Path, run: Any) -> list[int]:
    return sorted(metric.step for metric in Server(run_dir).client.get_metric_history(run.info.run_id, "mle/nll"))


def test_children_are_below_their_parents_each_with_its_own(run_dir: Path) -> None:
    tracker = started(run_dir)
    log_units(tracker, 7)
    one, two = child_of(tracker, run_dir, "one"), child_of(tracker, run_dir, "two")
    grandchild = one.child(run_dir / "seeds" / "0", "seed", {"seed": 0}, {})
    log_units(one, 1, 2)
    log_units(two, 3)
    log_units(grandchild, 4)
    (run_dir / "trials" / "two" / "table.txt").write_text("table")
    two.log_artifact(run_dir / "trials" / "two" / "table.txt", "numbers")
    grandchild.finish("FINISHED")
    one.finish("FAILED", tags={"error": "no luck", "kind": "loser"})
    two.finish("FINISHED")
    tracker.finish("FINISHED", tags={"best": "two"})

    runs = by_name(run_dir)
    ids = {name: run.info.run_id for name, run in runs.items()}
    parents = {name: run.data.tags.get(PARENT) for name, run in runs.items()}
    assert parents == {"sweep": None, "one": ids["sweep"], "two": ids["sweep"], "seed": ids["one"]}
    assert {name: history(run_dir, run) for name, run in runs.items()} == {
        "sweep": [7],
        "one": [1, 2],
        "two": [3],
        "seed": [4],
    }
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {"sweep": "FINISHED", "one": "FAILED", "two": "FINISHED", "seed": "FINISHED"}
    assert runs["one"].data.params == {"lr": "one"} and runs["seed"].data.params == {"seed": "0"}
    assert runs["one"].data.tags["error"] == "no luck" and runs["one"].data.tags["kind"] == "loser"
    assert runs["two"].data.tags["kind"] == "trial" and runs["sweep"].data.tags["best"] == "two"
    listed = Server(run_dir).client.list_artifacts(ids["two"], "numbers")
    assert [file.path for file in listed] == ["numbers/table.txt"]
    assert [row["iteration"] for row in one.rows()] == [1, 2]
    recorded = json.loads((run_dir / "trials" / "one" / "mlflow_run.json").read_text())
    assert recorded["run_id"] == ids["one"]


@pytest.mark.parametrize("enabled", [True, False], ids=["before the start", "disabled"])
def test_a_child_of_what_is_not_uploaded_keeps_its_file_only(run_dir: Path, enabled: bool) -> None:
    tracker = Tracker(TrackingSettings(enabled=enabled), run_dir)
    if not enabled:
        tracker.start("sweep", {}, {})
    child = child_of(tracker, run_dir, "one")
    log_units(child, 1)
    child.log_artifact(run_dir / "absent.txt")
    child.finish("FINISHED")
    tracker.finish("FINISHED")
    assert [path.name for path in (run_dir / "trials" / "one").iterdir()] == ["metrics.jsonl"]
    assert Server(run_dir).runs == []


def test_all_runs_share_one_thread(run_dir: Path) -> None:
    before = set(threading.enumerate())
    tracker = started(run_dir)
    children = [child_of(tracker, run_dir, str(number)) for number in range(5)]
    for child in children:
        log_units(child, 1)
    assert len(set(threading.enumerate()) - before) == 1
    tracker.finish("FINISHED")


def test_however_late_the_server_parents_are_made_first(run_dir: Path, flaky: Flaky) -> None:
    flaky.failure = ConnectionError("down")
    with pytest.warns(UserWarning, match="down"):
        tracker = started(run_dir)
        flaky.failed.wait()
        one = child_of(tracker, run_dir, "one")
        grandchild = one.child(run_dir / "seeds" / "0", "seed", {}, {})
        log_units(grandchild, 1)
        one.finish("FINISHED")  # before anything of it could be made
        grandchild.finish("FINISHED")
        ended_ms = int(time.time() * 1000)
        flaky.failure = None
        tracker.finish("FINISHED")
    runs = by_name(run_dir)
    assert runs["one"].data.tags[PARENT] == runs["sweep"].info.run_id
    assert runs["seed"].data.tags[PARENT] == runs["one"].info.run_id
    assert history(run_dir, runs["seed"]) == [1]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["one"].info.end_time <= runs["seed"].info.end_time <= ended_ms <= runs["sweep"].info.end_time


def test_finishing_a_child_waits_for_nobody_and_the_top_waits_for_all(run_dir: Path, flaky: Flaky) -> None:
    hangs, answers = threading.Event(), threading.Event()

    def hang(name: str) -> None:
        hangs.set()
        answers.wait()

    flaky.before = hang
    tracker = started(run_dir)
    hangs.wait()
    for number in range(40):
        child = child_of(tracker, run_dir, str(number))
        log_units(child, number)
        child.finish("FINISHED")  # would never return if it waited
    answers.set()
    tracker.finish("FINISHED")
    runs = by_name(run_dir)
    assert len(runs) == 41
    assert all(history(run_dir, runs[str(number)]) == [number] for number in range(40))
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_the_top_is_closed_last(run_dir: Path, flaky: Flaky) -> None:
    closed = []
    server = Server(run_dir)
    tracker = started(run_dir)

    def note(name: str) -> None:
        if name == "set_terminated":
            closed.append(sorted(run.info.run_name for run in server.runs if run.info.status == "RUNNING"))

    flaky.before = note
    child = child_of(tracker, run_dir, "one")
    log_units(child, 1)
    child.finish("FINISHED")
    tracker.finish("FINISHED")
    assert closed == [["one", "sweep"], ["sweep"]]


def test_finished_children_are_forgotten(run_dir: Path, flaky: Flaky) -> None:
    tracker = started(run_dir)
    kept: list[weakref.ref[RunUpload]] = []
    closed = threading.Event()
    flaky.before = lambda name: closed.set() if name == "set_terminated" else None
    for number in range(3):
        child = child_of(tracker, run_dir, str(number))
        assert child._upload is not None
        kept.append(weakref.ref(child._upload))
        log_units(child, 1)
        child.finish("FINISHED")
        assert closed.wait(60.0)
        closed.clear()
    del child
    last = child_of(tracker, run_dir, "last")  # the thread has gone on from the others when this one is there
    closed.clear()
    last.finish("FINISHED")
    assert closed.wait(60.0)
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3
    tracker.finish("FINISHED")


def test_what_nobody_finished_was_cut_short(run_dir: Path) -> None:
    tracker = started(run_dir)
    log_units(child_of(tracker, run_dir, "one"), 1)
    tracker.finish("FINISHED")
    assert by_name(run_dir)["one"].info.status == "KILLED"
    late = child_of(tracker, run_dir, "late")
    log_units(late, 1)
    late.finish("FINISHED")
    assert sorted(by_name(run_dir)) == ["one", "sweep"], "after the end of the top nothing is uploaded"


def test_a_dead_server_is_told_once_for_all(tmp_path: Path) -> None:
    run_dir = tmp_path / "a"
    run_dir.mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tracker = started(run_dir, uri=REFUSING)
        for number in range(20):
            child = child_of(tracker, run_dir, str(number))
            log_units(child, 1)
            child.finish("FINISHED")
        tracker.finish("FINISHED")
    (warning,) = [str(one.message) for one in caught]
    assert f"metrics are in {run_dir / 'metrics.jsonl'} and in the files of its child runs." in warning
    assert "--resume" in warning


def test_a_server_that_dies_is_not_asked_for_each_child(
    run_dir: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_RETRY_EVERY_S", 1_000.0)
    hangs, answers = threading.Event(), threading.Event()
    asked: list[str] = []

    def die_after_the_first_row(name: str) -> None:
        if answers.is_set():
            asked.append(name)
            raise ConnectionError("down")
        if name == "log_batch":
            hangs.set()
            answers.wait()

    flaky.before = die_after_the_first_row
    with pytest.warns(UserWarning, match="down"):
        tracker = started(run_dir)
        log_units(tracker, 1)
        hangs.wait()
        for number in range(50):
            child_of(tracker, run_dir, str(number)).finish("FINISHED")
        answers.set()
        tracker.finish("FINISHED")
    assert len(asked) <= 2, "once for a child, and once more at the end"


def test_what_a_dead_server_missed_is_sent_by_a_later_process(run_dir: Path) -> None:
    for uri in (REFUSING, None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if uri else "error")
            tracker = started(run_dir, uri=uri)
            for name in ("one", "two"):
                child = child_of(tracker, run_dir, name)
                if uri:
                    log_units(child, 1, 2)
                    path = run_dir / "trials" / name / "weights.txt"
                    path.write_text(name)
                    child.log_artifact(path)
                    child.log_artifact(path, "again")
                child.finish("FINISHED", tags={"rank": name})
            tracker.finish("FINISHED")
    runs = by_name(run_dir)
    assert sorted(runs) == ["one", "sweep", "two"]
    client = Server(run_dir).client
    for name in ("one", "two"):
        run = runs[name]
        assert history(run_dir, run) == [1, 2] and run.data.params == {"lr": name}
        assert run.data.tags["rank"] == name and run.info.status == "FINISHED"
        assert run.data.tags[PARENT] == runs["sweep"].info.run_id
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["again", "weights.txt"]
        first = json.loads((run_dir / "trials" / name / "metrics.jsonl").read_text().splitlines()[0])
        assert run.info.start_time <= int(first["time"] * 1000), "it began in the first process"


def test_going_on_with_what_is_complete_costs_a_request_each(run_dir: Path, flaky: Flaky) -> None:
    def work() -> None:
        tracker = started(run_dir)
        for number in range(4):
            child = child_of(tracker, run_dir, str(number))
            if not child.rows():
                log_units(child, 1)
            table = run_dir / "trials" / str(number) / "table.txt"
            table.write_text("table")
            child.log_artifact(table)
            child.finish("FAILED" if number == 0 else "FINISHED", tags={"value": "1.0"})
        tracker.finish("FINISHED")

    work()
    before = by_name(run_dir)
    flaky.calls.clear()
    work()
    assert sorted(flaky.calls) == ["get_run"] * 5 + ["set_terminated", "update_run"], "the last two are the parent's"
    after = by_name(run_dir)
    for name in ("0", "1", "2", "3"):
        assert dict(after[name].info) == dict(before[name].info) and after[name].data.tags == before[name].data.tags


def test_a_changed_file_is_sent_again(run_dir: Path, flaky: Flaky) -> None:
    table = run_dir / "trials" / "one" / "table.txt"
    table.parent.mkdir(parents=True)
    for text in ("old", "old", "new"):
        table.write_text(text)
        tracker = started(run_dir)
        child = child_of(tracker, run_dir, "one")
        child.log_artifact(table)
        child.finish("FINISHED")
        tracker.finish("FINISHED")
    assert flaky.calls.count("log_artifact") == 2
    run_id = by_name(run_dir)["one"].info.run_id
    assert (run_dir.parent / "mlartifacts" / run_id / "artifacts" / "table.txt").read_text() == "new"


def test_files_of_a_folder_that_moved_are_still_found(run_dir: Path, empty_database: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker = started(run_dir, uri=REFUSING)
        child = child_of(tracker, run_dir, "one")
        (run_dir / "trials" / "one" / "table.txt").write_text("table")
        child.log_artifact(run_dir / "trials" / "one" / "table.txt")
        tracker.finish("KILLED")
    moved = run_dir.with_name("moved")
    run_dir.rename(moved)
    tracker = started(moved)
    child_of(tracker, moved, "one").finish("FINISHED")
    tracker.finish("FINISHED")
    run_id = by_name(moved)["one"].info.run_id
    assert [file.path for file in Server(moved).client.list_artifacts(run_id)] == ["table.txt"]


def test_a_strangers_folder_sends_nothing_from_outside(run_dir: Path) -> None:
    secret = run_dir.parent / "secret.txt"
    secret.write_text("secret")
    (run_dir / "own.txt").write_text("own")
    (run_dir / "link.txt").symlink_to(secret)
    named = [str(secret), "../secret.txt", "link.txt", "own.txt"]
    artifacts = [{"path": path, "folder": None, "sha256": None, "waiting": True} for path in named]
    (run_dir / "mlflow_run.json").write_text(json.dumps({"run_id": "", "key": "", "artifacts": artifacts}))
    tracker = started(run_dir)
    tracker.finish("FINISHED")
    assert Server(run_dir).artifacts() == ["own.txt"]


def test_a_file_outside_the_folder_is_sent_by_who_asked_for_it(run_dir: Path) -> None:
    (run_dir.parent / "table.txt").write_text("table")
    tracker = started(run_dir)
    tracker.log_artifact(run_dir.parent / "table.txt")
    tracker.finish("FINISHED")
    assert Server(run_dir).artifacts() == ["table.txt"]
    assert "table.txt" not in (run_dir / "mlflow_run.json").read_text()


def test_a_run_whose_making_was_not_answered_is_found_again(run_dir: Path, flaky: Flaky) -> None:
    lost: list[str] = []
    enough = threading.Event()

    def lose_the_answer(name: str) -> None:
        # Fails after the call did its work, once for each of the three runs.
        flaky.forgets = False
        flaky.failure = ConnectionError("lost") if name == "create_run" and len(lost) < 3 else None
        if flaky.failure is not None:
            lost.append(name)
        elif len(lost) == 3:
            enough.set()

    flaky.before = lose_the_answer
    with pytest.warns(UserWarning, match="lost"):
        tracker = started(run_dir)
        for name in ("one", "two"):
            log_units(child_of(tracker, run_dir, name), 1)
        assert enough.wait(60.0)
        tracker.finish("FINISHED")
    runs = by_name(run_dir)
    assert sorted(runs) == ["one", "sweep", "two"]
    assert history(run_dir, runs["one"]) == [1]


def test_a_child_goes_on_after_its_last_checkpoint_without_doubling(run_dir: Path, flaky: Flaky) -> None:
    tracker = started(run_dir)
    log_units(child_of(tracker, run_dir, "one"), 1, 2, 3)
    tracker.finish("KILLED")
    first = by_name(run_dir)["one"]
    reopened: list[str] = []
    running = threading.Event()

    def note(name: str) -> None:
        if name == "update_run":
            reopened.append(name)
            if len(reopened) == 2:  # of the sweep, and of the child
                running.set()

    flaky.before = note
    tracker = started(run_dir)
    child = child_of(tracker, run_dir, "one", truncate_after=1)
    assert [row["iteration"] for row in child.rows()] == [1]
    assert running.wait(60.0), "while it is worked on, it is no killed run, though its first unit may take long"
    log_units(child, 2, 3, 4)
    child.finish("FINISHED")
    tracker.finish("FINISHED")
    run = by_name(run_dir)["one"]
    assert run.info.run_id == first.info.run_id and run.info.status == "FINISHED"
    assert history(run_dir, run) == [1, 2, 3, 4]
    assert flaky.arrived == [1, 2, 3, 4]


def test_a_child_that_is_refused_does_not_hold_up_the_others(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_run

    def choosy(client: MlflowClient, *arguments: Any, **named: Any) -> Any:
        if named["run_name"] == "bad":
            raise MlflowException("bad is not wanted", INVALID_PARAMETER_VALUE)
        return real(client, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "create_run", choosy)
    with pytest.warns(UserWarning, match="does not accept metrics .*bad is not wanted") as all:
        tracker = started(run_dir)
        bad = child_of(tracker, run_dir, "bad")
        below = bad.child(run_dir / "below", "below", {}, {})
        good = child_of(tracker, run_dir, "good")
        for child in (bad, below, good):
            log_units(child, 1)
            child.finish("FINISHED")
        tracker.finish("FINISHED")
    assert len(all) == 1
    runs = by_name(run_dir)
    assert sorted(runs) == ["good", "sweep"], "what is below a run that is not there waits for it"
    assert runs["good"].info.status == runs["sweep"].info.status == "FINISHED"
    assert history(run_dir, runs["good"]) == [1]


def test_a_child_with_a_damaged_file_does_not_hold_up_the_others(run_dir: Path) -> None:
    with pytest.warns(UserWarning, match=r"bad/metrics.jsonl: a line is damaged"):
        tracker = started(run_dir)
        (run_dir / "trials" / "bad").mkdir(parents=True)
        (run_dir / "trials" / "bad" / "metrics.jsonl").write_text("{\n")
        bad, good = child_of(tracker, run_dir, "bad"), child_of(tracker, run_dir, "good")
        log_units(good, 1)
        bad.finish("FINISHED")
        tracker.finish("FINISHED")
    assert history(run_dir, by_name(run_dir)["good"]) == [1]


def test_a_file_that_the_server_cannot_store_holds_up_its_run_only(run_dir: Path, flaky: Flaky) -> None:
    (run_dir / "table.txt").write_text("table")

    def refuse(name: str) -> None:
        if name == "log_artifact":
            raise PermissionError("read-only")

    flaky.before = refuse
    with pytest.warns(UserWarning, match="read-only"):
        tracker = started(run_dir)
        bad, good = child_of(tracker, run_dir, "bad"), child_of(tracker, run_dir, "good")
        bad.log_artifact(run_dir / "table.txt")
        for child in (bad, good):
            log_units(child, 1)
            child.finish("FINISHED")
        tracker.finish("FINISHED")
    runs = by_name(run_dir)
    assert history(run_dir, runs["bad"]) == history(run_dir, runs["good"]) == [1]
    assert (runs["bad"].info.status, runs["good"].info.status) == ("RUNNING", "FINISHED")


def test_children_of_a_parent_deleted_on_the_server_follow_to_the_new_one(run_dir: Path) -> None:
    for _ in range(2):
        tracker = started(run_dir)
        child_of(tracker, run_dir, "one").finish("FINISHED")
        tracker.finish("FINISHED")
        runs = by_name(run_dir)
        assert runs["one"].data.tags[PARENT] == runs["sweep"].info.run_id
        Server(run_dir).client.delete_run(runs["sweep"].info.run_id)
    assert [run.info.run_name for run in Server(run_dir).runs] == ["one"]


def test_a_lost_database_gets_everything_anew(run_dir: Path, empty_database: Path) -> None:
    for _ in range(2):
        shutil.copy(empty_database, run_dir.parent)
        tracker = started(run_dir)
        child = child_of(tracker, run_dir, "one")
        if not child.rows():
            log_units(child, 1)
            table = run_dir / "trials" / "one" / "table.txt"
            table.write_text("table")
            child.log_artifact(table)
        child.finish("FINISHED")
        tracker.finish("FINISHED")
        run = by_name(run_dir)["one"]
        assert history(run_dir, run) == [1]
        assert [file.path for file in Server(run_dir).client.list_artifacts(run.info.run_id)] == ["table.txt"]


def test_passwords_are_no_tags(run_dir: Path) -> None:
    tracker = started(run_dir)
    child_of(tracker, run_dir, "one").finish("FINISHED", tags={"at": "s3://me:secret@host/x", "long": "x" * 9000})
    tracker.finish("FINISHED")
    tags = by_name(run_dir)["one"].data.tags
    assert tags["at"] == "s3://…@host/x" and len(tags["long"]) == 5000


@pytest.mark.parametrize("text", ["{", "[]", '{"artifacts": [1]}'])
def test_a_damaged_record_is_named(run_dir: Path, text: str) -> None:
    (run_dir / "mlflow_run.json").write_text(text)
    tracker = Tracker(TrackingSettings(), run_dir)
    with refused(CheckpointError, "damaged_mlflow_record", match="mlflow_run.json"):
        tracker.start("sweep", {}, {})


def test_a_server_that_fails_now_and_then_gets_every_row_of_every_child_once(run_dir: Path, flaky: Flaky) -> None:
    calls = 0

    def fail_often(name: str) -> None:
        nonlocal calls
        calls += 1
        flaky.forgets = calls % 2 == 0
        flaky.failure = MlflowException("busy") if calls % 5 == 0 and not last.is_set() else None

    last = threading.Event()
    flaky.before = fail_often
    with pytest.warns(UserWarning, match="busy") as caught:
        tracker = started(run_dir)
        children = [child_of(tracker, run_dir, str(number)) for number in range(6)]
        for unit in range(10):
            for child in children:
                log_units(child, unit)
        for child in children:
            child.finish("FINISHED")
        flaky.failed.wait()
        last.set()
        tracker.finish("FINISHED")
    assert len(caught) == 1
    runs = by_name(run_dir)
    assert all(history(run_dir, runs[str(number)]) == list(range(10)) for number in range(6))
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
