"""How a sweep ends: by its number, by its time, or by somebody; with Ray's part played by stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.envs import OracleTask, PairsTask, TextTask
from rlgan.envs.tasks.pair_files import ParallelFiles, Table
from rlgan.runs.data import absolute, config_files
from rlgan.tuning import Study
from rlgan.tuning import sweep as sweep_module
from rlgan.tuning.judge.results import FinalResult
from rlgan.tuning.search.ledger import FinalLedger, Ledger
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.sweep import SweepRequest, SweepResult, sweep
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny_sweep import CHANGES, STUDY, TASK, request

SIDES = {"kl_forward": 0.5, "kl_reverse": 0.5}


@contextmanager
def no_cluster() -> Iterator[None]:
    yield


class Played:
    """A sweep whose search and race end as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, search_ends: str, race_completes: bool) -> None:
        self.registered: list[FinalResult] = []
        self._search_ends, self._race_completes = search_ends, race_completes
        monkeypatch.setattr(sweep_module, "cluster", no_cluster)
        monkeypatch.setattr(sweep_module, "require_room", lambda *_: None)
        monkeypatch.setattr(sweep_module, "runs_at_once", lambda *_: 2)
        monkeypatch.setattr(sweep_module, "search", self._search)
        monkeypatch.setattr(sweep_module, "race", self._race)
        monkeypatch.setattr(sweep_module, "register_champion", self._register)

    def _search(self, space: Any, objective: Any, settings: Any, ledger: Ledger, *_: Any) -> str:
        if not ledger.entries:
            ledger.begun(0, {"baseline": "ema", "schedule.d_steps": 1}, {})
            ledger.result(0, 8, 1.0, {"eval/kl_forward": 0.5, "eval/kl_reverse": 0.5}, 1.0)
            ledger.ended(0, "finished")
        return self._search_ends

    def _race(self, who: Any, settings: Any, ledger: FinalLedger, *_: Any) -> bool:
        for one in who:
            for seed in (1, 2):
                measured = [{"temperature": 1.0, "validation": SIDES, "test": SIDES}]
                ledger.ran(one.name, one.kind, seed, measured, 1.0, None)
        return self._race_completes

    def _register(self, best: FinalResult, *_: Any) -> int:
        self.registered.append(best)
        return len(self.registered)

    def sweep(self, folder: Path, **more: Any) -> SweepResult:
        asked = request(folder, finalists=1, seeds=2)
        values = {name: getattr(asked, name) for name in ("study", "task", "settings", "folder")}
        changes = {"tracking.uri": f"sqlite:///{folder.parent / 'mlruns.db'}"}
        return sweep(sweep_module.SweepRequest(**values, changes=changes, **{"resume": False, **more}), print)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("search_ends", "race_completes", "end", "registered"),
    [
        ("done", True, "done", 1),
        ("time", True, "time", 1),  # the search is cut short, and what it found has raced: somebody won
        ("interrupted", True, "interrupted", 0),
        ("done", False, "interrupted", 0),
    ],
)
def test_how_a_sweep_ends(
    search_ends: str, race_completes: bool, end: str, registered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(monkeypatch, search_ends, race_completes)
    result = played.sweep(tmp_path / "mine")
    assert result.end == end and len(played.registered) == registered
    assert (tmp_path / "mine" / "report" / "report.html").exists() == (end != "interrupted")


def test_what_there_is_may_be_reported_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, "interrupted", race_completes=True)
    played.sweep(tmp_path / "mine")
    monkeypatch.setattr(sweep_module, "search", lambda *_: pytest.fail("it was not to train"))
    result = played.sweep(tmp_path / "mine", resume=True, train=False)
    assert result.end == "done" and (tmp_path / "mine" / "report" / "report.html").exists()
    with refused(ConfigError, "no_training_without_resume"):
        played.sweep(tmp_path / "other", train=False)


