"""An LSTM that judges each token given those before it (ScratchGAN, de Masson d'Autume et al. 2019).

Its weight penalty is the one on all weights, `adversary.l2_all` (1e-6 in the released code).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.embeddings import NoPretrained, Pretrained, TokenEmbedding, build_embedding, embedding_width

from .discriminator import Architecture, EmbeddingDiscriminator, Granularity, PlainScorer, Reads, Scorer


class CausalLSTM(Architecture):
    """Recurrent discriminator with one logit per token. It sees the tokens before, but not after."""

    kind: Literal["causal_lstm"] = "causal_lstm"
    embedding: Annotated[int, Choice((32, 64))] = Field(64, ge=1)
    """Width of the token embedding, without the columns of `pretrained`."""
    pretrained: Pretrained = NoPretrained()
    """Additional columns that are initialised from a file of word vectors."""
    hidden: Annotated[int, Choice((64, 128, 512))] = Field(512, ge=1)
    """Width of each layer."""
    layers: Annotated[int, Choice((1, 2))] = Field(1, ge=1)
    """Number of layers."""
    layer_norm: Annotated[bool, Choice((True, False))] = True
    """Whether to normalise the inputs of the four gates together, at each step."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.1, ge=0.0, lt=1.0)
    """Dropout on the embedding table, with one mask per minibatch: a token is dropped at all positions or at none."""
    position_features: Annotated[int, NotSearched("8 in the published implementation; a linear layer scales them")] = (
        Field(8, ge=0)
    )
    """Number of sinusoidal position features that are concatenated to the embedding."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "token"


class CausalLSTMDiscriminator(EmbeddingDiscriminator):
    """Embedding and position, a linear layer, LSTM layers, linear output at every token.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    embedding: TokenEmbedding

    def __init__(self, settings: CausalLSTM, space: SequenceSpace) -> None:
        super().__init__()
        self.embedding = build_embedding(space.vocab_size, settings.embedding, settings.pretrained)
        self.dropout = nn.Dropout(settings.dropout)
        self.register_buffer(
            "positions", position_features(space.max_length, settings.position_features), persistent=False
        )
        width = embedding_width(settings.embedding, settings.pretrained)
        self.projection = nn.Linear(width + settings.position_features, settings.hidden)
        self.layers = nn.ModuleList(_Layer(settings.hidden, settings.layer_norm) for _ in range(settings.layers))
        self.output = nn.Linear(settings.hidden, 1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings from a table that has been thinned once for the whole minibatch."""
        table: Tensor = self.dropout(self.embedding.weight)
        return tokens @ table if tokens.is_floating_point() else functional.embedding(tokens, table)

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits (B, T), 0 where the mask is False; nothing here is without a second derivative."""
        positions = self.get_buffer("positions")[: mask.shape[1]].expand(mask.shape[0], -1, -1)
        states = self.projection(torch.cat([embedded, positions.to(embedded.dtype)], dim=2))
        for layer in self.layers:
            states = layer(states)
        logits: Tensor = self.output(states).squeeze(2)
        return logits.masked_fill(~mask, 0.0)

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.output.weight.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


class _Layer(nn.Module):
    """LSTM over time, its gates' inputs normalised: torch's own has no layer norm inside.

    i, j, f, o = LayerNorm(W x_t + R h_{t-1} + b);  c_t = σ(f + 1)·c_{t-1} + σ(i)·tanh(j);  h_t = σ(o)·tanh(c_t)
    """

    def __init__(self, width: int, layer_norm: bool) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, 4 * width)
        self.recurrent = nn.Linear(width, 4 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width) if layer_norm else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        gates_of_inputs = self.inputs(inputs)
        state = cell = inputs.new_zeros(inputs.shape[0], inputs.shape[2])
        states = []
        for position in range(inputs.shape[1]):
            gates = self.norm(gates_of_inputs[:, position] + self.recurrent(state))
            admit, new, keep, show = gates.chunk(4, 1)
            cell = torch.sigmoid(keep + 1.0) * cell + torch.sigmoid(admit) * torch.tanh(new)
            state = torch.sigmoid(show) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=1)


def position_features(max_length: int, number: int) -> Tensor:
    """Sinusoids of the position with geometric periods, each shifted so that they begin apart.

    features[t, k] = cos(π·(t / period_k + shift_k)), periods from 2 to T in geometric steps, shifts from 0 to 2 in
    equal ones. What is called a period here and in the released code is half a wave, so that the longest never repeats.

    Args:
        max_length: T.
        number: of sinusoids.

    Returns:
        (T, number) float32.
    """
    periods = torch.logspace(math.log10(2.0), math.log10(max_length), number, dtype=torch.float64)
    shifts = torch.linspace(0.0, 2.0, number, dtype=torch.float64)
    times = torch.arange(max_length, dtype=torch.float64).unsqueeze(1)
    return torch.cos(math.pi * (times / periods + shifts)).float()
