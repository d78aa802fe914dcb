"""Sweeps on real Ray Tune: killed in the middle and taken up again; trials that fail and trials that are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlgan.envs.errors import CheckpointError, ConfigError
from rlgan.envs.priors import Choice
from rlgan.envs.tasks import OracleTask
from rlgan.tuning import Study
from rlgan.tuning.ledger import Entry, Ledger
from rlgan.tuning.settings import SweepSettings
from rlgan.tuning.sweep import SweepRequest, SweepResult, sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.timeout(600)]

TASK = OracleTask(vocab_size=20, embedding=8, hidden=8, max_length=6, num_train=100, num_valid=50, num_test=50)
STUDY = Study(
    "mine",
    "a question",
    "quick",
    {"baseline": Choice(("none", "ema", "batch_mean", "per_step_mean")), "schedule.d_steps": Choice((1, 2))},
    {
        "schedule.adversarial_updates": 8,
        "schedule.mle_epochs": 2,
        "schedule.mle_patience": None,
        "schedule.discriminator_rounds": 1,
        "schedule.g_batch": 16,
        "evaluation.every": 2,
        "evaluation.num_sequences": 50,
        "adversary.sequences_per_round": 64,
        "reward": "probability",
        "baseline": "none",
    },
)


def request(folder: Path, resume: bool = False, **settings: object) -> SweepRequest:
    given = SweepSettings(**{"search": "grid", "scheduler": "none", "trials": 8, "finalists": 0, **settings})
    return SweepRequest(STUDY, TASK, {}, given, folder, resume)


def main(folder: Path) -> None:
    """What the test kills."""
    sweep(request(folder), lambda line: print(line, flush=True))


def told(result: SweepResult) -> dict[str, tuple[str | None, float | None]]:
    def key(entry: Entry) -> str:
        return json.dumps(entry.point, sort_keys=True)

    return {key(entry): (entry.state, entry.value) for entry in result.ledger.entries.values()}


@pytest.mark.slow
def test_a_killed_sweep_loses_and_repeats_nothing(ray_session: None, tmp_path: Path) -> None:
    undisturbed = sweep(request(tmp_path / "whole"), print)
    assert [entry.state for entry in undisturbed.ledger.entries.values()] == ["finished"] * 8

    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, __file__, str(tmp_path / "killed")],
            cwd=Path(__file__).resolve().parents[2],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "RAY_ADDRESS": "local"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        end = time.monotonic() + 240
        while (tmp_path / "out").read_text().count("finished") < 3:
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "out").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)  # the driver alone, as a machine's memory killer would
        process.wait()
    before = Ledger(tmp_path / "killed" / "trials.jsonl")
    finished = [entry for entry in before.entries.values() if entry.state == "finished"]
    assert 3 <= len(finished) < 8 and before.unfinished()

    size = (tmp_path / "killed" / "trials.jsonl").stat().st_size
    resumed = sweep(request(tmp_path / "killed", resume=True), print)
    assert told(resumed) == told(undisturbed) and resumed.end == "done"
    added = (tmp_path / "killed" / "trials.jsonl").read_bytes()[size:].decode()
    begun_again = [json.loads(line)["index"] for line in added.splitlines() if '"begun"' in line]
    assert not {entry.index for entry in finished} & set(begun_again)


def test_trials_that_stand_badly_are_stopped_and_one_that_fails_is_recorded(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A learning rate that throws the generator far away; and one after which its numbers are not finite.
    study = Study("rates", "a question", "quick", {"optimizers.generator.lr": Choice((1e-3, 0.3, 1e38))}, STUDY.changes)
    lines: list[str] = []
    given = SweepSettings(search="grid", trials=3, grace=0.25, reduction=2.0, concurrent=1, finalists=0)
    result = sweep(SweepRequest(study, TASK, {}, given, tmp_path / "rates", False), lines.append)
    good, bad, broken = (result.ledger.entries[index] for index in range(3))
    assert good.state == "finished" and good.results[-1][0] == 8
    assert bad.state == "stopped" and bad.results[-1][0] < 8
    assert broken.state == "failed" and broken.error is not None and "Error: " in broken.error
    assert [entry.index for entry in result.ledger.ranked()] == [0, 1]
    assert any(line.startswith("trial 2: failed: ") for line in lines)


def test_a_sweep_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--grace: has no effect with --scheduler none; it is for asha"):
        sweep(request(tmp_path / "a", grace=0.5), print)
    with pytest.raises(ConfigError, match="--search grid: has no effect with --scheduler pbt"):
        sweep(request(tmp_path / "a", scheduler="pbt"), print)
    with pytest.raises(ConfigError, match="this study varies none: baseline, schedule.d_steps. Use another"):
        sweep(request(tmp_path / "c", scheduler="pbt", search=None), print)
    with pytest.raises(CheckpointError, match="is no folder of a sweep"):
        sweep(request(tmp_path / "a", resume=True), print)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "sweep.json").write_text('{"words": {}}')
    with pytest.raises(CheckpointError, match="already holds a sweep. Go on with it by --resume"):
        sweep(request(tmp_path / "b"), print)
    with pytest.raises(CheckpointError, match="is a sweep of another study, settings, objective, base"):
        sweep(request(tmp_path / "b", resume=True), print)
    assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
