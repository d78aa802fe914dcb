"""n-grams as numbers against tuples that are compared: equal numbers, equal n-grams, within a set and across two."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.metrics import UNKNOWN
from rlgan.metrics.ngrams import NGramTable, counts_by_row, flat

Line = tuple[int, ...]
some_lines = st.lists(st.lists(st.sampled_from([UNKNOWN, 0, 1, 2, 7]), max_size=6).map(tuple), max_size=6)


def ngrams_at(lines: list[Line], order: int) -> list[Line | None]:
    """Of each position of all lines the n-gram that begins there; None where it does not fit."""
    return [
        line[place : place + order] if place + order <= len(line) else None
        for line in lines
        for place in range(len(line))
    ]


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(lines=some_lines, keeps_unknown=st.booleans())
def test_equal_ngrams_have_equal_numbers_and_no_others(lines: list[Line], keeps_unknown: bool) -> None:
    table = NGramTable(keeps_unknown)
    for order, numbers in enumerate(table.number(flat(lines), 4), start=1):
        expected = ngrams_at(lines, order)
        is_there = [gram is not None and (keeps_unknown or UNKNOWN not in gram) for gram in expected]
        assert (numbers >= 0).tolist() == is_there
        pairs = {(gram, int(number)) for gram, number, there in zip(expected, numbers, is_there, strict=True) if there}
        assert len(pairs) == len({gram for gram, _ in pairs}) == len({number for _, number in pairs})
        assert table.size(order) == len(pairs)
        assert {number for _, number in pairs} == set(range(len(pairs)))


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(lines=some_lines, others=some_lines)
def test_ngrams_of_another_set_are_found_by_what_they_are(lines: list[Line], others: list[Line]) -> None:
    table, other = NGramTable(), NGramTable()
    numbered = [
        dict(zip(ngrams_at(lines, k), n.tolist(), strict=True)) for k, n in enumerate(table.number(flat(lines), 3), 1)
    ]
    theirs = list(other.number(flat(others), 3))
    found, across = list(table.find(flat(others))), list(table.find_all(other))
    for order in (1, 2, 3):
        for place, gram in enumerate(ngrams_at(others, order)):
            expected = -1 if gram is None or UNKNOWN in gram else numbered[order - 1].get(gram, -1)
            assert found[order - 1][place] == expected
            if theirs[order - 1][place] >= 0:
                assert across[order - 1][theirs[order - 1][place]] == expected


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(lines=some_lines)
def test_counts_by_sequence(lines: list[Line]) -> None:
    text = flat(lines)
    for order, numbers in enumerate(NGramTable(keeps_unknown=True).number(text, 3), start=1):
        rows, grams, counts = counts_by_row(text.rows, numbers)
        expected = Counter(
            (row, gram)
            for row, gram in zip(text.rows.tolist(), ngrams_at(lines, order), strict=True)
            if gram is not None
        )
        names = dict(zip(numbers.tolist(), ngrams_at(lines, order), strict=True))
        assert {
            (r, names[g]): c for r, g, c in zip(rows.tolist(), grams.tolist(), counts.tolist(), strict=True)
        } == expected
        assert np.all(np.diff(rows) >= 0)
