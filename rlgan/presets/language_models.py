"""Presets of causal language models: those that somebody trained before, and new ones (docs/language-models.md)."""

from __future__ import annotations

from typing import Any

from rlgan.adversary.losses import BradleyTerry, CrossEntropy, LossSettings, Relativistic
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.verdict_losses import VerdictGradient
from rlgan.config.config import Config, Control, Optimizers, Workers
from rlgan.discriminators import Logistic, SequenceClassifier, VerdictWriter
from rlgan.discriminators.sequence_classifier.settings import GeneratorWeights
from rlgan.discriminators.verdict_writer import FreshCritic
from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.envs.tasks.transduction import Copy
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import CausalLM
from rlgan.layers.optimizers import Adam
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.advantage_scaling import BestOfGroup, GroupDeviation, NormalisationSettings, NoScaling, SelfNormalised
from rlgan.policy.baselines import BatchMean, GroupMean, NoBaseline, RunningMoments
from rlgan.policy.behaviour import Beams, ColdMixture
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import (
    PairVerdict,
    RelativeProbability,
    StandardisedLogit,
    TurnIncrement,
    WrittenVerdict,
)
from rlgan.policy.implicit_losses import Bernoulli, ImplicitLossSettings, PairLogistic
from rlgan.policy.kl_penalty import LossPenalty, NoReference
from rlgan.policy.logit_maps import Logit, LogProbability, Probability
from rlgan.policy.metric_rewards import Bleu, Mixed, ReferenceBleu, ReferenceMatch
from rlgan.policy.objectives import PPO, InverseSoftQ, ObjectiveSettings, Reinforce, WeightedLikelihood
from rlgan.policy.pair_objectives import Implicit, Preferences
from rlgan.policy.reward_functions import PluginReward
from rlgan.policy.rewards import RewardSettings
from rlgan.policy.teacher_forcing import TeacherForcingByExample
from rlgan.schedule.phases import Schedule

from .named import shipped

