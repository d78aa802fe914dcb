"""Discriminator networks: plain torch modules, each with a frozen scoring copy for the hot loop (`Scorer`).

Nothing here is trained: losses and updates live in `rlgan.adversary`. Layers shared with generators are `rlgan.layers`.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace

from .causal_lstm import CausalLSTM, CausalLSTMDiscriminator
from .cnn_highway import CnnHighway, CnnHighwayDiscriminator
from .density_ratio import DensityRatio, build_density_ratio
from .discriminator import Discriminator, EmbeddingDiscriminator, Granularity, PlainScorer, Scorer, TextsOfRun
from .duels import Duels
from .ensemble import Ensemble
from .hierarchical_lstm import HierarchicalLSTM, HierarchicalLSTMDiscriminator
from .interaction_cnn import InteractionCnn, InteractionCnnDiscriminator
from .language_model import LanguageModel, LanguageModelDiscriminator
from .logistic import Logistic, LogisticDiscriminator
from .lstm import BidirectionalLSTM, BidirectionalLSTMDiscriminator
from .multi_representation import (
    MultiRepresentation,
    MultiRepresentationDiscriminator,
    PairMultiRepresentation,
    PairMultiRepresentationDiscriminator,
)
from .pair_cnn import PairCnn, PairCnnDiscriminator
from .pair_discriminator import PairDiscriminator
from .pair_lstm import PairLSTM, PairLSTMDiscriminator
from .plugin import AdaptedDiscriminator, PluginDiscriminator
from .ranker import PairRanker, PairRankerDiscriminator, Ranker, RankerDiscriminator
from .res_conv import ResConv, ResConvDiscriminator
from .sequence_classifier import SequenceClassifier, SequenceClassifierDiscriminator
from .tabular import Tabular, TabularDiscriminator
from .transformer import Transformer, TransformerDiscriminator
from .triple_lstm import TripleLSTM, TripleLSTMDiscriminator
from .two_towers import HeadSettings, JointHead, SplitHead
from .verdict_writer import VerdictWriter, VerdictWriterDiscriminator
from .window_cnn import WindowCnn, WindowCnnDiscriminator

DiscriminatorSettings = Annotated[
    CnnHighway
    | BidirectionalLSTM
    | CausalLSTM
    | WindowCnn
    | Transformer
    | ResConv
    | MultiRepresentation
    | Ranker
    | LanguageModel
    | DensityRatio
    | Tabular
    | Logistic
    | PairCnn
    | PairLSTM
    | HierarchicalLSTM
    | InteractionCnn
    | TripleLSTM
    | PairMultiRepresentation
    | PairRanker
    | SequenceClassifier
    | VerdictWriter
    | PluginDiscriminator,
    Field(discriminator="kind"),
]
"""Settings of any discriminator."""

_NETWORKS: dict[type[Settings], Callable[[Any, SequenceSpace], Discriminator]] = {
    CnnHighway: lambda settings, space: CnnHighwayDiscriminator(settings, space.vocab_size),
    BidirectionalLSTM: lambda settings, space: BidirectionalLSTMDiscriminator(settings, space.vocab_size),
    CausalLSTM: CausalLSTMDiscriminator,
    WindowCnn: WindowCnnDiscriminator,
    Transformer: TransformerDiscriminator,
    ResConv: ResConvDiscriminator,
    MultiRepresentation: MultiRepresentationDiscriminator,
    Ranker: RankerDiscriminator,
    LanguageModel: LanguageModelDiscriminator.of,
    DensityRatio: build_density_ratio,
    Tabular: lambda settings, space: TabularDiscriminator(space),
    Logistic: LogisticDiscriminator,
    PairCnn: PairCnnDiscriminator,
    PairLSTM: PairLSTMDiscriminator,
    HierarchicalLSTM: HierarchicalLSTMDiscriminator,
    InteractionCnn: InteractionCnnDiscriminator,
    TripleLSTM: TripleLSTMDiscriminator,
    PairMultiRepresentation: PairMultiRepresentationDiscriminator,
    PairRanker: PairRankerDiscriminator,
    SequenceClassifier: SequenceClassifierDiscriminator,
    VerdictWriter: VerdictWriterDiscriminator,
    PluginDiscriminator: AdaptedDiscriminator,
}


def build_discriminator(settings: DiscriminatorSettings, space: SequenceSpace) -> Discriminator:
    """Fresh discriminator for the sequences of `space`, initialised from torch's global random state.

    Raises:
        ConfigError: the architecture is not for a space of this size, or judges pairs where there are none.
    """
    members = [_NETWORKS[type(settings)](settings, space) for _ in range(settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


__all__ = [
    "AdaptedDiscriminator",
    "BidirectionalLSTM",
    "BidirectionalLSTMDiscriminator",
    "CausalLSTM",
    "CausalLSTMDiscriminator",
    "CnnHighway",
    "CnnHighwayDiscriminator",
    "DensityRatio",
    "Discriminator",
    "DiscriminatorSettings",
    "Duels",
    "EmbeddingDiscriminator",
    "Ensemble",
    "Granularity",
    "HeadSettings",
    "HierarchicalLSTM",
    "HierarchicalLSTMDiscriminator",
    "InteractionCnn",
    "InteractionCnnDiscriminator",
    "JointHead",
    "LanguageModel",
    "LanguageModelDiscriminator",
    "Logistic",
    "LogisticDiscriminator",
    "MultiRepresentation",
    "MultiRepresentationDiscriminator",
    "PairCnn",
    "PairCnnDiscriminator",
    "PairDiscriminator",
    "PairLSTM",
    "PairLSTMDiscriminator",
    "PairMultiRepresentation",
    "PairMultiRepresentationDiscriminator",
    "PairRanker",
    "PairRankerDiscriminator",
    "PlainScorer",
    "PluginDiscriminator",
    "Ranker",
    "RankerDiscriminator",
    "ResConv",
    "ResConvDiscriminator",
    "Scorer",
    "SequenceClassifier",
    "SequenceClassifierDiscriminator",
    "SplitHead",
    "Tabular",
    "TabularDiscriminator",
    "TextsOfRun",
    "Transformer",
    "TransformerDiscriminator",
    "TripleLSTM",
    "TripleLSTMDiscriminator",
    "VerdictWriter",
    "VerdictWriterDiscriminator",
    "WindowCnn",
    "WindowCnnDiscriminator",
    "build_discriminator",
]
