"""Generator networks: plain torch modules, each with a frozen stepping copy for the hot loop (`Stepper`).

Nothing here draws whole sequences, that is `rlgan.sampling`, and nothing learns, that is the learners in
`rlgan.workers`.
"""

from typing import Annotated, overload

from pydantic import Field

from rlgan.envs.sequence_space import SequenceSpace

from .generator import (
    AttendingLaw,
    AutoregressiveGenerator,
    Generator,
    GeneratorKind,
    Law,
    State,
    Stepper,
    shift_right,
)
from .latent_conv import LatentConv, LatentConvGenerator
from .lstm import LSTM, LSTMGenerator
from .plugin import AdaptedGenerator, PluginGenerator
from .sampler import Continuations, Decoded, Draw, Sampler, Samples
from .seq2seq_lstm import Seq2SeqLSTM, Seq2SeqLSTMGenerator
from .seq2seq_transformer import Seq2SeqTransformer, Seq2SeqTransformerGenerator
from .transformer import TransformerDecoder, TransformerGenerator

GeneratorSettings = Annotated[
    LSTM | TransformerDecoder | LatentConv | Seq2SeqLSTM | Seq2SeqTransformer | PluginGenerator,
    Field(discriminator="kind"),
]
"""Settings of any generator."""


@overload
def build_generator(settings: LSTM | TransformerDecoder, space: SequenceSpace) -> AutoregressiveGenerator: ...


@overload
def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator: ...


def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator:
    """Fresh generator for the sequences of `space`, initialised from torch's global random state."""
    if isinstance(settings, PluginGenerator):
        return AdaptedGenerator(settings, space)
    if isinstance(settings, Seq2SeqLSTM):
        return Seq2SeqLSTMGenerator(settings, space)
    if isinstance(settings, Seq2SeqTransformer):
        return Seq2SeqTransformerGenerator(settings, space)
    if isinstance(settings, LatentConv):
        return LatentConvGenerator(settings, space)
    if isinstance(settings, TransformerDecoder):
        return TransformerGenerator(settings, space)
    return LSTMGenerator(settings, space)


__all__ = [
    "LSTM",
    "AdaptedGenerator",
    "AttendingLaw",
    "AutoregressiveGenerator",
    "Continuations",
    "Decoded",
    "Draw",
    "Generator",
    "GeneratorKind",
    "GeneratorSettings",
    "LSTMGenerator",
    "LatentConv",
    "LatentConvGenerator",
    "Law",
    "PluginGenerator",
    "Sampler",
    "Samples",
    "Seq2SeqLSTM",
    "Seq2SeqLSTMGenerator",
    "Seq2SeqTransformer",
    "Seq2SeqTransformerGenerator",
    "State",
    "Stepper",
    "TransformerDecoder",
    "TransformerGenerator",
    "build_generator",
    "shift_right",
]
