"""Searching the training tricks: what may vary, as paths into the real configuration.

Imported as `rlgan.tuning`. Nothing in `rlgan` imports this package.
"""

from .spaces import AXES, Choice, LogUniform, Uniform, param_space

__all__ = ["AXES", "Choice", "LogUniform", "Uniform", "param_space"]
