"""Many embedded representations of a sequence, judged by one shared convolutional network (RelGAN, Nie et al. 2019).

The embedding of a token is cut into R narrow ones, each of which is a representation of the whole sequence. All of them
go through the same windows, highway layer and output layers, and each has a logit of its own: R judgements of one
network. A loss is the mean of those of the R logits; the verdict is their mean.

Of pairs a representation is of both sides: the r-th of the condition and the r-th of the sequence go through windows of
their side, and what was found in both is joined before the highway layer. All behind that layer is linear: joined
there, a logit would be a sum of one term for each side, which cannot tell whether both belong together.

    B sequences, T positions, R representations, S = E/R width of each
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.embeddings import TokenEmbedding
from rlgan.layers.pair_prefix_features import windows_within

from .cnn_highway import Highway, filters_of_each, max_over_time
from .discriminator import (
    Architecture,
    EmbeddingDiscriminator,
    Granularity,
    PlainScorer,
    Reads,
    Scorer,
    require_no_conditions,
)
from .pair_discriminator import EmbeddedPair, PairDiscriminator

_HIDDEN = 100  # width of the layer before the logit, as released


class _Representations(Architecture):
    """Settings of both."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset relgan")
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(64, ge=1)
    """Width of each token embedding, which all representations share out among them."""
    representations: Annotated[int, NotSearched("must divide the embedding")] = Field(64, ge=1)
    """Number of representations; must divide `embedding`."""
    windows: Annotated[tuple[int, ...], Choice(("2,3", "2,3,4,5"))] = (2, 3, 4, 5)
    """Window sizes in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64"))] = (300,)
    """Number of filters for each window size, or one number for all."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout behind the highway layer."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    granularity: ClassVar[Granularity] = "sequence"

    @model_validator(mode="after")
    def _check(self) -> Self:
        filters_of_each(self.windows, self.filters)
        if self.embedding % self.representations:
            raise ConfigError(
                f"discriminator.embedding={self.embedding}: must be a multiple of "
                f"discriminator.representations={self.representations}. Raise the first to a multiple, or "
                "change the second.",
                code="representations_of_embedding",
                fields={
                    "discriminator.embedding": self.embedding,
                    "discriminator.representations": self.representations,
                },
            )
        return self


class MultiRepresentation(_Representations):
    """Discriminator that judges many narrow representations of a sequence by one convolutional network (RelGAN)."""

    kind: Literal["multi_representation"] = "multi_representation"
    reads: ClassVar[Reads] = "sequences"


class PairMultiRepresentation(_Representations):
    """The same for tasks with conditions: judges many narrow representations of a pair."""

    kind: Literal["pair_multi_representation"] = "pair_multi_representation"
    reads: ClassVar[Reads] = "pairs"


