"""Of phases, batches and what a generator learns from: likelihood, objectives, passes, selection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlgan.adversary.losses import Relativistic
from rlgan.base.errors import nearest
from rlgan.envs.tasks import PairsTask, TextTask
from rlgan.envs.tasks.pieces import Words
from rlgan.generators import LatentConv
from rlgan.policy.kl_penalty import NoReference
from rlgan.policy.objectives import PPO, Differentiated, Gumbel, NoPolicyGradient, Soft
from rlgan.policy.rewards import JudgedReward, metric_of
from rlgan.policy.teacher_forcing import (
    MixedPrefix,
    MixedTeacherForcing,
    NoTeacherForcing,
    ScheduledSampling,
    TeacherForcingByExample,
)
from rlgan.sampling.unknown_words import no_words
from rlgan.schedule.model_selection import MEASURES, BestGenerator

from .common import is_certain, of_the_batch

if TYPE_CHECKING:
    from ..config import Config


def who_learns(config: Config) -> Iterator[str]:
    """A discriminator that there is, is trained and read, and none is asked where there is none."""
    reward, schedule = config.reward, config.schedule
    adversarial = schedule.adversarial_updates > 0
    pays_by_discriminator = isinstance(reward, JudgedReward)
    if config.has_adversary and not schedule.discriminator_rounds and not (adversarial and schedule.d_steps):
        yield (
            "discriminator: is never trained (schedule.discriminator_rounds=0 and schedule.d_steps or "
            "schedule.adversarial_updates=0). Set discriminator to none, or train it."
        )
    if not config.has_adversary and (schedule.discriminator_rounds or schedule.d_steps):
        yield (
            f"schedule.discriminator_rounds={schedule.discriminator_rounds}, schedule.d_steps={schedule.d_steps}: "
            "there is no discriminator to train. Set both to 0, or choose a discriminator."
        )
    if (wanted := schedule.discriminator_accuracy) is not None:
        if not schedule.discriminator_rounds:
            yield (
                f"schedule.discriminator_accuracy={wanted:g}: ends pretraining, and schedule.discriminator_rounds is 0."
                " Set it to null, or give it rounds."
            )
        if not config.adversary.loss.has_boundary:
            yield (
                f"schedule.discriminator_accuracy={wanted:g}: adversary.loss={config.adversary.loss.kind!r} has no "
                "boundary between reals and fakes. Set it to null, or use another loss."
            )
    if adversarial and pays_by_discriminator and not config.has_adversary:
        without = "constant" if (metric := metric_of(reward)) is None else metric.kind
        yield f"reward={reward.kind!r}: needs a discriminator, and discriminator is none. Use reward {without}."
    is_differentiated = isinstance(config.objective, Differentiated)
    if is_differentiated and not config.has_adversary:
        yield (
            f"objective={config.objective.kind!r}: is differentiated through the discriminator, and discriminator is "
            "none. Choose one."
        )
    if adversarial and not pays_by_discriminator and config.has_adversary and not is_differentiated:
        yield f"discriminator: has no effect with reward={reward.kind!r}. Set discriminator to none."


def what_is_differentiated(config: Config) -> Iterator[str]:
    """Objectives that go through the discriminator, or past it, read no reward."""
    schedule = config.schedule
    is_differentiated = isinstance(config.objective, Differentiated)
    if config.sampling != "batched" and config.objective.makes_soft_rows:
        yield (
            f"sampling={config.sampling!r}: has no effect with objective={config.objective.kind!r}, which makes soft "
            "rows and draws no tokens. Set sampling to batched."
        )
    if is_differentiated and isinstance(config.adversary.loss, Relativistic):
        yield (
            f"adversary.loss='relativistic': compares with reals, which objective={config.objective.kind!r} does not "
            "see. Use another loss."
        )
    if isinstance(config.objective, Gumbel) and isinstance(schedule.teacher_forcing, MixedPrefix):
        yield (
            "schedule.teacher_forcing='mixed_prefix': objective='gumbel' draws whole sequences. Use mixed, interleaved "
            "or none."
        )
    if is_differentiated and isinstance(schedule.teacher_forcing, TeacherForcingByExample):
        yield (
            "schedule.teacher_forcing='by_example': takes the place of sequences that are paid, and objective="
            f"{config.objective.kind!r} pays none. Use mixed, interleaved or none."
        )
    if isinstance(config.objective, NoPolicyGradient | Differentiated):
        axes = {"reward": "constant", "credit": "terminal", "baseline": "none"}
        axes |= {"normalisation": "none", "reference": "none"}
        used = {axis: getattr(config, axis).kind for axis in axes}
        if used != axes:
            idle = [f"{axis}={kind!r}" for axis, kind in used.items() if kind != axes[axis]]
            yield (
                f"objective={config.objective.kind!r}: {', '.join(idle)} would have no effect. Set "
                + ", ".join(f"{axis} {kind}" for axis, kind in axes.items())
                + "."
            )


def without_likelihood(config: Config) -> Iterator[str]:
    """A generator that draws no tokens knows no likelihood, and learns from none."""
    generator, objective = config.generator, config.objective
    if isinstance(objective, Soft) and not isinstance(generator, LatentConv):
        yield (
            f"objective='soft': is of a generator that draws no tokens, and generator={generator.kind!r} draws them. "
            "Use objective gumbel, or generator latent_conv."
        )
    if not isinstance(generator, LatentConv):
        return
    if not isinstance(objective, Soft):
        yield (
            f"generator='latent_conv': has no log-probabilities, which objective={objective.kind!r} learns by. Use "
            "objective soft."
        )
    forcing, evaluation = config.schedule.teacher_forcing, config.evaluation
    unfit: dict[str, tuple[object, object]] = {
        "schedule.mle_epochs": (config.schedule.mle_epochs, 0),
        "schedule.teacher_forcing": (forcing.kind, "none"),
        "controls": (list(config.controls), []),
    }
    for path, (value, only) in unfit.items():
        if value != only:
            yield f"{path}={value!r}: learns by likelihood, which generator='latent_conv' has not. Set it to {only}."
    # Its laws of the next token, whose collapse is told of, are one-hot from the beginning.
    idle: dict[str, tuple[object, object]] = {
        "evaluation.temperatures": (evaluation.temperatures, (1.0,)),
        "evaluation.collapse_share": (evaluation.collapse_share, None),
    }
    for path, (value, only) in idle.items():
        if value != only:
            yield (
                f"{path}={value!r}: has no effect on generator='latent_conv', which draws no tokens. Set it to "
                f"{'null' if only is None else only}."
            )


def what_likelihood_teaches(config: Config) -> Iterator[str]:
    """Teacher forcing, and what there is to learn by it alone."""
    schedule = config.schedule
    if not schedule.adversarial_updates and not isinstance(schedule.teacher_forcing, NoTeacherForcing):
        yield (
            f"schedule.teacher_forcing={schedule.teacher_forcing.kind!r}: has no effect with "
            "schedule.adversarial_updates=0. Set it to none."
        )
    learns_likelihood = not isinstance(schedule.teacher_forcing, NoTeacherForcing | MixedPrefix)
    if schedule.example_weights != "none" and not (learns_likelihood or schedule.mle_epochs):
        yield (
            f"schedule.example_weights={schedule.example_weights!r}: has no effect with schedule.mle_epochs=0 and "
            f"schedule.teacher_forcing={schedule.teacher_forcing.kind!r}. Set it to none, or learn by likelihood."
        )
    if schedule.mle_halve_from is not None and not schedule.mle_epochs:
        yield (
            f"schedule.mle_halve_from={schedule.mle_halve_from}: is of pretraining, and schedule.mle_epochs is 0. Set "
            "it to null, or give it epochs."
        )
    if isinstance(config.objective, NoPolicyGradient) and not learns_likelihood:
        yield (
            f"objective='none': with schedule.teacher_forcing {schedule.teacher_forcing.kind} nothing would be "
            "learned. Set an objective, or mixed, interleaved or by_example teacher forcing."
        )
    forcing = schedule.teacher_forcing
    if isinstance(forcing, TeacherForcingByExample) and not (schedule.num_real and schedule.num_sampled):
        yield (
            f"schedule.teacher_forcing.fraction={forcing.fraction:g}: of schedule.g_batch={schedule.g_batch} sequences "
            f"{schedule.num_real} would be real, and some must be and some not. Raise schedule.g_batch, or bring the "
            "fraction nearer to 0.5."
        )


def how_a_batch_is_learned(config: Config) -> Iterator[str]:
    """Passes over a batch, and the steps of a pass."""
    schedule = config.schedule
    if isinstance(config.objective, PPO) and config.objective.epochs == config.objective.minibatches == 1:
        yield (
            "objective.epochs=1, objective.minibatches=1: the first step is taken at the policy that sampled, where "
            "nothing is clipped. Raise one of them, or use objective reinforce."
        )
    forcing, objective = schedule.teacher_forcing, config.objective
    if isinstance(objective, NoPolicyGradient) and not forcing.in_the_same_update:
        for setting in ("epochs", "minibatches"):
            if (value := getattr(objective, setting)) != 1:
                yield (
                    f"objective.{setting}={value}: has no effect without mixed or by_example teacher forcing. Set it "
                    "to 1."
                )
    divisor = objective.loss_normaliser if isinstance(objective, NoPolicyGradient) else "sequence"
    if divisor != "sequence" and not isinstance(forcing, TeacherForcingByExample):
        yield (
            f"objective.loss_normaliser={divisor!r}: with objective='none' has no effect without by_example teacher "
            "forcing. Set it to sequence."
        )
    if isinstance(objective, PPO | NoPolicyGradient):
        batches = {of_the_batch(config, schedule.num_sampled): schedule.num_sampled}
        if isinstance(objective, NoPolicyGradient):
            batches = {}
        if isinstance(forcing, TeacherForcingByExample):
            batches[of_the_batch(config, schedule.num_real, "real")] = schedule.num_real
        if isinstance(forcing, MixedTeacherForcing):
            batches[f"schedule.mle_batch={schedule.mle_batch}"] = schedule.mle_batch
        for told, size in batches.items():
            if size % objective.minibatches:
                yield f"objective.minibatches={objective.minibatches}: does not divide {told}. Set it to a divisor."


def what_there_is_before(config: Config) -> Iterator[str]:
    """What pretraining, controls and the task's law are needed for."""
    schedule = config.schedule
    if not schedule.adversarial_updates and config.controls:
        yield (
            f"controls={list(config.controls)}: are controls of the adversarial phase, and "
            "schedule.adversarial_updates is 0. Set controls to []."
        )
    if not isinstance(config.reference, NoReference) and not schedule.mle_epochs:
        yield (
            f"reference={config.reference.kind!r}: stays near the generator that pretraining ended with, and "
            "schedule.mle_epochs is 0. Set it to none, or pretrain."
        )
    if isinstance(schedule.mle_inputs, ScheduledSampling) and not schedule.mle_epochs:
        yield "schedule.mle_inputs='scheduled_sampling': has no effect with schedule.mle_epochs=0. Set it to none."
    if "oracle_ratio" in config.controls and not config.task.knows_law:
        yield f"controls: oracle_ratio needs an exact law, which task={config.task.kind!r} has not. Leave it out."
    if "oracle_ratio" in config.controls and is_certain(config.task):
        yield (
            "controls: oracle_ratio pays infinitely little for a wrong token, for task.rule.noise is 0. Give it noise, "
            "or leave it out."
        )
    for name in () if isinstance(config.task, TextTask) else config.word_vectors:
        yield (
            f"{name}.pretrained='word_vectors': the tokens of task={config.task.kind!r} are no words. Set it to none, "
            "or train on a text by --data."
        )


