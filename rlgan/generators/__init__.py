"""Generator networks: plain torch modules, each with a frozen stepping copy for the hot loop (`Stepper`).

Nothing here draws whole sequences, that is `rlgan.sampling`, and nothing learns, that is the learners in
`rlgan.workers`.
"""

from collections.abc import Callable
from typing import Annotated, Any, overload

from pydantic import Field

from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace

from .causal_lm import CausalLM, CausalLMGenerator
from .generator import (
    AttendingDistribution,
    AutoregressiveGenerator,
    Conditional,
    Distribution,
    Generator,
    GeneratorKind,
    SavedModel,
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
    LSTM | TransformerDecoder | LatentConv | Seq2SeqLSTM | Seq2SeqTransformer | CausalLM | PluginGenerator,
    Field(discriminator="kind"),
]
"""Settings of any generator."""

_NETWORKS: dict[type[Settings], Callable[[Any, SequenceSpace], Generator]] = {
    LSTM: LSTMGenerator,
    TransformerDecoder: TransformerGenerator,
    LatentConv: LatentConvGenerator,
    Seq2SeqLSTM: Seq2SeqLSTMGenerator,
    Seq2SeqTransformer: Seq2SeqTransformerGenerator,
    CausalLM: CausalLMGenerator,
    PluginGenerator: AdaptedGenerator,
}


@overload
def build_generator(settings: LSTM | TransformerDecoder, space: SequenceSpace) -> AutoregressiveGenerator: ...


@overload
def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator: ...


def build_generator(settings: GeneratorSettings, space: SequenceSpace) -> Generator:
    """Fresh generator for the sequences of `space`, initialised from torch's global random state."""
    return _NETWORKS[type(settings)](settings, space)


__all__ = [
    "LSTM",
    "AdaptedGenerator",
    "AttendingDistribution",
    "AutoregressiveGenerator",
    "CausalLM",
    "CausalLMGenerator",
    "Conditional",
    "Continuations",
    "Decoded",
    "Draw",
    "Generator",
    "GeneratorKind",
    "GeneratorSettings",
    "LSTMGenerator",
    "LatentConv",
    "LatentConvGenerator",
    "Distribution",
    "PluginGenerator",
    "Sampler",
    "Samples",
    "SavedModel",
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
