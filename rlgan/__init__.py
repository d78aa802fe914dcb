"""rlgan: adversarial training of discrete-sequence generators as distributed reinforcement learning."""

import os

__version__ = "0.1.0"

# Threads of libgomp wait for each other spinning, for milliseconds. Where other programs want their cores, a thread
# that is waited for gets none meanwhile (`benchmarks/busy_neighbour.py`). It reads this when torch is first imported,
# so it stands here; who has said how to wait is heard.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
