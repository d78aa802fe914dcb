"""What the generator learns by: which terms its loss has, and what goes into each (docs/algorithms.md §19).

The terms themselves are functions of `rlgan.policy.loss_terms`; the learner adds them in `rlgan.policy.learner_loss`.
Objectives of pairs are in `rlgan.policy.pair_objectives`, what all of them declare in `rlgan.policy.objective_base`.

    B sequences, T positions
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched
from rlgan.layers.relaxation import Relaxation
from rlgan.layers.relaxation_temperatures import FixedTemperature, TemperatureSettings, temperature_at

from .best_sequences import BestSequences
from .loss_terms import LossNormaliser, clipped_surrogate, clipped_tokens, implied_rewards, of_whole_sequences
from .objective_base import Objective
from .pair_objectives import Implicit, Preferences


class Reinforce(Objective):
    """REINFORCE: the weight of a token is its advantage divided by the normaliser."""

    kind: Literal["reinforce"] = "reinforce"
    loss_normaliser: Annotated[LossNormaliser, Choice(("sum", "sequence", "token", "fixed", "sequence_mean"))] = (
        "sequence"
    )
    """Divisor: sum 1 | sequence B | token Σ mask | fixed B·T | sequence_mean B times the length of each sequence.
    SeqGAN uses sum, ScratchGAN fixed, GRPO sequence_mean. TRL calls token dapo, sequence_mean grpo, fixed dr_grpo."""
    entropy_bonus: Annotated[float, Choice((0.0, 1e-3, 1e-2))] = Field(0.0, ge=0.0)
    """Weight of the entropy bonus, divided by the same normaliser."""
    reads_reward: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1


class PPO(Objective):
    """Proximal policy optimisation: several epochs per batch with a clipped ratio (Schulman et al. 2017)."""

    kind: Literal["ppo"] = "ppo"
    loss_normaliser: Annotated[LossNormaliser, Choice(("sum", "sequence", "token", "fixed", "sequence_mean"))] = "token"
    """As for `reinforce`."""
    entropy_bonus: Annotated[float, Choice((0.0, 1e-3, 1e-2))] = Field(0.0, ge=0.0)
    """As for `reinforce`."""
    clip_low: Annotated[float, Choice((0.1, 0.2))] = Field(0.2, gt=0.0, lt=1.0)
    """The ratio is clipped below 1 minus this value."""
    clip_high: Annotated[float, Choice((0.1, 0.2, 0.28))] = Field(0.2, gt=0.0)
    """The ratio is clipped above 1 plus this value (DAPO: 0.28)."""
    epochs: Annotated[int, Choice((1, 2, 4))] = Field(4, ge=1)
    """Number of passes over each batch of sequences."""
    minibatches: Annotated[int, Choice((1, 2, 4))] = Field(1, ge=1)
    """Optimiser steps per pass. With one pass of one step nothing is clipped, so it equals `reinforce`."""
    ratio: Annotated[Literal["token", "sequence"], NotSearched("part of a method's definition")] = "token"
    """Ratio that is clipped: of every token, or of the whole sequence, which is the product of those of its tokens
    (TextGAIL). A sequence then has the mean of its tokens' advantages."""
    reads_reward: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Something is clipped, and what is clipped as one is worth one thing."""
        credit = fields.credit
        if self.ratio == "sequence" and (
            "token" in credit.levels or credit.judges_prefixes or credit.num_continuations
        ):
            yield Problem(
                "ratio_of_parts",
                {"objective.ratio": self.ratio},
                f"clips whole sequences, but credit={credit.kind!r} gives tokens values of their own. Use credit "
                "terminal, or set it to token.",
            )
        if self.epochs == self.minibatches == 1:
            yield Problem(
                "nothing_is_clipped",
                {"objective.epochs": 1, "objective.minibatches": 1},
                (
                    "a single step starts at the sampling policy, where nothing is clipped. Raise one of them, or use "
                    "objective reinforce."
                ),
            )

    def terms(self, weights: Tensor, old_logprobs: Tensor) -> dict[str, Tensor]:
        """See `Objective.terms`: all of it in the clipped term."""
        return {"weights": torch.zeros_like(weights), "clipped_weights": weights, "old_logprobs": old_logprobs}

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> Tensor:
        """See `Objective.surrogate`."""
        if self.ratio == "sequence":
            logprobs, old_logprobs, weights = of_whole_sequences(logprobs, old_logprobs, weights)
        return clipped_surrogate(logprobs, old_logprobs, weights, self.clip_low, self.clip_high)

    def clipped(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[int, int]:
        """See `Objective.clipped`; of whole sequences where these are clipped."""
        if self.ratio == "sequence":
            logprobs, old_logprobs, weights = of_whole_sequences(logprobs, old_logprobs, weights)
        return clipped_tokens(logprobs, old_logprobs, weights, self.clip_low, self.clip_high)


class AugmentedLikelihood(Objective):
    """REINVENT: each drawn sequence has a target of its log-probability, and so have the best sequences so far.

        L = mean over drawn and replayed sequences of (log p_reference + σ·S - log p_θ)²,   σ = 1 / reference.weight

    S is the reward of the sequence. The gradient of a drawn sequence is that of `reinforce` with terminal credit, no
    baseline and the same `reference reward`, times 2σ. The target does not depend on θ, so that a sequence that an
    earlier generator drew can be learned from without a ratio.

    Source: Olivecrona et al. 2017, eq. 5; Blaschke et al. 2020 for the memory ("inception").
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a reward function of your own: preset reinvent")
    kind: Literal["augmented_likelihood"] = "augmented_likelihood"
    replay: int = Field(10, ge=0)
    """Number of remembered sequences that are learned from in each update, chosen at random."""
    memory: int = Field(100, ge=1)
    """Number of different sequences that are remembered: those with the largest rewards."""
    reads_reward: ClassVar[bool] = True
    has_targets: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    @property
    def num_replayed(self) -> int:
        """See `Objective.num_replayed`."""
        return self.replay

    @property
    def num_remembered(self) -> int:
        """See `Objective.num_remembered`."""
        return self.memory if self.replay else 0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """A whole sequence has one reward, which nothing is taken off but the reference's log-ratio."""
        at = {"objective": self.kind}
        credit, forcing = fields.credit, fields.schedule.teacher_forcing
        if "sequence" not in credit.levels or credit.num_continuations:
            yield Problem(
                "target_of_parts",
                at,
                f"gives each sequence one target, but credit={credit.kind!r} gives tokens values of their own. Use "
                "credit terminal.",
            )
        if fields.reference.place != "reward" or fields.reference.adapts:
            yield Problem(
                "target_without_reference",
                at,
                "adds the reward to the reference's log-probability, with a factor that stays the same. Use reference "
                "reward without a target.",
            )
        for axis, kind in (("baseline", fields.baseline.kind), ("normalisation", fields.normalisation.kind)):
            if kind != "none":
                yield Problem(
                    "target_of_advantages",
                    at,
                    f"needs the reward itself, but {axis}={kind!r} changes it. Use {axis} none.",
                )
        if forcing.prefix_length(0):
            yield Problem(
                "target_of_prefixes",
                {"schedule.teacher_forcing": forcing.kind},
                f"begins sequences like real ones, but objective={self.kind!r} needs whole sequences. Use mixed, "
                "interleaved, by_example or none.",
            )
        if self.replay and fields.task.gives_conditions:
            yield Problem(
                "replay_of_conditions",
                {"objective.replay": self.replay},
                f"compares sequences of different conditions, which task={fields.task.kind!r} has. Set it to 0.",
            )
        if self.replay and fields.generator.latent_width:
            yield Problem(
                "replay_of_latents",
                {"objective.replay": self.replay},
                f"would learn sequences without the latents that generator={fields.generator.kind!r} drew them with. "
                "Set it to 0.",
            )
        if self.replay and fields.discriminator is not None and "discriminator" in fields.reward.reads:
            yield Problem(
                "replay_of_old_verdicts",
                {"objective.replay": self.replay},
                f"would learn sequences with the rewards of an earlier discriminator, because reward="
                f"{fields.reward.kind!r} is of one that learns. Set it to 0.",
            )
        if self.replay > self.memory:
            yield Problem(
                "replay_above_memory",
                {"objective.replay": self.replay},
                f"is above objective.memory={self.memory}, so fewer would be replayed. Lower it, or raise "
                "objective.memory.",
            )

    def squares(self, sequences: BestSequences, batch: int) -> dict[str, Tensor]:
        """See `Objective.squares`."""
        return {
            "square_weights": torch.full(sequences.scores.shape, 1.0 / batch),
            "square_targets": sequences.targets,
            "square_mask": sequences.mask.float(),
        }


