"""Of phases and of what a generator learns from: likelihood, objectives, what there is before."""

from __future__ import annotations

from collections.abc import Iterator

from rlgan.base.declarations import Fields, of_the_batch
from rlgan.base.problems import UNSHOWN, Problem


def learners(fields: Fields) -> Iterator[Problem]:
    """A discriminator that there is, is trained and read, and none is asked where there is none."""
    reward, schedule, objective = fields.reward, fields.schedule, fields.objective
    is_adversarial = schedule.adversarial_updates > 0
    has_discriminator = fields.discriminator is not None
    reads_discriminator = "discriminator" in reward.reads
    if has_discriminator and not schedule.discriminator_rounds and not (is_adversarial and schedule.d_steps):
        yield Problem(
            "never_trained",
            {"discriminator": UNSHOWN},
            "is never trained (schedule.discriminator_rounds=0 and schedule.d_steps or schedule.adversarial_updates=0)."
            " Set discriminator to none, or train it.",
        )
    if not has_discriminator and (schedule.discriminator_rounds or schedule.d_steps):
        yield Problem(
            "none_to_train",
            {
                "schedule.discriminator_rounds": schedule.discriminator_rounds,
                "schedule.d_steps": schedule.d_steps,
            },
            "there is no discriminator to train. Set both to 0, or choose a discriminator.",
        )
    if (wanted := schedule.discriminator_accuracy) is not None:
        at = {"schedule.discriminator_accuracy": wanted}
        if not schedule.discriminator_rounds:
            yield Problem(
                "accuracy_of_no_rounds",
                at,
                (
                    "ends discriminator pretraining, but schedule.discriminator_rounds is 0. Set it to null, or set "
                    "schedule.discriminator_rounds."
                ),
            )
        if not fields.adversary.loss.has_boundary:
            yield Problem(
                "accuracy_without_boundary",
                at,
                (
                    f"adversary.loss={fields.adversary.loss.kind!r} has no decision boundary between reals and fakes. "
                    "Set it to null, or use another loss."
                ),
            )
    if is_adversarial and reads_discriminator and not has_discriminator:
        yield Problem(
            "reward_needs_discriminator",
            {"reward": reward.kind},
            f"needs a discriminator, but discriminator is none. Use reward {reward.without_discriminator}.",
        )
    if objective.is_differentiated and not has_discriminator:
        yield Problem(
            "objective_needs_discriminator",
            {"objective": objective.kind},
            "is differentiated through the discriminator, but discriminator is none. Choose one.",
        )
    if is_adversarial and not reads_discriminator and has_discriminator and not objective.is_differentiated:
        yield Problem(
            "discriminator_unread",
            {"discriminator": UNSHOWN},
            f"has no effect with reward={reward.kind!r}. Set discriminator to none.",
        )


def differentiated_objectives(fields: Fields) -> Iterator[Problem]:
    """Objectives that go through the discriminator, or past it, read no reward."""
    objective = fields.objective
    if fields.sampling != "batched" and objective.makes_soft_rows:
        yield Problem(
            "environment_of_no_tokens",
            {"sampling": fields.sampling},
            (
                f"has no effect with objective={objective.kind!r}, which draws no tokens (it uses soft rows). Set "
                "sampling to batched."
            ),
        )
    loss = fields.adversary.loss
    if objective.is_differentiated and loss.compares_classes and not loss.guides_beside_reals:
        yield Problem(
            "loss_compares_classes",
            {"adversary.loss": loss.kind},
            f"compares fakes with reals, but objective={objective.kind!r} sees only fakes. Use another loss.",
        )
    if objective.reads_reward:
        return
    axes = {
        "reward": "constant",
        "credit": "terminal",
        "baseline": "none",
        "normalisation": "none",
        "reference": "none",
    }
    used = {
        "reward": fields.reward.kind,
        "credit": fields.credit.kind,
        "baseline": fields.baseline.kind,
        "normalisation": fields.normalisation.kind,
        "reference": fields.reference.kind,
    }
    if used != axes:
        idle = [f"{axis}={kind!r}" for axis, kind in used.items() if kind != axes[axis]]
        yield Problem(
            "no_reward_is_read",
            {"objective": objective.kind},
            f"{', '.join(idle)} would have no effect. Set "
            + ", ".join(f"{axis} {kind}" for axis, kind in axes.items())
            + ".",
        )


def generators_without_likelihood(fields: Fields) -> Iterator[Problem]:
    """A generator that draws no tokens knows no likelihood, and learns from none."""
    generator, objective, evaluation = fields.generator, fields.objective, fields.evaluation
    if not objective.draws_tokens and generator.draws_tokens:
        yield Problem(
            "objective_of_no_tokens",
            {"objective": objective.kind},
            (
                f"needs a generator that draws no tokens, but generator={generator.kind!r} draws them. Use objective "
                "gumbel, or generator latent_conv."
            ),
        )
    if objective.relaxes and not generator.relaxes:
        yield Problem(
            "generator_gives_no_soft_rows",
            {"objective": objective.kind},
            (
                f"is differentiated through soft rows, but generator={generator.kind!r} does not provide them. Use "
                "objective reinforce."
            ),
        )
    if generator.learns_by_likelihood:
        return
    if objective.draws_tokens:
        yield Problem(
            "generator_without_likelihood",
            {"generator": generator.kind},
            f"has no log-probabilities, which objective={objective.kind!r} needs. Use objective soft.",
        )
    unfit: dict[str, tuple[object, object]] = {
        "schedule.mle_epochs": (fields.schedule.mle_epochs, 0),
        "schedule.teacher_forcing": (fields.schedule.teacher_forcing.kind, "none"),
        "controls": (list(fields.controls), []),
    }
    for path, (value, only) in unfit.items():
        if value != only:
            yield Problem(
                "learns_by_likelihood",
                {path: value},
                f"needs the likelihood, which generator={generator.kind!r} does not have. Set it to {only}.",
            )
    # Its distributions of the next token, whose collapse is reported, are one-hot from the beginning.
    idle: dict[str, tuple[object, object]] = {
        "evaluation.temperatures": (evaluation.temperatures, (1.0,)),
        "evaluation.collapse_share": (evaluation.collapse_share, None),
    }
    for path, (value, only) in idle.items():
        if value != only:
            yield Problem(
                "measured_of_drawn_tokens",
                {path: value},
                f"has no effect on generator={generator.kind!r}, which draws no tokens. Set it to "
                f"{'null' if only is None else only}.",
            )


