"""Diversity counts: numbers worked by hand, slow twins, and blindness to padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.metrics import distinct, mean_length, num_unique, repetition_rate, share_unfinished, share_unique, strip
from tests.support import reference_metrics as twin
from tests.support.errors import refused

sequences = st.lists(st.integers(0, 2), max_size=8).map(tuple)
END = 0
SPACE = SequenceSpace(vocab_size=5, max_length=4, end_id=END)


def letters(*texts: str) -> list[tuple[int, ...]]:
    return [tuple(map(ord, text)) for text in texts]


def test_distinct_golden_numbers() -> None:
    # "a b a c": 3 letters of 4, 3 pairs of 3.
    assert distinct(letters("abac"), 1) == 0.75
    assert distinct(letters("abac"), 2) == 1.0


def test_distinct_is_over_the_corpus_not_within_sequences() -> None:
    # ab, bc | ab, bd: 3 different of 4.
    assert distinct(letters("abc", "abd"), 2) == 0.75


def test_repetition_is_within_sequences_not_over_the_corpus() -> None:
    # "abababa" has the 4-grams abab, baba, abab, baba: 2 of 4 are repeats. "abab" alone repeats nothing.
    assert repetition_rate(letters("abababa")) == 0.5
    assert repetition_rate(letters("abab", "abab")) == 0.0
    # Pooled: 2 repeats of 5 4-grams, where a mean of rates would be 1/4.
    assert repetition_rate(letters("abababa", "abab")) == 0.4


def test_sequences_too_short_for_an_ngram_have_none() -> None:
    assert distinct(letters("a", ""), 2) == 0.0
    assert repetition_rate(letters("aaa", "")) == 0.0
    # They do not weigh on the others either.
    assert repetition_rate(letters("abababa", "a")) == 0.5


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=1, max_size=6), st.integers(1, 4), st.data())
def test_counts_equal_their_slow_twins_in_any_order(
    sample: list[tuple[int, ...]], order: int, data: st.DataObject
) -> None:
    permuted = data.draw(st.permutations(sample))
    assert distinct(permuted, order) == pytest.approx(twin.distinct(sample, order))
    assert repetition_rate(permuted, order) == pytest.approx(twin.repetition_rate(sample, order))


def test_lengths_and_copies() -> None:
    sample = letters("ab", "ab", "abc", "")
    assert mean_length(sample) == 1.75
    assert num_unique(sample) == 3
    assert share_unique(sample) == 0.75
    assert num_unique([]) == 0
    assert num_unique([[1, 2], (1, 2)]) == 1


def test_strip_cuts_before_the_first_terminator() -> None:
    tokens = torch.tensor([[1, 2, END, END], [END, 3, 3, 3], [1, 2, 3, 4], [1, END, 2, END]])
    assert strip(SPACE, tokens) == [(1, 2), (), (1, 2, 3, 4), (1,)]


def test_strip_keeps_whole_rows_where_nothing_terminates() -> None:
    space = SequenceSpace(vocab_size=5, max_length=3)
    assert strip(space, torch.tensor([[0, 1, 0], [0, 0, 0]])) == [(0, 1, 0), (0, 0, 0)]


def test_share_unfinished_counts_rows_without_a_terminator() -> None:
    tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 3, END], [END, 1, 1, 1], [4, 4, 4, 4]])
    assert share_unfinished(SPACE, tokens) == 0.5
    assert share_unfinished(SequenceSpace(vocab_size=5, max_length=4), tokens) == 0.0


def test_padding_content_is_never_read() -> None:
    tokens = torch.tensor([[1, 2, END, END], [1, 2, 3, 4], [END, END, END, END]])
    other_padding = torch.tensor([[1, 2, END, 4], [1, 2, 3, 4], [END, 1, END, 2]])
    assert strip(SPACE, tokens) == strip(SPACE, other_padding)
    assert share_unfinished(SPACE, tokens) == share_unfinished(SPACE, other_padding)


def test_mistakes_are_named() -> None:
    with refused(ShapeError, "sequences_shape", match=r"\(3,\)"):
        strip(SPACE, torch.tensor([1, 2, 3]))
    for rows in (torch.tensor([1, 2, 3]), torch.empty(0, 4)):
        with refused(ShapeError, "diversity_tokens_shape"):
            share_unfinished(SPACE, rows)
    for measure in (lambda s: distinct(s, 2), repetition_rate, mean_length, share_unique):
        with refused(ShapeError, "too_few_sequences"):
            measure([])
        with refused(ShapeError, "sequences_are_tensors"):
            measure(torch.tensor([[1, 2]]))
    with refused(ShapeError, "sequences_are_tensors"):
        num_unique(torch.tensor([[1, 2]]))  # type: ignore[arg-type]
    for measure_order in (distinct, repetition_rate):
        with refused(ShapeError, "diversity_order", {"order": 0}):
            measure_order([(1, 2)], 0)
