"""Kneser-Ney against a twin of dictionaries written from the definition, hand-worked numbers and sums to one."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from rlgan.base.errors import ShapeError
from rlgan.metrics import UNKNOWN, KneserNey

NGram = tuple[object, ...]


class Twin:
    """The definition, one n-gram at a time."""

    def __init__(self, sequences: list[tuple[int, ...]], vocab_size: int, ends: bool, order: int) -> None:
        self.order, self.ends, self.outcomes = order, ends, [*range(vocab_size), *(["end"] if ends else [])]
        raw: list[Counter[NGram]] = [Counter() for _ in range(order + 1)]
        for sequence in sequences:
            text: list[object] = ["begin", *sequence, *(["end"] if ends else [])]
            for position in range(1, len(text)):
                for k in range(1, min(order, position + 1) + 1):
                    raw[k][tuple(text[position - k + 1 : position + 1])] += 1
        self.count: list[dict[NGram, int]] = [{} for _ in range(order + 1)]
        for k in range(1, order + 1):
            before: dict[NGram, set[object]] = defaultdict(set)
            if k < order:
                for longer in raw[k + 1]:
                    before[longer[1:]].add(longer[0])
            for gram, number in raw[k].items():
                self.count[k][gram] = number if k == order or gram[0] == "begin" else len(before[gram])

    def probability(self, history: list[object], token: object, k: int | None = None) -> float:
        if k is None:
            k = min(self.order, len(history) + 1)
        if k == 0:
            return 1.0 / len(self.outcomes)
        context = tuple(history[len(history) - k + 1 :])
        lower = self.probability(history, token, k - 1)
        after = {gram[-1]: number for gram, number in self.count[k].items() if gram[:-1] == context}
        if not after:
            return lower
        numbers = Counter(self.count[k].values())
        discount = numbers[1] / (numbers[1] + 2 * numbers[2]) if numbers[1] and numbers[2] else 0.5
        seen = max(after.get(token, 0) - discount, 0.0)
        return (seen + discount * len(after) * lower) / sum(after.values())

    def probabilities(self, sequences: list[tuple[int, ...]]) -> list[float]:
        found = []
        for sequence in sequences:
            text: list[object] = ["begin", *sequence, *(["end"] if self.ends else [])]
            found += [self.probability(text[:position], text[position]) for position in range(1, len(text))]
        return found


def random_sequences(seed: int, number: int, vocab_size: int, fixed: bool) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [
        tuple(int(vocab_size * rng.random() ** 2) for _ in range(6 if fixed else rng.randrange(0, 7)))
        for _ in range(number)
    ]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_its_twin(seed: int, ends: bool, order: int) -> None:
    train = random_sequences(seed, 12, 5, fixed=not ends)
    held_out = random_sequences(seed + 100, 8, 6, fixed=not ends)  # with a token that was never seen
    found = KneserNey(train, 6, ends, order).probabilities(held_out)
    np.testing.assert_allclose(found, Twin(train, 6, ends, order).probabilities(held_out), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_may_follow_sums_to_one(order: int) -> None:
    model = KneserNey(random_sequences(0, 10, 4, fixed=False), 4, True, order)
    for history in itertools.chain([()], itertools.product(range(4), repeat=2), [(3, 3, 3, 3)]):
        # The last probability of a sequence is that of its end, the one before that of its last token.
        whole = [model.probabilities([(*history, token)])[-2] for token in range(4)]
        assert sum(whole) + model.probabilities([history])[-1] == pytest.approx(1.0, abs=1e-12)


def test_bigrams_by_hand() -> None:
    # "a b", "a b", "a c" over {a, b, c}, ends not predicted.
    model = KneserNey([(0, 1), (0, 1), (0, 2)], 3, False, order=2)
    # Unigrams count what precedes: a after the beginning, b and c after a; 1 each, none twice, so D_1 = 1/2 and
    # p_1 = (1/2 + 1/2 · 3 · 1/3) / 3 = 1/3 for all. Bigrams: (begin a) 3, (a b) 2, (a c) 1: D_2 = 1 / (1 + 2) = 1/3.
    # p(a | begin) = (3 - 1/3 + 1/3 · 1 · 1/3) / 3;  p(b | a) = (2 - 1/3 + 1/3 · 2 · 1/3) / 3;  p(c | a) = (1 - ...) / 3
    expected = [(3 - 1 / 3 + 1 / 9) / 3, (2 - 1 / 3 + 2 / 9) / 3, (1 - 1 / 3 + 2 / 9) / 3]
    a, b = model.probabilities([(0, 1)])
    assert [a, b, model.probabilities([(0, 2)])[1]] == pytest.approx(expected, abs=1e-12)
    assert model.mean_nll([(0, 1)]) == pytest.approx(-(math.log(expected[0]) + math.log(expected[1])) / 2)


def test_more_of_the_same_distribution_is_predicted_better_and_uniform_noise_worse() -> None:
    distribution = random.Random(1)
    chain = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.7, 0.1]]

    def drawn(number: int) -> list[tuple[int, ...]]:
        found = []
        for _ in range(number):
            tokens = [distribution.randrange(4)]
            while len(tokens) < 12:
                tokens += distribution.choices(range(4), chain[tokens[-1]])
            found.append(tuple(tokens))
        return found

    held_out = drawn(500)
    few, many = (KneserNey(drawn(number), 4, False, 3).mean_nll(held_out) for number in (20, 2000))
    entropy = (math.log(4) + 11 * -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))) / 12
    assert entropy < many < few and many < entropy + 0.02
    noise = [tuple(distribution.randrange(4) for _ in range(12)) for _ in range(500)]
    assert KneserNey(drawn(2000), 4, False, 3).mean_nll(noise) > math.log(4)


@pytest.mark.parametrize(("sequences", "order"), [([], 2), ([(1,)], 0), ([()], 2)])
def test_nothing_to_learn_from_is_refused(sequences: list[tuple[int, ...]], order: int) -> None:
    with pytest.raises(ShapeError):
        KneserNey(sequences, 3, False, order)


def test_it_says_how_far_it_is() -> None:
    described: list[tuple[int, int]] = []
    KneserNey([(1, 2), (2,)], 3, True, 4, on_order=lambda order, most: described.append((order, most)))
    assert described == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_sequences_shorter_than_the_order_are_enough() -> None:
    model = KneserNey([(1,), (2,)], 3, True, 5)
    found = model.probabilities([(), (1, 2, 1, 2, 1, 2)])
    np.testing.assert_allclose(
        found, Twin([(1,), (2,)], 3, True, 5).probabilities([(), (1, 2, 1, 2, 1, 2)]), rtol=1e-12
    )


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_with_unknown_tokens_it_is_its_twin_that_tells_them_from_all_words(seed: int, order: int) -> None:
    train, held_out = random_sequences(seed, 12, 5, fixed=False), random_sequences(seed + 50, 8, 5, fixed=False)
    # Word 4 is unknown: one word where it is learned from, and another one, never seen, where it is scored.
    found = KneserNey([[UNKNOWN if one == 4 else one for one in line] for line in train], 6, True, order).probabilities(
        [[UNKNOWN if one == 4 else one for one in line] for line in held_out]
    )
    twin = Twin(train, 6, True, order).probabilities(
        [tuple(5 if one == 4 else one for one in line) for line in held_out]
    )
    np.testing.assert_allclose(found, twin, rtol=1e-12)
