"""Reward functions of one's own in whole runs: what is paid, who computes it, going on, and what stops a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgan import extensions
from rlgan.base.errors import PluginError
from rlgan.base.seeding import stream_seed
from rlgan.base.weights import weights_of
from rlgan.cli.main import main
from rlgan.config.config import Config, Workers
from rlgan.config.paths import override, to_dict
from rlgan.discriminators import build_discriminator
from rlgan.envs.tasks import Task, build_task
from rlgan.generators import build_generator
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.logit_maps import Logit
from rlgan.policy.reward_functions import PluginReward
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.storage.checkpoint import load_latest
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.rollout import LocalRollouts, RolloutWorker
from tests.support.commands import rows_of, write_config
from tests.support.on_ray import assert_same
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.tiny import TASK, finish, numbers, of_pairs, tiny_config

pytestmark = pytest.mark.integration

TEXT = '''"""Rewards of a user."""

from pathlib import Path

import torch


def even(completion_ids, completions):
    return [sum(token % 2 == 0 for token in row) / len(row) if row else None for row in completion_ids]


def noise(tokens, mask, rng):
    return torch.rand(len(tokens), generator=rng)


def picky(completions, flag):
    if Path(flag).exists():
        raise RuntimeError("the service is gone")
    return [float(len(text)) for text in completions]


def copied(prompts, completions, targets):
    return [float(prompt == completion) + 10.0 * (completion == target)
            for prompt, completion, target in zip(prompts, completions, targets, strict=True)]
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def of_functions(file: Path, *names: str, **settings: Any) -> PluginReward:
    return PluginReward(functions=tuple({"name": f"{file}:{name}"} for name in names), **settings)


ALONE: dict[str, Any] = {"discriminator": None}
NO_ROUNDS = {"discriminator_rounds": 0, "d_steps": 0}


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


# What is paid


def test_sequences_and_continuations_are_scored_alike_beside_the_discriminator(file: Path) -> None:
    config = tiny_config(reward=of_functions(file, "even", map=Logit(), map_weight=0.5))
    task = build_task(TASK)
    plan = RolloutPlan(task.space, MonteCarlo(num_rollouts=2), 11, config.reward.scorer(task))
    pool = LocalRollouts(RolloutWorker(plan, config.generator, config.discriminator))
    torch.manual_seed(0)
    generator = weights_of(build_generator(config.generator, task.space), 1)
    assert config.discriminator is not None
    judge = weights_of(build_discriminator(config.discriminator, task.space), 1)
    shard = Shard(4, 7, generator_version=1, rollout_version=1, discriminator_version=1, is_rewarded=True)
    (found,) = pool.collect([shard], generator, generator, judge)
    share = (found.tokens % 2 == 0).float().mean(1)  # all sequences of this task have six tokens
    assert found.scores is not None and found.score_parts is not None and found.real_logits is not None
    assert torch.equal(found.scores, share) and torch.equal(found.score_parts, share.unsqueeze(1))
    paid = config.reward.of_sequences(found, task, torch.Generator())
    assert torch.allclose(paid, 0.5 * found.real_logits + share)
    continued = found.continuation_scores
    assert continued is not None and continued.shape == (4, 6, 2)
    # A continuation of the first five tokens differs in the last alone: its share is theirs, less or more one sixth.
    first = (found.tokens[:, :5] % 2 == 0).float().sum(1)
    for number in range(2):
        last = continued[:, 4, number] * 6 - first
        assert bool(((last - 0).abs() < 1e-5).logical_or((last - 1).abs() < 1e-5).all())
    assert torch.equal(continued[:, 5], torch.zeros(4, 2))  # the last token has no continuation


def test_functions_alone_need_no_discriminator_and_are_measured(file: Path) -> None:
    config = tiny_config(NO_ROUNDS, reward=of_functions(file, "even", "noise", map=None), **ALONE)
    with trainer_of(config, build_task(TASK)) as trainer:
        units = finish(trainer)
    metrics = units[-1].metrics
    assert 0.0 <= metrics["reward/even_mean"] <= 1.0 and metrics["reward/noise_std"] > 0.0
    assert metrics["generator/mean_score"] == pytest.approx(metrics["reward/even_mean"] + metrics["reward/noise_mean"])


def test_pairs_are_handed_their_prompts_and_targets(file: Path) -> None:
    config = of_pairs(NO_ROUNDS, reward=of_functions(file, "copied", map=None), credit=Terminal(), **ALONE)
    with trainer_of(config, build_task(config.task)) as trainer:
        units = finish(trainer)
    # The task is to copy what is given, but for noise, so that some rows meet both.
    assert any(unit.metrics.get("reward/copied_mean", 0.0) > 0.0 for unit in units)


@pytest.mark.ray
@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(file: Path, ray_session: None) -> None:
    task, found = build_task(TASK), []
    for number in (0, 1, 2):
        workers = Workers(
            rollout=number, threads=1, shard_sequences=3, shard_fakes=7, chunk_rows=11, cpus_per_rollout=0.2,
            cpus_discriminator=0.2,
        )  # fmt: skip
        config = tiny_config(reward=of_functions(file, "even", "noise"), workers=workers)
        with trainer_of(config, task) as trainer:
            found.append(([numbers(unit) for unit in finish(trainer)], trainer.state()))
    assert "reward/noise_mean" in found[0][0][-1]
    for metrics, state in found[1:]:
        assert_same(metrics, found[0][0])
        assert_same(state, found[0][1])


@pytest.mark.ray
@pytest.mark.slow
def test_error_on_a_worker_is_told_as_in_this_process(file: Path, tmp_path: Path, ray_session: None) -> None:
    flag = tmp_path / "flag"
    functions = ({"name": f"{file}:picky", "options": {"flag": str(flag)}},)
    workers = Workers(rollout=1, threads=1, cpus_per_rollout=0.2, cpus_discriminator=0.2)
    config = tiny_config(reward=PluginReward(functions=functions), workers=workers)
    with trainer_of(config, build_task(TASK)) as trainer:
        flag.touch()
        with pytest.raises(PluginError) as raised:
            finish(trainer)
    message = str(raised.value)
    assert message.startswith("reward function 'picky'") and "RuntimeError: the service is gone" in message
    assert "the first such row is row 0 of" in message and "line 18, in picky" in message
    assert "ray" not in message


# Whole runs


def ask(config: Config, folder: Path, *options: str) -> int:
    path = write_config(folder.parent / f"{folder.name}.json", config)
    return main(["train", "--config", str(path), "--out", str(folder), *options])


def forget() -> None:
    """As if this process had just begun."""
    for known in (extensions.memory.sources, extensions.memory.modules, extensions.memory.built, extensions.memory.own):
        known.clear()


def test_a_stopped_run_goes_on_with_the_copy_in_its_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(reward=of_functions(file, "even", "noise"), controls=())
    assert ask(config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert ask(config, tmp_path / "stopped") == 130
    file.unlink()  # another machine, another folder: the run has a copy
    forget()
    resume = ["train", "--resume", str(tmp_path / "stopped")]
    capsys.readouterr()
    assert main(resume) == 2 and "[plugin_not_at_hand]" in capsys.readouterr().err
    assert not extensions.memory.modules
    assert main([*resume, "--trust-code"]) == 0
    assert_ends_alike(tmp_path / "whole", tmp_path / "stopped")
    saved = json.loads((tmp_path / "whole" / "config.json").read_text())["reward"]["functions"]
    assert [one["digest"] for one in saved] == [extensions.digest_of(TEXT)] * 2


def test_a_run_does_not_go_on_with_another_function(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(reward=of_functions(file, "even"), controls=())
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert ask(config, tmp_path / "run") == 130
    before = rows_of(tmp_path / "run")
    file.write_text(TEXT.replace("== 0", "== 1"))
    forget()
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    described = capsys.readouterr().err
    assert "[plugin_changed]" in described
    assert extensions.digest_of(TEXT) in described and extensions.digest_of(file.read_text()) in described
    assert rows_of(tmp_path / "run") == before
    # What was trained can be looked at all the same.
    assert main(["evaluate", "--run", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("checkpoint_every_s", [0.0, 1e6])
def test_a_function_that_fails_loses_nothing(
    checkpoint_every_s: float,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flag = tmp_path / "flag"
    functions = ({"name": f"{file}:picky", "options": {"flag": str(flag)}},)
    config = small(reward=PluginReward(functions=functions), controls=(), checkpoint_every_s=checkpoint_every_s)
    assert ask(config, tmp_path / "whole") == 0
    real = Trainer.step

    def step(trainer: Trainer, measure: bool = True) -> Any:
        if trainer.position.adversarial_updates == 1:
            flag.touch()
        return real(trainer, measure)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        capsys.readouterr()
        assert ask(config, tmp_path / "failed") == 1
    printed = capsys.readouterr()
    assert "reward function 'picky'" in printed.err and "the service is gone" in printed.err
    assert load_latest(tmp_path / "failed").position == 4  # all but the iteration that was not done
    assert "row 0 of" in printed.err and "line 18, in picky" in printed.err
    assert "the 4 iterations of the last checkpoint are kept" in printed.out + printed.err
    flag.unlink()
    assert main(["train", "--resume", str(tmp_path / "failed")]) == 0
    assert_ends_alike(tmp_path / "whole", tmp_path / "failed")


def test_bad_functions_are_told_before_anything_is_written(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("def short(completions):\n    return [1.0]\n\ndef wrong(texts):\n    return []\n")
    run = str(tmp_path / "run")
    base = str(write_config(tmp_path / "base.json", small(controls=())))
    for name, status, described in (
        ("short", 1, "returned 1 rewards for 5 sequences"),
        ("wrong", 2, "[reward_signature]"),
        ("shirt", 2, "Did you mean 'short'?"),
    ):
        assert main(["train", "--config", base, "--reward", f"{file}:{name}", "--out", run]) == status
        assert described in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


# Everywhere else


def test_the_configuration_shows_functions_and_their_digest(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "seqgan", "--reward", f"{file}:even", "--reward.functions.0.weight", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert extensions.digest_of(TEXT) in shown and "reward.map" in shown
    config = override(tiny_config(), {"reward": f"{file}:even"})
    assert to_dict(config)["reward"]["functions"][0]["name"] == f"{file}:even"


def test_seeds_of_functions_are_of_the_shard(file: Path) -> None:
    config = tiny_config(NO_ROUNDS, reward=of_functions(file, "noise", map=None), **ALONE)
    task = build_task(TASK)
    plan = RolloutPlan(task.space, config.credit, 11, config.reward.scorer(task))
    pool = LocalRollouts(RolloutWorker(plan, config.generator, None))
    torch.manual_seed(0)
    generator = weights_of(build_generator(config.generator, task.space), 1)
    shards = [Shard(3, seed, 1, 1, None, is_rewarded=True) for seed in (1, 2)]
    one, other = pool.collect(shards, generator, generator)
    seed = stream_seed(stream_seed(1, "scores"), "reward", "noise")
    assert one.scores is not None and other.scores is not None
    assert torch.equal(one.scores, torch.rand(3, generator=torch.Generator().manual_seed(seed)))
    assert not torch.equal(one.scores, other.scores)
