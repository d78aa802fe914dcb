"""What a reward is, whichever it is: what it declares, and how it is computed, in two places.

* On the rollout workers, inside a shard: what must be looked at as a finished sequence, drawn or continued, gets a
  score by the reward's `scorer`. A reward of the discriminator's logits alone has none.
* On the driver, where the batch is whole: logits and scores become rewards of sequences, of continuations, of prefixes
  or of tokens.

High = better throughout. A reward of a user's own derives from `FinishedReward` in a module of its own, with a scorer;
nothing else must know of it than the union in `rlgan.policy.rewards`.

    B sequences, T positions, S positions of conditions, N continuations a prefix
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import ShapeError
from rlgan.base.settings import Settings
from rlgan.envs.tasks.task import Records, Task
from rlgan.sampling.records import Rollouts

Level = Literal["sequence", "token"]
"""What a reward is of: finished sequences, or each of their tokens."""
Rewarded = Literal["sequence", "prefix", "token"]
"""What is rewarded in a run: finished sequences, prefixes as they stand, or tokens."""
Source = Literal[
    "discriminator", "targets", "oracle", "training_data", "texts", "demonstrations", "features", "verdicts"
]
"""What a reward is computed from, besides tokens: the discriminator's logits, the sequence that the data has for the
same condition, the exact distribution, training sequences, texts in the place of tokens, the discriminator's logit
of a real sequence under the same condition, what its output layer reads of the sequence and of a real one, or what it
writes of both."""


_VECTORS = 64  # elements; a multiple of what any processor computes at once
_BLOCK = 16_384  # elements; below the size from which torch takes several threads


@dataclass(frozen=True, slots=True)
class TrainerState:
    """How far the run is, for rewards that change as it goes on; the names are those of TRL.

    Attributes:
        global_step: generator updates so far.
        epoch: how often each training prompt has been drawn so far, on average.
    """

    # How many there will be is not told: a run that is extended must keep its numbers.
    global_step: int = 0
    epoch: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """Finished sequences to be scored: those that were drawn, or continuations of their prefixes.

    Attributes:
        tokens: (n, T) int64, padded after the terminator.
        mask: (n, T) bool, True up to and including the terminator.
        conditions: (n, S) int64; None where sequences are given nothing.
        targets: (n, T) int64, what the data has for the same conditions; None where the reward does not read it.
        seed: of whatever is random in their scores; of no other batch.
        rows: (n,) int64 training sequences that have the same conditions; None where the reward does not read it, or
            sequences are given nothing.
        state: how far the run is.
    """

    tokens: Tensor
    mask: Tensor
    conditions: Tensor | None = None
    targets: Tensor | None = None
    seed: int = 0
    rows: Tensor | None = None
    state: TrainerState = TrainerState()


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of finished sequences.

    Attributes:
        scores: (n,) float32, in any unit that the reward understands; NaN where a sequence has none.
        parts: (n, F) float32 what they are made of, to be reported; None where there is nothing to report.
        logged: name → n values, what else there is to report of each sequence.
    """

    scores: Tensor
    parts: Tensor | None = None
    logged: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


