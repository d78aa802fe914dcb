"""Sweeps on real Ray Tune: killed in the middle and taken up again; trials that fail and trials that are stopped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.search_priors import Choice
from rlgan.tuning import Study
from rlgan.tuning.judge.verdict import verdict
from rlgan.tuning.report.champion import champion
from rlgan.tuning.search import tuner
from rlgan.tuning.search.ledger import Entry, Ledger
from rlgan.tuning.search.trial import NAME, STARTS, Trial
from rlgan.tuning.sweep import SweepResult, sweep
from tests.support.errors import refused
from tests.support.tiny_sweep import CHANGES, RATES, request

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.timeout(600)]


def main(folder: Path) -> None:
    """What the test kills."""
    sweep(request(folder), lambda line: print(line, flush=True))


def described(result: SweepResult) -> dict[str, tuple[str | None, float | None]]:
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
    assert described(resumed) == described(undisturbed) and resumed.end == "done"
    added = (tmp_path / "killed" / "trials.jsonl").read_bytes()[size:].decode()
    begun_again = [json.loads(line)["index"] for line in added.splitlines() if '"begun"' in line]
    assert not {entry.index for entry in finished} & set(begun_again)


def test_trials_that_stand_badly_are_stopped_and_one_that_fails_is_recorded(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A learning rate that throws the generator far away; and one after which its numbers are not finite.
    study = Study("rates", "a question", "quick", {"optimizers.generator.lr": Choice((1e-3, 0.3, 1e38))}, CHANGES)
    lines: list[str] = []
    asha = {"scheduler": "asha", "trials": 3, "grace": 0.25, "reduction": 2.0, "concurrent": 1}
    result = sweep(request(tmp_path / "rates", study, **asha), lines.append)
    good, bad, broken = (result.ledger.entries[index] for index in range(3))
    assert good.state == "finished" and good.results[-1][0] == 8
    assert bad.state == "stopped" and bad.results[-1][0] < 8
    assert broken.state == "failed" and broken.error is not None and "Error: " in broken.error
    assert [entry.index for entry in result.ledger.ranked()] == [0, 1]
    assert any(line.startswith("trial 2: failed: ") for line in lines)


def test_a_sweep_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with refused(ConfigError, "scheduler_option", match="--grace.* none.* asha"):
        sweep(request(tmp_path / "a", grace=0.5), print)
    with refused(ConfigError, "search_with_scheduler", match="--search grid.* pbt"):
        sweep(request(tmp_path / "a", scheduler="pbt"), print)
    with refused(ConfigError, "scheduler_needs_scales", match="baseline, schedule.d_steps"):
        sweep(request(tmp_path / "c", scheduler="pbt", search=None), print)
    with refused(CheckpointError, "not_a_sweep"):
        sweep(request(tmp_path / "a", resume=True), print)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "sweep.json").write_text('{"words": {}}')
    with refused(CheckpointError, "sweep_exists"):
        sweep(request(tmp_path / "b"), print)
    with refused(CheckpointError, "sweep_differs", match="study, settings, objective, base"):
        sweep(request(tmp_path / "b", resume=True), print)
    assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


class WatchedTrial(Trial):
    """A trial that notes which weights it saved and which it took up."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        super().save_checkpoint(checkpoint_dir)
        self._note("saved", checkpoint_dir)

    def load_checkpoint(self, checkpoint_dir: str | None) -> None:
        super().load_checkpoint(checkpoint_dir)
        self._note("took up", str(checkpoint_dir))

    def _note(self, what: str, checkpoint_dir: str) -> None:
        weights = b"".join(tensor.numpy().tobytes() for _, tensor in sorted(self.trainer.current_weights().items()))
        note = [
            what,
            self.config[NAME],
            self.trainer.position.adversarial_updates,
            hashlib.sha256(weights).hexdigest(),
            self.trainer.config.optimizers.generator.lr,
        ]
        with (Path(self.config[STARTS]).parent / "notes").open("a") as file:
            file.write(json.dumps(note) + "\n")


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
@pytest.mark.slow
def test_a_population_goes_on_from_the_states_of_its_best(
    scheduler: str, ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "Trial", WatchedTrial)
    given = {"search": None, "scheduler": scheduler, "trials": 4, "interval": 0.25, "quantile": 0.5}
    result = sweep(request(tmp_path, RATES, **given), print)
    assert [entry.state for entry in result.ledger.entries.values()] == ["finished"] * 4
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    saved = {(name, update): weights for what, name, update, weights, _ in notes if what == "saved"}
    events = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    exploited = [event for event in events if event["event"] == "exploited"]
    assert exploited
    own, replaced = {}, 0
    for event in exploited:
        index, donor, update = event["index"], event["donor"], event["update"]
        name, theirs = f"trial_{index:04d}", f"trial_{donor:04d}"
        # The better half was drawn on, the donor's weights were taken up, and the learning rate is the trial's own.
        values = {one["index"]: one["value"] for one in events if one["event"] == "result" and one["update"] == update}
        assert values[donor] <= sorted(values.values())[1] <= values[index]  # equal where both come of one donor
        lr = event["point"]["optimizers.generator.lr"]
        taken = [note for note in notes if note[:3] == ["took up", name, update]]
        assert taken[-1][3] == saved[theirs, update]
        # Two that took over the same weights and chose the same rate, at a bound, are twins and may replace each other.
        replaced += saved[theirs, update] != saved.get((name, update))
        assert (values[donor] == values[index]) == (saved[theirs, update] == saved.get((name, update)))
        assert taken[-1][4] == pytest.approx(lr, rel=1e-12)
        own[index] = lr
    assert replaced
    assert {index: result.ledger.entries[index].point["optimizers.generator.lr"] for index in own} == own


