"""Relational memory as generator: one slot that attends to itself and to the token (docs/algorithms.md §60).

Source: Santoro et al. 2018 (the memory), Nie et al. 2019 (RelGAN, which writes with it). Of RelGAN's released code are
the sizes, one slot, and all formulas but one: layer norm there takes both rows of a step together, and here, as in
Santoro et al., each by itself.

    B sequences, T positions, S of a condition, R rows of the hot loop, H heads, D their size, M = H·D

    x = W_x e + b                                   the token's embedding, as wide as the memory
    (q, k, v) = LN(W m), LN(W x)                    of both rows, D each in every head
    a = Σ_j softmax_j(q_m · k_j / √(3D)) v_j        j is the memory, and the token
    n = LN(m + a);  n ← LN(n + W_2 relu(W_1 n))
    i, f = σ(W_m tanh m + W_i x + (0, 1))
    m' = i · tanh n + f · m,   logits = W_o m' + b_o,   m_0 = (1, 0, …, 0)

Where sequences are given something, the memory reads that first, and writes from the state that it has then. There is
one memory with one set of weights: a token of a condition is read as a token of the sequence is, by an embedding of
its own alphabet, and the start token says that writing begins. So a condition costs S steps once, and nothing while a
sequence is written; there is no attention to its tokens. RelGAN has no conditions: this form is ours.
"""

from __future__ import annotations

import copy
import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.search_priors import Choice, NotSearched
from rlgan.base.weights import frozen_copy
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.relaxation import relaxed_rows

from .generator import AutoregressiveGenerator, Distribution, Generator, GeneratorKind, State, Stepper, shift_right
from .vocabulary import token_logprobs


class _MemorySizes(GeneratorKind):
    """Settings of both."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset relgan")
    relaxes: ClassVar[bool] = True
    embedding: Annotated[int, Choice((32, 64))] = Field(32, ge=1)
    """Width of each token embedding."""
    heads: Annotated[int, Choice((1, 2, 4))] = Field(2, ge=1)
    """Number of attention heads."""
    head_size: Annotated[int, Choice((16, 32, 64))] = Field(256, ge=1)
    """Width of each head; the memory is `heads` times as wide."""


class RelationalMemory(_MemorySizes):
    """Relational memory generator (RelGAN)."""

    kind: Literal["relational_memory"] = "relational_memory"


class Seq2SeqRelationalMemory(_MemorySizes):
    """The same for tasks with conditions: the memory reads the condition, then it writes the sequence."""

    reads_conditions: ClassVar[bool] = True
    kind: Literal["seq2seq_relational_memory"] = "seq2seq_relational_memory"

    @property
    def table_width(self) -> int:
        """Of both embeddings."""
        return self.embedding


class MemoryCell(nn.Module):
    """One step of the memory.

    Args:
        inputs: width of what it reads.
        heads: H.
        head_size: D.
    """

    def __init__(self, inputs: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        width = heads * head_size
        self.read = nn.Linear(inputs, width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.queries_keys_values_norm = nn.LayerNorm(3 * width)
        self.attended_norm, self.mixed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, width), nn.Linear(width, width)
        self.input_gates, self.memory_gates = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))

    def forward(self, embedded: Tensor, memory: Tensor) -> Tensor:
        """The memory (R, M) after one more token.

        Args:
            embedded: (R, ·) embedding of the token.
            memory: (R, M) before it.
        """
        read = self.read(embedded)
        queries, own_keys, own_values = self._project(memory)
        _, keys, values = self._project(read)
        # Of two rows the softmax is a sigmoid.
        scale = (3 * self.head_size) ** -0.5
        own = torch.sigmoid(scale * (queries * (own_keys - keys)).sum(2, keepdim=True))
        attended = torch.lerp(values, own_values, own).flatten(1)
        mixed = self.attended_norm(memory + attended)
        mixed = self.mixed_norm(mixed + self.contract(functional.relu(self.expand(mixed))))
        take, keep = (self.memory_gates(torch.tanh(memory)) + self.input_gates(read)).chunk(2, 1)
        kept: Tensor = torch.sigmoid(take) * torch.tanh(mixed) + torch.sigmoid(keep + 1.0) * memory
        return kept

    def _project(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (R, H, D), of a row (R, M)."""
        projected = self.queries_keys_values_norm(self.queries_keys_values(row))
        queries, keys, values = projected.view(len(row), self.heads, 3, self.head_size).unbind(2)
        return queries, keys, values


