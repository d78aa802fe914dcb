"""Discriminator networks: plain torch modules with a frozen scoring copy for the hot loop."""

from typing import Annotated

from pydantic import Field

from rlgan.envs.sequence_space import SequenceSpace

from .causal_lstm import CausalLSTM, CausalLSTMDiscriminator
from .cnn_highway import CnnHighway, CnnHighwayDiscriminator
from .discriminator import Discriminator, EmbeddingDiscriminator, Granularity, Scorer
from .ensemble import Ensemble
from .lstm import BidirectionalLSTM, BidirectionalLSTMDiscriminator

DiscriminatorSettings = Annotated[CnnHighway | BidirectionalLSTM | CausalLSTM, Field(discriminator="kind")]
"""Settings of any discriminator."""


def build_discriminator(settings: DiscriminatorSettings, space: SequenceSpace) -> Discriminator:
    """Fresh discriminator for the sequences of `space`, initialised from torch's global random state."""
    members = [_build_one(settings, space) for _ in range(settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


def _build_one(settings: DiscriminatorSettings, space: SequenceSpace) -> Discriminator:
    if isinstance(settings, CnnHighway):
        return CnnHighwayDiscriminator(settings, space.vocab_size)
    if isinstance(settings, CausalLSTM):
        return CausalLSTMDiscriminator(settings, space)
    return BidirectionalLSTMDiscriminator(settings, space.vocab_size)


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
    "Scorer",
    "build_discriminator",
]
