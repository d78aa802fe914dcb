"""The critic: it looks back only, begins at 0, learns exact values of a world that can be enumerated."""

from __future__ import annotations

import pytest
import torch

from rlgan.baselines import CriticBaseline
from rlgan.critic import Critic, explained_variance, value_loss
from rlgan.envs.testing import all_sequences
from rlgan.optimizers import Adam
from tests.support.tabular import TOY_SPACE

MASK = torch.tensor([[True, True], [True, False]])
TOY_J, TOY_Q = 0.557994, torch.tensor([0.631008, 0.505547, 0.530027])


def test_value_loss_by_hand() -> None:
    # Errors 1, -2 and 3 (the padding's 99 does not count): ½·(1 + 4 + 9)/3.
    values, targets = torch.tensor([[1.0, 0.0], [5.0, 99.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    assert float(value_loss(values, targets, torch.zeros(2, 2), MASK)) == pytest.approx(14 / 6)
    # Old values 0: held at .5, .0 and .5, errors .5, -2, -1.5; the larger of each counts: 1, 4, 9 again.
    assert float(value_loss(values, targets, torch.zeros(2, 2), MASK, clip=0.5)) == pytest.approx(14 / 6)
    # From 4 on the values 1, 0, 5 are held at 3.5, 3.5, 4.5: errors 3.5, 1.5 and 2.5 against 1, 2 and 3.
    loss = value_loss(values, targets, torch.full((2, 2), 4.0), MASK, clip=0.5)
    assert float(loss) == pytest.approx((3.5**2 + 4 + 9) / 6)


def test_a_value_that_has_changed_enough_has_no_gradient() -> None:
    # It went up from 0 towards 2 by more than the clip: what counts is held, and stands still.
    values = torch.tensor([[1.0]], requires_grad=True)
    value_loss(values, torch.tensor([[2.0]]), torch.zeros(1, 1), MASK[:1, :1], clip=0.5).backward()
    assert values.grad is not None and float(values.grad) == 0.0


def test_explained_variance() -> None:
    targets = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(targets, targets) == 1.0
    assert explained_variance(torch.full((3,), 7.0), targets) == pytest.approx(0.0)
    assert explained_variance(-targets, targets) == pytest.approx(-3.0)
    assert explained_variance(targets, torch.ones(3)) == 0.0


def critic(**settings: object) -> Critic:
    return Critic(CriticBaseline(optimizer=Adam(lr=0.02), **settings), TOY_SPACE, seed=0)  # type: ignore[arg-type]


def test_it_begins_at_zero_and_sees_nothing_of_the_token_it_is_a_baseline_of() -> None:
    judge = critic()
    tokens = torch.tensor([[0, 1], [0, 2], [2, 1]])
    assert bool((judge.values(tokens, torch.ones(3, 2, dtype=torch.bool)) == 0).all())
    judge.learn(tokens, torch.ones(3, 2, dtype=torch.bool), torch.rand(3, 2), torch.zeros(3, 2))
    values = judge.values(tokens, torch.ones(3, 2, dtype=torch.bool))
    assert torch.equal(values[0], values[1])
    assert float(values[0, 0]) == pytest.approx(float(values[2, 0])) != 0.0
    assert float(values[0, 1]) != pytest.approx(float(values[2, 1]), abs=1e-7)


def test_it_learns_the_exact_values_of_the_toy_world() -> None:
    # Targets D(y) of all nine sequences, in the proportion in which the policy draws them.
    torch.manual_seed(0)
    sequences, judge = all_sequences(TOY_SPACE), critic(epochs=400)
    probs = torch.tensor(
        [
            [0.486415, 0.218560, 0.295025],
            [0.218560, 0.295025, 0.486415],
            [0.422319, 0.422319, 0.155362],
        ]
    )
    law = (torch.tensor([0.337585, 0.250089, 0.412327]).unsqueeze(1) * probs).flatten()
    rewards = torch.sigmoid(torch.tensor([1.2, -0.4, 0.3, -1.0, 0.8, 0.0, 0.5, -0.7, 1.5]))
    counts = (law * 10_000).round().long()
    tokens, targets = sequences.repeat_interleave(counts, 0), rewards.repeat_interleave(counts).unsqueeze(1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    figures = judge.learn(tokens, mask, targets.expand_as(tokens), torch.zeros(tokens.shape))
    values = judge.values(sequences, mask[:9])
    torch.testing.assert_close(values[:, 0], torch.full((9,), TOY_J), atol=2e-3, rtol=0)
    torch.testing.assert_close(values[:, 1], TOY_Q[sequences[:, 0]], atol=2e-3, rtol=0)
    assert figures["critic/explained_variance"] == pytest.approx(0.0, abs=1e-6)  # of the values before


def test_what_it_kept_goes_on_the_same() -> None:
    tokens, mask, targets = all_sequences(TOY_SPACE), torch.ones(9, 2, dtype=torch.bool), torch.rand(9, 2)
    one, other = critic(), critic(embedding=32)
    for _ in range(2):
        one.learn(tokens, mask, targets, targets)
    other.restore(one.state())
    for judge in (one, other):
        judge.learn(tokens, mask, targets, targets)
    assert torch.equal(one.values(tokens, mask), other.values(tokens, mask))
