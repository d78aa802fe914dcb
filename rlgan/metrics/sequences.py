"""The form in which counting metrics want sequences: plain tokens, without the terminator and without padding.

An unknown token stands for some word that has no id. Which one is not known, so two of them are never known to be the
same: beside references, or beside another set, `UNKNOWN` matches nothing, not even itself. Within one set, where being
alike is what is counted, two of them are never known to differ: measures of variety take all of them for one word.
Either way nobody scores better by writing it than by writing one and the same wrong word.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace

NGram = tuple[int, ...]

UNKNOWN = -1
"""What stands in stripped sequences in the place of the unknown token, whatever its id is."""


def strip(space: SequenceSpace, tokens: Tensor) -> list[NGram]:
    """Cut finished sequences before their first terminator.

    Args:
        space: the task's sequences; where `end_id` is None every row is kept whole.
        tokens: (B, T) integer; what follows the first terminator is not read.

    Returns:
        B tuples of 0..T token ids, `UNKNOWN` where the unknown token stands; () for a sequence that is nothing but its
        terminator.

    Raises:
        ShapeError: `tokens` is not two-dimensional.
    """
    if tokens.dim() != 2:
        raise ShapeError(f"tokens has shape {tuple(tokens.shape)}: expected (B, T).", code="sequences_shape")
    if space.unknown_id is not None:
        tokens = tokens.masked_fill(tokens == space.unknown_id, UNKNOWN)
    # Where `end_id` is None no row contains it, and every row stays whole.
    return [tuple(row[: row.index(space.end_id)]) if space.end_id in row else tuple(row) for row in tokens.tolist()]


def require_stripped(sequences: Sequence[Sequence[int]], name: str, at_least: int) -> None:
    """Refuse tensors, whose elements would compare by identity, and sets too small to measure.

    Args:
        sequences: what the caller was handed.
        name: how the caller's argument is called.
        at_least: smallest number of sequences that has a meaning.

    Raises:
        ShapeError: as said, in the caller's terms.
    """
    if any(isinstance(sequence, Tensor) for sequence in sequences):  # a (B, T) tensor too yields tensors
        raise ShapeError(
            f"{name} holds tensors: expected lists of token ids. Use strip(space, tokens).",
            code="sequences_are_tensors",
        )
    if len(sequences) < at_least:
        raise ShapeError(
            f"{name} holds {len(sequences)} sequences: must hold at least {at_least}.", code="too_few_sequences"
        )