_COPYING = TransductionTask(vocab_size=10, max_length=5, rule=Copy(noise=0.1), num_train=5_000)
"""Where no data is named: what is written is what was read, but for noise."""
_BESIDE_A_JUDGE: tuple[Control, ...] = ("mle_continued", "frozen_discriminator")
"""What likelihood alone gains, and what a judge that does not keep up teaches. A control of constant_reward's kind is
trained again for the verdict's interval, which is a lot of a large model."""


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

    Without a reward it is BLEU with what the data has for the same prompt, or with any of the data; where the data has
    prompts alone, a reward must be given.
    """
    weights = None if task is None else task.language_model
    is_new = weights is None
    is_given = task is None or task.gives_conditions
    has_reals = task is None or task.has_real_sequences
    reward: RewardSettings = PluginReward(map=None)
    if has_reals:
        reward = ReferenceBleu(order=2) if is_given else Bleu()
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=reward,
        credit=Terminal(),
        baseline=GroupMean(),
        # The sample's deviation and 1e-4, as TRL has it.
        normalisation=GroupDeviation(bessel=True, epsilon=1e-4),
        # Two steps on each batch: of one alone nothing is clipped.
        objective=PPO(loss_normaliser="token", clip_low=0.2, clip_high=0.2, epochs=1, minibatches=2),
        # A new model knows nothing that a reward could find: it learns the data first.
        schedule=Schedule(
            mle_epochs=5 if is_new and has_reals else 0,
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
    return _beside_a_judge(task, {"rollout_temperature": 0.8}, controls=_BESIDE_A_JUDGE)


@shipped()
def textgail(task: TaskSettings | None = None) -> Config:
    """TextGAIL (Wu et al. 2020): demonstrations in each batch, a sequence-level ratio, running moments of rewards."""
    demonstrations = TeacherForcingByExample(fraction=0.25, advantage=2.0, decay_updates=100)
    return _beside_a_judge(
        task,
        {"g_batch": 128, "g_group": None, "teacher_forcing": demonstrations},
        adversary=AdversarySettings(loss=_of_two(task), batch=32, sequences_per_round=96),
        reward=RelativeProbability(),
        baseline=RunningMoments(),
        normalisation=NoScaling(),
        reference=NoReference(),
        objective=PPO(loss_normaliser="sequence", ratio="sequence", epochs=1, minibatches=16),
        controls=_BESIDE_A_JUDGE,
    )


@shipped()
def gcn(task: TaskSettings | None = None) -> Config:
    """Generative cooperative networks (Lamprier et al. 2022): likelihood of own answers, weighted by a judge."""
    return _likelihood_of_own_answers(task, {}, SelfNormalised(), controls=_BESIDE_A_JUDGE)


@shipped()
def selfgan(task: TaskSettings | None = None) -> Config:
    """SelfGAN (Scialom et al. 2021): likelihood of the hypothesis of a beam search that the judge likes best."""
    return _likelihood_of_own_answers(task, {"behaviour": Beams()}, BestOfGroup())


@shipped()
def coldgans(task: TaskSettings | None = None) -> Config:
    """ColdGANs (Scialom et al. 2020): half of the answers drawn cold, weighted by importance; fakes are replayed."""
    return _beside_a_judge(
        task,
        {"g_group": None, "d_fakes": "fresh", "behaviour": ColdMixture()},
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=64, buffer=256),
        reward=Probability(),
        baseline=BatchMean(),
        normalisation=NoScaling(),
        reference=NoReference(),
        objective=Reinforce(loss_normaliser="sequence"),
    )


@shipped()
def r_airl(task: TaskSettings | None = None) -> Config:
    """R-AIRL (Fanconi et al. 2025): a judge of tokens, which learns from changed demonstrations, too."""
    is_given = task is None or task.gives_conditions
    return _beside_a_judge(
        task,
        {"d_fakes": "fresh", "d_first": True},
        discriminator=SequenceClassifier(weights=GeneratorWeights(), granularity="token"),
        adversary=AdversarySettings(
            loss=CrossEntropy(label_smoothing=0.1, smooths="both"),
            batch=72,
            sequences_per_round=64,
            perturbed=2,
            reals="of_prompts" if is_given else "drawn",
        ),
        reward=StandardisedLogit(),
        credit=RewardToGo(gamma=0.9),
        baseline=NoBaseline(),
        normalisation=NoScaling(),
        reference=NoReference(),
    )


@shipped()
def pared(task: TaskSettings | None = None) -> Config:
    """PARED (2026): the judge is a logistic regression on readable features; the reward is its log-likelihood."""
    return _beside_a_judge(
        task,
        {"d_epochs": 4},
        discriminator=Logistic(),
        judge=Adam(lr=0.05),
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=64, buffer=512),
        reward=LogProbability(),
    )


@shipped()
def varl(task: TaskSettings | None = None) -> Config:
    """VARL (2026): a verifiable answer and a judge of human writing, normalised separately before they are added up."""
    return _beside_a_judge(
        task,
        {},
        adversary=AdversarySettings(loss=CrossEntropy(), batch=72, sequences_per_round=64, reals="of_prompts"),
        reward=Mixed(map=Logit(), metric=ReferenceMatch(), weight=0.5, normalise_terms=True),
        normalisation=NoScaling(),
    )


@shipped()
def dial(task: TaskSettings | None = None) -> Config:
    """The reward of DIAL (2025): what each turn of a dialogue adds to the log-odds of being real, at the turn's end."""
    return _beside_a_judge(
        task,
        {},
        discriminator=SequenceClassifier(weights=GeneratorWeights(), granularity="token"),
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=64),
        reward=TurnIncrement(),
        credit=RewardToGo(gamma=1.0),
    )


@shipped()
def dial_dpo(task: TaskSettings | None = None) -> Config:
    """DIAL's loop of preferences (2025): the answers that earn least are written again, ranked by the judge, DPO."""
    return _beside_a_judge(
        task,
        # An update is an iteration: of 64 prompts 16 pairs, learned in four steps. As many answers as gad before them.
        {"adversarial_updates": 20, "g_batch": 512, "discriminator_rounds": 6},
        every=5,
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=512),
        reward=Logit(),
        baseline=NoBaseline(),
        normalisation=NoScaling(),
        reference=NoReference(),
        objective=Preferences(loss=PairLogistic(scale=1.0), share=0.25, epochs=1, minibatches=4),
    )


@shipped()
def raro(task: TaskSettings | None = None) -> Config:
    """RARO (2025), its game in scores: which of two answers is the expert's, or a tie; half of the answers are old."""
    return _expert_or_generator(task, _of_two(task), PairVerdict())


