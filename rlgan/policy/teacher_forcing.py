"""Learning by likelihood: what pretraining reads before each token, and teacher forcing beside generator updates.

Each form of teacher forcing says which rows it adds to a generator update, and which optimiser steps follow one. Which
training sequences those are is decided by whoever draws them (`RealRows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings
from rlgan.sampling.records import Experience


class PretrainingInputs(Settings):
    """What every choice of pretraining's inputs declares."""

    draws_tokens: ClassVar[bool] = False
    """Whether some of the input tokens are drawn by the generator itself."""

    def share_in(self, epoch: int) -> float:
        """Share of its own tokens in an epoch, counted from 0."""
        return 0.0


class ReadsTheData(PretrainingInputs):
    """In pretraining each token is predicted from the real tokens before it."""

    kind: Literal["none"] = "none"


class ScheduledSampling(PretrainingInputs):
    """In pretraining, input tokens are replaced by the generator's own tokens with increasing probability.

    Source: Bengio et al. 2015, with their linear schedule. It does not learn the distribution of the data (Huszár
    2015), so it is a control.
    """

    kind: Literal["scheduled_sampling"] = "scheduled_sampling"
    draws_tokens: ClassVar[bool] = True
    share: float = Field(0.5, gt=0.0, le=1.0)
    """Final fraction of its own tokens."""
    epochs: int = Field(30, ge=1)
    """Epochs over which this fraction rises from 0."""

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It is of pretraining."""
        if not fields.schedule.mle_epochs:
            yield Problem(
                "inputs_of_no_pretraining",
                {"schedule.mle_inputs": self.kind},
                "has no effect with schedule.mle_epochs=0. Set it to none.",
            )
        if fields.generator.latent_width:
            yield Problem(
                "inputs_of_latents",
                {"schedule.mle_inputs": self.kind},
                f"draws tokens after real ones, whose latent is unknown to generator={fields.generator.kind!r}. "
                "Set it to none.",
            )

    def share_in(self, epoch: int) -> float:
        """Share of its own tokens in an epoch, counted from 0."""
        return self.share * min(1.0, epoch / self.epochs)


PretrainingSettings = Annotated[ReadsTheData | ScheduledSampling, Field(discriminator="kind")]


class RealRows(Protocol):
    """Real sequences as a form of teacher forcing asks for them."""

    def batch(self, update: int, index: int) -> Experience:
        """A fresh batch beside a generator update, weighted for the mean over tokens; `index` tells several apart."""
        ...

    def beside(self, sampled: Experience | None, update: int, advantage: float) -> list[Experience]:
        """Generated sequences and real ones as one batch, in which a real one weighs as one with that advantage."""
        ...


class TeacherForcing(Settings):
    """What every form declares, and what it does in a generator update."""

    learns_likelihood: ClassVar[bool] = False
    """Whether it learns from whole real sequences."""
    takes_batches: ClassVar[bool] = False
    """Whether it needs `schedule.mle_batch` training sequences."""
    in_the_same_update: ClassVar[bool] = False
    """Whether its rows are learned in the same optimiser steps as the generated ones."""

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It is of generator updates."""
        if not fields.schedule.adversarial_updates:
            yield Problem(
                "forcing_of_no_updates",
                {"schedule.teacher_forcing": fields.schedule.teacher_forcing.kind},
                "has no effect with schedule.adversarial_updates=0. Set it to none.",
            )

    def num_real(self, batch: int) -> int:
        """Real sequences in the place of generated ones, of a generator update of so many sequences."""
        return 0

    def num_learned(self, batch: int, mle_batch: int) -> int:
        """Real sequences that are learned by likelihood beside a generator update.

        Args:
            batch: sequences of the update, `schedule.g_batch`.
            mle_batch: of a batch of real ones.
        """
        return self.num_real(batch)

    def prefix_length(self, iteration: int) -> int:
        """Tokens of real sequences that generated ones begin with in an adversarial iteration, counted from 0."""
        return 0

    def rows(self, sampled: list[Experience], real: RealRows, update: int) -> list[Experience]:
        """What is learned from in the optimiser steps of a generator update.

        Args:
            sampled: rows of the objective; one record or none.
            real: draws real sequences.
            update: counted from 0.

        Returns:
            These and the real ones, in order; empty where nothing is learned in such steps.
        """
        return sampled

    def steps(self, real: RealRows, update: int) -> list[Experience]:
        """What is learned from in optimiser steps of their own after a generator update, a batch each."""
        return []


