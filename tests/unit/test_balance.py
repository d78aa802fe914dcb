"""Balances by hand: BEGAN's numbers, the band's three cases, a critic's warm-up."""

from __future__ import annotations

import pytest
import torch

from rlgan.adversary.losses import CrossEntropy
from rlgan.schedule.discriminator_balance import (
    HELDOUT_AUC,
    LOSS_ON_FAKES,
    LOSS_ON_REALS,
    BalanceState,
    Band,
    CriticWarmup,
    Equilibrium,
    FixedBalance,
)
from tests.support.errors import refused


def test_equilibrium_by_hand() -> None:
    # Specification 13: k₀ = 0, L(x) = .2, L(G) = .05 give k₁ = 5e-5 and M = .25.
    settings = Equilibrium(ratio=0.5, rate=0.001, start=0.0)
    metrics = {LOSS_ON_REALS: 0.2, LOSS_ON_FAKES: 0.05, HELDOUT_AUC: 0.7}
    state, described = settings.after_round(settings.first_state(), metrics)
    assert state == BalanceState(rounds=1, auc=0.7, real_weight=pytest.approx(5e-5))
    assert described == pytest.approx({"discriminator/real_weight": 5e-5, "discriminator/convergence": 0.25})


@pytest.mark.parametrize(("start", "reals", "fakes", "end"), [(1.0, 9.0, 0.0, 1.0), (0.0, 0.0, 9.0, 0.0)])
def test_the_weight_of_reals_stays_between_none_and_all(start: float, reals: float, fakes: float, end: float) -> None:
    settings = Equilibrium(rate=0.1, start=start)
    state, _ = settings.after_round(settings.first_state(), {LOSS_ON_REALS: reals, LOSS_ON_FAKES: fakes})
    assert state.real_weight == end


@pytest.mark.parametrize(("auc", "is_enough"), [(None, False), (0.55, False), (0.6, True), (0.81, True)])
def test_a_band_asks_for_more_below_it(auc: float | None, is_enough: bool) -> None:
    state = BalanceState(auc=auc)
    assert Band(low=0.6, high=0.8).suffices(state) == is_enough
    assert not FixedBalance().suffices(state)


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_an_equilibrium_comes_to_rest_at_its_ratio_from_anywhere(start: float, ratio: float) -> None:
    # A logistic discriminator of N(.5, 1) against N(-.5, 1), whose loss is k·L(real) + L(fake).
    settings = Equilibrium(ratio=ratio, rate=0.02, start=start)
    state, rng = settings.first_state(), torch.Generator().manual_seed(0)
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.02)
    seen = []
    for _ in range(2_500):
        real, fake = (torch.randn(256, generator=rng) + shift for shift in (0.5, -0.5))
        losses = CrossEntropy().by_class(weights[0] * torch.cat([real, fake]) + weights[1], torch.arange(512) < 256)
        optimizer.zero_grad()
        (state.real_weight * losses.real + losses.fake).backward()
        optimizer.step()
        costs = {LOSS_ON_REALS: float(losses.real.detach()), LOSS_ON_FAKES: float(losses.fake.detach())}
        state, _ = settings.after_round(state, costs)
        seen.append((state.real_weight, costs[LOSS_ON_FAKES] / costs[LOSS_ON_REALS]))
    weight, found = (sum(column[-500:]) / 500 for column in zip(*seen, strict=True))
    assert 0.3 < weight < 0.95
    assert found == pytest.approx(ratio, abs=0.08)


def test_the_band_must_not_be_upside_down() -> None:
    with refused(ValueError, "balance_band", {"schedule.balance.high": 0.6, "schedule.balance.low": 0.7}):
        Band(low=0.7, high=0.6)


def test_a_critic_learns_much_in_the_first_units_and_every_so_often() -> None:
    settings = CriticWarmup(rounds=100, units=2, every=5)
    assert [settings.most_rounds(unit, 3) for unit in range(11)] == [100, 100, 3, 3, 3, 100, 3, 3, 3, 3, 100]
    never = CriticWarmup(rounds=100, units=1, every=None)
    assert [never.most_rounds(unit, 3) for unit in range(3)] == [100, 3, 3]
    assert FixedBalance().most_rounds(0, 7) == 7


def test_rounds_are_counted_and_an_area_that_was_not_measured_is_the_last_one() -> None:
    state, described = FixedBalance().after_round(BalanceState(rounds=4, auc=0.6), {})
    assert (state, described) == (BalanceState(rounds=5, auc=0.6), {})


def test_only_a_band_holds_back_and_only_an_equilibrium_weighs() -> None:
    state = BalanceState(real_weight=0.25)
    held = [one.hold_above for one in (FixedBalance(), Band(low=0.6, high=0.8), CriticWarmup(), Equilibrium())]
    assert held == [None, 0.8, None, None]
    weights = [one.real_weight(state) for one in (FixedBalance(), Band(), CriticWarmup(), Equilibrium())]
    assert weights == [None, None, None, 0.25]
    assert Equilibrium(start=0.5).first_state().real_weight == 0.5 and Band().first_state() == BalanceState()
