"""A ranker in the discriminator's place: how high a sequence ranks among others beside references (RankGAN, 2017).

    α(y | u)     = cos(h(y), h(u))                                       relevance of y to a reference u
    P(y | u, C)  = exp(γ α(y | u)) / Σ_{y' ∈ C ∪ {y}} exp(γ α(y' | u))   its rank score among the set C
    log R(y)     = mean_{u ∈ U} log P(y | u, C)                          the "logit"

h is SeqGAN's network without its output layer. References U are real. A real sequence is ranked among fakes, a fake
among reals. The sets that a fake is ranked beside, and held-out reals with it, belong to the network's state: they are
drawn from the run's seed at the beginning of each round, travel with the weights and stand in checkpoints. So the score
of a sequence depends on that sequence alone, and any number of workers gives the same.

While it learns, C is taken out of the minibatch: of each class as many of the other one as `comparisons` says.

Source: Lin, Li, He, Zhang, Sun 2017, eq. 3 to 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
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
from .discriminator import Architecture, Granularity, Reads, Scorer, require_no_conditions


class Ranker(Architecture):
    """Ranks sequences by their relevance to real ones, instead of classifying them (RankGAN)."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for the loss ranking: preset rankgan")
    kind: Literal["ranker"] = "ranker"
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(64, ge=1)
    """Width of the token embedding."""
    windows: Annotated[tuple[int, ...], Choice(("1,2", "1,2,3,4"))] = SEQGAN_WINDOWS
    """Window sizes in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64", "128"))] = SEQGAN_FILTERS
    """Number of filters for each window size, or one number for all."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout of the features."""
    references: Annotated[int, Choice((4, 16))] = Field(16, ge=1)
    """Number of real references U."""
    comparisons: Annotated[int, Choice((4, 16))] = Field(16, ge=1)
    """Number of sequences in the comparison set C."""
    sharpness: Annotated[float, LogUniform(0.1, 10.0)] = Field(1.0, gt=0.0)
    """γ of the softmax over relevances."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"
    ranks: ClassVar[bool] = True

    @property
    def judges_rows_alone(self) -> bool:
        """Not while it learns: rows of a minibatch are ranked among each other."""
        return False

    @model_validator(mode="after")
    def _check(self) -> Ranker:
        filters_of_each(self.windows, self.filters)
        return self

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
        if adversary.batch // 2 < self.comparisons:
            yield Problem(
                "comparisons_of_batch",
                {"discriminator.comparisons": self.comparisons},
                f"is more than half of adversary.batch={adversary.batch}, from which comparisons are taken. Set it "
                f"to at most {adversary.batch // 2}, or raise adversary.batch.",
            )


class RankerDiscriminator(WindowedDiscriminator):
    """SeqGAN's network without its output layer, and the sets that sequences are ranked beside.

    Args:
        settings: sizes.
        space: the task's sequences.

    Attributes:
        references: (U, T) int64 real sequences.
        comparisons: (C, T) int64 real sequences among which a sequence is ranked.
    """

    references: Tensor
    comparisons: Tensor

    def __init__(self, settings: Ranker, space: SequenceSpace) -> None:
        filters = filters_of_each(settings.windows, settings.filters)
        super().__init__(space.vocab_size, settings.embedding, settings.windows, filters, settings.dropout)
        self._space, self.sharpness = space, settings.sharpness
        self._kept: tuple[Tensor, Tensor] | None = None
        for name, number in (("references", settings.references), ("comparisons", settings.comparisons)):
            self.register_buffer(name, torch.zeros(number, space.max_length, dtype=torch.int64))
        self.initialise()

    @property
    def num_reals(self) -> int:
        """As many as both sets hold; see `Discriminator.num_reals`."""
        return len(self.references) + len(self.comparisons)

    def take_reals(self, reals: Tensor) -> None:
        """Put them into both sets; see `Discriminator.take_reals`."""
        number = len(self.references)
        self.references.copy_(reals[:number])
        self.comparisons.copy_(reals[number:])

    def head(self, features: Tensor) -> Tensor:
        """(B,) log rank scores among the comparisons, beside the references; see `WindowedDiscriminator.head`."""
        references, rivals = self._kept or self._beside()
        return log_rank_scores(self._encoded(features), references, rivals, self.sharpness)

    def class_logits(self, tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(1, B) log rank scores of each class among the other; see `Discriminator.class_logits`.

        Raises:
            ShapeError: a class is missing.
        """
        require_no_conditions(self, conditions)
        if not (is_real.any() and (~is_real).any()):
            raise ShapeError(
                f"is_real is {bool(is_real.all())} everywhere: a ranker ranks reals among fakes and fakes "
                "among reals. Give sequences of both classes.",
                code="ranker_needs_both",
            )
        features = self._encoded(self.pooled(self.embed(tokens), mask, tokens.is_floating_point()))
        references, number = self._features_of(self.references), len(self.comparisons)
        logits = features.new_zeros(len(features))
        for ranked, among in ((is_real, ~is_real), (~is_real, is_real)):
            rivals = rivals_of(features[among][:number], references, self.sharpness)
            scores = log_rank_scores(features[ranked], references, rivals, self.sharpness)
            logits = logits.masked_scatter(ranked, scores)
        return logits.unsqueeze(0)

    def keep_sets(self) -> None:
        """Compute what concerns the sets now, once: neither they nor the weights change any more."""
        self._kept = self._beside()

    def _beside(self) -> tuple[Tensor, Tensor]:
        references = self._features_of(self.references)
        return references, rivals_of(self._features_of(self.comparisons), references, self.sharpness)

    def _features_of(self, tokens: Tensor) -> Tensor:
        return self._encoded(self.pooled(self.embed(tokens), sequence_mask(self._space, tokens), False))

    def _encoded(self, pooled: Tensor) -> Tensor:
        """(B, F) features of length 1."""
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
