"""The control that learns by likelihood from as many real sequences as the run was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rlgan
from rlgan.adversary.losses import BradleyTerry, Relativistic
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.errors import ConfigError, DataError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.config.reals import foreseen_reals
from rlgan.discriminators import BidirectionalLSTM, PairLSTM
from rlgan.envs.tasks import Task, build_task
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import GroupMean, LeaveOneOut, NoBaseline
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.feature_matching import FeatureMatching
from rlgan.policy.implicit_losses import PairLogistic
from rlgan.policy.logit_maps import Logit
from rlgan.policy.metric_rewards import ReferenceBleu
from rlgan.policy.objectives import PPO, Gumbel, Implicit
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedPrefix,
    MixedTeacherForcing,
    NoTeacherForcing,
    TeacherForcingByExample,
)
from rlgan.presets.controls import control, controls_of
from rlgan.presets.quick import quick_distill
from rlgan.presets.registry import draft, override_draft
from rlgan.schedule.discriminator_balance import CriticWarmup
from rlgan.training.real_sequences import require_drawable
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK, finish, of_pairs, tiny_config

pytestmark = pytest.mark.integration

STREAM = TASK.model_copy(update={"mode": "stream"})
PAIRS_STREAM = PAIRS.model_copy(update={"mode": "stream"})
FORMS: dict[str, dict[str, Any]] = {
    "none": {"teacher_forcing": NoTeacherForcing()},
    "interleaved": {"teacher_forcing": InterleavedTeacherForcing(num_updates=2)},
    "mixed": {"teacher_forcing": MixedTeacherForcing(weight=0.5)},
    "by_example": {"teacher_forcing": TeacherForcingByExample(fraction=0.5)},
    "several steps": {"g_steps": 3, "d_steps": 2, "discriminator_rounds": 4},
    "minibatches": {"teacher_forcing": MixedTeacherForcing(weight=0.5)},
    "prompts": {"teacher_forcing": InterleavedTeacherForcing()},
    "fewer prefixes": {"teacher_forcing": MixedPrefix(start=2, decrement=1, block=1), "adversarial_updates": 4},
    "prefixes of groups": {"teacher_forcing": MixedPrefix(start=2, decrement=1, block=2), "g_group": 4},
    "many rounds first": {"balance": CriticWarmup(rounds=3, units=1, every=None)},
    "beside the real one": {"g_steps": 2},
    "beside the targets": {},
    "matched features": {},
}


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(STREAM)


def given(config: Config, task: Task, start: Any = None) -> tuple[Trainer, int]:
    """The run at its end, and the real sequences that it was given after its start."""
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, mle_start=start)
        finish(trainer)
    return trainer, trainer.num_streamed - (trainer.num_streamed_at_start if start is None else 0)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_given_as_many_as_the_run(form: str, task: Task) -> None:
    baseline = LeaveOneOut() if form == "prefixes of groups" else NoBaseline()
    config = tiny_config(FORMS[form], task=STREAM, baseline=baseline)
    if form == "minibatches":
        config = config.model_copy(update={"objective": PPO(epochs=3, minibatches=4)})
    if form == "prompts":  # 8 answers, 4 a prompt, beside the real ones of their prompts
        task, changes = build_task(PAIRS_STREAM), {"loss": BradleyTerry(), "batch": 10, "sequences_per_round": 8}
        config = of_pairs(
            FORMS[form] | {"g_group": 4, "d_fakes": "rollouts"},
            task=PAIRS_STREAM,
            discriminator=PairLSTM(embedding=4, hidden=6),
            adversary=AdversarySettings(**changes),
            reward=Logit(),
            credit=Terminal(),
            baseline=GroupMean(),
        )
    if form == "beside the real one":
        judge = {"discriminator": BidirectionalLSTM(embedding=4, hidden=6), "objective": Gumbel(straight_through=True)}
        through = {"reward": ConstantReward(), "credit": Terminal()}
        adversary = AdversarySettings(batch=16, sequences_per_round=24, loss=Relativistic())
        config = config.model_copy(update=judge | through | {"adversary": adversary})
    if form == "matched features":
        matching = {"reward": FeatureMatching(), "credit": Terminal(), "baseline": LeaveOneOut()}
        config = config.model_copy(update=matching)
    if form == "beside the targets":
        task = build_task(PAIRS_STREAM)
        without = {"discriminator_rounds": 0, "d_steps": 0, "mle_batch": 8}
        reward = {"reward": ReferenceBleu(order=2), "credit": Terminal(), "discriminator": None}
        config = of_pairs(without, task=PAIRS_STREAM, **reward)
    run, ours = given(config, task)
    assert ours == foreseen_reals(config)
    other = control(config, "mle_equal_reals", ours)
    _, theirs = given(other, task, run.mle_start)
    # In batches of one size: too many by less than one a batch and minibatch.
    batches = theirs // other.schedule.mle_batch
    assert 0 <= theirs - ours < batches * other.objective.minibatches
    assert other.discriminator is None and other.schedule.adversarial_updates == config.schedule.adversarial_updates
    continued = control(config, "mle_continued")
    assert other.optimizers == continued.optimizers and other.reward == continued.reward
    assert other == control(config, "mle_equal_reals")


def test_the_size_of_its_batches_by_hand() -> None:
    # 1 round before and 2 between, 24 reals each; 2 updates with a batch of 16: 104 in 2 batches.
    mixed = tiny_config(FORMS["mixed"], task=STREAM)
    assert foreseen_reals(mixed) == 3 * 24 + 2 * 16
    assert control(mixed, "mle_equal_reals").schedule.mle_batch == 52
    assert control(mixed, "mle_equal_reals", 105).schedule.mle_batch == 53
    assert control(mixed, "mle_equal_reals", 1).schedule.mle_batch == 16  # never less than mle_continued
    # Half of 8 are examples; without batches of its own it has one a generator update.
    examples = control(tiny_config(FORMS["by_example"], task=STREAM), "mle_equal_reals")
    assert examples.schedule.mle_batch == (3 * 24 + 2 * 4) // 2
    assert examples.schedule.teacher_forcing == InterleavedTeacherForcing(num_updates=1)
    twice = control(tiny_config(FORMS["interleaved"], task=STREAM), "mle_equal_reals")
    assert twice.schedule.mle_batch == (3 * 24 + 2 * 2 * 16) // 4


def test_it_makes_the_steps_in_which_the_run_learned_examples() -> None:
    config = tiny_config(FORMS["by_example"], task=STREAM, objective=PPO(epochs=3, minibatches=2))
    assert control(config, "mle_continued").objective.epochs == 3
    other = control(config, "mle_equal_reals")
    assert other.objective.epochs == 1
    # 3 rounds of 24 and 4 examples in each of 2 updates, read in 6 steps an update.
    assert other.schedule.teacher_forcing == InterleavedTeacherForcing(num_updates=6)
    assert other.schedule.mle_batch == -(-(3 * 24 + 2 * 4) // 12)


@pytest.mark.parametrize("number", [105, 106, 107, 12_345])
def test_any_number_of_real_sequences_makes_a_control_that_can_stand(number: int) -> None:
    """A batch of mixed likelihood is cut into the run's minibatches."""
    config = tiny_config(FORMS["mixed"], task=STREAM, objective=PPO(epochs=1, minibatches=4))
    batch = control(config, "mle_equal_reals", number).schedule.mle_batch
    assert batch % 4 == 0 and 0 <= 2 * batch - number < 2 * 4


