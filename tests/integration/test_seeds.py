"""`rlgan train --seeds`: each seed is the run that it would be alone, and the table has intervals over them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgan.runs.seeds import statement, summary
from rlgan.tracking import read_run
from tests.support.commands import ask, write_config
from tests.support.runs import small, stop_after


def test_means_and_intervals_are_those_of_the_hand() -> None:
    """t(0.975, 2 degrees) = 4.302653; of 1, 2, 3 the mean is 2 and the standard error 1/√3."""
    tables = [{"MLE start": {"kl_sum": value + 5.0}, "this run": {"kl_sum": value, "own": 1.0}} for value in (1, 2, 3)]
    del tables[0]["this run"]["own"]  # not of all seeds
    own, start = summary(tables)
    assert (own["name"], start["name"]) == ("this run", "MLE start") and "own" not in own
    assert own["kl_sum"]["mean"] == pytest.approx(2.0) and own["kl_sum"]["num"] == 3
    assert own["kl_sum"]["high"] == pytest.approx(2.0 + 4.302653 / 3**0.5, rel=1e-6)
    # Each seed is compared with its own control: the difference is the same in all, whatever they do together.
    assert statement(tables)[1] == "kl_sum, this run minus MLE start: -5.000 [-5.000, -5.000]: differs."
    for table, value in zip(tables, (0.0, 5.0, 0.0), strict=True):
        table["MLE start"]["kl_sum"] = value
    assert statement(tables)[1].endswith(": no significant difference.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "[one_seed]"),
        (["--seeds", "3,3"], "--seeds"),
        (["quick", "--seeds", "3", "3"], "one value"),
        (["--seeds", "2", "--resume", "runs/a"], "[not_with_seeds]"),
        (["--seeds", "2", "--storage", "file:///x"], "[not_with_seeds]"),
    ],
)
def test_what_has_no_effect_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    answer = ask(capsys, "train", *arguments)
    assert answer.status == 2 and message in answer.err


@pytest.mark.heavy
def test_seeds_are_stopped_gone_on_with_and_are_what_each_is_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = small(controls=())
    tracked = config.model_copy(update={"tracking": config.tracking.model_copy(update={"enabled": True})})
    file = write_config(tmp_path / "config.json", tracked, tracked=True)
    command = ["train", "--config", file, "--seeds", 2, "--seed", 4, "--out", tmp_path / "two"]
    with monkeypatch.context() as patched:
        stop_after(patched, 7)  # in the second seed: a run has five units
        assert ask(capsys, *command).status == 130
    assert (tmp_path / "two/seed-4/table.txt").exists() and not (tmp_path / "two/seed-5/table.txt").exists()
    answer = ask(capsys, *command)
    assert answer.status == 0, answer.err
    assert ask(capsys, "train", "--config", file, "--seed", 5, "--out", tmp_path / "alone").status == 0
    for name in ("table.json", "generator.safetensors"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "two/seed-5" / name).read_bytes()
    own = next(row for row in json.loads((tmp_path / "two/seeds.json").read_text()) if row["name"] == "this run")
    values = [
        next(
            row["nll_gen"]
            for row in json.loads((tmp_path / f"two/seed-{seed}/table.json").read_text())
            if row["name"].endswith("(this run)") and row["temperature"] == 1.0
        )
        for seed in (4, 5)
    ]
    assert own["nll_gen"]["mean"] == pytest.approx(sum(values) / 2)
    assert (tmp_path / "two/seeds.txt").read_text().strip() in answer.out
    parents = {read_run(None, tmp_path / f"two/seed-{seed}").parent_id for seed in (4, 5)}
    assert len(parents) == 1 and None not in parents
