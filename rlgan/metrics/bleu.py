"""Sentence BLEU against a whole reference corpus, and leave-one-out Self-BLEU, all orders in one pass.

The naive form compares every hypothesis with every reference. BLEU only ever asks for the greatest count of an n-gram
in any one reference and for the nearest reference length, so both are gathered once; for leave-one-out the runner-up
count is kept as well. Translation-style corpus BLEU does not live here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlgan.envs.errors import ShapeError

from .sequences import NGram, ngram_counts, require_stripped

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
        self._greatest: list[dict[NGram, int]] = [{} for _ in range(max_order)]
        # Copies cannot raise a maximum, so each distinct reference is counted once.
        for reference in dict.fromkeys(map(tuple, references)):
            for order, greatest in enumerate(self._greatest, start=1):
                for ngram, count in ngram_counts(reference, order).items():
                    if count > greatest.get(ngram, 0):
                        greatest[ngram] = count

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
        scores: dict[int, list[float]] = {order: [] for order in range(2, self.max_order + 1)}
        for hypothesis in hypotheses:
            matches = [
                sum(min(count, greatest.get(ngram, 0)) for ngram, count in ngram_counts(hypothesis, order).items())
                for order, greatest in enumerate(self._greatest, start=1)
            ]
            nearest_length = _nearest_length(self._lengths, len(hypothesis))
            _append_scores(scores, matches, len(hypothesis), nearest_length)
        return scores

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


@dataclass(slots=True)
class _Holders:
    """Who has most of one n-gram: all that leave-one-out needs to know of it."""

    greatest: int = 0
    """Greatest count in any one sequence."""

    second: int = 0
    """Greatest count once one sequence that holds `greatest` is left out, if only one does."""

    num_greatest: int = 0
    """Number of sequences that hold `greatest`."""

    def add(self, count: int) -> None:
        """Take in the count of one more sequence."""
        if count > self.greatest:
            self.greatest, self.second, self.num_greatest = count, self.greatest, 1
        elif count == self.greatest:
            self.num_greatest += 1
        elif count > self.second:
            self.second = count

    def match(self, own_count: int) -> int:
        """Clipped count of a sequence whose own count has been taken in, against all the others."""
        if own_count == self.greatest and self.num_greatest == 1:
            return self.second
        return own_count


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
    matches: list[list[int]] = [[] for _ in sequences]
    for order in range(1, max_order + 1):
        counts = [ngram_counts(sequence, order) for sequence in sequences]
        holders: dict[NGram, _Holders] = {}
        for own_counts in counts:
            for ngram, count in own_counts.items():
                holders.setdefault(ngram, _Holders()).add(count)
        for own_matches, own_counts in zip(matches, counts, strict=True):
            own_matches.append(sum(holders[ngram].match(count) for ngram, count in own_counts.items()))

    num_of_length = Counter(map(len, sequences))
    scores: dict[int, list[float]] = {order: [] for order in range(2, max_order + 1)}
    for sequence, own_matches in zip(sequences, matches, strict=True):
        length = len(sequence)
        others = (other for other in num_of_length if other != length or num_of_length[length] > 1)
        _append_scores(scores, own_matches, length, _nearest_length(others, length))
    return _averages(scores)


def _require_order(max_order: int) -> None:
    if max_order < 2:
        raise ShapeError(f"max_order={max_order}: BLEU is given from order 2 on. Use max_order=2 or more.")


def _nearest_length(lengths: Iterable[int], length: int) -> int:
    """The reference length r* of a hypothesis: the nearest, and of two equally near the shorter."""
    return min(lengths, key=lambda reference_length: (abs(reference_length - length), reference_length))


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
