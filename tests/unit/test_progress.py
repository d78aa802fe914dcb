"""What is seen of a run: plain lines in a file, a bar on a terminal, and neither is silent for long."""

from __future__ import annotations

import io
import re
import sys
import threading

import pytest
import torch

from rlgan.base.activity import Activity
from rlgan.evaluation.evaluator import Measurement
from rlgan.runs import progress as progress_module
from rlgan.runs.plan import Item, Plan
from rlgan.runs.progress import Progress, in_words
from rlgan.training.iteration import Iteration
from tests.unit.test_activity import Clock


def iteration(step: int, measured: bool = False) -> Iteration:
    measurement = Measurement({}, torch.zeros(1, 1)) if measured else None
    return Iteration("mle", step, {"mle/train_nll": 1.5, "timing/iteration_s": 9.0}, measurement)


def test_without_a_terminal_there_is_a_line_a_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Activity(Clock()))
    for step in (1, 2, 3):
        progress.iteration(iteration(step, measured=step == 3))
    progress.say("done")
    progress.close()
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and "\r" not in out
    assert lines == ["[     0 s] MLE epoch 3    train NLL 1.500", "done"]


def test_a_generator_with_a_latent_shows_its_bound_and_what_the_latent_says(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Activity(Clock()))
    measured = Measurement({}, torch.zeros(1, 1))
    progress.iteration(Iteration("mle", 3, {"eval/nll_gen_bound": 2.5, "eval/latent_kl": 0.25}, measured))
    progress.close()
    assert capsys.readouterr().out == "[     0 s] MLE epoch 3    NLL_gen ≤ 2.500  latent KL 0.250\n"


def simulated(activity: Activity, clock: Clock, progress: Progress) -> list[float]:
    """Times at which lines come in a run of long stages, looked at every second as `watching` does."""
    times: list[float] = []
    seen = ""

    def passes(seconds: int) -> None:
        nonlocal seen
        for _ in range(seconds):
            clock.now += 1.0
            progress.look()
            assert isinstance(sys.stdout, io.StringIO)
            if (text := sys.stdout.getvalue()) != seen:
                seen = text
                times.append(clock.now)

    for epoch in (1, 2):
        with activity.stage("mle", f"MLE epoch {epoch} of 2"), activity.stage("learn", item="batch", total=400):
            for _ in range(4):
                passes(50)
                activity.advance(100)
        with activity.stage("measure", "measuring"), activity.stage("bleu", "BLEU"):
            passes(70)
        progress.iteration(iteration(epoch, measured=True))
    with activity.stage("table", "final table"):
        with activity.stage("row", "MLE start"):
            passes(90)
        with activity.stage("control mle_continued", "control mle_continued"), activity.stage("adversarial"):
            passes(45)
    return times


def test_no_half_minute_passes_without_a_line_whatever_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    clock = Clock()
    activity = Activity(clock)
    progress = Progress(activity)
    times = simulated(activity, clock, progress)
    end = clock.now
    assert max(later - earlier for earlier, later in zip([0.0, *times], [*times, end], strict=True)) < 30
    # What is new is told of sooner: the first epoch, the first measurement, the table, its controls.
    for began in (0, 200, 540, 630):
        assert min(time for time in times if time > began) - began <= 10
    lines = out.getvalue().splitlines()
    assert lines[0] == "[     5 s] MLE epoch 1 of 2: batch 1 of 400"
    assert "[    65 s] MLE epoch 1 of 2: batch 101 of 400" in lines
    assert any(line.endswith("measuring: BLEU") for line in lines)
    assert any(line.endswith("final table: control mle_continued") for line in lines)
    # And nobody is flooded.
    assert len(lines) < end / 15


def test_short_work_has_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    activity = Activity(clock)
    progress = Progress(activity)
    for step in range(1, 41):
        with activity.stage("adversarial", f"adversarial update {step}"):
            clock.now += 1.0
            progress.look()
        progress.iteration(iteration(step))
    progress.look()  # nothing is being done
    # One when the kind was new, and one every 20 seconds.
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1


def test_lines_tell_the_time_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    activity = Activity(clock)
    progress, plan = Progress(activity), Plan({"mle": Item(10, 1.0), "table/row": Item(20, 1.0)})
    progress.follow(plan)
    plan.finished("mle", 30.0)
    clock.now = 30.0
    progress.iteration(iteration(1, measured=True), {"mle": 9})
    # Nine epochs of 30 s are known, twenty rows of the table are guessed by their size.
    assert capsys.readouterr().out == "[    30 s, at least 4 min left] MLE epoch 1    train NLL 1.500\n"
    plan.finished("table/row", 1.0)
    progress.iteration(iteration(10, measured=True), {"mle": 0})
    assert capsys.readouterr().out.startswith("[    30 s, 20 s left] MLE epoch 10")
    assert progress.seconds_left() == 19.0


