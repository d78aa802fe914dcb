"""Runs with a language model as judge: who learns when and from what, the same numbers resumed and on workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import BradleyTerry
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers, Workers
from rlgan.discriminators import SequenceClassifier
from rlgan.envs.tasks import DemonstrationsTask, Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.verdict import START, Verdict, not_judged
from rlgan.generators import CausalLM
from rlgan.layers.optimizers import Adam
from rlgan.metrics import RankedRound, ranking
from rlgan.policy.advantage_scaling import GroupDeviation
from rlgan.policy.baselines import GroupMean
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.logit_maps import Logit
from rlgan.runs import comparison
from rlgan.runs.judging import Contest
from rlgan.runs.reward_function import reward_of_run
from rlgan.storage.discriminator_export import save_run_discriminator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.language_models import chats, require, write_encoder, write_model, write_records, write_tokenizer
from tests.support.on_ray import assert_same
from tests.support.tiny import TASK, Recorder, finish, numbers, tiny_config
from tests.support.usual import usually

require()

pytestmark = pytest.mark.integration

LORA = {"kind": "lora", "rank": 2, "dropout": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an encoder, and demonstrations beside them."""
    folder = tmp_path_factory.mktemp("lm")
    write_tokenizer(folder / "model")
    write_model(folder / "model")
    write_encoder(folder / "encoder", ("fine",))
    write_records(folder / "chat.jsonl", chats(70))
    return folder


def task_of(folder: Path) -> DemonstrationsTask:
    model = {"kind": "folder", "path": str(folder / "model")}
    return DemonstrationsTask.model_validate(
        {"demonstrations": str(folder / "chat.jsonl"), "model": model, "max_length": 8}
    )


def config_of(folder: Path, judge: dict[str, Any], workers: int = 0, **changes: Any) -> Config:
    """Likelihood, two rounds, and two updates after each of which the discriminator learns from the rollouts."""
    schedule = {
        "mle_epochs": 1, "discriminator_rounds": 2, "adversarial_updates": 2, "g_batch": 12, "g_group": 4, "d_steps": 1,
        "d_fakes": "rollouts",
    }  # fmt: skip
    given: dict[str, Any] = {
        "task": task_of(folder),
        "generator": CausalLM(weights={"kind": "folder", "path": str(folder / "model")}, training=LORA),
        "discriminator": SequenceClassifier(**judge),
        "adversary": AdversarySettings(loss=BradleyTerry(), batch=10, sequences_per_round=12),
        "reward": Logit(),
        "credit": Terminal(),
        "baseline": GroupMean(),
        "normalisation": GroupDeviation(),
        "optimizers": Optimizers(
            mle=Adam(lr=0.02, clip_norm=5.0), generator=Adam(lr=0.01, clip_norm=5.0), discriminator=Adam(lr=0.01)
        ),
        "workers": Workers(
            rollout=workers, threads=1, shard_sequences=4, shard_fakes=5, chunk_rows=11, cpus_per_rollout=0.2,
            cpus_discriminator=0.2,
        ),
    }  # fmt: skip
    return tiny_config(schedule | changes.pop("schedule", {}), **(given | changes))


JUDGES: dict[str, dict[str, Any]] = {
    "generator": {"weights": {"kind": "generator"}, "training": LORA},
    "text": {"weights": {"kind": "folder", "path": "encoder"}, "pooling": "mean"},
}


def judge_of(name: str, folder: Path) -> dict[str, Any]:
    judge = JUDGES[name]
    weights = judge["weights"]
    return judge | {"weights": {**weights, "path": str(folder / weights["path"])} if "path" in weights else weights}


@contextmanager
def trainer_of(config: Config, task: Task, recorder: Recorder | None = None) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts if recorder is None else recorder.around(parts))


@pytest.mark.slow
def test_a_judge_that_begins_as_the_generator_is_above_chance_after_enough_rounds(folder: Path) -> None:
    judge = {"weights": {"kind": "generator"}}
    settings = AdversarySettings(loss=BradleyTerry(), batch=40, sequences_per_round=32)
    schedule = {"discriminator_rounds": 16, "adversarial_updates": 0, "d_fakes": "fresh", "d_steps": 0}
    rate = Optimizers(
        mle=Adam(lr=0.02, clip_norm=5.0), generator=Adam(lr=0.01), discriminator=Adam(lr=2e-3, clip_norm=1.0)
    )
    config = config_of(folder, judge, schedule=schedule, adversary=settings, optimizers=rate, controls=())
    with trainer_of(config, build_task(config.task)) as trainer:
        units = [unit for unit in finish(trainer) if unit.phase == "discriminator"]
    last = [unit.metrics["discriminator/pair_accuracy"] for unit in units[-8:]]
    found = ranking([RankedRound(one, 8, 4, is_of_pairs=True) for one in last])
    assert not found.is_chance and trainer.at_chance == ()


