"""Real sequences under conditions of others: they teach a discriminator to look at conditions.

Source: docs/algorithms.md §11.

c' = c_π(i) for a permutation π of a minibatch under which no (c_π(i), x_i) is a pair of the data

n training pairs, m pairs of a minibatch, S and T tokens of a condition and of a sequence
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS_AT_ONCE = 1 << 16

_SEED = 0  # of the multipliers; which ones they are changes nothing that can be seen


class TruePairs:
    """Which pairs the data holds, by hashes of 63 bits: two pairs are taken for one with a chance of about n / 2^63.

    Args:
        conditions: (n, S) integer, padded after the terminator.
        sequences: (n, T) integer, padded after the terminator.
    """

    def __init__(self, conditions: Tensor, sequences: Tensor) -> None:
        rng = torch.Generator().manual_seed(_SEED)
        length = conditions.shape[1] + sequences.shape[1]
        # Odd, so that a token that differs in one place alone is never lost.
        self._multipliers = torch.randint(2**62, (length,), generator=rng) * 2 + 1
        self._split = conditions.shape[1]
        self._known = (self._of_conditions(conditions) + self._of_sequences(sequences)).sort().values

    def holds(self, conditions: Tensor, sequences: Tensor) -> Tensor:
        """Whether (conditions[j], sequences[i]) is a pair of the data.

        Args:
            conditions: (m, S) int64.
            sequences: (m, T) int64.

        Returns:
            (m, m) bool, [i, j].
        """
        asked = self._of_sequences(sequences).unsqueeze(1) + self._of_conditions(conditions)
        place = torch.searchsorted(self._known, asked).clamp_max(len(self._known) - 1)
        return self._known[place] == asked

    def mismatched(self, conditions: Tensor, sequences: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sequences under conditions of others, as many as there are for which the pair is none of the data.

        Args:
            conditions: (m, S) int64.
            sequences: (m, T) int64.
            rng: source of the draw.

        Returns:
            Rows of the sequences, and of the conditions that they get, (k,) int64 each; no condition is given twice.
        """
        assigned = derangement(self.holds(conditions, sequences), rng)
        rows = (assigned >= 0).nonzero().squeeze(1)
        return rows, assigned[rows]

    def _of_conditions(self, conditions: Tensor) -> Tensor:
        return _hashes(conditions, self._multipliers[: self._split])

    def _of_sequences(self, sequences: Tensor) -> Tensor:
        return _hashes(sequences, self._multipliers[self._split :])


def _hashes(rows: Tensor, multipliers: Tensor) -> Tensor:
    # All at once, rows that are kept as int16 would be held four times as large.
    return torch.cat([((part.long() + 1) * multipliers).sum(1) for part in rows.split(_ROWS_AT_ONCE)])


def derangement(is_pair: Tensor, rng: torch.Generator) -> Tensor:
    """A random assignment of conditions to sequences with as few pairs as can be, and those taken out.

    The assignment of least cost (Jonker & Volgenant) where a pair costs more than all others together, and everything
    else a random number.

    Args:
        is_pair: (m, m) bool, whether sequence i and condition j belong together.
        rng: source of the draw.

    Returns:
        (m,) int64, the condition of each sequence, no condition twice; -1 for sequences that are left without one.
    """
    from scipy.optimize import linear_sum_assignment

    number = is_pair.shape[0]
    costs = torch.rand(number, number, generator=rng, dtype=torch.float64) + number * is_pair
    assigned = torch.from_numpy(linear_sum_assignment(costs.numpy())[1])
    return torch.where(is_pair[torch.arange(number), assigned], -1, assigned)
