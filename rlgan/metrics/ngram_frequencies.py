"""How far the n-gram frequencies of two sets of sequences lie apart (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rlgan.base.errors import ShapeError

from .ngrams import Integers, NGramTable, flat
from .quantity import Quantity
from .sequences import require_stripped

QUANTITIES = (Quantity("js_*", "distance of n-gram frequencies from the test set", "bits", "lower", "as real"),)
"""Facts of the figures of this module."""


class NgramFrequencies:
    """Relative frequencies of the n-grams of a set, n = 1..max_order, counted once.

    An n-gram that holds an unknown token (`UNKNOWN`) counts, and is an n-gram of no other set.

    Args:
        sequences: at least one sequence of token ids, stripped of special symbols (see `strip`).
        max_order: greatest n.

    Raises:
        ShapeError: no sequences, tensors in place of lists, or `max_order` below 1.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], max_order: int = 4) -> None:
        require_stripped(sequences, "sequences", at_least=1)
        if max_order < 1:
            raise ShapeError(
                f"max_order={max_order}: must be at least 1.",
                code="frequencies_order",
                fields={"max_order": max_order},
            )
        self.max_order = max_order
        text = flat(sequences)
        self._table, self._counts, self._totals = NGramTable(), [], []
        for order, numbers in enumerate(self._table.number(text, max_order), start=1):
            self._counts.append(np.bincount(numbers[numbers >= 0], minlength=self._table.size(order)))
            self._totals.append(int((text.left >= order).sum()))

    def js(self, other: NgramFrequencies) -> dict[int, float]:
        """Jensen-Shannon divergence of the two sets' n-gram frequencies.

        JS-n = ½ Σ_g p(g) log₂(p(g) / m(g)) + ½ Σ_g q(g) log₂(q(g) / m(g)),   m = (p + q) / 2

        Most long n-grams occur in one of two finite sets by chance alone, so JS-n of large n is as much a matter of the
        sets' sizes as of their distributions: compare equal sizes only, and beside that of real sequences.

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
            raise ShapeError(
                f"max_order={self.max_order} and {other.max_order}: both sets must have the same.",
                code="frequencies_orders_differ",
                fields={"max_order": self.max_order},
            )
        found = enumerate(self._table.find_all(other._table), start=1)
        return {order: self._js(other, order, numbers) for order, numbers in found}

    def _js(self, other: NgramFrequencies, order: int, numbers: Integers) -> float:
        """JS-n; `numbers` are ours of their n-grams."""
        our_total, their_total = self._totals[order - 1], other._totals[order - 1]
        if not our_total or not their_total:
            return 0.0 if our_total == their_total else 1.0
        are_shared = numbers >= 0
        ours, theirs = self._counts[order - 1][numbers[are_shared]], other._counts[order - 1][are_shared]
        p, q = ours / our_total, theirs / their_total
        # What one set alone has counts one bit in full, for there p / m = 2.
        alone = (our_total - int(ours.sum())) / our_total + (their_total - int(theirs.sum())) / their_total
        # Exactly rounded, so that the order in which n-grams are numbered does not matter.
        within = math.fsum(p * np.log2(2.0 * p / (p + q)) + q * np.log2(2.0 * q / (p + q)))
        return (alone + within) / 2.0
