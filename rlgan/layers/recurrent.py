"""LSTMs over sequences that end at different places, so that nothing behind their ends matters.

Rows stay padded. torch's packed sequences say the same, but on a CPU their gradient takes time quadratic in the length,
for each step's share of it is as large as the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn


def states_over_time(lstm: nn.LSTM, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool = False) -> Tensor:
    """States of the last layer after each real token, of an LSTM of one direction.

    Args:
        lstm: batch first.
        embedded: (B, T, E).
        mask: (B, T) bool, True from the beginning to the end of a row, at least once.
        is_twice_differentiable: leave out the kernels of cuDNN, which have no second derivative.

    Returns:
        (B, T, H); 0 where the mask is False.
    """
    with _kernels(is_twice_differentiable):
        states: Tensor = lstm(embedded)[0]
    return states.masked_fill(~mask.unsqueeze(2), 0.0)


def last_states(lstm: nn.LSTM, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool = False) -> Tensor:
    """(B, H) state of the last layer after the last real token; see `states_over_time`."""
    return at_ends(states_over_time(lstm, embedded, mask, is_twice_differentiable), mask)


def at_ends(states: Tensor, mask: Tensor) -> Tensor:
    """(B, H) what stands at the last real token of (B, T, H)."""
    ends = mask.sum(1).sub(1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
    return states.gather(1, ends).squeeze(1)


def reversed_rows(rows: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E) with the real tokens of each row the other way round, and padding where it was."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    mirrored = torch.where(mask, mask.sum(1, keepdim=True) - 1 - positions, positions)
    return rows.gather(1, mirrored.unsqueeze(2).expand_as(rows))


class BiLSTM(nn.Module):
    """An LSTM of both directions (Graves and Schmidhuber 2005): each layer reads both of the one below.

    Args:
        width: E of what it reads.
        hidden: H of each direction.
        layers: how many.
        dropout: between layers.
    """

    def __init__(self, width: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        widths = [width] + [2 * hidden] * (layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(below, hidden, batch_first=True) for below in widths)
        self.backwards = nn.ModuleList(nn.LSTM(below, hidden, batch_first=True) for below in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool = False) -> tuple[Tensor, Tensor]:
        """Read rows.

        Args:
            embedded: (B, T, E).
            mask: (B, T) bool, True from the beginning to the end of a row, at least once.
            is_twice_differentiable: leave out the kernels of cuDNN, which have no second derivative.

        Returns:
            States (B, T, 2H) of the last layer, 0 where the mask is False; and of each layer what its directions end
            with, (layers, B, 2H): one at the last real token, the other at the first.
        """
        read, ends = embedded, []
        pairs = cast("Iterator[tuple[nn.LSTM, nn.LSTM]]", zip(self.forwards, self.backwards, strict=True))
        for layer, (onwards, back) in enumerate(pairs):
            if layer > 0:
                read = self.dropout(read)
            onward = states_over_time(onwards, read, mask, is_twice_differentiable)
            mirrored = states_over_time(back, reversed_rows(read, mask), mask, is_twice_differentiable)
            ends.append(torch.cat([at_ends(onward, mask), at_ends(mirrored, mask)], dim=1))
            read = torch.cat([onward, reversed_rows(mirrored, mask)], dim=2)
        return read, torch.stack(ends)


def _kernels(is_twice_differentiable: bool) -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=False) if is_twice_differentiable else nullcontext()
