"""Rollouts to experience: reward, credit, reference, baseline, normalisation, objective, in this order.

This is where the axes of the generator's side meet, and it runs on the driver: statistics of the batch must see all of
it. The learner that executes the result never asks which algorithm it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import Task
from rlgan.envs.transition import sequence_mask
from rlgan.sampling.records import Experience, Rollouts

from .advantage_scaling import NormalisationSettings, normalised
from .baselines import BaselineSettings, BaselineState, ImportanceWeights, advantages
from .credit import (
    CreditSettings,
    LambdaReturn,
    MonteCarlo,
    Prefix,
    RewardToGo,
    Terminal,
    at_the_end,
    lambda_returns,
    log_ratios,
    monte_carlo_values,
    rewards_to_go,
    terminal_values,
)
from .kl_penalty import LossPenalty, NoReference, ReferenceSettings, adapted, penalised
from .objectives import PPO, LossNormaliser, Reinforce, policy_gradient_weights, share_of_batch
from .rewards import (
    DiscriminatorReward,
    FinishedReward,
    LogRatio,
    RewardSettings,
    TokenReward,
    discriminator_reward,
    finished_rewards,
    log_ratio,
    sequence_rewards,
    token_rewards,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A choice on every axis of the generator's side.

    Attributes:
        reward: what sequences, prefixes or tokens are paid.
        credit: how that becomes the value of a token.
        reference: what straying from a reference costs.
        baseline: what is subtracted.
        normalisation: the scale of advantages.
        objective: the loss's form.
        group: sequences that are compared with each other; None compares all of a batch.
        is_log_odds: the discriminator's logits are log-odds, of which a probability can be told.
    """

    reward: RewardSettings
    credit: CreditSettings
    reference: ReferenceSettings
    baseline: BaselineSettings
    normalisation: NormalisationSettings
    objective: Reinforce | PPO
    group: int | None
    is_log_odds: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """What the generator's side remembers between generator updates.

    Attributes:
        baseline: of the baseline.
        moving_scale: mean magnitude of advantages, reward units.
        kl_factor: of the reference's weight, where it is adapted.
    """

    baseline: BaselineState = field(default_factory=BaselineState)
    moving_scale: float = 0.0
    kl_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Learnable:
    """A batch ready for the learner.

    Attributes:
        experience: tokens and weights.
        values: (B, T) float32, what each token was worth before the baseline.
        memory: for the next batch.
        metrics: what the batch looked like.
    """

    experience: Experience
    values: Tensor
    memory: Memory
    metrics: dict[str, float]


def token_values(
    rollouts: Rollouts,
    reward: RewardSettings,
    credit: CreditSettings,
    task: Task,
    rng: torch.Generator,
    state_values: Tensor | None = None,
) -> Tensor:
    """Value of every token.

    Args:
        rollouts: the whole batch.
        reward: reward map.
        credit: credit assignment.
        task: whose exact law or training sequences some rewards read.
        rng: of rewards that are random.
        state_values: (B, T) float32 of the critic; read only by `LambdaReturn`.

    Returns:
        (B, T) float32, 0 where the mask is False.
    """
    mask = rollouts.mask
    paid = _paid_tokens(rollouts, reward, task)
    if paid is not None and isinstance(credit, Prefix):
        return paid
    if paid is not None and isinstance(credit, RewardToGo):
        return rewards_to_go(paid, mask, credit.gamma)
    if paid is None:
        assert not isinstance(reward, TokenReward | LogRatio)
        final = sequence_rewards(reward, rollouts.tokens, rollouts.real_logits, task, rng, rollouts.scores)
    if isinstance(credit, LambdaReturn):
        assert state_values is not None
        paid = at_the_end(final, mask) if paid is None else paid
        return lambda_returns(paid, state_values, mask, credit.gamma, credit.decay)
    if isinstance(credit, MonteCarlo):
        assert isinstance(reward, FinishedReward)
        continued = finished_rewards(reward, rollouts.continuation_logits, rollouts.continuation_scores)
        return monte_carlo_values(continued, final, mask)
    return terminal_values(final, mask)


def _paid_tokens(rollouts: Rollouts, reward: RewardSettings, task: Task) -> Tensor | None:
    """(B, T) rewards of tokens or prefixes; None where sequences are paid."""
    if isinstance(reward, TokenReward):
        oracle = task.oracle_of(rollouts.conditions)
        assert oracle is not None
        return token_rewards(reward, oracle, rollouts.tokens, rollouts.logprobs, rollouts.mask)
    if isinstance(reward, LogRatio):
        assert rollouts.token_logits is not None
        return log_ratio(rollouts.token_logits, rollouts.logprobs, rollouts.mask)
    if not isinstance(reward, DiscriminatorReward) or rollouts.token_logits is None:
        return None
    return discriminator_reward(reward, rollouts.token_logits).masked_fill(~rollouts.mask, 0.0)


