"""`rlgan register`: what is handed to the registry; what the registry does with it is tested there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rlgan import tracking
from rlgan.evaluation.verdict import Verdict, write_verdict
from tests.support.commands import ask

RUN = tracking.LoggedRun("id", "a", "FINISHED", "e", None, {}, {}, {}, 0, "sqlite:///there")
UNJUDGED = Verdict("not judged", None, None, None, None, (), 0.95, 1, 0, None, None, ("Nothing to compare.",))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "a"
    made.mkdir(parents=True)
    (made / "config.json").write_text(json.dumps({"preset": "seqgan", "seed": 3}))
    return made


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def register(*arguments: Any, trust_code: bool) -> int:
        assert not trust_code
        calls.append(arguments)
        return 4

    monkeypatch.setattr(tracking, "register", register)
    monkeypatch.setattr(tracking, "read_run", lambda uri, run: dataclasses.replace(RUN, uri=uri or RUN.uri))
    return calls


def test_the_generator_is_registered_with_its_run_and_tags(
    capsys: pytest.CaptureFixture[str], folder: Path, registered: list[tuple[Any, ...]]
) -> None:
    answer = ask(
        capsys, "register", "--run", "latest", "--name", "poems", "--tag", "owner=me=you", "--temperature", 0.9
    )
    assert answer.status == 0 and answer.out.splitlines()[1] == "rlgan sample --model models:/poems/4"
    tags = {"preset": "seqgan", "seed": "3", "owner": "me=you"}
    assert registered == [("sqlite:///there", "id", Path("runs/a"), "poems", 0.9, tags)]


@pytest.mark.parametrize(("chosen", "expected"), [(None, 1.0), (0.85, 0.85)])
def test_the_temperature_is_the_one_that_validation_data_chose(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    registered: list[tuple[Any, ...]],
    chosen: float | None,
    expected: float,
) -> None:
    write_verdict(dataclasses.replace(UNJUDGED, temperature=chosen), folder)
    assert ask(capsys, "register", "--run", folder, "--name", "poems").status == 0
    assert registered[0][4] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "runs/a", "--name", "a/b"], "must not contain"),
        (["--run", "runs/a", "--name", "poems", "--tag", "owner"], "--tag owner: is not of the form KEY=VALUE"),
        (["--run", "runs/b", "--name", "poems"], "runs/b: is not the folder of a run"),
        (["--run", "runs/a"], "the following arguments are required: --name"),
    ],
)
def test_bad_input_registers_nothing(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    registered: list[tuple[Any, ...]],
    arguments: list[str],
    message: str,
) -> None:
    answer = ask(capsys, "register", *arguments)
    assert answer.status == 2 and message in answer.err and registered == []


def test_a_run_that_was_never_logged_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    answer = ask(capsys, "register", "--run", folder, "--name", "poems", "--tracking-uri", "sqlite:///none.db")
    assert answer.status == 2 and "none.db: there is no tracking database" in answer.err