class GoalDirected(Objective):
    """LeakGAN: advantages teach the manager's goals, and the worker is rewarded for going where they point.

        L = - Σ A_s · Σ_t cos(f_s - f_t, g_t)  -  Σ r_s · log p_θ(y_s | goals)        each over the normaliser

    The first sum is over the goals t that are judged at s, c tokens later; A is what credit, baseline and normalisation
    made of the reward. The second is REINFORCE with the reward of the generator's own, see `GoalDistribution`. The
    first has no gradient in the worker, the second none in the manager.

    Source: Guo et al. 2018, eqs. 5 to 9, where A is the value itself.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a generator that sets goals: preset leakgan")
    kind: Literal["goal_directed"] = "goal_directed"
    loss_normaliser: LossNormaliser = "token"
    """As for `reinforce`."""
    reads_reward: ClassVar[bool] = True
    teaches_goals: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There are goals to teach."""
        if not fields.generator.sets_goals:
            yield Problem(
                "goals_of_none",
                {"objective": self.kind},
                f"teaches goals, but generator={fields.generator.kind!r} sets none. Use generator manager_worker, for "
                "tasks with conditions pair_manager_worker, or objective reinforce.",
            )

    def terms_of_goals(self, weights: Tensor, goal_rewards: Tensor) -> dict[str, Tensor]:
        """See `Objective.terms_of_goals`."""
        return {"weights": goal_rewards, "goal_weights": weights}