def learnable(
    rollouts: Rollouts,
    recipe: Recipe,
    memory: Memory,
    task: Task,
    rng: torch.Generator,
    state_values: Tensor | None = None,
) -> Learnable:
    """A whole batch of rollouts as experience for the learner.

    Args:
        rollouts: all shards together.
        recipe: the axes' settings.
        memory: of the batch before.
        task: whose exact law or training sequences some rewards read.
        rng: of rewards that are random.
        state_values: (B, T) float32 of the critic, where there is one.

    Returns:
        Experience, values, memory for the next batch, metrics.
    """
    mask = rollouts.mask
    values = token_values(rollouts, recipe.reward, recipe.credit, task, rng, state_values)
    metrics = {
        "generator/mean_value": float(values[mask].mean()),
        "generator/mean_length": float(mask.sum(1).float().mean()),
    }
    drawn = mask & (torch.arange(mask.shape[1]) >= rollouts.num_given)
    judged = rollouts.real_logits
    if judged is None and rollouts.token_logits is not None:
        judged = rollouts.token_logits[mask]
    if judged is not None and recipe.is_log_odds:
        metrics["generator/mean_prob_real"] = float(torch.sigmoid(judged).mean())
    if rollouts.scores is not None:
        metrics["generator/mean_score"] = float(rollouts.scores.mean())
    values, kl_factor = _near_the_reference(recipe, values, rollouts, drawn, memory, metrics)
    ratios = None
    if isinstance(recipe.baseline, ImportanceWeights):
        assert rollouts.real_logits is not None
        searched = rollouts.continuation_logits if isinstance(recipe.credit, MonteCarlo) else None
        ratios = log_ratios(rollouts.real_logits, searched, mask)
    formed = advantages(recipe.baseline, values, drawn, memory.baseline, recipe.group, ratios, state_values)
    scaled, moving_scale = normalised(
        recipe.normalisation,
        formed.advantages,
        values,
        drawn,
        memory.moving_scale,
        memory.baseline.num_updates,
        recipe.group,
    )
    metrics |= formed.metrics
    if bool(drawn.any()):  # else all sequences ended within what was given
        metrics |= {
            "generator/entropy": -float(rollouts.logprobs[drawn].mean()),
            "generator/advantage_mean": float(scaled[drawn].mean()),
            "generator/advantage_std": float(scaled[drawn].std(correction=0)),
        }
    return Learnable(
        experience=_experience(recipe, rollouts, scaled, drawn),
        values=values,
        memory=Memory(formed.state, moving_scale, kl_factor),
        metrics=metrics,
    )


def by_example(
    sampled: Experience | None, real: Experience, batch: int, space: SequenceSpace, normaliser: LossNormaliser
) -> list[Experience]:
    """Generated and real sequences as one batch, in which a real one is learned as a generated one with advantage 1.

        loss = Σ_sampled weights · (- log p) / norm  +  Σ_real w · (- log p) / norm,   norm that of all B sequences

    Source: Wu et al. 2017, where norm is B.

    Args:
        sampled: the generated ones, with weights that are over the norm of them alone; None where none are learned
            from, and the norm is then that of B sequences with as many tokens as these real ones have on average.
        real: the others; their weights w are what each token counts, 1 where all count alike.
        batch: B, all of them.
        space: theirs.
        normaliser: what norm is; see `policy_gradient_weights`.

    Returns:
        Those there are, generated before real.
    """
    mask = sequence_mask(space, real.tokens)
    alone = replace(real, weights=policy_gradient_weights(real.weights, mask, normaliser))
    if sampled is None:
        return [alone if normaliser == "sum" else alone.times(len(mask) / batch)]
    masks = sequence_mask(space, sampled.tokens), mask
    whole = torch.cat(masks)
    return [
        part.times(share_of_batch(own, whole, normaliser)) for part, own in zip((sampled, alone), masks, strict=True)
    ]


def _near_the_reference(
    recipe: Recipe, values: Tensor, rollouts: Rollouts, drawn: Tensor, memory: Memory, metrics: dict[str, float]
) -> tuple[Tensor, float]:
    """Values less what straying costs, and the next factor of its weight."""
    reference = recipe.reference
    if isinstance(reference, NoReference):
        return values, memory.kl_factor
    assert rollouts.reference_logprobs is not None
    strayed = (rollouts.logprobs - rollouts.reference_logprobs).masked_fill(~drawn, 0.0)
    kl = float(strayed.sum(1).mean())
    metrics["generator/kl_reference"] = kl
    if isinstance(reference, LossPenalty):
        return values, memory.kl_factor
    weight = reference.weight * memory.kl_factor
    metrics["generator/kl_weight"] = weight
    credit, gamma = recipe.credit, 1.0
    if isinstance(credit, RewardToGo):
        gamma = credit.gamma
    elif isinstance(credit, LambdaReturn):
        # λ-returns are linear in the rewards: what a token pays is seen by those before it through γλ.
        gamma = credit.gamma * credit.decay
    values = penalised(values, strayed, rollouts.mask, weight, isinstance(credit, Terminal), gamma)
    return values, adapted(memory.kl_factor, kl, reference.target)


def _experience(recipe: Recipe, rollouts: Rollouts, scaled: Tensor, drawn: Tensor) -> Experience:
    """The terms of the loss, with their weights; tokens that were given are learned by likelihood (MLE-Mali, 4.2)."""
    mask, objective, reference = rollouts.mask, recipe.objective, recipe.reference

    def weighed(amounts: Tensor) -> Tensor:
        return policy_gradient_weights(amounts, mask, objective.loss_normaliser)

    experience = Experience(tokens=rollouts.tokens, weights=weighed(scaled), conditions=rollouts.conditions)
    if isinstance(objective, PPO):
        experience = replace(
            experience,
            weights=torch.zeros_like(experience.weights),
            clipped_weights=experience.weights,
            old_logprobs=rollouts.logprobs,
        )
    if isinstance(reference, LossPenalty):
        experience = replace(
            experience,
            kl_weights=weighed(reference.weight * drawn.float()),
            reference_logprobs=rollouts.reference_logprobs,
        )
    if objective.entropy_bonus:
        experience = replace(experience, entropy_weights=weighed(objective.entropy_bonus * drawn.float()))
    if rollouts.num_given:
        experience = replace(experience, weights=experience.weights + weighed((mask & ~drawn).float()))
    return experience
