"""The file of a sweep: what was written is read again, a torn line costs nothing, a foreign file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgan.envs.errors import CheckpointError
from rlgan.tuning.ledger import Ledger


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
    with pytest.raises(CheckpointError, match=r"trials\.jsonl, line 18: is no event of a sweep"):
        Ledger(tmp_path / "trials.jsonl")
