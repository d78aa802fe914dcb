"""For what a run reads real sequences: one rule, by which they are drawn, and by which their number is foreseen."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Config


@dataclass(frozen=True, slots=True)
class RealsRead:
    """For what real sequences are read, beside likelihood and the rounds of a discriminator.

    Attributes:
        compared: each rollout is compared with the real sequence that begins as it does.
        shown_with_prompts: the discriminator sees the answers of a prompt together with the real one.
        guide: what is differentiated through a discriminator is compared with the real sequence that begins as it does.
    """

    compared: bool
    shown_with_prompts: bool
    guide: bool

    @property
    def beside_rollouts(self) -> bool:
        """Whether the real sequence goes along with each rollout that begins as it does."""
        return self.compared or self.shown_with_prompts


def reals_read(config: Config, has_conditions: bool) -> RealsRead:
    """For what a run of this configuration reads real sequences.

    Args:
        config: of the run.
        has_conditions: whether sequences of its task are given something.
    """
    reads = config.reward.reads
    compares = bool({"targets", "demonstrations", "features", "verdicts"} & reads) or (
        "texts" in reads and has_conditions
    )
    return RealsRead(
        compared=compares or config.objective.contrasts_reals,
        shown_with_prompts=config.discriminator is not None and config.adversary.shows_prompts,
        guide=config.adversary.loss.guides_beside_reals,
    )


def foreseen_reals(config: Config) -> int:
    """Sequences of a stream that a run reads after its start, if all rounds of its discriminator are made.

    Args:
        config: of the run, whose task has new real sequences each time.
    """
    schedule = config.schedule
    number = schedule.discriminator_rounds * _of_round(config, 0) if config.discriminator is not None else 0
    for iteration in range(schedule.adversarial_updates):
        number += schedule.g_steps * _of_update(config, iteration)
        if config.discriminator is not None:
            rounds = schedule.balance.most_rounds(iteration, schedule.d_steps)
            number += rounds * _of_round(
                config, iteration, draws_fakes=schedule.d_fakes == "fresh" or not schedule.d_steps
            )
    return number


def _of_update(config: Config, iteration: int) -> int:
    """Those of a generator update: learned by likelihood, compared with, begun with."""
    schedule, objective, read = config.schedule, config.objective, reals_read(config, config.task.gives_conditions)
    learned = schedule.teacher_forcing.num_learned(schedule.g_batch, schedule.mle_batch)
    begins = schedule.teacher_forcing.prefix_length(iteration) > 0
    if objective.is_differentiated:
        return learned + (schedule.g_batch if read.guide or begins else 0)
    if objective.reads_reward or objective.contrasts_reals:
        num_begun = -(-schedule.num_sampled // (schedule.g_group or 1))
        return learned + (num_begun if read.beside_rollouts or begins else 0)
    return learned + (schedule.g_batch if objective.learns_reals else 0)


def _of_round(config: Config, iteration: int, *, draws_fakes: bool = True) -> int:
    """Those of a round of the discriminator: shown to it, and what its fakes begin with."""
    schedule, adversary, read = config.schedule, config.adversary, reals_read(config, config.task.gives_conditions)
    shown = 0 if read.shown_with_prompts else adversary.sequences_per_round
    if not (draws_fakes and adversary.loss.reads_fakes):
        return shown
    copies = (schedule.g_group or 1) if read.shown_with_prompts else 1
    begins = schedule.teacher_forcing.prefix_length(iteration) > 0
    return shown + (-(-adversary.sequences_per_round // copies) if read.shown_with_prompts or begins else 0)
