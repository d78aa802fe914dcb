"""The twin of `rlgan.policy.preferred_pairs`, written from DIAL's words with loops over lists."""

from __future__ import annotations

import math


def slow_pairs(rewards: list[float], group: int, number: int) -> list[tuple[int, int] | None]:
    """Rows of each pair, the preferred one first; None for a group that has none.

    Args:
        rewards: of all sequences; NaN where there is none.
        group: neighbours that are given the same.
        number: groups that are written again: those whose first sequence, the draft, earns least.
    """
    groups = [list(range(first, first + group)) for first in range(0, len(rewards), group)]
    drafts = [
        (math.inf if math.isnan(rewards[rows[0]]) else rewards[rows[0]], place) for place, rows in enumerate(groups)
    ]
    pairs: list[tuple[int, int] | None] = []
    for place in sorted(place for _, place in sorted(drafts)[:number]):
        best, worst = None, None
        for row in groups[place]:
            if math.isnan(rewards[row]):
                continue
            if best is None or rewards[row] > rewards[best]:
                best = row
            if worst is None or rewards[row] < rewards[worst]:
                worst = row
        differ = best is not None and worst is not None and rewards[best] > rewards[worst]
        pairs.append((best, worst) if differ and best is not None and worst is not None else None)
    return pairs
