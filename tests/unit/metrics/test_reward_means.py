"""Means of reward functions, by hand."""

from __future__ import annotations

from math import nan

import pytest
import torch

from rlgan.metrics.reward_means import is_of_reward, reward_means


def test_each_function_is_averaged_over_what_it_scores_and_the_sum_over_what_any_does() -> None:
    each = torch.tensor([[1.0, 4.0], [3.0, nan], [nan, nan]])
    total = torch.tensor([1.0 + 0.5 * 4.0, 3.0, nan])
    assert reward_means(("f", "g"), each, total, {"f_length": 2.5}) == {
        "reward": pytest.approx(3.0),
        "reward_f": pytest.approx(2.0),
        "reward_g": pytest.approx(4.0),
        "reward_unscored_share": pytest.approx(1 / 3),
        "logged_f_length": 2.5,
    }


def test_one_function_has_no_sum_and_one_without_a_reward_no_mean() -> None:
    assert reward_means(("f",), torch.tensor([[2.0], [4.0]]), torch.tensor([1.0, 2.0])) == {"reward_f": 3.0}
    nothing = torch.tensor([[nan], [nan]])
    assert reward_means(("f",), nothing, nothing[:, 0]) == {"reward_unscored_share": 1.0}


def test_names() -> None:
    names = ("reward", "reward_f", "reward_unscored_share", "logged_f_x", "own_reward", "rewarding")
    assert [name for name in names if is_of_reward(name)] == ["reward", "reward_f"]
