"""n-grams of many sequences as numbers, so that counting them is sorting, a million lines in seconds.

An n-gram is numbered by the number of its first n-1 tokens and its last token: within a table, equal n-grams have equal
numbers and no two others have. Another set's n-grams are looked up in the table of the first one.

    P positions of all sequences together, n order
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .sequences import UNKNOWN

Integers = NDArray[np.int64]

_NONE = -1  # number of an n-gram that is not whole, or not in the table


@dataclass(frozen=True, slots=True)
class Flat:
    """Sequences one after another.

    Attributes:
        tokens: (P,) each token, one higher than its id, so that `UNKNOWN` is 0.
        rows: (P,) of which sequence.
        left: (P,) tokens from this one to the end of its sequence, itself included.
        lengths: of each sequence.
    """

    tokens: Integers
    rows: Integers
    left: Integers
    lengths: Integers


def flat(sequences: Sequence[Sequence[int]]) -> Flat:
    """Sequences of token ids, `UNKNOWN` among them, one after another."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    total = int(lengths.sum())
    ends = np.repeat(lengths.cumsum(), lengths)
    return Flat(
        tokens=np.fromiter(chain.from_iterable(sequences), np.int64, total) + 1,
        rows=np.repeat(np.arange(len(sequences)), lengths),
        left=ends - np.arange(total),
        lengths=lengths,
    )


class NGramTable:
    """Numbers of the n-grams of one set.

    Args:
        keeps_unknown: whether `UNKNOWN` is a token like others, equal to itself; else an n-gram that holds it has no
            number, and is found nowhere.
    """

    def __init__(self, keeps_unknown: bool = False) -> None:
        self._least = 0 if keeps_unknown else UNKNOWN + 2
        self._keys: list[Integers] = []
        self._base = 1

    def size(self, order: int) -> int:
        """How many different n-grams there are."""
        return len(self._keys[order - 1])

    def parts(self, order: int) -> tuple[Integers, Integers]:
        """Of each n-gram of an order, by its number: the number of its first n-1 tokens (0 for n = 1), and its last."""
        return self._keys[order - 1] // self._base, self._keys[order - 1] % self._base

    def number(self, text: Flat, max_order: int) -> Iterator[Integers]:
        """Number the n-grams of a set, once; one order after another, so that only one is held.

        Args:
            text: the set.
            max_order: greatest n.

        Yields:
            (P,) number of the n-gram that begins at each position, for n = 1..max_order; -1 where none does.
        """
        self._base = int(text.tokens.max(initial=0)) + 1
        numbers = np.zeros(len(text.tokens), np.int64)
        for order in range(1, max_order + 1):
            begins, keys = self._extended(text, numbers, order)
            found, own = np.unique(keys, return_inverse=True)
            self._keys.append(found)
            numbers = np.full(len(text.tokens), _NONE)
            numbers[begins] = own
            yield numbers

    def find(self, text: Flat) -> Iterator[Integers]:
        """Look up the n-grams of another set.

        Args:
            text: the other set.

        Yields:
            (P,) number of the n-gram that begins at each of its positions, order by order; -1 where the table has none.
        """
        numbers = np.zeros(len(text.tokens), np.int64)
        for order, known in enumerate(self._keys, start=1):
            begins, keys = self._extended(text, numbers, order)
            numbers = np.full(len(text.tokens), _NONE)
            numbers[begins] = _places(known, keys)
            yield numbers

    def find_all(self, other: NGramTable) -> Iterator[Integers]:
        """Of each n-gram of another table, order by order, its number in this one; -1 where it is not there."""
        numbers = np.zeros(1, np.int64)
        for order, known in enumerate(self._keys, start=1):
            first, last = other.parts(order)
            first = numbers[first]
            is_possible = (first != _NONE) & (last < self._base) & (last >= max(self._least, other._least))
            numbers = np.full(len(first), _NONE)
            numbers[is_possible] = _places(known, first[is_possible] * self._base + last[is_possible])
            yield numbers

    def _extended(self, text: Flat, numbers: Integers, order: int) -> tuple[Integers, Integers]:
        """Where n-grams begin whose first n-1 tokens have numbers, and their keys."""
        begins = np.flatnonzero((text.left >= order) & (numbers != _NONE))
        last = text.tokens[begins + order - 1]
        is_possible = (last >= self._least) & (last < self._base)
        if not is_possible.all():
            begins, last = begins[is_possible], last[is_possible]
        return begins, numbers[begins] * self._base + last


def counts_by_row(rows: Integers, numbers: Integers) -> tuple[Integers, Integers, Integers]:
    """How often each n-gram occurs in each sequence that holds it.

    Args:
        rows: (P,) of which sequence.
        numbers: (P,) as `NGramTable` numbers them; -1 is not counted.

    Returns:
        Sequences, n-grams and counts, each once, by rising sequence and n-gram.
    """
    there = numbers != _NONE
    numbers, rows = numbers[there], rows[there]
    size = int(numbers.max(initial=0)) + 1
    pairs, counts = np.unique(rows * size + numbers, return_counts=True)
    return pairs // size, pairs % size, counts


def _places(known: Integers, keys: Integers) -> Integers:
    """Where keys stand among sorted ones, -1 where they do not."""
    if not len(known):
        return np.full(len(keys), _NONE)
    places = np.searchsorted(known, keys)
    places[places == len(known)] = 0
    places[known[places] != keys] = _NONE
    return places
