"""What a discriminator that knows nothing reaches: by enumeration of all orders, and by drawing many of them."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from rlgan.metrics import RankedRound, auc, auc_error_of_chance, pair_error_of_chance, ranking


@pytest.mark.parametrize(("num_real", "num_fake"), [(1, 1), (2, 3), (3, 3), (1, 5)])
def test_the_error_of_an_auc_is_that_over_all_orders(num_real: int, num_fake: int) -> None:
    orders = torch.tensor(list(permutations(range(num_real + num_fake))), dtype=torch.float64)
    areas = torch.tensor([auc(one[:num_real], one[num_real:]) for one in orders])
    assert float(areas.mean()) == pytest.approx(0.5)
    assert float(areas.var(correction=0)) ** 0.5 == pytest.approx(auc_error_of_chance(num_real, num_fake))


@pytest.mark.parametrize("group", [1, 2, 5])
def test_the_error_of_pairs_is_that_over_all_orders(group: int) -> None:
    orders = torch.tensor(list(permutations(range(group + 1))), dtype=torch.float64)
    shares = (orders[:, :1] > orders[:, 1:]).double().mean(1)
    assert float(shares.mean()) == pytest.approx(0.5)
    assert float(shares.var(correction=0)) ** 0.5 == pytest.approx(pair_error_of_chance(1, group))


def test_worked_by_hand() -> None:
    # Pairs: 8 fakes of each of 8 prompts in each of 4 rounds: sqrt(10 / (12·8·32)) = .057055; 1.959964 of them .111825.
    found = ranking([RankedRound(value, 8, 8, is_of_pairs=True) for value in (0.5, 0.6, 0.7, 0.8)])
    assert (found.value, found.low, found.high) == pytest.approx((0.65, 0.388175, 0.611825), abs=1e-6)
    assert not found.is_chance and not found.is_reversed
    # An AUC of 64 reals and 2 × 64 fakes: sqrt(193 / (12·64·128)) = .044309; 1.959964 of them .086844.
    found = ranking([RankedRound(value, 64, 64, is_of_pairs=False) for value in (0.58, 0.59)])
    assert (found.value, found.low, found.high) == pytest.approx((0.585, 0.413156, 0.586844), abs=1e-6)
    assert found.is_chance and not found.is_reversed


def test_the_limits() -> None:
    # Of one pair no more can be known, whatever it says.
    assert ranking([RankedRound(1.0, 1, 1, is_of_pairs=True)]).is_chance
    assert not ranking([RankedRound(1.0, 1000, 1, is_of_pairs=True)]).is_chance
    low = ranking([RankedRound(0.4, 1000, 1000, is_of_pairs=False)])
    assert low.is_chance and low.is_reversed
    broken = ranking([RankedRound(math.nan, 1000, 1000, is_of_pairs=False)])
    assert broken.is_chance and not broken.is_reversed


def test_noise_is_called_chance_as_often_as_is_said() -> None:
    """39 of 40 times; also where the same reals, with the same logits, stand beside the fakes of each round."""
    rng = torch.Generator().manual_seed(1)
    times = 1_000
    called = 0
    for _ in range(times):
        real = torch.randn(40, generator=rng)
        rounds = [RankedRound(auc(real, torch.randn(30, generator=rng)), 40, 30, False) for _ in range(4)]
        called += ranking(rounds).is_chance
    assert abs(called / times - 0.975) < 3 * math.sqrt(0.975 * 0.025 / times)
