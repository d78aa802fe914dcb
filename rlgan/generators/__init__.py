"""Generator networks: plain torch modules with a frozen stepping copy for the hot loop."""

from typing import Annotated

from pydantic import Field

from rlgan.envs.sequence_space import SequenceSpace

from .generator import Generator, State, Stepper, shift_right
from .lstm import LSTM, LSTMGenerator
from .transformer import TransformerDecoder, TransformerGenerator

GeneratorSettings = Annotated[LSTM | TransformerDecoder, Field(discriminator="kind")]
"""Settings of any generator."""


def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator:
    """Fresh generator for the sequences of `space`, initialised from torch's global random state."""
    if isinstance(settings, TransformerDecoder):
        return TransformerGenerator(settings, space)
    return LSTMGenerator(settings, space.vocab_size)


__all__ = [
    "LSTM",
    "Generator",
    "GeneratorSettings",
    "LSTMGenerator",
    "State",
    "Stepper",
    "TransformerDecoder",
    "TransformerGenerator",
    "build_generator",
    "shift_right",
]
