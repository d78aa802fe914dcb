"""LeakGAN's generator: a manager that reads the discriminator's features, and a worker that writes towards its goals.

    B sequences, T positions, R rows of the hot loop, F features, H width of the worker, k goal_size, c horizon

    f_t                              the discriminator's features of the prefix of t tokens
    g_t = W h / ‖W h‖                h the manager's LSTM over f_0 … f_t; a goal is a direction among features
    w_t = ψ (g_t + … + g_{t-c+1})    of the goals that there are; ψ is (k, F)
    p(· | t tokens) = softmax(O_t w_t)      O_t (V, k) a linear function of the worker's LSTM over the tokens

The features are a copy of the discriminator's network. It is part of this generator's weights, as buffers: it goes
wherever they go, nothing is differentiated through it, and no optimiser moves it. Whoever trains the discriminator
takes care that the copy follows (`GeneratorKind.copied_of`).

The worker's loss has no gradient in the manager: it reads the goals as they are. What a goal is judged by is where the
sequence went, `goal_cosines`; what a token is paid for is that it went where the goals point, `goal_rewards`.

What is given something is in `pair_manager_worker`: there both LSTMs begin with what was read of the condition.

Source: Guo et al. 2018 (LeakGAN), after Vezhnevets et al. 2017 (FeUdal networks). See docs/algorithms.md §62.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.weights import Tensors, frozen_copy
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.prefix_features import SEQGAN_FILTERS, SEQGAN_WINDOWS, FeatureReader, FeatureSizes, PrefixFeatures

from .generator import AutoregressiveGenerator, Generator, GeneratorKind, GoalDistribution, State, Stepper, shift_right
from .vocabulary import token_logprobs

FEATURES = "features."
"""What the names of the copy's weights begin with."""


class GoalSettings(GeneratorKind):
    """Settings of managers and workers, whatever their discriminator."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset leakgan")
    sets_goals: ClassVar[bool] = True
    within_sequences: ClassVar[tuple[str, ...]] = ("horizon",)
    kind: str
    embedding: int = Field(32, ge=1)
    """Width of the worker's token embedding."""
    hidden: int = Field(32, ge=1)
    """Width of both LSTMs."""
    goal_size: int = Field(16, ge=1)
    """Width k of what the worker reads of the goals."""
    horizon: int = Field(4, ge=1)
    """Number of tokens c after which a goal is judged, and for which it directs the worker."""
    feature_embedding: int = Field(64, ge=1)
    """Width of the discriminator's token embedding, `discriminator.embedding`."""
    feature_windows: Annotated[tuple[int, ...], Field(min_length=1)] = SEQGAN_WINDOWS
    """Window sizes of the discriminator, `discriminator.windows`."""
    feature_filters: Annotated[tuple[int, ...], Field(min_length=1)] = SEQGAN_FILTERS
    """Number of filters for each of them, `discriminator.filters`, or one number for all."""
    init_std: float = Field(0.1, gt=0.0)
    """Standard deviation of the initial parameters, drawn from N(0, init_std²)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.feature_filters) not in (1, len(self.feature_windows)):
            raise ConfigError(
                f"generator.feature_filters={list(self.feature_filters)}: must be one number of filters for each of "
                f"the {len(self.feature_windows)} windows {list(self.feature_windows)}, or one for all.",
                code="feature_filters_per_window",
            )
        if min(self.feature_windows) < 1 or min(self.feature_filters) < 1:
            raise ConfigError(
                "generator.feature_windows and generator.feature_filters: every entry must be at least 1.",
                code="feature_windows_and_filters",
            )
        return self

    @property
    def filters_of_each(self) -> tuple[int, ...]:
        """Number of filters of each window size."""
        filters = self.feature_filters
        return filters * len(self.feature_windows) if len(filters) == 1 else filters

    @property
    @abstractmethod
    def prefix_features(self) -> FeatureSizes:
        """See `GeneratorKind.prefix_features`."""

    @abstractmethod
    def misfit(self, features: object | None, judge: str) -> Problem | None:
        """What is wrong with the features of a discriminator; None if they are those that it reads.

        Args:
            features: `prefix_features` of the discriminator.
            judge: the discriminator's kind.
        """

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The discriminator has the features that it reads, and does not change them behind its back."""
        judge, schedule = fields.discriminator, fields.schedule
        if judge is None:
            return
        problem = self.misfit(judge.prefix_features, judge.kind)
        if problem is not None:
            yield problem
        if schedule.mle_epochs and schedule.discriminator_rounds and schedule.pretraining == "generator_first":
            yield Problem(
                "features_after_likelihood",
                {"schedule.pretraining": schedule.pretraining},
                f"the discriminator's pretraining would change the features that generator={self.kind!r} has learned "
                "to read. Set it to side_by_side.",
            )
        if schedule.mle_patience is not None:
            yield Problem(
                "patience_with_features",
                {"schedule.mle_patience": schedule.mle_patience},
                f"would take back an epoch in which generator={self.kind!r} read features of an earlier discriminator. "
                "Set it to null.",
            )


