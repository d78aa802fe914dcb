"""Who runs in the final race: the finalists, what each of them has to beat, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

from rlgan.base.search_priors import Choice
from rlgan.config.paths import flatten, override, to_dict
from rlgan.envs.tasks import build_task
from rlgan.presets.controls import control
from rlgan.tuning import Study
from rlgan.tuning.search.ledger import Entry
from rlgan.tuning.search.race import Entrant, entrants
from rlgan.tuning.space.spaces import Space
from tests.support.tiny_sweep import CHANGES, TASK


def space_of(axes: dict[str, Choice], **changes: object) -> Space:
    return Study("mine", "a question", "quick", axes, CHANGES | changes).space(TASK, {})


def entry(index: int, *schedule: tuple[int, dict[str, object]]) -> Entry:
    return Entry(index, dict(schedule[-1][1]), {}, list(schedule))


def named(found: list[Entrant]) -> dict[str, Entrant]:
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_finalists_meet_the_controls_of_the_base() -> None:
    space = space_of({"schedule.d_steps": Choice((1, 2))})
    finalists = [entry(4, (0, {"schedule.d_steps": 2})), entry(1, (0, {"schedule.d_steps": 1}))]
    found = entrants(space, finalists, build_task(TASK))
    assert [(one.name, one.kind) for one in found] == [
        ("MLE", "control"), ("mle_continued", "control"), ("oracle_ratio", "ceiling"),
        ("trial 4", "finalist"), ("trial 1", "finalist"),
    ]  # fmt: skip
    by_name = named(found)
    assert by_name["trial 4"].config.schedule.d_steps == 2
    alone = by_name["MLE"].config
    assert alone.schedule.adversarial_updates == 0 and alone.discriminator is None
    # The start of the runs is the very control: what it learns by, on the same budget.
    for path in ("generator", "optimizers.mle", "schedule.mle_epochs", "schedule.mle_patience", "schedule.mle_batch"):
        shared = [flatten(to_dict(config)) for config in (alone, space.base)]
        assert len({str({k: v for k, v in one.items() if k.startswith(path)}) for one in shared}) == 1, path


def test_of_a_stream_likelihood_with_as_many_real_sequences_runs_too() -> None:
    stream = TASK.model_copy(update={"mode": "stream"})
    space = space_of({"schedule.d_steps": Choice((1, 2))})
    space = replace(space, base=space.base.model_copy(update={"task": stream}))
    steps = space.base.schedule.d_steps
    finalists = [entry(4, (0, {"schedule.d_steps": steps + 1})), entry(1, (0, {"schedule.d_steps": steps}))]
    found = named(entrants(space, finalists, build_task(stream)))
    assert [name for name, one in found.items() if one.kind == "control"] == [
        "MLE", "mle_continued", "mle_equal_reals", "mle_equal_reals of trial 4",
    ]  # fmt: skip
    sizes = [found[name].config.schedule.mle_batch for name in list(found)[1:3]]
    assert sizes[0] < sizes[1] < found["mle_equal_reals of trial 4"].config.schedule.mle_batch


def test_a_finalist_of_other_likelihood_updates_meets_its_own_control() -> None:
    lr = "optimizers.generator.lr"
    space = space_of({lr: Choice((1e-3, 0.1))})
    found = named(entrants(space, [entry(0, (0, {lr: 0.1})), entry(1, (0, {lr: 1e-3}))], build_task(TASK)))
    assert list(found) == [
        "MLE", "mle_continued", "oracle_ratio", "mle_continued of trial 0", "trial 0", "trial 1",
    ]  # fmt: skip
    assert (found["trial 0"].floor, found["trial 0"].ceiling) == ("mle_continued of trial 0", "oracle_ratio")
    assert (found["trial 1"].floor, found["trial 1"].ceiling) == ("mle_continued", "oracle_ratio")
    assert found["mle_continued of trial 0"].config.optimizers.generator.lr == 0.1
    assert found["mle_continued"].config == control(space.base, "mle_continued").model_copy(
        update={"preset": "mle_continued"}
    )


def test_what_is_the_discriminators_alone_makes_no_other_control() -> None:
    axes = {"adversary.batch": Choice((64, 128)), "optimizers.discriminator.lr": Choice((1e-3, 1e-4))}
    found = entrants(
        space_of(axes), [entry(3, (0, {"adversary.batch": 128, "optimizers.discriminator.lr": 1e-4}))], build_task(TASK)
    )
    assert [one.name for one in found] == ["MLE", "mle_continued", "oracle_ratio", "trial 3"]


def test_two_finalists_of_the_same_likelihood_updates_share_a_control_and_know_it() -> None:
    axes = {"optimizers.generator.lr": Choice((1e-3, 5e-3)), "schedule.d_steps": Choice((1, 2))}
    lr = "optimizers.generator.lr"
    first, second = entry(3, (0, {lr: 5e-3, "schedule.d_steps": 1})), entry(7, (0, {lr: 5e-3, "schedule.d_steps": 2}))
    found = named(entrants(space_of(axes), [first, second], build_task(TASK)))
    assert found["trial 7"].floor == found["trial 3"].floor == "mle_continued of trial 3"


def test_a_ceiling_makes_as_many_updates_as_its_finalist() -> None:
    found = named(
        entrants(
            space_of({"schedule.g_steps": Choice((1, 5))}), [entry(2, (0, {"schedule.g_steps": 5}))], build_task(TASK)
        )
    )
    assert found["trial 2"].ceiling == "oracle_ratio of trial 2"
    assert found["oracle_ratio of trial 2"].config.schedule.g_steps == 5


def test_the_control_of_a_schedule_has_that_schedule() -> None:
    lr = "optimizers.generator.lr"
    space = space_of({lr: Choice((1e-3, 0.1))})
    found = named(entrants(space, [entry(2, (0, {lr: 0.1}), (4, {lr: 0.02}))], build_task(TASK)))
    own = found[found["trial 2"].floor or ""]
    assert own.name == "mle_continued of trial 2" and own.schedule == ((4, {lr: 0.02}),)
    # The ceiling has an optimiser of its own, which no schedule of the finalist's touches.
    assert found["trial 2"].ceiling == "oracle_ratio"


def test_what_a_population_found_runs_as_the_schedule_that_it_is() -> None:
    lr = "optimizers.generator.lr"
    space = space_of({lr: Choice((1e-3, 0.1))})
    (finalist,) = [
        one
        for one in entrants(space, [entry(2, (0, {lr: 0.1}), (4, {lr: 0.02}))], build_task(TASK))
        if one.kind == "finalist"
    ]
    assert finalist.config.optimizers.generator.lr == 0.1 and finalist.schedule == ((4, {lr: 0.02}),)


def test_a_study_from_scratch_meets_likelihood_that_was_trained() -> None:
    space = space_of({"schedule.d_steps": Choice((1, 2))}, **{"schedule.mle_epochs": 0})
    found = named(entrants(space, [entry(0, (0, {"schedule.d_steps": 1}))], build_task(TASK)))
    assert found["MLE"].config.schedule.mle_epochs > 0 and found["trial 0"].config.schedule.mle_epochs == 0


def test_without_a_known_distribution_there_is_no_ceiling() -> None:
    space = space_of({"schedule.d_steps": Choice((1, 2))})
    task = build_task(TASK)
    object.__setattr__(task, "oracle", None)
    assert "ceiling" not in {one.kind for one in entrants(space, [entry(0, (0, {"schedule.d_steps": 1}))], task)}
    assert override(space.base, {}) == space.base
