"""The presets of the first hour: small ones, maximum likelihood alone, and the controls of `quick` by themselves."""

from __future__ import annotations

from typing import Any

from rlgan.adversary.losses import PrefixCrossEntropy
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers, Workers
from rlgan.discriminators import CnnHighway, PairCnn
from rlgan.envs.tasks import OracleTask, TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LSTM, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.policy.baselines import ImportanceWeights, NoBaseline
from rlgan.policy.control_rewards import ConstantReward, OracleLikelihood
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.logit_maps import Ratio
from rlgan.policy.metric_rewards import Bleu
from rlgan.policy.objectives import Reinforce
from rlgan.policy.teacher_forcing import (
    MixedTeacherForcing,
    NoTeacherForcing,
    ScheduledSampling,
)
from rlgan.schedule.phases import Schedule

from .controls import control, controls_of
from .named import shipped
from .sequences import density_ratio, seqgan

SMALL_ORACLE = OracleTask(vocab_size=500, num_train=5_000, num_valid=1_000, num_test=2_000)
"""The task of the quick presets: large enough to over-fit, small enough for minutes on a laptop."""

SMALL_TEACHER = OracleTask(
    vocab_size=50,
    embedding=32,
    hidden=32,
    max_length=12,
    mode="stream",
    num_train=12_800,
    num_valid=128,
    num_test=2_000,
)
"""A teacher that can be sampled without end; a student of 8 units is too small for it."""

_SMALL_DISCRIMINATOR = CnnHighway(
    embedding=32, windows=(1, 2, 3, 4, 5, 6, 8, 10), filters=(32, 32, 32, 32, 32, 32, 32, 32)
)
_SMALL_EVALUATION = EvaluationSettings(
    every=10, mle_every=10, num_sequences=1_000, final_sequences=5_000, num_bleu=500, equal_trainings=2
)


@shipped(follows_data=True)
def quick(task: TaskSettings | None = None) -> Config:
    """The default: MaliGAN's weights beside maximum likelihood, the best found on both KL gaps in minutes."""
    is_of_pairs = task is not None and task.gives_conditions
    judge: dict[str, Any] = {"embedding": 32, "windows": (1, 2, 3, 4), "filters": (64, 64, 64, 64), "dropout": 0.5}
    return Config(
        task=task or SMALL_ORACLE,
        generator=Seq2SeqLSTM() if is_of_pairs else LSTM(embedding=32, hidden=32),
        # Small and much regularised: on 5,000 sequences a larger one learns them by heart, its held-out accuracy
        # falls to chance and its ratios leave a handful of sequences with all the weight.
        discriminator=PairCnn(**judge) if is_of_pairs else CnnHighway(**judge),
        adversary=AdversarySettings(batch=64, sequences_per_round=1_000),
        reward=Ratio(),
        credit=Terminal(),
        baseline=ImportanceWeights(),
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=60,
            mle_patience=3,
            discriminator_rounds=5,
            adversarial_updates=60,
            g_batch=256,
            d_steps=1,
            d_epochs=1,
            teacher_forcing=MixedTeacherForcing(weight=1.0),
        ),
        # Weight decay buys more than any adversary tried; start and controls have it too.
        optimizers=Optimizers(
            mle=Adam(lr=0.01, weight_decay=0.2, clip_norm=5.0),
            generator=Adam(lr=1e-3, weight_decay=0.2, clip_norm=5.0),
            discriminator=Adam(lr=3e-4),
        ),
        evaluation=_SMALL_EVALUATION,
        # Without a search behind each prefix a shard of the usual 16 is over before it is worth handing out.
        workers=Workers(shard_sequences=64),
        controls=controls_of(task),
    )


