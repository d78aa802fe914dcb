"""Sentence BLEU against a whole reference corpus, and leave-one-out Self-BLEU, all orders in one pass.

The naive form compares every hypothesis with every reference. BLEU only ever asks for the greatest count of an n-gram
in any one reference and for the nearest reference length, so both are gathered once; for leave-one-out the runner-up
count is kept as well. Translation-style corpus BLEU does not live here.

An unknown token (`UNKNOWN`) matches no token of a reference. In Self-BLEU, where a match is what tells against a set,
all unknown tokens are one word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from rlgan.base.errors import ShapeError

from .ngrams import Integers, NGramTable, counts_by_row, flat
from .quantity import Quantity
from .sequences import require_stripped

QUANTITIES = (
    Quantity("bleu_4", "BLEU-4 against the test set", "share", "higher", "test", "quality", is_key=True),
    Quantity("self_bleu_4", "likeness of each sample to the others, 4-grams", "share", None, "hypotheses", is_key=True),
    Quantity("bleu_*", "BLEU against the test set", "share", "higher", "test", "quality"),
    Quantity("self_bleu_*", "likeness of each sample to the others", "share", None, "hypotheses"),
)
"""Facts of the figures of this module."""

SMOOTHING = 0.1
"""Matches credited to an order that has none ("method1" of Chen & Cherry 2014, with the usual epsilon)."""


class CorpusReferences:
    """A reference corpus, counted once; every hypothesis has all of it as references.

    p_k  = Σ_g min(count_h(g), max_r count_r(g)) / max(1, Σ_g count_h(g))
    p̃_k  = p_k, or 0.1 / max(1, Σ_g count_h(g)) where no k-gram matches
    BP   = 1 if |h| > r* else exp(1 − r*/|h|),  r* = reference length nearest to |h|, the shorter of two
    BLEU-n(h) = BP · exp((1/n) Σ_{k≤n} log p̃_k), and 0 where not one token of h occurs in the references

    A hypothesis shorter than k has no k-gram and p̃_k = 0.1. An empty hypothesis scores 0. An empty reference is legal:
    it only adds the length 0.

    Source: Papineni et al. 2002, smoothed by Chen & Cherry 2014.
    """

    def __init__(self, references: Sequence[Sequence[int]], max_order: int = 5) -> None:
        """Count a corpus.

        Args:
            references: at least one sequence of token ids, stripped of special symbols (see `strip`).
            max_order: greatest n of BLEU-n, at least 2.

        Raises:
            ShapeError: no references, tensors in place of lists, or `max_order` below 2.
        """
        require_stripped(references, "references", at_least=1)
        _require_order(max_order)
        self.max_order = max_order
        self._lengths = sorted({len(reference) for reference in references})
        self._table, self._greatest = NGramTable(), []
        text = flat(references)
        for order, numbers in enumerate(self._table.number(text, max_order), start=1):
            _, ngrams, counts = counts_by_row(text.rows, numbers)
            greatest = np.zeros(self._table.size(order), np.int64)
            np.maximum.at(greatest, ngrams, counts)
            self._greatest.append(greatest)

    def sentence_bleu(self, hypotheses: Sequence[Sequence[int]]) -> dict[int, list[float]]:
        """BLEU of each hypothesis.

        Args:
            hypotheses: B sequences of token ids, stripped of special symbols.

        Returns:
            For each n in 2..max_order, B scores in [0, 1], in the order of the hypotheses.

        Raises:
            ShapeError: tensors in place of lists.
        """
        require_stripped(hypotheses, "hypotheses", at_least=0)
        text = flat(hypotheses)
        matches = np.zeros((len(hypotheses), self.max_order), np.int64)
        for place, numbers in enumerate(self._table.find(text)):
            rows, ngrams, counts = counts_by_row(text.rows, numbers)
            matched = np.minimum(counts, self._greatest[place][ngrams])
            matches[:, place] = np.bincount(rows, matched, len(hypotheses))
        nearest = {length: _nearest_length(self._lengths, length) for length in set(map(len, hypotheses))}
        return _scores(matches, text.lengths, nearest)

    def bleu(self, hypotheses: Sequence[Sequence[int]]) -> dict[int, float]:
        """Sentence BLEU averaged over the hypotheses.

        Args:
            hypotheses: at least one sequence of token ids, stripped of special symbols.

        Returns:
            {n: BLEU-n} for n in 2..max_order, each in [0, 1].

        Raises:
            ShapeError: no hypotheses, or tensors in place of lists.
        """
        require_stripped(hypotheses, "hypotheses", at_least=1)
        return _averages(self.sentence_bleu(hypotheses))


def self_bleu(sequences: Sequence[Sequence[int]], max_order: int = 5) -> dict[int, float]:
    """Mean BLEU of each sequence against all the others of its own set; higher is less diverse.

    Self-BLEU-n(S) = (1/|S|) Σ_{y∈S} BLEU-n(y; S∖{y})

    Leaving out is by position: another copy of y elsewhere in S is a reference, and y then matches in full. Were y its
    own reference, as in one public variant, every sequence would match in full. Smoothing, brevity penalty and empty
    sequences are as in `CorpusReferences`; the value grows with |S|, so compare equal sizes only.

    Source: Zhu et al. 2018 (Texygen), made leave-one-out.

    Args:
        sequences: at least two sequences of token ids, stripped of special symbols (see `strip`).
        max_order: greatest n, at least 2.

    Returns:
        {n: Self-BLEU-n} for n in 2..max_order, each in [0, 1].

    Raises:
        ShapeError: fewer than two sequences, tensors in place of lists, or `max_order` below 2.
    """
    require_stripped(sequences, "sequences", at_least=2)
    _require_order(max_order)
    text = flat(sequences)
    matches = np.zeros((len(sequences), max_order), np.int64)
    for place, numbers in enumerate(NGramTable(keeps_unknown=True).number(text, max_order)):
        rows, ngrams, counts = counts_by_row(text.rows, numbers)
        matches[:, place] = np.bincount(rows, _left_out_matches(ngrams, counts), len(sequences))
    num_of_length = Counter(text.lengths.tolist())
    nearest = {
        length: _nearest_length(
            (other for other in num_of_length if other != length or num_of_length[length] > 1), length
        )
        for length in num_of_length
    }
    return _averages(_scores(matches, text.lengths, nearest))


def _left_out_matches(ngrams: Integers, counts: Integers) -> Integers:
    """Clipped count of each n-gram of each sequence against all the other sequences.

    Args:
        ngrams: numbers of n-grams, each once for every sequence that holds it.
        counts: how often that sequence holds it.
    """
    size = int(ngrams.max(initial=-1)) + 1
    greatest, second = np.zeros(size, np.int64), np.zeros(size, np.int64)
    np.maximum.at(greatest, ngrams, counts)
    has_most = counts == greatest[ngrams]
    num_greatest = np.bincount(ngrams[has_most], minlength=size)
    np.maximum.at(second, ngrams[~has_most], counts[~has_most])
    # Where one sequence alone has most, it is left with the most that another has.
    return np.where(has_most & (num_greatest[ngrams] == 1), second[ngrams], counts)


def _require_order(max_order: int) -> None:
    if max_order < 2:
        raise ShapeError(
            f"max_order={max_order}: must be at least 2.",
            code="bleu_order",
            fields={"max_order": max_order},
        )


def _nearest_length(lengths: Iterable[int], length: int) -> int:
    """The reference length r* of a hypothesis: the nearest, and of two equally near the shorter."""
    return min(lengths, key=lambda reference_length: (abs(reference_length - length), reference_length))


def _scores(matches: Integers, lengths: Integers, nearest: dict[int, int]) -> dict[int, list[float]]:
    """BLEU-n of each hypothesis.

    Args:
        matches: (B, greatest n), clipped k-gram matches of each.
        lengths: (B,) of the hypotheses.
        nearest: reference length r* of each length.
    """
    max_order = matches.shape[1]
    scores: dict[int, list[float]] = {order: [] for order in range(2, max_order + 1)}
    for own_matches, length in zip(matches.tolist(), lengths.tolist(), strict=True):
        _append_scores(scores, own_matches, length, nearest[length])
    return scores


def _append_scores(scores: dict[int, list[float]], matches: list[int], length: int, nearest_length: int) -> None:
    """Append BLEU-n of one hypothesis to each `scores[n]`; `matches[k - 1]` are its clipped k-gram matches."""
    if matches[0] == 0:  # also where the hypothesis is empty
        for order_scores in scores.values():
            order_scores.append(0.0)
        return
    log_brevity_penalty = min(0.0, 1.0 - nearest_length / length)
    log_precision_sum = 0.0
    for order, num_matches in enumerate(matches, start=1):
        num_ngrams = max(1, length - order + 1)
        log_precision_sum += math.log((num_matches or SMOOTHING) / num_ngrams)
        if order in scores:
            scores[order].append(math.exp(log_brevity_penalty + log_precision_sum / order))


def _averages(scores: dict[int, list[float]]) -> dict[int, float]:
    return {order: math.fsum(order_scores) / len(order_scores) for order, order_scores in scores.items()}
