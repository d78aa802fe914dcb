"""Transformer decoder as generator (Vaswani et al. 2017, with layer norm before each part as in Radford et al. 2019).

For sampling the keys and values of all tokens so far are kept, so that a step costs one token. Continuations of the
prefixes of a sequence begin from one cache of the whole sequence: each reads as much of it as its prefix has.

    B sequences, T positions, R rows of the hot loop, W width, H heads
"""

from __future__ import annotations

import copy
import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.errors import ConfigError
from rlgan.envs.priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import START_ID, SequenceSpace
from rlgan.envs.settings import Settings
from rlgan.relaxation import relaxed_rows

from .generator import AutoregressiveGenerator, State, Stepper, shift_right
from .vocabulary import token_logprobs


class TransformerDecoder(Settings):
    """Transformer generator."""

    reads_conditions: ClassVar[bool] = False
    kind: Literal["transformer"] = "transformer"
    width: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of the token embedding and of every layer."""
    heads: Annotated[int, Choice((2, 4))] = Field(4, ge=1)
    """Attention heads, which share the width."""
    layers: Annotated[int, Choice((1, 2, 4))] = Field(2, ge=1)
    """Number of layers."""
    expansion: Annotated[int, NotSearched("4 everywhere since 2017")] = Field(4, ge=1)
    """Width of the feed-forward part over that of the layer."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the embedding and on what each part adds, in maximum-likelihood pretraining."""
    tied: Annotated[bool, Choice((True, False))] = True
    """The output layer is the embedding (Press & Wolf 2017)."""
    init_std: Annotated[float, NotSearched("Adam soon forgets it")] = Field(0.02, gt=0.0)
    """Matrices and embeddings start from N(0, init_std²); what is added to the stream, less by √(2·layers)."""

    @model_validator(mode="after")
    def _check(self) -> TransformerDecoder:
        if self.width % self.heads:
            raise ConfigError(
                f"generator.width={self.width}: is not divided by generator.heads={self.heads}. Use a multiple."
            )
        return self


