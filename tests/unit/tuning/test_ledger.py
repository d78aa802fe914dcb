"""The file of a sweep: what was written is read again, a torn line costs nothing, a foreign file is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlgan.base.errors import CheckpointError
from rlgan.tuning.search.ledger import Chosen, FinalLedger, Ledger, Model
from tests.support.errors import refused


def filled(path: Path) -> Ledger:
    ledger = Ledger(path)
    for index, value in enumerate((2.0, 1.0, 0.5, 3.0)):
        ledger.begun(index, {"reward": "logit"}, {"reward": "logit"})
        ledger.result(index, 2, value + 1, {"eval/kl_sum": value + 1}, 1.0)
        ledger.result(index, 4, value, {"eval/kl_sum": value}, 2.0)
    ledger.ended(0, "finished")
    ledger.ended(1, "finished")
    ledger.ended(2, "stopped")
    ledger.ended(3, "failed", "ValueError: no")
    ledger.begun(4, {"reward": "ratio"}, {"reward": "ratio"})
    return ledger


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written = filled(tmp_path / "trials.jsonl")
    read = Ledger(tmp_path / "trials.jsonl")
    assert read.entries == written.entries
    assert [entry.index for entry in read.unfinished()] == [4]
    # One that was stopped early is no winner, however well it stood.
    assert [entry.index for entry in read.ranked()] == [1, 0, 2]
    assert read.entries[3].error == "ValueError: no" and read.entries[0].value == 2.0


def test_a_torn_line_costs_only_itself_wherever_it_was_torn(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for end in range(len(content)):
        (tmp_path / "torn").write_bytes(content[:end])
        torn = Ledger(tmp_path / "torn")
        torn.begun(9, {}, {})
        again = Ledger(tmp_path / "torn")
        assert again.entries == torn.entries and 9 in again.entries


def test_a_result_that_is_measured_again_replaces_the_old_one(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "trials.jsonl")
    ledger.result(1, 2, 5.0, {}, 1.0)
    assert ledger.entries[1].results == [(2, 5.0)]
    ledger.result(1, 4, 6.0, {}, 2.0)
    assert Ledger(tmp_path / "trials.jsonl").entries[1].results == [(2, 5.0), (4, 6.0)]


@pytest.mark.parametrize("line", ["{", "[]", '{"event": "begun"}', '{"event": "eaten", "index": 0}', '{"index": 0}'])
def test_a_foreign_file_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    filled(tmp_path / "trials.jsonl")
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write(line + "\n")
    with refused(CheckpointError, "damaged_journal", {"line": 18}, match=r"trials\.jsonl"):
        Ledger(tmp_path / "trials.jsonl")


def raced(path: Path, *runs: tuple[str, int, str | None]) -> FinalLedger:
    ledger = FinalLedger(path)
    ledger.choose(Chosen(("MLE", "trial 3"), {"trial 3": ("MLE", None)}))
    for entrant, seed, error in runs:
        measured = [{"temperature": 1.0, "validation": {"kl_sum": 1.0}, "test": {"kl_sum": 2.0}}]
        kind = "control" if entrant == "MLE" else "finalist"
        ledger.ran(entrant, kind, seed, [] if error else measured, 1.0, error)
    return ledger


def test_only_whole_seeds_of_those_who_race_now_are_judged(tmp_path: Path) -> None:
    runs = [("MLE", 1, None), ("trial 3", 1, None), ("trial 5", 1, None), ("MLE", 2, None), ("trial 5", 2, None)]
    ledger = raced(tmp_path / "finals.jsonl", *runs)
    # Trial 5 raced when other trials were the best; with seed 2 trial 3 has not run yet.
    assert [(one.entrant, one.seed) for one in ledger.results()] == [("MLE", 1), ("trial 3", 1)]
    ledger.ran("trial 3", "finalist", 2, [], 1.0, "OutOfMemoryError")
    # It has run now, and badly: its rivals' results count, and its own are missing.
    assert [(one.entrant, one.seed) for one in ledger.results()] == [("MLE", 1), ("trial 3", 1), ("MLE", 2)]
    again = FinalLedger(tmp_path / "finals.jsonl")
    assert again.results() == ledger.results() and again.chosen == ledger.chosen and again.runs == ledger.runs


def test_what_was_registered_is_known_again(tmp_path: Path) -> None:
    ledger = raced(tmp_path / "finals.jsonl")
    ledger.registered(Model("best", 3, "trial 3", 2, 0.9))
    assert FinalLedger(tmp_path / "finals.jsonl").model == Model("best", 3, "trial 3", 2, 0.9)


def test_a_number_that_is_none_is_the_worst(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    for index, value in enumerate((math.nan, 0.5, 0.3)):
        ledger.begun(index, {}, {})
        ledger.result(index, 2, value, {}, 1.0)
        ledger.ended(index, "finished")
    assert [entry.index for entry in ledger.ranked()] == [2, 1, 0]


def test_who_took_over_has_the_donors_past_as_its_schedule(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    for index, lr in enumerate((0.1, 0.2, 0.3)):
        ledger.begun(index, {"lr": lr}, {"lr": lr})
    ledger.exploited(1, donor=0, update=4, point={"lr": 0.15}, checkpoint="/a")
    ledger.exploited(2, donor=1, update=8, point={"lr": 0.18}, checkpoint="/b")
    for read in (ledger, Ledger(tmp_path / "trials.jsonl")):
        assert read.entries[2].schedule == [(0, {"lr": 0.1}), (4, {"lr": 0.15}), (8, {"lr": 0.18})]
        assert read.entries[2].point == {"lr": 0.18} and read.entries[0].schedule == [(0, {"lr": 0.1})]
        assert not read.entries[2].has_gone_on and read.entries[2].taken_from == "/b"
    ledger.result(2, 10, 1.0, {}, 1.0)
    assert ledger.entries[2].has_gone_on
