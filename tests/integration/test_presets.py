"""Every preset in small: it runs, its numbers are finite, it learns, and workers change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from rlgan.config.config import Config
from rlgan.envs.tasks import Task, TaskSettings, build_task
from rlgan.presets.registry import PRESETS, preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.hosts import Hosts
from tests.support.on_ray import assert_same
from tests.support.small_presets import small
from tests.support.tiny import PAIRS, finish, numbers
from tests.support.usual import usually

pytestmark = pytest.mark.integration


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


WITH_ACTORS = (
    *("seqgan", "leakgan", "gumbel", "density_ratio", "vae_seqgan", "cgan_seq", "gad", "coldgans", "iqlearn"),
)
"""Usually run on actors: one of each way in which sequences are drawn, judged and learned from."""


@pytest.mark.parametrize("name", usually([name for name in PRESETS if name not in WITH_ACTORS][::2], list(PRESETS)))
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
@pytest.mark.parametrize(
    "name", usually(WITH_ACTORS, [name for name in PRESETS if preset(name).schedule.adversarial_updates])
)
def test_workers_change_no_number_of_any_preset(name: str, hosts: Hosts) -> None:
    check_workers_change_no_number(name, None, hosts)


@pytest.mark.ray
def test_workers_change_no_number_of_features_that_are_leaked_of_pairs(hosts: Hosts) -> None:
    check_workers_change_no_number("leakgan", PAIRS, hosts)


def check_workers_change_no_number(name: str, of: TaskSettings | None, hosts: Hosts) -> None:
    # That learners average to one gradient, whatever the weights, is asked in test_workers_ray.
    task = build_task(small(name, of).task)
    with trainer_of(small(name, of), task) as trainer:
        alone = [numbers(unit) for unit in finish(trainer)]
        state = trainer.state()
    shared = small(name, of, rollout=2, cpus_per_rollout=0.2, cpus_discriminator=0.2)
    with hosts.taking_in(), trainer_of(shared, task) as trainer:
        assert_same([numbers(unit) for unit in finish(trainer)], alone)
        assert_same(trainer.state(), state)