@pytest.mark.slow
def test_trials_at_the_same_time_share_neither_files_nor_names(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "Trial", OverlappingTrial)
    result = sweep(request(tmp_path, trials=2, concurrent=2), print)
    assert [entry.state for entry in result.ledger.entries.values()] == ["finished"] * 2
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    begun = {note["name"]: note["time"] for note in notes if note["what"] == "begun"}
    ended = {note["name"]: note["time"] for note in notes if note["what"] == "ended"}
    assert set(begun) == set(ended) == {"trial_0000", "trial_0001"}
    assert max(begun.values()) < min(ended.values())  # both were there at once
    assert len({note["pid"] for note in notes}) == len({note["folder"] for note in notes}) == 2
    assert not any(note["actors"] for note in notes)  # nothing on the cluster has a name that another could take
    assert all(note["threads"] == 1 for note in notes)  # two trials on two CPUs


@pytest.mark.slow
def test_a_sweep_whose_time_is_over_at_once_judges_nothing(ray_session: None, tmp_path: Path) -> None:
    result = sweep(request(tmp_path / "short", hours=1e-6, finalists=1, seeds=1), print)
    assert (result.end, result.is_judged) == ("time", False)
    assert not list((tmp_path / "short" / "report").glob("*.png"))
    assert "Nobody won" in (tmp_path / "short" / "report" / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_a_sweep_forecasts_and_its_winner_can_be_trained_again(ray_session: None, tmp_path: Path) -> None:
    lines: list[str] = []
    result = sweep(request(tmp_path / "whole", hours=10.0, trials=2, finalists=1, seeds=2), lines.append)
    assert (result.end, result.is_judged) == ("done", True)
    # At the first measurement, and when the first trial had ended; once more before the race.
    first, second = (line for line in lines if line.startswith("forecast: "))
    assert "2 of 2 trials fit" in first and "and fits into the" in first
    assert second != first and any(line.startswith("final race: about ") for line in lines)
    assert {len(final.samples) for final in result.finals.results()} == {3}
    assert len({final.beside for final in result.finals.results()}) == 1  # all beside the same real sequences
    assert all(real and source is None for source, real in result.finals.results()[0].beside)
    assert all(text for final in result.finals.results() for text in final.samples)
    again = result.results.again
    assert again is not None and again.command is not None
    best = champion(result.results, verdict(result.results))
    assert best is not None and again.command.startswith("rlgan train ") and f"--seed {best.seed}" in again.command
    assert again.command in (tmp_path / "whole" / "report" / "summary.txt").read_text("utf-8")


class OverlappingTrial(Trial):
    """A trial that notes where and when it works, and begins when another has begun too."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self._tell("begun")
        end = time.monotonic() + 60
        while (Path(self.config[STARTS]).parent / "notes").read_text().count("begun") < 2 and time.monotonic() < end:
            time.sleep(0.05)

    def step(self) -> dict[str, Any]:
        result = super().step()
        if result["done"]:
            self._tell("ended")
        return result

    def _tell(self, what: str) -> None:
        note = {
            "what": what,
            "name": self.config[NAME],
            "time": time.time(),
            "pid": os.getpid(),
            "folder": self.logdir,
            "actors": ray.util.list_named_actors(all_namespaces=True),
            "threads": torch.get_num_threads() if what == "ended" else 1,
        }
        with (Path(self.config[STARTS]).parent / "notes").open("a") as file:
            file.write(json.dumps(note) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
