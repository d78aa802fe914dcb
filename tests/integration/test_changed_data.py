"""Data that changed under a run is noticed by every verb that measures on it, and a run is usable from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlgan.envs.tasks import TextTask
from tests.support.commands import ask, copy_of, write_config
from tests.support.runs import small, stop_after

pytestmark = [pytest.mark.integration, pytest.mark.heavy]


MOVED_OPTIONS = {"plain": (), "learned models too": ("--language-model",), "cooled": ("--temperature", 0.5)}


def text_run(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run on folder/lines.txt, named by a relative path from that folder, complete."""
    (folder / "lines.txt").write_text(content)
    config = small(task=TextTask(data="lines.txt"), controls=())
    answer = ask(capsys, "train", "--config", write_config(folder / "c.json", config), "--out", "runs/a")
    assert answer.status == 0, answer
    return folder / "runs" / "a"


WORDS = "abcdefgh"
CONTENT = "".join(f"{a} {b} {c}\n" for a in WORDS for b in WORDS for c in "xy")


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a complete run, runs/a, and its data."""
    from rlgan.__main__ import run

    folder = tmp_path_factory.mktemp("began")
    (folder / "lines.txt").write_text(CONTENT)
    config = write_config(folder / "c.json", small(task=TextTask(data="lines.txt"), controls=()))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert run(["train", "--config", str(config), "--out", "runs/a"]) == 0
    return folder


@pytest.mark.parametrize("options", MOVED_OPTIONS.values(), ids=MOVED_OPTIONS)
def test_evaluate_refuses_a_file_that_was_overwritten(
    options: tuple[object, ...],
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases = data_dir.resolve() / "cases"
    monkeypatch.chdir(tmp_path)
    folder = text_run(tmp_path, (cases / "eval_before.txt").read_text(), capsys)
    if not options:
        assert ask(capsys, "evaluate", "--run", folder).status == 0
    shutil.copy(cases / "eval_after.txt", tmp_path / "lines.txt")
    answer = ask(capsys, "evaluate", "--run", folder, *options)
    assert answer.status == 2 and answer.out == "" and answer.err.count("\n") == 1, answer
    assert "its data has changed since the run began: task.data=" in answer.err
    (tmp_path / "lines.txt").write_text("".join(f"new{n} words{n} here{n}\n" for n in range(200)))
    answer = ask(capsys, "evaluate", "--run", folder, *options)  # an IndexError before
    assert answer.status == 2 and "tokens: " in answer.err and "Traceback" not in answer.err


def test_a_run_is_measured_from_another_folder_with_the_same_figures(
    began: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(began)
    here = ask(capsys, "evaluate", "--run", "runs/a", "--json")
    monkeypatch.chdir(tmp_path)
    there = ask(capsys, "evaluate", "--run", began / "runs" / "a", "--json")
    assert here.status == there.status == 0 and there.out == here.out and json.loads(here.out)

    # On another machine neither the place of the file nor its name is the same.
    copied = copy_of(began / "runs" / "a", tmp_path / "moved" / "copied")
    known = json.loads((copied / "data.json").read_text())
    known["files"]["task.data"]["absolute"] = "/nowhere/lines.txt"
    (copied / "data.json").write_text(json.dumps(known))
    answer = ask(capsys, "evaluate", "--run", copied)
    assert answer.status == 2 and "the run read it from /nowhere/lines.txt" in answer.err
    assert "with --data FILE" in answer.err
    # What has the file's name alone, where a run that was moved with its data would find it, is refused as another
    # file; and passed over where the run's own bytes lie in a place that comes later.
    namesake = tmp_path / "lines.txt"
    namesake.write_text(CONTENT.replace("a b x", "b a x"))
    answer = ask(capsys, "evaluate", "--run", copied)
    assert answer.status == 2 and f"{namesake} has different content" in answer.err
    assert "the run read it from /nowhere/lines.txt" in answer.err
    (copied / "lines.txt").write_text(CONTENT)
    answer = ask(capsys, "evaluate", "--run", copied, "--json")
    assert answer.status == 0 and answer.out == here.out
    namesake.unlink()
    (copied / "lines.txt").unlink()
    (tmp_path / "other_name.txt").write_text(CONTENT)
    for named in (("--data", "other_name.txt"), ("--task.data", "other_name.txt")):
        answer = ask(capsys, "evaluate", "--run", copied, "--json", *named)
        assert answer.status == 0 and answer.out == here.out
    (tmp_path / "other_name.txt").write_text(CONTENT.replace("a b x", "b a x"))
    answer = ask(capsys, "evaluate", "--run", copied, "--data", "other_name.txt")
    assert answer.status == 2 and "its data has changed" in answer.err


def test_only_files_may_be_named_beside_a_run(began: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = began / "runs" / "a"
    for option in ("--task.tokens", "--seed", "--pairs", "--temprature"):
        answer = ask(capsys, "evaluate", "--run", folder, option, "char")
        assert answer.status == 2 and option in answer.err and "--data FILE" in answer.err, answer


def test_resume_takes_the_same_content_from_elsewhere_and_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    Path("lines.txt").write_text(CONTENT)
    config = small(task=TextTask(data="lines.txt", lowercase=True), controls=())
    with pytest.MonkeyPatch.context() as stopping:
        stop_after(stopping, 1)
        arguments = ("train", "--config", write_config(tmp_path / "c.json", config), "--out", tmp_path / "run")
        assert ask(capsys, *arguments).status == 130
    whole = copy_of(tmp_path / "run", tmp_path / "whole")
    assert ask(capsys, "train", "--resume", whole).status == 0

    monkeypatch.chdir(tmp_path)
    Path("first").rename("second")
    answer = ask(capsys, "train", "--resume", "run")
    assert answer.status == 2 and "--data FILE" in answer.err
    answer = ask(capsys, "train", "--resume", "run", "--data", "second/lines.txt", "--seed", 4)
    assert answer.status == 2 and "another configuration: seed: 0 → 4." in answer.err
    answer = ask(capsys, "train", "--resume", "run", "--data", "second/lines.txt", "--tokens", "char")
    assert answer.status == 2 and "[tokens_beside_resume]" in answer.err
    assert ask(capsys, "train", "--resume", "run", "--data", "second/lines.txt", "--dry-run").status == 0
    with pytest.MonkeyPatch.context() as stopping:
        stop_after(stopping, 1)
        assert ask(capsys, "train", "--resume", "run", "--data", "second/lines.txt").status == 130
    assert ask(capsys, "train", "--resume", "run").status == 0  # now it knows
    assert (tmp_path / "run" / "table.json").read_bytes() == (whole / "table.json").read_bytes()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["task"]["data"] == "lines.txt"


def test_a_dry_resume_notices_too(
    began: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(began / "runs" / "a", tmp_path / "run")
    (tmp_path / "changed.txt").write_text(CONTENT.replace("a b x", "b a x"))
    answer = ask(capsys, "train", "--resume", run, "--dry-run", "--data", tmp_path / "changed.txt")
    assert answer.status == 2 and "its data has changed" in answer.err


def test_held_out_files_of_pairs_are_data_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {}
    for split, number in (("", 60), ("valid_", 10), ("test_", 10)):
        for side in ("source", "target"):
            names[f"{split}{side}"] = f"{split}{side}.txt"
            lines = [f"{side[0]}{n % 7} {side[0]}{n % 5} {side[0]}{n % 3}" for n in range(number)]
            Path(f"{split}{side}.txt").write_text("\n".join(lines) + "\n")
    files = [word for name, path in names.items() for word in (f"--task.input.{name.replace('_', '-')}", path)]
    small_ones = (
        "--schedule.mle-epochs",
        1,
        "--schedule.mle-batch",
        16,
        "--generator.hidden",
        8,
        "--evaluation.final-sequences",
        20,
    )
    answer = ask(
        capsys, "train", "mle", "--source", "source.txt", "--target", "target.txt", *files, *small_ones,
        "--evaluation.temperatures", "[1.0]", "--tracking.enabled", "false", "--out", "run",
    )  # fmt: skip
    assert answer.status == 0, answer
    before = ask(capsys, "evaluate", "--run", "run", "--json")
    target = tmp_path / "test_target.txt"
    target.rename("moved.txt")
    answer = ask(capsys, "evaluate", "--run", "run")
    assert answer.status == 2 and "--task.input.test-target FILE" in answer.err, answer
    again = ask(capsys, "evaluate", "--run", "run", "--json", "--task.input.test-target", "moved.txt")
    assert again.status == 0 and again.out == before.out
    target.write_text(Path("moved.txt").read_text().replace("t0 t0 t0", "t0 t0 t1"))
    answer = ask(capsys, "evaluate", "--run", "run")
    assert answer.status == 2 and f"task.input.test_target={target} has different content" in answer.err


def test_a_run_in_a_storage_is_measured_with_what_it_knows(
    began: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(began / "runs" / "a", tmp_path / "shared" / "a")
    uri = (tmp_path / "shared" / "a").as_uri()
    monkeypatch.chdir(tmp_path)
    assert ask(capsys, "evaluate", "--run", uri).status == 0
    (tmp_path / "changed.txt").write_text(CONTENT.replace("a b x", "b a x"))
    answer = ask(capsys, "evaluate", "--run", uri, "--data", "changed.txt")
    assert answer.status == 2 and f"--run {uri}: its data has changed" in answer.err
    (tmp_path / "shared" / "a" / "data.json").unlink()  # as an older version left it
    (tmp_path / "changed.txt").write_text(CONTENT)
    answer = ask(capsys, "evaluate", "--run", uri, "--data", tmp_path / "changed.txt")
    assert answer.status == 0 and f"--run {uri}: this run was written by an older version of rlgan" in answer.err
    (tmp_path / "changed.txt").write_text(CONTENT + "z z z\n" * 3)
    answer = ask(capsys, "evaluate", "--run", uri, "--data", tmp_path / "changed.txt")
    assert answer.status == 2 and "its generator writes " in answer.err, answer.err
