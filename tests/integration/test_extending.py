"""The exercises of docs/extending.md, done as the page says them, at a size of seconds."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support import documents
from tests.support.commands import ask, copy_of, rows_of, write_config
from tests.support.runs import assert_ends_alike, small, stop_after

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

PAGE = "docs/extending.md"
TEXT = (documents.PROJECT / PAGE).read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works, with the files of the page and one that makes every run small."""
    for name, content in documents.python_files(PAGE, TEXT).items():
        (tmp_path / name).write_text(content, "utf-8")
    path = write_config(tmp_path / "small.json", small(controls=()))
    values = json.loads(path.read_text())
    for name in ("preset", "task", "generator", "discriminator", "workers"):
        del values[name]
    values["workers"] = {"threads": 1, "shard_sequences": 3, "shard_fakes": 7, "cpus_per_rollout": 0.2}
    path.write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(beginning: str) -> list[str]:
    """A command of the page, without `rlgan`."""
    found = [piece.text for piece in documents.commands(PAGE, TEXT) if piece.text.startswith(beginning)]
    (found,) = [text for text in found if text == beginning] or found
    return shlex.split(found)[1:]


SMALL_TASK = ("--task.vocab-size", "20", "--task.max-length", "6", "--task.num-train", "70", "--task.num-valid", "20")
SMALL = ("--config", "small.json", *SMALL_TASK, "--task.num-test", "20")


def test_a_reward_of_five_lines_is_trained_on_and_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = [*command("rlgan train seqgan --reward reward.py:brevity"), *SMALL]
    alone = [*train, "--out", "runs/alone"]
    assert ask(capsys, *alone).status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert ask(capsys, *train).status == 130
    resumed = ask(capsys, *command("rlgan train --resume runs/brief"))
    assert resumed.status == 0, resumed.err
    assert_ends_alike(folder / "runs" / "alone", folder / "runs" / "brief")
    (function,) = json.loads((folder / "runs/brief/config.json").read_text())["reward"]["functions"]
    assert (function["options"], len(function["digest"])) == ({"weight": 0.01}, 64)
    # Texts of this task are numbers with spaces between them: some characters, each worth -0.01.
    means = [
        row["metrics"]["reward/brevity_mean"] for row in rows_of(folder / "runs/brief") if row["phase"] == "adversarial"
    ]
    assert len(means) == 2 and all(-0.01 * 6 * 3 <= mean <= -0.01 * 11 for mean in means)


def test_a_metric_of_the_page_is_measured_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [*command("rlgan train seqgan --evaluation.metrics metric.py:length"), *SMALL, "--out", "runs/long"]
    found = ask(capsys, *train, "--schedule.selection", "best", "--schedule.selection.measure", "own_length")
    assert found.status == 0, found.err
    table = json.loads((folder / "runs/long/table.json").read_text())
    assert all({"own_length", "own_length_gap"} <= row.keys() for row in table)
    shown = (folder / "runs/long/table.txt").read_text()
    assert "own_length (characters): your metric metric.py:length" in shown
    assert "generator selected on validation data" in shown


def test_a_callback_stops_a_run_by_its_own_metric(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = [*command("rlgan train seqgan --callbacks stops.py:StopsWhenSure"), *SMALL]
    found = ask(capsys, *train)
    assert found.status == 0, found.err
    rows = [row for row in rows_of(folder / "runs/sure") if row["phase"] == "adversarial"]
    assert len(rows) == 1  # of two: 20 tokens have an entropy of 3 nats at most, below 9
    assert rows[0]["metrics"]["sure/lowest_entropy"] == rows[0]["metrics"]["generator/entropy"]
    assert "StopsWhenSure: entropy fell to" in (folder / "runs/sure/table.txt").read_text()
    # One that does not stop changes no number, and is part of the run when that is resumed.
    patient = [word if word != "9.0" else "0.0" for word in train]
    patient[patient.index("--out") + 1] = "runs/patient"
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert ask(capsys, *patient).status == 130
    assert ask(capsys, "train", "--resume", "runs/patient").status == 0
    rows = [row for row in rows_of(folder / "runs/patient") if row["phase"] == "adversarial"]
    lowest = [row["metrics"]["sure/lowest_entropy"] for row in rows]
    assert lowest[1] == min(row["metrics"]["generator/entropy"] for row in rows)


@pytest.mark.ray
def test_a_generator_is_trained_on_workers_resumed_and_sampled(
    folder: Path, ray_session: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = [*command("rlgan train seqgan --generator gru.py:Gru"), *SMALL]
    alone = [word if word != "2" else "0" for word in train]
    alone[alone.index("--out") + 1] = "runs/alone"
    assert train != alone
    assert ask(capsys, *alone).status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert ask(capsys, *train).status == 130
    stopped = ask(capsys, *command("rlgan train --resume runs/gru"))
    assert stopped.status == 0, stopped.err
    assert_ends_alike(folder / "runs" / "alone", folder / "runs" / "gru")
    sampled = ask(capsys, *command("rlgan sample --run runs/gru"))
    assert len(sampled.out.splitlines()) == 5
    assert json.loads((folder / "runs/gru/config.json").read_text())["generator"]["options"] == {"width": 64}
    # The generator that is trained on is the one that the run began with.
    moved = copy_of(folder / "runs" / "gru", folder / "moved")
    (folder / "gru.py").write_text((folder / "gru.py").read_text().replace("[0])", "[0] * 2)"))
    refused = ask(capsys, "train", "--resume", moved)
    assert refused.status == 2 and "generator plug-in 'gru.py:Gru'" in refused.err


def test_a_discriminator_and_a_preset_of_the_page_train(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = ask(capsys, *command("rlgan train seqgan --discriminator judge.py:Bag"), *SMALL, "--out", "runs/judged")
    assert judged.status == 0, judged.err
    recipe = [*command("rlgan train recipes.py:small"), *SMALL, "--schedule.adversarial-updates", "1"]
    trained = ask(capsys, *recipe, "--out", "runs/small")
    assert trained.status == 0, trained.err
    config = json.loads((folder / "runs/small/config.json").read_text())
    assert (config["preset"], config["seed"], config["generator"]["hidden"]) == ("small", 1, 16)


def test_a_task_of_the_page_has_the_measures_of_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [*command("rlgan train quick --task verses.py:verses"), "--config", "small.json", "--out", "runs/verses"]
    changes = ("--reward", "ratio", "--credit", "terminal", "--task.options.repeats", "3")
    found = ask(capsys, *train, *changes)
    assert found.status == 0, found.err
    table = json.loads((folder / "runs/verses/table.json").read_text())
    assert {"bleu_4", "rlm_5gram", "self_bleu_2"} <= table[-1].keys()
