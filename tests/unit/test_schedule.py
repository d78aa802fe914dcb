"""Who trains when, as arithmetic on a few integers."""

from __future__ import annotations

import dataclasses

import pytest

from rlgan.schedule.phases import Phase, Position, Schedule, next_phase, num_units


def walk(schedule: Schedule) -> list[Phase]:
    """Phases of all units of a run that is never stopped early."""
    counters = {"mle": "mle_epochs", "discriminator": "discriminator_rounds", "adversarial": "adversarial_updates"}
    position, phases = Position(), []
    while (phase := next_phase(schedule, position)) is not None:
        phases.append(phase)
        done = getattr(position, counters[phase]) + 1
        position = dataclasses.replace(position, **{counters[phase]: done})
        assert position.units == len(phases)
    return phases


@pytest.mark.parametrize(("epochs", "rounds", "updates"), [(3, 2, 4), (0, 2, 1), (2, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_pretraining_of_generator_then_of_discriminator_then_adversarial(
    epochs: int, rounds: int, updates: int
) -> None:
    schedule = Schedule(mle_epochs=epochs, discriminator_rounds=rounds, adversarial_updates=updates)
    assert walk(schedule) == ["mle"] * epochs + ["discriminator"] * rounds + ["adversarial"] * updates
    assert num_units(schedule, Position()) == epochs + rounds + updates


def test_early_stopping_skips_the_rest_of_pretraining() -> None:
    schedule = Schedule(mle_epochs=10, discriminator_rounds=2, adversarial_updates=3)
    stopped = Position(mle_epochs=4, mle_finished=True)
    assert next_phase(schedule, stopped) == "discriminator"
    assert num_units(schedule, stopped) == 4 + 2 + 3
    assert num_units(schedule, dataclasses.replace(stopped, mle_finished=False)) == 15


def test_the_rate_of_pretraining_is_halved_from_an_epoch_on() -> None:
    schedule = Schedule(mle_epochs=8, mle_halve_from=6)
    assert [schedule.mle_rate(epoch) for epoch in range(8)] == [1.0] * 5 + [0.5, 0.25, 0.125]
    assert {Schedule(mle_epochs=8).mle_rate(epoch) for epoch in range(8)} == {1.0}
    assert Schedule(mle_halve_from=1).mle_rate(0) == 0.5


def test_a_selection_that_ended_early_leaves_nothing_to_do() -> None:
    schedule = Schedule(mle_epochs=2, discriminator_rounds=1, adversarial_updates=9)
    under_way = Position(mle_epochs=2, mle_finished=True, discriminator_rounds=1, adversarial_updates=4)
    assert next_phase(schedule, under_way) == "adversarial" and num_units(schedule, under_way) == 12
    ended = dataclasses.replace(under_way, adversarial_finished=True)
    assert next_phase(schedule, ended) is None and num_units(schedule, ended) == ended.units == 7
