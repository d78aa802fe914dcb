"""Rankers in the discriminator's place: how high a sequence ranks among others beside references (RankGAN, 2017).

    α(y | u)     = cos(h(y), h(u))                                       relevance of y to a reference u
    P(y | u, C)  = exp(γ α(y | u)) / Σ_{y' ∈ C ∪ {y}} exp(γ α(y' | u))   its rank score among the set C
    log R(y)     = mean_{u ∈ U} log P(y | u, C)                          the "logit"

h is SeqGAN's network without its output layer. References U are real. A real sequence is ranked among fakes, a fake
among reals. The sets that a fake is ranked beside, and held-out reals with it, belong to the network's state: they are
drawn from the run's seed at the beginning of each round, travel with the weights and stand in checkpoints. So the score
of a sequence depends on that sequence alone, and any number of workers gives the same.

While it learns, C is taken out of the minibatch: of each class as many of the other one as `comparisons` says.

Where sequences are given something, pairs are ranked, of a condition x and its sequence y: U and C are real pairs, and

    h(x, y) = tanh(W [f(x) ; g(y)] + b)                                  f, g the towers of `pair_cnn`

is its network without the output layer, but for two changes. Units of the hidden layer are tanh instead of ReLU: a
fake scores lowest where none of them is on, and soon nearly all were off for reals, too. And there is no batch
normalisation, as in SeqGAN's network: the features of a reference are its own. Of the towers alone a cosine would be a
sum over both sides, which cannot tell whether they belong together.

A score is of the pair and the ranker alone, here, too. With the real sequence of the same condition as the reference,
whoever scores would need that one, and a condition with several good answers would be held to one of them.

Source: Lin, Li, He, Zhang, Sun 2017, eq. 3 to 6.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.declarations import Fields
from rlgan.base.errors import ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, LogUniform, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.prefix_features import SEQGAN_FILTERS, SEQGAN_WINDOWS

from .cnn_highway import (
    CnnHighwayScorer,
    WindowedDiscriminator,
    filters_of_each,
)
from .discriminator import Architecture, Discriminator, Granularity, PlainScorer, Reads, Scorer, require_no_conditions
from .pair_cnn import PairCnn, WindowTower
from .pair_discriminator import EmbeddedPair, PairDiscriminator


class _RankerSettings(Architecture):
    """Settings of both."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for the loss ranking: preset rankgan")
    kind: str
    """Name of the network."""
    references: Annotated[int, Choice((4, 16))] = Field(16, ge=1)
    """Number of real references U."""
    comparisons: Annotated[int, Choice((4, 16))] = Field(16, ge=1)
    """Number of sequences in the comparison set C."""
    sharpness: Annotated[float, LogUniform(0.1, 10.0)] = Field(1.0, gt=0.0)
    """γ of the softmax over relevances."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    granularity: ClassVar[Granularity] = "sequence"
    ranks: ClassVar[bool] = True
    within_reals: ClassVar[tuple[str, ...]] = ("references", "comparisons")

    @property
    def judges_rows_alone(self) -> bool:
        """Not while it learns: rows of a minibatch are ranked among each other."""
        return False

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It learns by ranks; a minibatch has enough to compare with."""
        adversary = fields.adversary
        if not adversary.loss.is_of_ranks:
            yield Problem(
                "ranker_learns_ranks",
                {"adversary.loss": adversary.loss.kind},
                f"reads a verdict about each sequence, but discriminator={self.kind!r} gives ranks. Use adversary.loss "
                "ranking, or another discriminator.",
            )
        group = fields.schedule.g_group or 1
        number = max(1, adversary.batch // (1 + group)) if adversary.shows_prompts else adversary.batch // 2
        if number < self.comparisons:
            yield Problem(
                "comparisons_of_batch",
                {"discriminator.comparisons": self.comparisons},
                f"is more than the reals of a minibatch, {number} of adversary.batch={adversary.batch}, from which "
                f"comparisons are taken. Set it to at most {number}, or raise adversary.batch.",
            )


class Ranker(_RankerSettings):
    """Ranks sequences by their relevance to real ones, instead of classifying them (RankGAN)."""

    kind: Literal["ranker"] = "ranker"
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(64, ge=1)
    """Width of the token embedding."""
    windows: Annotated[tuple[int, ...], Choice(("1,2", "1,2,3,4"))] = SEQGAN_WINDOWS
    """Window sizes in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64", "128"))] = SEQGAN_FILTERS
    """Number of filters for each window size, or one number for all."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout of the features."""
    reads: ClassVar[Reads] = "sequences"

    @model_validator(mode="after")
    def _check(self) -> Ranker:
        filters_of_each(self.windows, self.filters)
        return self


class PairRanker(_RankerSettings):
    """The same for tasks with conditions: ranks pairs by their relevance to real pairs."""

    kind: Literal["pair_ranker"] = "pair_ranker"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    windows: Annotated[tuple[int, ...], Choice(("1,2", "1,2,3,4"))] = (1, 2, 3, 4)
    """Window sizes of both towers in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64", "128"))] = (64,)
    """Number of filters for each window size, or one number for all."""
    mlp_hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of the hidden layer that joins both towers, whose outputs are compared."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout on the output of each tower, and after the hidden layer."""
    reads: ClassVar[Reads] = "pairs"

    @property
    def body(self) -> PairCnn:
        """The network whose towers it has."""
        return PairCnn(
            embedding=self.embedding,
            windows=self.windows,
            filters=self.filters,
            mlp_hidden=self.mlp_hidden,
            dropout=self.dropout,
            batch_norm=False,
        )

    @model_validator(mode="after")
    def _check(self) -> PairRanker:
        filters_of_each(self.windows, self.filters)
        return self


class _RanksBesideReals(Discriminator):
    """What both networks have: the sets that are ranked beside, and a minibatch whose classes are each other's set.

    Attributes:
        references: (U, T) int64 real sequences.
        comparisons: (C, T) int64 real sequences among which a sequence is ranked.
        reference_conditions: (U, S) int64 what the references are given; None where pairs are not ranked.
        comparison_conditions: (C, S) int64 likewise.
        sharpness: γ.
    """

    references: Tensor
    comparisons: Tensor
    reference_conditions: Tensor | None
    comparison_conditions: Tensor | None
    sharpness: float

    def hold_sets(self, settings: Ranker | PairRanker, space: SequenceSpace, given: SequenceSpace | None) -> None:
        """Begin with sets of zeros, as part of the weights.

        Args:
            settings: how many there are.
            space: the task's sequences.
            given: what they are given, where pairs are ranked.
        """
        self.sharpness, self._space = settings.sharpness, space
        self._kept: tuple[Tensor, Tensor] | None = None
        for name, number in (("references", settings.references), ("comparisons", settings.comparisons)):
            self.register_buffer(name, torch.zeros(number, space.max_length, dtype=torch.int64))
        for name, number in (("reference", settings.references), ("comparison", settings.comparisons)):
            conditions = None if given is None else torch.zeros(number, given.max_length, dtype=torch.int64)
            self.register_buffer(f"{name}_conditions", conditions)

    @abstractmethod
    def unit_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Tensor:
        """(B, F) h of each, brought to length 1; arguments as of `forward`."""

    @property
    def num_reals(self) -> int:
        """As many as both sets hold; see `Discriminator.num_reals`."""
        return len(self.references) + len(self.comparisons)

    def take_reals(self, reals: Tensor, conditions: Tensor | None = None) -> None:
        """Put them into both sets; see `Discriminator.take_reals`.

        Raises:
            ValueError: conditions that it cannot read, or none where it needs them.
        """
        if (conditions is None) != (self.reference_conditions is None):
            raise ValueError(f"{type(self).__name__}: takes pairs with, and sequences without conditions.")
        number = len(self.references)
        self.references.copy_(reals[:number])
        self.comparisons.copy_(reals[number:])
        if conditions is not None:
            assert self.reference_conditions is not None and self.comparison_conditions is not None
            self.reference_conditions.copy_(conditions[:number])
            self.comparison_conditions.copy_(conditions[number:])

    def class_logits(self, tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(1, B) log rank scores of each class among the other; see `Discriminator.class_logits`.

        Raises:
            ShapeError: a class is missing.
        """
        if not (is_real.any() and (~is_real).any()):
            raise ShapeError(
                f"is_real is {bool(is_real.all())} everywhere: a ranker ranks reals among fakes and fakes "
                "among reals. Give sequences of both classes.",
                code="ranker_needs_both",
            )
        features = self.unit_features(tokens, mask, conditions)
        references, number = self._features_of(self.references, self.reference_conditions), len(self.comparisons)
        logits = features.new_zeros(len(features))
        for ranked, among in ((is_real, ~is_real), (~is_real, is_real)):
            rivals = rivals_of(features[among][:number], references, self.sharpness)
            scores = log_rank_scores(features[ranked], references, rivals, self.sharpness)
            logits = logits.masked_scatter(ranked, scores)
        return logits.unsqueeze(0)

    def keep_sets(self) -> None:
        """Compute what concerns the sets now, once: neither they nor the weights change any more."""
        self._kept = self._beside()

    def ranked(self, features: Tensor) -> Tensor:
        """(B,) log rank scores among the comparisons, beside the references, of features (B, F) of length 1."""
        return log_rank_scores(features, *(self._kept or self._beside()), self.sharpness)

    def _beside(self) -> tuple[Tensor, Tensor]:
        references = self._features_of(self.references, self.reference_conditions)
        rivals = self._features_of(self.comparisons, self.comparison_conditions)
        return references, rivals_of(rivals, references, self.sharpness)

    def _features_of(self, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        return self.unit_features(tokens, sequence_mask(self._space, tokens), conditions)


class RankerDiscriminator(WindowedDiscriminator, _RanksBesideReals):
    """SeqGAN's network without its output layer, and the sets that sequences are ranked beside.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: Ranker, space: SequenceSpace) -> None:
        filters = filters_of_each(settings.windows, settings.filters)
        super().__init__(space.vocab_size, settings.embedding, settings.windows, filters, settings.dropout)
        self.hold_sets(settings, space, given=None)
        self.initialise()

    def head(self, features: Tensor) -> Tensor:
        """(B,) log rank scores; see `WindowedDiscriminator.head`."""
        return self.ranked(self._encoded(features))

    def unit_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Tensor:
        """(B, F) features of length 1; see `_RanksBesideReals.unit_features`."""
        require_no_conditions(self, conditions)
        return self._encoded(self.pooled(self.embed(tokens), mask, tokens.is_floating_point()))

    def _encoded(self, pooled: Tensor) -> Tensor:
        return functional.normalize(self.dropout(self.highway(pooled)), dim=1)

    def penalty(self) -> Tensor:
        """None of its own: there is no output layer."""
        return self.kernel_bias.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return RankerScorer(self)


class RankerScorer(CnnHighwayScorer):
    """Convolves by table look-up, and knows the features of the sets.

    Args:
        discriminator: its weights and sets are read now; later changes of them do not show.
    """

    @torch.no_grad()
    def __init__(self, discriminator: RankerDiscriminator) -> None:
        super().__init__(discriminator)
        assert isinstance(self._discriminator, RankerDiscriminator)
        self._discriminator.keep_sets()


class PairRankerDiscriminator(PairDiscriminator, _RanksBesideReals):
    """The towers of `pair_cnn`, a hidden layer that joins them, and the real pairs that pairs are ranked beside.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    def __init__(self, settings: PairRanker, space: SequenceSpace) -> None:
        super().__init__(space, settings.embedding)
        self.source_tower, self.tower = WindowTower(settings.body), WindowTower(settings.body)
        self.hidden = nn.Linear(self.source_tower.num_features + self.tower.num_features, settings.mlp_hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.hold_sets(settings, space, given=space.condition)

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """(B,) log rank scores; see `PairDiscriminator.judge`."""
        return self.ranked(self._encoded(pair))

    def unit_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Tensor:
        """(B, F) features of length 1; see `_RanksBesideReals.unit_features`."""
        return self._encoded(self.embedded(tokens, mask, conditions))

    def _encoded(self, pair: EmbeddedPair) -> Tensor:
        towers = [
            self.source_tower(pair.source, pair.source_mask, pair.is_twice_differentiable),
            self.tower(pair.sequence, pair.mask, pair.is_twice_differentiable),
        ]
        return functional.normalize(self.dropout(torch.tanh(self.hidden(torch.cat(towers, 1)))), dim=1)

    @torch.no_grad()
    def scorer(self) -> Scorer:
        """A frozen copy that knows the features of the sets; see `Discriminator.scorer`."""
        frozen = copy.deepcopy(self).eval().requires_grad_(False)
        frozen.keep_sets()
        return PlainScorer(frozen)


def rivals_of(comparisons: Tensor, references: Tensor, sharpness: float) -> Tensor:
    """(U,) log Σ_{y' ∈ C} exp(γ α(y' | u)) of features (C, F) and (U, F) of length 1."""
    return torch.logsumexp(sharpness * (comparisons @ references.t()), dim=0)


def log_rank_scores(features: Tensor, references: Tensor, rivals: Tensor, sharpness: float) -> Tensor:
    """Mean over references of log exp(γ α(y | u)) / (exp(γ α(y | u)) + Σ_{y' ∈ C} exp(γ α(y' | u))).

    Args:
        features: (B, F) of length 1.
        references: (U, F) of length 1.
        rivals: (U,) logarithm of the comparison set's part of the denominator; see `rivals_of`.
        sharpness: γ.

    Returns:
        (B,) float32, below 0.
    """
    relevance = sharpness * (features @ references.t())
    return (relevance - torch.logaddexp(relevance, rivals)).mean(1)