def generators_with_latents(fields: Fields) -> Iterator[Problem]:
    """What needs the likelihood of a sequence whatever its latent, or mixes drawn tokens with given ones."""
    generator, schedule, reward = fields.generator, fields.schedule, fields.reward
    if not generator.latent_width:
        return
    which = f"generator={generator.kind!r}, whose sequences have a latent"
    if schedule.teacher_forcing.prefix_length(0):
        yield Problem(
            "latent_given_prefixes",
            {"schedule.teacher_forcing": schedule.teacher_forcing.kind},
            f"continues real prefixes, whose latent is not known; see {which}. Set it to mixed or interleaved.",
        )
    if fields.objective.contrasts_reals or fields.objective.learns_reals:
        yield Problem(
            "latent_contrasts",
            {"objective": fields.objective.kind},
            f"reads likelihoods of real sequences, of which only a bound is known with {which}. Use objective "
            "reinforce.",
        )
    if schedule.adversarial_updates and reward.reads_policy:
        yield Problem(
            "latent_reward_of_policy",
            {"reward": reward.kind},
            f"reads likelihoods of sequences, of which only a bound is known with {which}. Use another reward.",
        )
    if fields.discriminator is not None and fields.adversary.loss.reads_policy:
        yield Problem(
            "latent_loss_of_policy",
            {"adversary.loss": fields.adversary.loss.kind},
            f"reads likelihoods of sequences, of which only a bound is known with {which}. Use another loss.",
        )
    if "oracle_ratio" in fields.controls:
        yield Problem(
            "latent_control",
            {"controls": list(fields.controls)},
            f"oracle_ratio reads likelihoods of sequences, of which only a bound is known with {which}. Remove it.",
        )


def pretraining(fields: Fields) -> Iterator[Problem]:
    """What pretraining, controls and the known distribution of a task are needed for."""
    schedule, task = fields.schedule, fields.task
    if not schedule.adversarial_updates and fields.controls:
        yield Problem(
            "controls_of_no_phase",
            {"controls": list(fields.controls)},
            "are controls of the adversarial phase, but schedule.adversarial_updates is 0. Set controls to [].",
        )
    begins_trained = schedule.mle_epochs or fields.generator.begins_trained
    if fields.reference.place != "none" and not begins_trained:
        yield Problem(
            "reference_of_no_pretraining",
            {"reference": fields.reference.kind},
            (
                "penalises the distance to the generator at the start of adversarial training, but that is random, "
                "because schedule.mle_epochs is 0. Set it to none, set schedule.mle_epochs, or use a trained model."
            ),
        )
    if "oracle_ratio" in fields.controls and not task.knows_distribution:
        yield Problem(
            "control_needs_law",
            {"controls": UNSHOWN},
            f"oracle_ratio needs an exact distribution, which task={task.kind!r} does not have. Remove it.",
        )
    if "oracle_ratio" in fields.controls and task.is_certain:
        yield Problem(
            "control_is_infinite",
            {"controls": UNSHOWN},
            (
                "oracle_ratio would be minus infinity for a wrong token, because task.rule.noise is 0. Set "
                "task.rule.noise, or remove it."
            ),
        )
    for name in () if "text" in task.measures else fields.word_vectors:
        yield Problem(
            "tokens_are_no_words",
            {f"{name}.pretrained": "word_vectors"},
            f"the tokens of task={task.kind!r} are not words. Set it to none, or train on text with --data.",
        )


def passes_over_a_batch(fields: Fields) -> Iterator[Problem]:
    """Every batch of a pass has as many sequences in each step."""
    objective, schedule, forcing = fields.objective, fields.schedule, fields.schedule.teacher_forcing
    batches = {}
    if objective.reads_reward or objective.contrasts_reals:
        rows = objective.num_rows(schedule.num_sampled, schedule.g_group)
        of_what = f"the {rows} pairs of " if objective.pairs_groups else ""
        batches[of_what + of_the_batch(schedule, schedule.num_sampled)] = rows
    if forcing.in_the_same_update and not forcing.takes_batches:
        batches[of_the_batch(schedule, schedule.num_real, "real")] = schedule.num_real
    if forcing.in_the_same_update and forcing.takes_batches:
        batches[f"schedule.mle_batch={schedule.mle_batch}"] = schedule.mle_batch
    for which, size in batches.items():
        if size % objective.minibatches:
            yield Problem(
                "minibatches_do_not_divide",
                {"objective.minibatches": objective.minibatches},
                f"does not divide {which}. Set it to a divisor.",
            )
