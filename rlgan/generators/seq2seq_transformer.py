"""Transformer encoder-decoder (Vaswani et al. 2017), with layer norm before each part.

    memory   M = norm(layers(e(x_i) + p_i)), attention everywhere but to padding
    decoder  of `transformer_stack`, each of whose layers attends to itself, to M, and then feeds forward

A condition is read once, and the keys and values that each layer of the decoder has of it are computed once: a state
says only which condition its row is given, and rows of one condition look it up together.

    B sequences, C conditions, R rows of the hot loop, S positions of a condition, T of a sequence, W width, H heads,
    D = W/H
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.weights import frozen_copy
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

from .generator import AttendingDistribution, Generator, State, Stepper, shift_right
from .transformer_stack import Cache, Decoder, Layer, TransformerSizes


class Seq2SeqTransformer(TransformerSizes):
    """Transformer encoder-decoder; encoder and decoder have `layers` layers each."""

    reads_conditions: ClassVar[bool] = True
    attends: ClassVar[bool] = True
    kind: Literal["seq2seq_transformer"] = "seq2seq_transformer"


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the layers of the decoder look up.

    Attributes:
        keys: of each layer (C, H, S, D).
        values: of each layer (C, H, S, D).
        mask: (C, S) bool, False at padding.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor

    def find(self, index: int, queries: Tensor) -> Tensor:
        """What queries (C, H, T, D) of a layer find, row by row, (C, H, T, D); a `Lookup`."""
        mask = self.mask[:, None, None]
        return functional.scaled_dot_product_attention(queries, self.keys[index], self.values[index], attn_mask=mask)

    def weights(self, index: int, queries: Tensor) -> Tensor:
        """How much of each position is found by queries (C, H, T, D); (C, H, T, S), 0 at padding."""
        scores = queries @ self.keys[index].transpose(2, 3) / math.sqrt(queries.shape[3])
        return torch.softmax(scores.masked_fill(~self.mask[:, None, None], -torch.inf), dim=3)

    def of(self, conditions: Tensor) -> _Memory:
        """That of some conditions (n,) int64, by their numbers."""
        keys, values = ([part.index_select(0, conditions) for part in parts] for parts in (self.keys, self.values))
        return _Memory(tuple(keys), tuple(values), self.mask.index_select(0, conditions))


class _Rows:
    """Rows of the hot loop, of which several may look up one condition: they stand side by side.

    Args:
        memory: of all conditions.
        condition: (R,) int64, which of them each row is given.
    """

    def __init__(self, memory: _Memory, condition: Tensor) -> None:
        counts = torch.bincount(condition, minlength=memory.mask.shape[0])
        order = torch.argsort(condition, stable=True)
        place = torch.empty_like(condition)
        place[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[condition[order]]
        is_used = counts > 0
        # Copying a few conditions costs less than looking up all, and copying most of them costs more.
        if 2 * int(is_used.sum()) < len(counts):
            memory, condition = memory.of(is_used.nonzero().squeeze(1)), (is_used.cumsum(0) - 1)[condition]
        self._memory, self._at, self._most = memory, (condition, place), int(counts.max())

    def find(self, index: int, queries: Tensor) -> Tensor:
        """What queries (R, H, 1, D) of a layer find, (R, H, 1, D); a `Lookup`."""
        _, heads, _, depth = queries.shape
        together = queries.new_zeros(len(self._memory.mask), self._most, heads, depth)
        together[self._at] = queries.squeeze(2)
        return self._memory.find(index, together.transpose(1, 2)).transpose(1, 2)[self._at].unsqueeze(2)


class Seq2SeqTransformerGenerator(Decoder, Generator):
    """Encoder, and a decoder whose layers attend to what it has read.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    relaxes = True

    def __init__(self, settings: Seq2SeqTransformer, space: SequenceSpace) -> None:
        super().__init__(settings, space, looks_up=True)
        assert space.condition is not None
        self._source = space.condition
        self.source_embedding = nn.Embedding(space.condition.vocab_size, settings.width)
        self.source_positions = nn.Embedding(space.condition.max_length, settings.width)
        self.encoder = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.source_norm = nn.LayerNorm(settings.width)
        self.begin(settings)

    def conditional(self, conditions: Tensor | None) -> AttendingDistribution:
        """Its distribution of sequences that are given conditions (B, S); see `Generator.conditional`.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("an encoder-decoder needs conditions.")
        return _Seq2SeqDistribution(self, self.encode(conditions))

    def stepper(self, temperature: float = 1.0) -> Seq2SeqTransformerStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        frozen = frozen_copy(self)
        return Seq2SeqTransformerStepper(frozen, Cache(frozen, temperature))

    def encode(self, conditions: Tensor) -> _Memory:
        """What there is to look up, of conditions (C, S) int64; padding changes nothing."""
        mask = sequence_mask(self._source, conditions)
        stream = self.dropout(self.source_embedding(conditions) + self.source_positions.weight[: conditions.shape[1]])
        for layer in self.encoder:
            stream = layer(stream, is_seen=mask)
        read = self.source_norm(stream)
        keys, values = zip(*(part.project(read) for layer in self.blocks if (part := layer.memory)), strict=True)
        return _Memory(keys, values, mask)


class _Seq2SeqDistribution(AttendingDistribution):
    """The distribution of sequences that are given what was read."""

    def __init__(self, generator: Seq2SeqTransformerGenerator, memory: _Memory) -> None:
        self._generator, self._memory = generator, memory

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        generator = self._generator
        logits: Tensor = generator.output(
            generator.features(shift_right(tokens, generator.start_id), self._memory.find)
        )
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        return self._generator.logprobs_of(tokens, temperature, read, self._memory.find)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        return self._generator.relaxed_of(noise, temperature, straight_through, self._memory.find)

    def attention(self, tokens: Tensor) -> Tensor:
        """Of the last layer, the mean over its heads; see `AttendingDistribution.attention`."""
        asked: list[Tensor] = []

        def find(index: int, queries: Tensor) -> Tensor:
            asked.append(queries)
            return self._memory.find(index, queries)

        self._generator.features(shift_right(tokens, self._generator.start_id), find)
        return self._memory.weights(-1, asked[-1]).mean(1)


class Seq2SeqTransformerStepper(Stepper):
    """A step of one token on kept keys and values.

    The state of a row is that of `Cache` and the number of its condition ().

    Args:
        generator: frozen, in evaluation mode; not copied.
        cache: of the generator.
        memory: what the rows are given; None until `given` says it.
    """

    def __init__(self, generator: Seq2SeqTransformerGenerator, cache: Cache, memory: _Memory | None = None) -> None:
        self._generator, self._cache, self._memory = generator, cache, memory

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> Seq2SeqTransformerStepper:
        """The same for rows that are given conditions (R, S); see `Stepper.conditional`.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("an encoder-decoder needs conditions.")
        return Seq2SeqTransformerStepper(self._generator, self._cache, self._generator.encode(conditions))

    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes, a row for each condition; see `Stepper.start`."""
        memory = self._memory
        assert memory is not None and len(memory.mask) == num_rows
        state = self._cache.start(num_rows, memory.find)
        return *state, torch.arange(num_rows, device=memory.mask.device)

    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        assert self._memory is not None
        *cached, condition = state
        return *self._cache.advance(tuple(cached), tokens, _Rows(self._memory, condition).find), condition

    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows; see `Stepper.select`."""
        *cached, condition = state
        return *self._cache.select(tuple(cached), rows), condition.index_select(0, rows)

    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes, by one pass over whole sequences; see `Stepper.prefix_states`."""
        batch, length = tokens.shape
        memory = self._memory
        assert memory is not None and len(memory.mask) == batch
        condition = torch.arange(batch, device=tokens.device).expand(length, batch)
        return *self._cache.prefix_states(tokens, memory.find), condition

    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        return self._cache.weights(state)
