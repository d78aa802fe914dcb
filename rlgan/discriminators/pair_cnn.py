"""A convolutional tower for the condition and one for the sequence (CSGAN-NMT, Yang et al. 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.batch_norm import MaskedBatchNorm
from rlgan.layers.pair_prefix_features import PairFeatureSizes, windows_within

from .cnn_highway import Highway, filters_of_each, max_over_time, responses
from .discriminator import Architecture, Granularity, Reads
from .two_towers import HeadSettings, JointHead, Tower, TwoTowerDiscriminator


class PairCnn(Architecture):
    """Discriminator of pairs with convolutions over both sides.

    The published implementation has embeddings of 512, windows 1, 5, 9 … 49 with 100 + 10·window filters, and batch
    norm; the defaults suit short sentences.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["pair_cnn"] = "pair_cnn"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    # Text, for that is what Optuna and JSON hand back as they were given it.
    windows: Annotated[tuple[int, ...], Choice(("1,2", "1,2,3,4", "1,2,3,4,5,6,8,10"))] = (1, 2, 3, 4)
    """Window sizes of both towers in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64", "128"))] = (64,)
    """Number of filters for each window size, or one number for all."""
    batch_norm: Annotated[bool, Choice((True, False))] = True
    """Whether to normalise the responses of each filter over all windows of a minibatch."""
    mlp_hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of the hidden layer that joins both towers."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout on the output of each tower, and after the hidden layer."""
    head: HeadSettings = JointHead()
    """One score for the pair, or separate scores for the sequence and for the pair."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"

    @property
    def judges_rows_alone(self) -> bool:
        """See `Architecture.judges_rows_alone`: batch normalisation reads all rows."""
        return not self.batch_norm

    @property
    def prefix_features(self) -> PairFeatureSizes | None:
        """Those of the joint head's hidden layer; two heads, or several networks, have none in common."""
        if self.members > 1 or not isinstance(self.head, JointHead):
            return None
        filters = filters_of_each(self.windows, self.filters)
        return PairFeatureSizes(self.embedding, self.windows, filters, self.mlp_hidden)

    @model_validator(mode="after")
    def _check(self) -> PairCnn:
        filters_of_each(self.windows, self.filters)
        return self


class PairCnnDiscriminator(TwoTowerDiscriminator):
    """Embeddings, towers of windows, a head with a hidden layer.

    The released code has none: it adds what a linear layer says of either tower, so that its log-odds are a(c) + b(x),
    of which no choice can tell whether c and x belong together.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: PairCnn, space: SequenceSpace) -> None:
        super().__init__(
            space,
            settings.embedding,
            WindowTower(settings),
            WindowTower(settings),
            settings.head,
            settings.mlp_hidden,
            settings.dropout,
        )


class WindowTower(Tower):
    """Windows, batch norm, ReLU, max over time, highway, dropout.

    The windows of a sequence are those that lie within it, or its first where it is shorter than a window. So the
    features do not know how much padding follows.

    Args:
        settings: sizes.
    """

    def __init__(self, settings: PairCnn) -> None:
        super().__init__()
        filters = filters_of_each(settings.windows, settings.filters)
        self._windows, self.num_features = settings.windows, sum(filters)
        self.kernels = nn.ParameterList(
            nn.init.trunc_normal_(torch.empty(window * settings.embedding, number), std=0.1, a=-0.2, b=0.2)
            for window, number in zip(settings.windows, filters, strict=True)
        )
        self.norms: nn.ModuleList | None = None
        if settings.batch_norm:
            self.norms = nn.ModuleList(map(MaskedBatchNorm, filters))
        else:
            self.bias = nn.Parameter(torch.full((self.num_features,), 0.1))  # batch norm has one of its own
        self.highway = Highway(self.num_features)
        self.highway.initialise()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """(B, F); see `Tower.forward`."""
        missing = max(0, max(self._windows) - mask.shape[1])
        embedded = functional.pad(embedded * mask.unsqueeze(2), (0, 0, 0, missing))
        pooled = torch.cat(
            [self._pooled(embedded, mask, index, is_twice_differentiable) for index in range(len(self._windows))], dim=1
        )
        if self.norms is None:
            pooled = pooled + self.bias
        # ReLU is monotone, so it commutes with the maximum.
        features: Tensor = self.dropout(self.highway(functional.relu(pooled)))
        return features

    def _pooled(self, embedded: Tensor, mask: Tensor, index: int, is_twice_differentiable: bool) -> Tensor:
        kernel, counts = self.kernels[index], windows_within(mask, self._windows[index])
        if self.norms is None:
            return max_over_time(embedded, kernel, counts.shape[1], is_twice_differentiable, counts)
        # 0 where nothing counts, which ReLU makes of all below it.
        normed: Tensor = self.norms[index](responses(embedded, kernel, counts.shape[1]), counts)
        return normed.max(1).values