class ScoreFilter(Protocol):
    """Changes scores of whole batches by what it has seen before; it is on the driver, and belongs to one run."""

    def filtered(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """Rollouts with other scores, and metrics.

        Args:
            rollouts: a whole batch, with scores.
        """
        ...

    def state(self) -> Any:
        """What it remembers, as JSON has it."""
        ...

    def restore(self, state: Any) -> None:
        """Put back what `state` returned."""
        ...


class SequenceScorer(Protocol):
    """Scores finished sequences inside a shard: a pure function of them, which travels to rollout workers by pickle."""

    def __call__(self, finished: Finished) -> Scored:
        """Their scores.

        Args:
            finished: sequences of one shard, or all continuations of their prefixes.
        """
        ...


class RewardFigures(Protocol):
    """Measures sequences by a reward, for rows of the final table."""

    def __call__(self, finished: Finished, records: Records | None) -> dict[str, float]:
        """Figures of a set of sequences; see docs/metrics.md.

        Args:
            finished: the sequences, with targets and rows where they have conditions.
            records: what the data has for their conditions, by `Finished.rows`; None where the task keeps none.
        """
        ...

    def scores(self, finished: Finished, records: Records | None) -> Tensor:
        """Rewards (n,) of a set of sequences, NaN where one has none; arguments as of a call."""
        ...


class Reward(Settings):
    """Properties that every reward declares. Other code reads them and never checks which reward it is.

    Each reward also has `reads`, a frozen set of `Source`: what it is computed from, besides tokens.
    """

    kind: str
    """Name of the reward."""
    level: ClassVar[Level]
    """What it rewards: sequences or tokens."""
    scores_continuations: ClassVar[bool] = False
    """Whether continuations of a prefix are rewarded like sampled sequences, as Monte Carlo search needs."""
    is_elementwise: ClassVar[bool] = False
    """Whether it is a function of one logit; it then rewards whatever the discriminator judges, including prefixes
    and tokens."""
    compares: ClassVar[bool] = False
    """Whether it compares finished sequences, so that it cannot reward prefixes or tokens."""

    is_relative: ClassVar[bool] = False
    """Whether a constant added to all logits under one condition changes nothing: it compares the logit of a sequence
    with that of a real one, or with those of its group."""
    reads_policy: ClassVar[bool] = False
    """Whether it compares with the generator's log-probabilities of sequences."""
    is_positive: ClassVar[bool] = False
    """Whether it is never below 0, so that rewards can be weights."""
    needs_lengths: ClassVar[bool] = False
    """Whether sequences must be able to end at different lengths."""
    has_figures: ClassVar[bool] = False
    """Whether rows of the final table are measured by it (`figures`)."""

    @property
    def compares_groups(self) -> bool:
        """Whether it is computed by comparing sequences of `schedule.g_group`, or of the batch."""
        return False

    @property
    def logit_map(self) -> LogitMap | None:
        """The map of the discriminator's logit that it is, or that it mixes with something else; None without one."""
        return None

    @property
    def own_code_s(self) -> float:
        """Seconds that code of the user's own may take for one batch of finished sequences; 0 without any."""
        return 0.0

    @property
    def without_discriminator(self) -> str:
        """Kind of a reward to use in its place where there is no discriminator."""
        return "constant"

    def scorer(self, task: Task) -> SequenceScorer | None:
        """What scores sequences and continuations inside a shard; None where nothing does.

        Args:
            task: whose sequences they are.
        """
        return None

    def score_filter(self, task: Task) -> ScoreFilter | None:
        """What changes scores of whole batches by what it has seen before; None where nothing does.

        Args:
            task: whose sequences they are.
        """
        return None

    def figures(self, task: Task) -> RewardFigures | None:
        """What measures rows of the final table by it; None of a reward that has no figures of its own.

        Args:
            task: whose sequences they are.
        """
        return None

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """What there is to report of a whole batch, by names of metrics, beside what is reported of any reward."""
        return {}

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """Rewards of the drawn sequences.

        Args:
            rollouts: the whole batch.
            task: whose exact distribution or training sequences it may read.
            rng: source of whatever is random in it.
            group: sequences that are compared with each other, neighbours in the batch; None compares all.

        Returns:
            (B,) float32, reward units, no gradient; NaN where a sequence has no reward, and nothing is learned of it.

        Raises:
            ShapeError: the rollouts lack what it reads, or it is no reward of sequences.
        """
        raise ShapeError(
            f"reward={self.kind!r}: rewards {self.level}s, but rewards of finished sequences were requested.",
            code="reward_of_other_level",
            fields={"reward": self.kind},
        )

    def of_continuations(self, rollouts: Rollouts) -> Tensor:
        """Rewards of the continuations of every prefix.

        Args:
            rollouts: the whole batch.

        Returns:
            (B, T, N) float32, reward units, no gradient.

        Raises:
            ShapeError: the rollouts lack what it reads, or it does not reward continuations.
        """
        raise ShapeError(
            f"reward={self.kind!r}: does not reward continuations.",
            code="reward_no_continuations",
            fields={"reward": self.kind},
        )

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """Rewards of tokens, or of the prefixes that end in them where the logits are of such.

        Args:
            rollouts: the whole batch.
            task: whose exact distribution it may read.
            group: sequences that are compared with each other, neighbours in the batch; None compares all.

        Returns:
            (B, T) float32, reward units, 0 where the mask is False, no gradient.

        Raises:
            ShapeError: the rollouts lack what it reads, or it is no reward of tokens.
        """
        raise ShapeError(
            f"reward={self.kind!r}: rewards {self.level}s, but rewards of tokens were requested.",
            code="reward_not_of_tokens",
            fields={"reward": self.kind},
        )


class FinishedReward(Reward):
    """A reward of finished sequences that is the same function of those drawn and of continuations."""

    level: ClassVar[Level] = "sequence"
    scores_continuations: ClassVar[bool] = True

    @abstractmethod
    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """Rewards from logits and scores.

        Args:
            real_logits: any shape, float32; None where no discriminator judges.
            scores: the same shape, by the `scorer`; None without one.

        Returns:
            The same shape, reward units, no gradient.

        Raises:
            ShapeError: what it reads is not there.
        """

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return self.of_finished(rollouts.real_logits, rollouts.scores)

    def of_continuations(self, rollouts: Rollouts) -> Tensor:
        """See `Reward.of_continuations`."""
        return self.of_finished(rollouts.continuation_logits, rollouts.continuation_scores)

    def logits_there(self, real_logits: Tensor | None) -> Tensor:
        """The logits, without gradient.

        Raises:
            ShapeError: there are none.
        """
        if real_logits is None:
            raise ShapeError(
                f"reward={self.kind!r} needs the discriminator's logits of the sequences, but none are given.",
                code="reward_needs_logits",
                fields={"reward": self.kind},
            )
        return real_logits.detach()

    def scores_there(self, scores: Tensor | None) -> Tensor:
        """The scores, without gradient.

        Raises:
            ShapeError: there are none.
        """
        if scores is None:
            raise ShapeError(
                f"reward={self.kind!r} needs scores of the sequences, but none are given.",
                code="reward_needs_scores",
                fields={"reward": self.kind},
            )
        return scores.detach()


class LogitMap(FinishedReward):
    """A function of one logit of the discriminator."""

    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})
    is_elementwise: ClassVar[bool] = True
    reads_log_odds: ClassVar[bool] = True
    """Whether it interprets the logit as log p_d/p_θ; otherwise as a score where higher is better."""
    reads_density_ratio: ClassVar[bool] = False
    """Whether it is p_d/p_θ itself, so that all fakes of the discriminator must be samples of the generator."""

    @property
    def logit_map(self) -> LogitMap:
        """Itself."""
        return self

    @abstractmethod
    def function(self, u: Tensor) -> Tensor:
        """Rewards of logits, an element each; called by `of_logits`."""

    def of_logits(self, real_logits: Tensor) -> Tensor:
        """Rewards from logits.

        Args:
            real_logits: any shape, float32, positive = real.

        Returns:
            The same shape, reward units, no gradient; equal logits have equal rewards, to the last bit.
        """
        return _same_everywhere(self.function, real_logits.detach())

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`; it reads no scores."""
        return self.of_logits(self.logits_there(real_logits))

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        return self.of_logits(self.logits_there(rollouts.token_logits)).masked_fill(~rollouts.mask, 0.0)


def _same_everywhere(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """An elementwise function that gives equal numbers for equal ones, wherever in the tensor they stand.

    torch computes what is left of a tensor behind whole vectors of a processor by other code, which rounds otherwise.
    Here nothing is left, and no block is large enough to be shared out among threads.
    """
    flat = values.reshape(-1)
    padded = functional.pad(flat, (0, -len(flat) % _VECTORS))
    return torch.cat([function(block) for block in padded.split(_BLOCK)])[: len(flat)].reshape(values.shape)
