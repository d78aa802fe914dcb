"""What is held of a run while an iteration may be broken off."""

from __future__ import annotations

import pickle

from rlgan.envs.tasks import build_task
from rlgan.runs.whole import whole
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.tiny import finish, tiny_config


def test_a_run_that_is_held_stays_as_it_was_while_training_goes_on() -> None:
    config = tiny_config()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        for _ in range(3):  # with a round of the discriminator: its optimiser and its buffers have a state now
            trainer.step()
        held = whole(trainer, "fingerprint", {}, copied=True)
        before = pickle.dumps(held.state)
        finish(trainer)
        assert trainer.position.iterations > held.position == 3
        assert pickle.dumps(held.state) == before
