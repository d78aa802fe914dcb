"""Changed copies of real sequences, as further negatives: they teach a discriminator to look at single tokens.

Source: R-AIRL (Fanconi et al. 2025), where operators, numbers and answers are corrupted. Here a token of any kind
becomes another one that the reals beside it have, as often as they have it, so that none is known by being rare.

m real sequences of a minibatch, c copies of each, T positions
"""

from __future__ import annotations

import torch
from torch import Tensor


def perturbed_copies(
    reals: Tensor, mask: Tensor, end_id: int | None, copies: int, share: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Copies in which some tokens are others; no copy equals its real sequence.

    Of a sequence of n tokens before its terminator max(1, round(share · n)) are changed, at places drawn at random. A
    sequence without such tokens has no copies, and neither has one where no other token is at hand.

    Args:
        reals: (m, T) int64, padded after the terminator.
        mask: (m, T) bool, what is shown of each.
        end_id: the terminator, which stays where it is and is put nowhere; None without one.
        copies: c.
        share: of tokens that are changed.
        rng: source of all randomness.

    Returns:
        Rows of the reals that are copied, (k,) int64, and their copies (k, T) int64.
    """
    rows = torch.arange(len(reals)).repeat_interleave(copies)
    tokens = reals[rows]
    may_change = mask[rows] if end_id is None else mask[rows] & (tokens != end_id)
    pool = (reals[mask] if end_id is None else reals[mask & (reals != end_id)]).sort().values
    # What is drawn is a place in the pool, from which all places of the token itself are left out.
    first, behind = torch.searchsorted(pool, tokens), torch.searchsorted(pool, tokens, right=True)
    num_others = len(pool) - (behind - first)
    may_change &= num_others > 0
    number = (share * may_change.sum(1)).round().clamp_min(1.0).long()
    order = torch.rand(tokens.shape, generator=rng, dtype=torch.float64).masked_fill(~may_change, 2.0).argsort(1)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    is_changed = may_change & (rank < number.unsqueeze(1))
    places = (torch.rand(tokens.shape, generator=rng, dtype=torch.float64) * num_others).long()
    places = places + torch.where(places >= first, behind - first, 0)
    others = pool[places.clamp_max(max(0, len(pool) - 1))] if len(pool) else tokens
    kept = is_changed.any(1)
    return rows[kept], torch.where(is_changed, others, tokens)[kept]
