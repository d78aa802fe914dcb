"""What tests of workers share: a small run, a small pool of rollouts, equality to the bit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgan.adversary.settings import AdversarySettings
from rlgan.base.weights import weights_of
from rlgan.config.config import Config, Workers
from rlgan.discriminators import build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask
from rlgan.generators import LSTM, build_generator
from rlgan.policy.credit import MonteCarlo
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling.records import Rollouts
from rlgan.training.parts import RolloutPool
from rlgan.workers.faults import Faults
from rlgan.workers.placement import Role, Room
from rlgan.workers.processes import ProcessInfo
from rlgan.workers.rollout import RayRollouts
from tests.support.tiny import tiny_config

SPACE = SequenceSpace(6, 5, end_id=2)
GENERATOR = LSTM(embedding=4, hidden=4, init_std=1.0)
JUDGE = tiny_config().discriminator
PLAN = RolloutPlan(space=SPACE, credit=MonteCarlo(num_rollouts=2), chunk_rows=7)
SHARDS = [
    Shard(1 + 5 * (seed % 3), seed, generator_version=1, rollout_version=1, discriminator_version=1)
    for seed in range(9)
]


def config_of(rollout_workers: int, learners: int = 0) -> Config:
    """SeqGAN in small, on sequences of differing lengths, 8 of which are split over shards of 3, 3 and 2."""
    return tiny_config(
        {"adversarial_updates": 2, "g_steps": 2},
        task=ToyTask(vocab_size=5, max_length=5, ends=True, num_train=70, num_valid=20, num_test=20),
        credit=MonteCarlo(num_rollouts=2, policy_ema=0.5),
        adversary=AdversarySettings(batch=16, sequences_per_round=24, buffer=40),
        workers=Workers(
            rollout=rollout_workers,
            learners=learners,
            threads=1,
            shard_sequences=3,
            shard_fakes=7,
            chunk_rows=11,
            cpus_per_rollout=0.2,
            cpus_discriminator=0.2,
        ),
    )


def ray_pool(faults: Faults, num_workers: int) -> RayRollouts:
    """Rollout actors that reserve nothing, for other tests need the CPUs."""
    role = Role("rollout worker", num_workers, cpus=0.0, gpus=0.0)
    pool = RayRollouts(faults, Room(faults.call_timeout_s), role, PLAN, GENERATOR, JUDGE)
    all_there(pool, num_workers)
    return pool


def all_there(pool: RolloutPool, num_workers: int, seconds: float = 120.0) -> list[ProcessInfo]:
    """The rollout workers, once the last of them has found its place: work begins with the first."""
    assert isinstance(pool, RayRollouts)
    end = time.monotonic() + seconds
    while len(pool.processes()) < num_workers:
        assert time.monotonic() < end, f"only {pool.processes()} are there"
        pool._next_answers(at_most_s=1.0)
    return pool.processes()


def learner_role(number: int) -> Role:
    """So many learner actors; 0 learn in this process."""
    return Role("learner", number, cpus=1.0, gpus=0.0)


def assert_same(one: object, other: object, path: str = "") -> None:
    """Bit for bit."""
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), path
        for key, value in one.items():
            assert_same(value, other[key], f"{path}/{key}")
    elif isinstance(one, Tensor | np.ndarray):
        assert np.array_equal(np.asarray(one), np.asarray(other)), path
    else:
        assert one == other, path


def collected(pool: Any, seed: int = 0, version: int = 1) -> list[Rollouts]:
    """All shards by the networks of a seed."""
    torch.manual_seed(seed)
    generator = pool.publish(weights_of(build_generator(GENERATOR, SPACE), version))
    judge = pool.publish(weights_of(build_discriminator(JUDGE, SPACE), version))
    return pool.collect(SHARDS, generator, generator, judge)


def assert_same_rollouts(one: list[Rollouts], other: list[Rollouts]) -> None:
    assert len(one) == len(other)
    for found, expected in zip(one, other, strict=True):
        for name in ("tokens", "logprobs", "mask", "real_logits", "continuation_logits"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
