"""Frozen records that travel between the rooms; an arrow makes a new record and never edits one.

B sequences, T positions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Sequences of one generator version with what a discriminator version made of them.

    Attributes:
        tokens: (B, T) int64, padded after the terminator.
        logprobs: (B, T) float32 nats under the distribution that drew them, 0 after the terminator, and where no
            distribution drew the
            tokens: beside soft rows, and of sequences that beams found.
        mask: (B, T) bool, True up to and including the terminator.
        real_logits: (B,) float32 of the finished sequences, positive = real; None where no discriminator judges them.
        token_logits: (B, T) float32, [b, t] of the prefix tokens[b, :t+1] or of its last token, as the discriminator
            judges one or the other; 0 after the terminator. None where none does.
        continuation_logits: (B, T, N) float32, [b, t, n] of continuation n of tokens[b, :t+1]; entries at or after the
            last real token are 0 and not read. None without Monte Carlo search, or where no discriminator judges.
        reference_logprobs: (B, T) float32 nats under the reference generator, 0 after the terminator; None without one.
        generator_version: version of the weights that drew the sequences.
        discriminator_version: version of the weights that scored them, or None.
        prefix_length: first tokens of every sequence that were given and not drawn.
        num_drawn: tokens drawn for all of this, continuations included: what it cost.
        soft_rows: (B, T, V) float32, what the generator handed out in the place of tokens; None where it drew tokens.
        conditions: (B, S) int64 what each sequence was given, or None.
        scores: (B,) float32 of the finished sequences, by the reward's scorer; None without one.
        continuation_scores: (B, T, N) float32, likewise of continuations, laid out as their logits are.
        score_parts: (B, F) float32, what the scores are made of; None where there is nothing to report.
        logged: name → B values, what reward functions logged of each sequence; None where one logged nothing.
        target_logprobs: (B, T) float32 nats of the sequences' targets, under the generator that drew the sequences, 0
            after the terminator; None where nobody asks.
        target_logits: (B,) float32 of the same targets, by the discriminator; likewise.
        verdicts: (B,) int64, which of the sequence and a real one under the same condition a critic takes for real, as
            it wrote: 0 the real one, 1 the sequence, 2 a tie; None where no critic writes.
        features: (B, F) float32, what the discriminator's output layer reads of the sequences; None where no reward
            reads it.
        target_features: (B, F) float32, the same of real sequences; likewise.
        latents: (B, Z) float32 that the sequences were drawn given, as all log-probabilities of them are; None of a
            generator without latents.
        behaviour_weights: (B,) float32 importance weights π/π̂ of sequences that another policy π̂ drew, not clipped;
            `logprobs` are then those of π. None where the policy drew all.
        goal_rewards: (B, T) float32, how well each token followed the generator's own goals
            (`GoalDistribution.goal_rewards`), 0 after the terminator; None where nobody asks.
    """

    tokens: Tensor
    logprobs: Tensor
    mask: Tensor
    real_logits: Tensor | None
    token_logits: Tensor | None
    continuation_logits: Tensor | None
    reference_logprobs: Tensor | None
    generator_version: int
    discriminator_version: int | None
    prefix_length: int
    num_drawn: int
    soft_rows: Tensor | None = None
    conditions: Tensor | None = None
    scores: Tensor | None = None
    continuation_scores: Tensor | None = None
    score_parts: Tensor | None = None
    logged: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    target_logprobs: Tensor | None = None
    target_logits: Tensor | None = None
    verdicts: Tensor | None = None
    features: Tensor | None = None
    target_features: Tensor | None = None
    latents: Tensor | None = None
    behaviour_weights: Tensor | None = None
    goal_rewards: Tensor | None = None


