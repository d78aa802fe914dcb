"""Who trains when, as data: a run is a row of iterations, and where it stands is a few integers.

An iteration is one row of the log: one epoch of maximum likelihood, one round of discriminator pretraining, or one
adversarial update with the discriminator rounds that follow it. A run may be checkpointed after each,
and within an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched
from rlgan.base.settings import FollowsData, OfTheStart, ReadIf, Settings
from rlgan.policy.behaviour import BehaviourSettings, OwnPolicy
from rlgan.policy.teacher_forcing import (
    NoTeacherForcing,
    PretrainingSettings,
    ReadsTheData,
    TeacherForcingSettings,
)

from .discriminator_balance import BalanceSettings, FixedBalance
from .example_weights import ExampleWeights
from .model_selection import NoSelection, SelectionSettings

Phase = Literal["mle", "discriminator", "adversarial"]


class Schedule(Settings):
    """Who trains when."""

    mle_epochs: Annotated[int, Choice((0, 5, 60)), OfTheStart(), FollowsData("schedule")] = Field(120, ge=0)
    """Maximum number of epochs of maximum-likelihood pretraining; 0 trains from scratch."""
    mle_patience: Annotated[
        int | None,
        NotSearched("the end of pretraining belongs to the start that all trials share"),
        OfTheStart(),
        ReadIf("pretraining"),
    ] = Field(None, ge=1)
    """Early stopping of pretraining: number of epochs without a better validation NLL, after which the weights of
    the best epoch are used; null runs all epochs and keeps the last weights."""
    mle_batch: Annotated[
        int,
        NotSearched("belongs to the start that all trials share, and to the control"),
        OfTheStart(),
        ReadIf("likelihood"),
        FollowsData("schedule"),
    ] = Field(64, ge=1)
    """Sequences per maximum-likelihood update, in pretraining and in interleaved and mixed teacher forcing."""
    mle_halve_from: Annotated[int | None, NotSearched("belongs to the start that all trials share"), OfTheStart()] = (
        Field(None, ge=1)
    )
    """First epoch of pretraining, counted from 1, at which the learning rate of `optimizers.mle` is halved; it is
    then halved in every epoch (dialogue: 6). null keeps it constant."""
    example_weights: Annotated[
        ExampleWeights, NotSearched("belongs to the start that all trials share, and to the control"), OfTheStart()
    ] = "none"
    """Weights of training sequences in maximum likelihood, in pretraining and in teacher forcing (except for the
    prefixes of mixed_prefix): none: equal | tf_idf: larger for sequences with rarer tokens, with mean 1
    (`rlgan.schedule.example_weights`)."""
    mle_inputs: Annotated[
        PretrainingSettings, NotSearched("belongs to the start that all trials share"), OfTheStart()
    ] = ReadsTheData()
    """Input tokens of maximum-likelihood pretraining."""
    discriminator_rounds: Annotated[int, Choice((0, 5, 20))] = Field(50, ge=0)
    """Maximum number of rounds of discriminator pretraining."""
    pretraining: Annotated[Literal["generator_first", "side_by_side"], NotSearched("part of a method's definition")] = (
        "generator_first"
    )
    """Order of pretraining: all epochs of maximum likelihood, then all rounds of the discriminator; or (side_by_side)
    rounds spread evenly over the epochs, each before the epoch that it belongs to, so that a round is the first and an
    epoch the last (LeakGAN)."""
    discriminator_accuracy: Annotated[
        float | None, NotSearched("stops the rounds that discriminator_rounds searches")
    ] = Field(None, gt=0.5, lt=1.0)
    """Validation accuracy at which discriminator pretraining ends early (CSGAN-NMT: 0.82); null runs all rounds. The
    accuracy is measured before the training of a round."""
    adversarial_updates: Annotated[int, NotSearched("the budget, which must be the same for all")] = Field(200, ge=0)
    """Number of adversarial iterations; each makes `g_steps` generator updates and then `d_steps` discriminator
    rounds."""
    g_steps: Annotated[int, Choice((1, 2, 5)), ReadIf("adversarial updates")] = Field(1, ge=1)
    """Generator updates per iteration."""
    g_batch: Annotated[int, Choice((64, 128, 256, 512, 1024)), ReadIf("adversarial updates")] = Field(64, ge=1)
    """Sequences per generator update, including those that are learned by example."""
    g_group: Annotated[
        int | None,
        NotSearched("larger groups give better comparisons"),
        ReadIf("adversarial updates"),
    ] = Field(None, ge=2)
    """Number of sequences that baselines and normalisations compare with each other; null compares the whole batch."""
    rollout_temperature: Annotated[float, NotSearched("part of a method's definition"), ReadIf("rollouts")] = Field(
        1.0, gt=0.0
    )
    """Temperature of the policy that learns: it divides the logits of whatever is drawn in training (rollouts, their
    continuations, fakes) and of all log-probabilities that a generator update reads (the policy's, the reference's,
    entropies). Maximum likelihood, evaluation and the kept generator are at 1."""
    behaviour: Annotated[
        BehaviourSettings, NotSearched("part of a method's definition"), ReadIf("adversarial updates")
    ] = OwnPolicy()
    """Source of the rollouts: the policy that learns; a mixture of it and a colder one, whose sequences are weighted by
    importance (ColdGANs); or a beam search, whose hypotheses make the groups (SelfGAN)."""
    d_steps: Annotated[int, Choice((1, 2, 5, 10)), ReadIf("rounds between updates")] = Field(5, ge=0)
    """Discriminator rounds per iteration, each with new fakes."""
    d_fakes: Annotated[
        Literal["fresh", "rollouts"], NotSearched("part of a method's definition"), ReadIf("rounds between updates")
    ] = "fresh"
    """Fakes of these rounds: fresh samples of the updated generator, or the rollouts of the generator update, which the
    discriminator scored before its own update (GAD). Pretraining always draws fresh ones."""
    d_first: Annotated[bool, NotSearched("part of a method's definition"), ReadIf("rounds between updates")] = False
    """Whether the rounds of an iteration come before its generator updates, so that rewards are of a discriminator that
    has just learned from the current generator (R-AIRL); false: after them."""
    d_epochs: Annotated[int, Choice((1, 2, 3)), ReadIf("discriminator")] = Field(3, ge=1)
    """Passes over reals and fakes per discriminator round, also in pretraining."""
    g_rate_end: Annotated[float, NotSearched("goes with the number of updates"), ReadIf("adversarial updates")] = Field(
        1.0, gt=0.0, le=1.0
    )
    """Factor of the learning rate of `optimizers.generator` in the last adversarial iteration: the rate falls to it by
    the same ratio in each iteration. 1 keeps the rate constant."""
    d_rate_end: Annotated[float, NotSearched("goes with the number of updates"), ReadIf("rounds between updates")] = (
        Field(1.0, gt=0.0, le=1.0)
    )
    """The same of `optimizers.discriminator`, in the rounds between generator updates; pretraining has the whole
    rate."""
    balance: BalanceSettings = FixedBalance()
    """How much the discriminator is trained relative to the generator."""
    teacher_forcing: TeacherForcingSettings = NoTeacherForcing()
    """Maximum-likelihood training during the adversarial phase."""
    selection: Annotated[SelectionSettings, NotSearched("all runs need the same model selection")] = NoSelection()
    """Selection of the generator that is kept from the adversarial phase, and early stopping of the phase."""

    @property
    def num_real(self) -> int:
        """Sequences of a generator update that are real, and learned by example."""
        return self.teacher_forcing.num_real(self.g_batch)

    @property
    def num_sampled(self) -> int:
        """Sequences of a generator update that the generator draws, and that are rewarded."""
        return self.g_batch - self.num_real

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Weights of examples, and a learning rate that is halved, are of likelihood."""
        if self.example_weights != "none" and not (self.teacher_forcing.learns_likelihood or self.mle_epochs):
            yield Problem(
                "weights_of_no_likelihood",
                {"schedule.example_weights": self.example_weights},
                (
                    "has no effect with schedule.mle_epochs=0 and "
                    f"schedule.teacher_forcing={self.teacher_forcing.kind!r}. Set it to none, or use "
                    "maximum-likelihood training."
                ),
            )
        if self.example_weights != "none" and fields.task.is_stream:
            yield Problem(
                "weights_of_a_stream",
                {"schedule.example_weights": self.example_weights},
                "needs a fixed training split, but task.mode='stream' draws new sequences each time. Set it to none, "
                "or set task.mode=fixed.",
            )
        if self.mle_halve_from is not None and not self.mle_epochs:
            yield Problem(
                "halving_of_no_pretraining",
                {"schedule.mle_halve_from": self.mle_halve_from},
                "applies to pretraining, but schedule.mle_epochs is 0. Set it to null, or set schedule.mle_epochs.",
            )

        if self.pretraining != "generator_first":
            yield from self._check_side_by_side(fields)
        if self.d_rate_end != 1.0 and not self.d_steps:
            yield Problem(
                "rate_of_no_rounds",
                {"schedule.d_rate_end": self.d_rate_end},
                "applies to rounds between generator updates, but schedule.d_steps is 0. Set it to 1, or set "
                "schedule.d_steps.",
            )
        if self.d_first and not self.d_steps:
            yield Problem(
                "order_of_no_rounds",
                {"schedule.d_first": self.d_first},
                "orders rounds between generator updates, but schedule.d_steps is 0. Set it to false, or set "
                "schedule.d_steps.",
            )
        has_rounds = fields.discriminator is not None and self.adversarial_updates and self.d_steps
        if self.d_first and self.d_fakes == "rollouts" and has_rounds:
            yield Problem(
                "rollouts_before_they_are_drawn",
                {"schedule.d_fakes": self.d_fakes},
                "are drawn and rewarded after the rounds, because schedule.d_first is true. Set it to fresh, or "
                "schedule.d_first to false.",
            )
        if self.d_fakes == "rollouts":
            yield from self._check_rollouts(fields)
        if self.rollout_temperature != 1.0:
            yield from self._check_temperature(fields)

    def _check_side_by_side(self, fields: Fields) -> Iterator[Problem]:
        """Both are pretrained, and neither begins with what the other has learned."""
        at = {"schedule.pretraining": self.pretraining}
        if not (self.mle_epochs and self.discriminator_rounds):
            which = "mle_epochs" if not self.mle_epochs else "discriminator_rounds"
            yield Problem(
                "side_by_side_with_none", at, f"has no effect with schedule.{which}=0. Set it to generator_first."
            )
        network = fields.discriminator
        if network is not None and (network.copies_embeddings or network.begins_as_generator):
            yield Problem(
                "side_by_side_with_copies",
                at,
                f"discriminator={network.kind!r} begins with weights of the pretrained generator, after which it "
                "cannot have been trained before. Set it to generator_first.",
            )

    def _check_temperature(self, fields: Fields) -> Iterator[Problem]:
        """Tokens are drawn at it, and nothing else is learned in the same steps."""
        at = {"schedule.rollout_temperature": self.rollout_temperature}
        if fields.objective.makes_soft_rows or not fields.generator.draws_tokens:
            which = (
                f"objective={fields.objective.kind!r} learns from soft rows"
                if fields.objective.makes_soft_rows
                else f"generator={fields.generator.kind!r} draws no tokens"
            )
            yield Problem("temperature_of_no_tokens", at, f"has no effect: {which}. Set it to 1.")
        has_fakes = fields.discriminator is not None and fields.adversary.loss.reads_fakes
        is_read = fields.discriminator is not None or self.adversarial_updates  # see `ReadIf`
        if is_read and not has_fakes and not (self.adversarial_updates and fields.objective.reads_reward):
            yield Problem("temperature_of_no_rollouts", at, "has no effect: nothing is drawn in training. Set it to 1.")
        forcing = self.teacher_forcing
        if self.adversarial_updates and (forcing.in_the_same_update or forcing.prefix_length(0)):
            yield Problem(
                "temperature_of_likelihood",
                at,
                f"schedule.teacher_forcing={forcing.kind!r} learns real tokens in the steps of the "
                "rollouts, and likelihood is at temperature 1. Set it to 1, or schedule.teacher_forcing to interleaved "
                "or none.",
            )
        if fields.discriminator is not None and fields.adversary.loss.reads_policy:
            yield Problem(
                "temperature_of_a_policy_read",
                at,
                f"adversary.loss={fields.adversary.loss.kind!r} compares with the generator's log-probabilities at "
                "temperature 1, and would judge fakes of another policy. Set it to 1, or use another loss.",
            )

    def _check_rollouts(self, fields: Fields) -> Iterator[Problem]:
        """The discriminator learns once from all rollouts of a unit."""
        at = {"schedule.d_fakes": self.d_fakes}
        if fields.discriminator is None or not (self.adversarial_updates and self.d_steps):
            return  # not read
        if not fields.objective.reads_reward:
            yield Problem(
                "no_rollouts_to_learn_from",
                at,
                f"with objective={fields.objective.kind!r} there are no rollouts. Set it to fresh.",
            )
        if not fields.adversary.loss.reads_fakes:
            yield Problem(
                "rollouts_are_unread",
                at,
                f"has no effect with adversary.loss={fields.adversary.loss.kind!r}, which uses no fakes. Set it to "
                "fresh.",
            )
        if self.g_steps != 1 or self.d_steps != 1:
            which = "g_steps" if self.g_steps != 1 else "d_steps"
            yield Problem(
                "rollouts_are_learned_once",
                {f"schedule.{which}": self.g_steps if which == "g_steps" else self.d_steps},
                "must be 1 with schedule.d_fakes='rollouts', where each round learns from the rollouts of one update. "
                "Set it to 1, or schedule.d_fakes to fresh.",
            )
        if fields.adversary.sequences_per_round != self.num_sampled:
            yield Problem(
                "rounds_of_rollouts",
                {"adversary.sequences_per_round": fields.adversary.sequences_per_round},
                "with schedule.d_fakes='rollouts' a round uses the rollouts of one update. Set it to their number, "
                f"{self.num_sampled}.",
            )

    def discriminator_is_next(self, position: Position) -> bool:
        """Whether a round of the discriminator comes before the next epoch, while both are pretrained."""
        done = position.discriminator_rounds * self.mle_epochs
        return self.pretraining == "side_by_side" and done < (position.mle_epochs + 1) * self.discriminator_rounds

    def mle_rate(self, epoch: int) -> float:
        """Factor of pretraining's learning rate in an epoch, counted from 0."""
        return 1.0 if self.mle_halve_from is None else 0.5 ** max(0, epoch + 2 - self.mle_halve_from)

    def g_rate(self, iteration: int) -> float:
        """Factor of the generator's learning rate in an adversarial iteration, counted from 0."""
        return self._falling(self.g_rate_end, iteration)

    def d_rate(self, iteration: int) -> float:
        """Factor of the discriminator's learning rate in the rounds of an adversarial iteration, counted from 0."""
        return self._falling(self.d_rate_end, iteration)

    def _falling(self, end: float, iteration: int) -> float:
        """end^(i / (n - 1)) in iteration i of n: 1 in the first, and `end` in the last."""
        last = self.adversarial_updates - 1
        return float(end ** (min(iteration, last) / last)) if last > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands.

    Attributes:
        mle_epochs: epochs of pretraining done.
        mle_batches: batches done of an epoch that was broken off; 0 where none was.
        mle_finished: whether pretraining is over, by count or by patience.
        discriminator_rounds: rounds of pretraining done.
        discriminator_finished: whether its accuracy has ended the discriminator's pretraining.
        adversarial_updates: adversarial iterations done.
        adversarial_finished: whether a generator was selected, which ends the adversarial phase by count or by
            patience.
    """

    mle_epochs: int = 0
    mle_batches: int = 0
    mle_finished: bool = False
    discriminator_rounds: int = 0
    discriminator_finished: bool = False
    adversarial_updates: int = 0
    adversarial_finished: bool = False

    @property
    def iterations(self) -> int:
        """Iterations done in all."""
        return self.mle_epochs + self.discriminator_rounds + self.adversarial_updates

    @property
    def order(self) -> tuple[int, int]:
        """Which of two positions of a run is further on."""
        return self.iterations, self.mle_batches

    def __str__(self) -> str:
        batches = f" and {self.mle_batches} batches of the next epoch" if self.mle_batches else ""
        return f"{self.iterations} iterations{batches}"


def num_iterations(schedule: Schedule, position: Position) -> int:
    """Iterations of the whole run as far as `position` can tell; early stopping makes it fewer."""
    mle = position.mle_epochs if position.mle_finished else schedule.mle_epochs
    has_ended = position.discriminator_finished
    rounds = position.discriminator_rounds if has_ended else schedule.discriminator_rounds
    updates = position.adversarial_updates if position.adversarial_finished else schedule.adversarial_updates
    return mle + rounds + updates
