"""On a real GPU: what it computes is what the CPU computes of the same sequences, and the same twice.

A GPU draws other random numbers, so sequences differ; their log-probabilities and scores may not.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import build_discriminator
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import build_generator
from rlgan.sampling.records import concatenate
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.rollout import LocalRollouts, RolloutWorker
from tests.support.on_ray import GENERATOR, JUDGE, PLAN, SPACE, assert_same, assert_same_rollouts, collected, config_of
from tests.support.tiny import finish, numbers

pytestmark = [pytest.mark.gpu, pytest.mark.integration]


def everything_on_the_gpu() -> Config:
    changes = {"workers.gpus_per_rollout": 1.0, "workers.gpus_discriminator": 1.0, "workers.gpus_per_learner": 1.0}
    return override(config_of(0), changes)


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(config_of(0).task)


def test_sequences_have_the_logprobs_and_scores_of_the_cpu() -> None:
    assert JUDGE is not None
    drawn = concatenate(collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE, gpus=1.0))))
    torch.manual_seed(0)  # the networks that `collected` makes
    generator, judge = build_generator(GENERATOR, SPACE).eval(), build_discriminator(JUDGE, SPACE)
    mask = sequence_mask(SPACE, drawn.tokens)
    assert torch.equal(mask, drawn.mask)
    with torch.no_grad():
        logprobs = generator.logprobs(drawn.tokens).masked_fill(~mask, 0.0)
        logits = judge.scorer()(drawn.tokens, mask)
    torch.testing.assert_close(drawn.logprobs, logprobs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn.real_logits, logits, atol=1e-4, rtol=1e-4)


def test_a_shard_is_the_same_twice() -> None:
    one, two = (collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE, gpus=1.0))) for _ in range(2))
    assert_same_rollouts(one, two)


def test_a_run_wholly_on_the_gpu_learns_its_start_as_on_the_cpu_and_is_the_same_twice(task: Task) -> None:
    def run(config: Config) -> tuple[list[dict[str, float]], dict[str, Any]]:
        with build_parts(config, task) as parts:
            trainer = Trainer(config, task, parts)
            return [numbers(unit) for unit in finish(trainer)], trainer.state()

    here, _ = run(config_of(0))
    there, state = run(everything_on_the_gpu())
    again, state_again = run(everything_on_the_gpu())
    # Maximum likelihood sees the same sequences on both; what is drawn differs.
    for name in ("mle/train_nll", "mle/grad_norm"):
        assert there[0][name] == pytest.approx(here[0][name], rel=1e-4)
    assert_same(again, there)
    assert_same(state_again, state)


@pytest.mark.ray
def test_actors_share_one_gpu_and_give_the_numbers_of_one_process(task: Task) -> None:
    import ray

    if ray.is_initialized():
        pytest.skip("another test's cluster was started without a GPU; run this file by itself")
    shared = override(
        config_of(2),
        {"workers.gpus_per_rollout": 0.25, "workers.gpus_discriminator": 0.25, "workers.gpus_per_learner": 0.25,
         "workers.learners": 1},
    )  # fmt: skip
    with build_parts(everything_on_the_gpu(), task) as parts:
        alone = [numbers(unit) for unit in finish(Trainer(everything_on_the_gpu(), task, parts))]
    with build_parts(shared, task) as parts:
        assert_same([numbers(unit) for unit in finish(Trainer(shared, task, parts))], alone)