class NoTeacherForcing(TeacherForcing):
    """No maximum-likelihood updates between the adversarial ones."""

    kind: Literal["none"] = "none"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Always right."""
        yield from ()


class InterleavedTeacherForcing(TeacherForcing):
    """Maximum-likelihood updates after each generator update, by the adversarial optimiser (Li et al. 2017)."""

    kind: Literal["interleaved"] = "interleaved"
    learns_likelihood: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True
    num_updates: Annotated[int, Choice((1, 2, 5))] = Field(1, ge=1)
    """Updates on a new real batch after each generator update."""

    def num_learned(self, batch: int, mle_batch: int) -> int:
        """See `TeacherForcing.num_learned`."""
        return self.num_updates * mle_batch

    def steps(self, real: RealRows, update: int) -> list[Experience]:
        """See `TeacherForcing.steps`."""
        return [real.batch(update, index) for index in range(self.num_updates)]


class MixedTeacherForcing(TeacherForcing):
    """A maximum-likelihood term added to the loss of every generator update."""

    kind: Literal["mixed"] = "mixed"
    learns_likelihood: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True
    in_the_same_update: ClassVar[bool] = True
    weight: Annotated[float, Uniform(0.1, 1.0)] = Field(0.3, gt=0.0)
    """Weight of the mean negative log-likelihood per token of a new real batch."""

    def num_learned(self, batch: int, mle_batch: int) -> int:
        """See `TeacherForcing.num_learned`."""
        return mle_batch

    def rows(self, sampled: list[Experience], real: RealRows, update: int) -> list[Experience]:
        """See `TeacherForcing.rows`."""
        return [*sampled, real.batch(update, 0).times(self.weight)]


class MixedPrefix(TeacherForcing):
    """Generated sequences begin with the first tokens of real ones, fewer over time (MLE-Mali; docs/algorithms.md §4).

    The real tokens are learned by likelihood, the drawn tokens after them by the objective. The sequences of one
    `schedule.g_group` continue the same prefix; the discriminator's fakes begin with real tokens, too.
    """

    kind: Literal["mixed_prefix"] = "mixed_prefix"
    takes_batches: ClassVar[bool] = True
    start: Annotated[int, Choice((5, 10, 15))] = Field(10, ge=1)
    """Initial number N₀ of real tokens, also used in pretraining of the discriminator."""
    decrement: Annotated[int, Choice((1, 5))] = Field(5, ge=1)
    """Number K of tokens by which the prefix becomes shorter after each block."""
    block: Annotated[int, Choice((5, 20))] = Field(5, ge=1)
    """Adversarial iterations per block."""

    def prefix_length(self, iteration: int) -> int:
        """Tokens that are given in an adversarial iteration, counted from 0."""
        return max(0, self.start - self.decrement * (iteration // self.block))

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Relaxed sequences are drawn from their first token on."""
        yield from super().check(fields)
        if fields.objective.relaxes:
            yield Problem(
                "relaxed_from_the_start",
                {"schedule.teacher_forcing": self.kind},
                (
                    f"needs prefixes, but objective={fields.objective.kind!r} draws whole sequences. Use mixed, "
                    "interleaved or none."
                ),
            )


class TeacherForcingByExample(TeacherForcing):
    """Of the sequences of a generator update, some are real and learned by likelihood, the others drawn and rewarded.

    For tasks with conditions, the split of pairs is drawn again for each update, and no pair is learned in both ways. A
    real sequence has the same weight as a generated one with advantage 1, or `advantage`; the divisor of the loss
    (`objective.loss_normaliser`) counts all of them together.

    Source: Adversarial-NMT (Wu et al. 2017); docs/algorithms.md §13.
    """

    kind: Literal["by_example"] = "by_example"
    learns_likelihood: ClassVar[bool] = True
    in_the_same_update: ClassVar[bool] = True
    fraction: Annotated[float, Choice((0.25, 0.5, 0.75))] = Field(0.5, gt=0.0, lt=1.0)
    """Fraction of `schedule.g_batch` that is real, rounded to whole sequences (Adversarial-NMT: 0.5)."""
    advantage: Annotated[float, NotSearched("part of a method's definition")] = Field(1.0, gt=0.0)
    """Advantage of a real sequence in the first generator update (TextGAIL: 2)."""
    decay_updates: Annotated[int | None, NotSearched("part of a method's definition")] = Field(None, ge=1)
    """Number of generator updates over which it falls to 0 linearly (TextGAIL: 100); null keeps it."""

    def advantage_in(self, update: int) -> float:
        """Advantage of a real sequence in a generator update, counted from 0."""
        if self.decay_updates is None:
            return self.advantage
        return self.advantage * max(0.0, 1.0 - update / self.decay_updates)

    def num_real(self, batch: int) -> int:
        """Real sequences of a generator update of so many sequences."""
        return round(self.fraction * batch)

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Some sequences are real and some are rewarded."""
        yield from super().check(fields)
        schedule, objective = fields.schedule, fields.objective
        if objective.is_differentiated:
            yield Problem(
                "example_in_place_of_rewarded",
                {"schedule.teacher_forcing": self.kind},
                (
                    f"replaces rewarded sequences, but objective={objective.kind!r} rewards none. Use mixed, "
                    "interleaved or none."
                ),
            )
        if not (schedule.num_real and schedule.num_sampled):
            yield Problem(
                "fraction_is_all_or_nothing",
                {"schedule.teacher_forcing.fraction": self.fraction},
                (
                    f"{schedule.num_real} of schedule.g_batch={schedule.g_batch} sequences would be real, but at least "
                    "one must be real and one generated. Raise schedule.g_batch, or set the fraction closer to 0.5."
                ),
            )

    def rows(self, sampled: list[Experience], real: RealRows, update: int) -> list[Experience]:
        """See `TeacherForcing.rows`."""
        return real.beside(sampled[0] if sampled else None, update, self.advantage_in(update))


TeacherForcingSettings = Annotated[
    NoTeacherForcing | InterleavedTeacherForcing | MixedTeacherForcing | MixedPrefix | TeacherForcingByExample,
    Field(discriminator="kind"),
]