class _Layer(nn.Module):
    """Causal self-attention and a feed-forward part, each added to the stream."""

    def __init__(self, settings: TransformerDecoder) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.before_attention, self.before_expansion = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.expand = nn.Linear(width, settings.expansion * width)
        self.contract = nn.Linear(settings.expansion * width, width)
        self.dropout = nn.Dropout()

    def forward(self, stream: Tensor) -> Tensor:
        """(B, T, W) to (B, T, W)."""
        queries, keys, values = self.project(stream)
        return self.add(stream, functional.scaled_dot_product_attention(queries, keys, values, is_causal=True))

    def project(self, stream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, T, W/H) of a stream (B, T, W)."""
        batch, length, width = stream.shape
        projected = self.queries_keys_values(self.before_attention(stream))
        queries, keys, values = projected.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return queries, keys, values

    def add(self, stream: Tensor, attended: Tensor) -> Tensor:
        """The stream (B, T, W) with what was attended to (B, H, T, W/H), and the feed-forward part."""
        stream = stream + self.dropout(self.mix(attended.transpose(1, 2).flatten(2)))
        expanded = functional.gelu(self.expand(self.before_expansion(stream)))
        added: Tensor = self.dropout(self.contract(expanded))
        return stream + added


class TransformerGenerator(AutoregressiveGenerator):
    """Embedding and learned positions, layers, layer norm, linear output.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: TransformerDecoder, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.max_length = space.vocab_size, space.max_length
        self._dropout_rate = settings.dropout
        self.embedding = nn.Embedding(space.vocab_size, settings.width)
        self.positions = nn.Embedding(space.max_length, settings.width)
        self.layers = nn.ModuleList(_Layer(settings) for _ in range(settings.layers))
        self.last_norm = nn.LayerNorm(settings.width)
        self.output = nn.Linear(settings.width, space.vocab_size)
        self.dropout = nn.Dropout()
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                added = name.endswith(("mix.weight", "contract.weight"))
                nn.init.normal_(parameter, std=settings.init_std / (math.sqrt(2 * settings.layers) if added else 1.0))
        if settings.tied:
            self.output.weight = self.embedding.weight
        self.use_dropout(True)

    @property
    def blocks(self) -> list[_Layer]:
        """The layers, as what they are."""
        return [layer for layer in self.layers if isinstance(layer, _Layer)]

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = self._dropout_rate if enabled else 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits; see `AutoregressiveGenerator.forward`."""
        logits: Tensor = self.output(self._features(inputs))
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Law.logprobs`."""
        features = self._features(shift_right(tokens if read is None else read)).flatten(0, 1) / temperature
        return token_logprobs(features, self.output.weight, self.output.bias / temperature, tokens.flatten()).view_as(
            tokens
        )

    def _features(self, inputs: Tensor) -> Tensor:
        stream = self.dropout(self.embedding(inputs) + self.positions.weight[: inputs.shape[1]])
        for layer in self.blocks:
            stream = layer(stream)
        features: Tensor = self.last_norm(stream)
        return features

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Law.relaxed`."""
        rows, tokens = [], []
        embedded = self.embedding.weight[START_ID].expand(noise.shape[0], -1)
        seen: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for position in range(noise.shape[1]):
            stream = self.dropout(embedded + self.positions.weight[position]).unsqueeze(1)
            for index, layer in enumerate(self.blocks):
                queries, keys, values = layer.project(stream)
                before = seen[index]
                if before is not None:
                    keys, values = (torch.cat(pair, 2) for pair in zip(before, (keys, values), strict=True))
                seen[index] = (keys, values)
                stream = layer.add(stream, functional.scaled_dot_product_attention(queries, keys, values))
            logits = self.output(self.last_norm(stream).squeeze(1))
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            embedded = row @ self.embedding.weight
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def stepper(self, temperature: float = 1.0) -> TransformerStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return TransformerStepper(self, temperature)


class TransformerStepper(Stepper):
    """A step of one token on kept keys and values.

    The state of a row is (number of tokens consumed (), features (W,), and for each layer keys and values (H, T, W/H)
    of which the first so many count).
    """

    @torch.no_grad()
    def __init__(self, generator: TransformerGenerator, temperature: float) -> None:
        self._generator = copy.deepcopy(generator).eval().requires_grad_(False)
        to_log2 = 1.0 / (temperature * math.log(2.0))  # exp2 costs half of exp
        weight, bias = generator.output.weight, generator.output.bias
        padded = padded_vocab_size(generator.vocab_size)
        self._output_weight = weight.new_zeros(weight.shape[1], padded)
        self._output_weight[:, : generator.vocab_size] = weight.T * to_log2
        # exp2(-1e30) is exactly 0: padding can never be drawn.
        self._output_bias = bias.new_full((padded,), -1e30)
        self._output_bias[: generator.vocab_size] = bias * to_log2

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        generator, weight = self._generator, self._output_weight
        layer = generator.blocks[0]
        width = weight.shape[0]
        empty = weight.new_zeros(num_rows, layer.heads, generator.max_length, width // layer.heads)
        consumed = torch.zeros(num_rows, dtype=torch.int64, device=weight.device)
        state = (consumed, weight.new_zeros(num_rows, width), *(empty,) * (2 * len(generator.layers)))
        return self.advance(state, torch.full_like(consumed, START_ID))

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        generator = self._generator
        consumed, _, *kept = state
        positions = torch.arange(generator.max_length, device=consumed.device)
        is_here = (positions == consumed.unsqueeze(1)).view(-1, 1, generator.max_length, 1)
        is_seen = (positions <= consumed.unsqueeze(1)).view(-1, 1, 1, generator.max_length)
        stream = (generator.embedding(tokens) + generator.positions(consumed)).unsqueeze(1)
        keeps: list[Tensor] = []
        for index, layer in enumerate(generator.blocks):
            queries, *news = layer.project(stream)
            # A new tensor, for rows of a state may be taken up again.
            keys, values = (
                torch.where(is_here, new, old) for new, old in zip(news, kept[2 * index : 2 * index + 2], strict=True)
            )
            attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=is_seen)
            stream = layer.add(stream, attended)
            keeps += [keys, values]
        return (consumed + 1, generator.last_norm(stream).squeeze(1), *keeps)

    @torch.no_grad()
    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes, by one pass over whole sequences; see `Stepper.prefix_states`."""
        generator, (batch, length) = self._generator, tokens.shape
        inputs = torch.cat([tokens.new_full((batch, 1), START_ID), tokens], 1)[:, : generator.max_length]
        stream = generator.embedding(inputs) + generator.positions.weight[: inputs.shape[1]]
        keeps: list[Tensor] = []
        for layer in generator.blocks:
            queries, keys, values = layer.project(stream)
            attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            stream = layer.add(stream, attended)
            missing = generator.max_length - inputs.shape[1]
            # One cache for all prefixes of a sequence: each reads as much of it as it has consumed.
            keeps += [
                functional.pad(part, (0, 0, 0, missing)).unsqueeze(0).expand(length, *(-1,) * 4)
                for part in (keys, values)
            ]
        features = generator.last_norm(stream).transpose(0, 1)
        # The whole sequence is the last prefix: at full length there is no position behind it, and nothing to ask.
        features = functional.pad(features[1:], (0, 0, 0, 0, 0, length + 1 - features.shape[0]))
        consumed = torch.arange(2, length + 2, device=tokens.device).unsqueeze(1).expand(length, batch)
        return (consumed, features, *keeps)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        log2_weights = torch.addmm(self._output_bias, state[1], self._output_weight)
        return log2_weights.sub_(log2_weights.amax(1, keepdim=True)).exp2_()
