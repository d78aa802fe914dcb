"""Where the sequences come from that the generator learns from: its own policy, a more cautious one, or a search.

Sequences of another policy π̂ than the one that learns, π, are weighed by w = π/π̂, so that what is learned is what the
sequences of π would teach:

    E_π̂[w · f] = E_π[f]        for every f, wherever π̂ > 0 where π > 0

Source: ColdGANs (Scialom et al. 2020). B sequences, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields, reads_density_ratio
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings
from rlgan.generators import Draw


class Behaviour(Settings):
    """What every behaviour policy declares."""

    searches: ClassVar[bool] = False
    """Whether sequences are found and not drawn: those of a group are the hypotheses of one beam search."""

    def cold(self, own: Draw) -> Draw | None:
        """The other distribution that sequences are drawn from, beside the policy's own; None where there is none.

        Args:
            own: of the policy that learns.
        """
        return None

    def is_cold(self, number: int, rng: torch.Generator) -> Tensor:
        """Which of so many sequences are drawn from it: (number,) bool."""
        return torch.zeros(number, dtype=torch.bool, device=rng.device)

    def weights(self, logprobs: Tensor, cold_logprobs: Tensor) -> Tensor:
        """Importance weights w = π/π̂, not clipped.

        Args:
            logprobs: (B,) nats of whole sequences, log π.
            cold_logprobs: (B,) nats likewise, of the other distribution; -inf where it never draws one.

        Returns:
            (B,) float32.
        """
        return torch.ones(logprobs.shape)

    def clipped(self, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Weights (B,) as they are learned with, and what there is to report of them."""
        return weights, {}


class OwnPolicy(Behaviour):
    """The policy that learns draws its own sequences."""

    kind: Literal["own"] = "own"


def _without_latents(kind: str, fields: Fields) -> Iterator[Problem]:
    """Sequences that the policy did not draw by itself have no latent that it would be known to have."""
    if fields.generator.latent_width:
        yield Problem(
            "behaviour_of_latents",
            {"schedule.behaviour": kind},
            f"does not draw the latent that generator={fields.generator.kind!r} needs for each sequence. Set "
            "it to own.",
        )


