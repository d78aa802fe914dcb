"""Scores of sequences against one reference each, many at once: sentence BLEU and ROUGE-L as rewards want them.

Monte Carlo search has B·T·N continuations to score, so nothing here walks over sequences. Where the tokens of a
sequence stand in its reference is written down as bits, 62 places a word, and both scores are a few operations on words
for each token. An unknown token (`SequenceSpace.unknown_id`) equals nothing, on neither side. Corpus scores of finished
text, by the libraries that the field reports, are in `rlgan.evaluation.pair_measures`.

    n sequences, T positions of a sequence, S of a reference, W words of 62 places
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

_PLACES = 62  # of an int64: one bit more takes the carry of a sum, and the sign is left alone
_ALL = 2**_PLACES - 1
_ROWS = 2_048  # scored together; (W, T, n) words stay in a CPU's cache. No number depends on it


def reference_bleu(space: SequenceSpace, tokens: Tensor, references: Tensor, order: int = 4) -> Tensor:
    """BLEU of each sequence against its own reference.

        p_1 = m_1 / h,  p_k = (m_k + 1) / (c_k + 1) for k ≥ 2
        BLEU = min(1, exp(1 - r/h)) · exp((1/order) Σ_k log p_k),  and 0 where m_1 = 0

    m_k is the number of k-grams that also stand in the reference, each at most as often as there; c_k = max(0, h-k+1);
    h and r are the lengths without terminators. An order without k-grams therefore has p_k = 1, and a sequence that is
    its reference scores 1, unless both are empty.

    Source: Papineni et al. 2002, smoothed by Lin & Och 2004; Yang et al. 2018 (CSGAN-NMT), Q_bleu as released.

    Args:
        space: the task's sequences.
        tokens: (n, T) integer; what follows the first terminator is not read.
        references: (n, S) integer, of the same alphabet; likewise.
        order: greatest k.

    Returns:
        (n,) float32 in [0, 1], on the device of the tokens.

    Raises:
        ShapeError: not as many references as sequences, or `order` below 1.
    """
    if order < 1:
        raise ShapeError(
            f"order={order}: must be at least 1.",
            code="reference_bleu_order",
            fields={"order": order},
        )
    lengths, reference_lengths = _lengths(space, tokens, references)

    def counted(places: Tensor) -> Tensor:
        return torch.stack([_num_matched(_ngram_places(places, size)) for size in range(1, order + 1)])

    matches = _over_rows(counted, space, tokens, references, lengths, reference_lengths).double()
    extra = torch.ones(order, 1, dtype=torch.float64, device=tokens.device)
    extra[0] = 0.0
    sizes = torch.arange(order, device=tokens.device).unsqueeze(1)
    counts = (lengths - sizes).clamp(min=0) + extra
    # Doubles are rounded once, to floats: the same wherever a row stands among others.
    log_precisions = ((matches + extra) / counts).log().mean(0)
    log_brevity = (1.0 - reference_lengths.double() / lengths).clamp(max=0.0)
    return torch.where(matches[0] > 0, (log_brevity + log_precisions).exp(), 0.0).float()


def reference_match(space: SequenceSpace, tokens: Tensor, references: Tensor) -> Tensor:
    """Whether each sequence is its own reference, token for token; an unknown word is none of the reference's.

    Args:
        space: the task's sequences.
        tokens: (n, T) integer; what follows the first terminator is not read.
        references: (n, T) integer, of the same alphabet; likewise.

    Returns:
        (n,) float32, 0 or 1, on the device of the tokens.

    Raises:
        ShapeError: not as many references as sequences.
    """
    lengths, reference_lengths = _lengths(space, tokens, references)
    size = min(tokens.shape[1], references.shape[1])
    is_word = torch.arange(size, device=tokens.device) < lengths.unsqueeze(1)
    are_equal = tokens[:, :size] == references[:, :size]
    if space.unknown_id is not None:
        are_equal &= tokens[:, :size] != space.unknown_id
    return ((lengths == reference_lengths) & (are_equal | ~is_word).all(1)).float()


def reference_rouge_l(space: SequenceSpace, tokens: Tensor, references: Tensor) -> Tensor:
    """ROUGE-L of each sequence against its own reference, as F1.

        P = lcs / h,  R = lcs / r,  F1 = 2PR / (P + R) = 2·lcs / (h + r),  and 0 where lcs = 0

    lcs is the length of the longest common subsequence; h and r are the lengths without terminators.

    Source: Lin 2004, with β = 1. The bits of the dynamic program: Crochemore et al. 2001, Hyyrö 2004.

    Args:
        space: the task's sequences.
        tokens: (n, T) integer; what follows the first terminator is not read.
        references: (n, S) integer, of the same alphabet; likewise.

    Returns:
        (n,) float32 in [0, 1], on the device of the tokens.

    Raises:
        ShapeError: not as many references as sequences.
    """
    lengths, reference_lengths = _lengths(space, tokens, references)
    common = _over_rows(_longest_common, space, tokens, references, lengths, reference_lengths)
    return (2.0 * common.double() / (lengths + reference_lengths).clamp(min=1)).float()


def _lengths(space: SequenceSpace, tokens: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) each: tokens before the terminators."""
    if tokens.dim() != 2 or references.dim() != 2 or tokens.shape[0] != references.shape[0]:
        raise ShapeError(
            f"tokens {tuple(tokens.shape)} and references {tuple(references.shape)}: expected (n, T) and (n, S).",
            code="reference_shapes",
        )

    def length(rows: Tensor) -> Tensor:
        real = sequence_mask(space, rows)
        return (real if space.end_id is None else real & (rows != space.end_id)).sum(1)

    return length(tokens), length(references)


