"""Credit by numbers worked by hand, by limit cases, and by what must not matter."""

from __future__ import annotations

import pytest
import torch

from rlgan.base.errors import ShapeError
from rlgan.policy.baselines import BaselineState, ExponentialMean, advantages
from rlgan.policy.credit import at_the_end, lambda_returns, monte_carlo_values, rewards_to_go, terminal_values
from rlgan.policy.logit_maps import SignedProbability
from tests.support.errors import refused

MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])


# -------------------------------------------------------------------------------------------------- terminal


def test_terminal_pays_every_real_token_the_reward_of_its_sequence() -> None:
    values = terminal_values(torch.tensor([2.0, -1.0, 0.5]), MASK)
    assert values.tolist() == [[2.0, 2.0, 2.0], [-1.0, -1.0, 0.0], [0.5, 0.0, 0.0]]


def test_terminal_value_of_padding_is_zero_even_beside_an_infinite_reward() -> None:
    # D/(1-D) = exp(u) is infinite in float32 from u = 89 on, and infinity times 0 would be NaN.
    values = terminal_values(torch.tensor([1.0, float("inf"), 1.0]), MASK)
    assert values[1].tolist() == [float("inf"), float("inf"), 0.0]


def test_terminal_refuses_another_number_of_rewards() -> None:
    with refused(ShapeError, "credit_shapes", match=r"\(2,\)"):
        terminal_values(torch.zeros(2), MASK)


# ----------------------------------------------------------------------------------------------- Monte Carlo


def test_layout_of_continuation_rewards() -> None:
    # Rewards 0..11 computed as [rollout, step, sequence] for N=2, T=3, B=2.
    # Sequence 0, step 0: rollouts gave 0 and 6, mean 3; step 1: 2 and 8, mean 5; step 2: 4 and 10, mean 7.
    # Sequence 1: one more each: 4, 6, 8.
    computed = torch.arange(12.0).view(2, 3, 2)
    expected = [[3.0, 5.0, 7.0], [4.0, 6.0, 8.0]]
    mask = torch.ones(2, 3, dtype=torch.bool)
    # The last token takes the reward of the finished sequence; here that is what its rollouts gave, as above.
    values = monte_carlo_values(computed.permute(2, 1, 0), torch.tensor([7.0, 8.0]), mask)
    assert values.tolist() == expected
    # A well-known port views the same numbers as (B, T, N), which mixes sequences, steps and rollouts.
    wrong = monte_carlo_values(computed.reshape(2, 3, 2), torch.tensor([4.5, 10.5]), mask)
    assert wrong.tolist() == [[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]]


def test_last_real_token_takes_the_reward_of_the_sequence_itself() -> None:
    continuations = torch.tensor([[[1.0, 3.0], [5.0, 6.0], [90.0, 91.0]]] * 3)
    values = monte_carlo_values(continuations, torch.tensor([7.0, 8.0, 9.0]), MASK)
    # Means of the continuations are 2 and 5.5; lengths are 3, 2, 1.
    assert values.tolist() == [[2.0, 5.5, 7.0], [2.0, 8.0, 0.0], [9.0, 0.0, 0.0]]


def test_entries_at_and_after_the_last_real_token_are_not_read() -> None:
    continuations = torch.full((3, 3, 2), float("nan"))
    continuations[0, :2] = 1.0
    continuations[1, :1] = 2.0
    values = monte_carlo_values(continuations, torch.tensor([7.0, 8.0, 9.0]), MASK)
    assert values.tolist() == [[1.0, 1.0, 7.0], [2.0, 8.0, 0.0], [9.0, 0.0, 0.0]]


def test_equal_rewards_make_monte_carlo_terminal() -> None:
    rewards = torch.tensor([0.3, 0.6, 0.9])
    continuations = rewards.view(3, 1, 1).expand(3, 3, 4)
    assert torch.allclose(monte_carlo_values(continuations, rewards, MASK), terminal_values(rewards, MASK))


@pytest.mark.parametrize(
    ("continuations", "final"), [((3, 3, 0), 3), ((3, 2, 4), 3), ((2, 3, 4), 3), ((3, 3), 3), ((3, 3, 4), 2)]
)
def test_monte_carlo_refuses_shapes_that_do_not_fit(continuations: tuple[int, ...], final: int) -> None:
    with pytest.raises(ShapeError):
        monte_carlo_values(torch.zeros(continuations), torch.zeros(final), MASK)


# ----------------------------------------------------------------------------------------------- reward to go


def test_reward_to_go_by_hand() -> None:
    # Length 3 of 4, rewards 1, 2, 4 and litter after the end, γ = ½:
    # 4;  2 + ½·4 = 4;  1 + ½·4 = 3
    mask = torch.tensor([[True, True, True, False]])
    values = rewards_to_go(torch.tensor([[1.0, 2.0, 4.0, 100.0]]), mask, gamma=0.5)
    assert values.tolist() == [[3.0, 4.0, 4.0, 0.0]]


