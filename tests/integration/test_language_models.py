"""Runs of causal language models: the same numbers whoever computes them, resumed, read without their model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers, Workers
from rlgan.config.paths import override
from rlgan.discriminators import PairCnn
from rlgan.envs.tasks import DemonstrationsTask, Task, build_task
from rlgan.generators import CausalLM
from rlgan.layers.optimizers import SGD, Adam
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.kl_penalty import LossPenalty
from rlgan.policy.metric_rewards import ReferenceBleu
from rlgan.policy.objectives import Reinforce
from rlgan.presets.registry import preset
from rlgan.storage.export import Decoding, load_run_generator, save_run_generator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.language_models import chats, require, write_model, write_records, write_tokenizer
from tests.support.on_ray import assert_same
from tests.support.tiny import Recorder, finish, numbers, tiny_config
from tests.support.usual import usually

require()

pytestmark = pytest.mark.integration

TRAININGS = [{"kind": "whole"}, {"kind": "lora", "rank": 2, "dropout": 0.1}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and demonstrations beside it."""
    folder = tmp_path_factory.mktemp("lm")
    write_tokenizer(folder / "model")
    write_model(folder / "model")
    write_records(folder / "chat.jsonl", chats(70))
    return folder


def task_of(folder: Path) -> DemonstrationsTask:
    model = {"kind": "folder", "path": str(folder / "model")}
    return DemonstrationsTask.model_validate(
        {"demonstrations": str(folder / "chat.jsonl"), "model": model, "max_length": 8}
    )


def config_of(folder: Path, training: dict[str, Any], workers: int = 0, **changes: Any) -> Config:
    """Likelihood, a round of the discriminator, and two updates with continuations, from a model of a folder."""
    given: dict[str, Any] = {
        "task": task_of(folder),
        "generator": CausalLM(weights={"kind": "folder", "path": str(folder / "model")}, training=training),
        "discriminator": PairCnn(embedding=4, windows=(1, 2), filters=(4, 4)),
        "adversary": AdversarySettings(batch=16, sequences_per_round=24),
        "credit": MonteCarlo(num_rollouts=2, policy_ema=0.5),
        "workers": Workers(
            rollout=workers,
            threads=1,
            shard_sequences=3,
            shard_fakes=7,
            chunk_rows=11,
            cpus_per_rollout=0.2,
            cpus_discriminator=0.2,
        ),
    }
    schedule = {"mle_epochs": 1, "adversarial_updates": 2} | changes.pop("schedule", {})
    return tiny_config(schedule, **(given | changes))


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


@pytest.mark.heavy
@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training["kind"])
def test_a_run_that_is_gone_on_with_ends_with_the_numbers_of_one_that_never_stopped(
    training: dict[str, Any], folder: Path
) -> None:
    config = config_of(folder, training)
    task = build_task(config.task)
    states: list[dict[str, Any]] = []
    with trainer_of(config, task) as trainer:
        units = finish(trainer, lambda one: states.append(one.state()))
        weights = trainer.current_weights()
    for number in (1, 3):
        with trainer_of(config, task) as resumed:
            resumed.restore(states[number - 1])
            rest = finish(resumed)
            assert [numbers(unit) for unit in rest] == [numbers(unit) for unit in units[number:]]
            assert_same(resumed.current_weights(), weights, "weights")
    assert {name for name in units[-1].metrics if name.startswith("generator/")}


def test_the_reference_of_an_adapter_that_begins_is_its_base_with_the_adapter_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: dict[str, Any] = {
        "reward": ReferenceBleu(order=1), "credit": Terminal(), "reference": LossPenalty(weight=0.5),
        "discriminator": None, "adversary": AdversarySettings(), "objective": Reinforce(loss_normaliser="token"),
    }  # fmt: skip
    # A model that somebody trained needs no pretraining for it.
    schedule = {"mle_epochs": 0, "discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 3}
    config = config_of(folder, TRAININGS[1], schedule=schedule, **alone)
    task = build_task(config.task)
    found = []
    for has_own in (False, True):
        if has_own:  # the same by a second network that reads the start's weights
            monkeypatch.setattr(CausalLM, "adds_nothing", lambda self, trained: False)
        recorder = Recorder()
        with build_parts(config, task) as parts:
            units = finish(Trainer(config, task, recorder.around(parts)))
            references = [one for one in recorder.references if one is not None]
        assert len(references) == 3
        assert all(bool(one.tensors) == has_own and one.base is not None for one in references)
        found.append([unit.metrics["generator/kl_reference"] for unit in units])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0][0] == pytest.approx(0.0, abs=1e-5) and abs(found[0][2]) > 1e-4


