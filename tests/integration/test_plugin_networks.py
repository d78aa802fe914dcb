"""Runs with networks of the user's own: the same numbers on any number of workers, resumed, sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan import extensions
from rlgan.adversary.regularisers import InterpolatedPenalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Workers
from rlgan.discriminators import PluginDiscriminator
from rlgan.envs.tasks import Task, build_task
from rlgan.generators import PluginGenerator
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.objectives import Gumbel
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support import plugin_networks
from tests.support.commands import ask, write_config
from tests.support.on_ray import assert_same
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.tiny import PAIRS, finish, numbers, of_pairs, tiny_config

pytestmark = [pytest.mark.heavy, pytest.mark.integration]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A user's own file."""
    path = tmp_path / "networks.py"
    path.write_text(Path(plugin_networks.__file__).read_text("utf-8"), "utf-8")
    return path


def networks(file: Path, generator: str = "Gru", discriminator: str = "Bag", **options: Any) -> dict[str, Any]:
    return {
        "generator": PluginGenerator.model_validate({"name": f"{file}:{generator}", "options": options}),
        "discriminator": PluginDiscriminator.model_validate({"name": f"{file}:{discriminator}", "members": 2}),
    }


def outcome(config: Config, task: Task) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Metrics of all iterations, and the state in which they end."""
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        units = [numbers(unit) for unit in finish(trainer)]
        return units, trainer.state()


@pytest.mark.ray
@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers_and_weights(file: Path, ray_session: None) -> None:
    config = tiny_config(**networks(file, dropout=0.3))
    task = build_task(config.task)
    units, state = outcome(config, task)
    assert any("discriminator/loss" in unit for unit in units)
    for number in (1, 2):
        workers = Workers(threads=1, shard_sequences=3, shard_fakes=7, chunk_rows=11, rollout=number)
        workers = workers.model_copy(update={"cpus_per_rollout": 0.2, "cpus_discriminator": 0.2})
        found, reached = outcome(config.model_copy(update={"workers": workers}), task)
        assert found == units
        assert_same(reached, state)


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not_and_is_sampled(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path / "config.json", small(**networks(file), controls=()))
    train = ("train", "quick", "--config", config, "--out")
    assert ask(capsys, *train, tmp_path / "whole").status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert ask(capsys, *train, tmp_path / "halves").status == 130
    assert ask(capsys, "train", "--resume", tmp_path / "halves").status == 0
    assert_ends_alike(tmp_path / "whole", tmp_path / "halves")
    sampled = ask(capsys, "sample", "--run", tmp_path / "whole", "--num", 3)
    assert sampled.status == 0 and len(sampled.out.splitlines()) == 3
    file.unlink()  # a generator of somebody's own is code, which is not executed unasked
    monkeypatch.setattr(extensions.memory, "sources", {})
    monkeypatch.setattr(extensions.memory, "modules", {})
    refused = ask(capsys, "sample", "--run", tmp_path / "whole", "--num", 3)
    assert refused.status == 2 and "--trust-code" in refused.err
    trusted = ask(capsys, "sample", "--run", tmp_path / "whole", "--num", 3, "--trust-code")
    assert trusted.out == sampled.out


def test_networks_of_pairs_of_ones_own(file: Path) -> None:
    config = of_pairs(**networks(file, "SteppingAnswering", "PairBag"))
    units, _ = outcome(config, build_task(PAIRS))
    assert "eval/kl_sum" in units[-1]


def test_a_generator_is_differentiated_through_a_discriminator_where_both_read_soft_rows(file: Path) -> None:
    own = networks(file, "SoftGru")
    changes = {"objective": Gumbel(), "reward": ConstantReward(), "credit": Terminal()}
    penalty = {"adversary": AdversarySettings(batch=16, sequences_per_round=24, gradient_penalty=InterpolatedPenalty())}
    units, _ = outcome(tiny_config(**own, **changes, **penalty), build_task(tiny_config().task))
    assert "generator/loss" in units[-1] or "generator/policy_loss" in units[-1], units[-1]


def test_a_network_that_breaks_its_contract_is_told_before_anything_is_written(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "config.json", small(**networks(file, "Peeking"), controls=()))
    answer = ask(capsys, "train", "quick", "--config", config, "--out", tmp_path / "run")
    assert answer.status == 2 and f"generator plug-in '{file}:Peeking': not causal" in answer.err
    assert not (tmp_path / "run").exists()