def test_rewards_returns_and_average_of_scratchgan() -> None:
    # r = 2σ(u) - 1;  R_t = r_t + 0.23 R_{t+1}: .761594;  .244919 + .23·.761594 = .420085;
    # -.462117 + .23·.420085 = -.365498;  .462117 - .23·.365498 = .378053. Their mean over 5 steps is .238847, and
    # the moving average from 0 is 0.92 of it.
    logits, mask = torch.tensor([[1.0, -1.0, 0.5, 2.0, 0.0]]), torch.ones(1, 5, dtype=torch.bool)
    rewards = SignedProbability().of_logits(logits)
    expected = torch.tensor([[0.462117, -0.462117, 0.244919, 0.761594, 0.0]])
    torch.testing.assert_close(rewards, expected, atol=1e-6, rtol=0)
    values = rewards_to_go(rewards, mask, gamma=0.23)
    expected = torch.tensor([[0.378053, -0.365498, 0.420085, 0.761594, 0.0]])
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
    result = advantages(ExponentialMean(decay=0.08), values, mask, BaselineState())
    assert result.state.moving_average == pytest.approx(0.219739, abs=1e-6)
    torch.testing.assert_close(result.advantages, expected - 0.219739, atol=2e-6, rtol=0)


@pytest.mark.parametrize("gamma", [0.23, 0.9])
def test_reward_to_go_is_the_double_sum(gamma: float) -> None:
    # The recursion R_t = r_t + γ R_{t+1} against Σ_s≥t γ^(s-t) r_s.
    rewards = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([[7], [4], [1], [6]])
    steps = torch.arange(7) - torch.arange(7).unsqueeze(1)
    discounts = torch.where(steps >= 0, gamma ** steps.clamp_min(0).float(), 0.0)
    expected = ((rewards * mask) @ discounts.T) * mask
    torch.testing.assert_close(rewards_to_go(rewards, mask, gamma), expected, atol=1e-6, rtol=0)


def test_reward_to_go_limits() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]] * 3)
    assert rewards_to_go(rewards, MASK, gamma=0.0).tolist() == [[1.0, 2.0, 4.0], [1.0, 2.0, 0.0], [1.0, 0.0, 0.0]]
    assert rewards_to_go(rewards, MASK, gamma=1.0).tolist() == [[7.0, 6.0, 4.0], [3.0, 2.0, 0.0], [1.0, 0.0, 0.0]]


def test_reward_to_go_of_padding_is_zero_whatever_stands_there() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]] * 3).masked_fill(~MASK, float("nan"))
    assert bool(torch.isfinite(rewards_to_go(rewards, MASK, gamma=1.0)).all())


# ---------------------------------------------------------------------------------------------------- common


def test_values_carry_no_gradient() -> None:
    rewards = torch.rand(3, requires_grad=True)
    continuations = torch.rand(3, 3, 2, requires_grad=True)
    token_rewards = torch.rand(3, 3, requires_grad=True)
    for values in (
        terminal_values(rewards, MASK),
        monte_carlo_values(continuations, rewards, MASK),
        rewards_to_go(token_rewards, MASK, 0.9),
    ):
        assert not values.requires_grad


# --------------------------------------------------------------------------------------------------- λ-returns


def test_the_reward_of_a_sequence_is_paid_at_its_end() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert at_the_end(torch.tensor([2.0, 3.0]), mask).tolist() == [[0.0, 0.0, 2.0], [3.0, 0.0, 0.0]]


@pytest.mark.parametrize(("gamma", "decay"), [(1.0, 0.95), (0.9, 0.5), (0.7, 0.0), (0.8, 1.0)])
def test_lambda_returns_are_the_value_and_the_discounted_errors(gamma: float, decay: float) -> None:
    # The slow twin: Σ_l (γλ)^l (r + γ V' - V), term by term.
    rng = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(3, 5, generator=rng), torch.randn(3, 5, generator=rng)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    found = lambda_returns(rewards * mask, values, mask, gamma, decay)
    for b, length in enumerate(mask.sum(1).tolist()):
        for t in range(length):
            advantage = 0.0
            for step in range(t, length):
                following = float(values[b, step + 1]) if step + 1 < length else 0.0
                error = float(rewards[b, step]) + gamma * following - float(values[b, step])
                advantage += (gamma * decay) ** (step - t) * error
            assert float(found[b, t]) == pytest.approx(float(values[b, t]) + advantage, abs=1e-5)
    assert bool((found[~mask] == 0).all())


def test_lambda_returns_limits() -> None:
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    values = torch.tensor([[10.0, 20.0, 40.0]])
    # λ = 1: the rewards to go, whatever the critic; λ = 0: one reward and the critic of the next state.
    assert lambda_returns(rewards, values, mask, 0.5, 1.0).tolist() == rewards_to_go(rewards, mask, 0.5).tolist()
    assert lambda_returns(rewards, values, mask, 0.5, 0.0).tolist() == [[11.0, 22.0, 4.0]]
