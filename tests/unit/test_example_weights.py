"""What training sequences weigh: worked by hand, a slow twin, and what weighs nothing by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.policy.loss_terms import likelihood_weights, weighted_nll
from rlgan.schedule.example_weights import tf_idf_weights

SPACE = SequenceSpace(5, 4, end_id=0)


def test_weights_by_hand() -> None:
    # Of 4 sequences token 1 is in 4, 2 in 2, 3 in 1: idf 1, 1 + ln 2, 1 + ln 4. With L = ln 2 the means are
    # 1; (1 + 1 + L)/2 = 1 + L/2; (1 + 1 + L + 1 + 2L)/3 = 1 + L; 1. Their mean is 1 + 3L/8.
    tokens = torch.tensor([[1, 0, 0, 0], [1, 2, 0, 0], [1, 2, 3, 0], [1, 1, 0, 0]])
    doubling = math.log(2)
    mean = 1 + 3 * doubling / 8
    expected = [1 / mean, (1 + doubling / 2) / mean, (1 + doubling) / mean, 1 / mean]
    assert tf_idf_weights(SPACE, tokens).tolist() == pytest.approx(expected, abs=1e-6)


def slow_twin(space: SequenceSpace, tokens: Tensor) -> list[float]:
    rows = [row[: row.index(space.end_id)] if space.end_id in row else row for row in tokens.tolist()]
    scores = []
    for row in rows:
        score = 0.0
        for token in set(row):
            frequency, documents = row.count(token) / len(row), sum(token in other for other in rows)
            score += frequency * (1 + math.log(len(rows) / documents))
        scores.append(score if row else 1.0)
    return [score * len(scores) / sum(scores) for score in scores]


def test_the_slow_twin_agrees() -> None:
    tokens = random_sequences(SPACE, 200, seed=1)
    lengths = sequence_mask(SPACE, tokens).sum(1)
    assert int(lengths.min()) == 1 and int(lengths.max()) == 4  # an empty sequence and a full one are among them
    weights = tf_idf_weights(SPACE, tokens)
    assert weights.tolist() == pytest.approx(slow_twin(SPACE, tokens), abs=1e-5)
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-6) and float(weights.min()) > 0.0


def test_tokens_that_are_alike_frequent_weigh_alike() -> None:
    # Every token is in two of the sequences, however long they are and however often it is said in one.
    tokens = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 2], [3, 4, 3, 0], [4, 4, 3, 3]])
    torch.testing.assert_close(tf_idf_weights(SPACE, tokens), torch.ones(4), atol=1e-6, rtol=0)


def test_what_stands_behind_the_terminator_does_not_count() -> None:
    other = SequenceSpace(5, 6, end_id=0)
    tokens = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 4, 0]])
    longer = torch.cat([tokens, torch.full((3, 2), 4)], 1)
    assert torch.equal(tf_idf_weights(other, longer), tf_idf_weights(SPACE, tokens))


def test_a_sequence_counts_by_its_weight_and_not_the_tokens_that_are_divided_by() -> None:
    tokens = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]])
    mask, weights = sequence_mask(SPACE, tokens), torch.tensor([0.5, 1.5])
    logprobs = -torch.arange(1.0, 9.0).view(2, 4)
    # Tokens of the first cost 1 + 2 + 3, of the second 5 + 6; five tokens in all.
    expected = (0.5 * 6 + 1.5 * 11) / 5
    found = weighted_nll(logprobs, likelihood_weights(mask) * weights.unsqueeze(1))
    assert float(found) == pytest.approx(expected)
