"""LSTM language model as generator (Yu et al. 2017, docs/algorithms.md §1: embedding 32, hidden 32)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import FollowsData
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.embeddings import NoPretrained, Pretrained, build_embedding, embedding_width
from rlgan.layers.relaxation import relaxed_rows

from .generator import AutoregressiveGenerator, GeneratorKind, State, Stepper, shift_right
from .vocabulary import token_logprobs


class LSTM(GeneratorKind):
    """LSTM generator."""

    relaxes: ClassVar[bool] = True
    kind: Literal["lstm"] = "lstm"
    embedding: Annotated[int, Choice((32, 64, 128)), FollowsData("generator")] = Field(32, ge=1)
    """Width of the token embedding, without the columns of `pretrained`."""
    pretrained: Pretrained = NoPretrained()
    """Additional columns that are initialised from a file of word vectors."""
    hidden: Annotated[int, Choice((32, 64, 128)), FollowsData("generator")] = Field(32, ge=1)
    """Width of each LSTM layer."""
    layers: Annotated[int, Choice((1, 2))] = Field(1, ge=1)
    """Number of LSTM layers."""
    output_layers: Annotated[
        Literal["last", "all"], NotSearched("has no effect with one layer, which is among the values tried")
    ] = "last"
    """Input of the output layer: the outputs of the last layer, or of all layers (Graves 2013)."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the embedding and on the output of each layer in maximum-likelihood pretraining."""
    tied: Annotated[bool, Choice((True, False))] = False
    """Whether the output layer shares the embedding matrix (Press & Wolf 2017), with a projection if the widths
    differ."""
    init_std: Annotated[float, NotSearched("loses its effect soon with Adam")] = Field(0.1, gt=0.0)
    """Standard deviation of the initial parameters, drawn from N(0, init_std²); the columns of `pretrained` are not
    drawn."""

    @model_validator(mode="after")
    def _check(self) -> LSTM:
        if self.output_layers == "all" and self.layers == 1:
            raise ConfigError(
                "generator.output_layers='all': has no effect with generator.layers=1. Set it to last, or add layers.",
                code="output_layers_of_one",
                fields={"generator.output_layers": "all"},
            )
        return self


class LSTMGenerator(AutoregressiveGenerator):
    """Embedding, LSTM layers, linear output.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    relaxes = True

    def __init__(self, settings: LSTM, space: SequenceSpace) -> None:
        super().__init__()
        vocab_size = self.vocab_size = space.vocab_size
        self.start_id = space.required_start
        self._dropout_rate, self._is_tied = settings.dropout, settings.tied
        self.embedding = build_embedding(vocab_size, settings.embedding, settings.pretrained)
        width, features = embedding_width(settings.embedding, settings.pretrained), settings.hidden
        self.lstm: nn.LSTM | ConcatenatedLSTM
        if settings.output_layers == "all":
            self.lstm = ConcatenatedLSTM(width, settings.hidden, settings.layers)
            features *= settings.layers
        else:
            self.lstm = nn.LSTM(width, settings.hidden, settings.layers, batch_first=True)
        self.dropout = nn.Dropout()
        self.projection: nn.Linear | None = None
        if settings.tied and features != width:
            self.projection = nn.Linear(features, width, bias=False)
        self.output = nn.Linear(width if settings.tied else features, vocab_size)
        if settings.tied:
            if isinstance(self.embedding, nn.Embedding):
                self.output.weight = self.embedding.weight
            else:
                self.output.register_parameter("weight", None)  # a table in two parts is no parameter
        for name, parameter in self.named_parameters():
            if name != "embedding.pretrained":
                nn.init.normal_(parameter, std=settings.init_std)
        self.use_dropout(True)

    @property
    def output_weight(self) -> Tensor:
        """(V, ·) of the output layer: its own, or the embedding's table."""
        return self.embedding.weight if self._is_tied else self.output.weight

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        self.dropout.p = self._dropout_rate if enabled else 0.0
        # Between layers; torch warns of it where there is only one.
        self.lstm.dropout = self.dropout.p if self.lstm.num_layers > 1 else 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits; see `AutoregressiveGenerator.forward`."""
        return self.output_of(self._features(inputs))

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        return self.logprobs_of(
            self._features(shift_right(tokens if read is None else read, self.start_id)), tokens, temperature
        )

    def logprobs_of(self, features: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probability (B, T) of tokens (B, T) by features (B, T, ·); the logits are never held."""
        rows = features.flatten(0, 1) / temperature
        return token_logprobs(rows, self.output_weight, self.output.bias / temperature, tokens.flatten()).view_as(
            tokens
        )

    def _features(self, inputs: Tensor) -> Tensor:
        return self.features_of(self.dropout(self.embedding(inputs)))

    def features_of(self, embedded: Tensor, state: Any = None) -> Tensor:
        """What the output layer reads, (B, T, ·), of embedded inputs (B, T, E) and a first state of the layers."""
        features, _ = self.lstm(embedded, state)
        return self._projected(self.dropout(features))

    def output_of(self, features: Tensor) -> Tensor:
        """Logits (..., V) of what `_projected` returned."""
        return functional.linear(features, self.output_weight, self.output.bias)

    def _projected(self, features: Tensor) -> Tensor:
        """Features of the width that the output layer reads."""
        if self.projection is None:
            return features
        projected: Tensor = self.projection(features)
        return projected

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        rows, tokens = [], []
        table = self.embedding.weight
        embedded = table[self.start_id].expand(noise.shape[0], -1)
        state: Any = None
        for position in range(noise.shape[1]):
            features, state = self.lstm(embedded.unsqueeze(1), state)
            logits = self.output_of(self._projected(features.squeeze(1)))
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            embedded = row @ table
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def stepper(self, temperature: float = 1.0) -> LSTMStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return LSTMStepper(self, temperature)


