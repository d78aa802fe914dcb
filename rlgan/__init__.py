"""rlgan: adversarial training of discrete-sequence generators as distributed reinforcement learning."""

__version__ = "0.1.0"
