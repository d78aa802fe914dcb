"""The replay ring: what stays, what goes, and that its state is all of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlgan.adversary.replay_buffer import ReplayBuffer


def rows(*names: int) -> Tensor:
    """Sequences of length 2 that are distinguished by a number."""
    return torch.tensor([[name, -name] for name in names])


def held(buffer: ReplayBuffer) -> list[int]:
    drawn, _ = buffer.sample(len(buffer), torch.Generator().manual_seed(0))
    assert bool((drawn[:, 1] == -drawn[:, 0]).all())
    return sorted(drawn[:, 0].tolist())


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(capacity=st.integers(1, 7), sizes=st.lists(st.integers(0, 10), max_size=6))
def test_holds_the_newest_of_all_that_was_added(capacity: int, sizes: list[int]) -> None:
    buffer, added = ReplayBuffer(capacity, max_length=2), []
    for size in sizes:
        fresh = list(range(len(added), len(added) + size))
        buffer.add(rows(*fresh) if fresh else torch.empty(0, 2, dtype=torch.int64))
        added += fresh
        assert len(buffer) == min(capacity, len(added))
        assert held(buffer) == added[-capacity:]


def test_draws_without_replacement_in_the_order_of_the_stream() -> None:
    buffer = ReplayBuffer(10, max_length=2)
    buffer.add(rows(*range(8)))
    first, again, other = (buffer.sample(8, rng(seed))[0][:, 0].tolist() for seed in (1, 1, 2))
    assert sorted(first) == list(range(8))
    assert first == again != other
    assert len(set(buffer.sample(5, rng())[0][:, 0].tolist())) == 5


def test_every_sequence_is_drawn_as_often_as_any_other() -> None:
    buffer, source = ReplayBuffer(4, max_length=2), rng()
    buffer.add(rows(*range(6)))
    drawn = torch.cat([buffer.sample(2, source)[0][:, 0] for _ in range(2_000)])
    # 4,000 draws of 4: each about 1,000, standard deviation below 28.
    assert sorted(set(drawn.tolist())) == [2, 3, 4, 5]
    assert bool(((torch.bincount(drawn)[2:] - 1_000).abs() < 4 * 28).all())


def test_asking_for_more_than_it_holds_is_an_error() -> None:
    buffer = ReplayBuffer(10, max_length=2)
    buffer.add(rows(1, 2))
    with pytest.raises(ValueError, match="3 sequences were requested from a replay buffer with 2"):
        buffer.sample(3, rng())


@pytest.mark.parametrize("before", [0, 2, 4, 7])
def test_a_restored_buffer_goes_on_alike(before: int) -> None:
    original, restored = ReplayBuffer(4, max_length=2), ReplayBuffer(4, max_length=2)
    restored.add(rows(90, 91, 92))
    for name in range(before):
        original.add(rows(name))
    restored.restore(original.state())
    for name in range(50, 53):
        assert len(restored) == len(original)
        assert torch.equal(restored.sample(len(restored), rng(name))[0], original.sample(len(original), rng(name))[0])
        original.add(rows(name))
        restored.add(rows(name))
    assert held(restored) == held(original)


def test_a_state_is_a_copy() -> None:
    buffer = ReplayBuffer(2, max_length=2)
    buffer.add(rows(1, 2))
    state = buffer.state()
    buffer.add(rows(3, 4))
    buffer.restore(state)
    assert held(buffer) == [1, 2]
    buffer.add(rows(5))
    buffer.restore(state)
    assert held(buffer) == [1, 2]


def test_what_sequences_are_given_stays_with_them() -> None:
    buffer, restored = (ReplayBuffer(4, max_length=2, condition_length=3) for _ in range(2))
    for first in (0, 3):
        numbers = torch.arange(first, first + 3)
        buffer.add(numbers.unsqueeze(1).expand(-1, 2), 10 * numbers.unsqueeze(1).expand(-1, 3))
    restored.restore(buffer.state())
    for one in (buffer, restored):
        tokens, conditions = one.sample(4, rng())
        assert sorted(tokens[:, 0].tolist()) == [2, 3, 4, 5] and conditions is not None
        assert torch.equal(conditions[:, :2], 10 * tokens) and conditions.shape == (4, 3)
