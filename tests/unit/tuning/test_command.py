"""`rlgan tune` as it is typed: what is refused, in which words, before anything is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import ask

TOML = """
description = "a question"
preset = "quick"
[changes]
"task.vocab_size" = 20
"task.num_train" = 100
"task.num_valid" = 50
"task.num_test" = 50
[axes]
{axes}
"""


def study(folder: Path, axes: str = '"schedule.d_steps" = [1, 2]') -> Path:
    path = folder / "mine.toml"
    path.write_text(TOML.format(axes=axes))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], r"reward_baseline, discriminator.*\[study_missing\]"),
        (["discrminator"], "not a study.*Did you mean 'discriminator'"),
        (["missing.toml"], "missing.toml: no such file"),
        (["discriminator", "--trials", "many"], "--trials many: input should be a valid integer"),
        (["discriminator", "--scheduler", "hyperband"], "--scheduler hyperband: input should be 'asha', 'none'"),
        (
            ["discriminator", "--objective", "nll_oracle"],
            "objective nll_oracle: measures quality only, so mode collapse",
        ),
        (["discriminator", "--objective", "lm_5gram+nll_gen"], "lm_5gram is not logged for this task"),
        (["discriminator", "--schedule.d-step", "3"], "no such setting.*Did you mean --schedule.d-steps"),
        (["discriminator", "--controls", "none"], "controls: cannot be set for a sweep"),
        (["discriminator", "--data", "a.txt", "--oracle-params", "b.npz"], "a run has only one task"),
        (["discriminator", "--grace", "0.5", "--scheduler", "none"], "--grace: has no effect with --scheduler none"),
        (["--resume", "nowhere"], "--resume nowhere: is not the folder of a sweep"),
    ],
)
def test_a_mistake_is_one_paragraph_and_nothing_is_written(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = ask(capsys, "tune", *arguments)
    assert answer.status == 2 and answer.err.startswith("rlgan: ") and answer.err.count("\n") == 1
    assert re.search(words, answer.err), answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ('"schedule.d_stepz" = [1]', "schedule.d_stepz: no such dimension.*Did you mean --schedule.d-steps"),
        ('"schedule.d_steps" = [-1]', "schedule.d_steps=-1: input should be greater than or equal to 0"),
        ('"discriminator.dropout" = {uniform = [0.0, 2.0]}', "discriminator.dropout=1.0: input should be less than 1"),
        ('"seed" = [1, 2]', "seed: cannot be searched: results are averaged over seeds"),
        ('"schedule.d_steps" = {normal = [0, 1]}', 'must be "all", a list of values'),
    ],
)
def test_a_study_that_does_not_fit_is_refused(
    axes: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = ask(capsys, "tune", study(tmp_path, axes))
    assert answer.status == 2 and re.search(words, answer.err), answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_dry_run_shows_what_varies_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    axes = '"reward" = "all"\n"credit" = ["terminal", "monte_carlo"]\n"baseline" = ["none", "importance_weights"]'
    answer = ask(capsys, "tune", study(tmp_path, axes), "--dry-run")
    assert answer.status == 0
    assert "objective kl_sum: eval/kl_forward + eval/kl_reverse, lower is better" in answer.out
    assert "  --credit terminal, monte_carlo\n" in answer.out
    reasons = [line for line in answer.out.splitlines() if re.match(r"  \d+ × ", line)]
    assert len(reasons) == 8 and re.search(r"  and \d+ less frequent reasons\n", answer.out)
    counts = [int(line.split()[0]) for line in reasons]
    assert counts == sorted(counts, reverse=True) and "reward=" in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_what_is_taken_up_again_is_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = {"study": "discriminator", "task": None, "changes": {}, "settings": {"trials": 3}}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sweep.json").write_text(json.dumps({"words": words}))
    answer = ask(capsys, "tune", "--resume", "old", "--seed", "4", "--schedule.d-steps", "2", "--trials", "9")
    assert answer.status == 2
    (tmp_path / "old" / "sweep.json").write_text('{"words": {"study": "discriminator"}}')
    damaged = ask(capsys, "tune", "--resume", "old")
    assert damaged.status == 2 and "--resume old: its sweep.json is damaged (KeyError('task'))" in damaged.err
    assert "--schedule.d-steps, --seed: cannot be changed with --resume" in answer.err
    assert "only --trials, --hours, --concurrent, --finalists, --seeds, --registry-name can." in answer.err


def test_files_may_be_named_beside_resume(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    task = {"kind": "text", "data": "gone.txt"}
    words = {"study": "discriminator", "task": task, "changes": {}, "settings": {"trials": 3}}
    (tmp_path / "old" / "sweep.json").write_text(json.dumps({"words": words, "data": "fingerprint"}))
    (tmp_path / "other.txt").write_text("".join(f"a{n} b{n}\n" for n in range(40)))
    answer = ask(capsys, "tune", "--resume", "old", "--dry-run")
    assert answer.status == 2 and "gone.txt" in answer.err
    for named in (("--data", "other.txt"), ("--task.data", "other.txt")):
        answer = ask(capsys, "tune", "--resume", "old", "--dry-run", *named)
        assert answer.status == 2 and "--resume old: its data has changed since the run began" in answer.err
    answer = ask(capsys, "tune", "--resume", "old", "--dry-run", "--data", "other.txt", "--tokens", "char")
    assert answer.status == 2 and "--tokens: cannot be changed with --resume" in answer.err
