"""The scale of advantages: numbers by hand, padding left at 0, and what is remembered."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from rlgan.policy.advantage_scaling import (
    Clip,
    GroupDeviation,
    NormalisationSettings,
    NoScaling,
    RankRescaled,
    RunningScale,
    Whiten,
    normalised,
)

MASK = torch.tensor([[True, True], [True, False]])
ADVANTAGES = torch.tensor([[4.0, -8.0], [1.0, 0.0]])
VALUES = torch.tensor([[5.0, 7.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (NoScaling(), [[4.0, -8.0], [1.0, 0.0]]),
        (Clip(bound=3.0), [[3.0, -3.0], [1.0, 0.0]]),
        # Mean of 4, -8 and 1 is -1, variance (25 + 49 + 4)/3 = 26.
        (Whiten(), [[5 / 26**0.5, -7 / 26**0.5], [2 / 26**0.5, 0.0]]),
        # Values 5, 1 and 7, 1 (held): deviations 2 and 3.
        (GroupDeviation(), [[2.0, -8 / 3], [0.5, 0.0]]),
        # 4 above 1, and 1 (held) above -8: of two, ranks 1 and 2 are σ(±16/4) - ½, σ(4) = 1/(1 + e⁻⁴).
        (RankRescaled(), [[0.482014, -0.482014], [-0.482014, 0.0]]),
        # Mean magnitude 13/3, and the first average is corrected to it.
        (RunningScale(decay=0.75), [[12 / 13, -24 / 13], [3 / 13, 0.0]]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_by_hand(settings: NormalisationSettings, expected: list[list[float]]) -> None:
    result, _ = normalised(settings, ADVANTAGES, VALUES, MASK)
    torch.testing.assert_close(result, torch.tensor(expected))


def test_running_scale_goes_on_from_what_it_remembers() -> None:
    settings, scale = RunningScale(decay=0.5), 0.0
    for update, size in enumerate((2.0, 6.0)):
        result, scale = normalised(settings, size * torch.ones(1, 1), torch.ones(1, 1), MASK[:1, :1], scale, update)
    # ½·(½·2) + ½·6 = 3.5 of weights 3/4: 14/3.
    assert scale == 3.5
    assert float(result) == pytest.approx(6 / (3.5 / 0.75))


@pytest.mark.parametrize("kind", get_args(get_args(NormalisationSettings)[0]))
def test_where_all_are_worth_the_same_nothing_is_infinite(kind: type) -> None:
    result, _ = normalised(kind(), torch.zeros(2, 2), torch.ones(2, 2), MASK)
    assert torch.equal(result, torch.zeros(2, 2))


def test_group_deviation_is_of_the_group() -> None:
    values = torch.tensor([[0.0], [2.0], [0.0], [20.0]])
    result, _ = normalised(GroupDeviation(), values, values, torch.ones(4, 1, dtype=torch.bool), group=2)
    torch.testing.assert_close(result, torch.tensor([[0.0], [2.0], [0.0], [2.0]]))


def test_the_deviation_of_the_sample_is_that_of_trl() -> None:
    # Of 1, 2, 3 and 4 the mean is 2.5, the sample's variance (2.25 + .25 + .25 + 2.25)/3 = 5/3, the deviation 1.290994.
    values = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    centred, drawn = values - 2.5, torch.ones(4, 1, dtype=torch.bool)
    result, _ = normalised(GroupDeviation(bessel=True, epsilon=1e-4), centred, values, drawn)
    expected = torch.tensor([[-1.5], [-0.5], [0.5], [1.5]]) / (1.2909944 + 1e-4)
    torch.testing.assert_close(result, expected)
    result, _ = normalised(GroupDeviation(epsilon=1e-9), centred, values, drawn)
    torch.testing.assert_close(result, torch.tensor([[-1.341641], [-0.447214], [0.447214], [1.341641]]))
    # A group of one has no sample's deviation, and nothing to compare with.
    alone, _ = normalised(GroupDeviation(bessel=True), centred[:1], values[:1], drawn[:1])
    assert float(alone) == 0.0


@pytest.mark.parametrize("kind", get_args(get_args(NormalisationSettings)[0]))
def test_where_nothing_was_drawn_the_scale_is_as_it_was(kind: type) -> None:
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    result, scale = normalised(kind(), torch.zeros(2, 2), VALUES, nothing, moving_scale=0.7)
    assert scale == 0.7 and torch.equal(result, torch.zeros(2, 2))


def slow_ranks(column: list[float], steepness: float) -> list[float]:
    """LeakGAN's rescaling with a sort: places of equal numbers are shared out among them."""
    order = sorted(column, reverse=True)
    found = []
    for value in column:
        places = [place + 1 for place, other in enumerate(order) if other == value]
        rank = sum(places) / len(places)
        found.append(1 / (1 + math.exp(-steepness * (0.5 - (rank - 0.5) / len(column)))) - 0.5)
    return found


@pytest.mark.parametrize("group", [None, 4])
def test_ranks_are_those_of_a_sort_and_equal_ones_share_theirs(group: int | None) -> None:
    advantages = torch.randint(0, 4, (12, 3), generator=torch.Generator().manual_seed(0)).float()
    mask = torch.ones(12, 3, dtype=torch.bool)
    result, _ = normalised(RankRescaled(steepness=7.0), advantages, advantages, mask, group=group)
    for first in range(0, 12, group or 12):
        rows = slice(first, first + (group or 12))
        expected = [slow_ranks(column, 7.0) for column in advantages[rows].t().tolist()]
        torch.testing.assert_close(result[rows], torch.tensor(expected).t())


def test_rank_rescaling_is_monotone_and_does_not_see_the_scale() -> None:
    advantages = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(50, 2, dtype=torch.bool)

    def rescaled(values: torch.Tensor) -> torch.Tensor:
        return normalised(RankRescaled(), values, values, mask)[0]

    found = rescaled(advantages)
    for column in range(2):
        order = advantages[:, column].argsort()
        assert bool((found[order, column].diff() > 0).all())
    assert torch.equal(found, rescaled(1_000.0 * advantages)) and torch.equal(found, rescaled(advantages.exp()))
    assert torch.equal(found, rescaled(advantages - 7.0))
    # The order of the batch is not the order of the rewards: dealt out anew, each keeps its own.
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found[order], rescaled(advantages[order]))
    assert float(found.sum()) == pytest.approx(0.0, abs=1e-5)


def test_what_has_no_reward_has_no_rank() -> None:
    advantages = torch.tensor([[1.0], [float("nan")], [3.0], [2.0]])
    mask = torch.tensor([[True], [False], [True], [True]])
    result, _ = normalised(RankRescaled(), advantages, advantages, mask)
    assert [*result[[2, 3, 0], 0].tolist()] == pytest.approx(slow_ranks([3.0, 2.0, 1.0], 16.0), abs=1e-6)
    assert float(result[1]) == 0.0