class _MemoryNetwork(Generator):
    """Embedding, memory, linear output. It has no dropout, as in RelGAN.

    Args:
        settings: sizes.
        space: the task's sequences.

    Attributes:
        embedding: a row for each token of a sequence.
        start_id: what is read before the first token.
    """

    relaxes = True

    def __init__(self, settings: RelationalMemory | Seq2SeqRelationalMemory, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.start_id = space.vocab_size, space.required_start
        self.width = settings.heads * settings.head_size
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.cell = MemoryCell(settings.embedding, settings.heads, settings.head_size)
        self.output = nn.Linear(self.width, space.vocab_size)
        # As in RelGAN's code: N(0, 1/fan_in) cut at two deviations, biases 0, the embedding a layer of V inputs.
        _begin(self.embedding.weight, space.vocab_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                _begin(module.weight, module.in_features)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def empty(self, num_rows: int) -> Tensor:
        """The memory (R, M) before any token."""
        memory = self.output.weight.new_zeros(num_rows, self.width)
        memory[:, 0] = 1.0
        return memory

    def memories(self, inputs: Tensor, memory: Tensor | None = None) -> Tensor:
        """Memory after each of the inputs.

        Args:
            inputs: (B, T) int64.
            memory: (B, M) before them; None for `empty`.

        Returns:
            (B, T, M).
        """
        memories = []
        memory = self.empty(inputs.shape[0]) if memory is None else memory
        embedded = self.embedding(inputs)
        for position in range(inputs.shape[1]):
            memory = self.cell(embedded[:, position], memory)
            memories.append(memory)
        return torch.stack(memories, 1)


class RelationalMemoryGenerator(_MemoryNetwork, AutoregressiveGenerator):
    """A memory that writes.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits; see `AutoregressiveGenerator.forward`."""
        logits: Tensor = self.output(self.memories(inputs))
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        return _Written(self, self.empty(tokens.shape[0])).logprobs(tokens, temperature, read)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        return _Written(self, self.empty(noise.shape[0])).relaxed(noise, temperature, straight_through)

    def stepper(self, temperature: float = 1.0) -> RelationalMemoryStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return RelationalMemoryStepper(self, temperature)


class _Written(Distribution):
    """What a memory writes that has read something.

    Args:
        generator: whose.
        memory: (B, M) before the start token.
    """

    def __init__(self, generator: _MemoryNetwork, memory: Tensor) -> None:
        self._generator, self._memory = generator, memory

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        logits: Tensor = self._generator.output(self._memories(tokens))
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        memories = self._memories(tokens if read is None else read).flatten(0, 1)
        output = self._generator.output
        return token_logprobs(
            memories / temperature, output.weight, output.bias / temperature, tokens.flatten()
        ).view_as(tokens)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        rows, tokens, generator = [], [], self._generator
        table, memory = generator.embedding.weight, self._memory
        embedded = table[generator.start_id].expand(noise.shape[0], -1)
        for position in range(noise.shape[1]):
            memory = generator.cell(embedded, memory)
            row, token = relaxed_rows(generator.output(memory), noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            embedded = row @ table
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def _memories(self, tokens: Tensor) -> Tensor:
        return self._generator.memories(shift_right(tokens, self._generator.start_id), self._memory)


class Seq2SeqRelationalMemoryGenerator(_MemoryNetwork):
    """A memory that reads what is given, and writes then.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.

    Attributes:
        source_embedding: a row for each token of a condition.
    """

    def __init__(self, settings: Seq2SeqRelationalMemory, space: SequenceSpace) -> None:
        super().__init__(settings, space)
        assert space.condition is not None
        self._source = space.condition
        self.source_embedding = nn.Embedding(space.condition.vocab_size, settings.embedding)
        _begin(self.source_embedding.weight, space.condition.vocab_size)

    def read(self, conditions: Tensor | None) -> Tensor:
        """The memory (B, M) that has read conditions (B, S) int64; padding changes nothing.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("a memory that reads first needs conditions.")
        mask = sequence_mask(self._source, conditions)
        memory, embedded = self.empty(conditions.shape[0]), self.source_embedding(conditions)
        longest = int(mask.any(0).sum())
        for position in range(longest):
            read = self.cell(embedded[:, position], memory)
            memory = torch.where(mask[:, position : position + 1], read, memory)
        return memory

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Its distribution of sequences that are given conditions (B, S); see `Generator.conditional`.

        Raises:
            ValueError: no conditions.
        """
        return _Written(self, self.read(conditions))

    def stepper(self, temperature: float = 1.0) -> Seq2SeqRelationalMemoryStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return Seq2SeqRelationalMemoryStepper(self, temperature)


def _begin(weight: Tensor, inputs: int) -> None:
    std = inputs**-0.5
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class RelationalMemoryStepper(Stepper):
    """The cell of a frozen copy, a step at a time: its memories are those of the whole pass, bit for bit.

    Logits are kept in units of log 2, because exp2 costs half of exp.
    """

    @torch.no_grad()
    def __init__(self, generator: _MemoryNetwork, temperature: float) -> None:
        self._generator = frozen_copy(generator)
        output, to_log2 = generator.output, 1.0 / (temperature * math.log(2.0))
        padded, number = padded_vocab_size(generator.vocab_size), generator.vocab_size
        self._output_weight = output.weight.new_zeros(output.in_features, padded)
        self._output_weight[:, :number] = output.weight.T * to_log2
        # exp2(-1e30) is exactly 0: padding can never be drawn.
        self._output_bias = output.bias.new_full((padded,), -1e30)
        self._output_bias[:number] = output.bias * to_log2

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        return self._started(self._generator.empty(num_rows))

    def _started(self, memory: Tensor) -> State:
        """State after the start token, of memories (R, M) before it."""
        tokens = torch.full((len(memory),), self._generator.start_id, dtype=torch.int64, device=memory.device)
        return self.advance((memory,), tokens)

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        (memory,) = state
        return (self._generator.cell(self._generator.embedding(tokens), memory),)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        (memory,) = state
        log2_weights = torch.addmm(self._output_bias, memory, self._output_weight)
        return log2_weights.sub_(log2_weights.amax(1, keepdim=True)).exp2_()


class Seq2SeqRelationalMemoryStepper(RelationalMemoryStepper):
    """The same for rows whose memory has read something: afterwards a state is the memory alone.

    Args:
        generator: its weights are copied now, unless it is frozen.
        temperature: divides the logits.
    """

    def __init__(self, generator: Seq2SeqRelationalMemoryGenerator, temperature: float) -> None:
        super().__init__(generator, temperature)
        self._begun: Tensor | None = None  # (R, M), of rows that are given something

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> Seq2SeqRelationalMemoryStepper:
        """The same for rows that are given conditions (R, S); see `Stepper.conditional`.

        Raises:
            ValueError: no conditions.
        """
        assert isinstance(self._generator, Seq2SeqRelationalMemoryGenerator)
        given = copy.copy(self)
        given._begun = self._generator.read(conditions)
        return given

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes, a row for each condition; see `Stepper.start`."""
        assert self._begun is not None and len(self._begun) == num_rows
        return self._started(self._begun)
