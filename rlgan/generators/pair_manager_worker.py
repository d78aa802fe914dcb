"""LeakGAN's generator for sequences that are given something: manager and worker that have read the condition.

    B sequences, R rows, S positions of a condition, H width of both LSTMs

    m           [→h ; ←h], the ends of a bidirectional LSTM over the condition
    f_t         the discriminator's features of the condition and the prefix of t tokens
    first states of worker and manager      tanh(W m), tanh(W' m); their cells begin with 0

All else is as in `manager_worker`: goals are directions among these features. The manager reads m as it is, without a
gradient, so that the worker's loss alone teaches the encoder and the losses of both still share no weights. There is no
attention: all that the worker knows of the condition is in its first state and in the goals.

Source: the paper (Guo et al. 2018) gives its sequences nothing; this is ours. See docs/algorithms.md §62.
"""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.problems import Problem
from rlgan.base.weights import Tensors
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.pair_prefix_features import PairFeatureSizes, PairPrefixFeatures, PairPrefixReader, pair_features_of
from rlgan.layers.recurrent import BiLSTM

from .manager_worker import (
    FEATURES,
    Beginning,
    GoalSettings,
    ManagerAndWorker,
    ManagerWorkerStepper,
    PlannedDistribution,
)


class PairManagerWorker(GoalSettings):
    """Manager and worker (LeakGAN) for tasks with conditions."""

    reads_conditions: ClassVar[bool] = True
    kind: Literal["pair_manager_worker"] = "pair_manager_worker"
    feature_windows: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2, 3, 4)
    """Window sizes of the discriminator, `discriminator.windows`."""
    feature_filters: Annotated[tuple[int, ...], Field(min_length=1)] = (64,)
    """Number of filters for each of them, `discriminator.filters`, or one number for all."""
    feature_hidden: int = Field(128, ge=1)
    """Width of the discriminator's hidden layer, `discriminator.mlp_hidden`: the number of features."""

    @property
    def prefix_features(self) -> PairFeatureSizes:
        """See `GeneratorKind.prefix_features`."""
        return PairFeatureSizes(self.feature_embedding, self.feature_windows, self.filters_of_each, self.feature_hidden)

    def misfit(self, features: object | None, judge: str) -> Problem | None:
        """See `GoalSettings.misfit`."""
        sizes = self.prefix_features
        if not isinstance(features, PairFeatureSizes):
            return Problem(
                "pair_features_not_leaked",
                {"generator": self.kind},
                f"reads features of conditions and prefixes, which discriminator={judge!r} does not hand over. Use "
                "discriminator pair_cnn with one member and the head joint.",
            )
        if features == sizes:
            return None
        return Problem(
            "pair_features_of_other_sizes",
            {
                "generator.feature_embedding": sizes.embedding,
                "generator.feature_windows": list(sizes.windows),
                "generator.feature_filters": list(sizes.filters),
                "generator.feature_hidden": sizes.hidden,
            },
            f"must be those of the discriminator: {features.embedding}, {list(features.windows)}, "
            f"{list(features.filters)} and {features.hidden}. Set them to discriminator.embedding, "
            "discriminator.windows, discriminator.filters and discriminator.mlp_hidden.",
        )

    def copied_of(self, judge: Tensors) -> Tensors:
        """See `GeneratorKind.copied_of`."""
        copied = pair_features_of(judge, len(self.feature_windows))
        return {FEATURES + name: tensor for name, tensor in copied.items()}


class PairManagerWorkerGenerator(ManagerAndWorker):
    """Encoder, copy of the discriminator's features, manager, worker.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    features: PairPrefixFeatures

    def __init__(self, settings: PairManagerWorker, space: SequenceSpace) -> None:
        assert space.condition is not None
        super().__init__(settings, space, PairPrefixFeatures(space, settings.prefix_features))
        self._source = space.condition
        self.source_embedding = nn.Embedding(space.condition.vocab_size, settings.embedding)
        self.encoder = BiLSTM(settings.embedding, settings.hidden)
        self.worker_start = nn.Linear(2 * settings.hidden, settings.hidden)
        self.manager_start = nn.Linear(2 * settings.hidden, settings.hidden)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=settings.init_std)

    def conditional(self, conditions: Tensor | None) -> PlannedDistribution:
        """Its distribution of sequences that are given conditions (B, S); see `Generator.conditional`.

        Raises:
            ValueError: no conditions.
        """
        return _OfConditions(self, self.begun(conditions, self.features.reader()))

    def begun(self, conditions: Tensor | None, reader: PairPrefixReader) -> Beginning:
        """What sequences begin with that are given conditions (B, S) int64.

        Args:
            conditions: padding in them changes nothing.
            reader: of the features.

        Raises:
            ValueError: no conditions.
        """
        if conditions is None:
            raise ValueError("a generator of pairs needs conditions.")
        _, ends = self.encoder(self.source_embedding(conditions), sequence_mask(self._source, conditions))
        return Beginning(
            reader.given(conditions),
            worker=torch.tanh(self.worker_start(ends[-1])),
            manager=torch.tanh(self.manager_start(ends[-1].detach())),
        )

    def stepper(self, temperature: float = 1.0) -> PairManagerWorkerStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return PairManagerWorkerStepper(self, temperature)


class _OfConditions(PlannedDistribution):
    """The distribution of sequences that are given what was read."""

    def __init__(self, generator: PairManagerWorkerGenerator, begins: Beginning) -> None:
        self._generator, self._begins = generator, begins

    @property
    def network(self) -> PairManagerWorkerGenerator:
        """See `PlannedDistribution.network`."""
        return self._generator

    def planned(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features and goals of tokens (B, T) int64; see `ManagerAndWorker.plan`."""
        return self._generator.plan(tokens, self._begins)

    def written(self, tokens: Tensor, goals: Tensor) -> Tensor:
        """What the output layer reads; see `ManagerAndWorker.write`."""
        return self._generator.write(tokens, goals, self._begins)


class PairManagerWorkerStepper(ManagerWorkerStepper):
    """Manager and worker of a frozen copy, for rows whose conditions `conditional` says.

    Args:
        generator: is copied.
        temperature: divides the logits.
    """

    _generator: PairManagerWorkerGenerator

    def __init__(self, generator: PairManagerWorkerGenerator, temperature: float) -> None:
        super().__init__(generator, temperature, None)
        self._reader = generator.features.reader()

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> PairManagerWorkerStepper:
        """The same for rows that are given conditions (R, S); see `Stepper.conditional`.

        Raises:
            ValueError: no conditions.
        """
        given = copy.copy(self)
        given._begins = self._generator.begun(conditions, self._reader)
        return given
