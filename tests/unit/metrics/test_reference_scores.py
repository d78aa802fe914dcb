"""BLEU and ROUGE-L beside one reference each: numbers worked by hand, slow twins, the libraries of the field."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.metrics import reference_bleu, reference_match, reference_rouge_l, reference_scores
from tests.support import reference_metrics as twin
from tests.support.errors import refused

END = 0
# Few letters: repeats, ties and empty sequences all come up often.
letters = st.lists(st.integers(1, 3), max_size=9).map(tuple)
pairs = st.lists(st.tuples(letters, letters), min_size=1, max_size=8)


def space(length: int, ends: bool = True) -> SequenceSpace:
    return SequenceSpace(200, length, end_id=END if ends else None)


def padded(sequences: Sequence[Sequence[int]], length: int) -> Tensor:
    return torch.tensor([[*sequence, *[END] * (length - len(sequence))] for sequence in sequences])


def ids(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) for letter in text if letter != " ")


def bleu(hypothesis: str, reference: str, order: int = 4) -> float:
    return float(reference_bleu(space(12), padded([ids(hypothesis)], 12), padded([ids(reference)], 12), order))


def rouge_l(hypothesis: str, reference: str) -> float:
    return float(reference_rouge_l(space(12), padded([ids(hypothesis)], 12), padded([ids(reference)], 12)))


def random_pairs(number: int, longest: int, alphabet: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    rng = torch.Generator().manual_seed(seed)

    def sequence() -> tuple[int, ...]:
        length = int(torch.randint(longest + 1, (), generator=rng))
        return tuple((1 + torch.randint(alphabet, (length,), generator=rng)).tolist())

    return [(sequence(), sequence()) for _ in range(number)]


def of(score: object, found: Sequence[tuple[Sequence[int], Sequence[int]]], length: int) -> Tensor:
    """Of pairs of a hypothesis and a reference."""
    return score(space(length), padded([h for h, _ in found], length), padded([r for _, r in found], length))


def test_a_sequence_that_is_its_reference_scores_one_exactly() -> None:
    # Where there is no 4-gram, none is missed.
    for text in ("abcd", "abcdefgh", "aaaaa", "ab", "a"):
        assert bleu(text, text) == 1.0 and rouge_l(text, text) == 1.0


def test_what_shares_no_token_scores_zero() -> None:
    # Without a 1-gram no smoothing of the others counts.
    for hypothesis, reference in (("abcd", "efgh"), ("", "abcd"), ("abcd", ""), ("", "")):
        assert bleu(hypothesis, reference) == 0.0 and rouge_l(hypothesis, reference) == 0.0


def test_bleu_by_hand() -> None:
    # 1-grams 3/3; of ab, bd one: (1+1)/(2+1); abd is not there: 1/(1+1); there is no 4-gram: 1/1. Shorter by a third.
    assert bleu("abd", "abcd") == pytest.approx(math.exp(1 - 4 / 3) * (2 / 3 * 1 / 2) ** 0.25)
    # A reference that is longer costs; one that is shorter does not, and a counts once: 1/3, (0+1)/(2+1), (0+1)/(1+1).
    assert bleu("aaa", "a") == pytest.approx((1 / 3 * 1 / 3 * 1 / 2) ** 0.25)
    assert bleu("abd", "abcd", order=1) == pytest.approx(math.exp(1 - 4 / 3))


def test_rouge_l_by_hand() -> None:
    # P = 2/2, R = 2/4, F1 = 2·½/1½.
    assert rouge_l("ac", "abcd") == pytest.approx(0.6667, abs=1e-4)
    # Order counts: of "dcba" one letter is left.
    assert rouge_l("dcba", "abcd") == pytest.approx(1 / 4)


@pytest.mark.property
@settings(deadline=None, max_examples=30)
@given(pairs, st.integers(1, 5))
def test_bleu_equals_its_slow_twin(found: list[tuple[tuple[int, ...], tuple[int, ...]]], order: int) -> None:
    scores = reference_bleu(space(10), padded([h for h, _ in found], 10), padded([r for _, r in found], 10), order)
    torch.testing.assert_close(scores, torch.tensor([twin.reference_bleu(h, r, order) for h, r in found]))


@pytest.mark.property
@settings(deadline=None, max_examples=30)
@given(pairs)
def test_rouge_l_equals_its_slow_twin(found: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    expected = torch.tensor([twin.rouge_l(h, r) for h, r in found])
    torch.testing.assert_close(of(reference_rouge_l, found, 10), expected)


@pytest.mark.parametrize("longest", [62, 63, 130])
def test_references_of_more_places_than_a_word_has(longest: int) -> None:
    found = random_pairs(40, longest, alphabet=3, seed=longest)
    rng = torch.Generator().manual_seed(1)
    whole = tuple((1 + torch.randint(3, (longest,), generator=rng)).tolist())
    # Itself, itself without its beginning, which moves every place, and one letter again and again.
    found += [(whole, whole), (whole[1:], whole), ((1,) * longest, whole), (whole, (1,) * longest)]
    expected = torch.tensor([twin.reference_bleu(h, r) for h, r in found])
    torch.testing.assert_close(of(reference_bleu, found, longest + 1), expected)
    expected = torch.tensor([twin.rouge_l(h, r) for h, r in found])
    torch.testing.assert_close(of(reference_rouge_l, found, longest + 1), expected)


def test_bleu_is_that_of_sacrebleu_with_one_added() -> None:
    judge = BLEU(smooth_method="add-k", smooth_value=1, tokenize="none", effective_order=True)
    found = [(h, r) for h, r in random_pairs(200, 12, alphabet=4, seed=0) if len(h) >= 4 and r]
    texts = [[" ".join(map(str, side)) for side in pair] for pair in found]
    expected = torch.tensor([judge.sentence_score(h, [r]).score / 100 for h, r in texts])
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(of(reference_bleu, found, 12 + 1), expected)


def test_rouge_l_is_that_of_rouge_score() -> None:
    found = random_pairs(200, 12, alphabet=4, seed=0)
    scorer = RougeScorer(["rougeL"])
    texts = [[" ".join(map(str, side)) for side in pair] for pair in found]
    expected = torch.tensor([scorer.score(r, h)["rougeL"].fmeasure for h, r in texts])
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(of(reference_rouge_l, found, 13), expected)


def test_a_match_is_the_whole_reference_and_nothing_else() -> None:
    found = [([1, 2], [1, 2]), ([1, 2], [1, 3]), ([1], [1, 2]), ([1, 2], [1]), ([], []), ([2, 1], [1, 2])]
    assert of(reference_match, found, 4).tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    # Rows that fill the horizon have no terminator.
    assert of(reference_match, [([1, 2], [1, 2]), ([1, 2], [1])], 2).tolist() == [1.0, 0.0]
    pairs = random_pairs(300, 3, alphabet=2, seed=5)
    assert of(reference_match, pairs, 4).tolist() == [float(one == other) for one, other in pairs]


@pytest.mark.parametrize("score", [reference_bleu, reference_match, reference_rouge_l])
def test_what_stands_behind_a_terminator_is_not_read(score: object) -> None:
    found = random_pairs(50, 7, alphabet=3, seed=2)
    tokens, references = padded([h for h, _ in found], 9), padded([r for _, r in found], 9)
    littered = []
    for rows in (tokens, references):
        ended = (rows == END).cumsum(1) > 1
        littered.append(torch.where(ended, torch.randint(1, 4, rows.shape), rows))
    assert not torch.equal(littered[0], tokens)
    assert torch.equal(score(space(9), tokens, references), score(space(9), *littered))


@pytest.mark.parametrize("score", [reference_bleu, reference_rouge_l])
def test_without_a_terminator_every_token_counts(score: object) -> None:
    tokens, references = torch.tensor([[0, 1, 0, 2]]), torch.tensor([[0, 1, 2, 2]])
    shifted = score(space(4, ends=False), tokens, references)
    assert torch.equal(shifted, score(space(4), tokens + 1, references + 1)) and 0.0 < float(shifted) < 1.0
    assert float(score(space(4), tokens, references)) == 0.0  # nothing stands before the terminator


@pytest.mark.parametrize("score", [reference_bleu, reference_match, reference_rouge_l])
def test_a_row_is_scored_alike_whatever_stands_beside_it(score: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = random_pairs(60, 9, alphabet=3, seed=4)
    together = of(score, found, 10)
    assert torch.equal(together, torch.cat([of(score, [pair], 10) for pair in found]))
    monkeypatch.setattr(reference_scores, "_ROWS", 7)
    assert torch.equal(together, of(score, found, 10))


@pytest.mark.parametrize("score", [reference_bleu, reference_match, reference_rouge_l])
def test_what_is_scored_is_left_as_it_was(score: object) -> None:
    # Column by column in memory, as a transposed tensor is: nothing may be written into it.
    tokens, references = (torch.tensor([[4, 1], [2, END], [END, END]]).T.contiguous().T.T for _ in range(2))
    kept = tokens.clone(), references.clone()
    score(space(3), tokens, references)
    assert torch.equal(tokens, kept[0]) and torch.equal(references, kept[1])


def test_no_sequences_have_no_scores() -> None:
    nothing = torch.empty(0, 5, dtype=torch.int64)
    assert reference_bleu(space(5), nothing, nothing).shape == (0,)
    assert reference_rouge_l(space(5), nothing, nothing).shape == (0,)


@pytest.mark.parametrize("score", [reference_bleu, reference_match, reference_rouge_l])
def test_each_sequence_needs_a_reference_of_its_own(score: object) -> None:
    with refused(ShapeError, "reference_shapes", match=r"\(2, 3\).*\(1, 3\)"):
        score(space(3), torch.ones(2, 3), torch.ones(1, 3))


def test_bleu_needs_an_order() -> None:
    with refused(ShapeError, "reference_bleu_order", {"order": 0}):
        reference_bleu(space(3), torch.ones(1, 3), torch.ones(1, 3), order=0)
