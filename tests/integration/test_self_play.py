"""Runs whose discriminator is the generator's own log-ratio (SPIN, GSIL), on small networks and a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config, Workers
from rlgan.config.paths import from_dict, to_dict
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.implicit_losses import Bernoulli, Brier, Hinge, Kliep, Lsif, PairHinge, PairLogistic
from rlgan.policy.objectives import Reinforce
from rlgan.policy.pair_objectives import Implicit
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, MixedPrefix, MixedTeacherForcing
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support import language_models
from tests.support.errors import refused
from tests.support.tiny import PAIRS, Recorder, finish, numbers, of_pairs, tiny_config

pytestmark = pytest.mark.integration

AXES: dict[str, Any] = {"discriminator": None, "reward": ConstantReward(), "credit": Terminal()}
NONE = {"discriminator_rounds": 0, "d_steps": 0}


def playing(schedule: dict[str, Any] | None = None, loss: Any = None, **changes: Any) -> Config:
    objective = Implicit(loss=loss or PairLogistic(), epochs=2, minibatches=2)
    return tiny_config(NONE | (schedule or {}), **(AXES | {"objective": objective} | changes))


def trained(config: Config, task: Task, start: Any = None) -> tuple[Trainer, Recorder, list[Any]]:
    recorder = Recorder()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts), mle_start=start)
        units = finish(trainer)
        trainer.release()
    return trainer, recorder, units


@pytest.mark.parametrize("is_given", [False, True])
def test_an_update_sets_own_sequences_against_real_ones_under_the_same_conditions(is_given: bool) -> None:
    config = playing({"adversarial_updates": 1})
    if is_given:
        config = of_pairs(NONE | {"adversarial_updates": 1}, **(AXES | {"objective": config.objective}))
    task = build_task(config.task)
    trainer, recorder, units = trained(config, task)
    (_, rows, size) = next(one for one in recorder.updates if one[0] == "adversarial")
    assert (len(rows.tokens), size) == (16, 4)  # 2 passes of 2 steps over 8 pairs
    assert trainer.mle_start is not None
    opponent = trainer.generator_from(trainer.mle_start)
    real = {tuple(one) for one in task.train.tolist()}
    assert all(tuple(one) in real for one in rows.tokens.tolist())
    for tokens, mask, logprobs in (
        (rows.tokens, rows.pair_mask, rows.old_logprobs),
        (rows.rivals, rows.rival_mask, rows.rival_old_logprobs),
    ):
        assert torch.equal(mask.bool(), sequence_mask(task.space, tokens))
        with torch.no_grad():
            exact = opponent.conditional(rows.conditions).logprobs(tokens) * mask
        torch.testing.assert_close(logprobs, exact, rtol=0, atol=1e-5)
    if is_given:
        known = {
            (*given, *said) for given, said in zip(task.conditions.train.tolist(), task.train.tolist(), strict=True)
        }
        assert all(
            (*given, *said) in known for given, said in zip(rows.conditions.tolist(), rows.tokens.tolist(), strict=True)
        )
    torch.testing.assert_close(rows.pair_weights, torch.full((16,), 2 / 8))
    metrics = units[-1].metrics
    assert metrics["rollouts/logprob_gap_max"] < 1e-4
    assert {"generator/real_log_ratio", "generator/fake_log_ratio", "generator/pair_accuracy"} <= metrics.keys()


LOSSES = [PairLogistic(), PairHinge(), Bernoulli(), Brier(), Hinge(), Kliep(), Lsif()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
def test_every_loss_trains(loss: Any) -> None:
    config = playing({"adversarial_updates": 1}, loss)
    trainer, _, units = trained(config, build_task(config.task))
    start, end = trainer.mle_start, trainer.current_weights()
    assert any(not np.array_equal(start[name], end[name]) for name in start)
    assert np.isfinite(units[-1].metrics["generator/loss"])


def test_passes_over_a_batch_part_both_sides_of_its_pairs() -> None:
    settings = Implicit(loss=PairLogistic(scale=1.0), epochs=8, minibatches=1)
    config = playing({"adversarial_updates": 1, "g_batch": 32}, objective=settings)
    _, _, units = trained(config, build_task(config.task))
    metrics = units[-1].metrics
    assert metrics["generator/real_log_ratio"] > metrics["generator/fake_log_ratio"]
    assert metrics["generator/pair_accuracy"] > 0.6


@pytest.mark.parametrize("forcing", [MixedTeacherForcing(), InterleavedTeacherForcing()], ids=lambda one: one.kind)
def test_likelihood_may_be_learned_beside_it(forcing: Any) -> None:
    config = playing({"teacher_forcing": forcing})
    _, _, units = trained(config, build_task(config.task))
    assert np.isfinite(units[-1].metrics["generator/loss"])


def test_batches_in_parts_have_the_gradient_of_the_whole() -> None:
    whole = playing({"adversarial_updates": 1})
    parts = whole.model_copy(update={"workers": Workers(**{**whole.workers.model_dump(), "tokens_at_once": 25})})
    task = build_task(whole.task)
    (first, _, _), (second, _, units) = (trained(one, task) for one in (whole, parts))
    for name, tensor in first.current_weights().items():
        np.testing.assert_allclose(second.current_weights()[name], tensor, atol=2e-6)
    assert "generator/pair_accuracy" in units[-1].metrics


def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    config = playing({"adversarial_updates": 3})
    task = build_task(config.task)
    whole, _, units = trained(config, task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        for _ in range(3):
            trainer.step()
        save_checkpoint(tmp_path, trainer.state(), 3)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        trainer.restore(load_latest(tmp_path).state)
        again = finish(trainer)
        assert [numbers(one) for one in again] == [numbers(one) for one in units[3:]]
        assert all(
            np.array_equal(one, whole.current_weights()[name]) for name, one in trainer.current_weights().items()
        )


def test_controls_of_self_play_learn_from_what_they_say() -> None:
    config = playing()
    assert control(config, "constant_reward").objective == Reinforce(loss_normaliser="sequence")
    assert control(config, "mle_continued").objective.kind == "none"
    # The real sequences of 2 passes in 2 minibatches over 8 pairs: 4 steps of 4.
    schedule = control(config, "mle_continued").schedule
    assert schedule.teacher_forcing == InterleavedTeacherForcing(num_updates=4) and schedule.mle_batch == 4
    start, played, _ = trained(config, task := build_task(config.task))
    _, other, _ = trained(control(config, "mle_continued"), task, start.mle_start)
    steps = [
        sum(-(-len(rows.tokens) // size) for phase, rows, size in one.updates if phase == "adversarial")
        for one in (played, other)
    ]
    assert steps[0] == steps[1] == config.schedule.adversarial_updates * 4
    with refused(ConfigError, "control_without_discriminator", {"controls": "frozen_discriminator"}):
        control(config, "frozen_discriminator")


def test_pairs_are_of_whole_sequences() -> None:
    with refused(ConfigError, "contrast_of_prefixes", {"schedule.teacher_forcing": "mixed_prefix"}):
        config = playing()
        forced = config.schedule.model_copy(update={"teacher_forcing": MixedPrefix(start=2, decrement=1)})
        from_dict(to_dict(config.model_copy(update={"schedule": forced})))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["spin", "gsil"])
def test_the_presets_train_a_language_model(name: str) -> None:
    language_models.require()
    config = preset(name, PAIRS)
    schedule = config.schedule.model_copy(update={"mle_epochs": 1, "adversarial_updates": 1, "g_batch": 32})
    config = from_dict(
        to_dict(
            config.model_copy(
                update={
                    "schedule": schedule,
                    "evaluation": config.evaluation.model_copy(update={"num_sequences": 20}),
                    "generator": CausalLM(weights=FreshWeights(width=8, layers=1, heads=2)),
                    "objective": config.objective.model_copy(update={"minibatches": 2}),
                }
            )
        )
    )
    _, recorder, units = trained(config, build_task(config.task))
    metrics = units[-1].metrics
    assert metrics["rollouts/logprob_gap_max"] < 1e-3 and np.isfinite(metrics["generator/loss"])
    assert len([one for one in recorder.updates if one[0] == "adversarial"]) == 1
