"""Self-attention over the whole sequence, each layer of it faded in from nothing (SAGAN, Zhang et al. 2019).

Spectral norm divides the matrix of every linear layer by its greatest singular value (Miyato et al. 2018); embeddings
and positions are not divided, for the layer norm behind them takes their scale away.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, Uniform
from rlgan.envs.sequence_space import SequenceSpace

from .discriminator import Architecture, EmbeddingDiscriminator, Granularity, PlainScorer, Reads, Scorer, read_by


class Transformer(Architecture):
    """Discriminator with self-attention layers."""

    kind: Literal["transformer"] = "transformer"
    width: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of embedding and layers; the heads divide it among them."""
    layers: Annotated[int, Choice((1, 2, 4))] = Field(2, ge=1)
    """Number of layers."""
    heads: Annotated[int, Choice((1, 2, 4))] = Field(4, ge=1)
    """Number of attention heads per layer."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.1, ge=0.0, lt=1.0)
    """Dropout on the embedding and on the output of each layer."""
    spectral_norm: Annotated[bool, Choice((False, True))] = False
    """Whether to divide the matrix of each linear layer by its largest singular value, estimated by one power
    iteration per pass."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"
    gives_features: ClassVar[bool] = True

    @property
    def has_spectral_norm(self) -> bool:
        """As `spectral_norm` says."""
        return self.spectral_norm

    @model_validator(mode="after")
    def _check(self) -> Transformer:
        if self.width % self.heads:
            raise ConfigError(
                f"discriminator.heads={self.heads}: must divide discriminator.width={self.width}.",
                code="discriminator_heads",
                fields={"discriminator.heads": self.heads, "discriminator.width": self.width},
            )
        return self


class TransformerDiscriminator(EmbeddingDiscriminator):
    """Embedding and learned position, attention and feed-forward layers, mean over real positions, linear output.

    The last layer norm has no scale of its own, so that under spectral norm the logit is bounded.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: Transformer, space: SequenceSpace) -> None:
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, settings.width)
        self.positions = nn.Parameter(0.1 * torch.randn(space.max_length, settings.width))
        self.dropout = nn.Dropout(settings.dropout)
        self.attentions = nn.ModuleList(SelfAttention(settings) for _ in range(settings.layers))
        self.feed_forwards = nn.ModuleList(_FeedForward(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width, elementwise_affine=False)
        self.output = _linear(settings, settings.width, 1)

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits; nothing here is without a second derivative."""
        is_real = mask.unsqueeze(2)
        states = self.dropout(embedded + self.positions[: mask.shape[1]]) * is_real
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            states = feed_forward(attention(states, mask))
        pooled = (self.norm(states) * is_real).sum(1) / is_real.sum(1)
        logits: Tensor = self.output(pooled).squeeze(1)
        return logits

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What its output layer reads; see `Discriminator.output_features`."""
        return read_by(self.output, lambda: self(tokens, mask, conditions))

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.positions.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy, which iterates no more; see `Discriminator.scorer`."""
        return PlainScorer(self)


class SelfAttention(nn.Module):
    """x + γ·o, o = softmax(q kᵀ/√d) v of the layer-normed x, γ learned from 0 (SAGAN, Zhang et al. 2019).

    The scale 1/√d and several heads are the Transformer's; SAGAN has neither.

    Args:
        settings: sizes.
    """

    def __init__(self, settings: Transformer) -> None:
        super().__init__()
        width = settings.width
        self.num_heads = settings.heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (_linear(settings, width, width) for _ in range(4))
        self.dropout = nn.Dropout(settings.dropout)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W) and (B, T) to (B, T, W); positions where the mask is False are not attended to."""
        normed = self.norm(states)
        query, key, value = (
            layer(normed).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        # Written out, for torch's fused attention has no second derivative.
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        shares = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(3)
        attended = (shares @ value).transpose(1, 2).flatten(2)
        return states + self.gamma * self.dropout(self.out(attended))


class _FeedForward(nn.Module):
    def __init__(self, settings: Transformer) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width)
        self.first = _linear(settings, settings.width, 4 * settings.width)
        self.second = _linear(settings, 4 * settings.width, settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, states: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.first(self.norm(states)))
        added: Tensor = self.dropout(self.second(hidden))
        return states + added


def _linear(settings: Transformer, num_inputs: int, num_outputs: int) -> nn.Module:
    linear = nn.Linear(num_inputs, num_outputs)
    return spectral_norm(linear) if settings.spectral_norm else linear
