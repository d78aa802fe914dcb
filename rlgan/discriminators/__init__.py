"""Discriminator networks: plain torch modules with a frozen scoring copy for the hot loop."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.settings import Settings

from .causal_lstm import CausalLSTM, CausalLSTMDiscriminator
from .cnn_highway import CnnHighway, CnnHighwayDiscriminator
from .discriminator import Discriminator, EmbeddingDiscriminator, Granularity, PlainScorer, Scorer
from .ensemble import Ensemble
from .language_model import LanguageModel, LanguageModelDiscriminator
from .lstm import BidirectionalLSTM, BidirectionalLSTMDiscriminator
from .res_conv import ResConv, ResConvDiscriminator
from .tabular import Tabular, TabularDiscriminator
from .transformer import Transformer, TransformerDiscriminator

DiscriminatorSettings = Annotated[
    CnnHighway | BidirectionalLSTM | CausalLSTM | Transformer | ResConv | LanguageModel | Tabular,
    Field(discriminator="kind"),
]
"""Settings of any discriminator."""

_NETWORKS: dict[type[Settings], Callable[[Any, SequenceSpace], Discriminator]] = {
    CnnHighway: lambda settings, space: CnnHighwayDiscriminator(settings, space.vocab_size),
    BidirectionalLSTM: lambda settings, space: BidirectionalLSTMDiscriminator(settings, space.vocab_size),
    CausalLSTM: CausalLSTMDiscriminator,
    Transformer: TransformerDiscriminator,
    ResConv: ResConvDiscriminator,
    LanguageModel: LanguageModelDiscriminator.of,
    Tabular: lambda settings, space: TabularDiscriminator(space),
}


def build_discriminator(settings: DiscriminatorSettings, space: SequenceSpace) -> Discriminator:
    """Fresh discriminator for the sequences of `space`, initialised from torch's global random state.

    Raises:
        ConfigError: the architecture is not for a space of this size.
    """
    members = [_NETWORKS[type(settings)](settings, space) for _ in range(settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


__all__ = [
    "BidirectionalLSTM",
    "BidirectionalLSTMDiscriminator",
    "CausalLSTM",
    "CausalLSTMDiscriminator",
    "CnnHighway",
    "CnnHighwayDiscriminator",
    "Discriminator",
    "DiscriminatorSettings",
    "EmbeddingDiscriminator",
    "Ensemble",
    "Granularity",
    "LanguageModel",
    "LanguageModelDiscriminator",
    "PlainScorer",
    "ResConv",
    "ResConvDiscriminator",
    "Scorer",
    "Tabular",
    "TabularDiscriminator",
    "Transformer",
    "TransformerDiscriminator",
    "build_discriminator",
]