def concatenate(shards: Sequence[Rollouts]) -> Rollouts:
    """One record of all shards, in order.

    Raises:
        ValueError: the shards stem from different weights, or were given different numbers of tokens.
    """
    versions = {(shard.generator_version, shard.discriminator_version, shard.prefix_length) for shard in shards}
    if len(versions) != 1:
        raise ValueError(
            "shards with different (generator version, discriminator version, given tokens): "
            f"{sorted(versions, key=str)}"
        )
    generator_version, discriminator_version, prefix_length = versions.pop()

    def joined(name: str) -> Tensor | None:
        parts = [getattr(shard, name) for shard in shards]
        return None if parts[0] is None else torch.cat(parts)

    tokens, logprobs, mask = joined("tokens"), joined("logprobs"), joined("mask")
    assert tokens is not None and logprobs is not None and mask is not None
    return Rollouts(
        tokens=tokens,
        logprobs=logprobs,
        mask=mask,
        real_logits=joined("real_logits"),
        token_logits=joined("token_logits"),
        continuation_logits=joined("continuation_logits"),
        reference_logprobs=joined("reference_logprobs"),
        generator_version=generator_version,
        discriminator_version=discriminator_version,
        prefix_length=prefix_length,
        num_drawn=sum(shard.num_drawn for shard in shards),
        soft_rows=joined("soft_rows"),
        conditions=joined("conditions"),
        scores=joined("scores"),
        continuation_scores=joined("continuation_scores"),
        score_parts=joined("score_parts"),
        logged=_joined_logs(shards),
        target_logprobs=joined("target_logprobs"),
        target_logits=joined("target_logits"),
        verdicts=joined("verdicts"),
        features=joined("features"),
        target_features=joined("target_features"),
        latents=joined("latents"),
        behaviour_weights=joined("behaviour_weights"),
        goal_rewards=joined("goal_rewards"),
    )


def _joined_logs(shards: Sequence[Rollouts]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for shard in shards for name in shard.logged)
    return {
        name: tuple(one for shard in shards for one in shard.logged.get(name, (None,) * len(shard.tokens)))
        for name in names
    }