@pytest.mark.parametrize(
    ("trials", "raced", "finalists", "is_judged"),
    [(1, True, 1, True), (1, False, 1, False), (0, False, 1, False), (1, False, 0, True), (0, False, 0, False)],
)
def test_nothing_is_judged_without_a_race_or_a_trial(
    trials: int, raced: bool, finalists: int, is_judged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(monkeypatch, "time", race_completes=raced)
    if not trials:
        monkeypatch.setattr(sweep_module, "search", lambda *_: "time")
    if not raced:
        monkeypatch.setattr(sweep_module, "race", lambda *_: False)
    asked = request(tmp_path / "mine", finalists=finalists)
    result = sweep(asked, print)
    assert result.is_judged == is_judged
    assert played.registered == []  # it is not tracked
    assert (result.results.again is None) == (not raced)
    if result.results.again is not None:
        assert result.results.again.command is not None and result.results.again.command.startswith("rlgan train ")


def test_the_command_tells_of_a_sweep_without_a_verdict_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Played(monkeypatch, "time", race_completes=False)
    monkeypatch.setattr(sweep_module, "search", lambda *_: "time")
    answer = ask(capsys, "tune", "discriminator", "--out", str(tmp_path / "a"), "--tracking.enabled", "false")
    assert answer.status == 3 and "no result: no trial finished with a value" in answer.err
    assert "to continue, run: rlgan tune --resume" in answer.out
    assert not list((tmp_path / "a" / "report").glob("*.png"))


@pytest.mark.heavy
def test_a_winner_is_registered_once_and_another_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, "done", race_completes=True)
    played.sweep(tmp_path / "mine")
    played.sweep(tmp_path / "mine", resume=True)
    assert len(played.registered) == 1
    ledger = FinalLedger(tmp_path / "mine" / "finals.jsonl")
    better = [{"temperature": 1.0, "validation": dict.fromkeys(SIDES, 0.1), "test": SIDES}]
    for seed in (1, 2):
        ledger.ran("trial 0", "finalist", seed, better, 1.0, None)
    monkeypatch.setattr(sweep_module, "race", lambda *_: True)
    played.sweep(tmp_path / "mine", resume=True)
    assert [one.entrant for one in played.registered] == [played.registered[0].entrant, "trial 0"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 5}, "seed: cannot be changed by a setting"), ({"controls": []}, "controls: cannot be set for a sweep")],
)
def test_what_a_sweep_decides_is_refused_in_a_study_too(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    study = Study("mine", "?", "quick", {"schedule.d_steps": None}, CHANGES | changes)
    with pytest.raises(ConfigError, match=words):
        sweep(request(tmp_path / "a", study), print)


def test_a_study_may_say_where_it_is_tracked() -> None:
    study = Study("mine", "?", "quick", {"schedule.d_steps": None}, CHANGES | {"tracking.experiment": "mine"})
    asked = sweep_module.SweepRequest(study, TASK, {"tracking.uri": "x"}, request(Path("a")).settings, Path("a"), False)
    settings = sweep_module._tracking_settings(asked)
    assert (settings.experiment, settings.uri) == ("mine", "x")


def test_names_and_places_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused(CheckpointError, "sweep_out_is_file", match="file: "):
        sweep(request(tmp_path / "file"), print)
    with refused(ConfigError, "registry_name"):
        sweep(request(tmp_path / "a", finalists=1, registry_name="a/b"), print)
    assert not (tmp_path / "a").exists() and STUDY.name == "mine"


def test_files_that_short_options_name_are_found_from_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    two = PairsTask(input=ParallelFiles(source="a", target="b"))
    one = PairsTask(input=Table(data="a.tsv", source="en", target="de"))
    for task, files in (
        (two, {"task.input.source": "a", "task.input.target": "b"}),
        (one, {"task.input.data": "a.tsv"}),
        (TextTask(data="a", valid="b"), {"task.data": "a", "task.valid": "b"}),
        (OracleTask(), {}),
    ):
        asked = SweepRequest(STUDY, task, {}, SweepSettings(), tmp_path / "sweep", False)
        base = absolute(sweep_module._space(asked).base)
        assert config_files(base) == {path: str(tmp_path / name) for path, name in files.items()}
