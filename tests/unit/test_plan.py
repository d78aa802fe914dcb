"""Time to go on simulated schedules, by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from rlgan.base.activity import Activity
from rlgan.envs.tasks import build_task
from rlgan.presets.quick import quick
from rlgan.runs.plan import Item, Plan, plan_of, training_left
from rlgan.schedule.phases import Position
from tests.support.tiny import tiny_config
from tests.unit.test_activity import Clock


def test_nothing_is_known_before_anything_was_measured() -> None:
    assert Plan({"mle": Item(3, 10.0)}).seconds_left() is None
    assert Plan({"mle": Item(0, 10.0)}).seconds_left() == 0.0


def test_what_was_measured_sets_the_pace_of_what_was_not() -> None:
    plan = Plan({"mle": Item(3, 10.0), "table/row": Item(4, 5.0)})
    plan.finished("mle", 20.0)
    plan.finished("mle/learn", 19.0)  # part of it
    # Two epochs of 20 s, and 4 rows of 5 sequences at 2 s each.
    assert plan.seconds_left() == pytest.approx(2 * 20.0 + 4 * 10.0)
    plan.finished("table/row", 1.0)
    assert plan.seconds_left() == pytest.approx(2 * 20.0 + 3 * 1.0)
    plan.set_left({"mle": 0})  # it ended early
    assert plan.seconds_left() == pytest.approx(3.0)


def test_the_last_times_count() -> None:
    plan = Plan({"mle": Item(100, 1.0)})
    for seconds in [50.0] * 5 + [2.0] * 10:
        plan.finished("mle", seconds)
    assert plan.seconds_left() == pytest.approx(85 * 2.0)


def test_the_first_of_all_is_estimated_from_its_own_count() -> None:
    clock = Clock()
    activity, plan = Activity(clock), Plan({"mle": Item(3, 10.0), "measure": Item(1, 5.0)})
    with activity.stage("mle", "MLE epoch 1"):
        clock.now = 2.0
        with activity.stage("learn", item="batch", total=100):
            clock.now = 6.0
            activity.advance()
            clock.now = 15.5
            activity.advance(19)
            # 2 s before, 4 s for the first batch, half a second for each of the other 99; the next epochs begin warm:
            # 2 s before and half a second for each of 100, and half an epoch's size is measured.
            left = plan.seconds_left(activity.stages, clock.now)
            assert left == pytest.approx(2 + 4 + 49.5 - 15.5 + 2 * 52 + 26)


def test_the_first_batch_which_loads_libraries_is_not_taken_for_what_follows() -> None:
    clock = Clock()
    activity, plan = Activity(clock), Plan({"mle": Item(60, 10.0)})
    with activity.listening(plan.finished):
        with activity.stage("mle"), activity.stage("learn", item="batch", total=8):
            clock.now = 7.0
            activity.advance()
            assert plan.seconds_left(activity.stages, clock.now) is None  # an eighth of it, but the first
            clock.now = 7.5
            activity.advance(2)
            # Of this epoch 5 batches of a quarter of a second, and 59 epochs of 8.
            assert plan.seconds_left(activity.stages, clock.now) == pytest.approx(5 * 0.25 + 59 * 2.0)
            clock.now = 8.75
            activity.advance(5)
        with activity.stage("mle"), activity.stage("learn", item="batch", total=8):
            clock.now = 10.75
            activity.advance(8)
    # The first epoch counts no longer once there is another.
    assert plan.seconds_left() == pytest.approx(58 * 2.0)
    plan.finished("mle", 4.0)
    assert plan.seconds_left() == pytest.approx(57 * 3.0)


def test_a_few_steps_of_a_few_seconds_show_nothing_yet() -> None:
    clock = Clock()
    activity, plan = Activity(clock), Plan({"mle": Item(3, 10.0)})
    with activity.stage("mle"), activity.stage("learn", item="batch", total=100):
        clock.now = 12.0  # the first batch loaded libraries
        activity.advance(5)
        assert plan.seconds_left(activity.stages, clock.now) is None
        clock.now = 20.0
        assert plan.seconds_left(activity.stages, clock.now) == pytest.approx(3 * 400.0 - 20.0)


def test_what_was_measured_is_known_apart_from_what_is_guessed() -> None:
    plan = Plan(
        {"parts": Item(0, 0.0), "mle": Item(3, 10.0), "table/parts": Item(1, 0.0, like="parts"), "x": Item(4, 5.0)}
    )
    assert plan.seconds_measured() is None
    plan.finished("parts", 7.0)
    plan.finished("mle", 20.0)
    assert plan.seconds_measured() == pytest.approx(2 * 20.0 + 7.0)
    assert plan.seconds_left() == pytest.approx(2 * 20.0 + 7.0 + 4 * 10.0)


def test_what_runs_already_is_not_counted_whole() -> None:
    clock = Clock()
    activity, plan = Activity(clock), Plan({"mle": Item(3, 10.0)})
    plan.finished("mle", 20.0)
    with activity.stage("mle"):
        clock.now = 5.0
        assert plan.seconds_left(activity.stages, clock.now) == pytest.approx(15 + 20)
        clock.now = 50.0  # longer than ever: this one may end at any moment
        assert plan.seconds_left(activity.stages, clock.now) == pytest.approx(20)


def test_what_is_like_something_takes_as_long_whatever_its_size_and_sets_no_pace() -> None:
    plan = Plan(
        {
            "parts": Item(0, 0.0),
            "mle": Item(2, 10.0),
            "table/control a/parts": Item(4, 0.0, like="parts"),
            "table/control a/adversarial": Item(4, 10.0),
        }
    )
    plan.finished("parts", 15.0)
    plan.finished("mle", 1.0)
    # An epoch of 1 s, four trainings of 1 s by the same size, and four starts of 15 s.
    assert plan.seconds_left() == 1.0 + 4 * 1.0 + 4 * 15.0
    plan.finished("table/control a/parts", 5.0)
    assert plan.seconds_left() == 1.0 + 4 * 1.0 + 3 * 5.0


def test_a_start_that_was_not_seen_counts_for_nothing() -> None:
    plan = Plan({"parts": Item(0, 0.0), "mle": Item(2, 10.0), "table/control a/parts": Item(4, 0.0, like="parts")})
    plan.finished("mle", 1.0)
    assert plan.seconds_left() == 1.0


def test_each_training_of_a_control_starts_its_actors() -> None:
    plan = plan_of(quick(), build_task(quick().task), Position())
    starts = {path: item for path, item in plan._items.items() if path.endswith("/parts")}
    assert sum(item.number for item in starts.values()) == len(quick().controls) + quick().evaluation.equal_trainings


def test_what_is_left_of_training() -> None:
    config = tiny_config({"mle_epochs": 7, "discriminator_rounds": 2, "adversarial_updates": 10})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"mle_every": 3, "every": 5})})
    # Measured after epochs 3, 6, 7 and updates 5, 10.
    assert training_left(config, Position()) == {"mle": 7, "discriminator": 2, "adversarial": 10, "measure": 5}
    at = Position(mle_epochs=3)
    assert training_left(config, at) == {"mle": 4, "discriminator": 2, "adversarial": 10, "measure": 4}
    at = replace(at, mle_finished=True, discriminator_rounds=1, discriminator_finished=True, adversarial_updates=5)
    assert training_left(config, at) == {"mle": 0, "discriminator": 0, "adversarial": 5, "measure": 1}
    at = replace(at, adversarial_finished=True)
    assert set(training_left(config, at).values()) == {0}


def test_a_simulated_run_is_estimated_roughly_and_well_once_every_kind_was_met() -> None:
    """Each kind takes a time of its own, up to three times the guess, and each time another one."""
    config = quick()
    task, rng = build_task(config.task), random.Random(0)
    plan = plan_of(config, task, Position())
    controls = [f"table/control {name}" for name in config.controls]
    seconds = {"mle": 2.0, "discriminator": 1.0, "adversarial": 2.5, "measure": 3.0, "table/row": 4.0}
    seconds |= {f"{path}/adversarial": 0.5 for path in controls} | {f"{path}/row": 3.0 for path in controls}
    seconds |= {f"table/verdict/{kind}": 2.0 for kind in ("choice", "evidence", "training")}
    works = [
        *["mle"] * 60,
        *["discriminator"] * 5,
        *["adversarial", "measure"],
        *["adversarial"] * 59,
        *["measure"] * 11,
        *["table/row"] * 12,
        *[one for path in controls for one in [*[f"{path}/adversarial"] * 60, *[f"{path}/row"] * 6]],
        *["table/control constant_reward/adversarial"] * 180,  # three further trainings of it
        *["table/verdict/choice"] * 30,
        *["table/verdict/evidence"] * 5,
        *["table/verdict/training"] * 3,
    ]
    took = [seconds[work] * rng.uniform(0.8, 1.2) for work in works]
    for index, (work, time) in enumerate(zip(works, took, strict=True)):
        plan.finished(work, time)
        left, estimate = sum(took[index + 1 :]), plan.seconds_left()
        assert estimate is not None
        if set(works[: index + 1]) == set(works):
            assert estimate == pytest.approx(left, rel=0.25, abs=5.0)
        elif index > 70:
            assert left / 2.5 < estimate < left * 2.5
    assert plan.seconds_left() == 0.0


def test_a_stage_that_a_stopped_process_had_begun_is_estimated_by_what_is_left_of_it() -> None:
    clock = Clock()
    activity, plan = Activity(clock), Plan({"mle": Item(10, 1.0)})
    with activity.listening(plan.finished):
        with activity.stage("mle"):
            clock.now += 5.0
            with activity.stage("learn", item="batch", total=1_000):
                activity.already(900)
                assert plan.seconds_left(activity.stages, clock()) is None
                for _ in range(50):
                    clock.now += 10.0
                    activity.advance()
                # Half of the 100 that are left, of 10 s each, and nine epochs of 1,000 after 5 s of something else.
                left = plan.seconds_left(activity.stages, clock())
                assert left == pytest.approx(500.0 + 9 * 10_005.0)
                clock.now += 500.0
                activity.advance(50)
        # 1,005 s for a tenth of it.
        assert plan.seconds_left() == pytest.approx(9 * 10_050.0)
