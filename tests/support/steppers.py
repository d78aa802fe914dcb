"""Rollouts from steppers, wrapped as workers wrap them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlgan.generators import Generator, Stepper
from rlgan.rollouts import collecting
from rlgan.rollouts.collecting import RolloutPlan, Search, Shard
from rlgan.sampling.records import Rollouts
from rlgan.sampling.sampler import StepperSampler


def collect(plan: RolloutPlan, shard: Shard, policy: Stepper, rollout_policy: Stepper | None, *rest: Any) -> Rollouts:
    continuing = None if rollout_policy is None else _sampler(plan, rollout_policy)
    rest = tuple(one.conditional if isinstance(one, Generator) else one for one in rest)
    return collecting.collect(plan, shard, _sampler(plan, policy), continuing, *rest)


def monte_carlo_search(plan: RolloutPlan, tokens: Tensor, rollout_policy: Stepper, *rest: Any) -> Search:
    return collecting.monte_carlo_search(plan, tokens, _sampler(plan, rollout_policy), *rest)


def _sampler(plan: RolloutPlan, stepper: Stepper) -> StepperSampler:
    return StepperSampler(stepper, plan.space, plan.chunk_rows, plan.writer)
