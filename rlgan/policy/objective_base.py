"""What every objective of the generator declares and may override (docs/algorithms.md §19).

B sequences, T positions
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.base.settings import Settings
from rlgan.layers.relaxation import Relaxation

from .best_sequences import BestSequences


class Objective(Settings):
    """What every objective declares.

    Beside these each has `epochs`, passes over a batch, and `minibatches`, optimiser steps a pass, both 1 where it has
    no such setting; the `loss_normaliser`; and the `entropy_bonus`, 0 where it has none.
    """

    reads_reward: ClassVar[bool] = False
    """Whether rewards of generated sequences are used, so that reward, credit, baseline, normalisation and reference
    have an effect."""
    is_differentiated: ClassVar[bool] = False
    """Whether the generator is differentiated through the discriminator."""
    relaxes: ClassVar[bool] = False
    """Whether drawn tokens of the generator are relaxed."""
    draws_tokens: ClassVar[bool] = True
    """Whether it is for generators that draw tokens; otherwise for those that generate soft rows from noise."""

    needs_positive: ClassVar[bool] = False
    """Whether advantages must be weights of at least 0."""
    contrasts_reals: ClassVar[bool] = False
    """Whether generated sequences are set against real ones under the same conditions, by the generator's own
    log-probabilities, so that there is neither a reward nor a discriminator."""
    teaches_goals: ClassVar[bool] = False
    """Whether advantages teach the goals of a generator that sets itself some, and tokens are rewarded for following
    them; see `terms_of_goals`."""
    pairs_groups: ClassVar[bool] = False
    """Whether two sequences of each `schedule.g_group` are learned from as a pair, the one with the highest reward and
    the one with the lowest, so that there are no advantages."""
    pair_names: ClassVar[tuple[str, str]] = ("real", "fake")
    """What metrics call the two sequences of a pair."""
    has_targets: ClassVar[bool] = False
    """Whether each sequence has a target of its log-probability; see `squares`."""

    @property
    def num_replayed(self) -> int:
        """Sequences of `num_remembered` that are learned from again in each update."""
        return 0

    @property
    def num_remembered(self) -> int:
        """The best sequences of the run so far that are remembered."""
        return 0

    def num_rows(self, num_sampled: int, group: int | None) -> int:
        """Rows that are learned from in each pass over so many drawn sequences, of which `group` are compared."""
        return num_sampled

    learns_reals: ClassVar[bool] = False
    """Whether real sequences alone are learned from, `schedule.g_batch` an update, and nothing is drawn."""

    @property
    def makes_soft_rows(self) -> bool:
        """Whether the discriminator learns from soft rows in the place of tokens."""
        return False

    def relaxation(self, update: int, num_updates: int) -> Relaxation | None:
        """How tokens are drawn in a generator update; None where the objective relaxes nothing.

        Args:
            update: counted from 0.
            num_updates: of the whole adversarial phase.
        """
        return None

    def terms(self, weights: Tensor, old_logprobs: Tensor) -> dict[str, Tensor]:
        """The terms of the loss that teach by advantages, by the names of `Experience`.

        Args:
            weights: (B, T) float32, advantages over the normaliser; 0 where nothing is learned.
            old_logprobs: (B, T) float32 nats, of the policy that drew the tokens.
        """
        return {"weights": weights}

    def terms_of_goals(self, weights: Tensor, goal_rewards: Tensor) -> dict[str, Tensor]:
        """The terms of the loss of an objective that teaches goals, by the names of `Experience`.

        Args:
            weights: (B, T) float32, advantages over the normaliser; 0 where nothing is learned.
            goal_rewards: (B, T) float32, the worker's own rewards over the normaliser; likewise.

        Raises:
            ShapeError: the objective teaches none.
        """
        raise ShapeError("goal_weights: the objective teaches no goals.", code="objective_teaches_no_goals")

    def squares(self, sequences: BestSequences, batch: int) -> dict[str, Tensor]:
        """Terms of the loss of sequences that have targets, of which `batch` are learned from together.

        Raises:
            ShapeError: the objective has no targets.
        """
        raise ShapeError("square_weights: the objective has no targets.", code="objective_has_no_targets")

    def terms_of_reals(self, weights: Tensor) -> dict[str, Tensor]:
        """The terms of the loss of real sequences, by the names of `Experience`; of an objective that learns from them.

        Args:
            weights: (B, T) float32, those of likelihood; 0 where nothing is learned.
        """
        return {"weights": weights}

    def implied_rewards(self, logprobs: Tensor, state_values: Tensor, mask: Tensor) -> Tensor:
        """Rewards (B, T) that the generator's logits imply; see `rlgan.policy.loss_terms.implied_rewards`.

        Raises:
            ShapeError: the objective reads no logits as values.
        """
        raise ShapeError("residual_weights: the objective implies no rewards.", code="objective_implies_nothing")

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> Tensor:
        """The clipped term of the loss; see `rlgan.policy.loss_terms.clipped_surrogate`.

        Raises:
            ShapeError: the objective clips nothing.
        """
        raise ShapeError("clipped_weights: the objective does not clip.", code="objective_clips_nothing")

    def pair_losses(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """Losses of pairs, each of a real and a generated sequence or of two generated ones; see `ImplicitLoss.of`.

        Raises:
            ShapeError: the objective contrasts nothing.
        """
        raise ShapeError("pair_weights: the objective contrasts no pairs.", code="objective_contrasts_nothing")

    def clipped(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[int, int]:
        """How many tokens the clip holds, and how many are weighted; see `rlgan.policy.loss_terms.clipped_tokens`."""
        return 0, int((weights != 0).sum())
