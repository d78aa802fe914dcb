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
    GoalDistribution,
    SavedModel,
    State,
    Stepper,
    shift_right,
)
from .latent_conv import LatentConv, LatentConvGenerator
from .lstm import LSTM, LSTMGenerator
from .manager_worker import ManagerWorker, ManagerWorkerGenerator
from .pair_manager_worker import PairManagerWorker, PairManagerWorkerGenerator
from .plugin import AdaptedGenerator, PluginGenerator
from .relational_memory import (
    RelationalMemory,
    RelationalMemoryGenerator,
    Seq2SeqRelationalMemory,
    Seq2SeqRelationalMemoryGenerator,
)
from .sampler import Continuations, Decoded, Draw, Sampler, Samples
from .seq2seq_lstm import Seq2SeqLSTM, Seq2SeqLSTMGenerator
from .seq2seq_transformer import Seq2SeqTransformer, Seq2SeqTransformerGenerator
from .transformer import TransformerDecoder, TransformerGenerator
from .vae import ConditionalVAE, LatentSequenceGenerator, SequenceVAE

GeneratorSettings = Annotated[
    LSTM
    | TransformerDecoder
    | RelationalMemory
    | ManagerWorker
    | PairManagerWorker
    | LatentConv
    | SequenceVAE
    | Seq2SeqLSTM
    | Seq2SeqTransformer
    | Seq2SeqRelationalMemory
    | ConditionalVAE
    | CausalLM
    | PluginGenerator,
    Field(discriminator="kind"),
]
"""Settings of any generator."""

_NETWORKS: dict[type[Settings], Callable[[Any, SequenceSpace], Generator]] = {
    LSTM: LSTMGenerator,
    TransformerDecoder: TransformerGenerator,
    RelationalMemory: RelationalMemoryGenerator,
    ManagerWorker: ManagerWorkerGenerator,
    PairManagerWorker: PairManagerWorkerGenerator,
    LatentConv: LatentConvGenerator,
    SequenceVAE: LatentSequenceGenerator,
    Seq2SeqLSTM: Seq2SeqLSTMGenerator,
    Seq2SeqTransformer: Seq2SeqTransformerGenerator,
    Seq2SeqRelationalMemory: Seq2SeqRelationalMemoryGenerator,
    ConditionalVAE: LatentSequenceGenerator,
    CausalLM: CausalLMGenerator,
    PluginGenerator: AdaptedGenerator,
}


@overload
def build_generator(
    settings: LSTM | TransformerDecoder | RelationalMemory | ManagerWorker, space: SequenceSpace
) -> AutoregressiveGenerator: ...


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
    "ConditionalVAE",
    "Continuations",
    "Decoded",
    "Draw",
    "Generator",
    "GeneratorKind",
    "GeneratorSettings",
    "GoalDistribution",
    "LSTMGenerator",
    "LatentConv",
    "LatentConvGenerator",
    "LatentSequenceGenerator",
    "Distribution",
    "ManagerWorker",
    "ManagerWorkerGenerator",
    "PairManagerWorker",
    "PairManagerWorkerGenerator",
    "PluginGenerator",
    "RelationalMemory",
    "RelationalMemoryGenerator",
    "Sampler",
    "Samples",
    "SavedModel",
    "Seq2SeqLSTM",
    "Seq2SeqLSTMGenerator",
    "Seq2SeqRelationalMemory",
    "Seq2SeqRelationalMemoryGenerator",
    "Seq2SeqTransformer",
    "Seq2SeqTransformerGenerator",
    "SequenceVAE",
    "State",
    "Stepper",
    "TransformerDecoder",
    "TransformerGenerator",
    "build_generator",
    "shift_right",
]
