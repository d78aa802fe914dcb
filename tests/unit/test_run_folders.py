"""What the files of runs say, and the run that was worked on last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import CheckpointError
from rlgan.runs import folders
from rlgan.runs.folders import latest_run, runs_in, table_of
from tests.support.commands import ask
from tests.support.errors import refused

NOW = 1_000_000.0


def make_run(path: Path, changed: float, *rows: tuple[str, int, dict[str, float]], complete: bool = False) -> Path:
    path.mkdir(parents=True)
    config = {"preset": "seqgan", "seed": 3, "task": {"kind": "text"}, "schedule": {"adversarial_updates": 200}}
    (path / "config.json").write_text(json.dumps(config))
    lines = [json.dumps({"phase": phase, "step": step, "metrics": metrics}) for phase, step, metrics in rows]
    (path / "metrics.jsonl").write_text("\n".join(lines))
    if complete:
        (path / "table.txt").write_text("a table")
    return touched(path, changed)


def touched(path: Path, changed: float) -> Path:
    for file in path.iterdir():
        os.utime(file, (changed, changed))
    return path


def test_names_are_those_of_the_modules_that_write_them() -> None:
    from rlgan.runs.publishing import LAST_FILE
    from rlgan.schedule.phases import Phase
    from rlgan.storage.checkpoint import CONFIG

    assert (folders.CONFIG, folders.LAST_FILE) == (CONFIG, LAST_FILE)
    assert tuple(folders._PHASES) == typing.get_args(Phase)


def test_a_run_is_described_by_its_files(tmp_path: Path) -> None:
    make_run(
        tmp_path / "a",
        NOW - 300,
        ("mle", 80, {"mle/valid_nll": 5.0, "mle/nll_gen": 6.0}),
        ("adversarial", 10, {"eval/nll_gen": 4.5, "discriminator/nll_gen": 0.1}),
        ("adversarial", 11, {"eval/nll_gen": 4.75}),
        ("final", 0, {"final/this_run/nll_gen": 1.0}),
    )
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write('\n{"phase": "adversarial", "step": 12, "metr')  # is being written
    touched(tmp_path / "a", NOW - 300)
    make_run(tmp_path / "b", NOW - 4 * 86_400, complete=True)
    make_run(tmp_path / "seeds" / "seed-1", NOW)
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "sweep.json").write_text('{"words": {"study": "tricks"}}')
    touched(tmp_path / "tune", NOW - 7_200)
    make_run(tmp_path / "tune" / "trial", NOW)
    make_run(tmp_path / "damaged", NOW - 9_000_000)
    (tmp_path / "damaged" / "config.json").write_text("{")
    touched(tmp_path / "damaged", NOW - 9_000_000)
    (tmp_path / "mlruns.db").touch()
    (tmp_path / ".b.fetched").mkdir()
    assert table_of(runs_in(tmp_path), tmp_path, NOW) == [
        "name          preset  task  seed  state       iterations             best figure    age",
        "-" * 89,
        "seeds/seed-1  seqgan  text  3     unfinished  –                      –              0 s",
        "a             seqgan  text  3     unfinished  adversarial 11 of 200  nll_gen 4.500  5 min",
        "tune          tricks  –     –     sweep       –                      –              2 h",
        "b             seqgan  text  3     complete    –                      –              4 d",
        "damaged       –       –     –     damaged     –                      –              104 d",
    ]


@pytest.mark.parametrize(("name", "best"), [("kl_sum", 1.0), ("corpus_bleu", 3.0), ("chrf", 3.0), ("nll_gen", 1.0)])
def test_the_best_value_is_the_least_or_the_greatest(tmp_path: Path, name: str, best: float) -> None:
    rows: list[Any] = [("mle", step, {f"mle/{name}": value}) for step, value in ((1, 2.0), (2, 1.0), (3, 3.0))]
    make_run(tmp_path / "a", NOW, *rows, ("mle", 4, {f"mle/{name}": float("nan")}))
    (only,) = runs_in(tmp_path)
    assert (only.figure, only.best) == (name, best)


def test_the_latest_run_was_worked_on_last(tmp_path: Path) -> None:
    make_run(tmp_path / "b", NOW - 10)
    newest = make_run(tmp_path / "a", NOW - 5)
    make_run(tmp_path / "c", NOW - 20)
    assert latest_run(tmp_path, "--run") == newest
    with refused(CheckpointError, "no_latest_run", match="--run"):
        latest_run(tmp_path / "none", "--run")


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "--run", "latest"],
        ["evaluate", "--run", "latest"],
        ["compare", "latest"],
        ["train", "--resume", "latest"],
    ],
)
def test_verbs_that_name_a_run_take_the_latest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = ask(capsys, *command)
    assert answer.status == 2 and "latest: there is no run in" in answer.err
    make_run(tmp_path / "runs" / "a", NOW)
    answer = ask(capsys, *command)
    option = "RUN" if command[0] == "compare" else command[1]
    assert answer.status == 2 and f"{option} latest: runs/a\nrlgan: " in answer.err


def test_runs_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(capsys, "runs", "list").out == "runs: no runs. Start one with `rlgan train`.\n"
    assert ask(capsys, "runs", "list", "elsewhere").status == 2
    make_run(tmp_path / "runs" / "a", NOW)
    assert ask(capsys, "runs", "list").out.splitlines()[2].startswith("a     seqgan  text")
    (found,) = json.loads(ask(capsys, "runs", "list", "runs", "--json").out)
    assert found["path"] == "runs/a" and found["state"] == "unfinished" and found["changed"] == NOW


def test_listing_runs_loads_no_heavy_library(tmp_path: Path) -> None:
    make_run(tmp_path / "a", NOW)
    script = f"""
import sys
from rlgan.__main__ import run
assert run(["runs", "list", {str(tmp_path)!r}]) == 0
heavy = {{"torch", "ray", "mlflow", "pydantic", "matplotlib", "pandas", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
