"""What both Transformer generators are made of: layers with layer norm before each part, and steps on kept keys.

Source: Vaswani et al. 2017; layer norm before each part, and what is added scaled down at first, as in Radford et al.
2019. For sampling the keys and values of all tokens so far are kept, so that a step costs one token. Continuations of
the prefixes of a sequence begin from one cache of the whole sequence: each reads as much of it as its prefix has.

    B sequences, T positions, R rows of the hot loop, W width, H heads, D = W/H
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.relaxation import relaxed_rows

from .generator import GeneratorKind, State, shift_right
from .vocabulary import token_logprobs

Lookup = Callable[[int, Tensor], Tensor]
"""What the queries (B, H, T, D) of a layer, which is told by its number, find in what the decoder was given;
(B, H, T, D)."""


class TransformerSizes(GeneratorKind):
    """Sizes that all Transformer generators have."""

    relaxes: ClassVar[bool] = True

    width: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of the token embedding and of every layer."""
    heads: Annotated[int, Choice((2, 4))] = Field(4, ge=1)
    """Number of attention heads, which divide the width among them."""
    layers: Annotated[int, Choice((1, 2, 4))] = Field(2, ge=1)
    """Number of layers."""
    expansion: Annotated[int, NotSearched("4 everywhere since 2017")] = Field(4, ge=1)
    """Width of the feed-forward layer as a multiple of `width`."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the embedding and on the output of each sublayer, in maximum-likelihood pretraining."""
    tied: Annotated[bool, Choice((True, False))] = True
    """Whether the output layer shares the embedding matrix (Press & Wolf 2017)."""
    init_std: Annotated[float, NotSearched("loses its effect soon with Adam")] = Field(0.02, gt=0.0)
    """Standard deviation of the initial matrices and embeddings, drawn from N(0, init_std²); projections into the
    residual stream are divided by √(2·layers)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerSizes:
        if self.width % self.heads:
            raise ConfigError(
                f"generator.width={self.width}: must be a multiple of generator.heads={self.heads}.",
                code="generator_heads",
                fields={"generator.width": self.width, "generator.heads": self.heads},
            )
        return self


def by_heads(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """So many (B, H, T, D) of a projection (B, T, parts·W)."""
    batch, length, width = projected.shape
    return projected.view(batch, length, parts, heads, width // (parts * heads)).permute(2, 0, 3, 1, 4).unbind(0)


class Layer(nn.Module):
    """Self-attention and a feed-forward part, each added to the stream; between them, attention to what was given.

    Args:
        sizes: of the layer.
        looks_up: whether it attends to anything but the stream.
    """

    def __init__(self, sizes: TransformerSizes, looks_up: bool = False) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.before_attention, self.before_expansion = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.expand = nn.Linear(width, sizes.expansion * width)
        self.contract = nn.Linear(sizes.expansion * width, width)
        self.dropout = nn.Dropout()
        self.memory = MemoryAttention(sizes) if looks_up else None

    def forward(
        self, stream: Tensor, is_seen: Tensor | None = None, find: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """A stream (B, T, W) through the layer.

        Args:
            stream: (B, T, W).
            is_seen: (B, T) bool, positions that every other attends to; None: each attends to itself and those before.
            find: what queries find in what was given, for a layer that looks it up.
        """
        queries, keys, values = self.project(stream)
        mask = None if is_seen is None else is_seen[:, None, None]
        attended = functional.scaled_dot_product_attention(queries, keys, values, mask, is_causal=mask is None)
        return self.add(stream, attended, find)

    def project(self, stream: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, H, T, D) of a stream (B, T, W)."""
        return by_heads(self.queries_keys_values(self.before_attention(stream)), 3, self.heads)

    def add(self, stream: Tensor, attended: Tensor, find: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The stream (B, T, W) with what was attended to (B, H, T, D), what was found, and the feed-forward part."""
        stream = stream + self.dropout(self.mix(attended.transpose(1, 2).flatten(2)))
        if self.memory is not None:
            assert find is not None
            stream = stream + self.dropout(self.memory(stream, find))
        expanded = functional.gelu(self.expand(self.before_expansion(stream)))
        added: Tensor = self.dropout(self.contract(expanded))
        return stream + added


class MemoryAttention(nn.Module):
    """Attention of a layer to what was given."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.before = nn.LayerNorm(sizes.width)
        self.queries = nn.Linear(sizes.width, sizes.width)
        self.keys_values = nn.Linear(sizes.width, 2 * sizes.width)
        self.mix = nn.Linear(sizes.width, sizes.width)

    def forward(self, stream: Tensor, find: Callable[[Tensor], Tensor]) -> Tensor:
        """What is added to a stream (B, T, W); its queries (B, H, T, D) find values (B, H, T, D)."""
        (queries,) = by_heads(self.queries(self.before(stream)), 1, self.heads)
        mixed: Tensor = self.mix(find(queries).transpose(1, 2).flatten(2))
        return mixed

    def project(self, read: Tensor) -> tuple[Tensor, ...]:
        """Keys and values (B, H, S, D) of what was read (B, S, W)."""
        return by_heads(self.keys_values(read), 2, self.heads)


class Decoder(nn.Module):
    """Embedding and learned positions, layers, layer norm, linear output: the part of a generator that writes.

    Args:
        sizes: of the layers.
        space: the task's sequences.
        looks_up: whether its layers attend to what it was given.
    """

    def __init__(self, sizes: TransformerSizes, space: SequenceSpace, looks_up: bool = False) -> None:
        super().__init__()
        self.vocab_size, self.max_length = space.vocab_size, space.max_length
        self.start_id = space.required_start
        self._dropout_rate = sizes.dropout
        self.embedding = nn.Embedding(space.vocab_size, sizes.width)
        self.positions = nn.Embedding(space.max_length, sizes.width)
        self.layers = nn.ModuleList(Layer(sizes, looks_up) for _ in range(sizes.layers))
        self.last_norm = nn.LayerNorm(sizes.width)
        self.output = nn.Linear(sizes.width, space.vocab_size)
        self.dropout = nn.Dropout()

    def begin(self, sizes: TransformerSizes) -> None:
        """Give every parameter that there is its first value."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                added = name.endswith(("mix.weight", "contract.weight"))
                nn.init.normal_(parameter, std=sizes.init_std / (math.sqrt(2 * sizes.layers) if added else 1.0))
        if sizes.tied:
            self.output.weight = self.embedding.weight
        self.use_dropout(True)

    @property
    def blocks(self) -> list[Layer]:
        """The layers, as what they are."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = self._dropout_rate if enabled else 0.0

    def features(self, inputs: Tensor, lookup: Lookup | None = None) -> Tensor:
        """What the output layer reads, (B, T, W), of inputs (B, T) that begin with the start token."""
        stream = self.dropout(self.embedding(inputs) + self.positions.weight[: inputs.shape[1]])
        for index, layer in enumerate(self.blocks):
            stream = layer(stream, find=_of_layer(lookup, index))
        features: Tensor = self.last_norm(stream)
        return features

    def logprobs_of(self, tokens: Tensor, temperature: float, read: Tensor | None, lookup: Lookup | None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        features = self.features(shift_right(tokens if read is None else read, self.start_id), lookup)
        features = features.flatten(0, 1) / temperature
        return token_logprobs(features, self.output.weight, self.output.bias / temperature, tokens.flatten()).view_as(
            tokens
        )

    def relaxed_of(
        self, noise: Tensor, temperature: float, straight_through: bool, lookup: Lookup | None
    ) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        rows, tokens = [], []
        embedded = self.embedding.weight[self.start_id].expand(noise.shape[0], -1)
        seen: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for position in range(noise.shape[1]):
            stream = self.dropout(embedded + self.positions.weight[position]).unsqueeze(1)
            for index, layer in enumerate(self.blocks):
                queries, keys, values = layer.project(stream)
                before = seen[index]
                if before is not None:
                    keys, values = (torch.cat(pair, 2) for pair in zip(before, (keys, values), strict=True))
                seen[index] = (keys, values)
                attended = functional.scaled_dot_product_attention(queries, keys, values)
                stream = layer.add(stream, attended, _of_layer(lookup, index))
            logits = self.output(self.last_norm(stream).squeeze(1))
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            embedded = row @ self.embedding.weight
        return torch.stack(rows, 1), torch.stack(tokens, 1)


_PLACES = 32
"""Attention on a CPU reads keys in blocks of so many. Sums over whole blocks are rounded as those over all places are,
where what stands behind weighs 0."""


def _of_layer(lookup: Lookup | None, index: int) -> Callable[[Tensor], Tensor] | None:
    return None if lookup is None else lambda queries: lookup(index, queries)


class Cache:
    """Steps of a frozen decoder on kept keys and values.

    The state of a row is (number of tokens consumed (), features (W,), and for each layer keys and values (H, T, D) of
    which the first so many count). There is room for all T from the beginning: a step writes one place of it, and
    nothing that stands there is copied until rows leave. Behind what counts stand finite numbers, whose weight is 0.

    Args:
        decoder: frozen, in evaluation mode; not copied.
        temperature: divides the logits.
    """

    @torch.no_grad()
    def __init__(self, decoder: Decoder, temperature: float) -> None:
        self.decoder = decoder
        to_log2 = 1.0 / (temperature * math.log(2.0))  # exp2 costs half of exp
        weight, bias = decoder.output.weight, decoder.output.bias
        padded = padded_vocab_size(decoder.vocab_size)
        self._output_weight = weight.new_zeros(weight.shape[1], padded)
        self._output_weight[:, : decoder.vocab_size] = weight.T * to_log2
        # exp2(-1e30) is exactly 0: padding can never be drawn.
        self._output_bias = bias.new_full((padded,), -1e30)
        self._output_bias[: decoder.vocab_size] = bias * to_log2

    @torch.no_grad()
    def start(self, num_rows: int, lookup: Lookup | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        decoder, weight = self.decoder, self._output_weight
        layer = decoder.blocks[0]
        width = weight.shape[0]
        shape = (num_rows, layer.heads, decoder.max_length, width // layer.heads)
        consumed = torch.zeros(num_rows, dtype=torch.int64, device=weight.device)
        keeps = [weight.new_zeros(shape) for _ in range(2 * len(decoder.layers))]
        state = (consumed, weight.new_zeros(num_rows, width), *keeps)
        return self.advance(state, torch.full_like(consumed, decoder.start_id), lookup)

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor, lookup: Lookup | None = None) -> State:
        """State after one more token; see `Stepper.advance`."""
        decoder = self.decoder
        consumed, _, *kept = state
        reach = self._reach(consumed, 1)
        is_seen = (torch.arange(reach, device=consumed.device) <= consumed.unsqueeze(1)).view(-1, 1, 1, reach)
        rows = torch.arange(len(consumed), device=consumed.device)
        stream = (decoder.embedding(tokens) + decoder.positions(consumed)).unsqueeze(1)
        for index, layer in enumerate(decoder.blocks):
            queries, *news = layer.project(stream)
            both = kept[2 * index : 2 * index + 2]
            for part, new in zip(both, news, strict=True):
                part[rows, :, consumed] = new.squeeze(2)
            keys, values = (part[:, :, :reach] for part in both)
            attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=is_seen)
            stream = layer.add(stream, attended, _of_layer(lookup, index))
        return (consumed + 1, decoder.last_norm(stream).squeeze(1), *kept)

    @torch.no_grad()
    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows; see `Stepper.select`. Of keys and values only what counts is copied."""
        consumed, features, *kept = state
        reach = self._reach(consumed, 0)
        picked = [part.new_empty(len(rows), *part.shape[1:]) for part in kept]
        for part, room in zip(kept, picked, strict=True):
            torch.index_select(part[:, :, :reach], 0, rows, out=room[:, :, :reach])
            room[:, :, reach:].zero_()
        return (consumed.index_select(0, rows), features.index_select(0, rows), *picked)

    def _reach(self, consumed: Tensor, more: int) -> int:
        """Places that count in any row when so many more tokens are consumed, up to a multiple of `_PLACES`.

        On a GPU all there are, for to know fewer the host would have to wait.
        """
        most = self.decoder.max_length
        if consumed.device.type != "cpu":
            return most
        return min(most, -(-(int(consumed.max()) + more) // _PLACES) * _PLACES)

    @torch.no_grad()
    def prefix_states(self, tokens: Tensor, lookup: Lookup | None = None) -> State:
        """States of all prefixes, by one pass over whole sequences; see `Stepper.prefix_states`."""
        decoder, (batch, length) = self.decoder, tokens.shape
        inputs = torch.cat([tokens.new_full((batch, 1), decoder.start_id), tokens], 1)[:, : decoder.max_length]
        stream = decoder.embedding(inputs) + decoder.positions.weight[: inputs.shape[1]]
        keeps: list[Tensor] = []
        for index, layer in enumerate(decoder.blocks):
            queries, keys, values = layer.project(stream)
            attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            stream = layer.add(stream, attended, _of_layer(lookup, index))
            missing = decoder.max_length - inputs.shape[1]
            # One cache for all prefixes of a sequence: each reads as much of it as it has consumed.
            keeps += [
                functional.pad(part, (0, 0, 0, missing)).unsqueeze(0).expand(length, *(-1,) * 4)
                for part in (keys, values)
            ]
        features = decoder.last_norm(stream).transpose(0, 1)
        # The whole sequence is the last prefix: at full length there is no position behind it, and nothing to ask.
        features = functional.pad(features[1:], (0, 0, 0, 0, 0, length + 1 - features.shape[0]))
        consumed = torch.arange(2, length + 2, device=tokens.device).unsqueeze(1).expand(length, batch)
        return (consumed, features, *keeps)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        log2_weights = torch.addmm(self._output_bias, state[1], self._output_weight)
        return log2_weights.sub_(log2_weights.amax(1, keepdim=True)).exp2_()
