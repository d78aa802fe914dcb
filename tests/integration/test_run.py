"""Whole runs through real files: what a folder holds, and that stopping and going on changes nothing."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlgan.cli.main import main
from rlgan.envs.tasks import TextTask, build_task
from rlgan.evaluation.verdict import read_verdict
from rlgan.runs import comparison, session
from rlgan.runs import run as run_module
from rlgan.runs.progress import Progress
from rlgan.runs.run import RunRequest, run
from rlgan.runs.session import Session
from rlgan.tracking import read_run, read_table
from rlgan.training.iteration import Iteration
from rlgan.training.trainer import Trainer
from rlgan.workers.learner import GeneratorLearners
from tests.support.commands import ask, copy_of, rows_of, write_config
from tests.support.mlflow_server import Server
from tests.support.runs import LEFT_BEHIND, assert_ends_alike, small, stop_after
from tests.support.usual import usually

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that was never stopped, tracked in the default place."""
    folder = tmp_path_factory.mktemp("whole")
    config = write_config(folder / "config.json", small(), tracked=True)
    assert main(["train", "--config", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("settings") / "config.json", small())


# ------------------------------------------------------------------------------------------------------ one run


def test_a_run_leaves_what_it_says(undisturbed: Path) -> None:
    names = {entry.name for entry in undisturbed.iterdir()}
    assert names == {
        *LEFT_BEHIND,
        "config.json",
        "data.json",
        "discriminator.json",
        "discriminator.safetensors",
        "final_table.json",
        "final_samples.json",
        "summary.txt",
        "report.html",
        "checkpoints",
        "metrics.jsonl",
        "curves.png",
        "quality_diversity.png",
        "mlflow_run.json",
    }
    assert [entry.name for entry in sorted((undisturbed / "checkpoints").iterdir())] == ["00000004", "00000005"]
    rows = rows_of(undisturbed)
    assert [(row["phase"], row["step"], row["iteration"]) for row in rows[:5]] == [
        ("mle", 1, 1),
        ("mle", 2, 2),
        ("discriminator", 1, 3),
        ("adversarial", 1, 4),
        ("adversarial", 2, 5),
    ]
    assert {row["phase"] for row in rows[5:]} == {"final"}
    titles = [line for line in (undisturbed / "samples.txt").read_text().splitlines() if line.startswith("=== ")]
    assert titles == ["=== mle 1", "=== mle 2", "=== adversarial 1", "=== adversarial 2", "=== final"]


def test_the_table_has_start_temperatures_controls_and_the_run(undisturbed: Path) -> None:
    table = json.loads((undisturbed / "table.json").read_text())
    assert [(row["name"], row["temperature"]) for row in table] == [
        ("real data (n=20)", None),
        ("MLE start", 1.0),
        ("MLE τ=0.8", 0.8),
        ("mle_continued", 1.0),
        ("mle_continued τ=0.8", 0.8),
        ("oracle_ratio", 1.0),
        ("oracle_ratio τ=0.8", 0.8),
        ("tiny τ=0.8 (this run)", 0.8),
        ("tiny (this run)", 1.0),
    ]
    text = (undisturbed / "table.txt").read_text()
    for row in table:
        line = next(line for line in text.splitlines() if line.startswith(f"{row['name']}  "))
        columns = ("nll_oracle", "nll_gen", "nll_div", "kl_forward", "kl_reverse")
        shown = [f"{row[name]:.3f}" if name in row else "–" for name in columns]
        assert line.split()[-6:-1] == shown
    verdict = read_verdict(undisturbed)
    assert verdict is not None and "\n" + "\n".join(verdict.sentences) + "\n" in text
    assert "\nShare of the headroom captured: not defined, because " in text
    assert re.search(r"(?m)^kl_sum \(kl_reverse \+ kl_forward; lower is better\): this run at τ=", text)


def test_every_number_of_the_table_is_in_mlflow(undisturbed: Path) -> None:
    """Whole as an artifact, rounded as a table of MLflow's page, and in part as metrics."""
    table = json.loads((undisturbed / "table.json").read_text())
    logged = read_run(None, undisturbed)
    assert read_table(logged, "table.json") == table
    samples = read_table(logged, "final_samples.json")
    assert samples is not None and len(samples) == 3  # evaluation.num_shown
    written = (undisturbed / "samples.txt").read_text().partition("=== final\n")[2].splitlines()
    task = build_task(small().task)
    assert [one["generated"] for one in samples] == written
    assert [one["real"] for one in samples] == task.decode(task.test[:3])
    assert all(line in (undisturbed / "summary.txt").read_text() for line in written)
    page = (undisturbed / "report.html").read_text("utf-8")
    assert all(f"<td>{line}</td>" in page for line in written)
    assert all(f'<td class="name">{row["name"]}</td>' in page for row in table)
    assert logged.tags["mlflow.loggedArtifacts"] == (
        '[{"path": "final_table.json", "type": "table"}, {"path": "final_samples.json", "type": "table"}]'
    )
    final = {name: value for name, value in logged.metrics.items() if name.startswith("final/")}
    rows = {row["name"]: row for row in table}
    own, start = rows["tiny (this run)"], rows["MLE start"]
    expected = {f"final/this_run/{name}": value for name, value in own.items() if name not in ("name", "temperature")}
    for place, row in (
        ("this_run_tau_0.8", rows["tiny τ=0.8 (this run)"]),
        ("MLE_start", start),
        ("best_control", rows["mle_continued τ=0.8"]),  # as the verdict has it; oracle_ratio is a ceiling
    ):
        expected |= {f"final/{place}/{side}": row[side] for side in ("kl_reverse", "kl_forward")}
    verdict = read_verdict(undisturbed)
    assert verdict is not None
    assert final == expected | verdict.figures() and "final/difference" in final
    assert logged.tags["best_control"] == "mle_continued τ=0.8"
    database = sqlite3.connect(undisturbed.parent / "mlruns.db")
    steps = database.execute("select step from metrics where key = 'eval/nll_gen' order by step").fetchall()
    assert steps == [(1,), (2,)]
    assert database.execute("select status from runs").fetchall() == [("FINISHED",)]


def test_mlflow_knows_where_a_run_comes_from(undisturbed: Path) -> None:
    client = Server(undisturbed)
    run, table = client.run, json.loads((undisturbed / "table.json").read_text())
    assert run.info.user_id == getpass.getuser()
    assert run.data.tags["mlflow.source.type"] == "LOCAL" and run.data.tags["mlflow.source.name"]
    assert run.data.tags.get("mlflow.source.git.commit") == run.data.tags.get("git_commit")
    inputs = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert [(context, one.name) for context, one in sorted(inputs.items())] == [
        ("test", "oracle, test"),
        ("training", "oracle, train"),
        ("validation", "oracle, valid"),
    ]
    fingerprint = build_task(small().task).fingerprint()
    assert {one.digest for one in inputs.values()} == {fingerprint[:36]}
    assert json.loads(inputs["training"].profile)["fingerprint"] == fingerprint
    assert json.loads(inputs["test"].profile)["num_sequences"] == 20
    page = run.data.tags["mlflow.note.content"]
    assert all(sentence in page for sentence in (undisturbed / "table.txt").read_text().splitlines()[-2:])
    assert all(row["name"] in page for row in table if row["temperature"] in (1.0, None))
    assert client.artifacts() == sorted(
        ["config.json", "curves.png", "data.json", "final_samples.json", "final_table.json", "quality_diversity.png",
         "report.html", "samples.txt", "summary.txt", "table.json", "table.txt", "verdict.json"]
    )  # fmt: skip


def test_every_logged_name_is_explained(undisturbed: Path) -> None:
    page, of_verdict = ((PROJECT / "docs" / name).read_text(encoding="utf-8") for name in ("metrics.md", "judging.md"))
    rows = set(re.findall(r"(?m)^\| `([a-z]+/[a-z0-9_*]+)`", page))
    logged = {name for row in rows_of(undisturbed) for name in row["metrics"]}
    assert "final/difference" in logged
    for name in logged:
        if name in ("final/difference", "final/difference_low", "final/difference_high"):
            assert f"`{name}`" in of_verdict
            continue
        quantity = name.rpartition("/")[2]
        if name.startswith("final/"):
            assert f"eval/{quantity}" in rows, name
        elif "timing/" in name:
            assert quantity.endswith("_s"), name
        else:
            plain = name.replace("discriminator_pretraining/", "discriminator/")
            assert plain in rows or plain.replace("mle/", "eval/") in rows, name


def test_a_generator_can_be_sampled_and_measured_from_its_folder(
    undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = ask(capsys, "sample", "--run", undisturbed, "--num", 3)
    lines = sampled.out.splitlines()
    assert len(lines) == 3 and all(len(line.split()) == 6 for line in lines)
    assert sampled.err == f"{undisturbed}: temperature 1, seed 0\n"
    asked = ("--top-k", 5, "--top-p", 0.9, "--temperature", 0.7, "--seed", 1)
    other = ask(capsys, "sample", "--run", undisturbed, "--num", 3, *asked)
    assert other.out.splitlines() != lines
    assert other.err == f"{undisturbed}: temperature 0.7, top-k 5, top-p 0.9, seed 1\n"
    # What it says is what to type for the same sequences.
    assert ask(capsys, "sample", "--run", undisturbed, "--num", 3, "--seed", 0, "--temperature", 1).out == sampled.out
    measured = json.loads(ask(capsys, "evaluate", "--run", undisturbed, "--json").out)
    final = json.loads((undisturbed / "table.json").read_text())[-1]
    assert measured.pop("verdict").startswith("kl_sum (kl_reverse + kl_forward; lower is better): this run at ")
    about = measured.pop("about")
    assert about["stored"]["values"] == measured and about["stored"]["not_comparable"] == []
    assert about["quantities"]["eval/kl_sum"] == {
        "unit": "nats/token", "better": "lower", "depends_on": None, "size": None
    }  # fmt: skip
    assert measured == {f"eval/{name}": value for name, value in final.items() if name not in ("name", "temperature")}


# ------------------------------------------------------------------------------------------------------ resuming


@pytest.mark.heavy
@pytest.mark.parametrize("num_iterations", usually([2, 4], [1, 2, 3, 4]))
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_never_stopped(
    undisturbed: Path,
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    num_iterations: int,
) -> None:
    folder = tmp_path / "a run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, num_iterations)
        answer = ask(capsys, "train", "--config", config_file, "--out", folder)
    assert answer.status == 130
    assert answer.out.rstrip().endswith(
        f"stopped after {num_iterations} iterations; to continue, run: rlgan train --resume '{folder}'"
    )
    assert not (folder / "table.json").exists()
    answer = ask(capsys, "train", "--resume", folder)
    assert answer.status == 0 and f"resumed after {num_iterations} iterations" in answer.out
    assert_ends_alike(folder, undisturbed)


def test_a_run_that_died_between_checkpoints_does_units_again(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "config.json", small())
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 2)
        assert ask(capsys, "train", "--config", config, "--out", folder).status == 130
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "save_checkpoint", lambda *_, **__: None)
        stop_after(monkeypatch, 3, RuntimeError)
        with pytest.raises(RuntimeError):
            main(["train", "--resume", str(folder)])
    assert rows_of(folder)[-1]["iteration"] == 4
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 5, "pha')
    assert "resumed after 2 iterations" in ask(capsys, "train", "--resume", folder).out
    assert_ends_alike(folder, undisturbed)