@pytest.mark.heavy
@pytest.mark.parametrize("name", usually(["text"], list(JUDGES)))
def test_a_run_that_is_gone_on_with_ends_with_the_numbers_of_one_that_never_stopped(name: str, folder: Path) -> None:
    config = config_of(folder, judge_of(name, folder))
    task = build_task(config.task)
    states: list[dict[str, Any]] = []
    with trainer_of(config, task) as trainer:
        units = finish(trainer, lambda one: states.append(one.state()))
        last = trainer.state()
    for number in (1, 2, 4):
        with trainer_of(config, task) as resumed:
            resumed.restore(states[number - 1])
            rest = finish(resumed)
            assert [numbers(unit) for unit in rest] == [numbers(unit) for unit in units[number:]]
            assert_same(resumed.state()["discriminator"]["weights"], last["discriminator"]["weights"], "weights")
    assert 0.0 <= units[-1].metrics["discriminator/pair_accuracy"] <= 1.0


@pytest.mark.ray
@pytest.mark.slow
def test_workers_give_the_same_weights(folder: Path, ray_session: None) -> None:
    task = build_task(task_of(folder))
    found = []
    for number, name in ((0, "generator"), (2, "generator")):
        with trainer_of(config_of(folder, judge_of(name, folder), number), task) as trainer:
            units = finish(trainer)
            found.append(([numbers(unit) for unit in units], trainer.state()["discriminator"]["weights"]))
    assert found[0][0] == found[1][0]
    assert_same(found[0][1], found[1][1], "weights")


def test_the_generator_learns_first_and_the_discriminator_then_from_the_same_samples(folder: Path) -> None:
    config = config_of(folder, judge_of("generator", folder))
    task, recorder = build_task(config.task), Recorder()
    generators: list[dict[str, Tensor]] = []
    with trainer_of(config, task, recorder) as trainer:
        units = finish(trainer, lambda one: generators.append(one.current_weights()))
    # Rounds before the first update leave the generator as it is, bit for bit.
    assert_same(generators[0], generators[2], "weights")
    assert not all(torch.equal(one, generators[3][name]) for name, one in generators[2].items())
    assert len(recorder.rounds) == 4
    for update, unit in enumerate(units[3:]):
        (rollouts,) = unit.rollouts
        request = recorder.rounds[2 + update]
        # Scored by the discriminator of before: the rounds that it had learned by then.
        assert rollouts.discriminator_version == 2 + update
        assert torch.equal(request.fakes, rollouts.tokens) and request.group == 4
        assert rollouts.conditions is not None and request.conditions is not None and request.paired is not None
        assert torch.equal(request.conditions, rollouts.conditions)
        assert task.conditions is not None
        for condition, real in zip(request.conditions, request.paired, strict=True):
            rows = (task.conditions.train == condition).all(1).nonzero().flatten()
            assert any(torch.equal(task.train[row].long(), real) for row in rows)
        groups = request.conditions.view(3, 4, -1)
        assert bool((groups == groups[:, :1]).all())


def test_the_judge_begins_as_the_pretrained_generator(folder: Path) -> None:
    config = config_of(folder, judge_of("generator", folder), schedule={"discriminator_rounds": 1})
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        trainer.step()  # likelihood
        state = trainer.state()
    start, judge = state["mle_start"], state["discriminator"]["weights"]
    shared = [name for name in judge if name in start]
    assert len(shared) > 20 and all(torch.equal(judge[name], start[name]) for name in shared)
    assert all("score" in name for name in judge.keys() - start.keys())


@pytest.mark.heavy
def test_a_trained_model_that_learns_no_likelihood_here_is_a_start_to_compare_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []

    def judge(config: Config, task: Task, evaluator: Any, contest: Contest, temperatures: Any) -> Verdict:
        judged.extend(one.name for one in contest.controls)
        return not_judged("it is small")

    monkeypatch.setattr(comparison, "judge_run", judge)
    changes: dict[str, Any] = {"schedule": {"mle_epochs": 0}, "controls": ("mle_continued",)}
    config = config_of(folder, judge_of("generator", folder), **changes)
    short = {"num_sequences": 8, "final_sequences": 8, "temperatures": (1.0, 0.7)}
    config = config.model_copy(update={"preset": "own", "evaluation": config.evaluation.model_copy(update=short)})
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        finish(trainer)
        found = comparison.compare(config, task, trainer, lambda sentence: None)
    names = ["MLE start", "MLE τ=0.7", "mle_continued", "mle_continued τ=0.7", "own τ=0.7 (this run)", "own (this run)"]
    assert [row["name"] for row in found.rows][1:] == names
    assert judged == [START, "mle_continued"]