class WeightedLikelihood(Objective):
    """Expert iteration: several passes of likelihood over the drawn sequences, each weighted by its advantage.

    The first step is that of `reinforce`. Later ones do not ask which policy drew the tokens, so that with weights of
    q/p the generator moves towards argmin KL(q‖p_θ), however far that is (GCN, Lamprier et al. 2022).
    """

    not_searched: ClassVar[NotSearched] = NotSearched("only for weights that are not negative: preset gcn")
    kind: Literal["weighted_likelihood"] = "weighted_likelihood"
    loss_normaliser: LossNormaliser = "sequence"
    """As for `reinforce`."""
    epochs: int = Field(2, ge=1)
    """Number of passes over each batch of sequences."""
    minibatches: int = Field(2, ge=1)
    """Optimiser steps per pass."""
    reads_reward: ClassVar[bool] = True
    needs_positive: ClassVar[bool] = True
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is more than one step, and no sequence is to become less likely without end."""
        if self.epochs == self.minibatches == 1:
            yield Problem(
                "nothing_is_repeated",
                {"objective.epochs": 1, "objective.minibatches": 1},
                "with a single step this is objective reinforce. Raise one of them, or use objective reinforce.",
            )
        reward, baseline, normalisation = fields.reward, fields.baseline, fields.normalisation
        may_be_negative = not reward.is_positive or baseline.subtracts or normalisation.centres
        if may_be_negative and not normalisation.gives_weights:
            yield Problem(
                "likelihood_below_zero",
                {"objective": self.kind},
                (
                    f"needs weights of at least 0, but reward={reward.kind!r} with baseline={baseline.kind!r} and "
                    f"normalisation={normalisation.kind!r} may be negative. Use reward probability, baseline none and "
                    "normalisation self_normalised, or objective ppo."
                ),
            )


class Gumbel(Objective):
    """No reward: the generator is trained through relaxed samples and the discriminator, by its own GAN loss (10).

    The form of the loss follows `adversary.loss`: see `rlgan.adversary.losses.Loss.of_generator`.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("makes reward, credit and baseline have no effect")
    kind: Literal["gumbel"] = "gumbel"
    straight_through: bool = False
    """Whether the discriminator and the next step of the generator see one-hot rows, with the gradient of the soft
    ones."""
    fakes: Literal["soft", "tokens"] = "soft"
    """Training data of the discriminator: the soft rows that it judges, as published (their softness alone reveals
    them as fake), or tokens drawn from the same distribution."""
    temperature: TemperatureSettings = FixedTemperature()
    """Temperature of the relaxation."""
    is_differentiated: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    @property
    def makes_soft_rows(self) -> bool:
        """As `fakes` says; straight-through rows are tokens already."""
        return self.fakes == "soft" and not self.straight_through

    @model_validator(mode="after")
    def _check(self) -> Gumbel:
        if self.straight_through and self.fakes != "soft":
            raise ConfigError(
                f"objective.fakes={self.fakes!r}: has no effect, because straight-through rows are already tokens. "
                "Set it to soft.",
                code="fakes_no_effect",
                fields={"objective.fakes": self.fakes},
            )
        return self

    def relaxation(self, update: int, num_updates: int) -> Relaxation:
        """See `Objective.relaxation`."""
        return Relaxation(temperature_at(self.temperature, update, num_updates), self.straight_through)


