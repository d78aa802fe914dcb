"""A sweep in MLflow and back, without Ray: what the ledgers are told is what is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rlgan.config.paths import override
from rlgan.presets.quick import quick
from rlgan.tracking import TrackingSettings, read_run
from rlgan.tuning.judge.results import SweepResults
from rlgan.tuning.report.logged import read_sweep
from rlgan.tuning.report.tracked import SweepTracking, identity
from rlgan.tuning.search.ledger import FinalLedger, Ledger
from tests.support.tiny_sweep import STUDY, TASK


def test_who_took_over_is_read_back_at_the_point_at_which_it_ended(tmp_path: Path) -> None:
    folder, uri = tmp_path / "mine", f"sqlite:///{tmp_path / 'mlruns.db'}"
    folder.mkdir()
    ledger, finals = Ledger(folder / "trials.jsonl"), FinalLedger(folder / "finals.jsonl")
    results = SweepResults("mine", "mine", "?", "t", "kl_sum", ("kl_forward", "kl_reverse"), ("baseline",), ())
    settings = TrackingSettings(uri=uri)
    tracking = SweepTracking(settings, folder, STUDY.space(TASK, {}), ledger, finals, results, {}, print)
    for index, baseline in enumerate(("ema", "none")):
        ledger.begun(index, {"baseline": baseline, "schedule.d_steps": 1}, {})
        ledger.result(index, 2, 2.0 + index, {"eval/kl_forward": 1.0}, 1.0)
    # Trial 1 takes over trial 0's state: its baseline, which is no number, and a number of its own.
    ledger.exploited(1, donor=0, update=2, point={"baseline": "ema", "schedule.d_steps": 2}, checkpoint="/kept")
    for index in range(2):
        ledger.result(index, 4, 1.0 + index, {"eval/kl_forward": 0.5}, 1.0)
        ledger.ended(index, "finished")
    whole = replace(results, trials=tuple(entry.result() for entry in ledger.entries.values()))
    tracking.finish("FINISHED", whole, [], 60.0)
    there = read_sweep(read_run(uri, folder)).trials
    assert there == whole.trials and there[1].point == {"baseline": "ema", "schedule.d_steps": 2}


@pytest.mark.parametrize(
    "changes",
    [{"preset": "mine"}, {"sampling": "environment"}, {"controls": ()}, {"checkpoint_every_s": 1.0},
     {"tracking.experiment": "mine"}],
)  # fmt: skip
def test_what_moves_no_number_has_no_part_in_the_identity(changes: dict[str, object]) -> None:
    assert identity(override(quick(), changes)) == identity(quick())


@pytest.mark.parametrize("changes", [{"seed": 1}, {"schedule.g_batch": 32}, {"evaluation.num_sequences": 100}])
def test_what_moves_numbers_has(changes: dict[str, object]) -> None:
    assert identity(override(quick(), changes)) != identity(quick())
