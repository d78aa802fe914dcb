"""The scale of advantages: numbers by hand, padding left at 0, and what is remembered."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from rlgan.policy.advantage_scaling import (
    Clip,
    GroupDeviation,
    NormalisationSettings,
    NoScaling,
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
