"""Features of every prefix of a sequence, as a convolutional discriminator has them, by a copy of its weights.

They are those of `rlgan.discriminators.cnn_highway`: windows over embedded tokens, the maximum over time, a highway
layer. A prefix is padded to the length of whole sequences, as it is where the discriminator judges it, so that windows
that begin in it and end behind it count, with what they have of it. Those of a discriminator of pairs are in
`rlgan.layers.pair_prefix_features`.

One more token adds one number to each filter of each window that it lies in. So the windows that are still open are
kept as sums, and a prefix is never read again.

    R rows, E width of the embedding, w a window, N_w its filters, F = Σ N_w
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SEQGAN_WINDOWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
SEQGAN_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


@dataclass(frozen=True, slots=True)
class FeatureSizes:
    """Sizes of a convolutional network of features.

    Attributes:
        embedding: width E of a token's embedding.
        windows: sizes in tokens.
        filters: number of filters of each.
    """

    embedding: int
    windows: tuple[int, ...]
    filters: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of features F."""
        return sum(self.filters)


class WindowWeights(nn.Module):
    """Weights of windows over embedded tokens and of the highway layer behind them.

    They are buffers: they travel with a network's weights, and no optimiser has them. They begin at random, as the
    discriminator's do.

    Args:
        vocab_size: number of tokens V.
        sizes: of the network.
    """

    def __init__(self, vocab_size: int, sizes: FeatureSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.embedding_weight: Tensor
        self.kernel_bias: Tensor
        self.highway_weight: Tensor
        self.highway_bias: Tensor
        self.register_buffer("embedding_weight", torch.empty(vocab_size, sizes.embedding).uniform_(-1.0, 1.0))
        for index, (window, number) in enumerate(zip(sizes.windows, sizes.filters, strict=True)):
            kernel = torch.empty(window * sizes.embedding, number)
            self.register_buffer(f"kernels_{index}", nn.init.trunc_normal_(kernel, std=0.1, a=-0.2, b=0.2))
        self.register_buffer("kernel_bias", torch.full((width,), 0.1))
        halves = [nn.init.xavier_uniform_(torch.empty(width, width)) for _ in range(2)]
        self.register_buffer("highway_weight", torch.cat(halves))
        self.register_buffer("highway_bias", torch.zeros(2 * width))

    def kernel(self, index: int) -> Tensor:
        """(w · E, N_w) of a window, its offsets one after another."""
        kernel: Tensor = getattr(self, f"kernels_{index}")
        return kernel


class PrefixFeatures(WindowWeights):
    """The weights of such features.

    Args:
        vocab_size: number of tokens V.
        max_length: length T of whole sequences.
        sizes: of the network.
    """

    def __init__(self, vocab_size: int, max_length: int, sizes: FeatureSizes) -> None:
        super().__init__(vocab_size, sizes)
        self.max_length = max_length

    def reader(self) -> PrefixReader:
        """What computes features by the weights of now."""
        return PrefixReader(self)


FeatureState = tuple[Tensor, ...]
"""What is kept of R prefixes: tensors whose first dimension is R. Of a `PrefixReader` how many tokens each has (R, 1)
int64; the greatest response of each filter to windows that lie in it (R, F); and of each window size the sums of those
that are still open, (R, (w - 1)·N_w), the youngest first."""


class FeatureReader(ABC):
    """Reads prefixes token by token, with weights that stand still; nothing in it has a gradient."""

    @abstractmethod
    def start(self, num_rows: int) -> FeatureState:
        """State of `num_rows` empty prefixes."""

    @abstractmethod
    def advance(self, state: FeatureState, tokens: Tensor) -> FeatureState:
        """State after each prefix has been extended by `tokens` (R,) int64."""

    @abstractmethod
    def features(self, state: FeatureState) -> Tensor:
        """(R, F) features of the prefixes: what the discriminator's output layer reads of them, without dropout."""

    @torch.no_grad()
    def of_prefixes(self, tokens: Tensor) -> Tensor:
        """(B, T + 1, F) features of all prefixes of sequences (B, T) int64, the empty one first."""
        state = self.start(len(tokens))
        found = [self.features(state)]
        for position in range(tokens.shape[1]):
            state = self.advance(state, tokens[:, position])
            found.append(self.features(state))
        return torch.stack(found, 1)


class WindowReader(FeatureReader):
    """What all readers of windows do: add a token to the windows that it lies in, and apply the highway layer.

    Args:
        weights: are read now; later changes of them do not show.
    """

    @torch.no_grad()
    def __init__(self, weights: WindowWeights) -> None:
        sizes = self._sizes = weights.sizes
        self._columns = [window * number for window, number in zip(sizes.windows, sizes.filters, strict=True)]
        kernels = []
        for index, (window, number) in enumerate(zip(sizes.windows, sizes.filters, strict=True)):
            kernel = weights.kernel(index)
            kernels.append(kernel.view(window, sizes.embedding, number).transpose(0, 1).flatten(1))
        # (E, Σ w·N_w): what a token adds, by its place in the window.
        self._kernels = torch.cat(kernels, 1)
        self._embedding, self._bias = weights.embedding_weight.clone(), weights.kernel_bias.clone()
        self._highway = weights.highway_weight.T.contiguous().clone(), weights.highway_bias.clone()

    def _added(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """What tokens (R,) add to each window size, (R, w·N_w): the first N_w to a window that begins with them."""
        return (self._embedding.index_select(0, tokens) @ self._kernels).split(self._columns, 1)

    def _unopened(self, num_rows: int) -> list[Tensor]:
        """Sums of windows of empty prefixes: -inf, which a window that was not begun has, and keeps."""
        return [
            self._kernels.new_full((num_rows, columns - number), -torch.inf)
            for columns, number in zip(self._columns, self._sizes.filters, strict=True)
        ]

    def _through_highway(self, pooled: Tensor) -> Tensor:
        """(R, F) of the greatest response of each filter (R, F), the bias not yet added."""
        features = functional.relu(pooled + self._bias)
        transform, gate = torch.addmm(self._highway[1], features, self._highway[0]).chunk(2, 1)
        return torch.lerp(features, functional.relu(transform), torch.sigmoid(gate))


class PrefixReader(WindowReader):
    """Reads prefixes that are padded to the length of whole sequences; see `FeatureState`.

    Args:
        features: its weights are read now; later changes of them do not show.
    """

    def __init__(self, features: PrefixFeatures) -> None:
        super().__init__(features)
        # Windows that begin later would not fit into a whole sequence; of one that is shorter there is the first.
        self._last_starts = [max(features.max_length - window, 0) for window in self._sizes.windows]

    @torch.no_grad()
    def start(self, num_rows: int) -> FeatureState:
        """State of `num_rows` empty prefixes."""
        count = torch.zeros(num_rows, 1, dtype=torch.int64, device=self._kernels.device)
        complete = self._kernels.new_full((num_rows, self._sizes.width), -torch.inf)
        return (count, complete, *self._unopened(num_rows))

    @torch.no_grad()
    def advance(self, state: FeatureState, tokens: Tensor) -> FeatureState:
        """State after each prefix has been extended by `tokens` (R,) int64."""
        count, complete, *opened = state
        closed, still = [], []
        sizes = zip(self._added(tokens), opened, self._sizes.filters, self._last_starts, strict=True)
        for adds, sums, number, last in sizes:
            first = adds[:, :number].masked_fill(count > last, -torch.inf)
            both = torch.cat([first, adds[:, number:] + sums], 1)
            still.append(both[:, : both.shape[1] - number])
            closed.append(both[:, both.shape[1] - number :])
        return (count + 1, torch.maximum(complete, torch.cat(closed, 1)), *still)

    @torch.no_grad()
    def features(self, state: FeatureState) -> Tensor:
        """(R, F) features of the prefixes; see `FeatureReader.features`."""
        count, complete, *opened = state
        pooled = []
        for greatest, sums, number, last in zip(
            complete.split(self._sizes.filters, 1), opened, self._sizes.filters, self._last_starts, strict=True
        ):
            best = greatest
            if sums.shape[1]:
                best = torch.maximum(greatest, sums.view(len(sums), -1, number).amax(1))
            # A window of padding alone responds with 0.
            pooled.append(torch.where(count <= last, best.clamp_min(0.0), best))
        return self._through_highway(torch.cat(pooled, 1))