@dataclass(frozen=True, slots=True)
class Experience:
    """What the learner executes: weights of the terms of its loss, for every token.

        L = - Σ weights · log p  -  Σ min(ρ · clipped_weights, clip(ρ) · clipped_weights)
            + Σ (kl_weights + ρ · ratio_kl_weights) · k3  -  Σ entropy_weights · H
            + Σ pair_weights · loss(u, u_rival)  +  Σ residual_weights · r²  +  Σ latent_kl_weights · KL(q‖prior)
            + Σ square_weights · (square_targets - Σ log p)²  -  Σ goal_weights · cosines

    with ρ = p / p_old, k3 = exp(d) - d - 1 of d = log p_reference - log p, and H the entropy of the next token
    (docs/algorithms.md §17). The learner never asks which algorithm chose the weights: a policy gradient, a
    maximum-likelihood batch and a mixture of both differ only here. Terms whose weights are None are not computed.

    Attributes:
        tokens: (B, T) int64.
        weights: (B, T) float32, 0 wherever nothing is to be learned; carries the normaliser of the loss, as all do.
        clipped_weights: (B, T) float32.
        old_logprobs: (B, T) float32 nats, of the policy that drew the tokens, as its sampler found them; 0 where none
            did.
        kl_weights: (B, T) float32, not negative.
        ratio_kl_weights: (B, T) float32, not negative.
        reference_logprobs: (B, T) float32 nats; beside these two.
        entropy_weights: (B, T) float32.
        row_weights: (B,) float32, what a row weighs that is drawn anew, relaxed, and judged by the discriminator: the
            loss has + Σ row_weights · generator's loss. Such a row has no tokens and no other weights.
        row_seeds: (B,) int64, of the noise of such a row; beside `row_weights`.
        row_reals: (B, T) int64, the real sequence that such a row is compared with; None where the loss compares none.
        input_draws: (B, T) float32, in [0, 1) where the generator reads a token of its own in place of tokens[b, t],
            drawn with this number, and -1 where it reads the token; None where it reads all (scheduled sampling).
        conditions: (B, S) int64, what each row is given; None where rows are given nothing.
        pair_weights: (B,) float32, what a pair weighs: the row's tokens, a real sequence or the preferred one of two,
            beside a sequence of the opponent, its rival. u = Σ log p - log p_old of the one, u_rival of the other, and
            the objective says which loss that is. Beside it stand the next four, and `old_logprobs` of the row's
            tokens.
        pair_mask: (B, T) float32, 1 on the tokens of the row's own sequence, and 0.
        rivals: (B, T) int64.
        rival_mask: (B, T) float32, likewise.
        rival_old_logprobs: (B, T) float32 nats.
        latents: (B, Z) float32, what a row was drawn given; of a row whose latent is inferred the standard normal noise
            of its draw from the posterior. None of a generator without latents.
        infers_latents: (B,) float32, 1 where a row's latent is inferred from its tokens; beside `latents`. None where
            none is.
        latent_kl_weights: (B,) float32, what KL(q‖prior) of such a row weighs; beside `infers_latents`.
        square_weights: (B,) float32, what it weighs how far a sequence's log-probability is from a target. Beside it
            stand the next two.
        square_targets: (B,) float32 nats, what the sum of its tokens' log-probabilities should be.
        square_mask: (B, T) float32, 1 on those tokens, and 0.
        residual_weights: (B, T) float32, not negative, of the squares of the rewards that the generator's logits imply
            (`rlgan.policy.loss_terms.implied_rewards`); not 0 on the tokens of a sequence that has some.
        goal_weights: (B, T) float32, what it weighs how far goals were met that are judged at a token
            (`GoalDistribution.goal_cosines`).
    """

    tokens: Tensor
    weights: Tensor
    clipped_weights: Tensor | None = None
    old_logprobs: Tensor | None = None
    kl_weights: Tensor | None = None
    ratio_kl_weights: Tensor | None = None
    reference_logprobs: Tensor | None = None
    entropy_weights: Tensor | None = None
    row_weights: Tensor | None = None
    row_seeds: Tensor | None = None
    row_reals: Tensor | None = None
    input_draws: Tensor | None = None
    conditions: Tensor | None = None
    pair_weights: Tensor | None = None
    pair_mask: Tensor | None = None
    rivals: Tensor | None = None
    rival_mask: Tensor | None = None
    rival_old_logprobs: Tensor | None = None
    latents: Tensor | None = None
    infers_latents: Tensor | None = None
    latent_kl_weights: Tensor | None = None
    square_weights: Tensor | None = None
    square_targets: Tensor | None = None
    square_mask: Tensor | None = None
    residual_weights: Tensor | None = None
    goal_weights: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def rows(self, index: Tensor) -> Experience:
        """Some rows, by an int64 index (n,)."""
        return self.map(lambda tensor: tensor[index])

    def times(self, factor: float) -> Experience:
        """The same rows with all weights multiplied: a loss that is `factor` times as large."""
        named = self.tensors()
        return replace(self, **{name: factor * named[name] for name in named if name.endswith("weights")})

    def map(self, function: Callable[[Tensor], Tensor]) -> Experience:
        """The same function of every field that is there."""
        return Experience(**{name: function(tensor) for name, tensor in self.tensors().items()})


def stacked(parts: Sequence[Experience]) -> Experience:
    """Rows of all parts, in order. A term that some of them have has weight 0 in the rows of the others.

    Raises:
        ValueError: some read tokens of the generator's own and others do not: 0 is a draw.
    """
    if len({part.input_draws is None for part in parts}) > 1:
        raise ValueError("some rows have input_draws and others do not")
    whole: dict[str, Tensor] = {}
    for name in (one.name for one in fields(Experience)):
        there = [part.tensors()[name] for part in parts if name in part.tensors()]
        if there:
            like = there[0]
            whole[name] = torch.cat(
                [part.tensors().get(name, like.new_zeros(len(part.tokens), *like.shape[1:])) for part in parts]
            )
    return Experience(**whole)
