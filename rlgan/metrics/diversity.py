"""Plain counts that expose collapse: variety across the set, repetition inside a sequence, length, endings.

All but `share_unfinished` take stripped sequences (see `strip`). Most depend on how many sequences there are: compare
equal sizes only. Unknown tokens (`UNKNOWN`) are never known to differ: they are one word, and in `distinct` an n-gram
that holds one is among all n-grams, but is no different one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace

from .ngrams import NGramTable, counts_by_row, flat
from .quantity import Quantity
from .sequences import require_stripped

QUANTITIES = (
    Quantity("distinct_2", "different 2-grams among all", "share", None, "samples", is_key=True),
    Quantity("distinct_*", "different n-grams among all", "share", None, "samples"),
    Quantity("repetition_4", "4-grams that occurred before in the same sequence", "share"),
    Quantity("mean_length", "tokens a sequence", "tokens"),
    Quantity("share_unfinished", "sequences without an end", "share"),
    Quantity("share_unique", "different sequences among all", "share", None, "samples"),
)
"""Facts of the figures of this module."""


def distinct(sequences: Sequence[Sequence[int]], order: int) -> float:
    """Corpus-level distinct-n: how many of all n-grams of the set are different ones.

    distinct-n(S) = |{n-grams of S without an unknown token}| / #n-grams of S

    Source: Li et al. 2016.

    Args:
        sequences: at least one sequence of token ids.
        order: n ≥ 1.

    Returns:
        Share in [0, 1]; 0 where every sequence is shorter than n, for then there is nothing to be diverse with.

    Raises:
        ShapeError: no sequences, tensors in place of lists, or `order` below 1.
    """
    require_stripped(sequences, "sequences", at_least=1)
    _require_order(order)
    text, table = flat(sequences), NGramTable()
    num_ngrams = int((text.left >= order).sum())
    for _ in table.number(text, order):
        pass
    return table.size(order) / num_ngrams if num_ngrams else 0.0


def repetition_rate(sequences: Sequence[Sequence[int]], order: int = 4) -> float:
    """Share of n-grams that occurred before in the same sequence.

    repetition-n(S) = Σ_{y∈S} (#n-grams of y − #different n-grams of y) / Σ_{y∈S} #n-grams of y

    Source: Welleck et al. 2020 (seq-rep-n), pooled over the set where they average per sequence, so that sequences too
    short for an n-gram need no special rule.

    Args:
        sequences: at least one sequence of token ids.
        order: n ≥ 1.

    Returns:
        Share in [0, 1); 0 where every sequence is shorter than n.

    Raises:
        ShapeError: no sequences, tensors in place of lists, or `order` below 1.
    """
    require_stripped(sequences, "sequences", at_least=1)
    _require_order(order)
    text = flat(sequences)
    *_, numbers = NGramTable(keeps_unknown=True).number(text, order)
    num_ngrams = int((text.left >= order).sum())
    num_repeated = num_ngrams - len(counts_by_row(text.rows, numbers)[0])
    return num_repeated / num_ngrams if num_ngrams else 0.0


def mean_length(sequences: Sequence[Sequence[int]]) -> float:
    """Mean number of tokens, the terminator not counted.

    Args:
        sequences: at least one sequence of token ids.

    Returns:
        Tokens a sequence.

    Raises:
        ShapeError: no sequences, or tensors in place of lists.
    """
    require_stripped(sequences, "sequences", at_least=1)
    return math.fsum(map(len, sequences)) / len(sequences)


def num_unique(sequences: Sequence[Sequence[int]]) -> int:
    """Number of different sequences.

    Args:
        sequences: any number of sequences of token ids.

    Returns:
        A count, at most the size of the set.

    Raises:
        ShapeError: tensors in place of lists.
    """
    require_stripped(sequences, "sequences", at_least=0)
    return len(set(map(tuple, sequences)))


def share_unique(sequences: Sequence[Sequence[int]]) -> float:
    """Number of different sequences as a share of the set.

    Args:
        sequences: at least one sequence of token ids.

    Returns:
        Share in (0, 1]; 1 where no sequence occurs twice.

    Raises:
        ShapeError: no sequences, or tensors in place of lists.
    """
    require_stripped(sequences, "sequences", at_least=1)
    return num_unique(sequences) / len(sequences)


def share_unfinished(space: SequenceSpace, tokens: Tensor) -> float:
    """Share of sequences that ran into the greatest length without a terminator.

    Args:
        space: the task's sequences.
        tokens: (B, T) integer.

    Returns:
        Share in [0, 1]; 0 where the space has no terminator, for then every sequence is whole.

    Raises:
        ShapeError: `tokens` is not (B, T) with at least one row.
    """
    if tokens.dim() != 2 or tokens.shape[0] == 0:
        raise ShapeError(
            f"tokens has shape {tuple(tokens.shape)}: expected (B, T) with at least one row.",
            code="diversity_tokens_shape",
        )
    if space.end_id is None:
        return 0.0
    return (tokens != space.end_id).all(1).double().mean().item()


def _require_order(order: int) -> None:
    if order < 1:
        raise ShapeError(f"order={order}: must be at least 1.", code="diversity_order", fields={"order": order})
