"""A bidirectional LSTM with the greatest response of each unit over time (the pooling of Conneau et al. 2017)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, LogUniform, Uniform
from rlgan.layers.recurrent import BiLSTM

from .discriminator import Architecture, EmbeddingDiscriminator, Granularity, PlainScorer, Reads, Scorer, read_by


class BidirectionalLSTM(Architecture):
    """Recurrent discriminator that reads finished sequences in both directions."""

    kind: Literal["lstm"] = "lstm"
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(32, ge=1)
    """Width of the token embedding."""
    hidden: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of each direction."""
    layers: Annotated[int, Choice((1, 2))] = Field(1, ge=1)
    """Number of layers."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout on the embedding, between layers, and before the output layer."""
    l2_out: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.0, ge=0.0)
    """Weight λ of the penalty λ·(½‖W_out‖² + ½‖b_out‖²)."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"
    gives_features: ClassVar[bool] = True


class BidirectionalLSTMDiscriminator(EmbeddingDiscriminator):
    """Embedding, LSTM in both directions, max over real positions, linear output.

    Args:
        settings: sizes.
        vocab_size: number of tokens V.
    """

    def __init__(self, settings: BidirectionalLSTM, vocab_size: int) -> None:
        super().__init__()
        self.l2_out = settings.l2_out
        self.embedding = nn.Embedding(vocab_size, settings.embedding)
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = BiLSTM(settings.embedding, settings.hidden, settings.layers, settings.dropout)
        self.output = nn.Linear(2 * settings.hidden, 1)

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits; see `EmbeddingDiscriminator.judge`."""
        states, _ = self.lstm(self.dropout(embedded), mask, is_twice_differentiable)
        pooled = states.masked_fill(~mask.unsqueeze(2), -torch.inf).amax(1)
        logits: Tensor = self.output(self.dropout(pooled)).squeeze(1)
        return logits

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What its output layer reads; see `Discriminator.output_features`."""
        return read_by(self.output, lambda: self(tokens, mask, conditions))

    def penalty(self) -> Tensor:
        """λ·(½‖W_out‖² + ½‖b_out‖²)."""
        return self.l2_out * 0.5 * (self.output.weight.square().sum() + self.output.bias.square().sum())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)
