"""Starts are those of the run itself, to the bit; trained once; kept apart by whatever decides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import OfTheStart, facts_below
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import Task, build_task
from rlgan.policy.teacher_forcing import ScheduledSampling
from rlgan.schedule.phases import Schedule
from rlgan.training.trainer import Trainer
from rlgan.tuning.search import starts
from rlgan.tuning.search.starts import Starts
from rlgan.workers.assembly import build_parts
from tests.support.on_ray import assert_same
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(tiny_config().task)


def with_dropout(patience: int | None) -> Config:
    return override(tiny_config(), {"generator.dropout": 0.3, "schedule.mle_patience": patience, "seed": 3})


@pytest.mark.parametrize("patience", [None, 1])
def test_a_start_is_where_the_whole_run_begins_its_adversarial_phase(
    patience: int | None, task: Task, tmp_path: Path
) -> None:
    config = with_dropout(patience)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        while trainer.next_phase == "mle":
            trainer.step(measure=False)
    assert_same(Starts(tmp_path).get(config, task), trainer.mle_start)


def test_it_is_trained_once_and_again_when_damaged(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    train = starts._train
    monkeypatch.setattr(starts, "_train", lambda *given: trained.append(1) or train(*given))
    first = Starts(tmp_path).get(tiny_config(), task)
    # What belongs to the adversarial phase makes no other start.
    other = override(tiny_config(), {"reward": "logit", "schedule.d_steps": 1, "optimizers.generator.lr": 0.5})
    assert_same(Starts(tmp_path).get(other, task), first)
    assert len(trained) == 1
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-7])
    assert_same(Starts(tmp_path).get(other, task), first)
    assert len(trained) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"generator.hidden": 9},
        {"schedule.mle_epochs": 1},
        {"schedule.mle_patience": 1},
        {"schedule.mle_batch": 8},
        {"schedule.mle_halve_from": 1},
        {"schedule.mle_inputs": "scheduled_sampling"},
        {"schedule.example_weights": "tf_idf"},
        {"optimizers.mle.lr": 0.0321},
        {"workers.threads": 2},
        {"task.num_train": 80},
    ],
)
def test_whatever_decides_a_start_makes_another(change: dict[str, Any], task: Task, tmp_path: Path) -> None:
    config = override(tiny_config(), change)
    changed_task = build_task(config.task)
    assert starts._what_decides(config, changed_task) != starts._what_decides(tiny_config(), task)


def test_all_that_is_said_to_be_of_the_start_decides_it() -> None:
    shared = {
        name
        for name, field in Schedule.model_fields.items()
        for note in field.metadata
        if isinstance(note, NotSearched) and "belongs to the start that all trials share" in note.reason
    }
    of_the_start = {path for path, _ in facts_below(Schedule, OfTheStart)}
    assert shared | {"mle_epochs"} == of_the_start


def test_a_start_tells_how_far_it_is_and_what_it_took(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, described = tiny_config({"mle_epochs": 3}), []
    step = Trainer.step

    def watched(trainer: Trainer, measure: bool = True) -> object:
        described.extend(starts.what_is_read(tmp_path, starts.PROGRESS))
        return step(trainer, measure)

    assert starts.what_is_read(tmp_path / "not yet", starts.PROGRESS) == []
    monkeypatch.setattr(Trainer, "step", watched)
    Starts(tmp_path).get(config, task)
    assert [(one["epochs"], one["of"]) for one in described] == [(0, 3), (1, 3), (2, 3)]
    assert all(one["seconds"] > 0 for one in described)
    assert starts.what_is_read(tmp_path, starts.PROGRESS) == []
    (took,) = starts.what_is_read(tmp_path, starts.DURATION)
    assert took["seconds"] > described[-1]["seconds"]


def test_a_start_is_trained_with_all_that_decides_it(task: Task, tmp_path: Path) -> None:
    changes = {"mle_halve_from": 1, "mle_inputs": ScheduledSampling(share=0.3), "example_weights": "tf_idf"}
    config = tiny_config(changes)
    alone = starts.likelihood_alone(config)
    assert {name: getattr(alone.schedule, name) for name in changes} == changes
    begun = starts._train(config, task, tmp_path / "progress")
    plain = starts._train(tiny_config(), task, tmp_path / "progress")
    assert any(bool((begun[name] != plain[name]).any()) for name in begun)