def test_what_is_a_guess_for_its_most_part_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(Activity(clock))
    plan = Plan({"mle": Item(4, 1.0), "adversarial": Item(100, 1.0)})
    progress.follow(plan)
    assert progress.to_go() == ("", None)
    plan.finished("mle", 5.0)
    # 15 s of epochs, and 500 s that nothing has shown: even the least is too little to be told.
    assert progress.seconds_left() == 515.0 and progress.to_go() == ("", None)
    clock.now = 5.0
    progress.iteration(iteration(1, measured=True))
    assert capsys.readouterr().out.startswith("[     5 s] MLE epoch 1")
    plan.finished("adversarial", 2.0)
    assert progress.to_go() == ("4 min left", 15.0 + 99 * 2.0)


def test_a_thread_looks_and_hears_of_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_LOOK_EVERY_S", 0.001)
    looked, activity = threading.Event(), Activity()
    progress, plan = Progress(activity), Plan({"mle": Item(2, 1.0)})
    monkeypatch.setattr(progress, "look", looked.set)
    progress.follow(plan)
    with progress.watching():
        assert looked.wait(30.0)
        with activity.stage("mle"):
            pass
        assert plan.seconds_left() is not None
        watchers = [thread for thread in threading.enumerate() if thread.name == "progress"]
        assert len(watchers) == 1
    assert not watchers[0].is_alive()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_of_the_whole_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    clock = Clock()
    activity = Activity(clock)
    progress, plan = Progress(activity), Plan({"mle": Item(3, 1.0), "table/row": Item(1, 1.0)})
    progress.follow(plan)
    with activity.stage("mle", "MLE epoch 1 of 3"), activity.stage("learn", item="batch", total=10):
        progress.look()
        activity.advance(5)
    assert re.search(r"  0%\|.* MLE epoch 1 of 3: batch 1 of 10", terminal.getvalue())
    clock.now = 100.0
    plan.finished("mle", 100.0)
    progress.iteration(iteration(1, measured=True), {"mle": 2})
    # Of 400 seconds 100 have passed: two epochs and a row of the table are to come.
    assert re.search(r" 25%\|.*5 min left, train NLL=1\.500 MLE epoch 1", terminal.getvalue())
    progress.say("a note")
    plan.set_left({"mle": 0})
    plan.finished("table/row", 100.0)
    plan.set_left({"table/row": 1})
    clock.now = 300.0
    with activity.stage("table", "final table"), activity.stage("row", "MLE start"):
        progress.look()
        assert re.search(r" 75%\|.*2 min left.* final table: MLE start", terminal.getvalue())
    progress.close()
    # Nothing but what was said is on standard output.
    assert capsys.readouterr().out == "a note\n"


def test_what_was_done_before_there_was_a_plan_counts() -> None:
    clock = Clock()
    activity = Activity(clock)
    progress = Progress(activity, io.StringIO())
    plan = Plan({"parts": Item(0, 0.0), "mle": Item(1, 1.0), "table/parts": Item(3, 0.0, like="parts")})
    with progress.watching():
        with activity.stage("parts"):
            clock.now = 15.0
        progress.follow(plan)
        with activity.stage("mle"):
            clock.now = 20.0
    assert progress.seconds_left() == 45.0


@pytest.mark.parametrize("columns", ["0", "40", "79"])
def test_the_time_to_go_is_seen_whatever_the_terminal_says_of_its_size(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", "0")
    clock = Clock()
    activity = Activity(clock)
    progress, plan = Progress(activity), Plan({"mle": Item(3, 1.0)})
    progress.follow(plan)
    plan.finished("mle", 50.0)
    plan.set_left({"mle": 2})
    with activity.stage("mle", "a stage whose name is longer than any line of a terminal " * 3):
        clock.now = 100.0
        progress.look()
    progress.close()
    shown = terminal.getvalue().split("\r")[-2]
    assert re.match(r"[ \d]+%\|.* left", shown)
    assert len(shown) <= (int(columns) or 80)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "10 s"), (44.0, "40 s"), (89.0, "90 s"), (90.0, "2 min"), (5000.0, "83 min"), (7500.0, "2 h 05 min")],
)
def test_a_time_to_go_is_told_as_exactly_as_it_is_known(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
