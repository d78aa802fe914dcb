"""Presets of molecules, whose task, rewards, filter and metric are plug-ins of `rlgan.domains.molecules`.

docs/molecules.md has how to use them.
"""

from __future__ import annotations

from typing import Any

from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Control, Optimizers
from rlgan.discriminators import CnnHighway, PairCnn
from rlgan.envs.tasks import PluginTask, TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.extensions import source_of
from rlgan.generators import LSTM, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import GroupMean, LeaveOneOut, NoBaseline
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.kl_penalty import LossPenalty, RewardPenalty
from rlgan.policy.logit_maps import Probability
from rlgan.policy.objectives import PPO, AugmentedLikelihood, Reinforce
from rlgan.policy.reward_filters import RewardFilter
from rlgan.policy.reward_forms import WeightedFunction
from rlgan.policy.reward_functions import PluginReward
from rlgan.schedule.phases import Schedule

from .named import shipped


@shipped()
def molecule_mle(task: TaskSettings | None = None) -> Config:
    """An LSTM of SMILES by likelihood alone, like MOSES' CharRNN (Polykovskiy et al. 2020) but smaller."""
    return _of_molecules(
        task,
        discriminator=None,
        reward=ConstantReward(),
        schedule=Schedule(**_PRETRAINING, mle_patience=2, discriminator_rounds=0, adversarial_updates=0, d_steps=0),
        controls=(),
    )


@shipped()
def organ(task: TaskSettings | None = None) -> Config:
    """ORGAN (Guimaraes et al. 2017): half the discriminator's probability and half QED, repeats divided."""
    return _beside_a_judge(task, baseline=LeaveOneOut(), objective=Reinforce(loss_normaliser="sequence"))


@shipped()
def organ_grpo(task: TaskSettings | None = None) -> Config:
    """ORGAN's reward and discriminator, moved by GRPO without its two biases (Dr. GRPO)."""
    return _beside_a_judge(
        task,
        baseline=GroupMean(),
        normalisation=NoScaling(),
        reference=LossPenalty(weight=0.04),
        objective=PPO(loss_normaliser="fixed", epochs=1, minibatches=4),
    )


@shipped()
def reinvent(task: TaskSettings | None = None) -> Config:
    """REINVENT (Olivecrona et al. 2017; Blaschke et al. 2020): QED, its prior, a scaffold filter and a memory."""
    return _of_molecules(
        task,
        discriminator=None,
        reward=PluginReward(
            functions=(_function("qed"),),
            map=None,
            filter=RewardFilter(
                name="scaffold_buckets",
                options={"bucket_size": 25, "min_score": 0.4},
                digest=source_of("scaffold_buckets", "filter").digest,
            ),
        ),
        reference=RewardPenalty(weight=1 / 128),  # σ 128
        objective=AugmentedLikelihood(replay=0 if task is not None and task.gives_conditions else 10, memory=100),
        schedule=Schedule(**_PRETRAINING, discriminator_rounds=0, adversarial_updates=300, g_batch=64, d_steps=0),
        optimizers=Optimizers(mle=_LEARNING, generator=Adam(lr=1e-4)),
        controls=_CONTROLS,
    )


_PRETRAINING: dict[str, Any] = {"mle_epochs": 30, "mle_batch": 128}
_CONTROLS: tuple[Control, ...] = ("mle_continued", "constant_reward")
_LEARNING = Adam(lr=2e-3, clip_norm=5.0)


def _function(name: str, weight: float = 1.0) -> WeightedFunction:
    # Of what ships the name is all of the digest. With it rdkit is not needed here, and presets can be listed.
    return WeightedFunction(name=name, weight=weight, digest=source_of(name, "reward").digest)


def _beside_a_judge(task: TaskSettings | None, **axes: Any) -> Config:
    """ORGAN but for what is named; repeats are of finished sequences, so that there is no Monte Carlo search."""
    judge: dict[str, Any] = {"embedding": 32, "windows": (1, 2, 3, 4, 5, 6, 8, 10), "filters": (64,) * 8}
    return _of_molecules(
        task,
        discriminator=PairCnn(**judge) if task is not None and task.gives_conditions else CnnHighway(**judge),
        adversary=AdversarySettings(batch=64, sequences_per_round=256),
        reward=PluginReward(functions=(_function("qed", 0.5),), map=Probability(), map_weight=0.5, divide_repeats=True),
        schedule=Schedule(
            **_PRETRAINING,
            discriminator_rounds=20,
            adversarial_updates=300,
            g_batch=64,
            g_group=8,
            d_steps=1,
            d_epochs=1,
        ),
        optimizers=Optimizers(mle=_LEARNING, generator=Adam(lr=1e-4, clip_norm=5.0), discriminator=Adam(lr=1e-3)),
        controls=_CONTROLS,
        **axes,
    )


def _of_molecules(task: TaskSettings | None, **axes: Any) -> Config:
    """What all have in common: the network, its pretraining, the measures."""
    is_of_pairs = task is not None and task.gives_conditions
    given: dict[str, Any] = {"baseline": NoBaseline(), "optimizers": Optimizers(mle=_LEARNING)}
    return Config(
        task=task
        or PluginTask(
            name="molecules",
            options={"max_length": 48},
            digest=source_of("molecules", "task").digest,
            measured=("text",),  # as the task says when it is loaded, which needs rdkit
        ),
        generator=Seq2SeqLSTM() if is_of_pairs else LSTM(embedding=64, hidden=256, layers=2),
        credit=Terminal(),
        evaluation=EvaluationSettings(
            every=20,
            mle_every=5,
            num_sequences=1_000,
            final_sequences=5_000,
            temperatures=(1.0,),
            encoders=(),
            metrics=(OwnMetric(name="molecules"),),
        ),
        **(given | axes),
    )
