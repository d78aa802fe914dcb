"""Papers on sequences that answer to something: dialogue, translation, summarisation (specification 3, 5, 6, 7, 12)."""

from __future__ import annotations

from rlgan.adversary import AdversarySettings
from rlgan.baselines import (
    ConstantBaseline,
    ExponentialMean,
)
from rlgan.config import Config, Optimizers
from rlgan.credit import MonteCarlo, Prefix, Terminal
from rlgan.discriminators import InteractionCnn, PairCnn
from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.envs.tasks.transduction import Copy
from rlgan.evaluation import EvaluationSettings
from rlgan.generators import Seq2SeqLSTM
from rlgan.objectives import (
    InterleavedTeacherForcing,
    Reinforce,
    TeacherForcingByExample,
)
from rlgan.optimizers import SGD, Adadelta, Adam, RMSProp
from rlgan.rewards import NegLogComplement, Probability
from rlgan.schedule import Schedule

from .controls import controls_of

_COPYING = TransductionTask(vocab_size=10, max_length=5, rule=Copy(noise=0.0), num_train=5_000)
"""Where no data is named: what is written is what was read."""

_NOISY_COPYING = _COPYING.model_copy(update={"rule": Copy(noise=0.1)})
"""The same, but for noise: nothing is impossible, so that the control oracle_ratio has a logarithm to pay."""


def cgan_seq(task: TaskSettings | None = None) -> Config:
    """Conditional sequence GAN (Lee's formulation): mismatched pairs are negatives, too; prefixes are judged."""
    return Config(
        preset="cgan_seq",
        task=task or _COPYING,
        generator=Seq2SeqLSTM(),
        discriminator=PairCnn(embedding=64, windows=(1, 2, 3, 4), filters=(64, 64, 64, 64)),
        adversary=AdversarySettings(batch=64, sequences_per_round=640, mismatched=1.0),
        reward=Probability(),
        credit=Prefix(),
        baseline=ExponentialMean(decay=0.9),
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=20,
            discriminator_rounds=20,
            adversarial_updates=1_000,
            g_batch=64,
            d_steps=1,
            d_epochs=1,
            teacher_forcing=InterleavedTeacherForcing(num_updates=1),
        ),
        optimizers=Optimizers(mle=Adam(lr=1e-3, clip_norm=5.0), generator=Adam(lr=1e-4), discriminator=Adam(lr=1e-4)),
        evaluation=EvaluationSettings(every=50),
        controls=controls_of(task),
    )


def csgan_nmt(task: TaskSettings | None = None) -> Config:
    """CSGAN-NMT (Yang et al. 2018), RNNSearch side: Monte Carlo 20, reward D - 0.6, a discriminator held to 82 %."""
    windows = tuple(range(1, 50, 4))
    return Config(
        preset="csgan_nmt",
        task=task or _COPYING,
        generator=Seq2SeqLSTM(embedding=512, hidden=1_024),
        discriminator=PairCnn(embedding=512, windows=windows, filters=tuple(100 + 10 * window for window in windows)),
        adversary=AdversarySettings(batch=80, sequences_per_round=5_000, weight_clip=1.0),
        reward=Probability(),
        credit=MonteCarlo(num_rollouts=20),
        baseline=ConstantBaseline(value=0.6),
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=20,
            mle_patience=3,
            mle_batch=100,
            discriminator_rounds=50,
            discriminator_accuracy=0.82,
            adversarial_updates=10_000,
            g_batch=100,
            d_steps=1,
            d_epochs=1,
            teacher_forcing=InterleavedTeacherForcing(num_updates=1),
        ),
        optimizers=Optimizers(
            mle=Adam(lr=1e-3, clip_norm=5.0),
            generator=RMSProp(lr=1e-5, clip_norm=5.0),
            discriminator=RMSProp(lr=1e-4, clip_value=1.0),
        ),
        evaluation=EvaluationSettings(every=200),
        controls=controls_of(task),
    )


def adversarial_nmt(task: TaskSettings | None = None) -> Config:
    """Adversarial-NMT (Wu et al. 2017): a judge of alignment, half of each batch by likelihood and half by reward."""
    return Config(
        preset="adversarial_nmt",
        task=task or _NOISY_COPYING,
        generator=Seq2SeqLSTM(embedding=620, hidden=1_000),
        discriminator=InteractionCnn(embedding=620, embeddings="generator", channels=20, mlp_hidden=20),
        # A step on as many reals as fakes for each of the generator's.
        adversary=AdversarySettings(batch=160, sequences_per_round=80),
        reward=NegLogComplement(),
        credit=Terminal(),
        baseline=ExponentialMean(decay=0.9),
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=20,
            mle_patience=3,
            mle_batch=80,
            discriminator_rounds=500,
            adversarial_updates=10_000,
            g_batch=80,
            d_steps=1,
            d_epochs=1,
            teacher_forcing=TeacherForcingByExample(fraction=0.5),
        ),
        optimizers=Optimizers(
            mle=Adadelta(lr=1.0, rho=0.95, clip_norm=1.0),
            generator=SGD(lr=1e-3, clip_norm=1.0),
            discriminator=SGD(lr=1e-3, momentum=0.9, nesterov=True),
        ),
        evaluation=EvaluationSettings(every=200),
        controls=controls_of(task),
    )
