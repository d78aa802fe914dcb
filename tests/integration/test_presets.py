"""Every preset in small: it runs, its numbers are finite, it learns, and workers change nothing (A12)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from rlgan.config import Config
from rlgan.envs.tasks import Task, ToyTask, build_task
from rlgan.objectives import MixedPrefix
from rlgan.overrides import flatten, from_dict, override, to_dict
from rlgan.presets import PRESETS, preset
from rlgan.trainer import Trainer
from rlgan.workers.parts import build_parts
from tests.support.hosts import Hosts
from tests.support.on_ray import assert_same
from tests.support.tiny import PAIRS, finish, numbers

pytestmark = pytest.mark.integration

# Sequences that end early, at the horizon and in the middle.
TASK = ToyTask(vocab_size=5, max_length=5, ends=True, num_train=70, num_valid=20, num_test=20)
SMALL: dict[str, Any] = {
    "generator.embedding": 8,
    "generator.hidden": 8,
    "generator.latent": 4,
    "generator.width": 8,
    "generator.blocks": 1,
    "discriminator.embedding": 4,
    "discriminator.hidden": 8,
    "discriminator.mlp_hidden": 8,
    "discriminator.width": 8,
    "discriminator.blocks": 1,
    "discriminator.windows": "1,2,3",
    "discriminator.filters": "4",
    "adversary.batch": 16,
    "adversary.sequences_per_round": 24,
    "credit.num_rollouts": 2,
    "schedule.mle_batch": 16,
    "schedule.g_batch": 16,
    "schedule.d_steps": 2,
    "schedule.d_epochs": 1,
    "evaluation.every": 1,
    "evaluation.num_sequences": 32,
    "workers.threads": 1,
    "workers.shard_sequences": 3,
    "workers.shard_fakes": 7,
    "workers.chunk_rows": 11,
}
AT_MOST = {"schedule.mle_epochs": 2, "schedule.discriminator_rounds": 1, "schedule.adversarial_updates": 2}


def small(name: str, **workers: Any) -> Config:
    """A preset at the size of a toy; what it has not is left out, and what is 0 stays 0."""
    config = preset(name, PAIRS if preset(name).task.gives_conditions else TASK)
    had = flatten(to_dict(config))
    changes = {path: value for path, value in SMALL.items() if had.get(path)}
    changes |= {path: min(most, had[path]) for path, most in AT_MOST.items()}
    changes |= {f"workers.{setting}": value for setting, value in workers.items()}
    if isinstance(config.schedule.teacher_forcing, MixedPrefix):
        changes["schedule.teacher_forcing.start"] = 2
    if config.shares_embeddings:
        changes["discriminator.embedding"] = changes["generator.embedding"]
    return from_dict(to_dict(override(config.model_copy(update={"controls": ()}), changes)))


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_and_learns(name: str) -> None:
    config = small(name)
    with trainer_of(config, build_task(config.task)) as trainer:
        before = trainer.current_weights()
        units = finish(trainer)
        moved = max(float(np.abs(array - before[key]).max()) for key, array in trainer.current_weights().items())
        start = trainer.mle_start
    assert moved > 0.0 and start is not None
    for unit in units:
        assert all(math.isfinite(value) for value in unit.metrics.values()), unit.metrics
    adversarial = [unit.metrics for unit in units if unit.phase == "adversarial"]
    assert len(adversarial) == config.schedule.adversarial_updates
    for metrics in adversarial:
        assert metrics["generator/grad_norm"] > 0.0 or "generator/teacher_forcing_nll" in metrics
        # A discriminator that learns from reals alone has learned before.
        assert ("discriminator/loss" in metrics) == (config.has_adversary and config.schedule.d_steps > 0)


@pytest.fixture(scope="module")
def hosts(ray_session: None) -> Iterator[Hosts]:
    hosts = Hosts()
    yield hosts
    hosts.close()


@pytest.mark.ray
@pytest.mark.parametrize("name", [name for name in PRESETS if preset(name).schedule.adversarial_updates])
def test_workers_change_no_number_of_any_preset(name: str, hosts: Hosts) -> None:
    # A12; that learners average to one gradient, whatever the weights, is asked in test_workers_ray.
    task = build_task(small(name).task)
    with trainer_of(small(name), task) as trainer:
        alone = [numbers(unit) for unit in finish(trainer)]
        state = trainer.state()
    shared = small(name, rollout=2, cpus_per_rollout=0.2, cpus_discriminator=0.2)
    with hosts.taking_in(), trainer_of(shared, task) as trainer:
        assert_same([numbers(unit) for unit in finish(trainer)], alone)
        assert_same(trainer.state(), state)
