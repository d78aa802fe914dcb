"""Convolutions of many window sizes, max over time, one highway layer (Yu et al. 2017).

All windows of one size are one matrix product over unfolded embeddings. The maximum over time lets one position of each
filter through, so its gradient is a sum over those positions alone. For scoring, where weights stand still, the product
of every embedding with every window offset is a table, and a convolution is a sum of table rows.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, LogUniform, Uniform
from rlgan.layers.prefix_features import SEQGAN_FILTERS, SEQGAN_WINDOWS, FeatureSizes

from .discriminator import (
    Architecture,
    EmbeddingDiscriminator,
    Granularity,
    Reads,
    Scorer,
    read_by,
    require_no_conditions,
)


class CnnHighway(Architecture):
    """Convolutional discriminator with a highway layer."""

    kind: Literal["cnn_highway"] = "cnn_highway"
    embedding: Annotated[int, Choice((16, 32, 64))] = Field(64, ge=1)
    """Width of the token embedding."""
    # Text, for that is what Optuna and JSON hand back as they were given it.
    windows: Annotated[tuple[int, ...], Choice(("1,2", "1,2,3,4", "1,2,3,4,5,6,8,10"))] = SEQGAN_WINDOWS
    """Window sizes in tokens; sequences shorter than a window are padded with zeros."""
    filters: Annotated[tuple[int, ...], Choice(("32", "64", "128"))] = SEQGAN_FILTERS
    """Number of filters for each window size, or one number for all."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout before the output layer."""
    l2_out: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.2, ge=0.0)
    """Weight λ of the penalty λ·(½‖W_out‖² + ½‖b_out‖²)."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"
    gives_features: ClassVar[bool] = True

    @property
    def filters_of_each(self) -> tuple[int, ...]:
        """Number of filters of each window size."""
        return filters_of_each(self.windows, self.filters)

    @property
    def prefix_features(self) -> FeatureSizes | None:
        """Those of its highway layer; several networks have none in common."""
        return FeatureSizes(self.embedding, self.windows, self.filters_of_each) if self.members == 1 else None

    @model_validator(mode="after")
    def _check(self) -> CnnHighway:
        filters_of_each(self.windows, self.filters)
        return self


def filters_of_each(windows: tuple[int, ...], filters: tuple[int, ...]) -> tuple[int, ...]:
    """Number of filters of each window size, where one number is that of all.

    Raises:
        ConfigError: there are neither one nor as many as windows, or an entry is below 1.
    """
    if not windows or len(filters) not in (1, len(windows)):
        raise ConfigError(
            f"discriminator.filters={list(filters)}: must be one number of filters for each of the {len(windows)} "
            f"windows {list(windows)}, or one for all.",
            code="filters_per_window",
        )
    if min(windows) < 1 or min(filters) < 1:
        raise ConfigError(
            "discriminator.windows and discriminator.filters: every entry must be at least 1.",
            code="windows_and_filters",
        )
    return filters * len(windows) if len(filters) == 1 else filters


class Highway(nn.Linear):
    """z = g·ReLU(W_t x + b_t) + (1 - g)·x, g = σ(W_g x + b_g) (Srivastava et al. 2015).

    Rows 0..width-1 of the weight transform, the rest gate: one product for both.

    Args:
        width: of x and z.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 2 * width)

    def initialise(self) -> None:
        """Begin with gates that are half open, as the released SeqGAN code does."""
        width = self.in_features
        nn.init.xavier_uniform_(self.weight[:width])
        nn.init.xavier_uniform_(self.weight[width:])
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) to (B, F)."""
        transform, gate = super().forward(features).chunk(2, 1)
        return torch.lerp(features, functional.relu(transform), torch.sigmoid(gate))


class WindowedDiscriminator(EmbeddingDiscriminator):
    """Embedding, windows, max over time, highway, dropout; what becomes of these features is `head`.

    Args:
        vocab_size: number of tokens V.
        embedding: width of the token embedding.
        windows: sizes in tokens.
        filters: number of filters of each.
        dropout: of the features.
    """

    def __init__(
        self, vocab_size: int, embedding: int, windows: tuple[int, ...], filters: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.windows, self.filters = windows, filters
        self.width = sum(filters)
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.empty(window * embedding, number))
            for window, number in zip(windows, filters, strict=True)
        )
        self.kernel_bias = nn.Parameter(torch.full((self.width,), 0.1))
        self.highway = Highway(self.width)
        self.dropout = nn.Dropout(dropout)

    def initialise(self) -> None:
        """Begin as the released SeqGAN code does."""
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0)
        for kernel in self.kernels:
            nn.init.trunc_normal_(kernel, std=0.1, a=-0.2, b=0.2)
        self.highway.initialise()

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits; see `EmbeddingDiscriminator.judge`."""
        return self.head(self.pooled(embedded, mask, is_twice_differentiable))

    def pooled(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """(B, F) maximum response of each filter over time; arguments as of `judge`."""
        embedded = embedded * mask.unsqueeze(2)
        length = mask.shape[1]
        if (longest := max(self.windows)) > length:
            embedded = functional.pad(embedded, (0, 0, 0, longest - length))
        pooled = [
            max_over_time(embedded, kernel, max(length - window, 0) + 1, is_twice_differentiable)
            for window, kernel in zip(self.windows, self.kernels, strict=True)
        ]
        # The bias is the same at every position and ReLU is monotone, so both commute with the maximum.
        return functional.relu(torch.cat(pooled, dim=1) + self.kernel_bias)

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """(B, F) pooled features to (B,) real-logits."""

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return CnnHighwayScorer(self)


class CnnHighwayDiscriminator(WindowedDiscriminator):
    """Embedding, windows, max over time, highway, dropout, two-way softmax.

    The logit is the difference of the two softmax inputs, so `sigmoid(logit)` is the released code's P(real) and the
    L2 penalty acts on both columns as it does there.

    Args:
        settings: sizes.
        vocab_size: number of tokens V.
    """

    def __init__(self, settings: CnnHighway, vocab_size: int) -> None:
        super().__init__(vocab_size, settings.embedding, settings.windows, settings.filters_of_each, settings.dropout)
        self.l2_out = settings.l2_out
        self.output = nn.Linear(self.width, 2)
        self.initialise()
        nn.init.trunc_normal_(self.output.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.constant_(self.output.bias, 0.1)

    def head(self, features: Tensor) -> Tensor:
        """Highway layer, dropout, output; see `WindowedDiscriminator.head`."""
        scores = self.output(self.dropout(self.highway(features)))
        return scores[:, 1] - scores[:, 0]

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What its output layer reads; see `Discriminator.output_features`."""
        return read_by(self.output, lambda: self(tokens, mask, conditions))

    def penalty(self) -> Tensor:
        """λ·(½‖W_out‖² + ½‖b_out‖²)."""
        return self.l2_out * 0.5 * (self.output.weight.square().sum() + self.output.bias.square().sum())


class CnnHighwayScorer(Scorer):
    """Frozen copy that convolves by table look-up.

    For each window the product of every embedding with every offset of the window is a table of (window · (V + 1))
    rows; the last row of each offset stands for padding. A convolution is then a sum of `window` rows, without a
    multiplication. Tables are used one window after another over many sequences, so that one stays in cache.

    Memory: 4 · (V + 1) · Σ window·filters bytes (250 MB at the published sizes, V = 5,000). Where that exceeds
    `max_table_bytes` the discriminator's own matrix products are used.

    Args:
        discriminator: its weights are read now; later changes of them do not show.
        max_table_bytes: most memory of the tables.
    """

    _CHUNK = 2048  # sequences a table is used for before the next one takes its place in cache
    _HEAD = 256  # sequences whose highway layer still fits into cache
    _BAGS = 2048  # window positions summed together, so that the sums are still in cache for the maximum

    @torch.no_grad()
    def __init__(self, discriminator: WindowedDiscriminator, max_table_bytes: int = 400_000_000) -> None:
        self._discriminator = copy.deepcopy(discriminator).eval().requires_grad_(False)
        vocab_size, width = discriminator.embedding.weight.shape
        num_columns = sum(k * f for k, f in zip(discriminator.windows, discriminator.filters, strict=True))
        self._tables: list[Tensor] | None = None
        if 4 * (vocab_size + 1) * num_columns <= max_table_bytes:
            self._padding_row = vocab_size
            biases = discriminator.kernel_bias.split(discriminator.filters)
            self._tables = [
                _offset_table(discriminator.embedding.weight, kernel.view(window, width, -1), bias)
                for window, kernel, bias in zip(discriminator.windows, discriminator.kernels, biases, strict=True)
            ]

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Scorer.__call__`."""
        require_no_conditions(self._discriminator, conditions)
        chunks = zip(tokens.split(self._CHUNK), mask.split(self._CHUNK), strict=True)
        return torch.cat([self._score(*chunk) for chunk in chunks])

    def _score(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        if self._tables is None:
            return self._discriminator(tokens, mask)
        rows = tokens.masked_fill(~mask, self._padding_row).int()
        length = tokens.shape[1]
        if (longest := max(self._discriminator.windows)) > length:
            rows = functional.pad(rows, (0, longest - length), value=self._padding_row)
        pooled = [self._pool(rows, length, window, table) for window, table in self._windows_and_tables()]
        features = torch.cat(pooled, 1).relu_()
        return torch.cat([self._discriminator.head(part) for part in features.split(self._HEAD)])

    def _windows_and_tables(self) -> zip[tuple[int, Tensor]]:
        assert self._tables is not None
        return zip(self._discriminator.windows, self._tables, strict=True)

    def _pool(self, rows: Tensor, length: int, window: int, table: Tensor) -> Tensor:
        positions = max(length - window, 0) + 1
        offsets = torch.arange(window, device=rows.device, dtype=rows.dtype) * (self._padding_row + 1)
        bags = rows.unfold(1, window, 1)[:, :positions] + offsets
        pooled = [
            functional.embedding_bag(part.flatten(0, 1), table, mode="sum").view(-1, positions, table.shape[1]).amax(1)
            for part in bags.split(max(1, self._BAGS // positions))
        ]
        return torch.cat(pooled)


def max_over_time(
    embedded: Tensor,
    kernel: Tensor,
    num_positions: int,
    is_twice_differentiable: bool = False,
    counts: Tensor | None = None,
) -> Tensor:
    """Greatest response of each filter over the positions of its window.

    pooled[b, f] = max_p ⟨embedded[b, p : p + window], kernel[:, f]⟩; the gradient flows to one position that does so.

    Args:
        embedded: (B, T, E).
        kernel: (window · E, F), offsets of the window in row-major order.
        num_positions: positions 0 … num_positions - 1 count; each must leave room for the window.
        is_twice_differentiable: do without the sparse backward pass, which cannot be differentiated.
        counts: (B, P) bool, which positions are looked at, the first always; None for all.

    Returns:
        (B, F).
    """
    # A GPU has multiplications to spare and pays for each small step instead; with one position nothing can be saved.
    if embedded.device.type == "cpu" and num_positions > 1 and not is_twice_differentiable:
        pooled: Tensor = _SparseMaxOverTime.apply(embedded, kernel, num_positions, counts)
        return pooled
    scores = responses(embedded, kernel, num_positions)
    if counts is not None:
        scores = scores.masked_fill(~counts.unsqueeze(2), -torch.inf)
    return scores.max(1).values


def responses(embedded: Tensor, kernel: Tensor, num_positions: int) -> Tensor:
    """(B, P, F) products of each window of (B, T, E) with each filter; see `max_over_time`."""
    return (_unfold(embedded, kernel, num_positions) @ kernel).view(embedded.shape[0], num_positions, -1)


def _unfold(embedded: Tensor, kernel: Tensor, num_positions: int) -> Tensor:
    """(B · P, window · E) windows of (B, T, E)."""
    batch, _, width = embedded.shape
    # Row-major (T, E) makes each window one contiguous run: unfolding is a strided view until it is copied.
    windows = embedded.reshape(batch, -1).unfold(1, kernel.shape[0], width)
    return windows[:, :num_positions].reshape(batch * num_positions, -1)


class _SparseMaxOverTime(torch.autograd.Function):
    """`max_over_time` whose backward pass does B · F dot products for each of its two gradients, not B · P · F."""

    @staticmethod
    def forward(ctx: Any, embedded: Tensor, kernel: Tensor, num_positions: int, counts: Tensor | None) -> Tensor:
        windows = _unfold(embedded, kernel, num_positions)
        scores = (windows @ kernel).view(embedded.shape[0], num_positions, -1)
        if counts is not None:
            scores.masked_fill_(~counts.unsqueeze(2), -torch.inf)
        pooled = scores.amax(1)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            # The last position that attains it: faster than `max` with indices, which would find the first.
            numbers = torch.arange(num_positions, dtype=torch.int32).view(1, -1, 1)
            position = ((scores == pooled.unsqueeze(1)) * numbers).amax(1).long()
            ctx.save_for_backward(windows, kernel, position)
            ctx.shape = embedded.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pooled_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        windows, kernel, position = ctx.saved_tensors
        batch, length, width = ctx.shape
        num_positions = windows.shape[0] // batch
        # Row of `windows` that each sequence and filter let through.
        row = position + num_positions * torch.arange(batch).unsqueeze(1)
        embedded_grad = kernel_grad = None
        if ctx.needs_input_grad[1]:
            # kernel_grad[:, f] = Σ_b pooled_grad[b, f] · windows[row[b, f]]
            kernel_grad = functional.embedding_bag(
                row.t().contiguous(), windows, mode="sum", per_sample_weights=pooled_grad.t().contiguous()
            ).t()
        if ctx.needs_input_grad[0]:
            # windows_grad[r] = Σ_{b, f with row[b, f] = r} pooled_grad[b, f] · kernel[:, f]
            row = row.flatten()
            order = _stable_order(row, windows.shape[0])
            counts = torch.bincount(row, minlength=windows.shape[0])
            windows_grad = functional.embedding_bag(
                order % kernel.shape[1],
                kernel.t().contiguous(),
                counts.cumsum(0) - counts,
                mode="sum",
                per_sample_weights=pooled_grad.flatten()[order],
            ).view(batch, num_positions, -1)
            embedded_grad = windows_grad.new_zeros(batch, length, width)
            for offset in range(kernel.shape[0] // width):
                part = windows_grad[:, :, offset * width : (offset + 1) * width]
                embedded_grad[:, offset : offset + num_positions] += part
        return embedded_grad, kernel_grad, None, None


def _stable_order(values: Tensor, bound: int) -> Tensor:
    """Indices that sort int64 values in 0 … bound - 1; equal ones stay in their order."""
    if bound > np.iinfo(np.int16).max:
        return values.argsort(stable=True)
    # NumPy sorts numbers of 16 bits by their digits, in a quarter of the time.
    return torch.from_numpy(np.argsort(values.numpy().astype(np.int16), kind="stable"))


def _offset_table(embedding: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """(window · (V + 1), F) products of every embedding (V, E) with every offset of a kernel (window, E, F).

    The bias (F,) is in the rows of the first offset: each window reads exactly one of them.
    """
    window, _, filters = kernel.shape
    vocab_size = embedding.shape[0]
    table = embedding.new_empty(window, vocab_size + 1, filters)
    table[:, vocab_size] = 0.0
    for offset in range(window):
        torch.mm(embedding, kernel[offset], out=table[offset, :vocab_size])
    table[0] += bias
    return table.flatten(0, 1)
