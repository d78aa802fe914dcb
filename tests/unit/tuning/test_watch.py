"""What a person hears of a sweep: its costs from its ledger, its forecast, and a line where nobody says one."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from ray import cloudpickle

from rlgan.envs.tasks import build_task
from rlgan.tuning.search import watch as watch_module
from rlgan.tuning.search.ledger import Ledger
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.search.starts import DURATION, PROGRESS
from rlgan.tuning.search.tuner import Deadline
from rlgan.tuning.search.watch import SearchDeadline, Voice, Watch
from rlgan.tuning.space.spaces import Space
from tests.support.tiny_sweep import STUDY, TASK


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("rlgan.tuning.search.tuner.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def the_space() -> Space:
    return STUDY.space(TASK, {})


def watched(
    folder: Path, ledger: Ledger, lines: list[str], hours: float | None = None, **settings: object
) -> tuple[Watch, SearchDeadline]:
    given = SweepSettings(**{"trials": 8, "finalists": 2, "seeds": 3, "hours": hours, **settings})
    seconds = None if hours is None else hours * 3600
    whole = Deadline(seconds)
    search = SearchDeadline(whole, seconds, bool(given.finalists), lambda: bool(ledger.ranked()))
    space = the_space()
    found = Watch(space, build_task(space.base.task), given, ledger, folder, whole, search, lines.append)
    found.at_once = 2
    return found, search


def measured(ledger: Ledger, index: int, *results: tuple[int, float]) -> None:
    ledger.begun(index, {"baseline": "none", "schedule.d_steps": 1}, {})
    for update, seconds in results:
        ledger.result(index, update, 1.0, {"eval/kl_forward": 0.5, "eval/kl_reverse": 0.5}, seconds, 0.5)


def test_costs_are_those_of_the_ledger_and_of_the_starts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    watch, _ = watched(tmp_path, ledger, [])
    assert watch.costs() is None and watch.forecast() is None
    (tmp_path / f"a{DURATION}").write_text(json.dumps({"seconds": 60.0}))
    # 8 updates in all: 10 s for the first two, which have the discriminator's pretraining, then 4 s for each two.
    measured(ledger, 0, (2, 10.0), (4, 4.0))
    costs = watch.costs()
    assert costs is not None
    assert (costs.start_s, costs.trial_s, costs.measure_s) == (60.0, 10.0 + 6 * 2.0, 0.5)
    # One measurement alone would be taken as if all updates were like the first: nothing is learnt of it.
    measured(ledger, 1, (2, 10.0))
    costs = watch.costs()
    assert costs is not None and costs.trial_s == 22.0
    ledger.ended(1, "stopped")
    costs = watch.costs()
    assert costs is not None and costs.trial_s == (22.0 + 40.0) / 2


def test_a_seed_of_the_race_has_the_controls_and_the_finalists(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    watch, _ = watched(tmp_path, ledger, [])
    measured(ledger, 0, (8, 10.0))
    size = watch.race_size()
    # MLE, mle_continued, oracle_ratio and two finalists, of whom one is not known yet; one start.
    assert (size.entrants, size.trained, size.starts) == (5, 4, 1)
    assert size.measurements == 2 * 2 * 1.0  # two temperatures on two splits, of as many sequences


def test_the_search_ends_when_the_race_needs_what_is_left(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    watch, search = watched(tmp_path, ledger, [], hours=1.0)
    assert search.left_s == 1800.0  # half as long as nothing is known
    measured(ledger, 0, (2, 10.0), (4, 4.0))
    forecast = watch.forecast()
    assert forecast is not None
    # No start was timed: 4 trials of 22 s, 5 ends of 4 measurements of half a second, two at a time.
    assert forecast.seed_s == (4 * 22.0 + 5 * 4 * 0.5) / 2 and forecast.race_s == 3 * 49.0
    assert search.reserved_s == pytest.approx(1.2 * 147.0) and search.left_s == pytest.approx(3600 - 1.2 * 147.0)
    clock.now += 3600 - 100
    assert search.left_s is not None and search.left_s < 0
    assert not search.is_past  # no trial has ended: a race of nobody helps nobody
    ledger.ended(0, "finished")
    assert search.is_past
    clock.now -= 3000
    assert search.is_past  # who was stopped by it was stopped


def test_the_whole_time_ends_the_search_in_any_case(tmp_path: Path, clock: Clock) -> None:
    _, search = watched(tmp_path, Ledger(tmp_path / "trials.jsonl"), [], hours=0.1)
    clock.now += 359.0
    assert not search.is_past
    clock.now += 2.0
    assert search.is_past
    _, endless = watched(tmp_path, Ledger(tmp_path / "trials.jsonl"), [])
    clock.now += 1e9
    assert not endless.is_past and endless.left_s is None and endless.reserved_s == 0.0


def test_it_is_forecast_at_the_first_measurement_and_at_the_first_end(tmp_path: Path, clock: Clock) -> None:
    lines: list[str] = []
    ledger = Ledger(tmp_path / "trials.jsonl")
    watch, _ = watched(tmp_path, ledger, lines, hours=0.01)
    watch.search_moved()
    assert lines == []
    measured(ledger, 0, (2, 10.0))
    watch.search_moved()
    assert lines == []  # of these 10 s nobody knows what was the beginning
    measured(ledger, 0, (2, 10.0), (4, 4.0))
    watch.search_moved()
    (first,) = lines
    # Of 36 s a quarter is for the search, and a trial takes 22 s; a seed of the race 49 s, and it has 27 s.
    assert (
        "0 of 8 trials fit" in first
        and "0 of its seeds fit into the 27 s left for it, so there will be no result" in first
    )
    assert "Use --hours 0.074 to fit all" in first  # 4 · 22 + 1.2 · 3 · 49 = 264.4 s
    measured(ledger, 1, (2, 10.0))
    watch.search_moved()
    assert len(lines) == 1
    ledger.ended(0, "finished")
    watch.search_moved()
    watch.search_moved()
    assert len(lines) == 2


def test_a_status_says_what_is_under_way(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    watch, _ = watched(tmp_path, ledger, [], hours=1.0)
    (tmp_path / f"a{PROGRESS}").write_text(json.dumps({"epochs": 5, "of": 20, "seconds": 10.0}))
    assert watch.search_status() == (
        "search: 0 of 8 trials finished; a shared start: epoch 5 of at most 20 after 10 s, at most 30 s more; "
        "30 min left for the search"
    )
    (tmp_path / f"a{PROGRESS}").unlink()
    for index in range(6):
        measured(ledger, index, (2, 10.0))
    ledger.ended(0, "failed", "no")
    assert watch.search_status().startswith(
        "search: 1 of 8 trials finished; under way: trial 1 (2 of 8 updates), trial 2 (2 of 8 updates), trial 3 (2 of "
        "8 updates), trial 4 (2 of 8 updates) and 1 more; "
    )
    clock.now += 1860.0
    for index in range(1, 6):
        ledger.ended(index, "failed", "no")
    assert watch.search_status().endswith(
        "; the race should start, but waits until a trial has finished; 29 min left for both"
    )
    clock.now -= 1860.0
    assert watch.race_status(25, 3, ["MLE, seed 1 (0 of 0 updates)"]) == (
        "final race: 3 of 25 runs done; under way: MLE, seed 1 (0 of 0 updates); 60 min left for the race"
    )


def test_nobody_waits_longer_than_the_silence() -> None:
    said: list[str] = []
    three = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if said.count("it stands") == 3:
            three.set()

    voice = Voice(say, silence_s=0.01)
    with voice.standing(lambda: "it stands"):
        assert three.wait(60)
    after = len(said)
    assert not any(thread.name == "sweep status" for thread in threading.enumerate())
    voice.say("a line")
    assert said[after:] == ["a line"] and watch_module.SILENCE_S < 30


def test_tune_may_pickle_whoever_it_calls(tmp_path: Path) -> None:
    watch, search = watched(tmp_path, Ledger(tmp_path / "trials.jsonl"), [], hours=1.0)
    for called in (Voice(print).say, watch.search_moved, search):
        assert b"rlgan" in cloudpickle.dumps(called)
