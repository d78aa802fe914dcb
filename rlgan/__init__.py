"""rlgan: adversarial training of discrete-sequence generators as distributed reinforcement learning.

Importing it, or any module of it, changes nothing of the process: no variable, warning filter, logger, thread count or
signal handler.
"""

__version__ = "0.1.0"
