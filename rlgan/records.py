"""Frozen records that travel between the rooms; an arrow makes a new record and never edits one.

B sequences, T positions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Sequences of one generator version with what a discriminator version made of them.

    Attributes:
        tokens: (B, T) int64, padded after the terminator.
        logprobs: (B, T) float32 nats under the law that drew them, 0 after the terminator.
        mask: (B, T) bool, True up to and including the terminator.
        real_logits: (B,) float32 of the finished sequences, positive = real; None where no discriminator scored.
        continuation_rewards: (B, T, N) float32 reward units, [b, t, n] of continuation n of tokens[b, :t+1]; entries
            at or after the last real token are 0 and not read. None without Monte Carlo search.
        generator_version: version of the weights that drew the sequences.
        discriminator_version: version of the weights that scored them, or None.
        num_drawn: tokens drawn for all of this, continuations included: what it cost.
    """

    tokens: Tensor
    logprobs: Tensor
    mask: Tensor
    real_logits: Tensor | None
    continuation_rewards: Tensor | None
    generator_version: int
    discriminator_version: int | None
    num_drawn: int


def concatenate(shards: Sequence[Rollouts]) -> Rollouts:
    """One record of all shards, in order.

    Raises:
        ValueError: the shards stem from different weights.
    """
    versions = {(shard.generator_version, shard.discriminator_version) for shard in shards}
    if len(versions) != 1:
        raise ValueError(f"shards of different (generator, discriminator) versions {sorted(versions, key=str)}")
    generator_version, discriminator_version = versions.pop()

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
        continuation_rewards=joined("continuation_rewards"),
        generator_version=generator_version,
        discriminator_version=discriminator_version,
        num_drawn=sum(shard.num_drawn for shard in shards),
    )


@dataclass(frozen=True, slots=True)
class Experience:
    """What the learner executes: a weight for the log-probability of every token.

    The learner minimises -Σ weights · logprob and never asks which algorithm chose the weights: a policy gradient, a
    maximum-likelihood batch and a mixture of both differ only here.

    Attributes:
        tokens: (B, T) int64.
        weights: (B, T) float32, 0 wherever nothing is to be learned; carries the normaliser of the loss.
    """

    tokens: Tensor
    weights: Tensor
