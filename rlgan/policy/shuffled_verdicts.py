"""The control of a discriminator that tells nothing: its logits, dealt out at random among sequences that are compared.

Whatever a reward, a credit or a baseline makes of logits, it makes of these: the distribution of rewards of every group
is the run's, and no sequence knows which of them is its own.

B sequences, K of a group, T positions, N continuations
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.sampling.records import Rollouts

from .groups import grouped


def with_shuffled_verdicts(rollouts: Rollouts, group: int | None, rng: torch.Generator) -> Rollouts:
    """The same sequences, with all logits, verdicts and features of the discriminator dealt out anew.

    Logits of tokens, prefixes and continuations stay at their position, among the sequences that have one there.

    Args:
        rollouts: the whole batch.
        group: sequences that are compared with each other, neighbours in the batch; None compares all.
        rng: source of all randomness.
    """
    mask = rollouts.mask
    is_sequence = torch.ones(len(mask), dtype=torch.bool)
    is_continued = functional.pad(mask[:, 1:], (0, 1))  # a prefix that is the whole sequence is not

    def dealt(values: Tensor | None, there: Tensor) -> Tensor | None:
        return None if values is None else dealt_out(values, there, group, rng)

    features = rollouts.features
    if features is not None:
        order = dealt_out(torch.arange(len(mask)), is_sequence, group, rng)
        features = features[order]
    return replace(
        rollouts,
        features=features,
        real_logits=dealt(rollouts.real_logits, is_sequence),
        verdicts=dealt(rollouts.verdicts, is_sequence),
        token_logits=dealt(rollouts.token_logits, mask),
        continuation_logits=dealt(rollouts.continuation_logits, is_continued),
    )


def dealt_out(values: Tensor, there: Tensor, group: int | None, rng: torch.Generator) -> Tensor:
    """Values permuted among the sequences of a group, each position by itself.

    Args:
        values: (B,), (B, T) or (B, T, N).
        there: (B,) or (B, T) bool, which are values at all; the others stay where they are.
        group: K; None takes all as one group.
        rng: source of all randomness.

    Returns:
        As `values`.
    """
    members = grouped(values.reshape(len(values), -1), group)
    more = (1,) * (values.dim() - there.dim())
    is_member = grouped(there.reshape(*there.shape, *more).expand(values.shape).reshape(len(values), -1), group)
    # Of both orders the members come first, once as they stand and once at random.
    places = torch.arange(members.shape[1], dtype=torch.float64).view(1, -1, 1).expand(members.shape)
    drawn = torch.rand(members.shape, generator=rng, dtype=torch.float64)
    absent = float(members.shape[1])
    standing, random = (torch.where(is_member, order, absent + places).argsort(1) for order in (places, drawn))
    return torch.empty_like(members).scatter_(1, standing, members.gather(1, random)).reshape(values.shape)