@pytest.mark.heavy
def test_a_sentence_encoder_judges_what_an_lstm_writes(folder: Path, tmp_path: Path) -> None:
    judge = SequenceClassifier(**judge_of("text", folder))
    schedule = {"mle_epochs": 1, "adversarial_updates": 1}
    config = tiny_config(schedule, discriminator=judge, credit=Terminal(), baseline={"kind": "leave_one_out"})
    assert config.task == TASK
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        units = finish(trainer)
        state = trainer.state()
    assert 0.0 < units[-1].metrics["discriminator/auc_heldout"] < 1.0
    settled = config.settled().discriminator
    assert settled is not None
    weights = state["discriminator"]["weights"]
    save_run_discriminator(tmp_path, settled, config.reward.model_dump(mode="json"), task, weights)
    tokens = task.test[:8].long()
    rewards = reward_of_run(tmp_path)(tokens, sequence_mask(task.space, tokens))
    assert rewards.shape == (8,) and len(set(rewards.tolist())) > 1


@pytest.mark.heavy
def test_tokens_are_rewarded_one_by_one(folder: Path) -> None:
    judge = {"weights": {"kind": "generator"}, "granularity": "token"}
    config = config_of(folder, judge, credit=RewardToGo())
    with trainer_of(config, build_task(config.task)) as trainer:
        units = finish(trainer)
    (rollouts,) = units[-1].rollouts
    assert rollouts.token_logits is not None and rollouts.real_logits is None
    assert bool((rollouts.token_logits[rollouts.mask] != 0).all())


def test_ends_and_lengths_do_not_tell_what_was_written_from_the_same_behind_the_sampler(
    folder: Path, tmp_path: Path
) -> None:
    records = [{"prompt": f"number {index}", "completion": "well " * (index % 4) + "ok"} for index in range(60)]
    of_lengths = {"demonstrations": str(write_records(tmp_path / "lengths.jsonl", records)), "max_length": 10}
    task = build_task(task_of(folder).model_copy(update=of_lengths | {"over_long": "cut"}))
    space, spelling = task.space, task.space.spelling
    assert spelling is not None and task.conditions is not None
    reading: Any = task.conditions.reading
    tokens = task.train.long()
    texts = spelling.texts(tokens, sequence_mask(space, tokens), space.end_id)
    # As the sampler writes: tokens, the one that ends a turn where there is room, padding.
    again = torch.full_like(tokens, space.pad_id)
    for row, ids in enumerate(reading.tokens.completion_ids(texts)):
        ended = [*ids, space.end_id][: space.max_length]
        again[row, : len(ended)] = torch.tensor(ended)

    def features(rows: Tensor) -> Tensor:
        lengths = sequence_mask(space, rows).sum(1)
        last = rows.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
        return torch.stack([(rows == space.end_id).any(1).float(), lengths.float(), last.float()], 1)

    shown, labels = torch.cat([features(tokens), features(again)]), torch.arange(2).repeat_interleave(len(tokens))
    assert len(set(shown[:, 1].tolist())) > 1 and 0.0 < float(shown[:, 0].mean()) < 1.0  # some are cut
    scaled = (shown - shown.mean(0)) / shown.std(0)
    weights = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = scaled @ weights[:3] + weights[3]
        found = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        found.backward()
        return found

    optimizer.step(loss)  # type: ignore[arg-type]
    from rlgan.metrics import auc

    logits = (scaled @ weights[:3] + weights[3]).detach()
    assert auc(logits[labels == 0], logits[labels == 1]) == pytest.approx(0.5, abs=1e-6)


def test_a_space_knows_how_its_tokens_are_written(folder: Path) -> None:
    task = build_task(task_of(folder))
    assert task.space.spelling is not None and task.space.condition is not None
    assert task.space.condition.spelling is not None
    tokens = task.test[:3].long()
    found = task.space.spelling.texts(tokens, sequence_mask(task.space, tokens), task.space.end_id)
    assert found == task.decode(tokens)
    assert task.space == replace(task.space, spelling=None)