@pytest.mark.parametrize("how", [signal.SIGINT, None])
def test_a_run_stopped_or_killed_within_an_epoch_goes_on_within_it(
    undisturbed: Path,
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals | None,
) -> None:
    monkeypatch.setattr(GeneratorLearners, "_FIRST_AT_ONCE", 1)
    folder, between, calls = tmp_path / "run", Session._between, 0

    def interrupted(one: Session) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            if how is None:
                raise RuntimeError("killed")
            os.kill(os.getpid(), how)
        between(one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeneratorLearners, "_BETWEEN_S", {False: 0.0})
        patch.setattr(Session, "_between", interrupted)
        if how is None:
            with pytest.raises(RuntimeError, match="killed"):
                main(["train", "--config", str(config_file), "--out", str(folder)])
            done = 2  # the checkpoint before the third call
        else:
            answer = ask(capsys, "train", "--config", config_file, "--out", folder)
            assert answer.status == 130 and "within it if it is an epoch" in answer.out
            done = 3
            assert "stopped after 0 iterations and 3 batches of the next epoch; to continue, run: " in answer.out
    assert not (folder / "metrics.jsonl").exists()
    answer = ask(capsys, "train", "--resume", folder)
    assert answer.status == 0 and f"resumed after 0 iterations and {done} batches of the next epoch" in answer.out
    assert_ends_alike(folder, undisturbed)