@shipped()
def quick_distill(task: TaskSettings | None = None) -> Config:
    """A student that is too small for its teacher, who can be sampled without end: where an adversary helped."""
    base = density_ratio(task or SMALL_TEACHER)
    return base.model_copy(
        update={
            "generator": base.generator if base.task.gives_conditions else LSTM(embedding=8, hidden=8),
            # Likelihood goes on where telling apart has nothing left to learn from.
            "adversary": AdversarySettings(batch=128, sequences_per_round=256, loss=PrefixCrossEntropy(likelihood=1.0)),
            "schedule": Schedule(
                mle_epochs=6,
                mle_batch=128,
                mle_halve_from=4,
                # A round is four steps, on as many reals as fakes.
                discriminator_rounds=100,
                adversarial_updates=150,
                g_batch=128,
                d_steps=1,
                d_epochs=1,
                g_rate_end=0.1,
                d_rate_end=0.1,
                teacher_forcing=MixedTeacherForcing(weight=0.3),
            ),
            "optimizers": Optimizers(
                mle=Adam(lr=0.01, clip_norm=5.0),
                generator=Adam(lr=5e-3, clip_norm=5.0),
                discriminator=Adam(lr=0.01, clip_norm=5.0),
            ),
            "evaluation": EvaluationSettings(every=50, mle_every=3, num_sequences=1_000, final_sequences=2_000),
            # Sequences are short and networks small: a shard is over before it is worth handing out.
            "workers": Workers(threads=1, shard_sequences=128),
        }
    )


@shipped("seqgan-quick", follows_data=True)
def seqgan_quick(task: TaskSettings | None = None) -> Config:
    """SeqGAN's recipe at a size that ends in under 2 minutes on 2 cores, whatever it shows."""
    full = seqgan(task or SMALL_ORACLE)
    return full.model_copy(
        update={
            "discriminator": full.discriminator if full.task.gives_conditions else _SMALL_DISCRIMINATOR,
            "adversary": AdversarySettings(batch=64, sequences_per_round=1_000),
            "credit": MonteCarlo(num_rollouts=8),
            "schedule": Schedule(
                mle_epochs=30, discriminator_rounds=5, adversarial_updates=20, g_steps=1, d_steps=2, d_epochs=2
            ),
            "evaluation": _SMALL_EVALUATION,
            "optimizers": full.optimizers.model_copy(update={"discriminator": Adam(lr=1e-3)}),
        }
    )


@shipped(follows_data=True)
def mle(task: TaskSettings | None = None) -> Config:
    """Maximum likelihood alone, stopped early on validation: what every adversarial run has to beat."""
    base = quick(task)
    return base.model_copy(
        update={
            "discriminator": None,
            "reward": ConstantReward(),
            "credit": Terminal(),
            "baseline": NoBaseline(),
            "schedule": Schedule(
                mle_epochs=120, mle_patience=5, discriminator_rounds=0, adversarial_updates=0, d_steps=0
            ),
            "controls": (),
        }
    )


@shipped(follows_data=True)
def mle_continued(task: TaskSettings | None = None) -> Config:
    """Control: the maximum-likelihood updates of `quick`'s adversarial phase, and no adversary."""
    return control(quick(task), "mle_continued")


@shipped(follows_data=True)
def constant_reward(task: TaskSettings | None = None) -> Config:
    """Control: `quick` with the reward 1 for everything, without a baseline (self-imitation)."""
    return control(quick(task), "constant_reward")


@shipped(follows_data=True)
def random_reward(task: TaskSettings | None = None) -> Config:
    """Control: `quick` with random rewards."""
    return control(quick(task), "random_reward")


@shipped()
def oracle_ratio(task: TaskSettings | None = None) -> Config:
    """Control: `quick` rewarded by the exact log-ratio, as by a perfect discriminator: the ceiling."""
    return control(quick(task), "oracle_ratio")


@shipped()
def oracle_likelihood(task: TaskSettings | None = None) -> Config:
    """Control: `quick` rewarded by the exact log-probability of its tokens: what chasing NLL_oracle alone comes to."""
    ceiling = oracle_ratio(task)
    schedule = ceiling.schedule.model_copy(update={"teacher_forcing": NoTeacherForcing()})
    return ceiling.model_copy(update={"reward": OracleLikelihood(), "schedule": schedule})


@shipped(follows_data=True)
def pg_bleu(task: TaskSettings | None = None) -> Config:
    """Control: policy gradient on BLEU-3 against 20 random training sequences, from `quick`'s start."""
    run = control(quick(task), "random_reward")
    schedule = run.schedule.model_copy(update={"teacher_forcing": NoTeacherForcing()})
    return run.model_copy(update={"reward": Bleu(), "schedule": schedule})


@shipped(follows_data=True)
def scheduled_sampling(task: TaskSettings | None = None) -> Config:
    """Control: maximum likelihood that reads more and more tokens of its own (Bengio et al. 2015)."""
    base = mle(task)
    schedule = base.schedule.model_copy(update={"mle_inputs": ScheduledSampling()})
    return base.model_copy(update={"schedule": schedule})