def _over_rows(count: Callable[[Tensor], Tensor], space: SequenceSpace, *tensors: Tensor) -> Tensor:
    """(..., n) of what `count` makes of the places (W, T, n) of some rows at a time."""
    number = tensors[0].shape[0]
    parts = [
        count(_places(space, *(tensor[first : first + _ROWS] for tensor in tensors)))
        for first in range(0, max(1, number), _ROWS)
    ]
    return torch.cat(parts, dim=-1)


def _places(
    space: SequenceSpace, tokens: Tensor, references: Tensor, lengths: Tensor, reference_lengths: Tensor
) -> Tensor:
    """(W, T, n) int64: bit j of word w is set where a token stands at place 62·w + j of the reference."""
    num_tokens, num_places = (int(one.max()) if len(one) else 0 for one in (lengths, reference_lengths))
    ours = tokens[:, :num_tokens].T.clone(memory_format=torch.contiguous_format)
    theirs = references[:, :num_places].T.clone(memory_format=torch.contiguous_format)
    # Whatever stands behind the end is equal to nothing, and so is an unknown token.
    if space.unknown_id is not None:
        ours[ours == space.unknown_id] = -1
    ours[torch.arange(num_tokens, device=ours.device).unsqueeze(1) >= lengths] = -1
    theirs[torch.arange(num_places, device=theirs.device).unsqueeze(1) >= reference_lengths] = -2
    words = ours.new_zeros(max(1, -(-num_places // _PLACES)), *ours.shape, dtype=torch.int64)
    for place in range(num_places):
        words[place // _PLACES] += (ours == theirs[place]).long() << place % _PLACES
    return words


def _ngram_places(places: Tensor, size: int) -> Tensor:
    """(W, T-size+1, n): the same of n-grams, by the places where they begin."""
    found = places
    for offset in range(1, size):
        moved = places >> offset
        moved[:-1] |= (places[1:] << (_PLACES - offset)) & _ALL
        found = found[:, :-1] & moved[:, offset:]
    return found


def _num_matched(places: Tensor) -> Tensor:
    """(n,) int64: for how many of the n-grams there is a place in the reference that no earlier one has taken."""
    taken = places.new_zeros(places.shape[0], places.shape[2])
    matched = torch.zeros_like(taken[0])
    for ngram in range(places.shape[1]):
        is_open = torch.ones_like(matched, dtype=torch.bool)
        for word in range(places.shape[0]):
            free = places[word, ngram] & ~taken[word]
            taken[word] |= torch.where(is_open, free & -free, 0)
            is_open &= free == 0
        matched += ~is_open
    return matched


def _longest_common(places: Tensor) -> Tensor:
    """(n,) int64: length of the longest common subsequence; V ← (V + (V & M)) | (V & ~M), whose zeros are counted."""
    words = places.new_full((places.shape[0], places.shape[2]), _ALL)
    for token in range(places.shape[1]):
        carry = torch.zeros_like(words[0])
        for word in range(places.shape[0]):
            here = places[word, token]
            total = words[word] + (words[word] & here) + carry
            carry = total >> _PLACES
            words[word] = (total & _ALL) | (words[word] & ~here)
    zeros = [((words >> place) & 1) == 0 for place in range(_PLACES)]
    return torch.stack(zeros).sum((0, 1))
