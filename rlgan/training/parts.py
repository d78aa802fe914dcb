"""What the trainer drives, as protocols: whoever implements them, in this process or on a cluster, does the same.

The trainer knows these alone. `rlgan.workers` implements them, and is the only folder below the runs that knows Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rlgan.adversary.training import Round
from rlgan.base.weights import Tensors, Weights
from rlgan.layers.relaxation import Relaxation
from rlgan.rollouts.collecting import Shard
from rlgan.sampling.records import Experience, Rollouts

LearnerPhase = Literal["mle", "adversarial"]
"""Whose optimiser an update uses; the state of each is its own."""


class RolloutPool(Protocol):
    """Computes many shards."""

    def publish(self, weights: Weights) -> Any:
        """Hand weights over once; the returned handle stands for them in `collect`."""
        ...

    def collect(
        self,
        shards: Sequence[Shard],
        generator: Any,
        rollout_policy: Any | None = None,
        discriminator: Any | None = None,
        reference: Any | None = None,
    ) -> list[Rollouts]:
        """Rollouts of all shards, in their order; the last four are handles from `publish`."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class DiscriminatorHandle(Protocol):
    """The discriminator, wherever it is trained."""

    def train_round(self, request: Round) -> dict[str, float]:
        """Judge the fresh fakes, add them to the buffer, train; returns metrics of the round."""
        ...

    def weights(self) -> Weights:
        """Weights of now; the version counts rounds."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on; a copy, which training that goes on does not change."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Learners(Protocol):
    """Whoever moves the generator's parameters; it executes weights of tokens and never asks where they come from."""

    @property
    def version(self) -> int:
        """Version of the weights of now; rises with every update."""
        ...

    def update(
        self,
        phase: LearnerPhase,
        experience: Experience,
        minibatch: int,
        judge: Weights | None = None,
        relaxation: Relaxation | None = None,
        rate: float = 1.0,
        temperature: float = 1.0,
        between: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """One optimiser step for each minibatch, in order.

        Args:
            phase: whose optimiser.
            experience: rows in order; a multiple of `minibatch`.
            minibatch: rows a step.
            judge: weights of the discriminator, where rows are drawn anew and differentiated through it.
            relaxation: how their tokens are drawn; None where the generator draws none.
            rate: factor of the phase's learning rate.
            temperature: divides the logits of all log-probabilities and entropies: that of the policy which drew.
            between: called every few seconds between two minibatches, where `state` can be kept. If it raises, the next
                call goes on behind the last minibatch and must be given the same.

        Returns:
            "loss", "grad_norm" and, of a clipped objective, "clipped_share", of one of pairs the log-ratios of both by
            `Objective.pair_names`, such as "real_log_ratio", and "pair_accuracy", means over the steps; of goals
            "goal_loss", their part of the loss; of tokens that were drawn "logprob_gap_max", how far the learner was
            from their sampler before the first step.
        """
        ...

    @property
    def num_begun(self) -> int:
        """Minibatches done of an update that `between` broke off; 0 where none was."""
        ...

    def weights(self) -> Weights:
        """Weights of now."""
        ...

    def load(self, tensors: Tensors) -> None:
        """Put weights in the place of those of now; counts as a new version."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on; a copy, which training that goes on does not change."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Losses(Protocol):
    """What was lost of a cluster and replaced."""

    def summary(self) -> str | None:
        """What was lost in the whole run, in a sentence; None where nothing was."""
        ...


class Telemetry(Protocol):
    """Shows figures of a run while it is going."""

    def record(self, metrics: Mapping[str, float]) -> None:
        """Show what an iteration logged."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the trainer drives.

    Attributes:
        rollouts: computes shards.
        discriminator: trains and hands out weights; None without an adversary.
        learners: the generator's.
        faults: what was lost so far.
        telemetry: shows figures on a dashboard; None where there is none.
        notes: lines for the log: what the networks begin with.
        release: ends the actors, whose places are then free for others; nothing is asked of these parts afterwards.
    """

    rollouts: RolloutPool
    discriminator: DiscriminatorHandle | None
    learners: Learners
    faults: Losses
    telemetry: Telemetry | None
    notes: tuple[str, ...] = ()
    release: Callable[[], None] = lambda: None
