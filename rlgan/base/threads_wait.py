"""How long threads that wait for each other spin: said once, by a process that is ours, before torch is imported.

Threads of libgomp wait spinning, for milliseconds. Where other programs want the cores, a thread that is waited for
gets none meanwhile (`benchmarks/busy_neighbour.py`). libgomp reads its variable when torch is first imported. Importing
`rlgan` sets nothing: the command line does it for its own process, and `rlgan.workers` for the workers of a cluster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SPINS = "GOMP_SPINCOUNT"
POLICY = "OMP_WAIT_POLICY"
SHORT_WAIT: Mapping[str, str] = {SPINS: "1000"}
"""Environment of a process whose threads spin for a moment only."""


def spin_briefly() -> None:
    """Let the threads of this process spin for a moment only, where nobody has said how they wait.

    Without effect once torch is imported, and then nothing is set.
    """
    if POLICY not in os.environ and "torch" not in sys.modules:
        for name, value in SHORT_WAIT.items():
            os.environ.setdefault(name, value)


def for_workers() -> dict[str, str]:
    """What to set in workers of this process: nothing where somebody has said how threads wait."""
    if POLICY in os.environ or os.environ.get(SPINS, SHORT_WAIT[SPINS]) != SHORT_WAIT[SPINS]:
        return {}
    return dict(SHORT_WAIT)