def test_ctrl_c_during_the_report_loses_nothing(
    undisturbed: Path, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:

        def interrupted(*_: object) -> object:
            raise KeyboardInterrupt

        monkeypatch.setattr(comparison, "control", interrupted)
        answer = ask(capsys, "train", "--config", config_file, "--out", tmp_path / "run")
    assert answer.status == 130 and "stopped after 5 iterations; to continue, run" in answer.out
    assert ask(capsys, "train", "--resume", tmp_path / "run").status == 0
    assert_ends_alike(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_a_long_table_is_told_before_it_begins_with_what_makes_it_shorter(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "seconds_left", lambda self: 3600.0)
    told = ["train", "--config", config_file, "--controls", "mle_continued,constant_reward"]
    answer = ask(capsys, *told, "--out", tmp_path / "run")
    (described,) = re.findall(r"(?s)^the final table takes about 60 min.*?table\s+anew", answer.out, re.M)
    named = re.findall(r"(--[\w.-]+) (\S+?)[,.] ", " ".join(described.split()))
    assert [option for option, _ in named] == [
        "--evaluation.final-sequences",
        "--evaluation.temperatures",
        "--evaluation.equal-trainings",
        "--controls",
    ]
    # As they stand they are the run's own.
    typed = [word for option in named for word in option]
    again = ask(capsys, "train", "--config", config_file, "--dry-run", *typed)
    assert again.status == 0 and again.out == ask(capsys, *told, "--dry-run").out
    # What no training of the run reads is not named, for it would be refused.
    alone = ["train", "--config", config_file, "--controls", "mle_continued", "--out", tmp_path / "alone"]
    said = ask(capsys, *alone).out
    assert "the final table takes" in said and "equal-trainings" not in said
    monkeypatch.setattr(Progress, "seconds_left", lambda self: 1.0)
    assert "the final table takes" not in ask(capsys, "train", "--config", config_file, "--out", tmp_path / "b").out


def test_a_second_ctrl_c_ends_at_once(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:

        def step(trainer: Trainer, measure: bool = True) -> Iteration:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("went on")

        monkeypatch.setattr(Trainer, "step", step)
        answer = ask(capsys, "train", "--config", config_file, "--out", tmp_path / "run")
    assert answer.status == 130
    assert (
        "stopping after this iteration" in answer.out and "stopped after 0 iterations; to continue, run" in answer.out
    )


def test_a_finished_run_is_shown_again_and_not_changed(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(undisturbed, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    answer = ask(capsys, "train", "--resume", folder, "--tracking.enabled", "false")
    assert answer.status == 0
    said = (folder / "summary.txt").read_text("utf-8")
    assert answer.out.endswith(said)
    described = " ".join(answer.out.removesuffix(said).split())
    assert described.startswith(f"run {folder} is complete; ") and "The data was not read again" in described
    assert "--dry-run`." in described
    # A run of an older version kept the whole table alone.
    (folder / "summary.txt").unlink()
    older = ask(capsys, "train", "--resume", folder, "--tracking.enabled", "false")
    assert older.out.endswith((folder / "table.txt").read_text("utf-8"))
    (folder / "summary.txt").write_text(said, "utf-8")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(
    undisturbed: Path, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 4)
        ask(capsys, "train", "--config", config_file, "--out", folder)
    newest = folder / "checkpoints" / "00000004" / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    answer = ask(capsys, "train", "--resume", folder)
    assert answer.status == 0
    assert "warning: checkpoint 00000004 is damaged (" in answer.out
    assert "continuing from 00000003, the last intact checkpoint" in answer.out
    assert_ends_alike(folder, undisturbed)


def test_a_resumed_run_keeps_its_settings_but_not_who_computes(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(undisturbed, tmp_path / "run")
    answer = ask(capsys, "train", "--resume", folder, "--seed", 1, "--credit.num-rollouts", 3)
    assert answer.status == 2
    assert "is a run with another configuration: seed: 0 → 1; credit.num_rollouts: 2 → 3." in answer.err
    for free in (("--workers.rollout", 1), ("--checkpoint-every-s", 9), ("--workers.cpus-per-rollout", 0.5)):
        assert ask(capsys, "train", "--resume", folder, *free, "--tracking.enabled", "false").status == 0


def test_data_that_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "lines.txt"
    words = "abcdefgh"
    data.write_text("".join(f"{a} {b} {c}\n" for a in words for b in words for c in "xy"))
    config = small(task=TextTask(data=str(data)), controls=())
    settings = write_config(tmp_path / "config.json", config)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 1)
        ask(capsys, "train", "--config", settings, "--out", tmp_path / "run")
    data.write_text(data.read_text().replace("a b x", "b a x"))
    answer = ask(capsys, "train", "--resume", tmp_path / "run")
    assert answer.status == 2 and "its data has changed" in answer.err


# ------------------------------------------------------------------------------------------------------ folders


def test_two_runs_of_one_second_have_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module.time, "strftime", lambda _: "20300101-000000")
    folders = []
    for _ in range(3):
        with pytest.MonkeyPatch.context() as stopping:
            stop_after(stopping, 1)
            folders.append(run(RunRequest(small(), None, resume=False)).run_dir)
    assert [str(folder) for folder in folders] == [
        "runs/tiny-oracle-20300101-000000",
        "runs/tiny-oracle-20300101-000000-2",
        "runs/tiny-oracle-20300101-000000-3",
    ]


def test_a_dry_run_writes_nothing(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = ask(capsys, "train", "--config", config_file, "--dry-run", "--out", tmp_path / "run")
    assert answer.status == 0 and "credit.num_rollouts = 2" in answer.out and "oracle: drew 70 train" in answer.out
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ as a program


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a run that would take hours."""
    config = write_config(tmp_path / "config.json", small(schedule={"mle_epochs": 1_000_000}))
    command = [sys.executable, "-m", "rlgan", "train", "--config", str(config), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.heavy
@pytest.mark.parametrize("number", usually([signal.SIGINT], [signal.SIGINT, signal.SIGKILL]))
def test_a_process_that_is_stopped_or_killed_leaves_a_run_to_go_on_with(
    long_run: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    assert long_run.stdout is not None
    for line in long_run.stdout:
        if "MLE epoch 4 " in line:
            break
    long_run.send_signal(number)
    out, err = long_run.communicate(timeout=60)
    assert err == ""
    if number == signal.SIGINT:
        assert long_run.returncode == 130 and f"to continue, run: rlgan train --resume {tmp_path / 'run'}" in out
    else:
        assert long_run.returncode == -signal.SIGKILL
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 1)
        assert ask(capsys, "train", "--resume", tmp_path / "run").status == 130
    units = [row["iteration"] for row in rows_of(tmp_path / "run")]
    assert units == list(range(1, len(units) + 1)) and len(units) >= 4
