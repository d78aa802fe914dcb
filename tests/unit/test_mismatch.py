"""Real sequences under conditions of others: no pair of the data, no condition twice."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlgan.adversary.mismatched_pairs import TruePairs, derangement


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(number: int, seed: int = 0, vocab_size: int = 3) -> tuple[Tensor, Tensor]:
    source = rng(seed)
    return torch.randint(vocab_size, (number, 3), generator=source), torch.randint(
        vocab_size, (number, 2), generator=source
    )


@pytest.mark.parametrize("vocab_size", [2, 3, 50])
def test_true_pairs_are_those_of_the_data(vocab_size: int) -> None:
    conditions, sequences = pairs(40, vocab_size=vocab_size)
    known = {(tuple(c), tuple(x)) for c, x in zip(conditions.tolist(), sequences.tolist(), strict=True)}
    asked_conditions, asked_sequences = pairs(60, seed=1, vocab_size=vocab_size)
    asked_conditions[:20], asked_sequences[:20] = conditions[:20], sequences[:20]
    found = TruePairs(conditions, sequences).holds(asked_conditions, asked_sequences)
    for i, sequence in enumerate(asked_sequences.tolist()):
        for j, condition in enumerate(asked_conditions.tolist()):
            assert bool(found[i, j]) == ((tuple(condition), tuple(sequence)) in known)


def test_ten_thousand_minibatches_hold_no_pair_of_the_data() -> None:
    # Half of the conditions stand in the data more than once, with different sequences.
    conditions, sequences = pairs(60)
    true_pairs, draws = TruePairs(conditions, sequences), rng(1)
    num_left_out = 0
    for _ in range(10_000):
        rows = torch.randperm(60, generator=draws)[:8]
        is_pair = true_pairs.holds(conditions[rows], sequences[rows])
        assigned = derangement(is_pair, draws)
        fits = assigned >= 0
        num_left_out += int((~fits).sum())
        assert not bool(is_pair[torch.arange(8)[fits], assigned[fits]].any())
        assert len(set(assigned[fits].tolist())) == int(fits.sum())
    assert 0 < num_left_out < 5_000  # of 80,000; in some minibatches there is no way


def test_every_derangement_is_drawn() -> None:
    is_pair = torch.eye(4, dtype=torch.bool)
    drawn = [tuple(derangement(is_pair, rng(seed)).tolist()) for seed in range(900)]
    counts = {one: drawn.count(one) for one in set(drawn)}
    assert len(counts) == 9  # of 4 things there are 9
    assert min(counts.values()) > 40  # a hundred each, were they equally likely


def test_where_everything_is_a_pair_nothing_is_assigned() -> None:
    assert derangement(torch.ones(3, 3, dtype=torch.bool), rng()).tolist() == [-1, -1, -1]
    assert derangement(torch.ones(1, 1, dtype=torch.bool), rng()).tolist() == [-1]
    # The first fits nobody's; of the other two each can be given what is not its own.
    is_pair = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    for seed in range(20):
        first, *others = derangement(is_pair, rng(seed)).tolist()
        assert (
            first == -1
            and len(set(others)) == 2
            and all(one >= 0 and not is_pair[row, one] for row, one in enumerate(others, start=1))
        )


def test_as_few_are_left_out_as_can_be() -> None:
    for seed in range(200):
        is_pair = torch.rand(5, 5, generator=rng(seed)) < 0.6
        fewest = min(
            sum(bool(is_pair[row, one]) for row, one in enumerate(order)) for order in itertools.permutations(range(5))
        )
        assert int((derangement(is_pair, rng(seed)) < 0).sum()) == fewest


square = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(square)
def test_whatever_is_a_pair_is_never_assigned(rows: list[list[bool]]) -> None:
    is_pair = torch.tensor(rows) | torch.eye(len(rows), dtype=torch.bool)
    assigned = derangement(is_pair, rng())
    fits = assigned >= 0
    assert not bool(is_pair[torch.arange(len(rows))[fits], assigned[fits]].any())
    assert len(set(assigned[fits].tolist())) == int(fits.sum())
