"""Objectives of pairs of sequences, by the generator's own log-ratios to the policy that drew them.

u(y) = log π(y | x) - log π_t(y | x)      π learns; π_t, which drew, stays as it was
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched

from .implicit_losses import ImplicitLossSettings, PairLogistic, PairLossSettings
from .loss_terms import LossNormaliser
from .objective_base import Objective


class Implicit(Objective):
    """No reward and no discriminator: real sequences against the generator's own, by its log-ratio to what drew them.

    A generator update draws `schedule.g_batch` sequences from the generator as it stands, the opponent π_t, and sets
    each against the real sequence of its condition, or where there are none against any. An update is an iteration of
    the papers (SPIN, GSIL): `schedule.g_batch` pairs are its data, `epochs` and `minibatches` the passes over them.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("makes reward, credit and baseline have no effect")
    kind: Literal["implicit"] = "implicit"
    loss: ImplicitLossSettings = PairLogistic()
    """Loss of the log-ratios of a pair."""
    epochs: int = Field(3, ge=1)
    """Number of passes over the pairs of an update."""
    minibatches: int = Field(1, ge=1)
    """Optimiser steps per pass."""
    contrasts_reals: ClassVar[bool] = True
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Both sequences of a pair are whole, and have likelihoods."""
        forcing = fields.schedule.teacher_forcing
        if forcing.prefix_length(0):
            yield Problem(
                "contrast_of_prefixes",
                {"schedule.teacher_forcing": forcing.kind},
                (
                    f"begins generated sequences like real ones, but objective={self.kind!r} sets whole sequences "
                    "against real ones. Use mixed, interleaved, by_example or none."
                ),
            )

    def pair_losses(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `Objective.pair_losses`."""
        return self.loss.of(real_ratios, fake_ratios)


