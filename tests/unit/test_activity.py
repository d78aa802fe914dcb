"""Stages inside each other, who is told of them, and that nothing is left open."""

from __future__ import annotations

import pytest

from rlgan.base.activity import Activity, path_of


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_stages_are_told_from_the_inside_out_with_what_they_took() -> None:
    clock = Clock()
    activity, heard = Activity(clock), list[tuple[str, float]]()
    with activity.listening(lambda path, seconds: heard.append((path, seconds))):
        with activity.stage("table", "final table"):
            clock.now = 1.0
            with activity.stage("row"):
                clock.now = 4.0
            clock.now = 5.0
        with activity.stage("end"):
            pass
    with activity.stage("nobody listens"):
        pass
    assert heard == [("table/row", 3.0), ("table", 5.0), ("end", 0.0)]


def test_what_is_counted_is_of_the_innermost_stage() -> None:
    activity = Activity()
    activity.advance()  # nobody works: nothing to count
    with activity.stage("mle", "MLE epoch 2 of 60"), activity.stage("learn", item="batch", total=4):
        assert activity.stages[1].share is None and str(activity.stages[1]) == "batch 1 of 4"
        activity.advance()
        activity.advance(2)
        assert activity.stages[1].share == 0.75 and str(activity.stages[1]) == "batch 4 of 4"
        activity.advance()
        assert activity.stages[1].share == 1.0 and str(activity.stages[1]) == "batch 4 of 4"
        assert path_of(activity.stages) == "mle/learn" and activity.stages[0].share is None
        assert str(activity.stages[0]) == "MLE epoch 2 of 60"


def test_a_stage_that_fails_is_closed_and_not_counted() -> None:
    activity, heard = Activity(), list[str]()
    listening = activity.listening(lambda path, _: heard.append(path))
    with pytest.raises(KeyboardInterrupt), listening, activity.stage("table"), activity.stage("row"):
        raise KeyboardInterrupt
    assert activity.stages == () and heard == []
