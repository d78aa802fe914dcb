"""Who trains when, as arithmetic on a few integers."""

from __future__ import annotations

import dataclasses

import pytest

from rlgan.schedule.phases import Position, Schedule, num_iterations


@pytest.mark.parametrize(("epochs", "rounds", "updates"), [(3, 2, 4), (0, 2, 1), (2, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_a_run_is_as_many_units_as_its_phases_have(epochs: int, rounds: int, updates: int) -> None:
    schedule = Schedule(mle_epochs=epochs, discriminator_rounds=rounds, adversarial_updates=updates)
    assert num_iterations(schedule, Position()) == epochs + rounds + updates
    assert Position(mle_epochs=epochs, discriminator_rounds=rounds, adversarial_updates=updates).iterations == (
        epochs + rounds + updates
    )


def test_early_stopping_skips_the_rest_of_pretraining() -> None:
    schedule = Schedule(mle_epochs=10, discriminator_rounds=2, adversarial_updates=3)
    stopped = Position(mle_epochs=4, mle_finished=True)
    assert num_iterations(schedule, stopped) == 4 + 2 + 3
    assert num_iterations(schedule, dataclasses.replace(stopped, mle_finished=False)) == 15


def test_the_rate_of_pretraining_is_halved_from_an_epoch_on() -> None:
    schedule = Schedule(mle_epochs=8, mle_halve_from=6)
    assert [schedule.mle_rate(epoch) for epoch in range(8)] == [1.0] * 5 + [0.5, 0.25, 0.125]
    assert {Schedule(mle_epochs=8).mle_rate(epoch) for epoch in range(8)} == {1.0}
    assert Schedule(mle_halve_from=1).mle_rate(0) == 0.5


def test_rates_of_the_adversarial_phase_fall_by_one_ratio_to_their_ends() -> None:
    schedule = Schedule(adversarial_updates=3, g_rate_end=0.01, d_rate_end=0.25)
    assert [schedule.g_rate(iteration) for iteration in range(3)] == pytest.approx([1.0, 0.1, 0.01])
    assert [schedule.d_rate(iteration) for iteration in range(3)] == pytest.approx([1.0, 0.5, 0.25])
    # One iteration is the first; and without an end below 1 nothing falls.
    assert Schedule(adversarial_updates=1, g_rate_end=0.01).g_rate(0) == 1.0
    assert {Schedule(adversarial_updates=9).g_rate(iteration) for iteration in range(9)} == {1.0}


def test_a_selection_that_ended_early_leaves_nothing_to_do() -> None:
    schedule = Schedule(mle_epochs=2, discriminator_rounds=1, adversarial_updates=9)
    under_way = Position(mle_epochs=2, mle_finished=True, discriminator_rounds=1, adversarial_updates=4)
    assert num_iterations(schedule, under_way) == 12
    ended = dataclasses.replace(under_way, adversarial_finished=True)
    assert num_iterations(schedule, ended) == ended.iterations == 7
