"""A run that draws through the Gymnasium environment is the same run: every metric, every weight, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import CausalLSTM, PairCnn
from rlgan.envs.tasks import PairsTask, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.policy.credit import MonteCarlo, RewardToGo
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.sampling import environment
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.on_ray import assert_same, config_of
from tests.support.tiny import finish, numbers, of_pairs, tiny_config

pytestmark = pytest.mark.integration


def outcome(config: Config) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Metrics of every unit, and the state at the end: weights, optimisers, buffers."""
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        return [numbers(unit) for unit in finish(trainer)], trainer.state()


def text_pairs(folder: Path) -> PairsTask:
    """A hundred sources and targets of one to five words."""
    words = ["on", "off", "up", "down", "left"]
    lines = [
        " ".join((words * 2)[number // 7 % 5 :][: number % 4 + 1]) + f" {words[number % 5]}" for number in range(100)
    ]
    rows = "".join(f"{line}\t{' '.join(reversed(line.split()))}\n" for line in lines)
    (folder / "pairs.tsv").write_text(f"source\ttarget\n{rows}", "utf-8")
    return PairsTask(input=Table(data=str(folder / "pairs.tsv")), max_length=6)


def runs(folder: Path) -> dict[str, Config]:
    return {
        "fixed length": tiny_config({"adversarial_updates": 1}),
        "ending early, a slower rollout policy": config_of(0),
        "conditions": of_pairs({"adversarial_updates": 1}),
        "pairs of texts": of_pairs({"adversarial_updates": 1}, task=text_pairs(folder), discriminator=PairCnn()),
        "prefixes given": tiny_config(
            {"adversarial_updates": 2, "teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)},
            credit=MonteCarlo(num_rollouts=2),
        ),
        "tokens judged": tiny_config(
            {"adversarial_updates": 1}, discriminator=CausalLSTM(embedding=4, hidden=4), credit=RewardToGo()
        ),
    }


NAMES = [
    "fixed length",
    "ending early, a slower rollout policy",
    "conditions",
    "pairs of texts",
    "prefixes given",
    "tokens judged",
]


@pytest.mark.heavy
@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_and_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = runs(tmp_path)[name]
    steps = 0
    step = environment.TokenVectorEnv.step

    def counted(self: Any, actions: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(self, actions)

    monkeypatch.setattr(environment.TokenVectorEnv, "step", counted)
    metrics, state = outcome(config)
    assert steps == 0
    stepped_metrics, stepped_state = outcome(override(config, {"sampling": "environment"}))
    assert steps > 30
    assert_same(stepped_metrics, metrics)
    assert_same(stepped_state, state)


@pytest.mark.ray
def test_the_same_on_a_worker(ray_session: None) -> None:
    metrics, state = outcome(config_of(0))
    stepped_metrics, stepped_state = outcome(override(config_of(1), {"sampling": "environment"}))
    assert_same(stepped_metrics, metrics)
    assert_same(stepped_state, state)
