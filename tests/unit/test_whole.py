"""What is held of a run while an iteration may be broken off."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import build_task
from rlgan.runs.whole import whole
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.tiny import finish, of_pairs, tiny_config


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (tiny_config(), {}),
        (of_pairs(), {}),
        (tiny_config(), {"adversary.buffer": 48}),
        (tiny_config(), {"baseline": "critic"}),
        (tiny_config(), {"baseline": "ema"}),
        (tiny_config(), {"schedule.mle_patience": 1, "schedule.selection": "best", "schedule.selection.every": 1}),
    ],
    ids=["plain", "pairs", "replay", "critic", "mean", "selection"],
)
def test_a_run_that_is_held_stays_as_it_was_while_training_goes_on(config: Config, changes: dict[str, Any]) -> None:
    config = override(config, changes)
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        for _ in range(4):  # every optimiser and every buffer has a state now
            trainer.step()
        held = whole(trainer, "fingerprint", {})
        before = pickle.dumps(held.state)
        finish(trainer)
        assert trainer.position.iterations > held.position.iterations == 4
        assert pickle.dumps(held.state) == before