class Soft(Objective):
    """No reward and no tokens: the generator is trained through its soft rows of noise, by its own GAN loss (8.2).

    The form of the loss follows `adversary.loss`, as for `gumbel`.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a generator that draws no tokens")
    kind: Literal["soft"] = "soft"
    is_differentiated: ClassVar[bool] = True
    draws_tokens: ClassVar[bool] = False
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    @property
    def makes_soft_rows(self) -> bool:
        """Always."""
        return True


class InverseSoftQ(Objective):
    """No reward, no discriminator and nothing drawn: likelihood of real sequences, and a small implied reward.

        J = E_data[λ·r² - log π]        r_t = Q(s_t, a_t) - γ·v(s_{t+1}) = v_t + log π_t - γ·v_{t+1}

    with the logits as Q, v = logsumexp Q, and v = 0 behind the last token. λ = 0 is maximum likelihood. A constant
    added to all logits of a step changes r and not π, so it matters where logits begin.

    Source: Wulfmeier et al. 2024 (IQLearn), the offline form.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("makes reward, credit and baseline have no effect")
    kind: Literal["inverse_soft_q"] = "inverse_soft_q"
    weight: float = Field(0.1, ge=0.0)
    """Weight λ of the squared implied reward, beside the negative log-likelihood per token."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount factor γ."""
    learns_reals: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "token"
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Likelihood is learned here, from whole sequences, by a generator with logits."""
        forcing = fields.schedule.teacher_forcing
        if forcing.kind != "none":
            yield Problem(
                "likelihood_beside_likelihood",
                {"schedule.teacher_forcing": forcing.kind},
                f"objective={self.kind!r} already learns from real sequences, and draws none. Set it to none.",
            )

    def terms_of_reals(self, weights: Tensor) -> dict[str, Tensor]:
        """See `Objective.terms_of_reals`."""
        return {"weights": weights} | ({"residual_weights": self.weight * weights} if self.weight else {})

    def implied_rewards(self, logprobs: Tensor, state_values: Tensor, mask: Tensor) -> Tensor:
        """See `Objective.implied_rewards`."""
        return implied_rewards(logprobs, state_values, mask, self.gamma)


class NoPolicyGradient(Objective):
    """No reward is used; the generator is trained by teacher forcing only (the control `mle_continued`)."""

    not_searched: ClassVar[NotSearched] = NotSearched("the control mle_continued")
    kind: Literal["none"] = "none"
    epochs: int = Field(1, ge=1)
    """Passes over each batch of mixed or by-example teacher forcing, as in the run that this is the control of."""
    minibatches: int = Field(1, ge=1)
    """Optimiser steps per pass."""
    loss_normaliser: LossNormaliser = "sequence"
    """Divisor of the by-example loss, as in the run that this is the control of."""
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is teacher forcing to learn from, and what is said of its batches has an effect."""
        forcing = fields.schedule.teacher_forcing
        if not forcing.learns_likelihood:
            yield Problem(
                "nothing_is_learned",
                {"objective": self.kind},
                (
                    f"the generator would not be trained with schedule.teacher_forcing {forcing.kind}. Set an "
                    "objective, or mixed, interleaved or by_example teacher forcing."
                ),
            )
        if not forcing.in_the_same_update:
            for path, value in (("epochs", self.epochs), ("minibatches", self.minibatches)):
                if value != 1:
                    yield Problem(
                        "passes_over_nothing",
                        {f"objective.{path}": value},
                        "has no effect without mixed or by_example teacher forcing. Set it to 1.",
                    )
        if self.loss_normaliser != "sequence" and (forcing.takes_batches or not forcing.in_the_same_update):
            yield Problem(
                "divisor_of_nothing",
                {"objective.loss_normaliser": self.loss_normaliser},
                "with objective='none' has no effect without by_example teacher forcing. Set it to sequence.",
            )


ObjectiveSettings = Annotated[
    Reinforce
    | PPO
    | AugmentedLikelihood
    | GoalDirected
    | WeightedLikelihood
    | Gumbel
    | Soft
    | Implicit
    | Preferences
    | InverseSoftQ
    | NoPolicyGradient,
    Field(discriminator="kind"),
]
