"""Generator networks: plain torch modules with a frozen stepping copy for the hot loop."""

from rlgan.envs.sequence_space import SequenceSpace

from .generator import Generator, State, Stepper, shift_right
from .lstm import LSTM, LSTMGenerator

GeneratorSettings = LSTM
"""Settings of any generator; becomes a discriminated union with the second architecture."""


def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator:
    """Fresh generator for the sequences of `space`, initialised from torch's global random state."""
    return LSTMGenerator(settings, space.vocab_size)


__all__ = [
    "LSTM",
    "Generator",
    "GeneratorSettings",
    "LSTMGenerator",
    "State",
    "Stepper",
    "build_generator",
    "shift_right",
]
