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
from rlgan.sampling.records import Experience, Rollouts, stacked

from .advantage_scaling import NormalisationSettings, normalised
from .baselines import BaselineSettings, BaselineState, advantages
from .behaviour import Behaviour, OwnPolicy
from .best_sequences import BestSequences
from .credit import Credit, CreditSettings, Rewards, log_ratios
from .groups import equal_share
from .kl_penalty import Penalised, ReferenceSettings
from .loss_terms import LossNormaliser, policy_gradient_weights, share_of_batch
from .objectives import ObjectiveSettings
from .preferred_pairs import preferred_pairs
from .reward_base import Reward
from .rewards import RewardSettings
from .shuffled_verdicts import with_shuffled_verdicts


@dataclass(frozen=True, slots=True)
class Recipe:
    """A choice on every axis of the generator's side.

    Attributes:
        reward: of sequences, prefixes or tokens.
        credit: how that becomes the value of a token.
        reference: what straying from a reference costs.
        baseline: what is subtracted.
        normalisation: the scale of advantages.
        objective: the loss's form.
        group: sequences that are compared with each other; None compares all of a batch.
        is_log_odds: the discriminator's logits are log-odds, of which a probability can be told.
        shuffles_verdicts: the discriminator's logits are dealt out at random before anything reads them.
        behaviour: which policy drew the rollouts.
    """

    reward: RewardSettings
    credit: CreditSettings
    reference: ReferenceSettings
    baseline: BaselineSettings
    normalisation: NormalisationSettings
    objective: ObjectiveSettings
    group: int | None
    is_log_odds: bool = True
    shuffles_verdicts: bool = False
    behaviour: Behaviour = field(default_factory=OwnPolicy)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the generator's side remembers between generator updates.

    Attributes:
        baseline: of the baseline.
        moving_scale: mean magnitude of advantages, reward units.
        kl_factor: of the reference's weight, where it is adapted.
        best: sequences that are learned from again; None before the first update, and where none are.
    """

    baseline: BaselineState = field(default_factory=BaselineState)
    moving_scale: float = 0.0
    kl_factor: float = 1.0
    best: BestSequences | None = None


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
    reward: Reward,
    credit: Credit,
    task: Task,
    rng: torch.Generator,
    state_values: Tensor | None = None,
    group: int | None = None,
) -> Tensor:
    """Value of every token.

    Args:
        rollouts: the whole batch.
        reward: of sequences, prefixes or tokens.
        credit: credit assignment.
        task: whose exact distribution or training sequences some rewards read.
        rng: of rewards that are random.
        state_values: (B, T) float32 of the critic; read only where the credit reads them.
        group: sequences that are compared with each other; None compares all.

    Returns:
        (B, T) float32, 0 where the mask is False, NaN at tokens that nothing rewards.

    Raises:
        ShapeError: the rollouts lack what reward or credit read.
    """
    return credit.values(rewards_of(rollouts, reward, credit, task, rng, group), rollouts.mask, state_values)


def rewards_of(
    rollouts: Rollouts, reward: Reward, credit: Credit, task: Task, rng: torch.Generator, group: int | None = None
) -> Rewards:
    """Rewards of tokens or prefixes, where the reward is of tokens or the discriminator judges such; else of sequences.

    Args:
        rollouts: the whole batch.
        reward: which.
        credit: whether continuations are rewarded, too.
        task: whose exact distribution or training sequences some rewards read.
        rng: of rewards that are random.
        group: sequences that are compared with each other; None compares all.

    Raises:
        ShapeError: the rollouts lack what the reward reads.
    """
    if reward.level == "token" or (reward.is_elementwise and rollouts.token_logits is not None):
        return Rewards(tokens=reward.of_tokens(rollouts, task, group))
    return Rewards(
        sequences=reward.of_sequences(rollouts, task, rng, group),
        continuations=reward.of_continuations(rollouts) if credit.num_continuations else None,
    )


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
        task: whose exact distribution or training sequences some rewards read.
        rng: of rewards that are random, of verdicts that are shuffled, and of what is replayed.
        state_values: (B, T) float32 of the critic, where there is one.

    Returns:
        Experience, values, memory for the next batch, metrics.
    """
    if recipe.shuffles_verdicts:
        rollouts = with_shuffled_verdicts(rollouts, recipe.group, rng)
    mask = rollouts.mask
    values = token_values(rollouts, recipe.reward, recipe.credit, task, rng, state_values, recipe.group)
    is_worth = mask & ~values.isnan()
    metrics = {
        "generator/mean_value": float(values[is_worth].mean()) if bool(is_worth.any()) else 0.0,
        "generator/mean_length": float(mask.sum(1).float().mean()),
    }
    if (recipe.group or len(values)) > 1:
        metrics["reward/equal_share"] = equal_share(values, mask, recipe.group)
    drawn = mask & (torch.arange(mask.shape[1]) >= rollouts.prefix_length)
    judged = rollouts.real_logits
    if judged is None and rollouts.token_logits is not None:
        judged = rollouts.token_logits[mask]
    if judged is not None and recipe.is_log_odds:
        metrics["generator/mean_prob_real"] = float(torch.sigmoid(judged).mean())
    if rollouts.scores is not None:
        scores = rollouts.scores[~rollouts.scores.isnan()]
        metrics["generator/mean_score"] = float(scores.mean()) if len(scores) else 0.0
    metrics |= recipe.reward.described(rollouts)
    targets = _targets(recipe, values, rollouts, drawn) if recipe.objective.has_targets else None
    near = _near_the_reference(recipe, values, rollouts, drawn, memory)
    values, metrics = near.values, metrics | near.metrics
    ratios = None
    if "log_ratios" in recipe.baseline.needs:
        assert rollouts.real_logits is not None
        searched = rollouts.continuation_logits if recipe.credit.num_continuations else None
        ratios = log_ratios(rollouts.real_logits, searched, mask)
    learns = drawn & is_worth
    formed = advantages(recipe.baseline, values, learns, memory.baseline, recipe.group, ratios, state_values)
    scaled, moving_scale = normalised(
        recipe.normalisation,
        formed.advantages,
        values,
        learns,
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
    if rollouts.goal_rewards is not None and bool(drawn.any()):
        metrics["generator/goal_reward"] = float(rollouts.goal_rewards[drawn].mean())
    counts = None
    if rollouts.behaviour_weights is not None:
        counts, seen = recipe.behaviour.clipped(rollouts.behaviour_weights)
        metrics |= seen
    if recipe.objective.pairs_groups:
        experience, of_pairs = _preferred(recipe, rollouts, values[:, 0])
        metrics |= of_pairs
    else:
        experience = _experience(recipe, rollouts, scaled, drawn, counts)
    best = memory.best
    if targets is not None:
        experience, best, of_targets = _with_replayed(recipe, experience, targets, memory.best, rng, counts)
        metrics |= of_targets
    return Learnable(
        experience=experience,
        # Of what nothing rewards a critic expects what it did before.
        values=torch.where(values.isnan(), torch.zeros_like(values) if state_values is None else state_values, values),
        memory=Memory(formed.state, moving_scale, near.factor, best),
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
    if real.goal_weights is not None:
        alone = replace(alone, goal_weights=policy_gradient_weights(real.goal_weights, mask, normaliser))
    if real.latent_kl_weights is not None:
        # What the KL of a sequence weighs is over the same norm as its tokens.
        kl_weights = real.latent_kl_weights.unsqueeze(1).expand_as(real.weights)
        alone = replace(alone, latent_kl_weights=policy_gradient_weights(kl_weights, mask, normaliser)[:, 0])
    if sampled is None:
        return [alone if normaliser == "sum" else alone.times(len(mask) / batch)]
    masks = sequence_mask(space, sampled.tokens), mask
    whole = torch.cat(masks)
    return [
        part.times(share_of_batch(own, whole, normaliser)) for part, own in zip((sampled, alone), masks, strict=True)
    ]


def contrasted(rollouts: Rollouts, reals: Tensor, space: SequenceSpace) -> Experience:
    """Generated sequences as rivals of real ones under the same conditions, each pair with the same weight.

    Args:
        rollouts: the whole batch, with log-probabilities of its targets.
        reals: (B, T) int64 those targets.
        space: theirs.
    """
    assert rollouts.target_logprobs is not None
    batch = len(reals)
    return Experience(
        tokens=reals,
        weights=torch.zeros(reals.shape),
        old_logprobs=rollouts.target_logprobs,
        conditions=rollouts.conditions,
        pair_weights=torch.full((batch,), 1.0 / batch),
        pair_mask=sequence_mask(space, reals).float(),
        rivals=rollouts.tokens,
        rival_mask=rollouts.mask.float(),
        rival_old_logprobs=rollouts.logprobs,
    )


def _preferred(recipe: Recipe, rollouts: Rollouts, rewards: Tensor) -> tuple[Experience, dict[str, float]]:
    """Pairs by their rewards (B,), with the same weight each; metrics. Of a group without a pair a row of weight 0."""
    pairs = preferred_pairs(rewards, recipe.group, recipe.objective.num_rows(len(rewards), recipe.group))
    chosen, rejected, are_there = pairs.chosen, pairs.rejected, pairs.are_there
    number = int(are_there.sum())
    metrics = {"generator/num_pairs": float(number)}
    if number:
        metrics["generator/pair_margin"] = float(pairs.margins[are_there].mean())
    logprobs = rollouts.logprobs.masked_fill(~rollouts.mask, 0.0)
    experience = Experience(
        tokens=rollouts.tokens[chosen],
        weights=torch.zeros(logprobs[chosen].shape),
        old_logprobs=logprobs[chosen],
        conditions=None if rollouts.conditions is None else rollouts.conditions[chosen],
        pair_weights=are_there.float() / max(1, number),
        pair_mask=rollouts.mask[chosen].float(),
        rivals=rollouts.tokens[rejected],
        rival_mask=rollouts.mask[rejected].float(),
        rival_old_logprobs=logprobs[rejected],
    )
    return experience, metrics


def _near_the_reference(recipe: Recipe, values: Tensor, rollouts: Rollouts, drawn: Tensor, memory: Memory) -> Penalised:
    """Values less what straying costs, and the next factor of its weight."""
    if recipe.reference.place == "none":
        return Penalised(values, memory.kl_factor)
    assert rollouts.reference_logprobs is not None
    log_ratio_to_reference = (rollouts.logprobs - rollouts.reference_logprobs).masked_fill(~drawn, 0.0)
    of_sequences = log_ratio_to_reference.sum(1)
    if rollouts.behaviour_weights is not None:  # sequences of another policy, weighted for the mean under this one
        of_sequences = of_sequences * rollouts.behaviour_weights
    kl = float(of_sequences.mean())
    near = recipe.reference.on_values(
        values, log_ratio_to_reference, rollouts.mask, recipe.credit, kl, memory.kl_factor
    )
    return replace(near, metrics={"generator/kl_reference": kl, **near.metrics})


def _targets(recipe: Recipe, values: Tensor, rollouts: Rollouts, drawn: Tensor) -> BestSequences:
    """The drawn sequences with targets of their log-probabilities, log p_reference + S/β; a score NaN where none is."""
    assert rollouts.reference_logprobs is not None
    scores = values[:, 0]
    known = rollouts.reference_logprobs.masked_fill(~drawn, 0.0).sum(1)
    return BestSequences(rollouts.tokens, drawn, scores, known + scores / recipe.reference.log_ratio_weight)


def _with_replayed(
    recipe: Recipe,
    experience: Experience,
    targets: BestSequences,
    best: BestSequences | None,
    rng: torch.Generator,
    counts: Tensor | None,
) -> tuple[Experience, BestSequences | None, dict[str, float]]:
    """Rows that learn their targets, remembered ones behind those that were drawn; what is remembered; metrics.

    Each drawn one counts as `counts` (B,) says; None counts all once.
    """
    objective = recipe.objective
    is_there = ~targets.scores.isnan()
    replayed = None if best is None else best.some(objective.num_replayed, rng)
    number = int(is_there.sum()) + (0 if replayed is None else len(replayed.scores))
    metrics: dict[str, float] = {}
    terms = objective.squares(targets, max(1, number))
    terms["square_weights"] = terms["square_weights"] * is_there * (1.0 if counts is None else counts)
    terms["square_targets"] = terms["square_targets"].masked_fill(~is_there, 0.0)
    rows = [replace(experience, weights=torch.zeros_like(experience.weights), **terms)]
    if replayed is not None and len(replayed.scores):
        again = Experience(replayed.tokens, torch.zeros(replayed.tokens.shape), **objective.squares(replayed, number))
        rows.append(again)
        metrics["generator/replay_score"] = float(replayed.scores.mean())
    if objective.num_remembered:
        there = targets.rows(is_there)
        best = (there.rows(torch.zeros(0, dtype=torch.int64)) if best is None else best).with_those_of(
            there, objective.num_remembered
        )
    return stacked(rows), best, metrics


def _experience(recipe: Recipe, rollouts: Rollouts, scaled: Tensor, drawn: Tensor, counts: Tensor | None) -> Experience:
    """The terms of the loss, with their weights; tokens that were given are learned by likelihood (MLE-Mali, 4.2).

    Each term of what was drawn counts as its sequence does, (B,); None counts all once.
    """
    mask, objective = rollouts.mask, recipe.objective

    def weighted(amounts: Tensor) -> Tensor:
        if counts is not None:
            amounts = amounts * torch.where(drawn, counts.unsqueeze(1), 1.0)
        return policy_gradient_weights(amounts, mask, objective.loss_normaliser)

    old_logprobs = rollouts.logprobs.masked_fill(~drawn, 0.0)
    if objective.teaches_goals:
        assert rollouts.goal_rewards is not None
        taught = objective.terms_of_goals(weighted(scaled), weighted(rollouts.goal_rewards.masked_fill(~drawn, 0.0)))
    else:
        taught = objective.terms(weighted(scaled), old_logprobs)
    terms = {"old_logprobs": old_logprobs, **taught}
    near = recipe.reference.on_loss(drawn)
    if near is not None:
        assert rollouts.reference_logprobs is not None
        name = "ratio_kl_weights" if recipe.reference.weighs_by_ratio else "kl_weights"
        terms |= {name: weighted(near), "reference_logprobs": rollouts.reference_logprobs}
    if objective.entropy_bonus:
        terms["entropy_weights"] = weighted(objective.entropy_bonus * drawn.float())
    if rollouts.prefix_length:
        terms["weights"] = terms["weights"] + weighted((mask & ~drawn).float())
    return Experience(tokens=rollouts.tokens, conditions=rollouts.conditions, latents=rollouts.latents, **terms)
