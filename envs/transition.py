"""The one transition of the token world, shared by the environments and by the batched sampler.

State = (condition, prefix); action = next token; the next state appends the token. The episode *terminates* at the
terminator and at the horizon: in both cases the sequence is finished and is what gets scored, so neither is a
truncation in Gymnasium's sense.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

from .sequence_space import SequenceSpace

ArrayLike = TypeVar("ArrayLike")


def is_terminal(space: SequenceSpace, action: ArrayLike, num_tokens: int) -> ArrayLike:
    """Whether a sequence is finished once `action` has become its `num_tokens`-th token.

    Args:
        space: the task's sequences.
        action: the token just appended; an int, or an integer array or tensor of any shape.
        num_tokens: number of tokens of the prefix after appending, 1..T.

    Returns:
        bool of the same kind and shape as `action`.
    """
    # `action == action` makes an all-true value of whatever kind the caller works with.
    if num_tokens >= space.max_length:
        return action == action  # type: ignore[return-value]  # noqa: PLR0124
    if space.end_id is None:
        return action != action  # type: ignore[return-value]  # noqa: PLR0124
    return action == space.end_id  # type: ignore[return-value]


def sequence_mask(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Mask of the real tokens of finished sequences: True up to and including the first terminator.

    Args:
        space: the task's sequences.
        tokens: (B, T) integer.

    Returns:
        (B, T) bool.

    Raises:
        ShapeError: `tokens` is not two-dimensional.
    """
    if tokens.dim() != 2:
        raise ShapeError(f"tokens has shape {tuple(tokens.shape)}: expected (B, T).", code="transition_tokens_shape")
    if space.end_id is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    is_end = tokens == space.end_id
    ended_before = is_end.cumsum(1) - is_end.long()
    return ended_before == 0


def turn_of_tokens(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Number of the turn that each token belongs to; a separator ends its turn and belongs to it.

    Args:
        space: the sequences; without a `separator_id` each is one turn.
        tokens: (B, T) integer.

    Returns:
        (B, T) int64, from 0; means nothing after the terminator.
    """
    if space.separator_id is None:
        return torch.zeros_like(tokens, dtype=torch.int64)
    is_separator = (tokens == space.separator_id).long()
    return is_separator.cumsum(1) - is_separator


def pad_after_end(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Tokens with everything after the terminator replaced by padding, so that its content can never matter.

    Args:
        space: the task's sequences.
        tokens: (B, T) integer.

    Returns:
        (B, T), a new tensor where anything had to change.
    """
    if space.end_id is None:
        return tokens
    return tokens.masked_fill(~sequence_mask(space, tokens), space.pad_id)
