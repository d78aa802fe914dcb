"""Many sequences as numbers: tokens are numbered while they are cut, and no list of strings a line is ever held.

Tokens get provisional ids in the order in which they come. Counting, cutting, comparing and sharing out need no more;
at the end a table takes provisional ids to those of a vocabulary. All sequences of a file are one array of ids and two
of places, so five million lines cost what their tokens cost: one, two or four bytes each.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..sequence_space import SequenceSpace
from ..vocabulary import Vocabulary

_CHUNK = 1 << 20  # tokens that are worked on at once

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences of ids, without terminators.

    Attributes:
        ids: (N,) of one or several sequences after another.
        starts: (n,) place in `ids` of the first token of each sequence.
        lengths: (n,) number of its tokens.
    """

    ids: NDArray[np.integer]
    starts: Places
    lengths: Places

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, places: Places) -> Rows:
        """Some of the sequences, in the order of `places`."""
        return Rows(self.ids, self.starts[places], self.lengths[places])

    def cut(self, length: int, *, keeps_end: bool = False) -> Rows:
        """The first, or the last, so many tokens of each."""
        lengths = np.minimum(self.lengths, length)
        return replace(self, starts=self.starts + (self.lengths - lengths) * keeps_end, lengths=lengths)

    def row(self, place: int) -> NDArray[np.integer]:
        """The ids of one sequence."""
        start = int(self.starts[place])
        return self.ids[start : start + int(self.lengths[place])]

    def parts(self) -> Iterator[tuple[slice, NDArray[np.integer], Places]]:
        """All sequences, about a million tokens at once.

        Yields:
            Which sequences, their ids one after another, and their lengths.
        """
        ends = np.cumsum(self.lengths)
        first = 0
        while first < len(self):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
            lengths = self.lengths[first:last]
            inner = np.cumsum(lengths) - lengths
            total = int(lengths.sum())
            places = np.repeat(self.starts[first:last] - inner, lengths) + np.arange(total)
            yield slice(first, last), self.ids[places], lengths
            first = last

    def counts(self, num_ids: int) -> NDArray[np.int64]:
        """How often each id occurs: (num_ids,)."""
        found = np.zeros(num_ids, dtype=np.int64)
        for _, ids, _ in self.parts():
            found += np.bincount(ids, minlength=num_ids)
        return found

    def any_of(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each sequence holds an id of which `wanted` (num_ids,) is True: (n,)."""
        found = np.zeros(len(self), dtype=bool)
        for which, ids, lengths in self.parts():
            found[which] = _sums(wanted[ids].astype(np.uint64), lengths) > 0
        return found

    def hashes(self) -> NDArray[np.uint64]:
        """(n,) numbers that are equal where sequences are; by chance, elsewhere, too."""
        found = np.empty(len(self), dtype=np.uint64)
        for which, ids, lengths in self.parts():
            inner = np.cumsum(lengths) - lengths
            place = (np.arange(len(ids)) - np.repeat(inner, lengths)).astype(np.uint64)
            mixed = (ids.astype(np.uint64) + np.uint64(1)) * _ODD[0] + place * _ODD[1]
            mixed ^= mixed >> np.uint64(31)
            mixed *= _ODD[2]
            mixed ^= mixed >> np.uint64(29)
            found[which] = _sums(mixed, lengths)
        return found


_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


def _sums(values: NDArray[np.uint64], lengths: Places) -> NDArray[np.uint64]:
    """Of each sequence the sum of its values, modulo 2^64."""
    ends = np.cumsum(lengths)
    upto = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    sums: NDArray[np.uint64] = upto[ends] - upto[ends - lengths]
    return sums


class Numbering:
    """Provisional ids of tokens, in the order in which they come."""

    def __init__(self) -> None:
        self._ids: defaultdict[str, int] = defaultdict()
        self._ids.default_factory = self._ids.__len__

    @property
    def tokens(self) -> list[str]:
        """The tokens, by their provisional ids."""
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def rows(self, sequences: Iterable[Sequence[str]]) -> Rows:
        """Number sequences of tokens, each of which is read once."""
        number, chunks = self._ids.__getitem__, list[NDArray[np.integer]]()
        lengths, chunk = array("q"), array("i")
        for tokens in sequences:
            chunk.extend(map(number, tokens))
            lengths.append(len(tokens))
            if len(chunk) > _CHUNK:
                chunks.append(_narrow(chunk))
                chunk = array("i")
        chunks.append(_narrow(chunk))
        found = np.array(lengths, dtype=np.int64)
        return Rows(_joined(chunks), np.cumsum(found) - found, found)

    def table(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        """(provisional ids,) the vocabulary's id of each."""
        return np.array(vocabulary.encode(self._ids), dtype=np.int32)

    def counted(self, counts: NDArray[np.int64]) -> dict[str, int]:
        """Number of occurrences by token, from that by provisional id."""
        return dict(zip(self._ids, counts.tolist(), strict=True))

    def words(self, rows: Rows) -> tuple[tuple[str, ...], ...]:
        """The tokens themselves, of a few sequences."""
        tokens = self.tokens
        return tuple(tuple(map(tokens.__getitem__, rows.row(place).tolist())) for place in range(len(rows)))


def _narrow(ids: array[int]) -> NDArray[np.integer]:
    found = np.array(ids, dtype=np.int32)
    return found.astype(_unsigned(int(found.max()) if len(found) else 0))


def _unsigned(greatest: int) -> type[np.integer]:
    return np.uint8 if greatest < 2**8 else np.uint16 if greatest < 2**16 else np.int32


def _joined(chunks: list[NDArray[np.integer]]) -> NDArray[np.integer]:
    """All chunks as one array, of the widest type among them; empties the list on the way."""
    whole = np.empty(sum(map(len, chunks)), dtype=np.result_type(*chunks))
    first = 0
    chunks.reverse()
    while chunks:
        chunk = chunks.pop()
        whole[first : first + len(chunk)] = chunk
        first += len(chunk)
    return whole


def groups_of(hashes: NDArray[np.uint64], key: Callable[[int], Hashable]) -> Places:
    """Which items are equal.

    Args:
        hashes: (n,) equal where items are.
        key: of an item, by its place; decides where hashes are equal.

    Returns:
        (n,) group of each item; equal items are of one group, and groups are numbered in the order in which their
        first items come.
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    is_first = np.ones(len(hashes), dtype=bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    run = np.cumsum(is_first) - 1
    first_of = np.empty(len(hashes), dtype=np.int64)
    first_of[order] = order[is_first][run]
    known: dict[Hashable, int] = {}
    for place in np.sort(order[np.bincount(run)[run] > 1]).tolist():
        first_of[place] = known.setdefault(key(place), place)
    return np.unique(first_of, return_inverse=True)[1]


def first_of_each(groups: Places) -> Places:
    """Places of the first item of each group, in order."""
    return np.unique(groups, return_index=True)[1]


def equal_rows(*parts: Rows) -> list[Places]:
    """`groups_of` the sequences of all parts together, part by part; their ids must be of one numbering."""
    hashes = np.concatenate([rows.hashes() for rows in parts])
    begins = np.cumsum([0, *map(len, parts)])

    def key(place: int) -> bytes:
        part = int(np.searchsorted(begins, place, side="right")) - 1
        return parts[part].row(place - int(begins[part])).astype(np.int32).tobytes()

    return np.split(groups_of(hashes, key), begins[1:-1])


def equal_texts(*columns: Sequence[str]) -> Places:
    """`groups_of` texts, or of rows of several columns of them."""
    hashes = np.fromiter(map(hash, zip(*columns, strict=True)), dtype=np.int64, count=len(columns[0]))
    return groups_of(hashes.view(np.uint64), lambda place: tuple(column[place] for column in columns))


def filled(rows: Rows, table: NDArray[np.int32], space: SequenceSpace) -> Tensor:
    """Sequences of a vocabulary's ids with the terminator and padding after each that has room for them.

    Args:
        rows: n sequences of provisional ids, of at most T tokens.
        table: see `Numbering.table`.
        space: the sequences' alphabet and shape.

    Returns:
        (n, T), int16 where that holds V ids and int32 elsewhere. Whoever forms a batch of it makes it int64.
    """
    narrow = np.int16 if space.vocab_size <= 2**15 else np.int32
    tokens = np.full((len(rows), space.max_length), space.pad_id, dtype=narrow)
    own = table.astype(narrow)
    for which, ids, lengths in rows.parts():
        places, part = np.arange(space.max_length), tokens[which]
        part[places < lengths[:, None]] = own[ids]
        if space.end_id is not None:
            part[places == lengths[:, None]] = space.end_id
    return torch.from_numpy(tokens)
