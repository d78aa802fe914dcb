"""From nothing to text: language GANs without maximum likelihood on a small corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import TextTask, build_task
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

pytestmark = [pytest.mark.integration, pytest.mark.learning]

UPDATES = 150
SIZES = {
    "generator.embedding": 64,
    "generator.hidden": 64,
    "generator.layers": 1,
    "generator.output_layers": "last",
    "discriminator.embedding": 64,
    "discriminator.hidden": 64,
    "adversary.sequences_per_round": 256,
    "adversary.batch": 256,
    "schedule.adversarial_updates": UPDATES,
    "schedule.g_batch": 256,
    "optimizers.generator.lr": 0.002,
    "optimizers.discriminator.lr": 0.002,
    "evaluation.num_sequences": 1_000,
    "workers.threads": 1,
    "workers.shard_sequences": 256,
}


def distances(config: Config) -> tuple[float, float]:
    """FED of samples and test split after one in a hundred of the updates, and at the end."""
    task, found = build_task(config.task), []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        while trainer.next_phase is not None:
            trainer.step(measure=False)
            if trainer.position.adversarial_updates in (-(-UPDATES // 100), UPDATES):
                found.append(trainer.measure().metrics["eval/fed_ngram64"])
    first, last = found
    return first, last


def test_scratchgan_comes_nearer_to_text_and_random_rewards_do_not(data_dir: Path) -> None:
    folder = data_dir / "wordnet_examples"
    task = TextTask(
        data=str(folder / "train.txt"),
        test=str(folder / "test.txt"),
        valid_fraction=0.05,
        tokens="char",
        lowercase=True,
        min_count=100,
        max_length=20,
        over_long="cut",
    )
    config = override(preset("scratchgan", task), SIZES | {"controls": ()})
    first, last = distances(config)
    _, random = distances(control(config, "random_reward"))
    assert last < 0.5 * first and last < random, (first, last, random)
