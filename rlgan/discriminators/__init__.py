"""Discriminator networks: plain torch modules with a frozen scoring copy for the hot loop."""

from rlgan.envs.sequence_space import SequenceSpace

from .cnn_highway import CnnHighway, CnnHighwayDiscriminator
from .discriminator import Discriminator, Scorer
from .ensemble import Ensemble

DiscriminatorSettings = CnnHighway
"""Settings of any discriminator; becomes a discriminated union with the second architecture."""


def build_discriminator(settings: DiscriminatorSettings, space: SequenceSpace) -> Discriminator:
    """Fresh discriminator for the sequences of `space`, initialised from torch's global random state."""
    members = [CnnHighwayDiscriminator(settings, space.vocab_size) for _ in range(settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


__all__ = [
    "CnnHighway",
    "CnnHighwayDiscriminator",
    "Discriminator",
    "DiscriminatorSettings",
    "Ensemble",
    "Scorer",
    "build_discriminator",
]