class ConcatenatedLSTM(nn.Module):
    """LSTM layers that hand out the outputs of all of them side by side, where torch's own hands out the last one's.

    Args:
        width: of what the first layer reads.
        hidden: width H of each layer.
        num_layers: number of layers L.

    Attributes:
        dropout: share of a layer's output that the next one does not read.
    """

    def __init__(self, width: int, hidden: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers, self.hidden_size, self.dropout = num_layers, hidden, 0.0
        self.layers = nn.ModuleList(
            nn.LSTM(hidden if layer else width, hidden, batch_first=True) for layer in range(num_layers)
        )

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Of each layer, as torch's own: its inputs', its own state's, and the bias of both."""
        return [layer.all_weights[0] for layer in self.layers if isinstance(layer, nn.LSTM)]

    def forward(
        self, inputs: Tensor, state: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """(B, T, ·) to (B, T, L·H), and the state of each layer after it.

        Args:
            inputs: (B, T, ·).
            state: to go on from; None begins.
        """
        outputs: list[Tensor] = []
        after: list[tuple[Tensor, Tensor]] = []
        for index, layer in enumerate(self.layers):
            if index:
                inputs = functional.dropout(outputs[-1], self.dropout, self.training)
            output, reached = layer(inputs, None if state is None else state[index])
            outputs.append(output)
            after.append(reached)
        return torch.cat(outputs, dim=2), after


class LSTMStepper(Stepper):
    """Fused LSTM step without autograd.

    * The first layer's input projection is a table with a row per token, so that consuming a token is a look-up.
    * The output projection writes into a buffer that is kept: allocating (R, V) anew costs more than filling it.
    * Logits are kept in units of log 2, because exp2 costs half of exp.
    * An LSTM's output lies in (-1, 1), so Σ|W| + |b| bounds every logit; where that bound is far from overflow, the
      pass that subtracts each row's maximum is left out.
    """

    _SAFE_EXPONENT = 60.0  # 2^±60 times any vocabulary is far inside float32

    @torch.no_grad()
    def __init__(self, generator: LSTMGenerator, temperature: float) -> None:
        lstm, output_weight, output_bias = generator.lstm, generator.output_weight, generator.output.bias
        if generator.projection is not None:
            output_weight = output_weight @ generator.projection.weight
        self._num_layers, self._hidden, self._start_id = lstm.num_layers, lstm.hidden_size, generator.start_id
        self._reads_all_layers = isinstance(lstm, ConcatenatedLSTM)
        input_weights, recurrent_weights, input_biases, recurrent_biases = zip(*lstm.all_weights, strict=True)
        self._biases = [one + other for one, other in zip(input_biases, recurrent_biases, strict=True)]
        self._token_gates = torch.addmm(self._biases[0], generator.embedding.weight, input_weights[0].T)
        # Cloned, for the transpose of a single column is contiguous already and would share memory with the generator.
        self._input_weights = [weight.T.contiguous().clone() for weight in input_weights]
        self._recurrent_weights = [weight.T.contiguous().clone() for weight in recurrent_weights]

        to_log2 = 1.0 / (temperature * math.log(2.0))
        padded = padded_vocab_size(generator.vocab_size)
        self._output_weight = output_weight.new_zeros(output_weight.shape[1], padded)
        self._output_weight[:, : generator.vocab_size] = output_weight.T * to_log2
        # exp2(-1e30) is exactly 0: padding can never be drawn.
        self._output_bias = output_bias.new_full((padded,), -1e30)
        self._output_bias[: generator.vocab_size] = output_bias * to_log2
        bound = (output_weight.abs().sum(1) + output_bias.abs()).max() * to_log2
        self._subtract_maximum = bool(bound > self._SAFE_EXPONENT)
        self._buffer = output_weight.new_empty(0)

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        zeros = self._output_weight.new_zeros(num_rows, self._hidden)
        tokens = torch.full((num_rows,), self._start_id, dtype=torch.int64, device=zeros.device)
        return self.advance((zeros,) * (2 * self._num_layers), tokens)

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        return self._stepped(self._token_gates.index_select(0, tokens), state)

    def _stepped(self, gates: Tensor, state: State) -> State:
        """State after a token whose share of the first layer's gates (R, 4H) is given; its memory is used up."""
        new_state: list[Tensor] = []
        for layer in range(self._num_layers):
            hidden, cell = state[2 * layer], state[2 * layer + 1]
            if layer > 0:
                gates = torch.addmm(self._biases[layer], new_state[-2], self._input_weights[layer])
            gates = gates.addmm_(hidden, self._recurrent_weights[layer])
            input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)  # torch's gate order
            cell = forget_gate.sigmoid_().mul(cell).addcmul_(input_gate.sigmoid_(), candidate.tanh_())
            new_state += [cell.tanh().mul_(output_gate.sigmoid_()), cell]
        return tuple(new_state)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        hidden = torch.cat(state[::2], dim=1) if self._reads_all_layers else state[-2]
        rows, padded = hidden.shape[0], self._output_bias.shape[0]
        if self._buffer.numel() < rows * padded:
            self._buffer = hidden.new_empty(rows * padded)
        log2_weights = self._buffer[: rows * padded].view(rows, padded)
        torch.addmm(self._output_bias, hidden, self._output_weight, out=log2_weights)
        if self._subtract_maximum:
            log2_weights.sub_(log2_weights.amax(1, keepdim=True))
        return log2_weights.exp2_()
