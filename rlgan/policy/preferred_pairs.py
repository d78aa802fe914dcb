"""Pairs of sequences by their rewards: of each group the one with the highest and the one with the lowest.

B sequences in groups of K neighbours, M groups that pairs are made of
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import grouped


@dataclass(frozen=True, slots=True)
class PreferredPairs:
    """Two sequences of each of some groups, in the order of the groups.

    Attributes:
        chosen: (M,) int64, row of the sequence with the highest reward, the first of several.
        rejected: (M,) int64, that with the lowest, likewise.
        margins: (M,) float32, reward of the one less that of the other, in reward units; 0 or NaN where the group has
            no pair.
    """

    chosen: Tensor
    rejected: Tensor
    margins: Tensor

    @property
    def are_there(self) -> Tensor:
        """(M,) bool: one is preferred to the other."""
        return self.margins > 0


def preferred_pairs(rewards: Tensor, group: int | None, number: int) -> PreferredPairs:
    """Pairs of the groups whose first sequence earns least.

    A group has a pair where two of its sequences are rewarded differently.

    Args:
        rewards: (B,) float32, NaN where nothing rewards a sequence. A first sequence without a reward comes behind all
            that have one.
        group: K; None takes the whole batch.
        number: M, at most B / K.

    Raises:
        ShapeError: B is no multiple of K.
    """
    members = grouped(rewards, group)
    firsts = members[:, 0].nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    learned = firsts.argsort(stable=True)[:number].sort().values
    members = members[learned]
    is_absent = members.isnan()
    highest = members.masked_fill(is_absent, -torch.inf).argmax(1)
    lowest = members.masked_fill(is_absent, torch.inf).argmin(1)
    begins, rows = learned * (len(rewards) // len(firsts)), torch.arange(len(members))
    return PreferredPairs(begins + highest, begins + lowest, members[rows, highest] - members[rows, lowest])
