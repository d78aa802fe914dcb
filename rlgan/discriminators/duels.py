"""Two answers to one prompt, one of them real, in the order in which a critic reads them.

P pairs, S positions of a prompt, T of an answer
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Duels:
    """Pairs of a real answer and a generated one.

    Attributes:
        conditions: (P, S) int64 the prompts.
        reals: (P, T) int64.
        fakes: (P, T) int64, each to the prompt of its real answer.
        is_real_first: (P,) bool, whether the real answer is read first.
    """

    conditions: Tensor
    reals: Tensor
    fakes: Tensor
    is_real_first: Tensor

    @classmethod
    def in_random_order(cls, conditions: Tensor, reals: Tensor, fakes: Tensor, rng: torch.Generator) -> Duels:
        """Pairs of which each is read in one order or the other with probability ½.

        Args:
            conditions: (P, S) int64.
            reals: (P, T) int64.
            fakes: (P, T) int64.
            rng: source of the orders; on the CPU.
        """
        is_real_first = torch.rand(len(reals), generator=rng) < 0.5
        return cls(conditions, reals, fakes, is_real_first.to(reals.device))

    def __len__(self) -> int:
        return len(self.reals)

    @property
    def first(self) -> Tensor:
        """(P, T) the answers that are read first."""
        return torch.where(self.is_real_first.unsqueeze(1), self.reals, self.fakes)

    @property
    def second(self) -> Tensor:
        """(P, T) the answers that are read second."""
        return torch.where(self.is_real_first.unsqueeze(1), self.fakes, self.reals)

    def named(self, logprobs: Tensor) -> Tensor:
        """Log-probabilities (P, 3) of first, second and tie as those of real, generated and tie."""
        return torch.where(self.is_real_first.unsqueeze(1), logprobs, logprobs[:, [1, 0, 2]])

    def rows(self, index: Tensor | slice) -> Duels:
        """Some of them."""
        return Duels(self.conditions[index], self.reals[index], self.fakes[index], self.is_real_first[index])
