"""How near sequences come to the nearest training sequence, and whether nearer than held-out ones do (17.6).

A generator that learned the distribution is as far from its training data as new data are; one that learned the data by
heart is nearer. A distance alone says nothing, for stock phrases are near too: it is read against that of held-out
sequences.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ShapeError

from .ngrams import Flat, Integers, NGramTable, counts_by_row, flat
from .quantity import Quantity
from .sequences import require_stripped

QUANTITIES = (
    Quantity("nearest_*_ks", "whether samples are nearer to training data than new data", "share", None, "neighbours"),
    Quantity("nearest_*_p", "how often such a gap comes by chance", "probability", None, "neighbours"),
    Quantity("nearest_*", "distance to the nearest training sequence", "1 − likeness", None, "training"),
)
"""Facts of the figures of this module."""


class JaccardNeighbours:
    """Training sequences as sets of 3-grams, found again by the 3-grams that they share with another.

    A sequence shorter than that is its own only n-gram, so that a copy of it is still a copy. An n-gram that holds an
    unknown token (`UNKNOWN`) is one of the n-grams of a sequence, and is shared with no other sequence.

    Args:
        training: at least one sequence of token ids, stripped of special symbols (see `strip`).
        order: n of the n-grams, 3 where nothing else is said.

    Raises:
        ShapeError: no sequences, tensors in place of lists, or `order` below 1.
    """

    def __init__(self, training: Sequence[Sequence[int]], order: int = 3) -> None:
        require_stripped(training, "training", at_least=1)
        if order < 1:
            raise ShapeError(f"order={order}: must be at least 1.", code="nearest_order", fields={"order": order})
        self._order = order
        text = self._text(dict.fromkeys(map(tuple, training)))
        self._sizes = self._num_different(text)
        self._table = NGramTable()
        *_, numbers = self._table.number(text, order)
        rows, grams, _ = counts_by_row(text.rows, numbers)
        # Of each n-gram, one after another, the training sequences that hold it.
        self._holders = rows[np.argsort(grams, kind="stable")]
        self._first = np.concatenate([[0], np.bincount(grams, minlength=self._table.size(order)).cumsum()])

    def distances(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Jaccard distance of each sequence to the training sequence that is nearest to it.

        d(y) = min_x 1 − |G(y) ∩ G(x)| / |G(y) ∪ G(x)|,   G(·) the set of n-grams

        Args:
            sequences: n sequences of token ids, stripped of special symbols.

        Returns:
            (n,) in [0, 1]; 0 where a training sequence has the same n-grams, 1 where none shares any.

        Raises:
            ShapeError: tensors in place of lists.
        """
        require_stripped(sequences, "sequences", at_least=0)
        text = self._text(sequences)
        sizes = self._num_different(text)
        *_, numbers = self._table.find(text)
        rows, grams, _ = counts_by_row(text.rows, numbers)
        starts = np.searchsorted(rows, np.arange(len(sequences) + 1))
        found = (grams[first:last] for first, last in pairwise(starts.tolist()))
        return np.array(
            [self._distance(own, size) for own, size in zip(found, sizes.tolist(), strict=True)], np.float64
        )

    def _distance(self, grams: Integers, size: int) -> float:
        """Of a sequence with `size` different n-grams, of which training sequences hold those that are given."""
        if not len(grams):
            return 1.0
        holders = np.concatenate([self._holders[self._first[gram] : self._first[gram + 1]] for gram in grams])
        num_shared = np.bincount(holders)
        near = np.flatnonzero(num_shared)
        return 1.0 - float((num_shared[near] / (size + self._sizes[near] - num_shared[near])).max())

    def _text(self, sequences: Iterable[Sequence[int]]) -> Flat:
        """Sequences one after another, the short ones filled up to one n-gram with a token that there is not."""
        fill = (_FILLED,) * self._order
        return flat([(*sequence, *fill[len(sequence) :]) for sequence in sequences])

    def _num_different(self, text: Flat) -> Integers:
        """Of each sequence, how many different n-grams it has."""
        *_, numbers = NGramTable(keeps_unknown=True).number(text, self._order)
        return np.bincount(counts_by_row(text.rows, numbers)[0], minlength=len(text.lengths))


_FILLED = 2**31
"""Stands in no sequence; ids are lower."""


def cosine_distances(
    encodings: NDArray[np.floating], training: NDArray[np.floating], chunk: int = 4_096
) -> NDArray[np.float64]:
    """Cosine distance of each encoded sequence to the training sequence that is nearest to it.

    d(y) = min_x 1 − ⟨φ(y), φ(x)⟩

    Args:
        encodings: (n, d) float, rows of length 1, or 0 where there was nothing to encode.
        training: (m, d) of the same encoder, m ≥ 1.
        chunk: training sequences that are compared at once; bounds memory and changes nothing else.

    Returns:
        (n,) in [0, 2] but for rounding.

    Raises:
        ShapeError: not (n, d) and (m, d), or nothing to compare with.
    """
    if encodings.ndim != 2 or training.ndim != 2 or encodings.shape[1] != training.shape[1] or not len(training):
        raise ShapeError(
            f"encodings {encodings.shape} and training {training.shape}: expected (n, d) and (m, d) with m of at "
            "least 1.",
            code="nearest_shapes",
        )
    nearest = np.full(len(encodings), -np.inf)
    for start in range(0, len(training), chunk):
        np.maximum(nearest, (encodings @ training[start : start + chunk].T).max(1), out=nearest)
    return 1.0 - nearest


@dataclass(frozen=True, slots=True)
class NearnessTest:
    """Two-sample Kolmogorov-Smirnov test of nearest distances, with its direction.

    Attributes:
        statistic: greatest gap between the two distribution functions, positive where samples lie nearer to training
            data than held-out sequences do, negative where they lie farther; in [−1, 1].
        p_value: of a gap as large in either direction, were both of one distribution.
    """

    statistic: float
    p_value: float


def nearness_test(sampled: NDArray[np.floating], held_out: NDArray[np.floating]) -> NearnessTest:
    """Whether samples are nearer to training data than held-out sequences are.

    D = F_S(d) − F_H(d) at the d where |F_S − F_H| is greatest,   F(d) = share of distances of at most d

    Distances of few values have ties, which make the p-value too large rather than too small.

    Source: Massey 1951; ScratchGAN (de Masson d'Autume et al. 2019) looks at nearest neighbours by eye.

    Args:
        sampled: (n,) distances of samples to their nearest training sequence.
        held_out: (m,) the same of held-out sequences.

    Raises:
        ShapeError: one of them is empty.
    """
    from scipy.stats import ks_2samp

    if not len(sampled) or not len(held_out):
        raise ShapeError(
            f"{len(sampled)} sampled and {len(held_out)} held-out distances: at least 1 of each is needed.",
            code="nearest_distances",
        )
    with warnings.catch_warnings():
        # Where p rounds to a little above 1 it takes the asymptotic form, and warns.
        warnings.filterwarnings("ignore", message="ks_2samp: Exact calculation unsuccessful", category=RuntimeWarning)
        found = ks_2samp(sampled, held_out)
    return NearnessTest(float(found.statistic * found.statistic_sign), float(found.pvalue))
