"""Advantages by numbers worked by hand, by their limit cases, and by what must leave them alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.policy.baselines import (
    BaselineSettings,
    BaselineState,
    BatchMean,
    ConstantBaseline,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    LogPartition,
    NoBaseline,
    PerStepMean,
    advantages,
)
from rlgan.policy.credit import terminal_values
from rlgan.policy.groups import leave_one_out_means
from rlgan.policy.importance_weights import effective_sample_size, importance_weights
from tests.support import reference
from tests.support.errors import refused

MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
VALUES = torch.tensor([[6.0, 3.0, 1.0], [2.0, 5.0, 0.0], [1.0, 0.0, 0.0]])
EVERY_BASELINE = [
    NoBaseline(),
    ConstantBaseline(value=0.25),
    BatchMean(),
    PerStepMean(),
    ExponentialMean(decay=0.5),
    LeaveOneOut(),
    GroupMean(),
    LogPartition(decay=0.5),
    ImportanceWeights(),
    ImportanceWeights(normalise="all", least_ess=0.9),
]
CENTRED = [BatchMean(), PerStepMean(), LeaveOneOut()]


def formed(settings: BaselineSettings, values: Tensor = VALUES, mask: Tensor = MASK) -> Tensor:
    ratios = torch.linspace(-1, 1, values.shape[0]).unsqueeze(1).expand_as(values)
    return advantages(settings, values, mask, BaselineState(), log_ratios=ratios).advantages


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (NoBaseline(), [[6.0, 3.0, 1.0], [2.0, 5.0, 0.0], [1.0, 0.0, 0.0]]),
        (ConstantBaseline(value=2.0), [[4.0, 1.0, -1.0], [0.0, 3.0, 0.0], [-1.0, 0.0, 0.0]]),
        # (6+3+1 + 2+5 + 1) / 6 = 3
        (BatchMean(), [[3.0, 0.0, -2.0], [-1.0, 2.0, 0.0], [-2.0, 0.0, 0.0]]),
        # Position 0: (6+2+1)/3 = 3; position 1: (3+5)/2 = 4; position 2: 1.
        (PerStepMean(), [[3.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [-2.0, 0.0, 0.0]]),
        # ½·0 + ½·3 = 1.5
        (ExponentialMean(decay=0.5), [[4.5, 1.5, -0.5], [0.5, 3.5, 0.0], [-0.5, 0.0, 0.0]]),
        # Finished sequences keep their last value: columns 6 2 1 | 3 5 1 | 1 5 1. Means of the other two:
        # 1.5 3.5 4 | 3 2 4 | 3 1 3.
        (LeaveOneOut(), [[4.5, 0.0, -2.0], [-1.5, 3.0, 0.0], [-3.0, 0.0, 0.0]]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_advantages_by_hand(settings: BaselineSettings, expected: list[list[float]]) -> None:
    torch.testing.assert_close(formed(settings), torch.tensor(expected))


@pytest.mark.parametrize("settings", EVERY_BASELINE, ids=lambda settings: settings.kind)
def test_padding_has_advantage_zero_and_its_values_do_not_matter(settings: BaselineSettings) -> None:
    result = formed(settings)
    assert bool((result[~MASK] == 0).all())
    assert torch.equal(result, formed(settings, VALUES.masked_fill(~MASK, 7.0)))


@pytest.mark.parametrize("settings", EVERY_BASELINE, ids=lambda settings: settings.kind)
def test_advantages_carry_no_gradient(settings: BaselineSettings) -> None:
    ratios = torch.zeros(3, 3, requires_grad=True)
    result = advantages(settings, VALUES.clone().requires_grad_(), MASK, BaselineState(), log_ratios=ratios)
    assert not result.advantages.requires_grad


@pytest.mark.parametrize("settings", EVERY_BASELINE, ids=lambda settings: settings.kind)
def test_permuting_the_batch_permutes_the_advantages(settings: BaselineSettings) -> None:
    order, ratios = torch.tensor([2, 0, 1]), torch.tensor([[0.5], [-1.0], [2.0]]).expand(3, 3)
    plain = advantages(settings, VALUES, MASK, BaselineState(), log_ratios=ratios).advantages
    permuted = advantages(settings, VALUES[order], MASK[order], BaselineState(), log_ratios=ratios[order]).advantages
    torch.testing.assert_close(permuted, plain[order])


@pytest.mark.parametrize("settings", CENTRED, ids=lambda settings: settings.kind)
def test_a_constant_added_to_all_rewards_cancels(settings: BaselineSettings) -> None:
    rewards = torch.tensor([1.0, -0.5, 2.0])
    plain, raised = (formed(settings, terminal_values(rewards + constant, MASK)) for constant in (0.0, 8.0))
    torch.testing.assert_close(plain, raised, atol=1e-6, rtol=0)


@pytest.mark.parametrize("settings", CENTRED, ids=lambda settings: settings.kind)
def test_equal_rewards_give_no_advantage(settings: BaselineSettings) -> None:
    assert bool((formed(settings, terminal_values(torch.full((3,), 0.75), MASK)) == 0).all())


def test_refuses_a_mask_of_another_shape() -> None:
    with refused(ShapeError, "baseline_shapes"):
        advantages(NoBaseline(), VALUES, MASK[:, :2], BaselineState())


def test_every_call_counts_as_an_update() -> None:
    state = BaselineState(moving_average=0.5, num_updates=4)
    assert advantages(BatchMean(), VALUES, MASK, state).state == BaselineState(0.5, 5)


# -------------------------------------------------------------------------------------------- moving average


def test_moving_average_remembers_past_batches() -> None:
    # Decay 0.08 and batch means 0, then 1, from 0: 0.08·0 + 0.92·0 = 0, then 0.08·0 + 0.92·1 = 0.92.
    # A third mean of 0.5: 0.08·0.92 + 0.92·0.5 = 0.5336.
    mask = torch.ones(2, 2, dtype=torch.bool)
    state = BaselineState()
    for mean, average in ((0.0, 0.0), (1.0, 0.92), (0.5, 0.5336)):
        values = torch.tensor([[mean - 1.0, mean + 1.0], [mean, mean]])
        result = advantages(ExponentialMean(decay=0.08), values, mask, state)
        state = result.state
        assert state.moving_average == pytest.approx(average, abs=1e-6)
        torch.testing.assert_close(result.advantages, values - average)
    assert state.num_updates == 3


def test_moving_average_without_memory_is_the_batch_mean() -> None:
    state = BaselineState(moving_average=100.0)
    result = advantages(ExponentialMean(decay=0.0), VALUES, MASK, state)
    torch.testing.assert_close(result.advantages, formed(BatchMean()))


# --------------------------------------------------------------------------------------------- leave one out


def test_leave_one_out_is_rloo() -> None:
    # R = 1, 0, .5, .3: the others' means are .8/3, 1.8/3, 1.3/3, 1.5/3.
    rewards = [1.0, 0.0, 0.5, 0.3]
    values = torch.tensor(rewards).unsqueeze(1)
    result = formed(LeaveOneOut(), values, torch.ones(4, 1, dtype=torch.bool)).squeeze(1)
    torch.testing.assert_close(result, torch.tensor([0.733333, -0.6, 0.066667, -0.2]), atol=1e-6, rtol=0)
    # The other form, K/(K-1) · (R - mean R) with mean 0.45.
    torch.testing.assert_close(result, 4 / 3 * (torch.tensor(rewards) - 0.45))
    torch.testing.assert_close(result, torch.tensor(reference.leave_one_out(rewards)))


def test_leave_one_out_of_terminal_rewards_is_rloo_whatever_the_lengths() -> None:
    rewards = [1.0, 0.0, 0.5]
    result = formed(LeaveOneOut(), terminal_values(torch.tensor(rewards), MASK))
    expected = torch.tensor(reference.leave_one_out(rewards)).unsqueeze(1) * MASK
    torch.testing.assert_close(result, expected)


@given(own=st.floats(-100, 100), row=st.integers(0, 2))
def test_leave_one_out_ignores_a_sequence_s_own_values(own: float, row: int) -> None:
    changed = VALUES.clone()
    changed[row] += own * MASK[row]
    before, after = (leave_one_out_means(values, MASK)[row] for values in (VALUES, changed))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)


def test_leave_one_out_needs_two_sequences() -> None:
    with refused(ShapeError, "group_of_one"):
        formed(LeaveOneOut(), VALUES[:1], MASK[:1])


# --------------------------------------------------------------------------------------------- log partition


def test_log_partition_is_of_the_mean_and_one_more_is_taken_off() -> None:
    # logsumexp(2, 0, -1, .5) - log 4 = 0.956055, with no memory of the past.
    values = torch.tensor([2.0, 0.0, -1.0, 0.5]).unsqueeze(1)
    state = BaselineState(moving_average=7.0)
    result = advantages(LogPartition(decay=0.0), values, torch.ones(4, 1, dtype=torch.bool), state)
    assert result.state.moving_average == pytest.approx(0.956055, abs=1e-6)
    torch.testing.assert_close(result.advantages, values - 1.956055, atol=1e-6, rtol=0)
    # In the notation of 9.1: u - log Z - log M is the logarithm of the weight.
    weights = (values.squeeze(1) - result.state.moving_average - math.log(4)).exp()
    torch.testing.assert_close(weights, torch.tensor([0.710100, 0.096102, 0.035354, 0.158445]), atol=1e-6, rtol=0)


# ---------------------------------------------------------------------------------------- importance weights


def test_importance_weights_by_hand() -> None:
    # u = 0, log 2, log 5: ratios 1, 2, 5 of 8. Advantage m·w - 1 = 3/8 - 1, 6/8 - 1, 15/8 - 1.
    logits = torch.tensor([0.0, math.log(2), math.log(5)])
    torch.testing.assert_close(importance_weights(logits), torch.tensor([0.125, 0.25, 0.625]))
    ratios = logits.unsqueeze(1).expand(3, 3)
    result = advantages(ImportanceWeights(), VALUES, MASK, BaselineState(), log_ratios=ratios).advantages
    expected = torch.tensor([-0.625, -0.25, 0.875]).unsqueeze(1) * MASK
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("shift", [-80.0, -3.0, 50.0])
def test_importance_weights_sum_to_one_and_ignore_a_shift_of_all_logits(shift: float) -> None:
    logits = torch.tensor([0.0, 1.5, -2.0, 0.3])
    plain, shifted = importance_weights(logits), importance_weights(logits + shift)
    torch.testing.assert_close(plain, shifted, atol=1e-6, rtol=1e-5)
    assert float(plain.sum()) == pytest.approx(1.0)


# exp(80) is still a float32; from 89 on it is infinite, and below -103 it is 0.
@pytest.mark.parametrize("size", [80.0, 200.0])
@pytest.mark.parametrize("logits", [[1.0, -1.0, 0.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
def test_importance_weights_are_finite_at_far_logits(logits: list[float], size: float) -> None:
    weights = importance_weights(size * torch.tensor(logits))
    assert bool(torch.isfinite(weights).all()) and float(weights.sum()) == pytest.approx(1.0)


def test_ramp_rises_from_zero_to_one() -> None:
    # Equal logits: m·w = 1, and the advantage is 1 - ramp.
    mask, ratios = torch.ones(4, 1, dtype=torch.bool), torch.zeros(4, 1)
    state, seen = BaselineState(), []
    for _ in range(6):
        result = advantages(ImportanceWeights(ramp_updates=4), mask.float(), mask, state, log_ratios=ratios)
        state = result.state
        seen.append(1 - float(result.advantages[0, 0]))
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_importance_weights_need_logits() -> None:
    with refused(ShapeError, "baseline_needs_logits"):
        advantages(ImportanceWeights(), VALUES, MASK, BaselineState())


def test_importance_weights_carry_no_gradient() -> None:
    assert not importance_weights(torch.zeros(3, requires_grad=True)).requires_grad


def test_effective_sample_size_limits() -> None:
    assert effective_sample_size(torch.full((8,), 0.125)) == pytest.approx(8.0)
    assert effective_sample_size(torch.tensor([1.0, 0.0, 0.0])) == pytest.approx(1.0)
    # 1 / (1/64 + 4/64 + 25/64) = 64/30
    assert effective_sample_size(torch.tensor([0.125, 0.25, 0.625])) == pytest.approx(64 / 30)


@pytest.mark.parametrize("settings", EVERY_BASELINE, ids=lambda settings: settings.kind)
def test_where_nothing_was_drawn_nothing_is_remembered(settings: BaselineSettings) -> None:
    state = BaselineState(moving_average=0.3)
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    result = advantages(settings, VALUES, nothing, state, log_ratios=torch.zeros(3, 3))
    assert torch.equal(result.advantages, torch.zeros(3, 3))
    assert math.isfinite(result.state.moving_average)
    if not isinstance(settings, LogPartition):
        assert result.state.moving_average == 0.3
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_a_moving_average_of_equal_rewards_by_hand() -> None:
    # b = 0 at first, then .9·b + .1·1.
    state, averages = BaselineState(), []
    for _ in range(3):
        state = advantages(ExponentialMean(decay=0.9), MASK.float(), MASK, state).state
        averages.append(state.moving_average)
    assert averages == pytest.approx([0.1, 0.19, 0.271])
