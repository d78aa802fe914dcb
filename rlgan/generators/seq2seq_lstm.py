"""Encoder-decoder of LSTMs with attention (RNNSearch, Bahdanau et al. 2015; input feeding of Luong et al. 2015).

    memory   m_i = [→h_i ; ←h_i] of a bidirectional LSTM over the condition
    decoder  d_t = LSTM([e(y_{t-1}) (; f_{t-1})], d_{t-1}),  d_0 = tanh(W m_end)
    weights  α_t = softmax_i a(d_t, m_i),  a = vᵀ tanh(W d_t + U m_i)  or  d_tᵀ U m_i
    output   f_t = tanh(W [d_t ; Σ_i α_ti m_i (; Σ_{s<t} β_ts d_s)]),  logits = W f_t + b

The last sum is the decoder's attention to itself, which summarisers use against repetition (Paulus et al. 2018).

    B sequences, R rows, S positions of a condition, T of a sequence, H width of a layer, L layers
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.weights import frozen_copy
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.recurrent import BiLSTM
from rlgan.layers.relaxation import relaxed_rows

from .generator import AttendingDistribution, Generator, GeneratorKind, State, Stepper, shift_right
from .vocabulary import token_logprobs


class Seq2SeqLSTM(GeneratorKind):
    """Encoder-decoder of LSTMs with attention."""

    kind: Literal["seq2seq_lstm"] = "seq2seq_lstm"
    embedding: Annotated[int, Choice((64, 128, 256))] = Field(64, ge=1)
    """Width of both embeddings."""
    hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of each layer; in the encoder, of each direction."""
    layers: Annotated[int, Choice((1, 2))] = Field(1, ge=1)
    """Number of layers of the encoder, and of the decoder."""
    attention: Annotated[Literal["additive", "multiplicative"], Choice(("additive", "multiplicative"))] = "additive"
    """How attention scores are computed: additive (RNNSearch), or multiplicative, which stores (B, T, S) instead of
    (B, T, S, H) numbers."""
    input_feeding: Annotated[bool, Choice((True, False))] = False
    """Whether the decoder also reads its last output beside the last token."""
    self_attention: Annotated[bool, Choice((True, False))] = False
    """Whether the decoder also attends to its own earlier states, as in summarisation models."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on embeddings and outputs in maximum-likelihood pretraining."""
    tied: Annotated[bool, Choice((True, False))] = False
    """Whether the output layer shares the embedding matrix, with a projection if the widths differ."""
    init_std: Annotated[float, NotSearched("loses its effect soon with Adam")] = Field(0.1, gt=0.0)
    """Standard deviation of the initial parameters, drawn from N(0, init_std²)."""
    reads_conditions: ClassVar[bool] = True
    attends: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True

    @property
    def table_width(self) -> int:
        """Of both."""
        return self.embedding


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the decoder attends to.

    Attributes:
        values: (R, S, 2H).
        keys: (R, S, H), as they are compared with a state.
        mask: (R, S) bool.
        start: (R, L, H) first states of the decoder.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor
    start: Tensor


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A decoder that has consumed some tokens.

    Attributes:
        hidden: (R, L, H).
        cell: (R, L, H).
        output: (R, H) f of the last step, 0 before the first.
        consumed: (R,) int64 tokens; rows may have consumed different numbers.
        past: (R, T, H) states of all steps, of which the first `consumed` count; T is 0 where none is attended to.
    """

    hidden: Tensor
    cell: Tensor
    output: Tensor
    consumed: Tensor
    past: Tensor


class Seq2SeqLSTMGenerator(Generator):
    """Encoder, attention, decoder.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    relaxes = True

    def __init__(self, settings: Seq2SeqLSTM, space: SequenceSpace) -> None:
        super().__init__()
        assert space.condition is not None
        self.vocab_size, self.max_length, self._source = space.vocab_size, space.max_length, space.condition
        self.start_id = space.required_start
        self._dropout_rate, self.feeds_outputs = settings.dropout, settings.input_feeding
        width, layers = settings.hidden, settings.layers
        self.source_embedding = nn.Embedding(space.condition.vocab_size, settings.embedding)
        self.encoder = BiLSTM(settings.embedding, width, layers)
        self.start = nn.Linear(2 * width, width)
        self.keys = nn.Linear(2 * width, width, bias=False)
        self.query: nn.Linear | None = None
        self.energy: nn.Linear | None = None
        if settings.attention == "additive":
            self.query, self.energy = nn.Linear(width, width), nn.Linear(width, 1, bias=False)
        self.self_query = nn.Linear(width, width, bias=False) if settings.self_attention else None
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        fed = width if settings.input_feeding else 0
        self.decoder = nn.LSTM(settings.embedding + fed, width, layers, batch_first=True)
        self.mix = nn.Linear((4 if settings.self_attention else 3) * width, width)
        self.projection: nn.Linear | None = None
        if settings.tied and width != settings.embedding:
            self.projection = nn.Linear(width, settings.embedding, bias=False)
        self.output = nn.Linear(settings.embedding if settings.tied else width, space.vocab_size)
        if settings.tied:
            self.output.weight = self.embedding.weight
        self.dropout = nn.Dropout()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=settings.init_std)
        self.use_dropout(True)

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        self.dropout.p = self._dropout_rate if enabled else 0.0

    def conditional(self, conditions: Tensor | None) -> AttendingDistribution:
        """Its distribution of sequences that are given conditions (B, S); see `Generator.conditional`.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("an encoder-decoder needs conditions.")
        return _Seq2SeqDistribution(self, self.encode(conditions))

    def stepper(self, temperature: float = 1.0) -> Seq2SeqLSTMStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return Seq2SeqLSTMStepper(frozen_copy(self), temperature)

    # ------------------------------------------------------------------------------------------------ encoder

    def encode(self, conditions: Tensor) -> _Memory:
        """What there is to attend to, of conditions (B, S) int64; padding changes nothing."""
        mask = sequence_mask(self._source, conditions)
        embedded = self.dropout(self.source_embedding(conditions))
        values, ends = self.encoder(embedded, mask)
        return _Memory(values, self.keys(values), mask, torch.tanh(self.start(ends.transpose(0, 1))))

    # ------------------------------------------------------------------------------------------------ decoder

    def begin(self, memory: _Memory) -> _Decoder:
        """A decoder that has consumed nothing."""
        zeros = torch.zeros_like(memory.start)
        length = 0 if self.self_query is None else self.max_length
        past = zeros.new_zeros(zeros.shape[0], length, zeros.shape[2])
        consumed = torch.zeros(zeros.shape[0], dtype=torch.int64, device=zeros.device)
        return _Decoder(memory.start, zeros, zeros[:, 0], consumed, past)

    def step(self, memory: _Memory, decoder: _Decoder, embedded: Tensor) -> _Decoder:
        """One token more, from its embedding (R, E)."""
        if self.feeds_outputs:
            embedded = torch.cat([embedded, decoder.output], dim=1)
        start = (decoder.hidden.transpose(0, 1).contiguous(), decoder.cell.transpose(0, 1).contiguous())
        states, (hidden, cell) = self.decoder(embedded.unsqueeze(1), start)
        own, past = None, decoder.past
        if self.self_query is not None:
            positions = torch.arange(past.shape[1], device=past.device)
            own = self.attend_self(states, past, (positions < decoder.consumed.unsqueeze(1)).unsqueeze(1))
            # A new tensor, for rows of a state may be taken up again.
            past = torch.where((positions == decoder.consumed.unsqueeze(1)).unsqueeze(2), states, past)
        output = self.outputs(memory, states, own).squeeze(1)
        return _Decoder(hidden.transpose(0, 1), cell.transpose(0, 1), output, decoder.consumed + 1, past)

    def outputs(self, memory: _Memory, states: Tensor, own: Tensor | None) -> Tensor:
        """F (R, T, H) of decoder states (R, T, H) and, with attention to itself, what it found there (R, T, H)."""
        parts = [states, self.attend(memory, states), *([] if own is None else [own])]
        return self.dropout(torch.tanh(self.mix(torch.cat(parts, dim=2))))

    def attend(self, memory: _Memory, states: Tensor) -> Tensor:
        """Σ_i α_ti m_i: (R, T, 2H) for decoder states (R, T, H)."""
        return self.weights_of_memory(memory, states) @ memory.values

    def weights_of_memory(self, memory: _Memory, states: Tensor) -> Tensor:
        """α: (R, T, S) for decoder states (R, T, H), 0 at padding of the condition."""
        if self.query is None or self.energy is None:
            scores = states @ memory.keys.transpose(1, 2)
        else:
            compared = torch.tanh(self.query(states).unsqueeze(2) + memory.keys.unsqueeze(1))
            scores = self.energy(compared).squeeze(3)
        return torch.softmax(scores.masked_fill(~memory.mask.unsqueeze(1), -torch.inf), dim=2)

    def attend_self(self, states: Tensor, past: Tensor, is_seen: Tensor) -> Tensor:
        """Σ_s β_ts d_s (R, T, H) of states (R, T, H) over the past (R, P, H), of which (R or 1, T, P) are seen."""
        assert self.self_query is not None
        scores = (self.self_query(states) @ past.transpose(1, 2)).masked_fill(~is_seen, -torch.inf)
        # The first has nothing before it: a row without weights, not one that is no number.
        return torch.softmax(scores, dim=2).nan_to_num(0.0) @ past

    def features(self, memory: _Memory, inputs: Tensor) -> Tensor:
        """What the output layer reads, (B, T, ·), of inputs (B, T) that begin with the start token."""
        if self.feeds_outputs:
            return self.projected(torch.stack([decoder.output for decoder in self.steps(memory, inputs)], dim=1))
        states = self.states(memory, inputs)
        own = None
        if self.self_query is not None:
            length = states.shape[1]
            is_before = torch.ones(1, length, length, dtype=torch.bool, device=states.device).tril(-1)
            own = self.attend_self(states, states, is_before)
        return self.projected(self.outputs(memory, states, own))

    def steps(self, memory: _Memory, inputs: Tensor) -> Iterator[_Decoder]:
        """The decoder after each of inputs (B, T)."""
        embedded, decoder = self.dropout(self.embedding(inputs)), self.begin(memory)
        for position in range(inputs.shape[1]):
            decoder = self.step(memory, decoder, embedded[:, position])
            yield decoder

    def states(self, memory: _Memory, inputs: Tensor) -> Tensor:
        """States (B, T, H) of a decoder that is not fed its outputs, after each of inputs (B, T)."""
        start = memory.start.transpose(0, 1).contiguous()
        states, _ = self.decoder(self.dropout(self.embedding(inputs)), (start, torch.zeros_like(start)))
        return cast(Tensor, states)

    def attention(self, memory: _Memory, inputs: Tensor) -> Tensor:
        """α (B, T, S) of the steps that read inputs (B, T)."""
        if self.feeds_outputs:
            states = torch.stack([decoder.hidden[:, -1] for decoder in self.steps(memory, inputs)], dim=1)
        else:
            states = self.states(memory, inputs)
        return self.weights_of_memory(memory, states)

    def projected(self, outputs: Tensor) -> Tensor:
        """Outputs of the width that the output layer reads."""
        if self.projection is None:
            return outputs
        projected: Tensor = self.projection(outputs)
        return projected


class _Seq2SeqDistribution(AttendingDistribution):
    """The distribution of sequences that are given what was encoded."""

    def __init__(self, generator: Seq2SeqLSTMGenerator, memory: _Memory) -> None:
        self._generator, self._memory = generator, memory

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        logits: Tensor = self._generator.output(
            self._generator.features(self._memory, shift_right(tokens, self._generator.start_id))
        )
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        output = self._generator.output
        features = self._generator.features(
            self._memory, shift_right(tokens if read is None else read, self._generator.start_id)
        )
        features = features.flatten(0, 1) / temperature
        return token_logprobs(features, output.weight, output.bias / temperature, tokens.flatten()).view_as(tokens)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        generator, memory = self._generator, self._memory
        rows, tokens, decoder = [], [], generator.begin(memory)
        embedded = generator.embedding.weight[generator.start_id].expand(noise.shape[0], -1)
        for position in range(noise.shape[1]):
            decoder = generator.step(memory, decoder, embedded)
            logits = generator.output(generator.projected(decoder.output))
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            embedded = row @ generator.embedding.weight
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def attention(self, tokens: Tensor) -> Tensor:
        """Attention to the memory, α; see `AttendingDistribution.attention`."""
        return self._generator.attention(self._memory, shift_right(tokens, self._generator.start_id))


class Seq2SeqLSTMStepper(Stepper):
    """A step of one token; its states carry the memory of their conditions.

    The state of a row is what `_Decoder` holds of it and, of its `_Memory`, values, keys and mask.

    Args:
        generator: frozen, in evaluation mode; not copied.
        temperature: divides the logits.
        memory: what the rows are given; None until `given` says it.
    """

    _STATIC = 3  # parts at the end that never change

    @torch.no_grad()
    def __init__(self, generator: Seq2SeqLSTMGenerator, temperature: float, memory: _Memory | None = None) -> None:
        self._generator, self._temperature, self._memory = generator, temperature, memory
        self._padded = padded_vocab_size(generator.vocab_size)

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> Seq2SeqLSTMStepper:
        """The same for rows that are given conditions (R, S); see `Stepper.conditional`.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("an encoder-decoder needs conditions.")
        return Seq2SeqLSTMStepper(self._generator, self._temperature, self._generator.encode(conditions))

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes, a row for each condition; see `Stepper.start`."""
        memory = self._memory
        assert memory is not None and memory.mask.shape[0] == num_rows
        decoder = self._generator.begin(memory)
        return self.advance(_state(decoder, memory), torch.full_like(decoder.consumed, self._generator.start_id))

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        *moving, values, keys, mask = state
        memory = _Memory(values, keys, mask, start=moving[0])
        return _state(self._generator.step(memory, _Decoder(*moving), self._generator.embedding(tokens)), memory)

    @torch.no_grad()
    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes; the memory of a condition is shared by those of its sequence."""
        state, states = self.start(tokens.shape[0]), []
        for position in range(tokens.shape[1]):
            # The past has room for T steps, and the start token has taken one: nothing is asked of the whole sequence.
            state = self.advance(state, tokens[:, position]) if position + 1 < tokens.shape[1] else state
            states.append(state)
        moving = [torch.stack(parts) for parts in zip(*(one[: -self._STATIC] for one in states), strict=True)]
        return *moving, *(part.unsqueeze(0).expand(len(states), *part.shape) for part in state[-self._STATIC :])

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        generator, output = self._generator, state[2]
        logits = generator.output(generator.projected(output)) / self._temperature
        weights = logits.new_zeros(logits.shape[0], self._padded)
        weights[:, : generator.vocab_size] = (logits - logits.amax(1, keepdim=True)).exp()
        return weights


def _state(decoder: _Decoder, memory: _Memory) -> State:
    moving = (decoder.hidden, decoder.cell, decoder.output, decoder.consumed, decoder.past)
    return *moving, memory.values, memory.keys, memory.mask
