"""How much each training sequence teaches by likelihood (dialogue, Li et al. 2017).

    idf(v) = 1 + ln(n / n_v)                n sequences, of which n_v hold token v
    s_i    = 1/|y_i| · Σ_t idf(y_it)        over the tokens before the terminator
    w_i    = s_i / mean of s

s_i is the sum over the distinct tokens of y_i of term frequency (their share of y_i) times idf, the mean tf-idf of what
stands there. Neither a sequence's length nor its repetitions weigh by themselves.

    n sequences, T positions, V vocabulary
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

_ROWS_AT_ONCE = 1 << 16

ExampleWeights = Literal["none", "tf_idf"]


def tf_idf_weights(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Weights of training sequences, the greater the rarer their tokens are.

    A sequence without a token weighs what its terminator would, for which n_v is n: idf 1, the least that there is.

    Args:
        space: the task's sequences.
        tokens: (n, T) integer, all that is learned from.

    Returns:
        (n,) float32, positive, with mean 1.
    """
    counted = sequence_mask(space, tokens)
    if space.end_id is not None:
        counted = counted & (tokens != space.end_id)
    number = tokens.shape[0]
    held = torch.zeros(space.vocab_size, dtype=torch.float64)
    # One column at a time: a token counts where it stands for the first time in its sequence.
    for position in range(tokens.shape[1]):
        here = tokens[:, position]
        is_first = counted[:, position] & ~((tokens[:, :position] == here.unsqueeze(1)).any(1))
        held += torch.bincount(here[is_first], minlength=space.vocab_size)
    idf = 1.0 + (number / held.clamp_min(1.0)).log()
    lengths = counted.sum(1)
    parts = zip(tokens.split(_ROWS_AT_ONCE), counted.split(_ROWS_AT_ONCE), strict=True)
    sums = torch.cat([(idf[rows.long()] * mask).sum(1) for rows, mask in parts])
    scores = sums / lengths.clamp_min(1)
    scores = torch.where(lengths > 0, scores, 1.0)
    return (scores / scores.mean()).float()
