"""All rewards: the union of them, by `kind`.

What a reward declares and computes is in `rlgan.policy.reward_base`; each kind has a module of its own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .class_reward import ClassLogprob
from .control_rewards import ConstantReward, LengthReward, OracleLikelihood, OracleRatio, RandomReward
from .discriminator_rewards import (
    LogitIncrement,
    LogRatio,
    PairVerdict,
    RelativeProbability,
    StandardisedLogit,
    TurnIncrement,
    WrittenVerdict,
)
from .feature_matching import FeatureMatching
from .logit_maps import DiscriminatorReward
from .metric_rewards import Bleu, MetricReward, Mixed
from .reward_functions import PluginReward

RewardSettings = Annotated[
    DiscriminatorReward
    | LogRatio
    | LogitIncrement
    | TurnIncrement
    | StandardisedLogit
    | RelativeProbability
    | FeatureMatching
    | PairVerdict
    | WrittenVerdict
    | Mixed
    | ClassLogprob
    | MetricReward
    | ConstantReward
    | RandomReward
    | LengthReward
    | Bleu
    | OracleRatio
    | OracleLikelihood
    | PluginReward,
    Field(discriminator="kind"),
]
