"""Whole runs of seconds, stopped at a wanted unit and compared."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rlgan.config.config import Config
from rlgan.training.iteration import Iteration
from rlgan.training.trainer import Trainer
from tests.support.commands import rows_of
from tests.support.tiny import tiny_config

LEFT_BEHIND = ("table.json", "table.txt", "verdict.json", "generator.safetensors", "generator.json", "samples.txt")


def small(**changes: Any) -> Config:
    """A tiny run that is reported in seconds: 2 epochs, 1 round, 2 adversarial units."""
    given: dict[str, Any] = {"controls": ("mle_continued", "oracle_ratio"), "checkpoint_every_s": 0.0}
    config = tiny_config(**(given | changes))
    evaluation = config.evaluation.model_copy(
        update={"final_sequences": 32, "temperatures": (0.8, 1.0), "num_shown": 3}
    )
    tracking = config.tracking.model_copy(update={"enabled": False})
    return config.model_copy(update={"preset": "tiny", "evaluation": evaluation, "tracking": tracking})


def stop_after(monkeypatch: pytest.MonkeyPatch, num_iterations: int, error: type[BaseException] | None = None) -> None:
    """Ctrl-C once so many units are done, as the user presses it; or an error instead."""
    real, done = Trainer.step, 0

    def step(trainer: Trainer, measure: bool = True) -> Iteration:
        nonlocal done
        unit = real(trainer, measure)
        done += 1
        if done == num_iterations:
            if error is not None:
                raise error("killed")
            os.kill(os.getpid(), signal.SIGINT)
        return unit

    monkeypatch.setattr(Trainer, "step", step)


def assert_ends_alike(one: Path, other: Path) -> None:
    for name in LEFT_BEHIND:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert rows_of(one) == rows_of(other)
