"""Presets of causal language models: those that somebody trained before, and new ones (docs/language-models.md)."""

from __future__ import annotations

from typing import Any

from rlgan.adversary.losses import BradleyTerry, CrossEntropy, Relativistic
from rlgan.adversary.training import AdversarySettings
from rlgan.config.config import Config, Optimizers, Workers
from rlgan.discriminators import SequenceClassifier
from rlgan.discriminators.sequence_classifier.settings import GeneratorWeights
from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.envs.tasks.transduction import Copy
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import CausalLM
from rlgan.layers.optimizers import Adam
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.advantage_scaling import GroupDeviation, NoScaling, SelfNormalised
from rlgan.policy.baselines import GroupMean, NoBaseline, RunningMoments
from rlgan.policy.credit import Terminal
from rlgan.policy.implicit_losses import Bernoulli, ImplicitLossSettings, PairLogistic
from rlgan.policy.kl_penalty import LossPenalty, NoReference
from rlgan.policy.logit_maps import Logit, Probability
from rlgan.policy.objectives import PPO, Implicit, WeightedLikelihood
from rlgan.policy.rewards import Bleu, ConstantReward, ReferenceBleu, RelativeProbability
from rlgan.policy.teacher_forcing import TeacherForcingByExample
from rlgan.schedule.phases import Schedule

from .named import shipped

_COPYING = TransductionTask(vocab_size=10, max_length=5, rule=Copy(noise=0.1), num_train=5_000)
"""Where no data is named: what is written is what was read, but for noise."""


@shipped()
def sft(task: TaskSettings | None = None) -> Config:
    """Supervised fine-tuning: a causal language model learns completions, stopped early on validation."""
    weights = None if task is None else task.language_model
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        baseline=NoBaseline(),
        schedule=Schedule(
            mle_epochs=10, mle_patience=1, mle_batch=16, discriminator_rounds=0, adversarial_updates=0, d_steps=0
        ),
        # A trained model forgets by larger steps; a new one learns nothing by smaller ones.
        optimizers=Optimizers(mle=Adam(lr=1e-3 if weights is None else 2e-5, clip_norm=1.0)),
        evaluation=EvaluationSettings(
            mle_every=1,
            num_sequences=200,
            final_sequences=1_000,
            # What others are compared with is the best of these.
            temperatures=(1.0, 0.9, 0.8, 0.7, 0.5),
            encoders=(),
        ),
        workers=Workers(shard_sequences=64, chunk_rows=64),
    )


@shipped()
def grpo(task: TaskSettings | None = None) -> Config:
    """Group-relative policy optimisation of a causal language model by rewards of your own, with TRL's defaults.

    Without a reward it is BLEU with what the data has for the same prompt, or with any of the data.
    """
    weights = None if task is None else task.language_model
    is_new = weights is None
    is_given = task is None or task.gives_conditions
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=ReferenceBleu(order=2) if is_given else Bleu(),
        credit=Terminal(),
        baseline=GroupMean(),
        # The sample's deviation and 1e-4, as TRL has it.
        normalisation=GroupDeviation(bessel=True, epsilon=1e-4),
        # Two steps on each batch: of one alone nothing is clipped.
        objective=PPO(loss_normaliser="token", clip_low=0.2, clip_high=0.2, epochs=1, minibatches=2),
        # A new model knows nothing that a reward could find: it learns the data first.
        schedule=Schedule(
            mle_epochs=5 if is_new else 0,
            mle_batch=16,
            discriminator_rounds=0,
            adversarial_updates=200,
            d_steps=0,
            g_batch=64,
            g_group=8,
        ),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3, clip_norm=1.0), generator=Adam(lr=1e-4 if is_new else 1e-6, clip_norm=1.0)
        ),
        evaluation=EvaluationSettings(
            every=20, mle_every=5, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
        ),
        workers=Workers(shard_sequences=64, chunk_rows=64),
    )


@shipped()
def gad(task: TaskSettings | None = None) -> Config:
    """Generative adversarial distillation (Ye et al. 2025): a judge of the generator's own weights learns beside it."""
    return _beside_a_judge(task, {"rollout_temperature": 0.8})