def what_is_read_of_texts(config: Config) -> Iterator[str]:
    """Words can be put in the place of unknown ones where there are words on both sides."""
    task = config.task
    if not config.evaluation.replace_unknown:
        return
    if not isinstance(task, PairsTask):
        yield (
            f"evaluation.replace_unknown=True: takes words of a source, and task={task.kind!r} has none. Set it to "
            "false."
        )
    elif refusal := no_words(isinstance(task.source_tokens, Words), isinstance(task.target_tokens, Words)):
        yield f"evaluation.replace_unknown=True: {refusal}. Set it to false."


def who_is_selected(config: Config) -> Iterator[str]:
    """A generator is selected among those of an adversarial phase, by what can be measured of it on validation data."""
    selection, task = config.schedule.selection, config.task
    if not isinstance(selection, BestGenerator):
        return
    path = f"schedule.selection.measure={selection.measure!r}"
    own = [metric.figure for metric in config.evaluation.metrics]
    if selection.measure not in MEASURES and not any(one.has(selection.measure) for one in config.evaluation.metrics):
        allowed = [*MEASURES, *own]
        yield (
            f"{path}: choose one of {', '.join(allowed)}; a metric of your own is own_NAME, and stands in "
            f"evaluation.metrics.{nearest(selection.measure, allowed)}"
        )
    if not config.schedule.adversarial_updates:
        yield (
            "schedule.selection='best': is of the adversarial phase, and schedule.adversarial_updates is 0. Set it to "
            "none."
        )
    if selection.measure in ("valid_nll", "kl_sum") and isinstance(config.generator, LatentConv):
        yield f"{path}: is of likelihoods, which generator='latent_conv' has not. Use lm_rlm, on text."
    if selection.measure == "kl_sum" and not task.knows_law:
        fitting = "corpus_bleu, chrf" if isinstance(task, PairsTask) else "lm_rlm"
        yield f"{path}: needs an exact law, which task={task.kind!r} has not. Use {fitting} or valid_nll."
    if selection.measure == "kl_sum" and is_certain(task):
        yield (
            f"{path}: is infinite while one sample is wrong, for task.rule.noise is 0. Use valid_nll, or give it noise."
        )
    if selection.measure == "lm_rlm" and not isinstance(task, TextTask):
        yield f"{path}: is of language models of text, which task={task.kind!r} is not. Use valid_nll."
    if selection.measure in ("corpus_bleu", "chrf") and not isinstance(task, PairsTask):
        yield f"{path}: compares texts with references, which task={task.kind!r} has not. Use valid_nll."
