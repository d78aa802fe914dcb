"""Controls: what stands beside a run, and the configuration of each for a given run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlgan.base.declarations import compares_sequences
from rlgan.base.errors import ConfigError
from rlgan.config.config import Config, Control
from rlgan.config.paths import from_dict, to_dict
from rlgan.config.reals import foreseen_reals
from rlgan.envs.tasks import TaskSettings
from rlgan.layers.optimizers import Adam
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import LeaveOneOut, NoBaseline, PerStepMean
from rlgan.policy.behaviour import OwnPolicy
from rlgan.policy.control_rewards import ConstantReward, LengthReward, OracleRatio, RandomReward
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.kl_penalty import NoReference
from rlgan.policy.objectives import NoPolicyGradient, Reinforce
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedTeacherForcing,
)
from rlgan.schedule.discriminator_balance import FixedBalance
from rlgan.schedule.phases import Schedule


def controls_of(task: TaskSettings | None) -> tuple[Control, ...]:
    """What stands beside an adversarial run.

    The ceiling only where the distribution is known and forbids nothing; likelihood of as many real sequences only
    where these are new each time.
    """
    has_oracle = task is None or (task.knows_distribution and not task.is_certain)
    everywhere: tuple[Control, ...] = ("mle_continued", "constant_reward")
    ceiling: tuple[Control, ...] = ("oracle_ratio",) if has_oracle else ()
    return controls_in_mode(everywhere + ceiling, task is not None and task.is_stream)


def control(config: Config, name: Control, num_reals: int | None = None) -> Config:
    """The control of a run: the same task, generator, pretraining and number of generator updates.

    * mle_continued: exactly the maximum-likelihood part of the run's adversarial phase, by the same optimiser. Where
      the run has none, or of prefixes alone, one maximum-likelihood update for each generator update, by the same
      optimiser. Where its objective learns from real sequences in another way, it reads as many in as many steps.
    * mle_equal_reals: the same in batches of another size, which together have at least as many real sequences as the
      run read after its start, whatever it read them for. Of tasks whose real sequences are new each time.
    * oracle_ratio: reward log p_oracle - log p_θ, reward-to-go, per-step baseline, plus 0.3 × maximum likelihood,
      Adam 2e-3: a ceiling should not fail for the run's own settings.
    * constant_reward: reward 1, no baseline, advantages on no other scale, the rest as the run; by objective reinforce
      where the run's learns nothing of equal rewards, or reads none.
    * random_reward: uniform rewards; the run's baseline, or leave-one-out where that is of logits, or where the run's
      reward compares groups itself and nothing else does; the rest as the run.
    * length_reward: log-odds of a sequence's length, fitted anew to each batch; the rest as random_reward.
    * frozen_discriminator: the run, whose discriminator learns nothing after its pretraining.
    * shuffled_discriminator: the run, whose logits are dealt out at random among sequences that are compared.

    Args:
        config: the run.
        name: which control.
        num_reals: real sequences that the run read after its start, for mle_equal_reals; None for as many as its
            settings foresee.

    Returns:
        Its configuration, without controls of its own; the last two have the run's discriminator, the others none.

    Raises:
        ConfigError: the run's generator has no likelihood, and draws no tokens that could be rewarded; or a control is
            of a discriminator that the run does not have, does not pretrain or is not rewarded by; or of new real
            sequences, and the task's are always the same.
    """
    if not config.generator.learns_by_likelihood:
        raise ConfigError(
            f"control {name!r}: needs a likelihood, which generator={config.generator.kind!r} does not have. Run "
            "preset mle on the same data, and compare the two runs.",
            code="control_without_likelihood",
            fields={"generator": config.generator.kind},
        )
    if name in ("frozen_discriminator", "shuffled_discriminator"):
        return _of_discriminator(config, name)
    schedule = config.schedule.model_copy(
        update={
            "discriminator_rounds": 0,
            "discriminator_accuracy": None,
            "d_steps": 0,
            "d_rate_end": 1.0,
            "d_first": False,
            "balance": FixedBalance(),
            "pretraining": "generator_first",
        }
    )
    changes: dict[str, object] = {
        "preset": name,
        "discriminator": None,
        "controls": (),
        "credit": Terminal(),
    }
    if name in ("mle_continued", "mle_equal_reals"):
        schedule = _in_as_many_steps(config, schedule)
    if name == "mle_equal_reals":
        schedule = _with_reals(config, schedule, foreseen_reals(config) if num_reals is None else num_reals)
    if name in ("mle_continued", "mle_equal_reals"):
        if not schedule.teacher_forcing.learns_likelihood:
            schedule = schedule.model_copy(update={"teacher_forcing": InterleavedTeacherForcing(num_updates=1)})
        schedule = schedule.model_copy(update=_OWN_DRAWS)  # nothing is drawn
        changes |= _NOTHING_COMPARED | {
            "reward": ConstantReward(),
            "reference": NoReference(),
            "objective": _as_many_steps(config.model_copy(update={"schedule": schedule})),
        }
    elif name == "oracle_ratio":
        schedule = schedule.model_copy(update=_OWN_DRAWS | {"teacher_forcing": MixedTeacherForcing(weight=0.3)})
        changes |= {
            "reward": OracleRatio(),
            "credit": RewardToGo(gamma=1.0),
            "baseline": PerStepMean(),
            "normalisation": NoScaling(),
            "reference": NoReference(),
            "objective": Reinforce(loss_normaliser="sequence"),
            "optimizers": config.optimizers.model_copy(update={"generator": Adam(lr=2e-3, clip_norm=5.0)}),
        }
    elif name == "constant_reward":
        changes |= _NOTHING_COMPARED | {"reward": ConstantReward()}
    else:
        # What a reward that compares takes off itself, a baseline must take off another.
        is_bare = config.reward.compares_groups and not (config.baseline.subtracts or config.normalisation.centres)
        # What has targets takes nothing off, and the order within a group needs nothing taken off.
        is_bare = is_bare and not (config.objective.has_targets or config.objective.pairs_groups)
        baseline = LeaveOneOut() if config.baseline.reads_density_ratio or is_bare else config.baseline
        changes |= {"reward": LengthReward() if name == "length_reward" else RandomReward(), "baseline": baseline}
    if name in ("constant_reward", "random_reward", "length_reward") and not config.objective.reads_reward:
        # What was differentiated through a discriminator, or was one itself, has none here.
        changes["objective"] = Reinforce(loss_normaliser="sequence")
    if name == "constant_reward" and config.objective.pairs_groups:
        # Of equal rewards none is preferred: it would learn nothing, and not imitate itself.
        changes["objective"] = Reinforce(loss_normaliser="sequence")
    if name in ("constant_reward", "length_reward") and config.normalisation.needs_positive:
        changes |= {
            "normalisation": NoScaling(),
            "baseline": NoBaseline() if name == "constant_reward" else LeaveOneOut(),
        }
    if name in ("constant_reward", "length_reward") and config.objective.needs_positive:
        # What takes rewards for weights is not for those that may be negative.
        changes["objective"] = Reinforce(loss_normaliser=config.objective.loss_normaliser)
    varied = config.model_copy(update=changes)
    if schedule.behaviour.searches and not varied.objective.needs_positive:
        schedule = schedule.model_copy(update={"behaviour": OwnPolicy()})  # what is found is no sample
    if not compares_sequences(varied):
        schedule = schedule.model_copy(update={"g_group": None})
    return from_dict(to_dict(varied.model_copy(update={"schedule": schedule})))


def controls_in_mode(controls: Sequence[Control], is_stream: bool) -> tuple[Control, ...]:
    """The same controls for tasks of a stream, or of a fixed set: `mle_equal_reals` is of streams alone."""
    kept: list[Control] = [name for name in controls if name != "mle_equal_reals"]
    if is_stream and "mle_continued" in kept:
        kept.insert(kept.index("mle_continued") + 1, "mle_equal_reals")
    return tuple(kept)


def _in_as_many_steps(config: Config, schedule: Schedule) -> Schedule:
    """Where the objective learns from real sequences: likelihood of as many in each of as many steps."""
    objective, forcing = config.objective, schedule.teacher_forcing
    if not (objective.contrasts_reals or objective.learns_reals):
        return schedule
    steps, read = objective.epochs * objective.minibatches, schedule.num_sampled
    beside = forcing.num_learned(schedule.g_batch, schedule.mle_batch)
    if forcing.in_the_same_update:
        read += beside
    batch = -(-read // objective.minibatches)
    if not forcing.in_the_same_update:  # in steps of their own
        steps += beside // schedule.mle_batch
        batch = max(batch, schedule.mle_batch if beside else 1)
    changed = {"teacher_forcing": InterleavedTeacherForcing(num_updates=steps), "mle_batch": batch}
    return schedule.model_copy(update=changed)


def _with_reals(config: Config, schedule: Schedule, number: int) -> Schedule:
    """With batches for likelihood that together have so many real sequences, in as many steps as the run makes."""
    if not config.task.is_stream:
        raise ConfigError(
            f"control 'mle_equal_reals': needs real sequences that are new each time, but task={config.task.kind!r} "
            "has the same training sequences throughout, and so has mle_continued. Set task.mode to stream, where the "
            "task has it, or use mle_continued.",
            code="control_of_a_stream",
            fields={"controls": "mle_equal_reals", "task": config.task.kind},
        )
    objective, forcing, least = config.objective, schedule.teacher_forcing, schedule.mle_batch
    if objective.contrasts_reals or objective.learns_reals:
        least = 1  # the run reads its real sequences several times
    elif not forcing.learns_likelihood:
        forcing = InterleavedTeacherForcing(num_updates=1)
    elif not forcing.takes_batches:  # examples, in the steps of the run
        forcing, least = InterleavedTeacherForcing(num_updates=objective.epochs * objective.minibatches), 1
    num_batches = schedule.adversarial_updates * schedule.g_steps * forcing.num_learned(schedule.g_batch, 1)
    batch = max(least, -(-number // max(1, num_batches)))
    if forcing.in_the_same_update:  # a batch is cut into minibatches
        parts = objective.minibatches
        batch = -(-batch // parts) * parts
    return schedule.model_copy(update={"teacher_forcing": forcing, "mle_batch": batch})


def _of_discriminator(config: Config, name: Control) -> Config:
    """The run itself, but for what its discriminator learns or tells."""
    network, schedule, adversary = config.discriminator, config.schedule, config.adversary
    reads = "discriminator" in config.reward.reads
    if network is None or not (reads or config.objective.is_differentiated):
        raise ConfigError(
            f"control {name!r}: needs a run that learns from a discriminator, but reward={config.reward.kind!r} reads "
            "none. Remove it from controls.",
            code="control_without_discriminator",
            fields={"controls": name, "reward": config.reward.kind},
        )
    if config.generator.prefix_features is not None:
        raise ConfigError(
            f"control {name!r}: pretrains a discriminator of its own, but generator={config.generator.kind!r} has "
            "learned to read the features of the run's. Remove it from controls, or use constant_reward.",
            code="control_of_leaked_features",
            fields={"controls": name, "generator": config.generator.kind},
        )
    if name == "frozen_discriminator":
        if not schedule.discriminator_rounds:
            raise ConfigError(
                f"control {name!r}: stops training after the pretraining of the discriminator, but "
                "schedule.discriminator_rounds=0. Set it, or remove the control.",
                code="control_of_untrained",
                fields={"controls": name, "schedule.discriminator_rounds": 0},
            )
        # Rounds of pretraining are balanced as the run's are; what is of later ones alone has nothing to balance.
        balance = schedule.balance if schedule.balance.acts_in_pretraining else FixedBalance()
        schedule = schedule.model_copy(update={"d_steps": 0, "d_rate_end": 1.0, "d_first": False, "balance": balance})
    else:
        if not config.objective.reads_reward:
            raise ConfigError(
                f"control {name!r}: shuffles rewards, but objective={config.objective.kind!r} reads none. Remove it "
                "from controls, or use frozen_discriminator.",
                code="control_without_rewards",
                fields={"controls": name, "objective": config.objective.kind},
            )
        adversary = adversary.model_copy(update={"verdicts": "shuffled"})
    changes = {"preset": name, "controls": (), "schedule": schedule, "adversary": adversary}
    return from_dict(to_dict(config.model_copy(update=changes)))


def trained_again(config: Config) -> Control | None:
    """The control of a run whose trainings differ by their seed as the run's would; None where it has none of its kind.

    Where the run learns by policy gradients, so must this one: trainings by likelihood alone differ several times less.
    """
    if not config.schedule.adversarial_updates:
        return None
    kinds: tuple[Control, ...] = ("constant_reward", "random_reward", "shuffled_discriminator")
    if not (config.objective.reads_reward or config.objective.is_differentiated):
        kinds = ("mle_continued",)
    return next((name for name in kinds if name in config.controls), None)


def _as_many_steps(config: Config) -> NoPolicyGradient:
    """No reward is learned from, in as many steps as the run makes of a batch, and over its normaliser."""
    objective, forcing = config.objective, config.schedule.teacher_forcing
    kept: dict[str, Any] = {}
    if objective.reads_reward and forcing.in_the_same_update:
        kept |= {"epochs": objective.epochs, "minibatches": objective.minibatches}
    if objective.reads_reward and config.schedule.num_real:
        kept |= {"loss_normaliser": objective.loss_normaliser}
    return NoPolicyGradient(**kept)


_NOTHING_COMPARED = {"baseline": NoBaseline(), "normalisation": NoScaling()}
_OWN_DRAWS = {"rollout_temperature": 1.0, "behaviour": OwnPolicy()}
