"""Rollouts to experience: the order of the four choices by numbers, metrics, and what stands after the end."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from rlgan.baselines import (
    BaselineSettings,
    BaselineState,
    BatchMean,
    ExponentialMean,
    ImportanceWeights,
    LeaveOneOut,
    NoBaseline,
    PerStepMean,
)
from rlgan.credit import CreditSettings, MonteCarlo, RewardToGo, Terminal
from rlgan.experience import Learnable, learnable
from rlgan.objectives import Reinforce
from rlgan.records import Rollouts
from rlgan.rewards import ConstantReward, OracleRatio, Probability, RandomReward, Ratio, RewardSettings

MASK = torch.tensor([[True, True, True], [True, True, False]])
# D = 3/4 and 1/2; the prefixes of the first sequence are worth (.1 + .3)/2 and (.5 + .9)/2, that of the second .6.
ROLLOUTS = Rollouts(
    tokens=torch.tensor([[1, 2, 3], [3, 0, 0]]),
    logprobs=torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]]),
    mask=MASK,
    real_logits=torch.tensor([math.log(3), 0.0]),
    continuation_rewards=torch.tensor([[[0.1, 0.3], [0.5, 0.9], [0.0, 0.0]], [[0.5, 0.7], [0.0, 0.0], [0.0, 0.0]]]),
    generator_version=1,
    discriminator_version=2,
    num_drawn=0,
)


class FixedOracle:
    entropy = 1.0

    def logprobs(self, tokens: Tensor) -> Tensor:
        assert torch.equal(tokens, ROLLOUTS.tokens)
        return torch.tensor([[-0.5, -2.5, -1.0], [-4.0, -2.0, -9.0]])


def learn(
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    objective: Reinforce | None = None,
    rollouts: Rollouts = ROLLOUTS,
    state: BaselineState | None = None,
) -> Learnable:
    return learnable(
        rollouts,
        reward,
        credit,
        baseline,
        objective or Reinforce(loss_normaliser="sum"),
        state or BaselineState(),
        FixedOracle(),
        torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize(
    ("reward", "credit", "baseline", "normaliser", "expected"),
    [
        # SeqGAN as released: Q itself, summed.
        (Probability(), MonteCarlo(num_rollouts=2), NoBaseline(), "sum", [[0.2, 0.7, 0.75], [0.6, 0.5, 0.0]]),
        # Means by position .4, .6, .75; halved for two sequences.
        (
            Probability(),
            MonteCarlo(num_rollouts=2),
            PerStepMean(),
            "sequence",
            [[-0.1, 0.05, 0.0], [0.1, -0.05, 0.0]],
        ),
        # Mean over the 5 real tokens (3·.75 + 2·.5)/5 = .65; over 5 tokens.
        (Probability(), Terminal(), BatchMean(), "token", [[0.02, 0.02, 0.02], [-0.03, -0.03, 0.0]]),
        # RLOO: ±(.75 - .5).
        (Probability(), Terminal(), LeaveOneOut(), "sum", [[0.25, 0.25, 0.25], [-0.25, -0.25, 0.0]]),
        # MaliGAN: ratios 3 and 1, weights 3/4 and 1/4, advantages 2·w - 1; halved.
        (Ratio(), Terminal(), ImportanceWeights(), "sequence", [[0.25, 0.25, 0.25], [-0.25, -0.25, 0.0]]),
        # Log-ratios .5 -.5 2 | 0 3, summed from each token on; over 2·3 positions.
        (OracleRatio(), RewardToGo(), NoBaseline(), "fixed", [[2 / 6, 1.5 / 6, 2 / 6], [3 / 6, 3 / 6, 0.0]]),
        # γ = ½: .5 - ½·.5 + ¼·2 = .75; -.5 + ½·2 = .5; 2 | 0 + ½·3 = 1.5; 3.
        (OracleRatio(), RewardToGo(gamma=0.5), NoBaseline(), "sum", [[0.75, 0.5, 2.0], [1.5, 3.0, 0.0]]),
        (ConstantReward(value=2.0), Terminal(), NoBaseline(), "sum", [[2.0, 2.0, 2.0], [2.0, 2.0, 0.0]]),
    ],
    ids=["seqgan", "per step", "batch mean", "rloo", "maligan", "oracle ratio", "discounted", "constant"],
)
def test_weights_by_hand(
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    normaliser: str,
    expected: list[list[float]],
) -> None:
    result = learn(reward, credit, baseline, Reinforce(loss_normaliser=normaliser))
    torch.testing.assert_close(result.experience.weights, torch.tensor(expected))
    assert torch.equal(result.experience.tokens, ROLLOUTS.tokens)


def test_metrics_by_hand() -> None:
    metrics = learn(Ratio(), Terminal(), ImportanceWeights()).metrics
    assert metrics == pytest.approx(
        {
            # Ratios 3, 3, 3, 1, 1.
            "generator/mean_value": 11 / 5,
            # Advantages .5, .5, .5, -.5, -.5: mean .1, squares .25.
            "generator/advantage_mean": 0.1,
            "generator/advantage_std": math.sqrt(0.25 - 0.01),
            "generator/entropy": (1 + 2 + 3 + 4 + 5) / 5,
            "generator/mean_length": 2.5,
            "generator/mean_prob_real": (0.75 + 0.5) / 2,
            # 1 / (9/16 + 1/16)
            "generator/effective_sample_size": 1.6,
        },
        abs=1e-6,
    )


def test_controls_without_discriminator_report_no_figures_of_one() -> None:
    unscored = dataclasses.replace(ROLLOUTS, real_logits=None, continuation_rewards=None, discriminator_version=None)
    metrics = learn(RandomReward(), Terminal(), LeaveOneOut(), rollouts=unscored).metrics
    assert "generator/mean_prob_real" not in metrics and "generator/effective_sample_size" not in metrics


def test_random_rewards_come_from_the_stream_that_is_handed_in() -> None:
    weights = learn(RandomReward(), Terminal(), NoBaseline()).experience.weights
    expected = torch.rand(2, generator=torch.Generator().manual_seed(0)).unsqueeze(1) * MASK
    assert torch.equal(weights, expected)


def test_the_baseline_goes_on_from_its_state() -> None:
    # Mean over real tokens .65; ½·.25 + ½·.65 = .45.
    result = learn(Probability(), Terminal(), ExponentialMean(decay=0.5), state=BaselineState(0.25, 7))
    assert result.baseline_state.moving_average == pytest.approx(0.45)
    assert result.baseline_state.num_updates == 8
    torch.testing.assert_close(
        result.experience.weights, torch.tensor([[0.3, 0.3, 0.3], [0.05, 0.05, 0.0]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("reward", "credit", "baseline"),
    [
        (Probability(), MonteCarlo(num_rollouts=2), PerStepMean()),
        (Probability(), MonteCarlo(num_rollouts=2), LeaveOneOut()),
        (Probability(), Terminal(), ExponentialMean()),
        (Ratio(), Terminal(), ImportanceWeights()),
        (OracleRatio(), RewardToGo(), BatchMean()),
    ],
)
def test_what_stands_after_the_end_changes_nothing(
    reward: RewardSettings, credit: CreditSettings, baseline: BaselineSettings
) -> None:
    litter = dataclasses.replace(
        ROLLOUTS,
        logprobs=ROLLOUTS.logprobs.masked_fill(~MASK, -77.0),
        continuation_rewards=ROLLOUTS.continuation_rewards.masked_fill(~MASK.unsqueeze(2), 55.0),
    )
    clean, dirty = (learn(reward, credit, baseline, rollouts=rollouts) for rollouts in (ROLLOUTS, litter))
    assert torch.equal(clean.experience.weights, dirty.experience.weights)
    assert clean.metrics == dirty.metrics and clean.baseline_state == dirty.baseline_state
