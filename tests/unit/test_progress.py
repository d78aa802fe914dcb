"""What is seen of a run: plain lines in a file, a bar on a terminal."""

from __future__ import annotations

import io
import sys

import pytest
import torch

from rlgan.evaluation import Measurement
from rlgan.progress import Progress
from rlgan.schedule import Position, Schedule
from rlgan.trainer import Unit

SCHEDULE = Schedule(mle_epochs=3, discriminator_rounds=1, adversarial_updates=4)


def unit(step: int, measured: bool) -> Unit:
    measurement = Measurement({}, torch.zeros(1, 1)) if measured else None
    return Unit("mle", step, {"mle/train_nll": 1.5, "timing/unit_s": 9.0}, measurement)


def test_without_a_terminal_there_is_a_line_a_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for step in (1, 2, 3):
        progress.unit(SCHEDULE, Position(mle_epochs=step), unit(step, measured=step == 3))
    progress.say("done")
    progress.close()
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and "\r" not in out
    assert lines[-2].endswith("MLE epoch 3    train NLL 1.500") and lines[-1] == "done"
    assert not any("MLE epoch 2" in line for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_that_knows_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress()
    # A resumed run begins in the middle, and one that stops early has fewer units than it was to have.
    progress.unit(SCHEDULE, Position(mle_epochs=2), unit(2, measured=False))
    progress.say("a note")
    progress.unit(SCHEDULE, Position(mle_epochs=2, mle_finished=True, discriminator_rounds=1), unit(2, measured=True))
    progress.close()
    shown = terminal.getvalue()
    assert "1/8" in shown and "3/7" in shown and "MLE epoch 2" in shown and "train NLL=1.500" in shown
    assert capsys.readouterr().out == "a note\n"