class Preferences(Objective):
    """DPO on preferences of the reward: of the answers to one condition the best is preferred to the worst.

        L = mean over pairs of -log σ(β(u(y⁺) - u(y⁻)))      u(y) = log π(y | x) - log π_t(y | x)

    A generator update draws `schedule.g_batch` sequences from the generator as it stands, π_t. Of each group of
    `schedule.g_group` the sequence with the highest reward, y⁺, and the one with the lowest, y⁻, become a pair; of a
    group whose rewards are all equal, or in which fewer than two sequences have one, there is none. Rewards count by
    their order alone.

    Source: DIAL (2025), whose judge ranks new versions of the turns that earn least; Rafailov et al. 2023 for the loss.
    There the version that earned least is not known to be among those that are ranked; here it is one of the group.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs groups, and nothing taken off rewards: preset dial_dpo")
    kind: Literal["preferences"] = "preferences"
    loss: PairLossSettings = PairLogistic()
    """Loss of the log-ratios of a pair; `pair_logistic` is DPO."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the groups of an update that are learned from, rounded to whole groups: those whose first sequence earns
    least. The others are drawn, and shown to the discriminator, all the same."""
    epochs: int = Field(1, ge=1)
    """Number of passes over the pairs of an update."""
    minibatches: int = Field(2, ge=1)
    """Optimiser steps per pass."""
    reads_reward: ClassVar[bool] = True
    pairs_groups: ClassVar[bool] = True
    pair_names: ClassVar[tuple[str, str]] = ("chosen", "rejected")
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    def num_rows(self, num_sampled: int, group: int | None) -> int:
        """See `Objective.num_rows`: a pair of each group that is learned from."""
        return round(self.share * (num_sampled // (group or num_sampled)))

    def pair_losses(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `Objective.pair_losses`."""
        return self.loss.of(real_ratios, fake_ratios)

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Whole sequences of one group have rewards that differ as they are, and the order of steps matters."""
        yield from self._check_rewards(fields)
        yield from self._check_sequences(fields)
        yield from self._check_share(fields)
        if self.epochs == self.minibatches == 1:
            yield Problem(
                "preferences_in_one_step",
                {"objective.epochs": 1, "objective.minibatches": 1},
                "a single step starts at the sampling policy, where all losses of pairs have the same gradient up to a "
                "factor. Raise one of them.",
            )

    def _check_rewards(self, fields: Fields) -> Iterator[Problem]:
        """A sequence has one reward, of which only the order within its group counts."""
        at, credit = {"objective": self.kind}, fields.credit
        if "token" in credit.levels or credit.judges_prefixes or credit.num_continuations:
            yield Problem(
                "preferences_of_parts",
                at,
                f"prefers whole sequences, but credit={credit.kind!r} gives tokens values of their own. Use credit "
                "terminal.",
            )
        for axis, kind in (("baseline", fields.baseline.kind), ("normalisation", fields.normalisation.kind)):
            if kind != "none":
                yield Problem(
                    "preferences_of_advantages",
                    at,
                    f"reads which reward of a group is higher, so {axis}={kind!r} would have no effect on its pairs. "
                    f"Use {axis} none.",
                )
        if fields.reference.place == "loss":
            yield Problem(
                "preferences_beside_a_penalty",
                at,
                f"has a loss of pairs, but reference={fields.reference.kind!r} adds a term for every token that was "
                "drawn. Use reference none, or reward, which changes what is preferred.",
            )
        if fields.schedule.g_group is None:
            yield Problem(
                "preferences_of_no_group",
                {"schedule.g_group": None},
                f"objective={self.kind!r} prefers one sequence of a group to another. Set it to 2 or more.",
            )

    def _check_sequences(self, fields: Fields) -> Iterator[Problem]:
        """Both sequences of a pair are whole, drawn, and have likelihoods given the same."""
        schedule, generator = fields.schedule, fields.generator
        if schedule.teacher_forcing.prefix_length(0):
            yield Problem(
                "preferences_of_prefixes",
                {"schedule.teacher_forcing": schedule.teacher_forcing.kind},
                f"begins sequences like real ones, but objective={self.kind!r} prefers whole sequences. Use mixed, "
                "interleaved or none.",
            )
        if schedule.num_real:
            yield Problem(
                "preferences_beside_examples",
                {"schedule.teacher_forcing": schedule.teacher_forcing.kind},
                f"weighs a real sequence as a generated one, but objective={self.kind!r} weighs pairs. Use mixed, "
                "interleaved or none.",
            )
        if generator.latent_width:
            yield Problem(
                "preferences_of_latents",
                {"objective": self.kind},
                f"compares sequences that generator={generator.kind!r} drew with different latents. Use objective "
                "reinforce.",
            )

    def _check_share(self, fields: Fields) -> Iterator[Problem]:
        """Some groups are left out and some are not, by rewards that can be compared between them."""
        schedule, reward, loss = fields.schedule, fields.reward, fields.adversary.loss
        at = {"objective.share": self.share}
        group = schedule.g_group
        if self.share == 1.0 or group is None or schedule.num_sampled % group:
            return  # nothing is left out, or another rule says what is wrong
        number = schedule.num_sampled // group
        rows = self.num_rows(schedule.num_sampled, group)
        if rows in (0, number):
            yield Problem(
                "share_of_groups",
                at,
                f"rounds to {'none' if rows == 0 else 'all'} of the {number} groups of an update (schedule.g_batch="
                f"{schedule.g_batch}, schedule.g_group={group}). "
                + (
                    "Raise it, or schedule.g_batch."
                    if rows == 0
                    else "Set it to 1, lower it, or raise schedule.g_batch."
                ),
            )
        reads = fields.discriminator is not None and "discriminator" in reward.reads
        if reads and loss.within_prompts and not reward.is_relative:
            yield Problem(
                "share_across_prompts",
                at,
                f"compares answers to different prompts, but with adversary.loss={loss.kind!r} logits have an unknown "
                "constant for each prompt. Set it to 1, or use adversary.loss cross_entropy.",
            )
