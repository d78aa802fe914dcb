"""Rewards of every token, as functions on tensors: log-ratios, what a turn adds, logits standardised within a group.

B sequences, T positions
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask, turn_of_tokens

from .groups import deviations, grouped, means_there

_TINY = 1e-6  # added to deviations


def standardised(token_logits: Tensor, mask: Tensor, group: int | None = None) -> Tensor:
    """(u_t - m)/(s + 1e-6), m and s of the last tokens' logits of the group; see `StandardisedLogit`.

    Args:
        token_logits: (B, T) float32.
        mask: (B, T) bool.
        group: K; None takes the whole batch.

    Returns:
        (B, T) float32, 0 where mask is False, and in groups whose last logits are all equal.

    Raises:
        ShapeError: B is no multiple of K.
    """
    last = token_logits.gather(1, mask.sum(1, keepdim=True) - 1)
    members = grouped(last, group)
    means, found = (
        one.expand_as(members).flatten(0, 1) for one in (means_there(members, 1), deviations(members, 1, correction=1))
    )
    scaled = (token_logits - means) / (found + _TINY)
    return scaled.masked_fill((found == 0.0) | ~mask, 0.0)


def ends_of_turns(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Whether a token is the last of its turn: a mark between turns, or the last token of the sequence.

    Args:
        space: the sequences.
        tokens: (B, T) int64.

    Returns:
        (B, T) bool, False after the terminator.
    """
    mask = sequence_mask(space, tokens)
    turns = turn_of_tokens(space, tokens).masked_fill(~mask, -1)
    return mask & (turns != functional.pad(turns[:, 1:], (0, 1), value=-1))


def turn_increments(prefix_logits: Tensor, is_end: Tensor) -> Tensor:
    """The logit at the end of each turn less that at the end of the turn before it, 0 before the first.

    Args:
        prefix_logits: (B, T) float32.
        is_end: (B, T) bool, last tokens of turns.

    Returns:
        (B, T) float32, 0 where no turn ends.
    """
    found, before = torch.zeros_like(prefix_logits), torch.zeros_like(prefix_logits[:, 0])
    for position in range(prefix_logits.shape[1]):
        ends, logits = is_end[:, position], prefix_logits[:, position]
        found[:, position] = torch.where(ends, logits - before, 0.0)
        before = torch.where(ends, logits, before)
    return found


def log_ratio(exact_logprobs: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """Per-token log-ratio, log p(y_t | y_<t) - log p_θ(y_t | y_<t); docs/algorithms.md §7 and §19.

    Summed from each token on and weighing its score, its expectation under p_θ is -∇KL(p_θ‖p), whatever the
    distribution p: the exact one, or that of a language model that is held where it is.

    Args:
        exact_logprobs: (B, T) nats under p.
        logprobs: (B, T) nats under the generator that drew the tokens, at the temperature that drew them.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, 0 where mask is False, no gradient.
    """
    return (exact_logprobs - logprobs).detach().masked_fill(~mask, 0.0)