@pytest.mark.ray
@pytest.mark.parametrize("workers", usually([2], [1, 2]))
def test_any_number_of_workers_gives_the_same_weights(workers: int, folder: Path, ray_session: None) -> None:
    training = TRAININGS[workers - 1]
    task = build_task(config_of(folder, training).task)
    found = []
    for number in (0, workers):
        with trainer_of(config_of(folder, training, number), task) as trainer:
            units = finish(trainer)
            found.append(([numbers(unit) for unit in units], trainer.current_weights()))
    assert found[0][0] == found[1][0]
    assert_same(found[0][1], found[1][1], "weights")


@pytest.mark.ray
@pytest.mark.slow  # that learners take the step of one is asked of small networks in test_workers_ray
@pytest.mark.parametrize("training", [{"kind": "whole"}, {"kind": "lora", "rank": 2}], ids=lambda one: one["kind"])
def test_two_learners_take_the_steps_of_one(training: dict[str, Any], folder: Path, ray_session: None) -> None:
    # Adam divides by the size of a gradient, so that where one is nearly 0 rounding is a step; wide steps let it grow.
    rates = Optimizers(mle=SGD(lr=0.02), generator=SGD(lr=0.02), discriminator=Adam(lr=0.01))
    one = config_of(folder, training, schedule={"adversarial_updates": 1}, optimizers=rates)
    two = override(one, {"workers.learners": 2})
    task = build_task(one.task)
    found = []
    for config in (one, two):
        with trainer_of(config, task) as trainer:
            start = trainer.current_weights()
            finish(trainer)
            found.append(trainer.current_weights())
    moved = max(float(abs(array - start[name]).max()) for name, array in found[0].items())
    apart = max(float(abs(array - found[1][name]).max()) for name, array in found[0].items())
    assert moved > 1e-3 and apart < 1e-5, (moved, apart)


def test_fine_tuning_learns_the_demonstrations_and_is_sampled_without_its_model(folder: Path, tmp_path: Path) -> None:
    config = preset("sft", task_of(folder))
    assert config.generator.kind == "causal_lm" and config.generator.weights == task_of(folder).model
    schedule = config.schedule.model_copy(update={"mle_epochs": 6})
    optimizers = config.optimizers.model_copy(update={"mle": config.optimizers.mle.model_copy(update={"lr": 0.02})})
    evaluation = config.evaluation.model_copy(update={"num_sequences": 8, "mle_every": 6})
    settled = config.generator.settled()
    config = config.model_copy(
        update={
            "schedule": schedule, "optimizers": optimizers, "evaluation": evaluation, "generator": settled,
            "workers": config.workers.model_copy(update={"threads": 1}),
        }
    )  # fmt: skip
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        units = finish(trainer)
        save_run_generator(tmp_path, config.generator, task, trainer.current_weights())
        own = trainer.generator_from(trainer.current_weights())
    nlls = [unit.metrics["mle/valid_nll"] for unit in units]
    assert min(nlls) < 0.5 * nlls[0] or nlls[0] < 0.5
    description = json.loads((tmp_path / "generator.json").read_text())
    description["generator"]["weights"]["path"] = "/nowhere"
    (tmp_path / "generator.json").write_text(json.dumps(description))
    exported = load_run_generator(tmp_path)
    assert task.conditions is not None
    with torch.no_grad():
        rows = task.conditions.test.long(), task.test.long()
        assert torch.equal(
            exported.generator.conditional(rows[0]).logprobs(rows[1]), own.conditional(rows[0]).logprobs(rows[1])
        )
    answers, notes = exported.answer(["how are you, 3?", "how are you, 4?"], "in.txt", Decoding(beam=1))
    assert len(answers) == 2 and not notes and all(answer.startswith("fine") for answer in answers)
