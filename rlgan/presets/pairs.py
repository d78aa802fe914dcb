"""Papers on conditional sequences: dialogue, translation, summarisation (docs/algorithms.md §11 to §16)."""

from __future__ import annotations

from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import HierarchicalLSTM, InteractionCnn, PairCnn, TripleLSTM
from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.envs.tasks.transduction import Copy
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import Seq2SeqLSTM
from rlgan.layers.optimizers import SGD, Adadelta, Adam, RMSProp
from rlgan.policy.baselines import ConstantBaseline, CriticBaseline, ExponentialMean
from rlgan.policy.credit import CreditSettings, MonteCarlo, Prefix, Terminal
from rlgan.policy.logit_maps import NegLogComplement, Probability
from rlgan.policy.metric_rewards import Mixed, ReferenceBleu
from rlgan.policy.objectives import Reinforce
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, TeacherForcingByExample
from rlgan.sampling.beam_search import BeamsAndSamples
from rlgan.schedule.phases import Schedule

from .controls import controls_of
from .named import shipped

_COPYING = TransductionTask(vocab_size=10, max_length=5, rule=Copy(noise=0.1), num_train=5_000)
"""Where no data is named: what is written is what was read, but for noise, so that the distribution forbids nothing."""

_OF_DIALOGUE = CriticBaseline(reads="source", optimizer=Adam(lr=5e-4, clip_norm=5.0))
"""The baseline of the dialogue presets."""


@shipped()
def cgan_seq(task: TaskSettings | None = None) -> Config:
    """Conditional sequence GAN (Lee's formulation): mismatched pairs are negatives, too; prefixes are judged."""
    return Config(
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


@shipped()
def csgan_nmt(task: TaskSettings | None = None) -> Config:
    """CSGAN-NMT (Yang et al. 2018), RNNSearch side: Monte Carlo 20, reward D - 0.6, a discriminator held to 82 %."""
    windows = tuple(range(1, 50, 4))
    return Config(
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


@shipped()
def adversarial_nmt(task: TaskSettings | None = None) -> Config:
    """Adversarial-NMT (Wu et al. 2017): a judge of alignment, half of each batch by likelihood and half by reward."""
    return Config(
        task=task or _COPYING,
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


@shipped()
def dialogue_reinforce(task: TaskSettings | None = None) -> Config:
    """Dialogue (Li et al. 2017): every token of a response is worth what D says of the whole response."""
    return _dialogue(task, Terminal())


@shipped()
def regs(task: TaskSettings | None = None) -> Config:
    """Dialogue (Li et al. 2017), reward for every generation step: D of 5 completions of each prefix."""
    return _dialogue(task, MonteCarlo(num_rollouts=5))


@shipped()
def regs_prefix(task: TaskSettings | None = None) -> Config:
    """Dialogue (Li et al. 2017), reward for every generation step: D of the prefix, learned from one a sequence."""
    return _dialogue(task, Prefix())


def _dialogue(task: TaskSettings | None, credit: CreditSettings) -> Config:
    return Config(
        task=task or _COPYING,
        generator=Seq2SeqLSTM(
            embedding=512,
            hidden=512,
            layers=2,
            attention="multiplicative",
            dropout=0.2,
            init_std=0.058,  # of the published U(-0.1, 0.1)
        ),
        discriminator=HierarchicalLSTM(embedding=512, hidden=512, dropout=0.2),
        adversary=AdversarySettings(batch=128, sequences_per_round=64, decoding=BeamsAndSamples()),
        reward=Probability(),
        credit=credit,
        baseline=_OF_DIALOGUE,
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=8,
            mle_halve_from=6,
            mle_batch=64,
            discriminator_rounds=500,
            adversarial_updates=5_000,
            g_steps=1,
            g_batch=64,
            d_steps=5,
            d_epochs=1,
            teacher_forcing=InterleavedTeacherForcing(num_updates=1),
        ),
        optimizers=Optimizers(
            mle=SGD(lr=1.0, clip_norm=5.0),
            # The policy gradient counts half: half the rate, and a clip that bounds the same step.
            generator=SGD(lr=0.5, clip_norm=10.0),
            discriminator=SGD(lr=0.01, clip_norm=5.0),
        ),
        evaluation=EvaluationSettings(every=200),
        controls=controls_of(task),
    )


@shipped()
def br_csgan(task: TaskSettings | None = None) -> Config:
    """BR-CSGAN (Yang et al. 2018), RNNSearch side: CSGAN-NMT rewarded by 0.7·(D - 0.6) + 0.3·BLEU; Monte Carlo 16."""
    weight, bias = 0.7, 0.6
    return csgan_nmt(task).model_copy(
        update={
            "reward": Mixed(map=Probability(), metric=ReferenceBleu(order=4), weight=weight),
            "credit": MonteCarlo(num_rollouts=16),
            # The bias is of D alone, and so is its share of the mix.
            "baseline": ConstantBaseline(value=weight * bias),
        }
    )


@shipped()
def atrnn_summary(task: TaskSettings | None = None) -> Config:
    """Adversarial summarisation: a writer with double attention, a triple RNN as its judge, the loop of CSGAN-NMT."""
    return csgan_nmt(task).model_copy(
        update={
            # A document is long, and additive attention holds (B, T, S, H) numbers.
            "generator": Seq2SeqLSTM(embedding=128, hidden=256, attention="multiplicative", self_attention=True),
            "discriminator": TripleLSTM(embedding=128, hidden=256, mlp_hidden=256),
        }
    )
