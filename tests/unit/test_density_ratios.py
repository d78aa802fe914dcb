"""Importance weights: numbers by hand, groups, all tokens together, and how far log-ratios are shrunk."""

from __future__ import annotations

import pytest
import torch

from rlgan.policy.importance_weights import effective_sample_size, importance_weights, mean_one_weights, shrinkage


def test_boundary_seeking_weights_by_hand() -> None:
    weights = importance_weights(torch.tensor([2.0, 0.0, -1.0, 0.5]))
    torch.testing.assert_close(weights, torch.tensor([0.710100, 0.096102, 0.035354, 0.158445]), atol=1e-6, rtol=0)
    assert float(effective_sample_size(weights)) == pytest.approx(1.852428, abs=1e-6)


def test_every_group_has_weights_of_mean_one_of_its_own() -> None:
    # The second group's logits are far above the first's and take nothing from it.
    ratios = torch.tensor([2.0, 0.0, -1.0, 0.5, 52.0, 50.0, 49.0, 50.5]).unsqueeze(1).expand(8, 3)
    weighted = mean_one_weights(ratios, torch.ones(8, 3, dtype=torch.bool), group=4)
    expected = 4 * torch.tensor([0.710100, 0.096102, 0.035354, 0.158445])
    torch.testing.assert_close(weighted.weights, expected.repeat(2).unsqueeze(1).expand(8, 3), atol=1e-5, rtol=0)
    assert weighted.metrics == pytest.approx(
        {"generator/effective_sample_size": 1.852428, "generator/effective_sample_share": 0.463107}, abs=1e-5
    )


def test_each_position_is_weighed_by_itself_or_all_tokens_together() -> None:
    ratios = torch.tensor([[1.0, 2.0], [3.0, 2.0]]).log()
    mask = torch.tensor([[True, True], [True, False]])
    by_step = mean_one_weights(ratios, mask)
    # 1 : 3 and 2 : 2, times two sequences.
    torch.testing.assert_close(by_step.weights, torch.tensor([[0.5, 1.0], [1.5, 1.0]]))
    assert by_step.metrics["generator/effective_sample_size"] == pytest.approx((1 / (1 / 16 + 9 / 16) + 2) / 2)
    together = mean_one_weights(ratios, mask, over_all_tokens=True)
    # 1 : 2 : 3 of three real tokens; what follows the end has no part in it.
    torch.testing.assert_close(together.weights[mask], torch.tensor([0.5, 1.0, 1.5]))
    assert together.metrics["generator/effective_sample_share"] == pytest.approx(36 / 14 / 3)


@pytest.mark.parametrize("least", [0.05, 0.3, 0.9])
def test_log_ratios_are_shrunk_until_the_sample_size_suffices_and_no_further(least: float) -> None:
    ratios = torch.tensor([[8.0, -3.0, 0.0, 1.0, 2.0]], dtype=torch.float64)
    alpha = shrinkage(ratios, least, dim=1)
    size = float(effective_sample_size(importance_weights(alpha * ratios, 1), 1))
    if least == 0.05:
        assert float(alpha) == 1.0 and size > 0.05 * 5  # one sample of five is more than a twentieth
    else:
        assert size == pytest.approx(least * 5, rel=1e-6)
    assert 0.0 < float(alpha) <= 1.0


def test_groups_and_steps_are_shrunk_each_as_far_as_it_needs() -> None:
    ratios = torch.tensor([[9.0, 0.0], [0.0, 0.0], [0.0, 0.1], [0.0, 0.0]])
    weighted = mean_one_weights(ratios, torch.ones(4, 2, dtype=torch.bool), group=2, least_ess=0.75)
    size = effective_sample_size(weighted.weights.view(2, 2, 2) / 2, 1)
    torch.testing.assert_close(size, torch.tensor([[1.5, 2.0], [2.0, size[1, 1].item()]]), atol=1e-4, rtol=0)
    assert float(size[1, 1]) > 1.99
    torch.testing.assert_close(weighted.weights[2:, 1], 2 * torch.softmax(ratios[2:, 1], 0))
    assert weighted.metrics["generator/importance_shrinkage"] < 1.0


def test_what_follows_the_end_is_not_shrunk_into_a_sample() -> None:
    ratios, mask = torch.tensor([[5.0, 5.0], [0.0, 0.0]]), torch.tensor([[True, False], [True, True]])
    weighted = mean_one_weights(ratios, mask, over_all_tokens=True, least_ess=0.5)
    assert float(weighted.weights[0, 1]) == 0.0
    assert float(weighted.weights.sum()) == pytest.approx(3.0)
    assert weighted.metrics["generator/effective_sample_size"] == pytest.approx(1.5, abs=1e-4)


@pytest.mark.parametrize("over_all_tokens", [False, True])
def test_figures_are_of_groups_and_positions_that_were_drawn(over_all_tokens: bool) -> None:
    # The first group ended within what was given, the second was drawn at its second position alone.
    ratios = torch.tensor([[9.0, 9.0], [0.0, 0.0], [8.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([[False, False], [False, False], [False, True], [False, True]])
    weighted = mean_one_weights(ratios, mask, over_all_tokens, group=2, least_ess=0.1)
    share = torch.softmax(torch.tensor([1.0, 0.0]), 0)
    size = float(1 / share.square().sum())
    assert weighted.metrics == pytest.approx(
        {
            "generator/effective_sample_size": size,
            "generator/effective_sample_share": size / 2,
            "generator/importance_shrinkage": 1.0,
        },
        rel=1e-5,
    )
    torch.testing.assert_close(weighted.weights[2:, 1], 2 * share)
    assert mean_one_weights(ratios, torch.zeros(4, 2, dtype=torch.bool), over_all_tokens, group=2).metrics == {}