def test_where_real_ones_are_read_several_times_it_has_smaller_batches() -> None:
    objective = Implicit(loss=PairLogistic(), epochs=3, minibatches=2)
    config = tiny_config(
        {"discriminator_rounds": 0, "d_steps": 0},
        task=STREAM,
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        objective=objective,
    )
    continued, equal = (control(config, name).schedule for name in ("mle_continued", "mle_equal_reals"))  # type: ignore[arg-type]
    assert continued.teacher_forcing == equal.teacher_forcing == InterleavedTeacherForcing(num_updates=6)
    assert (continued.mle_batch, equal.mle_batch) == (4, -(-2 * 8 // 12))


@pytest.mark.parametrize(
    ("forcing", "steps", "batch"),
    [
        (NoTeacherForcing(), 4, 4),
        (InterleavedTeacherForcing(num_updates=5), 9, 16),
        (MixedTeacherForcing(), 4, 4 + 8),
        (TeacherForcingByExample(fraction=0.5), 4, 4),
    ],
)
def test_likelihood_beside_self_play_is_in_the_control_too(forcing: Any, steps: int, batch: int) -> None:
    config = tiny_config(
        {"discriminator_rounds": 0, "d_steps": 0, "teacher_forcing": forcing},
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Implicit(loss=PairLogistic(), epochs=2, minibatches=2),
    )
    schedule = control(config, "mle_continued").schedule
    assert schedule.teacher_forcing == InterleavedTeacherForcing(num_updates=steps) and schedule.mle_batch == batch


def test_controls_of_a_preset_follow_the_mode_of_its_task() -> None:
    both = ("mle_continued", "mle_equal_reals", "constant_reward", "oracle_ratio")
    for name, mode, expected in (("quick", "stream", both), ("quick_distill", "fixed", (both[0], *both[2:]))):
        assert override_draft(draft(name), {"task.mode": mode}).controls == expected
        assert override_draft(draft(name), {"task.mode": mode, "controls": ["constant_reward"]}).controls == both[2:3]
    own = override_draft(draft("quick"), {"controls": ["mle_continued"]})
    assert override_draft(own, {"task.mode": "stream"}).controls == ("mle_continued",)


def test_where_the_training_sequences_are_always_the_same_it_is_refused() -> None:
    with refused(ConfigError, "control_of_a_stream", {"controls": "mle_equal_reals", "task": "oracle"}):
        control(tiny_config(), "mle_equal_reals")


def test_its_batches_may_be_larger_than_an_epoch(task: Task) -> None:
    config = tiny_config({"mle_batch": 64, "d_steps": 5}, task=STREAM)
    other = control(config, "mle_equal_reals")
    assert other.schedule.mle_batch > len(task.train)
    require_drawable(other, task, pretrains=False)
    with refused(DataError, "too_few_for_batch"):
        require_drawable(other, task)
    with refused(DataError, "too_few_for_batch"):
        require_drawable(other, replace(task, stream=None), pretrains=False)


def test_what_presets_are_compared_with() -> None:
    assert "mle_equal_reals" not in controls_of(TASK) and "mle_equal_reals" not in controls_of(None)
    assert controls_of(STREAM) == ("mle_continued", "mle_equal_reals", "constant_reward", "oracle_ratio")
    assert "mle_equal_reals" in quick_distill().controls


def test_prompts_alone_are_not_counted() -> None:
    """Of a pair that only its condition is read of, nothing real is shown."""
    task = build_task(PAIRS_STREAM)
    config = of_pairs({"teacher_forcing": InterleavedTeacherForcing()}, task=PAIRS_STREAM)
    _, ours = given(config, task)
    assert ours == foreseen_reals(config) == 3 * 24 + 2 * 16


def test_a_table_says_that_both_were_given_as_many(tmp_path: Path) -> None:
    config = tiny_config(
        {"teacher_forcing": MixedTeacherForcing()},
        task=STREAM,
        controls=("mle_continued", "mle_equal_reals"),
        baseline=NoBaseline(),
        normalisation=NoScaling(),
    )
    changes = {"tracking.enabled": False, "evaluation.final_sequences": 32, "evaluation.temperatures": [1.0]}
    run = rlgan.train(override(config, changes), out=tmp_path / "run", quiet=True)
    assert "mle_equal_reals" in set(run.table["name"])
    summary = " ".join((tmp_path / "run" / "summary.txt").read_text("utf-8").split())
    at_start = 2 * 64
    numbers = {"this run": at_start + 104, "mle_continued": at_start + 32, "mle_equal_reals": at_start + 104}
    told = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
    assert f"learned from or shown to a discriminator: {told}." in summary
