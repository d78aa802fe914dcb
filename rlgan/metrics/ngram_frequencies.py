"""How far the n-gram frequencies of two sets of sequences lie apart (specification 17.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rlgan.envs.errors import ShapeError

from .sequences import NGram, ngram_counts, require_stripped


class NgramFrequencies:
    """Relative frequencies of the n-grams of a set, n = 1..max_order, counted once.

    Args:
        sequences: at least one sequence of token ids, stripped of special symbols (see `strip`).
        max_order: greatest n.

    Raises:
        ShapeError: no sequences, tensors in place of lists, or `max_order` below 1.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], max_order: int = 4) -> None:
        require_stripped(sequences, "sequences", at_least=1)
        if max_order < 1:
            raise ShapeError(f"max_order={max_order}: an n-gram has at least 1 token.")
        self.max_order = max_order
        self._counts: list[Counter[NGram]] = [Counter() for _ in range(max_order)]
        for sequence in sequences:
            for order, counts in enumerate(self._counts, start=1):
                counts.update(ngram_counts(sequence, order))
        self._totals = [counts.total() for counts in self._counts]

    def js(self, other: NgramFrequencies) -> dict[int, float]:
        """Jensen-Shannon divergence of the two sets' n-gram frequencies.

        JS-n = ½ Σ_g p(g) log₂(p(g) / m(g)) + ½ Σ_g q(g) log₂(q(g) / m(g)),   m = (p + q) / 2

        Most long n-grams occur in one of two finite sets by chance alone, so JS-n of large n is as much a matter of the
        sets' sizes as of their laws: compare equal sizes only, and beside that of real sequences.

        Source: Gulrajani et al. 2017 (WGAN-GP), section 5; they print it for a character language model.

        Args:
            other: with the same `max_order`.

        Returns:
            {n: JS-n} in bits for n in 1..max_order, in [0, 1]; 1 where only one set is long enough for an n-gram, 0
            where neither is.

        Raises:
            ShapeError: the greatest orders differ.
        """
        if self.max_order != other.max_order:
            raise ShapeError(f"max_order={self.max_order} and {other.max_order}: both sets need the same.")
        return {order: self._js(other, order) for order in range(1, self.max_order + 1)}

    def _js(self, other: NgramFrequencies, order: int) -> float:
        ours, theirs = self._counts[order - 1], other._counts[order - 1]
        our_total, their_total = self._totals[order - 1], other._totals[order - 1]
        if not our_total or not their_total:
            return 0.0 if our_total == their_total else 1.0
        shared = ours.keys() & theirs.keys()
        p = np.fromiter((ours[gram] for gram in shared), np.float64, len(shared)) / our_total
        q = np.fromiter((theirs[gram] for gram in shared), np.float64, len(shared)) / their_total
        # What one set alone has counts one bit in full, for there p / m = 2.
        alone = (1.0 - p.sum()) + (1.0 - q.sum())
        within = (p * np.log2(2.0 * p / (p + q)) + q * np.log2(2.0 * q / (p + q))).sum()
        return float(alone + within) / 2.0
