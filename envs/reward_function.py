"""What the world knows of a reward: finished sequences in, and what they were given, one score each out.

A discriminator, an exact distribution, a chemistry score or a constant all fit; the world never knows which it is.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class RewardFunction(Protocol):
    """Scores finished sequences; higher is better."""

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Score a batch.

        Args:
            tokens: (B, T) int64 finished sequences, padded after the terminator.
            mask: (B, T) bool, True up to and including the terminator.

        Returns:
            (B,) float32 rewards.
        """
        ...


class ConditionalRewardFunction(Protocol):
    """Scores finished sequences that were given something; higher is better."""

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """Score a batch.

        Args:
            tokens: (B, T) int64 finished sequences, padded after the terminator.
            mask: (B, T) bool, True up to and including the terminator.
            conditions: (B, S) int64, what each sequence was given.

        Returns:
            (B,) float32 rewards.
        """
        ...
