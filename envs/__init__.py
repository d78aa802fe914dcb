"""The world: what a sequence is, how it begins and ends, where real ones come from, what the environments are.

Imported as `rlgan.envs`. It knows neither networks nor the trainer nor Ray, but the ground in `rlgan.base` alone.
Importing it registers "rlgan/Token-v0" with Gymnasium.
"""

from __future__ import annotations

import gymnasium

from rlgan.base.errors import CheckpointError, ConfigError, DataError, RlganError, ShapeError

from .reward_function import ConditionalRewardFunction, RewardFunction
from .sequence_space import SequenceSpace
from .tasks import (
    Conditions,
    Oracle,
    OracleTask,
    PairsTask,
    Task,
    TaskSettings,
    TextTask,
    ToyTask,
    TransductionTask,
    build_task,
)
from .token_env import ConditionalProbability, SequenceProbability, TokenEnv, TokenVectorEnv
from .transition import is_terminal, pad_after_end, sequence_mask
from .vocabulary import Vocabulary

TOKEN_ENV_ID = "rlgan/Token-v0"

# A module that is imported again would otherwise warn that it overrides itself.
if TOKEN_ENV_ID not in gymnasium.registry:
    gymnasium.register(
        id=TOKEN_ENV_ID,
        entry_point="rlgan.envs.token_env:TokenEnv",
        vector_entry_point="rlgan.envs.token_env:TokenVectorEnv",
    )

__all__ = [
    "TOKEN_ENV_ID",
    "CheckpointError",
    "ConditionalProbability",
    "ConditionalRewardFunction",
    "Conditions",
    "ConfigError",
    "DataError",
    "Oracle",
    "OracleTask",
    "PairsTask",
    "RewardFunction",
    "RlganError",
    "SequenceProbability",
    "SequenceSpace",
    "ShapeError",
    "Task",
    "TaskSettings",
    "TextTask",
    "TokenEnv",
    "TokenVectorEnv",
    "ToyTask",
    "TransductionTask",
    "Vocabulary",
    "build_task",
    "is_terminal",
    "pad_after_end",
    "sequence_mask",
]
