"""Features of every prefix of a sequence, as a convolutional discriminator has them, by a copy of its weights.

They are those of `rlgan.discriminators.cnn_highway`: windows over embedded tokens, the maximum over time, a highway
layer. A prefix is padded to the length of whole sequences, as it is where the discriminator judges it, so that windows
that begin in it and end behind it count, with what they have of it.

One more token adds one number to each filter of each window that it lies in. So the windows that are still open are
kept as sums, and a prefix is never read again.

    R rows, E width of the embedding, w a window, N_w its filters, F = Σ N_w
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.weights import Tensors

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


class PrefixFeatures(nn.Module):
    """The weights of such features. They are buffers: they travel with a network's weights, and no optimiser has them.

    They begin at random, as the discriminator's do.

    Args:
        vocab_size: number of tokens V.
        max_length: length T of whole sequences.
        sizes: of the network.
    """

    def __init__(self, vocab_size: int, max_length: int, sizes: FeatureSizes) -> None:
        super().__init__()
        self.max_length, self.sizes = max_length, sizes
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

    def copied_of(self, judge: Tensors) -> Tensors:
        """Its weights out of a discriminator's, by its own names; nothing is copied yet.

        Args:
            judge: weights of `cnn_highway` of the same sizes, name → tensor.
        """
        there = {name.replace(".", "_"): tensor for name, tensor in judge.items()}
        return {name: there[name] for name, _ in self.named_buffers()}

    def reader(self) -> PrefixReader:
        """What computes features by the weights of now."""
        return PrefixReader(self)


FeatureState = tuple[Tensor, ...]
"""Of R prefixes: how many tokens each has (R, 1) int64; the greatest response of each filter to windows that lie in it
(R, F); and of each window size the sums of those that are still open, (R, (w - 1)·N_w), the youngest first."""


class PrefixReader:
    """Reads prefixes token by token, with weights that stand still; nothing here has a gradient.

    Args:
        features: its weights are read now; later changes of them do not show.
    """

    @torch.no_grad()
    def __init__(self, features: PrefixFeatures) -> None:
        sizes = self._sizes = features.sizes
        # Windows that begin later would not fit into a whole sequence; of one that is shorter there is the first.
        self._last_starts = [max(features.max_length - window, 0) for window in sizes.windows]
        self._columns = [window * number for window, number in zip(sizes.windows, sizes.filters, strict=True)]
        kernels = []
        for index, (window, number) in enumerate(zip(sizes.windows, sizes.filters, strict=True)):
            kernel: Tensor = getattr(features, f"kernels_{index}")
            kernels.append(kernel.view(window, sizes.embedding, number).transpose(0, 1).flatten(1))
        # (E, Σ w·N_w): what a token adds, by its place in the window.
        self._kernels = torch.cat(kernels, 1)
        self._embedding, self._bias = features.embedding_weight.clone(), features.kernel_bias.clone()
        self._highway = features.highway_weight.T.contiguous().clone(), features.highway_bias.clone()

    @torch.no_grad()
    def start(self, num_rows: int) -> FeatureState:
        """State of `num_rows` empty prefixes."""
        device = self._kernels.device
        complete = torch.full((num_rows, self._sizes.width), -torch.inf, device=device)
        opened = [
            torch.full((num_rows, columns - number), -torch.inf, device=device)
            for columns, number in zip(self._columns, self._sizes.filters, strict=True)
        ]
        return (torch.zeros(num_rows, 1, dtype=torch.int64, device=device), complete, *opened)

    @torch.no_grad()
    def advance(self, state: FeatureState, tokens: Tensor) -> FeatureState:
        """State after each prefix has been extended by `tokens` (R,) int64."""
        count, complete, *opened = state
        added = (self._embedding.index_select(0, tokens) @ self._kernels).split(self._columns, 1)
        closed, still = [], []
        for adds, sums, number, last in zip(added, opened, self._sizes.filters, self._last_starts, strict=True):
            # A window that was not begun has -inf, and keeps it.
            first = adds[:, :number].masked_fill(count > last, -torch.inf)
            both = torch.cat([first, adds[:, number:] + sums], 1)
            still.append(both[:, : both.shape[1] - number])
            closed.append(both[:, both.shape[1] - number :])
        return (count + 1, torch.maximum(complete, torch.cat(closed, 1)), *still)

    @torch.no_grad()
    def features(self, state: FeatureState) -> Tensor:
        """(R, F) features of the prefixes: what the discriminator's output layer reads of them, without dropout."""
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
        features = functional.relu(torch.cat(pooled, 1) + self._bias)
        transform, gate = torch.addmm(self._highway[1], features, self._highway[0]).chunk(2, 1)
        return torch.lerp(features, functional.relu(transform), torch.sigmoid(gate))

    @torch.no_grad()
    def of_prefixes(self, tokens: Tensor) -> Tensor:
        """(B, T + 1, F) features of all prefixes of sequences (B, T) int64, the empty one first."""
        state = self.start(len(tokens))
        found = [self.features(state)]
        for position in range(tokens.shape[1]):
            state = self.advance(state, tokens[:, position])
            found.append(self.features(state))
        return torch.stack(found, 1)
