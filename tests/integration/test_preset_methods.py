"""Presets r_airl, varl, raro, raro_verdict, dial, dial_dpo, and two of sequences on pairs: they train and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlgan.config.config import Config
from rlgan.config.paths import from_dict, to_dict
from rlgan.discriminators import (
    CausalLSTM,
    CnnHighway,
    PairLSTM,
    PairMultiRepresentation,
    PairRanker,
    VerdictWriter,
)
from rlgan.discriminators.verdict_writer import FreshCritic
from rlgan.envs.tasks import build_task
from rlgan.generators import LSTM, CausalLM, Seq2SeqLSTM, Seq2SeqRelationalMemory
from rlgan.layers.pretrained import FreshWeights
from rlgan.presets.registry import preset
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support import language_models
from tests.support.small_presets import small as at_toy_size
from tests.support.tiny import PAIRS, TASK, finish, numbers

pytestmark = pytest.mark.integration

SIGNS = {
    "r_airl": "discriminator/accuracy_perturbed",
    "varl": "generator/mean_score",
    "raro": "verdict/tie_share",
    "raro_verdict": "discriminator/verdict_first",
    "dial": "discriminator/auc_heldout",
    "dial_dpo": "generator/pair_margin",
}


def small(name: str, task: Any = PAIRS, **networks: Any) -> Config:
    """The preset, with sizes of a test."""
    config = preset(name, task)
    number, buffer = 8, None if config.adversary.buffer is None else 24
    changes = {
        "schedule": config.schedule.model_copy(
            update={
                "mle_epochs": 1, "discriminator_rounds": 1, "adversarial_updates": 2, "g_batch": number, "g_group": 4,
            }
        ),
        "adversary": config.adversary.model_copy(
            update={
                # Enough reals for two words to be among them.
                "batch": 30, "sequences_per_round": 24 if config.schedule.d_first else number, "buffer": buffer,
            }
        ),  # fmt: skip
        "evaluation": config.evaluation.model_copy(update={"num_sequences": 20}),
        "workers": config.workers.model_copy(update={"shard_sequences": 3, "shard_fakes": 5, "chunk_rows": 11}),
    }  # fmt: skip
    if config.objective.pairs_groups:  # of two groups, one whose draft earns less
        changes["objective"] = config.objective.model_copy(update={"share": 0.5, "epochs": 2, "minibatches": 1})
    return from_dict(to_dict(config.model_copy(update=changes | networks)))


def resumed(config: Config, folder: Path, after: int = 3) -> list[Any]:
    """All units of a run, which must be those of one that was stopped after some, in its adversarial phase."""
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        units = [trainer.step() for _ in range(after)]
        assert units[-1].phase == "adversarial"
        save_checkpoint(folder, trainer.state(), after)
        units += finish(trainer)
        weights = trainer.current_weights()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        trainer.restore(load_latest(folder).state)
        assert [numbers(one) for one in finish(trainer)] == [numbers(one) for one in units[after:]]
        assert all(np.array_equal(one, weights[name]) for name, one in trainer.current_weights().items())
    return units


@pytest.mark.heavy
@pytest.mark.parametrize("name", SIGNS)
def test_the_presets_train_a_language_model_beside_one_that_began_as_it(name: str, tmp_path: Path) -> None:
    language_models.require()
    networks: dict[str, Any] = {"generator": CausalLM(weights=FreshWeights(width=8, layers=1, heads=2))}
    if name == "raro_verdict":  # which is of a network of its own where nothing has words
        networks["discriminator"] = VerdictWriter(weights=FreshCritic(width=8, layers=1, heads=2))
    units = resumed(small(name, **networks), tmp_path)
    metrics = units[-1].metrics
    assert SIGNS[name] in metrics and np.isfinite(metrics["generator/loss"])
    assert metrics["rollouts/logprob_gap_max"] < 1e-3


@pytest.mark.parametrize(
    ("task", "generator", "judge"),
    [
        (PAIRS, Seq2SeqLSTM(embedding=4, hidden=6), PairLSTM(embedding=4, hidden=5)),
        (TASK, LSTM(embedding=4, hidden=6), CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4))),
    ],
    ids=["pairs", "sequences"],
)
def test_preferences_go_with_small_networks(task: Any, generator: Any, judge: Any, tmp_path: Path) -> None:
    units = resumed(small("dial_dpo", task, generator=generator, discriminator=judge), tmp_path)
    metrics = units[-1].metrics
    # One of the two groups, or none where all of it are worth the same.
    assert metrics["generator/num_pairs"] in (0.0, 1.0) and np.isfinite(metrics["generator/loss"])


def test_rewards_of_tokens_go_with_a_small_judge_of_tokens_and_without_prompts(tmp_path: Path) -> None:
    units = resumed(small("r_airl", TASK, discriminator=CausalLSTM(embedding=4, hidden=5)), tmp_path)
    assert SIGNS["r_airl"] in units[-1].metrics and np.isfinite(units[-1].metrics["generator/loss"])


@pytest.mark.parametrize(
    ("name", "after", "generator", "judge"),
    [("rankgan", 4, Seq2SeqLSTM, PairRanker), ("relgan", 3, Seq2SeqRelationalMemory, PairMultiRepresentation)],
)
def test_presets_that_compare_take_networks_of_pairs(
    name: str, after: int, generator: type, judge: type, tmp_path: Path
) -> None:
    config = at_toy_size(name, PAIRS)
    assert isinstance(config.generator, generator) and isinstance(config.discriminator, judge)
    units = resumed(config, tmp_path, after)
    assert len(units) == after + 1  # one of its two updates lies behind the checkpoint
    for unit in units:
        assert all(np.isfinite(value) for value in unit.metrics.values()), unit.metrics
    assert units[-1].metrics["generator/grad_norm"] > 0.0 and "discriminator/loss" in units[-1].metrics
