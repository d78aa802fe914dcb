"""Rewards beside a pair's own target, in whole runs: what travels, and that a mix is the sum of its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlgan.base.weights import weights_of
from rlgan.config.config import Config
from rlgan.envs.tasks import Task, build_task
from rlgan.generators import build_generator
from rlgan.metrics import reference_bleu
from rlgan.policy.baselines import ConstantBaseline, LeaveOneOut
from rlgan.policy.logit_maps import Probability
from rlgan.policy.metric_rewards import Mixed, ReferenceBleu
from rlgan.presets.registry import preset
from rlgan.rollouts.collecting import RolloutPlan, collect
from rlgan.rollouts.shards import Beginnings, cut_into_shards
from rlgan.sampling.records import Experience, concatenate
from rlgan.training.real_sequences import RealSequences
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.rollout import LocalRollouts, RolloutWorker
from tests.support.tiny import PAIRS, Recorder, finish, of_pairs

pytestmark = pytest.mark.integration

UNJUDGED: dict[str, Any] = {"discriminator_rounds": 0, "d_steps": 0}


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(PAIRS)


def recorded(config: Config, task: Task) -> Recorder:
    recorder = Recorder()
    with build_parts(config, task) as parts:
        finish(Trainer(config, task, recorder.around(parts)))
    return recorder


def begun(task: Task, group: int | None, **changes: Any) -> Beginnings:
    """What the rollouts of the first generator update begin with: 8 sequences in groups."""
    return RealSequences(of_pairs({"g_group": group}, **changes), task).rollouts(0, 0)


def first_update(config: Config, task: Task) -> Experience:
    """What the first generator update learns from."""
    return next(rows for phase, rows, _ in recorded(config, task).updates if phase == "adversarial")


def alone(reward: ReferenceBleu) -> Config:
    return of_pairs(UNJUDGED | {"adversarial_updates": 1}, reward=reward, discriminator=None)


@pytest.mark.parametrize("weight", [1e-6, 0.7, 1.0 - 1e-6])
def test_a_mix_learns_from_its_parts_by_their_weights(weight: float, task: Task) -> None:
    # R = λ·(D - b) + (1 - λ)·BLEU by a constant baseline λ·b; near its ends SeqGAN with a constant baseline,
    # and policy gradient on BLEU by Monte Carlo search.
    bias, schedule = 0.6, {"adversarial_updates": 1}
    judged = first_update(of_pairs(schedule, reward=Probability(), baseline=ConstantBaseline(value=bias)), task)
    bleu = first_update(alone(ReferenceBleu()), task)
    constant = ConstantBaseline(value=weight * bias)
    mixed = first_update(of_pairs(schedule, reward=Mixed(weight=weight), baseline=constant), task)
    assert torch.equal(mixed.tokens, judged.tokens) and torch.equal(mixed.tokens, bleu.tokens)
    torch.testing.assert_close(mixed.weights, weight * judged.weights + (1 - weight) * bleu.weights, atol=1e-6, rtol=0)
    assert not torch.allclose(judged.weights, bleu.weights, atol=0.1)


def test_the_preset_is_that_of_the_paper() -> None:
    # R = .7·(D - .6) + .3·BLEU.
    config = preset("br_csgan")
    assert isinstance(config.reward, Mixed) and config.reward.weight == 0.7
    assert isinstance(config.baseline, ConstantBaseline) and config.baseline.value == pytest.approx(0.42)


def test_targets_are_those_of_the_conditions_and_go_where_they_are_read(task: Task) -> None:
    assert task.conditions is not None
    known = {tuple(row) for row in torch.cat([task.conditions.train, task.train], 1).tolist()}
    configs = {True: of_pairs(reward=Mixed()), False: of_pairs()}
    for compares, config in configs.items():
        searches = [shard for shards, *_ in recorded(config, task).searches for shard in shards]
        of_updates = [shard for shard in searches if shard.rollout_version is not None]
        assert len(of_updates) == 2 * 3 and len(searches) > len(of_updates)
        assert all(shard.targets is None for shard in searches if shard.rollout_version is None)  # fakes
        assert all((shard.targets is not None) == compares for shard in of_updates)
        if compares:
            rows = torch.cat([torch.cat([shard.conditions, shard.targets], 1) for shard in of_updates])
            assert len(rows) == 2 * 8 and {tuple(row) for row in rows.tolist()} <= known


@pytest.mark.parametrize("shard_size", [1, 3, 8])
def test_workers_score_as_one_would_whatever_the_shards(shard_size: int, task: Task) -> None:
    config = of_pairs(reward=Mixed())
    plan = RolloutPlan(task.space, config.credit, 11, ReferenceBleu().scorer(task))
    torch.manual_seed(0)
    weights = weights_of(build_generator(config.generator, task.space), 1)
    beginnings = begun(task, None, reward=Mixed())
    versions = {"generator_version": 1, "rollout_version": 1, "discriminator_version": None}
    shards = cut_into_shards(8, shard_size, 0, ("rollouts", 0), beginnings, is_rewarded=True, **versions)
    pool = LocalRollouts(RolloutWorker(plan, config.generator, None))
    parts = pool.collect(shards, pool.publish(weights), pool.publish(weights))
    whole = concatenate(parts)
    assert beginnings.targets is not None
    assert torch.equal(whole.scores, reference_bleu(task.space, whole.tokens, beginnings.targets))
    assert whole.continuation_scores.shape == (8, 3, 2) and float(whole.continuation_scores.max()) > 0.0
    worker = RolloutWorker(plan, config.generator, None)
    sampler = worker._build_policy(weights).sampler
    for part, shard in zip(parts, shards, strict=True):
        here = collect(plan, shard, sampler, sampler, None)
        assert torch.equal(here.scores, part.scores)
        assert torch.equal(here.continuation_scores, part.continuation_scores)


def test_groups_are_compared_with_one_target(task: Task) -> None:
    targets = begun(task, 4, reward=Mixed(), baseline=LeaveOneOut()).targets
    assert targets is not None
    assert torch.equal(targets, targets[[0, 0, 0, 0, 4, 4, 4, 4]])
    assert begun(task, 4, baseline=LeaveOneOut()).targets is None