class ManagerWorker(GoalSettings):
    """Manager and worker (LeakGAN)."""

    kind: Literal["manager_worker"] = "manager_worker"

    @property
    def prefix_features(self) -> FeatureSizes:
        """See `GeneratorKind.prefix_features`."""
        return FeatureSizes(self.feature_embedding, self.feature_windows, self.filters_of_each)

    def misfit(self, features: object | None, judge: str) -> Problem | None:
        """See `GoalSettings.misfit`."""
        sizes = self.prefix_features
        # Not `isinstance`: features of pairs are others.
        if type(features) is not FeatureSizes:
            return Problem(
                "features_not_leaked",
                {"generator": self.kind},
                f"reads features of prefixes, which discriminator={judge!r} does not hand over. Use discriminator "
                "cnn_highway with one member.",
            )
        if features == sizes:
            return None
        return Problem(
            "features_of_other_sizes",
            {
                "generator.feature_embedding": sizes.embedding,
                "generator.feature_windows": list(sizes.windows),
                "generator.feature_filters": list(sizes.filters),
            },
            f"must be those of the discriminator: {features.embedding}, {list(features.windows)} and "
            f"{list(features.filters)}. Set them to discriminator.embedding, discriminator.windows and "
            "discriminator.filters.",
        )

    def copied_of(self, judge: Tensors) -> Tensors:
        """See `GeneratorKind.copied_of`."""
        names = ["embedding.weight", "kernel_bias", "highway.weight", "highway.bias"]
        names += [f"kernels.{index}" for index in range(len(self.feature_windows))]
        return {FEATURES + name.replace(".", "_"): judge[name] for name in names}


@dataclass(frozen=True, slots=True)
class Beginning:
    """What sequences begin with.

    Attributes:
        reader: of the features of their prefixes.
        worker: (B, H) first state of the worker's LSTM; None for 0.
        manager: (B, H) first state of the manager's; None for 0.
    """

    reader: FeatureReader
    worker: Tensor | None = None
    manager: Tensor | None = None


class ManagerAndWorker(Generator):
    """The copy of the discriminator's features, a manager, a worker.

    A logit of the worker is Σ_j w_j (Σ_i U_vij h_i + b_vj), with U (V, H, k): a linear function of (h ⊗ w, w). So the
    output layer is one matrix, and O_t is never held.

    Args:
        settings: sizes.
        space: the task's sequences.
        features: the copy.
    """

    start_id: int

    def __init__(self, settings: GoalSettings, space: SequenceSpace, features: nn.Module) -> None:
        super().__init__()
        self.vocab_size, self.start_id, self.space = space.vocab_size, space.required_start, space
        self.horizon = settings.horizon
        width, hidden = settings.prefix_features.width, settings.hidden
        self.features = features
        self.manager = nn.LSTM(width, hidden, batch_first=True)
        self.goal = nn.Linear(hidden, width)
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.worker = nn.LSTM(settings.embedding, hidden, batch_first=True)
        self.direction = nn.Linear(width, settings.goal_size, bias=False)
        self.output = nn.Linear((hidden + 1) * settings.goal_size, space.vocab_size, bias=False)

    def plan(self, tokens: Tensor, begins: Beginning) -> tuple[Tensor, Tensor]:
        """Features f_0 … f_T (B, T + 1, F), and goals g_0 … g_{T-1} (B, T, F) of length 1, with the manager's gradient.

        Args:
            tokens: (B, T) int64 whose prefixes are read.
            begins: what the sequences begin with.
        """
        features = begins.reader.of_prefixes(tokens)
        hidden, _ = self.manager(features[:, :-1], _first_states(begins.manager))
        return features, functional.normalize(self.goal(hidden), dim=2)

    def write(self, tokens: Tensor, goals: Tensor, begins: Beginning) -> Tensor:
        """What the output layer reads, (B, T, (H + 1)·k); without gradient in the goals.

        Args:
            tokens: (B, T) int64 whose prefixes are read.
            goals: (B, T, F), see `plan`.
            begins: what the sequences begin with.
        """
        read = self.embedding(shift_right(tokens, self.start_id))
        hidden, _ = self.worker(read, _first_states(begins.worker))
        projected = self.direction(goals.detach())
        directions = projected
        for back in range(1, min(self.horizon, tokens.shape[1])):
            directions = directions + functional.pad(projected, (0, 0, back, 0))[:, : tokens.shape[1]]
        return outer(hidden, directions)


