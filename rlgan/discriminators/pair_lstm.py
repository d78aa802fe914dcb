"""An LSTM for the condition and one for the sequence (the RNN of CSGAN-NMT, Yang et al. 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.recurrent import last_states

from .discriminator import Architecture, Granularity, Reads
from .two_towers import HeadSettings, JointHead, Tower, TwoTowerDiscriminator


class PairLSTM(Architecture):
    """Recurrent discriminator of pairs. Published embeddings have width 512; the defaults are smaller."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["pair_lstm"] = "pair_lstm"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of each LSTM."""
    mlp_hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of the hidden layer that joins both sides."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout on the embeddings, and after the hidden layer."""
    head: HeadSettings = JointHead()
    """One score for the pair, or separate scores for the sequence and for the pair."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"


class PairLSTMDiscriminator(TwoTowerDiscriminator):
    """Embeddings, the last state of an LSTM a side, a head with a hidden layer.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: PairLSTM, space: SequenceSpace) -> None:
        super().__init__(
            space,
            settings.embedding,
            _LSTMTower(settings),
            _LSTMTower(settings),
            settings.head,
            settings.mlp_hidden,
            settings.dropout,
        )


class _LSTMTower(Tower):
    def __init__(self, settings: PairLSTM) -> None:
        super().__init__()
        self.num_features = settings.hidden
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, batch_first=True)

    def forward(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """(B, H) last states; see `Tower.forward`."""
        return last_states(self.lstm, self.dropout(embedded), mask, is_twice_differentiable)
