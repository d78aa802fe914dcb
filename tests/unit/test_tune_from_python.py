"""`rlgan.tune`: what it asks of a sweep, a dry run, a sweep taken up again, and its errors; nothing is searched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rlgan
from rlgan.api import DATA_FILE
from rlgan.base.errors import CheckpointError, ConfigError, RlganError
from rlgan.tuning.sweep import SweepRequest

LINES = [f"{first} {verb} {last}" for first in "abcd" for verb in ("saw", "met", "hit") for last in "efghij"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[SweepRequest]:
    """The requests that `tune` made, each ended by its time; a folder has its request as a sweep writes it."""
    found: list[SweepRequest] = []

    def note(request: SweepRequest, *_: object) -> Any:
        found.append(request)
        request.folder.mkdir(parents=True, exist_ok=True)
        (request.folder / "sweep.json").write_text(json.dumps({"words": request.words}))
        return SimpleNamespace(end="time")

    monkeypatch.setattr("rlgan.tuning.sweep.sweep", note)
    monkeypatch.chdir(tmp_path)
    return found


def test_a_sweep_that_is_taken_up_is_as_it_was_but_for_its_budget(
    asked: list[SweepRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    rlgan.tune("reward_baseline", data=LINES, out="mine", settings={"schedule.g_batch": 8}, trials=3, seed=5)
    assert "the time limit was reached; to continue: rlgan.tune(resume='mine')" in capsys.readouterr().out
    rlgan.tune(resume="mine", trials=9, train=False, quiet=True)
    assert capsys.readouterr().out == ""
    begun, again = asked
    assert (begun.resume, again.resume, begun.train, again.train) == (False, True, True, False)
    assert (begun.settings.trials, again.settings.trials, again.settings.seed) == (3, 9, 5)
    assert begun.task is not None and begun.task == again.task and begun.study == again.study
    assert again.changes == begun.changes == {"schedule.g_batch": 8}
    assert begun.task.model_dump()["data"] == str(Path("mine") / DATA_FILE)
    assert len((Path("mine") / DATA_FILE).read_text().splitlines()) == len(LINES)


def test_a_dry_run_says_what_varies_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = rlgan.tune("reward_baseline", data=LINES, dry_run=True)
    assert "dimensions:" in lines and capsys.readouterr().out == "".join(f"{line}\n" for line in lines)
    assert [*tmp_path.iterdir()] == []
    assert "  credit.num_rollouts 2, 4, 8, 16 (with credit monte_carlo)" in lines
    assert "  optimizers.generator.lr 1e-05 to 0.01, on a log scale" in lines


@pytest.mark.parametrize(
    ("named", "error", "words"),
    [
        ({}, ConfigError, "api_study_missing study: .*reward_baseline"),
        ({"study": "reward_basline"}, ConfigError, "reward_baseline"),
        ({"study": "reward_baseline", "train": False}, ConfigError, "train_false_without_resume train=False: "),
        ({"study": "reward_baseline", "trials": 0}, ConfigError, " trials=0: "),
        ({"study": "reward_baseline", "trails": 3}, ConfigError, " trails: .*Did you mean 'trials'"),
        ({"resume": "nowhere"}, CheckpointError, r"not_a_sweep rlgan\.tune\(resume='nowhere'\): "),
        ({"resume": "nowhere", "study": "reward_baseline"}, ConfigError, "no_effect_beside_api_resume study: "),
        ({"resume": "nowhere", "data": "a.txt", "seed": 3}, ConfigError, "no_effect_beside_api_resume data, seed: "),
    ],
)
def test_bad_input_is_refused_in_words_of_python(
    named: dict[str, Any], error: type[RlganError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refused:
        rlgan.tune(**named)
    assert re.search(words, f"{refused.value.code} {refused.value}")
    assert "--" not in str(refused.value) and [*tmp_path.iterdir()] == []


def test_a_damaged_sweep_is_told(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"words": {"study": "reward_baseline"}}))
    with pytest.raises(CheckpointError, match=r"sweep\.json is damaged"):
        rlgan.tune(resume=tmp_path)