def _first_states(hidden: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """States of an LSTM of one layer that begins with (B, H) and an empty cell; None begins with 0."""
    return None if hidden is None else (hidden.unsqueeze(0), torch.zeros_like(hidden).unsqueeze(0))


class PlannedDistribution(GoalDistribution):
    """What a manager and a worker are as a distribution of sequences that begin with something."""

    @property
    @abstractmethod
    def network(self) -> ManagerAndWorker:
        """Both."""

    @abstractmethod
    def planned(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features and goals of tokens (B, T) int64; see `ManagerAndWorker.plan`."""

    @abstractmethod
    def written(self, tokens: Tensor, goals: Tensor) -> Tensor:
        """What the output layer reads; see `ManagerAndWorker.write`."""

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        _, goals = self.planned(tokens)
        logits: Tensor = self.network.output(self.written(tokens, goals))
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        read = tokens if read is None else read
        return self._logprobs(self.written(read, self.planned(read)[1]), tokens, temperature)

    def _logprobs(self, rows: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        weight = self.network.output.weight
        bias = weight.new_zeros(len(weight))
        return token_logprobs(rows.flatten(0, 1) / temperature, weight, bias, tokens.flatten()).view_as(tokens)

    def logprobs_and_goal_cosines(self, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """See `GoalDistribution.logprobs_and_goal_cosines`."""
        features, goals = self.planned(tokens)
        rows = self.written(tokens, goals)
        return self._logprobs(rows, tokens, temperature), self._due(features, goals, tokens)

    def goal_cosines(self, tokens: Tensor) -> Tensor:
        """See `GoalDistribution.goal_cosines`."""
        return self._due(*self.planned(tokens), tokens)

    @torch.no_grad()
    def goal_rewards(self, tokens: Tensor) -> Tensor:
        """See `GoalDistribution.goal_rewards`."""
        features, goals = self.planned(tokens)
        length = tokens.shape[1]
        sums = torch.stack([cosines for _, cosines in self._cosines(features, goals)]).sum(0)
        return sums / torch.arange(1, length + 1, device=sums.device).clamp_max(self.network.horizon)

    def _due(self, features: Tensor, goals: Tensor, tokens: Tensor) -> Tensor:
        """(B, T) sums of cosines of the goals that are judged at each token."""
        mask = sequence_mask(self.network.space, tokens)
        is_last = mask & ~functional.pad(mask[:, 1:], (0, 1))
        due = torch.zeros(tokens.shape, device=goals.device)
        for ahead, cosines in self._cosines(features, goals):
            due = due + (cosines * mask if ahead == self.network.horizon else cosines * is_last)
        return due

    def _cosines(self, features: Tensor, goals: Tensor) -> Iterator[tuple[int, Tensor]]:
        """For i = 1 … c, (B, T) cos(f_s - f_{s-i}, g_{s-i}) where s tokens end; 0 where s < i."""
        length = goals.shape[1]
        for ahead in range(1, min(self.network.horizon, length) + 1):
            moved = features[:, ahead:] - features[:, :-ahead]
            cosines = functional.cosine_similarity(moved, goals[:, : length + 1 - ahead], dim=2)
            yield ahead, functional.pad(cosines, (ahead - 1, 0))


class ManagerWorkerGenerator(PlannedDistribution, ManagerAndWorker, AutoregressiveGenerator):
    """Manager and worker of sequences that are given nothing.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    features: PrefixFeatures

    def __init__(self, settings: ManagerWorker, space: SequenceSpace) -> None:
        copied = PrefixFeatures(space.vocab_size, space.max_length, settings.prefix_features)
        super().__init__(settings, space, copied)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=settings.init_std)

    @property
    def network(self) -> ManagerWorkerGenerator:
        """Itself; see `PlannedDistribution.network`."""
        return self

    def planned(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features and goals of tokens (B, T) int64; see `ManagerAndWorker.plan`."""
        return self.plan(tokens, Beginning(self.features.reader()))

    def written(self, tokens: Tensor, goals: Tensor) -> Tensor:
        """What the output layer reads; see `ManagerAndWorker.write`."""
        return self.write(tokens, goals, Beginning(self.features.reader()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits; see `AutoregressiveGenerator.forward`."""
        # The last position has read all but the last token, which may be any.
        return self.logits(torch.cat([inputs[:, 1:], inputs[:, -1:]], 1))

    def stepper(self, temperature: float = 1.0) -> ManagerWorkerStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return ManagerWorkerStepper(self, temperature, Beginning(self.features.reader()))


def outer(hidden: Tensor, directions: Tensor) -> Tensor:
    """(..., (H + 1)·k): the products h_i·w_j of (..., H) and (..., k), and w itself behind them."""
    products = (hidden.unsqueeze(-1) * directions.unsqueeze(-2)).flatten(-2)
    return torch.cat([products, directions], -1)


class ManagerWorkerStepper(Stepper):
    """Manager and worker of a frozen copy, a step at a time.

    Of the goals it keeps what the worker reads of the last `horizon`, for ψ of a sum is the sum of ψ. Logits are kept
    in units of log 2, because exp2 costs half of exp.

    Args:
        generator: is copied.
        temperature: divides the logits.
        begins: what the rows begin with; None until `conditional` says it.
    """

    @torch.no_grad()
    def __init__(self, generator: ManagerAndWorker, temperature: float, begins: Beginning | None) -> None:
        self._generator, self._begins = frozen_copy(generator), begins
        output, to_log2 = generator.output, 1.0 / (temperature * math.log(2.0))
        padded, number = padded_vocab_size(generator.vocab_size), generator.vocab_size
        self._output_weight = output.weight.new_zeros(output.in_features, padded)
        self._output_weight[:, :number] = output.weight.T * to_log2
        # exp2(-1e30) is exactly 0: padding can never be drawn.
        self._output_bias = output.weight.new_full((padded,), -1e30)
        self._output_bias[:number] = 0.0

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        generator, begins = self._generator, self._begins
        assert begins is not None
        weight = generator.output.weight
        zeros = weight.new_zeros(num_rows, generator.worker.hidden_size)
        worker = zeros if begins.worker is None else begins.worker
        manager = zeros if begins.manager is None else begins.manager
        recent = weight.new_zeros(num_rows, generator.horizon, generator.direction.out_features)
        start = torch.full((num_rows,), generator.start_id, dtype=torch.int64, device=weight.device)
        states = (worker, zeros, manager, zeros, recent)
        return self._next(begins.reader, states, start, begins.reader.start(num_rows))

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        assert self._begins is not None
        reader = self._begins.reader
        return self._next(reader, state[:5], tokens, reader.advance(state[5:], tokens))

    def _next(self, reader: FeatureReader, state: State, tokens: Tensor, prefixes: State) -> State:
        """State after the worker has read `tokens` and the manager the features of the prefixes that end in them."""
        generator = self._generator
        hidden, cell, of_manager, cell_of_manager, recent = state
        hidden, cell = _step(generator.worker, generator.embedding(tokens), hidden, cell)
        features = reader.features(prefixes)
        of_manager, cell_of_manager = _step(generator.manager, features, of_manager, cell_of_manager)
        goal = functional.normalize(generator.goal(of_manager), dim=1)
        recent = torch.cat([generator.direction(goal).unsqueeze(1), recent[:, :-1]], 1)
        return hidden, cell, of_manager, cell_of_manager, recent, *prefixes

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        rows = outer(state[0], state[4].sum(1))
        log2_weights = torch.addmm(self._output_bias, rows, self._output_weight)
        return log2_weights.sub_(log2_weights.amax(1, keepdim=True)).exp2_()


def _step(lstm: nn.LSTM, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden state and cell (R, H) of an LSTM of one layer after one more input (R, ·)."""
    found: tuple[Tensor, Tensor] = torch.lstm_cell(inputs, (hidden, cell), *lstm.all_weights[0])
    return found
