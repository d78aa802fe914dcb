"""BLEU and Self-BLEU: numbers worked by hand, and equality with the slow twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.metrics import CorpusReferences, self_bleu
from tests.support import reference_metrics as twin
from tests.support.errors import refused

# Three letters and short sequences: repeats, ties, copies and empty sequences all come up often.
sequences = st.lists(st.integers(0, 2), max_size=7).map(tuple)


def letters(*texts: str) -> list[tuple[int, ...]]:
    return [tuple(map(ord, text)) for text in texts]


def test_bleu_golden_numbers() -> None:
    # T-BLEU.
    references = CorpusReferences(letters("abcde", "abd"), max_order=4)
    scores = references.bleu(letters("abdc"))
    # 1-grams 4/4; 2-grams ab, bd of 3; 3-grams abd of 2; 4-grams none of 1, so 0.1/1. Lengths 3 and 5 are equally near
    # to 4, the shorter counts, BP = 1.
    assert scores[2] == pytest.approx(0.816497, abs=1e-6) == math.sqrt(2 / 3)
    assert scores[3] == pytest.approx((2 / 3 * 1 / 2) ** (1 / 3))
    assert scores[4] == pytest.approx(0.427287, abs=1e-6)
    # "ab" is right in full but shorter than r* = 3: BP = exp(1 - 3/2).
    assert references.bleu(letters("ab"))[2] == pytest.approx(0.606531, abs=1e-6)


def test_bleu_of_a_reference_itself_is_one() -> None:
    assert CorpusReferences(letters("abcdef", "xy")).bleu(letters("abcdef")) == {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}


def test_bleu_clips_to_the_greatest_count_in_one_reference_not_to_the_sum() -> None:
    # "aaaa" against "aab" and "ba": a occurs at most 2 times in one reference, aa once. p1 = 2/4, p2 = 1/3, BP = 1.
    assert CorpusReferences(letters("aab", "ba"), max_order=2).bleu(letters("aaaa"))[2] == pytest.approx(
        math.sqrt(2 / 4 * 1 / 3)
    )


def test_bleu_is_zero_without_a_common_token_or_without_tokens() -> None:
    references = CorpusReferences(letters("abc"))
    assert set(references.bleu(letters("xyz")).values()) == {0.0}
    assert set(references.bleu([()]).values()) == {0.0}
    # An empty hypothesis among others pulls the mean down; it is not dropped.
    assert references.bleu([*letters("abc"), ()])[3] == pytest.approx(0.5)


def test_bleu_of_a_hypothesis_shorter_than_the_order_is_smoothed_over_one() -> None:
    # "a" against "a": p1 = 1, p2 = p3 = 0.1/1.
    scores = CorpusReferences(letters("a"), max_order=3).bleu(letters("a"))
    assert scores == pytest.approx({2: 0.1 ** (1 / 2), 3: 0.01 ** (1 / 3)})


def test_smoothing_divides_by_the_number_of_ngrams_of_the_hypothesis() -> None:
    # "cba" against "abc": p1 = 3/3, no 2-gram of 2 matches: 0.1/2.
    assert CorpusReferences(letters("abc"), max_order=2).bleu(letters("cba"))[2] == pytest.approx(math.sqrt(0.05))


def test_brevity_penalty_takes_the_nearest_length_and_the_shorter_of_two() -> None:
    # "abab" matches all of "aba"; the other reference is there for its length alone. |h| = 3: of lengths 4 and 2 r* = 2
    # and BP = 1; of lengths 4 and 1 r* = 4 and BP = exp(1 - 4/3).
    hypothesis = letters("aba")
    assert CorpusReferences(letters("abab", "xx"), max_order=2).bleu(hypothesis)[2] == 1.0
    assert CorpusReferences(letters("abab", "x"), max_order=2).bleu(hypothesis)[2] == pytest.approx(math.exp(-1 / 3))


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=1, max_size=5), st.lists(sequences, min_size=1, max_size=6))
def test_bleu_equals_its_slow_twin(hypotheses: list[tuple[int, ...]], references: list[tuple[int, ...]]) -> None:
    scores = CorpusReferences(references, max_order=5).bleu(hypotheses)
    assert scores == pytest.approx({n: twin.corpus_bleu(hypotheses, references, n) for n in range(2, 6)}, abs=1e-12)


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=1, max_size=6), st.data())
def test_permuting_the_hypotheses_permutes_their_scores(hypotheses: list[tuple[int, ...]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(hypotheses))))
    references = CorpusReferences([(0, 1, 2), (1, 1)], max_order=3)
    scores = references.sentence_bleu(hypotheses)
    permuted = references.sentence_bleu([hypotheses[i] for i in order])
    assert permuted == {n: [scores[n][i] for i in order] for n in (2, 3)}


def test_self_bleu_golden_number_leaves_the_sequence_itself_out() -> None:
    # T-SB.
    # "abc" against {"abd", "xyz"}: p1 = 2/3, p2 = 1/2, BP = 1; "abd" likewise; "xyz" shares nothing: 2/3 * sqrt(1/3).
    sample = letters("abc", "abd", "xyz")
    assert self_bleu(sample, max_order=2)[2] == pytest.approx(0.384900, abs=1e-6)
    assert twin.self_bleu(sample, 2) == pytest.approx(0.384900, abs=1e-6)
    # What the variant that includes y itself would say of the same sample: nothing at all.
    assert twin.self_bleu(sample, 2, leave_one_out=False) == 1.0


def test_a_copy_elsewhere_in_the_set_is_a_reference() -> None:
    assert self_bleu(letters("abc", "abc", "xyz"), max_order=2)[2] == pytest.approx(2 / 3)


def test_self_bleu_ignores_the_sequences_own_counts() -> None:
    # Only "aaa" has three a and two aa; the others have two and one, so p1 = 2/3 and p2 = 1/2. In "aab" b and ab, in
    # "caa" c and ca are its own alone: the same numbers.
    assert self_bleu(letters("aaa", "aab", "caa"), max_order=2)[2] == pytest.approx(math.sqrt(2 / 3 * 1 / 2))


def test_self_bleu_leaves_out_the_sequences_own_length() -> None:
    # "ab" matches "abab" in full, but r* is 4, not its own 2: BP = exp(1 - 4/2).
    # "abab" has a and b once each in "ab" and ab once: p1 = 2/4, p2 = 1/3, longer than r* = 2, BP = 1.
    expected = (math.exp(-1) + math.sqrt(2 / 4 * 1 / 3)) / 2
    assert self_bleu(letters("ab", "abab"), max_order=2)[2] == pytest.approx(expected)


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=2, max_size=7))
def test_self_bleu_equals_its_slow_twin(sample: list[tuple[int, ...]]) -> None:
    assert self_bleu(sample, max_order=5) == pytest.approx(
        {n: twin.self_bleu(sample, n) for n in range(2, 6)}, abs=1e-12
    )


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=2, max_size=7), st.data())
def test_self_bleu_does_not_depend_on_the_order_of_the_set(sample: list[tuple[int, ...]], data: st.DataObject) -> None:
    assert self_bleu(data.draw(st.permutations(sample))) == pytest.approx(self_bleu(sample), abs=1e-12)


def test_no_hypotheses_have_no_scores() -> None:
    assert CorpusReferences([(1, 2)], max_order=3).sentence_bleu([]) == {2: [], 3: []}


def test_lists_and_tuples_are_the_same_references() -> None:
    assert CorpusReferences([[1, 2, 3]], max_order=2).bleu([[1, 2, 3]]) == {2: 1.0}


def test_mistakes_are_named() -> None:
    tokens = torch.tensor([[1, 2, 3]])
    with refused(ShapeError, "too_few_sequences"):
        CorpusReferences([])
    with refused(ShapeError, "bleu_order", {"max_order": 1}):
        CorpusReferences([(1,)], max_order=1)
    with refused(ShapeError, "bleu_order", {"max_order": 1}):
        self_bleu([(1,), (2,)], max_order=1)
    with refused(ShapeError, "sequences_are_tensors"):
        CorpusReferences(tokens)  # type: ignore[arg-type]
    with refused(ShapeError, "sequences_are_tensors"):
        CorpusReferences([(1,)]).bleu(list(tokens))  # type: ignore[arg-type]
    with refused(ShapeError, "too_few_sequences"):
        CorpusReferences([(1,)]).bleu([])
    with refused(ShapeError, "too_few_sequences"):
        self_bleu([(1, 2)])
    with refused(ShapeError, "sequences_are_tensors"):
        self_bleu(tokens)  # type: ignore[arg-type]
