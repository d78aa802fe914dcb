"""What the trainer asks of a discriminator.

A discriminator is a plain `torch.nn.Module` from finished sequences to one logit each; positive means real. For scoring
it hands out a frozen copy that may be fused in any way that leaves the values unchanged, dropout off.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn


class Scorer(Protocol):
    """A frozen discriminator: no dropout, no autograd."""

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Real-logits (B,) float32 of sequences (B, T); positive means real."""
        ...


class Discriminator(nn.Module, ABC):
    """Scores finished sequences."""

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Real-logits.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool; what stands where it is False never matters.

        Returns:
            (B,) float32, positive means real.
        """

    def member_logits(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Real-logits (M, B) of what learns separately: of the network itself, where there is but one.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.
        """
        logits: Tensor = self(tokens, mask)
        return logits.unsqueeze(0)

    @abstractmethod
    def penalty(self) -> Tensor:
        """Scalar added to the loss: the weight penalties that belong to the architecture."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """A frozen copy for scoring many sequences."""


class PlainScorer(Scorer):
    """A frozen copy that computes as its discriminator does, some rows at a time.

    Args:
        discriminator: its weights are copied now.
    """

    _CHUNK = 2048  # sequences whose states are held at once

    def __init__(self, discriminator: Discriminator) -> None:
        self._discriminator = copy.deepcopy(discriminator).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Real-logits; see `Scorer.__call__`."""
        chunks = zip(tokens.split(self._CHUNK), mask.split(self._CHUNK), strict=True)
        return torch.cat([self._discriminator(*chunk) for chunk in chunks])
