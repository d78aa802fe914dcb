"""Every preset at the size of a toy."""

from __future__ import annotations

from typing import Any

from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_dict, override, to_dict
from rlgan.envs.tasks import TaskSettings, ToyTask
from rlgan.policy.reward_functions import PluginReward
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.presets.registry import preset
from tests.support.tiny import PAIRS

# Sequences that end early, at the horizon and in the middle.
TASK = ToyTask(vocab_size=5, max_length=5, ends=True, num_train=70, num_valid=20, num_test=20)
SMALL: dict[str, Any] = {
    "generator.embedding": 8,
    "generator.hidden": 8,
    "generator.head_size": 4,
    "generator.latent": 4,
    "generator.width": 8,
    "generator.blocks": 1,
    "generator.feature_embedding": 4,
    "generator.feature_windows": "1,2,3",
    "generator.feature_filters": "4",
    "generator.feature_hidden": 8,
    "generator.horizon": 2,
    "discriminator.embedding": 4,
    "discriminator.hidden": 8,
    "discriminator.mlp_hidden": 8,
    "discriminator.width": 8,
    "discriminator.blocks": 1,
    "discriminator.representations": 2,
    "discriminator.references": 3,
    "discriminator.comparisons": 3,
    "discriminator.windows": "1,2,3",
    "discriminator.filters": "4",
    "adversary.batch": 16,
    "adversary.sequences_per_round": 24,
    "credit.num_rollouts": 2,
    "schedule.mle_batch": 16,
    "schedule.g_batch": 16,
    "schedule.d_steps": 2,
    "schedule.d_epochs": 1,
    "evaluation.every": 1,
    "evaluation.num_sequences": 32,
    "workers.threads": 1,
    "workers.shard_sequences": 3,
    "workers.shard_fakes": 7,
    "workers.chunk_rows": 11,
}
AT_MOST = {"schedule.mle_epochs": 2, "schedule.discriminator_rounds": 1, "schedule.adversarial_updates": 2}


def small(name: str, task: TaskSettings | None = None, **workers: Any) -> Config:
    """A preset at the size of a toy; what it has not is left out, and what is 0 stays 0.

    Args:
        name: of the preset.
        task: of its own; None for pairs where the preset is of pairs, else sequences.
        workers: settings of `workers`.
    """
    config = preset(name, task or (PAIRS if preset(name).task.gives_conditions else TASK))
    config = _of_any_texts(config)
    had = flatten(to_dict(config))
    changes = {path: value for path, value in SMALL.items() if had.get(path)}
    changes |= {path: min(most, had[path]) for path, most in AT_MOST.items()}
    changes |= {f"workers.{setting}": value for setting, value in workers.items()}
    if isinstance(config.schedule.teacher_forcing, MixedPrefix):
        changes["schedule.teacher_forcing.start"] = 2
    if config.schedule.d_fakes == "rollouts":
        size = changes["schedule.g_batch"]
        changes["adversary.sequences_per_round"] = size - config.schedule.teacher_forcing.num_real(size)
        changes["schedule.d_steps"] = 1
    if (steps := had.get("objective.minibatches")) is not None:
        changes["objective.minibatches"] = min(4, steps)
    if "objective.share" in had:
        changes |= {"schedule.g_group": 2, "objective.share": 0.5}  # four pairs of eight
    if had.get("schedule.teacher_forcing.num_updates", 0) > 2:
        changes["schedule.teacher_forcing.num_updates"] = 2
    if config.shares_embeddings:
        changes["discriminator.embedding"] = changes["generator.embedding"]
    return from_dict(to_dict(override(config.model_copy(update={"controls": ()}), changes)))


def _of_any_texts(config: Config) -> Config:
    """The same with rewards, filters and metrics of any texts in place of those of molecules."""
    changes: dict[str, Any] = {"evaluation.metrics": []}
    if isinstance(config.reward, PluginReward):
        weight = config.reward.functions[0].weight
        changes |= {"reward.functions": ["tests.support.plugins:length_share"], "reward.functions.0.weight": weight}
        if config.reward.filter is not None:
            changes["reward.filter"] = "tests.support.plugins:Once"
    return override(config, changes)
