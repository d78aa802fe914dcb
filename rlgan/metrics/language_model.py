"""A smoothed n-gram language model, and the two scores that it gives a generator (docs/metrics.md).

    LM  = -(1/tokens) Σ log p(samples)   of a model of real sequences: quality
    RLM = -(1/tokens) Σ log p(reals)     of a model of samples: quality and diversity

Both are nats a token, lower is better, and a generator that gains in one by losing in the other shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ShapeError

from .ngrams import Flat, Integers, NGramTable, flat
from .quantity import Quantity
from .sequences import UNKNOWN, require_stripped

QUANTITIES = (
    Quantity("lm_5gram", "NLL of samples, 5-gram model of text", "nats/token", "lower", side="quality", is_key=True),
    Quantity(
        "rlm_5gram", "NLL of held-out text, 5-gram model of samples", "nats/token", "lower", "samples", "coverage", True
    ),
    Quantity("lm_5gram_matched", "lm_5gram at the lengths of real text", "nats/token", "lower", is_key=True),
)
"""Facts of the figures of this module."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Order:
    """What is known of the k-grams of one order.

    Attributes:
        counts: a(g) by number of the k-gram.
        totals: Σ_v a(hv) by number of the context h.
        num_different: |{v : a(hv) > 0}| by number of the context h.
        discount: D_k.
    """

    counts: Floats
    totals: Floats
    num_different: Integers
    discount: float