@shipped()
def raro_verdict(task: TaskSettings | None = None) -> Config:
    """RARO (2025), with a written verdict: a language model reads both answers and writes first, second or tie."""
    is_new = task is None or task.language_model is None
    return _expert_or_generator(
        task,
        VerdictGradient(entropy=0.1 if is_new else 0.0),
        WrittenVerdict(),
        judge=Adam(lr=1e-3, clip_norm=1.0) if is_new else None,
        discriminator=VerdictWriter(weights=FreshCritic(width=128, layers=2) if is_new else GeneratorWeights()),
    )


def _expert_or_generator(
    task: TaskSettings | None, loss: LossSettings, reward: RewardSettings, judge: Adam | None = None, **axes: Any
) -> Config:
    """RARO's game, whoever judges: half of the answers beside the expert's are old; rewards as they are."""
    return _beside_a_judge(
        task,
        {},
        judge,
        adversary=AdversarySettings(loss=loss, batch=72, sequences_per_round=64, buffer=10_000, replay=0.5),
        reward=reward,
        normalisation=NoScaling(),
        # Without a division by lengths.
        objective=PPO(loss_normaliser="fixed", clip_low=0.2, clip_high=0.2, epochs=1, minibatches=2),
        **axes,
    )


def _of_two(task: TaskSettings | None) -> LossSettings:
    """A real sequence beside a fake: of the same prompt, where there are prompts."""
    return BradleyTerry() if task is None or task.gives_conditions else Relativistic()


def _likelihood_of_own_answers(
    task: TaskSettings | None, schedule: dict[str, Any], normalisation: NormalisationSettings, **axes: Any
) -> Config:
    """A judge's probability weighs the likelihood of the generator's own answers, within their prompt."""
    return _beside_a_judge(
        task,
        schedule,
        adversary=AdversarySettings(loss=CrossEntropy(), batch=64, sequences_per_round=64),
        reward=Probability(),
        baseline=NoBaseline(),
        normalisation=normalisation,
        reference=NoReference(),
        objective=WeightedLikelihood(loss_normaliser="sequence", epochs=2, minibatches=2),
        **axes,
    )


def _beside_a_judge(
    task: TaskSettings | None, schedule: dict[str, Any], judge: Adam | None = None, every: int = 20, **axes: Any
) -> Config:
    """GAD but for what is named: a judge that begins as the generator, and learns from the generator's own rollouts."""
    weights = None if task is None else task.language_model
    is_new = weights is None
    moving = Adam(lr=1e-4 if is_new else 1e-6, clip_norm=0.2)
    given: dict[str, Any] = {
        "discriminator": SequenceClassifier(weights=GeneratorWeights()),
        "adversary": AdversarySettings(loss=BradleyTerry(), batch=72, sequences_per_round=64),
        "reward": Logit(),
        "credit": Terminal(),
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
        schedule=Schedule(**(phases | schedule)),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3 if is_new else 2e-5, clip_norm=1.0), generator=moving, discriminator=judge or moving
        ),
        evaluation=EvaluationSettings(
            every=every, mle_every=1, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
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
    return _offline(
        task, Implicit(loss=loss, epochs=3, minibatches=16), {"adversarial_updates": 10, "g_batch": 512}, 5e-7, every=1
    )


@shipped()
def iqlearn(task: TaskSettings | None = None) -> Config:
    """IQLearn (Wulfmeier et al. 2024), offline: likelihood of demonstrations, whose logits are action values."""
    return _offline(task, InverseSoftQ(), {"adversarial_updates": 1_000, "g_batch": 16}, 2e-5, every=50)


def _offline(
    task: TaskSettings | None, objective: ObjectiveSettings, schedule: dict[str, Any], lr: float, every: int
) -> Config:
    """No discriminator and no reward after some likelihood; `lr` is of a model that somebody trained."""
    weights = None if task is None else task.language_model
    is_new = weights is None
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        baseline=NoBaseline(),
        objective=objective,
        schedule=Schedule(mle_epochs=5 if is_new else 1, mle_batch=16, discriminator_rounds=0, d_steps=0, **schedule),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3 if is_new else 2e-5, clip_norm=1.0),
            generator=Adam(lr=1e-4 if is_new else lr, clip_norm=1.0),
        ),
        evaluation=EvaluationSettings(
            every=every, mle_every=1, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
        ),
        workers=Workers(shard_sequences=64, chunk_rows=64),
    )
