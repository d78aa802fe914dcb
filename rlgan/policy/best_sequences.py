"""The best sequences of a run so far, which are learned from again (experience replay; REINVENT's inception).

n remembered, B of a batch, T positions
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BestSequences:
    """Sequences, all different, the best first.

    Attributes:
        tokens: (n, T) int64, padded after the terminator.
        mask: (n, T) bool.
        scores: (n,) float32, what they were worth.
        targets: (n,) float32 nats, what their log-probability should be; of nothing that changes.
    """

    tokens: Tensor
    mask: Tensor
    scores: Tensor
    targets: Tensor

    def with_those_of(self, others: BestSequences, most: int) -> BestSequences:
        """The best of both, at most so many. Of equal sequences, and of equal scores, the earlier one stays."""
        rows = torch.cat([self.tokens.masked_fill(~self.mask, -1), others.tokens.masked_fill(~others.mask, -1)])
        scores = torch.cat([self.scores, others.scores])
        seen: set[tuple[int, ...]] = set()
        kept: list[int] = []
        for place in scores.argsort(descending=True, stable=True).tolist():
            name = tuple(rows[place].tolist())
            if len(kept) < most and name not in seen:
                seen.add(name)
                kept.append(place)
        return BestSequences(
            torch.cat([self.tokens, others.tokens])[kept],
            torch.cat([self.mask, others.mask])[kept],
            scores[kept],
            torch.cat([self.targets, others.targets])[kept],
        )

    def some(self, number: int, rng: torch.Generator) -> BestSequences:
        """Some of them at random, without repetition; all of them where there are no more."""
        return self.rows(torch.randperm(len(self.scores), generator=rng)[:number])

    def rows(self, index: Tensor) -> BestSequences:
        """Some of them, by an index or a mask (n,)."""
        return BestSequences(self.tokens[index], self.mask[index], self.scores[index], self.targets[index])
