"""LSTMs over sequences that end at different places, so that nothing behind their ends matters."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def states_over_time(lstm: nn.LSTM, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
    """States of the last layer after each real token.

    Args:
        lstm: batch first.
        embedded: (B, T, E).
        mask: (B, T) bool, True at least once a row.
        is_twice_differentiable: leave out the kernels of cuDNN, which have no second derivative.

    Returns:
        (B, T, H), both directions side by side where there are two; 0 where the mask is False.
    """
    outputs, _ = _run(lstm, embedded, mask, is_twice_differentiable)
    states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=mask.shape[1])
    return states


def last_states(lstm: nn.LSTM, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
    """(B, H) state of the last layer after the last real token, of an LSTM of one direction; see above."""
    _, last = _run(lstm, embedded, mask, is_twice_differentiable)
    return last


def _run(lstm: nn.LSTM, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> tuple[PackedSequence, Tensor]:
    # Packed, so that a backward direction begins at the last real token and nothing after it matters.
    packed = pack_padded_sequence(embedded, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
    with torch.backends.cudnn.flags(enabled=False) if is_twice_differentiable else nullcontext():
        outputs, (hidden, _) = lstm(packed)
    return outputs, hidden[-1]