class ColdMixture(Behaviour):
    """Of each sequence a coin decides whether the policy draws it, or the same policy at a lower temperature.

        π̂ = ε·π + (1 - ε)·π_cold        w = π/π̂ = 1/(ε + (1 - ε)·π_cold/π)  ≤  1/ε

    Clipped to c, an estimate is off by E_π[|f|·(1 - c/w)⁺] at most, which is 0 for c ≥ 1/ε.

    Source: ColdGANs (Scialom et al. 2020). The constants are ours.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset coldgans")
    kind: Literal["cold_mixture"] = "cold_mixture"
    share: float = Field(0.5, gt=0.0, lt=1.0)
    """Share ε of sequences that the policy itself draws; the others are cold."""
    temperature: float = Field(0.5, gt=0.0)
    """Temperature of the cold policy; that of the policy that learns is `schedule.rollout_temperature`."""
    top_p: Annotated[float | None, NotSearched("part of a method's definition")] = Field(None, gt=0.0, lt=1.0)
    """Of the cold policy, probability that its most likely tokens have to have together; the others are left out.
    null leaves none out."""
    max_weight: float | None = Field(1.5, ge=1.0)
    """Maximum importance weight c; null does not clip."""

    def cold(self, own: Draw) -> Draw:
        """See `Behaviour.cold`."""
        return Draw(self.temperature, top_p=self.top_p)

    def is_cold(self, number: int, rng: torch.Generator) -> Tensor:
        """See `Behaviour.is_cold`."""
        return torch.rand(number, generator=rng, device=rng.device) >= self.share

    def weights(self, logprobs: Tensor, cold_logprobs: Tensor) -> Tensor:
        """See `Behaviour.weights`."""
        ratio = cold_logprobs.double() - logprobs.double()
        mixed = torch.logaddexp(torch.full_like(ratio, math.log(self.share)), math.log(1.0 - self.share) + ratio)
        return (-mixed).exp().float()

    def clipped(self, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        """See `Behaviour.clipped`."""
        used = weights if self.max_weight is None else weights.clamp_max(self.max_weight)
        return used, {
            "generator/behaviour_weight": float(weights.mean()),
            "generator/behaviour_weight_max": float(weights.max()),
            "generator/behaviour_clipped_share": float((used < weights).float().mean()),
        }

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Something is drawn to be rewarded, the other policy is another one, and nothing takes its samples for π's."""
        yield from _without_latents(self.kind, fields)
        at = {"schedule.behaviour": self.kind}
        own = fields.schedule.rollout_temperature
        if fields.schedule.adversarial_updates and not fields.objective.reads_reward:
            yield Problem(
                "behaviour_of_no_rollouts",
                at,
                "has no effect: no generated sequence is rewarded. Set it to own.",
            )
        if fields.objective.pairs_groups:
            yield Problem(
                "behaviour_of_pairs",
                at,
                f"weighs sequences by importance, but objective={fields.objective.kind!r} weighs pairs, all alike. Set "
                "it to own.",
            )
        if self.temperature > own or (self.temperature == own and self.top_p is None):
            yield Problem(
                "behaviour_is_not_cold",
                {"schedule.behaviour.temperature": self.temperature},
                f"must be below schedule.rollout_temperature={own:g}, that of the policy itself. Lower it, or set it "
                f"to {own:g} with schedule.behaviour.top_p.",
            )
        if self.max_weight is not None and self.max_weight >= 1.0 / self.share:
            yield Problem(
                "clip_above_all_weights",
                {"schedule.behaviour.max_weight": self.max_weight},
                f"has no effect: with schedule.behaviour.share={self.share:g} no weight is above {1 / self.share:g}. "
                "Lower it, or set it to null.",
            )
        if "log_ratios" in fields.baseline.needs or fields.baseline.reads_density_ratio:
            yield Problem(
                "behaviour_of_ratios",
                at,
                f"draws from another policy, but baseline={fields.baseline.kind!r} averages density ratios over "
                "sequences of the generator itself. Set it to own, or use baseline leave_one_out.",
            )
        is_shown = fields.schedule.d_fakes == "rollouts" and fields.schedule.d_steps
        loss = fields.adversary.loss
        if fields.discriminator is not None and is_shown and (loss.reads_policy or reads_density_ratio(fields)):
            reader = (
                f"adversary.loss={loss.kind!r} compares with the generator's own log-probabilities"
                if loss.reads_policy
                else f"reward={fields.reward.kind!r} and baseline={fields.baseline.kind!r} need log p_d/p_θ as logit"
            )
            yield Problem(
                "behaviour_shown_as_policy",
                {"schedule.d_fakes": fields.schedule.d_fakes},
                f"shows the discriminator cold sequences, but {reader}. Set it to fresh.",
            )
        if "features" in fields.reward.reads:
            yield Problem(
                "behaviour_of_matched_features",
                at,
                f"draws from another policy, but reward={fields.reward.kind!r} takes the mean of the generator's own "
                "sequences. Set it to own, or use another reward.",
            )


class Beams(Behaviour):
    """The sequences of a group are the likeliest under their condition that beams find, as many beams as sequences.

    They are no sample of anything, and are learned from by likelihood, where whoever judges them prefers them.

    Source: SelfGAN (Scialom et al. 2021), which also lets the discriminator judge the beams on their way.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset selfgan")
    kind: Literal["beams"] = "beams"
    searches: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Hypotheses differ by conditions and within a group, and nothing takes them for samples."""
        yield from _without_latents(self.kind, fields)
        at = {"schedule.behaviour": self.kind}
        schedule, objective = fields.schedule, fields.objective
        if not fields.task.gives_conditions:
            yield Problem(
                "beams_without_conditions",
                at,
                f"would find the same sequences in every update, because task={fields.task.kind!r} has no conditions. "
                "Set it to own.",
            )
        if schedule.adversarial_updates and not (objective.reads_reward and objective.needs_positive):
            yield Problem(
                "beams_are_no_samples",
                at,
                f"finds sequences that are not samples of the policy, but objective={objective.kind!r} needs "
                "samples. Use objective weighted_likelihood, or set it to own.",
            )
        if schedule.g_group is None:
            yield Problem(
                "beams_of_no_group",
                {"schedule.g_group": None},
                "schedule.behaviour='beams' finds as many sequences under a condition as a group has. Set it to 2 or "
                "more.",
            )
        if schedule.teacher_forcing.prefix_length(0):
            yield Problem(
                "beams_from_nothing",
                {"schedule.teacher_forcing": schedule.teacher_forcing.kind},
                "gives sequences their first tokens, but schedule.behaviour='beams' begins with none. Use mixed, "
                "interleaved or none.",
            )
        if fields.credit.num_continuations:
            yield Problem(
                "beams_continued",
                {"credit": fields.credit.kind},
                "continues prefixes, but with schedule.behaviour='beams' a hypothesis is ranked as a whole. Use credit "
                "terminal.",
            )


BehaviourSettings = Annotated[OwnPolicy | ColdMixture | Beams, Field(discriminator="kind")]