class KneserNey:
    """Interpolated Kneser-Ney smoothing with one discount an order (Kneser & Ney 1995; Chen & Goodman 1999, eq. 26).

        p_k(w | h) = max(a(hw) - D_k, 0) / Σ_v a(hv) + D_k · |{v : a(hv) > 0}| / Σ_v a(hv) · p_{k-1}(w | h')

    a(g) counts how often g occurs, where k is the order or g begins a sequence; elsewhere it counts the different
    tokens that precede g. D_k = n_1 / (n_1 + 2 n_2) of the k-grams with a = 1 and 2, ½ where one of them is 0. h' is h
    without its first token, p_0 is uniform, and a context that was never seen leaves p_k = p_{k-1}.

    An unknown token (`UNKNOWN`) that is scored is one certain word that was never seen: it has the least probability
    that any token has in its place, and makes contexts that were never seen. Unknown tokens that are learned from are
    one word of the alphabet, which nothing that is scored is equal to. So no text is likelier for unknown tokens than
    for a word that occurs nowhere, and no model predicts better for having seen them.

    Args:
        sequences: what is learned from, as `strip` returns them.
        vocab_size: V.
        ends: whether the end of a sequence is a token that is predicted; where all are of one length it is none.
        order: greatest n.
        on_order: called after each order that is counted, with its number and with how many there are: a million lines
            take seconds each.

    Raises:
        ShapeError: no sequences, or an order below 1.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        vocab_size: int,
        ends: bool,
        order: int = 5,
        on_order: Callable[[int, int], None] | None = None,
    ) -> None:
        require_stripped(sequences, "sequences", at_least=1)
        if order < 1:
            raise ShapeError(f"order={order}: must be at least 1.", code="ngram_model_order", fields={"order": order})
        self._end = vocab_size if ends else None
        self._beginning, self._unknown = vocab_size + 1, vocab_size + 2  # beside the ids of the alphabet
        self._num_outcomes = vocab_size + int(ends)
        self._table = NGramTable()
        self._orders = self._counted(self._marked(sequences, self._unknown), order, on_order)

    def mean_nll(self, sequences: Sequence[Sequence[int]], counts_unknown: bool = True) -> float:
        """Negative log-probability of sequences, nats a token, ends included where they are predicted.

        Args:
            sequences: as `strip` returns them.
            counts_unknown: whether unknown tokens are among those of which it is the mean. Held-out ones nobody can
                predict, so that a reverse score leaves them out.

        Raises:
            ShapeError: no sequences, or nothing that is predicted.
        """
        found = -np.log(self.probabilities(sequences))
        if not counts_unknown:
            text = self._marked(sequences, UNKNOWN)
            found = found[text.tokens[_places(text) > 0] != UNKNOWN + 1]
            if not len(found):
                raise ShapeError(
                    "sequences: all tokens are unknown, so there is nothing to predict.", code="ngram_all_unknown"
                )
        return float(found.mean())

    def nll_by_sequence(self, sequences: Sequence[Sequence[int]], counts_unknown: bool = True) -> tuple[Floats, Floats]:
        """Negative log-probability of each sequence, and of how many tokens; their sums' ratio is `mean_nll`.

        Args:
            sequences: n, as `strip` returns them.
            counts_unknown: as of `mean_nll`.

        Returns:
            (n,) nats, and (n,) numbers of tokens that are predicted and counted.
        """
        found = -np.log(self.probabilities(sequences))
        text = self._marked(sequences, UNKNOWN)
        is_predicted = _places(text) > 0
        rows, kept = text.rows[is_predicted], np.ones(len(found), np.bool_)
        if not counts_unknown:
            kept = text.tokens[is_predicted] != UNKNOWN + 1
        number = len(sequences)
        sums = np.bincount(rows[kept], weights=found[kept], minlength=number).astype(np.float64)
        return sums, np.bincount(rows[kept], minlength=number).astype(np.float64)

    def probabilities(self, sequences: Sequence[Sequence[int]]) -> Floats:
        """Probability of each token given those before it.

        Args:
            sequences: as `strip` returns them.

        Returns:
            (tokens,) float64 of all sequences in turn.
        """
        require_stripped(sequences, "sequences", at_least=1)
        # Where an unknown token stands no n-gram is found, for there is none in the table.
        text = self._marked(sequences, UNKNOWN)
        place, result = _places(text), np.full(len(text.tokens), 1.0 / self._num_outcomes)
        context = np.zeros(len(text.tokens), np.int64)
        for k, (known, numbers) in enumerate(zip(self._orders, self._table.find(text), strict=True), start=1):
            if not len(known.counts):
                break  # what was learned from is shorter
            # Of the k-gram that ends at each position, and of its context; both begin k-1 positions earlier.
            ending = _moved(numbers, k - 1)
            has_context = (place >= max(k - 1, 1)) & (context >= 0)
            total = np.where(has_context, known.totals[context], 0.0)
            seen = total > 0
            different = known.num_different[np.where(seen, context, 0)]
            count = np.where(ending >= 0, known.counts[ending], 0.0)
            below = np.where(seen, total, 1.0)
            mixed = (np.maximum(count - known.discount, 0.0) + known.discount * different * result) / below
            result = np.where(seen, mixed, result)
            context = _moved(numbers, k)
        return result[place > 0]

    def _marked(self, sequences: Sequence[Sequence[int]], unknown: int) -> Flat:
        """Sequences with their beginnings and ends, in which `unknown` stands for unknown tokens."""
        plain = flat(sequences)
        num_marks = 1 + (self._end is not None)
        if not len(plain.tokens) and self._end is None:
            raise ShapeError("sequences: all are empty, so there is nothing to predict.", code="ngram_all_empty")
        lengths = plain.lengths + num_marks
        ends = lengths.cumsum()
        tokens = np.empty(int(lengths.sum()), np.int64)
        is_plain = np.ones(len(tokens), np.bool_)
        is_plain[ends - lengths] = False
        tokens[ends - lengths] = self._beginning + 1
        if self._end is not None:
            is_plain[ends - 1] = False
            tokens[ends - 1] = self._end + 1
        tokens[is_plain] = np.where(plain.tokens == UNKNOWN + 1, unknown + 1, plain.tokens)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return Flat(tokens, rows, np.repeat(ends, lengths) - np.arange(len(tokens)), lengths)

    def _counted(self, text: Flat, order: int, on_order: Callable[[int, int], None] | None) -> list[_Order]:
        """Counts of all orders; a(g) of an order is known when the next one has been numbered."""
        place = _places(text)
        raws: list[Floats] = []
        begins: list[Integers] = []
        preceded: list[Floats] = []
        before: Integers | None = None
        for k, numbers in enumerate(self._table.number(text, order), start=1):
            size = self._table.size(k)
            ending = _moved(numbers, k - 1)
            is_predicted = (place >= max(k - 1, 1)) & (ending >= 0)
            raws.append(np.bincount(ending[is_predicted], minlength=size).astype(np.float64))
            # Where the k-gram is the beginning and what follows it. It alone is preceded by nothing.
            begins.append(np.unique(ending[is_predicted & (place == k - 1)]))
            if before is not None:
                # Every k-gram adds one different token that precedes its last k-1 tokens.
                shorter = np.empty(size, np.int64)
                first = np.flatnonzero(numbers >= 0)
                shorter[numbers[first]] = before[first + 1]
                preceded.append(np.bincount(shorter, minlength=self._table.size(k - 1)).astype(np.float64))
            before = numbers
            if on_order is not None:
                on_order(k, order)
        orders = []
        for k, raw in enumerate(raws, start=1):
            counts = raw
            if k < order:
                counts = preceded[k - 1]
                counts[begins[k - 1]] = raw[begins[k - 1]]
            contexts = self._table.parts(k)[0]
            kinds = raw > 0  # all but the beginning itself, which is not predicted
            size = self._table.size(k - 1) if k > 1 else 1
            orders.append(
                _Order(
                    counts=counts,
                    totals=np.bincount(contexts[kinds], weights=counts[kinds], minlength=size).astype(np.float64),
                    num_different=np.bincount(contexts[kinds], minlength=size),
                    discount=_discount(counts[kinds]),
                )
            )
        return orders


def _places(text: Flat) -> Integers:
    """(P,) place of each token in its sequence, from 0."""
    return text.lengths[text.rows] - text.left


def _moved(numbers: Integers, by: int) -> Integers:
    """Numbers as many positions later; -1 where nothing stood so far before."""
    moved = np.full(len(numbers), -1)
    moved[by:] = numbers[: max(0, len(numbers) - by)]
    return moved


def _discount(counts: np.ndarray) -> float:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
