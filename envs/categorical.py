"""Drawing tokens from logits: a two-level inverse of the cumulative distribution, one uniform a row.

`torch.multinomial` and Gumbel-max both draw a random number for every (row, token) pair, and random numbers are what
they spend their time on. Inverting the CDF needs one uniform a row; doing it in two levels (sums over blocks of
tokens, then a search inside one block) reads the exponentials once and never writes a cumulative sum of length V.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64
"""Tokens a block; logits handed to `draw_from_weights` are padded to a multiple of it."""


def padded_vocab_size(vocab_size: int) -> int:
    """Smallest multiple of BLOCK that holds `vocab_size` tokens."""
    return -(-vocab_size // BLOCK) * BLOCK


def draw_from_weights(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row in proportion to non-negative weights.

    Args:
        weights: (R, V) float, contiguous, V a multiple of BLOCK, each row with a positive sum.
        uniforms: (R,) float in [0, 1).

    Returns:
        (R,) int64: the smallest token whose cumulative weight exceeds uniform × total; never one of weight 0.
    """
    rows, padded = weights.shape
    blocks = weights.view(rows, padded // BLOCK, BLOCK)
    block_cdf = blocks.sum(2).cumsum(1)
    target = (uniforms * block_cdf[:, -1]).unsqueeze(1)
    # Rounding may leave target == total; the last block with any weight is then the right one.
    last_block = torch.searchsorted(block_cdf, block_cdf[:, -1:].contiguous())
    block = torch.minimum(torch.searchsorted(block_cdf, target, right=True), last_block)
    before = torch.where(block > 0, block_cdf.gather(1, (block - 1).clamp_min(0)), 0.0)
    row_index = torch.arange(rows, device=weights.device)
    chosen = blocks[row_index, block.squeeze(1)]
    cdf = chosen.cumsum(1)
    within = torch.searchsorted(cdf, target - before, right=True)
    last_within = torch.searchsorted(cdf, cdf[:, -1:].contiguous())
    return (block * BLOCK + torch.minimum(within, last_within)).squeeze(1)


def truncate_weights(weights: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Weights of the likeliest tokens of each row alone; those of the others are 0.

    Of the `top_k` likeliest, the fewest of the likeliest that have `top_p` or more of their weight. Among equal weights
    the lower id counts as the likelier.

    Args:
        weights: (R, V) float, not negative, each row with a positive sum.
        top_k: at least 1, or None, which keeps all.
        top_p: in (0, 1], or None, which keeps all, as 1 does.

    Returns:
        (R, V), a new tensor; at least one token of each row keeps its weight.
    """
    ordered, order = weights.sort(dim=1, descending=True, stable=True)
    if top_k is not None:
        ordered[:, top_k:] = 0.0
    if top_p is not None and top_p < 1.0:
        cumulative = ordered.double().cumsum(1)
        # What stands before the likeliest is exactly 0, so that one always stays.
        before = torch.nn.functional.pad(cumulative[:, :-1], (1, 0))
        ordered = ordered.masked_fill(before >= top_p * cumulative[:, -1:], 0.0)
    return torch.zeros_like(weights).scatter_(1, order, ordered)


def draw_from_logits(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row from softmax(logits).

    Args:
        logits: (R, V) float.
        uniforms: (R,) float in [0, 1).

    Returns:
        (R,) int64 tokens.
    """
    rows, vocab_size = logits.shape
    weights = logits.new_zeros(rows, padded_vocab_size(vocab_size))
    torch.exp(logits - logits.amax(1, keepdim=True), out=weights[:, :vocab_size])
    return draw_from_weights(weights, uniforms)
