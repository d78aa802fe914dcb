"""Rollouts to experience: reward map, credit, baseline, normaliser, in this order, on the whole batch.

This is where the four axes of the generator's side meet, and it runs on the driver: statistics of the batch must see
all of it. The learner that executes the result never asks which algorithm it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.envs.tasks.task import Oracle

from .baselines import (
    BaselineSettings,
    BaselineState,
    ImportanceWeights,
    advantages,
    effective_sample_size,
    importance_weights,
)
from .credit import CreditSettings, MonteCarlo, RewardToGo, monte_carlo_values, rewards_to_go, terminal_values
from .objectives import Reinforce, policy_gradient_weights
from .records import Experience, Rollouts
from .rewards import OracleRatio, RewardSettings, oracle_ratio, sequence_rewards


@dataclass(frozen=True, slots=True)
class Learnable:
    """A batch ready for the learner.

    Attributes:
        experience: tokens and weights.
        baseline_state: for the next batch.
        metrics: what the batch looked like.
    """

    experience: Experience
    baseline_state: BaselineState
    metrics: dict[str, float]


def token_values(
    rollouts: Rollouts, reward: RewardSettings, credit: CreditSettings, oracle: Oracle | None, rng: torch.Generator
) -> Tensor:
    """Value of every token.

    Args:
        rollouts: the whole batch.
        reward: reward map.
        credit: credit assignment.
        oracle: the exact law; read only by `OracleRatio`.
        rng: read only by `RandomReward`.

    Returns:
        (B, T) float32, 0 where the mask is False.
    """
    if isinstance(reward, OracleRatio):
        assert oracle is not None and isinstance(credit, RewardToGo)
        per_token = oracle_ratio(oracle.logprobs(rollouts.tokens), rollouts.logprobs, rollouts.mask)
        return rewards_to_go(per_token, rollouts.mask, credit.gamma)
    final = sequence_rewards(reward, rollouts.real_logits, rollouts.tokens.shape[0], rng)
    if isinstance(credit, MonteCarlo):
        assert rollouts.continuation_rewards is not None
        return monte_carlo_values(rollouts.continuation_rewards, final, rollouts.mask)
    return terminal_values(final, rollouts.mask)


def learnable(
    rollouts: Rollouts,
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    objective: Reinforce,
    baseline_state: BaselineState,
    oracle: Oracle | None,
    rng: torch.Generator,
) -> Learnable:
    """A whole batch of rollouts as experience for the learner.

    Args:
        rollouts: all shards together.
        reward: reward map.
        credit: credit assignment.
        baseline: what is subtracted.
        objective: the loss's form.
        baseline_state: what the baseline remembers.
        oracle: the exact law, or None.
        rng: for rewards that are random.

    Returns:
        Experience, next baseline state, metrics.
    """
    mask = rollouts.mask
    values = token_values(rollouts, reward, credit, oracle, rng)
    formed = advantages(baseline, values, mask, baseline_state, rollouts.real_logits)
    weights = policy_gradient_weights(formed.advantages, mask, objective.loss_normaliser)
    metrics = {
        "generator/mean_value": float(values[mask].mean()),
        "generator/advantage_mean": float(formed.advantages[mask].mean()),
        "generator/advantage_std": float(formed.advantages[mask].std(correction=0)),
        "generator/entropy": -float(rollouts.logprobs[mask].mean()),
        "generator/mean_length": float(mask.sum(1).float().mean()),
    }
    if rollouts.real_logits is not None:
        metrics["generator/mean_prob_real"] = float(torch.sigmoid(rollouts.real_logits).mean())
    if isinstance(baseline, ImportanceWeights) and rollouts.real_logits is not None:
        metrics["generator/effective_sample_size"] = effective_sample_size(importance_weights(rollouts.real_logits))
    return Learnable(
        experience=Experience(tokens=rollouts.tokens, weights=weights), baseline_state=formed.state, metrics=metrics
    )
