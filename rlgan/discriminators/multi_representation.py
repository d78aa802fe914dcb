"""Many embedded representations of a sequence, judged by one shared convolutional network (RelGAN, Nie et al. 2019).

The embedding of a token is cut into R narrow ones, each of which is a representation of the whole sequence. All of them
go through the same windows, highway layer and output layers, and each has a logit of its own: R judgements of one
network. A loss is the mean of those of the R logits; the verdict is their mean.

    B sequences, T positions, R representations, S = E/R width of each
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace

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

_HIDDEN = 100  # width of the layer before the logit, as released


class MultiRepresentation(Architecture):
    """Discriminator that judges many narrow representations of a sequence by one convolutional network (RelGAN)."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset relgan")
    kind: Literal["multi_representation"] = "multi_representation"
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(64, ge=1)
    """Width of the token embedding, which all representations share out among them."""
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
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"

    @model_validator(mode="after")
    def _check(self) -> MultiRepresentation:
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
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.empty(window * narrow, number))
            for window, number in zip(self.windows, filters, strict=True)
        )
        self.kernel_bias = nn.Parameter(torch.zeros(width))
        self.highway = Highway(width)
        self.dropout = nn.Dropout(settings.dropout)
        self.hidden, self.output = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, 1)
        # As in the released code; the highway layer begins as SeqGAN's.
        _begin(self.embedding.weight, space.vocab_size**-0.5)
        for window, kernel in zip(self.windows, self.kernels, strict=True):
            _begin(kernel, (2.0 / (window * narrow)) ** 0.5)
        self.highway.initialise()
        for layer in (self.hidden, self.output):
            _begin(layer.weight, layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def views(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(R, B) real-logits, one a representation; see `Discriminator.views`."""
        require_no_conditions(self, conditions)
        return self._views(self.embed(tokens), mask, tokens.is_floating_point())

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits, the means over all representations; see `EmbeddingDiscriminator.judge`."""
        return self._views(embedded, mask, is_twice_differentiable).mean(0)

    def _views(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        batch, length = mask.shape
        # A representation is a sequence of its own: (B · R, T, S).
        alone = (embedded * mask.unsqueeze(2)).view(batch, length, self.num_views, -1)
        alone = alone.transpose(1, 2).reshape(batch * self.num_views, length, -1)
        if (longest := max(self.windows)) > length:
            alone = functional.pad(alone, (0, 0, 0, longest - length))
        pooled = [
            max_over_time(alone, kernel, max(length - window, 0) + 1, is_twice_differentiable)
            for window, kernel in zip(self.windows, self.kernels, strict=True)
        ]
        # The bias is the same at every position and ReLU is monotone, so both commute with the maximum.
        features = functional.relu(torch.cat(pooled, 1) + self.kernel_bias)
        logits: Tensor = self.output(self.hidden(self.dropout(self.highway(features))))
        return logits.view(batch, self.num_views).t()

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


def _begin(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
