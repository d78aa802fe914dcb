"""Comparisons within groups: neighbours only, finished sequences held, numbers by hand."""

from __future__ import annotations

import pytest
import torch

from rlgan.base.errors import ShapeError
from rlgan.policy.groups import equal_share, group_deviations, group_means, grouped, held, leave_one_out_means
from tests.support.errors import refused

# Twice: the second group is the first one raised by 10.
REWARDS = torch.tensor([1.0, 0.0, 0.5, 0.3, 11.0, 10.0, 10.5, 10.3]).unsqueeze(1)
ALL = torch.ones(8, 1, dtype=torch.bool)


def test_leave_one_out_is_rloo_within_each_group() -> None:
    advantages = (REWARDS - leave_one_out_means(REWARDS, ALL, 4)).squeeze(1)
    expected = torch.tensor([0.733333, -0.6, 0.066667, -0.2])
    torch.testing.assert_close(advantages, expected.repeat(2), atol=2e-6, rtol=0)


def test_group_mean_over_group_deviation_is_grpo() -> None:
    # With the population's deviation; the sample's would give 1.308535 for the first.
    advantages = (REWARDS - group_means(REWARDS, ALL, 4)) / group_deviations(REWARDS, ALL, 4)
    expected = torch.tensor([1.510966, -1.236245, 0.137361, -0.412082])
    torch.testing.assert_close(advantages.squeeze(1), expected.repeat(2), atol=1e-5, rtol=0)


def test_without_a_size_the_whole_batch_is_one_group() -> None:
    for statistic in (leave_one_out_means, group_means, group_deviations):
        assert torch.equal(statistic(REWARDS, ALL), statistic(REWARDS, ALL, 8))


def test_a_finished_sequence_stands_with_its_last_value() -> None:
    values = torch.tensor([[1.0, 2.0, 0.0], [5.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert held(values, mask).tolist() == [[1.0, 2.0, 2.0], [5.0, 5.0, 5.0]]
    assert group_means(values, mask).tolist() == [[3.0, 3.5, 3.5]] * 2
    assert group_deviations(values, mask).tolist() == [[2.0, 1.5, 1.5]] * 2


def test_groups_are_neighbours_and_must_fit() -> None:
    assert grouped(torch.arange(6), 2).tolist() == [[0, 1], [2, 3], [4, 5]]
    with refused(ShapeError, "groups_do_not_fit"):
        grouped(torch.arange(6), 4)


def test_groups_of_equal_values_are_counted() -> None:
    values = torch.tensor([[0.1, 0.1], [0.1, 0.0], [0.1, 0.1], [0.2, 0.1]])
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    assert equal_share(values, mask, 2) == 0.5, "the shorter sequence keeps its last value"
    assert equal_share(values, mask) == 0.0
    assert equal_share(values[:3], mask[:3]) == 1.0
    assert equal_share(torch.tensor([[1.0], [2.0], [5.0], [5.0]]), ALL[:4], 2) == 0.5


def test_values_that_are_not_there_tell_nothing_apart() -> None:
    nothing = torch.nan
    values = torch.tensor([[1.0], [nothing], [nothing], [nothing], [1.0], [2.0]])
    assert equal_share(values, torch.ones(6, 1, dtype=torch.bool), 2) == pytest.approx(2 / 3)
