"""Configurations by name: the presets of the first hour, the controls, and those of `rlgan.papers`.

Each is a function that returns a point of the one space for a given task; the trainer never asks which one it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from rlgan.adversary.training import AdversarySettings
from rlgan.base.declarations import compares_sequences
from rlgan.base.errors import ConfigError, nearest
from rlgan.config.config import Config, Control, Optimizers, Workers
from rlgan.config.paths import from_dict, to_dict, told
from rlgan.discriminators import CnnHighway, PairCnn
from rlgan.envs.tasks import OracleTask, TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LSTM, LatentConv, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.policy.advantage_scaling import AsTheyAre
from rlgan.policy.baselines import ImportanceWeights, LeaveOneOut, LogPartition, NoBaseline, PerStepMean
from rlgan.policy.credit import MonteCarlo, RewardToGo, Terminal
from rlgan.policy.kl_penalty import NoReference
from rlgan.policy.logit_maps import Ratio
from rlgan.policy.objectives import PPO, Gumbel, NoPolicyGradient, Reinforce
from rlgan.policy.rewards import Bleu, ConstantReward, OracleLikelihood, OracleRatio, RandomReward
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedTeacherForcing,
    NoTeacherForcing,
    ScheduledSampling,
    TeacherForcingByExample,
)
from rlgan.schedule.discriminator_balance import FixedBalance
from rlgan.schedule.phases import Schedule

from .controls import controls_of
from .pairs import adversarial_nmt, atrnn_summary, br_csgan, cgan_seq, csgan_nmt, dialogue_reinforce, regs, regs_prefix
from .sequences import (
    bgan,
    bgan_rkl,
    gumbel,
    lm_ratio,
    maligan,
    maligan_full,
    mediator,
    scratchgan,
    seqgan,
    seqgan_grpo,
    seqgan_ppo,
    seqgan_prefix,
    seqgan_rloo,
    st_gumbel,
    wgan_gp,
    wgan_reinforce,
)

SMALL_ORACLE = OracleTask(vocab_size=500, num_train=5_000, num_valid=1_000, num_test=2_000)
"""The task of the quick presets: large enough to over-fit, small enough for minutes on a laptop."""

_SMALL_DISCRIMINATOR = CnnHighway(
    embedding=32, windows=(1, 2, 3, 4, 5, 6, 8, 10), filters=(32, 32, 32, 32, 32, 32, 32, 32)
)
_SMALL_EVALUATION = EvaluationSettings(
    every=10, mle_every=10, num_sequences=1_000, final_sequences=5_000, num_bleu=500, equal_trainings=2
)


def seqgan_quick(task: TaskSettings | None = None) -> Config:
    """SeqGAN's recipe at a size that ends in under 2 minutes on 2 cores, whatever it shows."""
    full = seqgan(task or SMALL_ORACLE)
    return full.model_copy(
        update={
            "preset": "seqgan-quick",
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


def quick(task: TaskSettings | None = None) -> Config:
    """The default: MaliGAN's weights beside maximum likelihood, the best found on both KL gaps in minutes."""
    is_of_pairs = task is not None and task.gives_conditions
    judge: dict[str, Any] = {"embedding": 32, "windows": (1, 2, 3, 4), "filters": (64, 64, 64, 64), "dropout": 0.5}
    return Config(
        preset="quick",
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


def mle(task: TaskSettings | None = None) -> Config:
    """Maximum likelihood alone, stopped early on validation: what every adversarial run has to beat."""
    base = quick(task)
    return base.model_copy(
        update={
            "preset": "mle",
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


def mle_continued(task: TaskSettings | None = None) -> Config:
    """Control: the maximum-likelihood updates of `quick`'s adversarial phase, and no adversary."""
    return control(quick(task), "mle_continued")


def constant_reward(task: TaskSettings | None = None) -> Config:
    """Control: `quick` paid 1 for everything, without a baseline (self-imitation)."""
    return control(quick(task), "constant_reward")


def random_reward(task: TaskSettings | None = None) -> Config:
    """Control: `quick` paid random numbers."""
    return control(quick(task), "random_reward")


def oracle_ratio(task: TaskSettings | None = None) -> Config:
    """Control: `quick` paid the exact log-ratio, what a perfect discriminator would pay: the ceiling."""
    return control(quick(task), "oracle_ratio")


def oracle_likelihood(task: TaskSettings | None = None) -> Config:
    """Control: `quick` paid the exact log-probability of its tokens: what chasing NLL_oracle alone comes to."""
    ceiling = oracle_ratio(task)
    schedule = ceiling.schedule.model_copy(update={"teacher_forcing": NoTeacherForcing()})
    return ceiling.model_copy(
        update={"preset": "oracle_likelihood", "reward": OracleLikelihood(), "schedule": schedule}
    )


def pg_bleu(task: TaskSettings | None = None) -> Config:
    """Control: policy gradient on BLEU-3 against 20 random training sequences, from `quick`'s start."""
    run = control(quick(task), "random_reward")
    schedule = run.schedule.model_copy(update={"teacher_forcing": NoTeacherForcing()})
    return run.model_copy(update={"preset": "pg_bleu", "reward": Bleu(), "schedule": schedule})


def scheduled_sampling(task: TaskSettings | None = None) -> Config:
    """Control: maximum likelihood that reads more and more tokens of its own (Bengio et al. 2015)."""
    base = mle(task)
    schedule = base.schedule.model_copy(update={"mle_inputs": ScheduledSampling()})
    return base.model_copy(update={"preset": "scheduled_sampling", "schedule": schedule})


def control(config: Config, name: Control) -> Config:
    """The control of a run: the same task, generator, pretraining and number of generator updates.

    * mle_continued: exactly the maximum-likelihood part of the run's adversarial phase, by the same optimiser. Where
      the run has none, or of prefixes alone, one maximum-likelihood update for each generator update, by the same
      optimiser.
    * oracle_ratio: reward log p_oracle - log p_θ, reward-to-go, per-step baseline, plus 0.3 × maximum likelihood,
      Adam 2e-3: a ceiling should not fail for the run's own settings.
    * constant_reward: reward 1, no baseline, advantages on no other scale, the rest as the run.
    * random_reward: uniform rewards; the run's baseline, or leave-one-out where that is of logits; the rest as the run.

    Args:
        config: the run.
        name: which control.

    Returns:
        Its configuration, without a discriminator and without controls of its own.

    Raises:
        ConfigError: the run's generator has no likelihood, and draws no tokens that could be paid.
    """
    if isinstance(config.generator, LatentConv):
        raise ConfigError(
            f"control {name!r}: generator={config.generator.kind!r} has no likelihood and draws no tokens. Run preset "
            "mle on the same data, and compare the two runs."
        )
    schedule = config.schedule.model_copy(
        update={"discriminator_rounds": 0, "discriminator_accuracy": None, "d_steps": 0, "balance": FixedBalance()}
    )
    changes: dict[str, object] = {
        "preset": name,
        "discriminator": None,
        "controls": (),
        "credit": Terminal(),
    }
    if name == "mle_continued":
        if not schedule.teacher_forcing.learns_likelihood:
            schedule = schedule.model_copy(update={"teacher_forcing": InterleavedTeacherForcing(num_updates=1)})
        changes |= _NOTHING_COMPARED | {
            "reward": ConstantReward(),
            "reference": NoReference(),
            "objective": _as_many_steps(config),
        }
    elif name == "oracle_ratio":
        schedule = schedule.model_copy(update={"teacher_forcing": MixedTeacherForcing(weight=0.3)})
        changes |= {
            "reward": OracleRatio(),
            "credit": RewardToGo(gamma=1.0),
            "baseline": PerStepMean(),
            "normalisation": AsTheyAre(),
            "reference": NoReference(),
            "objective": Reinforce(loss_normaliser="sequence"),
            "optimizers": config.optimizers.model_copy(update={"generator": Adam(lr=2e-3, clip_norm=5.0)}),
        }
    elif name == "constant_reward":
        changes |= _NOTHING_COMPARED | {"reward": ConstantReward()}
    else:
        of_logits = isinstance(config.baseline, ImportanceWeights | LogPartition)
        baseline = LeaveOneOut() if of_logits else config.baseline
        changes |= {"reward": RandomReward(), "baseline": baseline}
    if name in ("constant_reward", "random_reward") and isinstance(config.objective, Gumbel):
        # What was differentiated through a discriminator has no discriminator here.
        changes["objective"] = Reinforce(loss_normaliser="sequence")
    varied = config.model_copy(update=changes)
    if not compares_sequences(varied.baseline, varied.normalisation):
        schedule = schedule.model_copy(update={"g_group": None})
    return from_dict(to_dict(varied.model_copy(update={"schedule": schedule})))


def trained_again(config: Config) -> Control | None:
    """The control of a run whose trainings differ by their seed as the run's would; None where it has none of its kind.

    Where the run learns by policy gradients, so must this one: trainings by likelihood alone differ several times less.
    """
    if not config.schedule.adversarial_updates:
        return None
    kinds: tuple[Control, ...] = ("constant_reward", "random_reward")
    if isinstance(config.objective, NoPolicyGradient):
        kinds = ("mle_continued",)
    return next((name for name in kinds if name in config.controls), None)


def _as_many_steps(config: Config) -> NoPolicyGradient:
    """No reward is learned from, in as many steps as the run makes of a batch, and over its normaliser."""
    objective, forcing = config.objective, config.schedule.teacher_forcing
    kept: dict[str, Any] = {}
    if isinstance(objective, PPO) and forcing.in_the_same_update:
        kept |= {"epochs": objective.epochs, "minibatches": objective.minibatches}
    if isinstance(objective, Reinforce | PPO) and isinstance(forcing, TeacherForcingByExample):
        kept |= {"loss_normaliser": objective.loss_normaliser}
    return NoPolicyGradient(**kept)


_NOTHING_COMPARED = {"baseline": NoBaseline(), "normalisation": AsTheyAre()}


PRESETS: dict[str, Callable[[TaskSettings | None], Config]] = {
    "quick": quick,
    "seqgan": seqgan,
    "seqgan-quick": seqgan_quick,
    "seqgan_prefix": seqgan_prefix,
    "seqgan_rloo": seqgan_rloo,
    "seqgan_grpo": seqgan_grpo,
    "seqgan_ppo": seqgan_ppo,
    "maligan": maligan,
    "maligan_full": maligan_full,
    "bgan": bgan,
    "bgan_rkl": bgan_rkl,
    "scratchgan": scratchgan,
    "wgan_gp": wgan_gp,
    "cgan_seq": cgan_seq,
    "csgan_nmt": csgan_nmt,
    "adversarial_nmt": adversarial_nmt,
    "dialogue_reinforce": dialogue_reinforce,
    "regs": regs,
    "regs_prefix": regs_prefix,
    "br_csgan": br_csgan,
    "atrnn_summary": atrnn_summary,
    "lm_ratio": lm_ratio,
    "mediator": mediator,
    "wgan_reinforce": wgan_reinforce,
    "gumbel": gumbel,
    "st_gumbel": st_gumbel,
    "mle": mle,
    "mle_continued": mle_continued,
    "constant_reward": constant_reward,
    "random_reward": random_reward,
    "oracle_ratio": oracle_ratio,
    "oracle_likelihood": oracle_likelihood,
    "pg_bleu": pg_bleu,
    "scheduled_sampling": scheduled_sampling,
}
"""Name on the command line → function of the task."""


def preset(name: str, task: TaskSettings | None = None) -> Config:
    """A preset by name, for `task` or for its own default task.

    Raises:
        ConfigError: no such preset; names the known ones and the nearest.
    """
    canonical = {known.replace("-", "_"): known for known in PRESETS}
    known = canonical.get(name.replace("-", "_"))
    if known is None:
        raise ConfigError(f"preset {name!r}: not known.{nearest(name, PRESETS)} Presets are {', '.join(PRESETS)}.")
    try:
        config = PRESETS[known](task)
    except ValidationError as error:
        # A recipe that cannot be followed on this task: the same sentence as of any other contradiction.
        raise ConfigError(f"preset {known!r} is not for this task. {told(error)}") from None
    return from_dict(to_dict(config))