@shipped()
def textgail(task: TaskSettings | None = None) -> Config:
    """TextGAIL (Wu et al. 2020): demonstrations in each batch, a sequence-level ratio, running moments of rewards."""
    is_given = task is None or task.gives_conditions
    demonstrations = TeacherForcingByExample(fraction=0.25, advantage=2.0, decay_updates=100)
    return _beside_a_judge(
        task,
        {"g_batch": 128, "g_group": None, "teacher_forcing": demonstrations},
        adversary=AdversarySettings(
            loss=BradleyTerry() if is_given else Relativistic(), batch=32, sequences_per_round=96
        ),
        reward=RelativeProbability(),
        baseline=RunningMoments(),
        normalisation=NoScaling(),
        reference=NoReference(),
        objective=PPO(loss_normaliser="sequence", ratio="sequence", epochs=1, minibatches=16),
    )


@shipped()
def gcn(task: TaskSettings | None = None) -> Config:
    """Generative cooperative networks (Lamprier et al. 2022): likelihood of own answers, weighted by a judge."""
    return _beside_a_judge(
        task,
        {},
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=64),
        reward=Probability(),
        baseline=NoBaseline(),
        normalisation=SelfNormalised(),
        reference=NoReference(),
        objective=WeightedLikelihood(loss_normaliser="sequence", epochs=2, minibatches=2),
    )


def _beside_a_judge(task: TaskSettings | None, schedule: dict[str, Any], **axes: Any) -> Config:
    """GAD but for what is named: a judge that begins as the generator, and learns from the generator's own rollouts."""
    weights = None if task is None else task.language_model
    is_new = weights is None
    moving = Adam(lr=1e-4 if is_new else 1e-6, clip_norm=0.2)
    given: dict[str, Any] = {
        "adversary": AdversarySettings(loss=BradleyTerry(), batch=72, sequences_per_round=64),
        "reward": Logit(),
        "baseline": GroupMean(),
        "normalisation": GroupDeviation(bessel=True),
        "reference": LossPenalty(weight=1e-3),
        # Two steps on each batch: of one alone, as published, nothing is clipped.
        "objective": PPO(loss_normaliser="token", clip_low=0.2, clip_high=0.2, epochs=1, minibatches=2),
    }
    phases: dict[str, Any] = {
        "mle_epochs": 5 if is_new else 1,
        "mle_batch": 16,
        "discriminator_rounds": 50,
        "adversarial_updates": 200,
        "g_batch": 64,
        "g_group": 8,
        "d_steps": 1,
        "d_epochs": 1,
        "d_fakes": "rollouts",
    }
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=SequenceClassifier(weights=GeneratorWeights()),
        credit=Terminal(),
        schedule=Schedule(**(phases | schedule)),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3 if is_new else 2e-5, clip_norm=1.0), generator=moving, discriminator=moving
        ),
        evaluation=EvaluationSettings(
            every=20, mle_every=1, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
        ),
        workers=Workers(shard_sequences=64, shard_fakes=64, chunk_rows=64),
        **(given | axes),
    )


@shipped()
def spin(task: TaskSettings | None = None) -> Config:
    """SPIN (Chen et al. 2024): demonstrations against the model's own answers, told apart by its own log-ratio."""
    return _self_play(task, PairLogistic())


@shipped()
def gsil(task: TaskSettings | None = None) -> Config:
    """GSIL (Xiao et al. 2024): the same as density-ratio estimation, here by logistic regression."""
    return _self_play(task, Bernoulli())


def _self_play(task: TaskSettings | None, loss: ImplicitLossSettings) -> Config:
    """Ten rounds against the generator of the round before, each of three passes over its pairs."""
    weights = None if task is None else task.language_model
    is_new = weights is None
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        baseline=NoBaseline(),
        objective=Implicit(loss=loss, epochs=3, minibatches=16),
        schedule=Schedule(
            mle_epochs=5 if is_new else 1,
            mle_batch=16,
            discriminator_rounds=0,
            adversarial_updates=10,
            g_batch=512,
            d_steps=0,
        ),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3 if is_new else 2e-5, clip_norm=1.0),
            generator=Adam(lr=1e-4 if is_new else 5e-7, clip_norm=1.0),
        ),
        evaluation=EvaluationSettings(
            every=1, mle_every=1, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
        ),
        workers=Workers(shard_sequences=64, chunk_rows=64),
    )
