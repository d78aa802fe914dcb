"""What the search hands to Tune, and what the source of proposals learns of what came of it; without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan.runs.ray_tune import VARIED
from rlgan.tuning import OBJECTIVES
from rlgan.tuning.search.ledger import Ledger
from rlgan.tuning.search.proposals import Outcome, Proposals, RandomSource
from rlgan.tuning.search.search import Folders, _Searcher
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.search.trial import COMPLETE, INDEX, NAME, RESUME
from rlgan.tuning.search.tuner import Deadline
from tests.support.tiny_sweep import STUDY, TASK


class Listening(RandomSource):
    """Draws at random, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.described: list[Outcome] = []

    def tell(self, proposed: Any, outcome: Outcome) -> None:
        self.described.append(outcome)


def searcher(
    folder: Path, source: RandomSource, seconds: float | None = None, **settings: Any
) -> tuple[_Searcher, Ledger]:
    space = STUDY.space(TASK, {})
    ledger = Ledger(folder / "trials.jsonl")
    folders = Folders(folder / "tune", folder / "starts", folder / "trials.jsonl", "fingerprint")
    given = SweepSettings(**{"trials": 3, "search": "random", **settings})
    proposals = Proposals(space, source)
    return _Searcher(space, OBJECTIVES["kl_sum"], proposals, given, ledger, folders, Deadline(seconds)), ledger


def measured(ledger: Ledger, index: int, forward: float, reverse: float) -> None:
    ledger.result(index, 2, forward + reverse, {"eval/kl_forward": forward, "eval/kl_reverse": reverse}, 1.0)


@pytest.mark.parametrize(("search", "learned"), [("random", (3.0,)), ("motpe", (1.0, 2.0))])
def test_the_source_learns_the_sum_or_each_side(search: str, learned: tuple[float, ...], tmp_path: Path) -> None:
    source = Listening()
    one, ledger = searcher(tmp_path, source, search=search)
    config = one.suggest("a")
    assert isinstance(config, dict) and (config[INDEX], config[NAME], config[RESUME]) == (0, "trial_0000", [])
    varied = {key.removeprefix(VARIED) for key in config if key.startswith(VARIED)}
    assert varied <= set(ledger.entries[0].point)
    measured(ledger, 0, forward=1.0, reverse=2.0)
    one.on_trial_complete("a", {COMPLETE: True})
    one.suggest("b")
    one.on_trial_complete("b", error=True)
    one.suggest("c")
    measured(ledger, 2, forward=1.0, reverse=2.0)
    one.on_trial_complete("c", {COMPLETE: False})
    # One that was stopped early is told as such: its value is no one's that went on.
    assert source.described == [Outcome(learned), Outcome(None), Outcome(learned, ((2, 3.0),))]


def test_so_many_trials_and_no_more(tmp_path: Path) -> None:
    one, ledger = searcher(tmp_path, Listening(), trials=2)
    assert [one.suggest(name) for name in "abc"][-1] == "FINISHED" and len(ledger.entries) == 2 and one.exhausted


def test_what_the_time_cut_short_is_no_result(tmp_path: Path) -> None:
    source = Listening()
    one, ledger = searcher(tmp_path, source, seconds=0.0)
    for name in "ab":
        one.suggest(name)
    measured(ledger, 0, 1.0, 1.0)
    one.on_trial_complete("a", {COMPLETE: False})
    measured(ledger, 1, 1.0, 2.0)
    one.on_trial_complete("b", {COMPLETE: True})
    assert source.described == [Outcome((3.0,))]


def test_what_was_under_way_comes_first_and_new_points_are_those_of_a_sweep_that_never_stopped(tmp_path: Path) -> None:
    whole, ledger = searcher(tmp_path / "whole", RandomSource(0))
    for name in "abc":
        whole.suggest(name)
    points = [ledger.entries[index].point for index in range(3)]

    begun, first = searcher(tmp_path / "cut", RandomSource(0))
    begun.suggest("a")
    begun.suggest("b")
    measured(first, 0, 1.0, 1.0)
    first.ended(0, "finished")
    source = Listening()
    again, second = searcher(tmp_path / "cut", source)
    assert source.described == [Outcome((2.0,))]
    handed = [again.suggest(name) for name in "xyz"]
    assert [config[INDEX] for config in handed if isinstance(config, dict)] == [1, 2] and handed[-1] == "FINISHED"
    assert [second.entries[index].point for index in range(3)] == points
