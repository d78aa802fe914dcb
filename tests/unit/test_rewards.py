"""Reward maps at logits worked by hand, at the ends of float32, and the controls that need no discriminator."""

from __future__ import annotations

import math

import pytest
import torch

from rlgan.envs.errors import ShapeError
from rlgan.rewards import (
    ConstantReward,
    DiscriminatorReward,
    Logit,
    LogProbability,
    NegLogComplement,
    Probability,
    RandomReward,
    Ratio,
    SignedProbability,
    discriminator_reward,
    oracle_ratio,
    sequence_rewards,
)

MAPS = [Probability(), Logit(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio()]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        # u = log 3 means D = 3/4.
        (Probability(), 0.75),
        (Logit(), math.log(3)),
        (LogProbability(), math.log(0.75)),
        (NegLogComplement(), -math.log(0.25)),
        (SignedProbability(), 0.5),
        (Ratio(), 3.0),
    ],
)
def test_reward_of_three_to_one_odds(reward: DiscriminatorReward, expected: float) -> None:
    assert float(discriminator_reward(reward, torch.tensor(math.log(3)))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_more_real_is_never_paid_less(reward: DiscriminatorReward) -> None:
    rewards = discriminator_reward(reward, torch.linspace(-8, 8, 101))
    assert bool((rewards.diff() > 0).all())


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_are_finite_at_logits_of_80(reward: DiscriminatorReward) -> None:
    # A quotient D/(1-D) of float32 probabilities is infinite from u = 17 on.
    assert bool(torch.isfinite(discriminator_reward(reward, torch.tensor([-80.0, 80.0]))).all())


def test_far_logits_keep_their_differences() -> None:
    far = torch.tensor([60.0])
    assert float(discriminator_reward(NegLogComplement(), far)) == pytest.approx(60.0)
    assert float(discriminator_reward(LogProbability(), -far)) == pytest.approx(-60.0)
    assert float(discriminator_reward(Ratio(), far).log()) == pytest.approx(60.0)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_keep_the_shape_and_carry_no_gradient(reward: DiscriminatorReward) -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    rewards = discriminator_reward(reward, logits)
    assert rewards.shape == (4, 3) and not rewards.requires_grad


def test_discriminator_rewards_need_logits() -> None:
    with pytest.raises(ShapeError, match="reward='probability' needs the discriminator's logits"):
        sequence_rewards(Probability(), None, 3, torch.Generator())


def test_sequence_rewards_read_the_logits() -> None:
    logits = torch.tensor([0.0, math.log(3)])
    rewards = sequence_rewards(Probability(), logits, 2, torch.Generator())
    torch.testing.assert_close(rewards, torch.tensor([0.5, 0.75]))


def test_constant_reward_pays_every_sequence_alike() -> None:
    assert sequence_rewards(ConstantReward(value=2.5), None, 3, torch.Generator()).tolist() == [2.5] * 3


def test_random_reward_is_uniform_and_reads_only_its_stream() -> None:
    first, again = (
        sequence_rewards(RandomReward(), None, 5_000, torch.Generator().manual_seed(seed)) for seed in (1, 1)
    )
    assert torch.equal(first, again)
    assert float(first.min()) >= 0 and float(first.max()) < 1
    # The mean of 5,000 uniforms has standard deviation 0.0041, their variance 1/12 about 0.001.
    assert abs(float(first.mean()) - 0.5) < 4 * 0.0041
    assert abs(float(first.var()) - 1 / 12) < 4 * 0.0011


def test_oracle_ratio_is_oracle_minus_own_and_zero_after_the_end() -> None:
    mask = torch.tensor([[True, True, False]])
    oracle = torch.tensor([[-1.0, -2.0, -float("inf")]])
    own = torch.tensor([[-1.5, -1.0, 0.0]], requires_grad=True)
    ratio = oracle_ratio(oracle, own, mask)
    assert ratio.tolist() == [[0.5, -1.0, 0.0]] and not ratio.requires_grad