class MultiRepresentationDiscriminator(EmbeddingDiscriminator):
    """Embedding cut into representations; windows, max over time, highway, dropout, two linear layers, shared by all.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: MultiRepresentation, space: SequenceSpace) -> None:
        super().__init__()
        self.windows, self.num_views = settings.windows, settings.representations
        filters = filters_of_each(settings.windows, settings.filters)
        width, narrow = sum(filters), settings.embedding // settings.representations
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.kernels = _kernels(self.windows, filters, narrow)
        self.kernel_bias = nn.Parameter(torch.zeros(width))
        self.highway = Highway(width)
        self.dropout = nn.Dropout(settings.dropout)
        self.hidden, self.output = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, 1)
        _initialise([self.embedding], [self.kernels], self.highway, [self.hidden, self.output])

    def views(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(R, B) real-logits, one a representation; see `Discriminator.views`."""
        require_no_conditions(self, conditions)
        return self._views(self.embed(tokens), mask, tokens.is_floating_point())

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits, the means over all representations; see `EmbeddingDiscriminator.judge`."""
        return self._views(embedded, mask, is_twice_differentiable).mean(0)

    def _views(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        alone, length = _alone(embedded, mask, self.num_views, max(self.windows)), mask.shape[1]
        pooled = [
            max_over_time(alone, kernel, max(length - window, 0) + 1, is_twice_differentiable)
            for window, kernel in zip(self.windows, self.kernels, strict=True)
        ]
        # The bias is the same at every position and ReLU is monotone, so both commute with the maximum.
        features = functional.relu(torch.cat(pooled, 1) + self.kernel_bias)
        logits: Tensor = self.output(self.hidden(self.dropout(self.highway(features))))
        return logits.view(len(mask), self.num_views).t()

    @property
    def rows_at_once(self) -> int:
        """So few that their representations are not more than the rows of other networks."""
        return max(1, super().rows_at_once // self.num_views)

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.output.bias.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


class PairMultiRepresentationDiscriminator(PairDiscriminator):
    """Two embeddings cut into representations; windows a side; what they found joined, and judged by shared layers.

    The windows of a side are those within it, or its first where it is shorter, as in `pair_cnn`: how much padding
    follows is not seen. Both alphabets have embeddings, and both sides kernels of their own.

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    def __init__(self, settings: PairMultiRepresentation, space: SequenceSpace) -> None:
        super().__init__(space, settings.embedding)
        self.windows, self.num_views = settings.windows, settings.representations
        filters = filters_of_each(settings.windows, settings.filters)
        width, narrow = sum(filters), settings.embedding // settings.representations
        self.source_kernels = _kernels(self.windows, filters, narrow)
        self.kernels = _kernels(self.windows, filters, narrow)
        self.source_bias, self.kernel_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.highway = Highway(2 * width)
        self.dropout = nn.Dropout(settings.dropout)
        self.hidden, self.output = nn.Linear(2 * width, _HIDDEN), nn.Linear(_HIDDEN, 1)
        _initialise(
            [self.source_embedding, self.embedding],
            [self.source_kernels, self.kernels],
            self.highway,
            [self.hidden, self.output],
        )

    def views(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(R, B) real-logits, one a representation; see `Discriminator.views`."""
        return self._views(self.embedded(tokens, mask, conditions))

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits, the means over all representations; see `PairDiscriminator.judge`."""
        return self._views(pair).mean(0)

    def _views(self, pair: EmbeddedPair) -> Tensor:
        twice = pair.is_twice_differentiable
        source = self._pooled(pair.source, pair.source_mask, self.source_kernels, twice) + self.source_bias
        sequence = self._pooled(pair.sequence, pair.mask, self.kernels, twice) + self.kernel_bias
        features = functional.relu(torch.cat([source, sequence], 1))
        logits: Tensor = self.output(self.hidden(self.dropout(self.highway(features))))
        return logits.view(len(pair.mask), self.num_views).t()

    def _pooled(
        self, embedded: Tensor, mask: Tensor, kernels: nn.ParameterList, is_twice_differentiable: bool
    ) -> Tensor:
        """(B · R, F) greatest responses in the windows within a side."""
        alone, pooled = _alone(embedded, mask, self.num_views, max(self.windows)), []
        for window, kernel in zip(self.windows, kernels, strict=True):
            counts = windows_within(mask, window).repeat_interleave(self.num_views, 0)
            pooled.append(max_over_time(alone, kernel, counts.shape[1], is_twice_differentiable, counts))
        return torch.cat(pooled, 1)

    @property
    def rows_at_once(self) -> int:
        """So few that their representations are not more than the rows of other networks."""
        return max(1, super().rows_at_once // self.num_views)


def _kernels(windows: tuple[int, ...], filters: tuple[int, ...], narrow: int) -> nn.ParameterList:
    """One (window · S, F) a window."""
    return nn.ParameterList(
        nn.Parameter(torch.empty(window * narrow, number)) for window, number in zip(windows, filters, strict=True)
    )


def _alone(embedded: Tensor, mask: Tensor, num_views: int, longest: int) -> Tensor:
    """(B · R, T, S) of embeddings (B, T, E), 0 behind the end: a representation is a sequence of its own.

    T is at least `longest`, the greatest window.
    """
    batch, length = mask.shape
    alone = (embedded * mask.unsqueeze(2)).view(batch, length, num_views, -1)
    alone = alone.transpose(1, 2).reshape(batch * num_views, length, -1)
    return functional.pad(alone, (0, 0, 0, longest - length)) if longest > length else alone


def _initialise(
    embeddings: Sequence[TokenEmbedding],
    kernels: Sequence[nn.ParameterList],
    highway: Highway,
    layers: Sequence[nn.Linear],
) -> None:
    """As in the released code; the highway layer begins as SeqGAN's."""
    for table in embeddings:
        _begin(table.weight, table.weight.shape[0] ** -0.5)
    for kernel in chain.from_iterable(kernels):
        _begin(kernel, (2.0 / kernel.shape[0]) ** 0.5)
    highway.initialise()
    for layer in layers:
        _begin(layer.weight, layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)


def _begin(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
