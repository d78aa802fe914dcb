"""What the systems for images contribute to sequences: a latent, matched features, windows (docs/algorithms.md)."""

from __future__ import annotations

from rlgan.adversary.losses import CrossEntropy
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config
from rlgan.discriminators import CnnHighway, WindowCnn
from rlgan.envs.tasks import OracleTask, TaskSettings
from rlgan.generators import LSTM, ConditionalVAE, SequenceVAE
from rlgan.policy.advantage_scaling import RunningScale
from rlgan.policy.baselines import LeaveOneOut, PerStepMean
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.feature_matching import FeatureMatching
from rlgan.policy.logit_maps import SignedProbability
from rlgan.policy.objectives import Reinforce
from rlgan.policy.teacher_forcing import MixedTeacherForcing

from .controls import controls_of
from .named import shipped
from .sequences import seqgan


@shipped()
def vae_seqgan(task: TaskSettings | None = None) -> Config:
    """SeqGAN whose generator is a sequence VAE: ELBO with KL annealing, then the policy gradient of log p(y|z)."""
    base = seqgan(task)
    is_of_pairs = task is not None and task.gives_conditions
    sizes = {"embedding": 32, "hidden": 32, "latent": 16, "word_dropout": 0.3}
    return base.model_copy(
        update={
            "generator": ConditionalVAE(**sizes) if is_of_pairs else SequenceVAE(**sizes),
            "credit": Terminal(),
            "baseline": LeaveOneOut(),
            "objective": Reinforce(loss_normaliser="sequence"),
            # The ELBO beside the policy gradient: of rewards alone the encoder learns nothing, and falls behind.
            "schedule": base.schedule.model_copy(
                update={"g_batch": 256, "d_steps": 1, "teacher_forcing": MixedTeacherForcing(weight=0.3)}
            ),
            "optimizers": _gentle(base),
            "controls": tuple(one for one in base.controls if one != "oracle_ratio"),
        }
    )


@shipped()
def feature_matching(task: TaskSettings | None = None) -> Config:
    """SeqGAN's networks, rewarded for matching the discriminator's mean features (Salimans et al. 2016; CVAE-GAN)."""
    base = _of_sequences(task)
    return base.model_copy(
        update={
            "reward": FeatureMatching(),
            "credit": Terminal(),
            "baseline": LeaveOneOut(),
            # A product of features has no unit.
            "normalisation": RunningScale(decay=0.9),
            "schedule": base.schedule.model_copy(update={"g_batch": 256, "d_steps": 1}),
        }
    )


@shipped()
def window_gan(task: TaskSettings | None = None) -> Config:
    """A discriminator of windows of three tokens, the form of PatchGAN: each token is rewarded for its window."""
    base = _of_sequences(task)
    return base.model_copy(
        update={
            "discriminator": WindowCnn(),
            "adversary": AdversarySettings(batch=128, sequences_per_round=2_000, loss=CrossEntropy()),
            "reward": SignedProbability(),
            # What a token does to the windows behind it is soon over.
            "credit": RewardToGo(gamma=0.5),
            "baseline": PerStepMean(),
            "schedule": base.schedule.model_copy(update={"g_batch": 256, "d_steps": 1}),
        }
    )


def _of_sequences(task: TaskSettings | None) -> Config:
    """SeqGAN for sequences that are given nothing, whose networks both have to be."""
    base = seqgan()
    return base.model_copy(
        update={
            "task": task or OracleTask(),
            "generator": LSTM(embedding=32, hidden=32),
            "discriminator": CnnHighway(),
            "objective": Reinforce(loss_normaliser="sequence"),
            "optimizers": _gentle(base),
            "controls": controls_of(task),
        }
    )


def _gentle(base: Config) -> object:
    """Optimisers of whatever learns from rewards of whole batches at once."""
    generator = base.optimizers.generator.model_copy(update={"lr": 1e-3, "clip_norm": 1.0})
    return base.optimizers.model_copy(update={"generator": generator})
