"""Balances by hand: BEGAN's numbers, the band's three cases, a critic's warm-up."""

from __future__ import annotations

import pytest

from rlgan.balance import (
    HELDOUT_AUC,
    LOSS_ON_FAKES,
    LOSS_ON_REALS,
    BalanceState,
    Band,
    CriticWarmup,
    Equilibrium,
    FixedBalance,
    after_round,
    first_state,
    most_rounds,
    suffices,
    trains,
)


def test_equilibrium_by_hand() -> None:
    # Specification 13: k₀ = 0, L(x) = .2, L(G) = .05 give k₁ = 5e-5 and M = .25.
    settings = Equilibrium(ratio=0.5, rate=0.001)
    metrics = {LOSS_ON_REALS: 0.2, LOSS_ON_FAKES: 0.05, HELDOUT_AUC: 0.7}
    state, told = after_round(settings, first_state(settings), metrics)
    assert state == BalanceState(rounds=1, auc=0.7, fake_weight=pytest.approx(5e-5))
    assert told == pytest.approx({"discriminator/fake_weight": 5e-5, "discriminator/convergence": 0.25})


@pytest.mark.parametrize(("start", "reals", "fakes", "end"), [(1.0, 9.0, 0.0, 1.0), (0.0, 0.0, 9.0, 0.0)])
def test_the_weight_of_fakes_stays_between_none_and_all(start: float, reals: float, fakes: float, end: float) -> None:
    settings = Equilibrium(rate=0.1, start=start)
    state, _ = after_round(settings, first_state(settings), {LOSS_ON_REALS: reals, LOSS_ON_FAKES: fakes})
    assert state.fake_weight == end


@pytest.mark.parametrize(
    ("auc", "is_enough", "learns"), [(None, False, True), (0.55, False, True), (0.6, True, True), (0.81, True, False)]
)
def test_a_band_asks_for_more_below_it_and_trains_nothing_above(
    auc: float | None, is_enough: bool, learns: bool
) -> None:
    state = BalanceState(auc=auc)
    assert suffices(Band(low=0.6, high=0.8), state) == is_enough
    assert trains(Band(low=0.6, high=0.8), state) == learns
    assert trains(FixedBalance(), state) and not suffices(FixedBalance(), state)


def test_the_band_must_not_be_upside_down() -> None:
    with pytest.raises(ValueError, match="high=0.6: is below schedule.balance.low=0.7"):
        Band(low=0.7, high=0.6)


def test_a_critic_learns_much_in_the_first_units_and_every_so_often() -> None:
    settings = CriticWarmup(rounds=100, units=2, every=5)
    assert [most_rounds(settings, unit, 3) for unit in range(11)] == [100, 100, 3, 3, 3, 100, 3, 3, 3, 3, 100]
    never = CriticWarmup(rounds=100, units=1, every=None)
    assert [most_rounds(never, unit, 3) for unit in range(3)] == [100, 3, 3]
    assert most_rounds(FixedBalance(), 0, 7) == 7


def test_rounds_are_counted_and_an_area_that_was_not_measured_is_the_last_one() -> None:
    state, told = after_round(FixedBalance(), BalanceState(rounds=4, auc=0.6), {})
    assert (state, told) == (BalanceState(rounds=5, auc=0.6), {})
