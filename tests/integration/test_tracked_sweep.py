"""A whole sweep, race and report, while the tracking server is away; then one command that brings it all there.

One sweep of a minute; every test looks at another side of what it left behind.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from rlgan.base.errors import CheckpointError
from rlgan.tracking import LoggedRun, children, history, read_run
from rlgan.tuning.report.logged import is_sweep, read_sweep
from rlgan.tuning.report.page import summary_text
from rlgan.tuning.sweep import SweepResult, sweep
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny_sweep import STUDY, TASK, request

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Done:
    """What there is to look at.

    Attributes:
        folder: of the sweep.
        uri: of the server that came back.
        first: lines that were said while it was away.
        again: lines that were said when the sweep was taken up again.
        result: of the second session.
    """

    folder: Path
    uri: str
    first: list[str]
    again: list[str]
    result: SweepResult

    @property
    def logged(self) -> LoggedRun:
        return read_run(self.uri, self.folder)


@pytest.fixture(scope="module")
def done(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    given = {"search": "random", "trials": 3, "finalists": 1, "seeds": 2, "seed": 5}
    first: list[str] = []
    again: list[str] = []
    with pytest.MonkeyPatch.context() as patch, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        asked = request(folder, **given)
        tracked = asked.__class__(STUDY, TASK, {}, asked.settings, folder, False)
        sweep(tracked, first.append)
        uri = f"sqlite:///{folder.parent / 'mlruns.db'}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        result = sweep(asked.__class__(STUDY, TASK, {}, asked.settings, folder, True), again.append)
        yield Done(folder, uri, first, again, result)


def test_a_sweep_goes_on_without_its_server_and_says_so_once(done: Done) -> None:
    assert done.result.end == "done"
    assert [entry.state for entry in done.result.ledger.entries.values()] == ["finished"] * 3
    assert len([line for line in done.first if "does not accept metrics" in line]) == 1
    assert any("is not registered yet" in line for line in done.first)
    # Nothing was trained again to bring it there.
    assert not any(line.startswith(("trial ", "final race")) for line in done.again)
    assert (done.folder / "trials" / "0002" / "metrics.jsonl").exists()


def test_the_server_has_all_that_the_report_shows(done: Done) -> None:
    assert is_sweep(done.logged)
    there, here = read_sweep(done.logged), done.result.results
    assert there.trials == here.trials
    key = lambda one: (one.entrant, one.seed, one.temperature)  # noqa: E731
    assert sorted(there.finals, key=key) == sorted(here.finals, key=key) and len(here.finals) == 4 * 2 * 2
    finding = done.logged.tags["finding"]
    note = done.logged.tags["mlflow.note.content"]
    assert note.startswith(finding) and "| entrant | kind |" in note and note.endswith("artifact `report.html`.")
    assert done.logged.tags["winner"] in {final.entrant for final in here.finals}
    summary = (done.folder / "report" / "summary.txt").read_text()
    assert summary_text(there) + "\n" == summary == summary_text(here) + "\n"
    artifacts = {path.name for path in (done.folder.parent / "mlartifacts").rglob("*") if path.is_file()}
    report = {path.name for path in (done.folder / "report").iterdir()}
    assert {"report.html", "summary.txt", "race.png", "plane.png", "trials.png", "parallel.png"} <= report
    assert report | {"sweep.json"} <= artifacts


def test_a_sweep_has_its_trials_below_it_and_seeds_below_those(done: Done) -> None:
    below = {run.name: run for run in children(done.uri, done.logged.run_id)}
    best = done.result.ledger.ranked()[0].index
    assert set(below) == {"trial 0", "trial 1", "trial 2", "MLE", "mle_continued", "oracle_ratio"}
    for name, run in below.items():
        seeds = [one.name for one in children(done.uri, run.run_id)]
        raced = name == f"trial {best}" or not name.startswith("trial")
        assert sorted(seeds) == ([f"{name}, seed 6", f"{name}, seed 7"] if raced else [])
        assert run.status == "FINISHED"


def test_only_what_varies_is_compared_and_steps_are_updates(done: Done) -> None:
    below = [run for run in children(done.uri, done.logged.run_id) if run.name.startswith("trial")]
    assert {frozenset(run.params) for run in below} == {frozenset({"baseline", "schedule.d_steps", "config"})}
    assert len({run.params["config"] for run in below}) == len({json.dumps(run.params) for run in below})
    for run in below:
        curves = history(run, ["objective", "eval/kl_forward", "discriminator/accuracy_heldout"])
        assert all([step for step, _ in curve] == [2, 4, 6, 8] for curve in curves.values())


def test_the_winner_is_registered_and_sampled_from(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    model = done.result.finals.model
    assert model is not None and (model.name, model.version) == ("rlgan-mine", 1)
    said = [line for line in done.again if line.endswith("is registered: models:/rlgan-mine/1")]
    assert len(said) == 1
    answer = ask(capsys, "sample", "--model", "models:/rlgan-mine/1", "--tracking-uri", done.uri, "--num", 3)
    assert answer.status == 0 and len(answer.out.splitlines()) == 3
    assert all(len(line.split()) == TASK.max_length for line in answer.out.splitlines())


def test_compare_makes_the_report_without_the_folder(
    done: Done, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    answer = ask(capsys, "compare", done.logged.run_id, "--tracking-uri", done.uri, "--out", page)
    assert answer.status == 0 and (done.folder / "report" / "summary.txt").read_text() in answer.out
    assert page.read_text() == (done.folder / "report" / "report.html").read_text()


def test_a_folder_has_one_process_at_a_time(done: Done) -> None:
    with (
        FileLock(done.folder / ".lock"),
        refused(CheckpointError, "sweep_is_running"),
    ):
        sweep(request(done.folder, resume=True, search="random", trials=3, finalists=1, seeds=2, seed=5), print)


def test_another_sweep_of_the_same_name_is_refused(done: Done) -> None:
    with refused(CheckpointError, "sweep_exists"):
        sweep(request(done.folder), print)
