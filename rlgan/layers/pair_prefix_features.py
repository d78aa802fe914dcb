"""Features of a condition and every prefix of a sequence, as a discriminator of pairs has them, by a copy of it.

They are those of `rlgan.discriminators.pair_cnn` with the head `joint`: what its output layer reads.

    z = ReLU(W_c f(c) + W_x g(x) + b)      f, g: windows, the maximum over time, a highway layer

The windows of a prefix are those that lie within it, or its first, padded with zeros, where it is shorter than a
window. Batch normalisation, which is a·r + b of each response r where the discriminator judges, is part of the copied
kernels and biases.

W_c f(c) + b is computed once for each condition. One more token of x adds one number to each filter of each window that
it lies in; see `rlgan.layers.prefix_features`.

    R rows, S positions of a condition, w a window, N_w its filters, F = Σ N_w of a tower, Z width of z
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.weights import Tensors
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

from .batch_norm import scale_and_shift
from .prefix_features import FeatureReader, FeatureSizes, FeatureState, WindowReader, WindowWeights


@dataclass(frozen=True, slots=True)
class PairFeatureSizes(FeatureSizes):
    """Sizes of two such towers and of the layer that joins them.

    Attributes:
        hidden: width Z of the layer.
    """

    hidden: int

    @property
    def width(self) -> int:
        """Number of features Z."""
        return self.hidden

    @property
    def tower(self) -> FeatureSizes:
        """Sizes of either tower."""
        return FeatureSizes(self.embedding, self.windows, self.filters)


class PairPrefixFeatures(nn.Module):
    """The weights of such features. They are buffers, and begin at random, as the discriminator's do.

    Args:
        space: the task's sequences, which are given something.
        sizes: of the network.
    """

    def __init__(self, space: SequenceSpace, sizes: PairFeatureSizes) -> None:
        super().__init__()
        assert space.condition is not None
        self.source_space = space.condition
        self.source = WindowWeights(space.condition.vocab_size, sizes.tower)
        self.sequence = WindowWeights(space.vocab_size, sizes.tower)
        layer = nn.Linear(2 * sizes.tower.width, sizes.hidden)
        self.joint_weight: Tensor
        self.joint_bias: Tensor
        self.register_buffer("joint_weight", layer.weight.detach())
        self.register_buffer("joint_bias", layer.bias.detach())

    def reader(self) -> PairPrefixReader:
        """What computes features by the weights of now."""
        return PairPrefixReader(self)


def pair_features_of(judge: Tensors, num_windows: int) -> Tensors:
    """Weights of `PairPrefixFeatures`, by its own names, out of those of a discriminator `pair_cnn`.

    Args:
        judge: weights of the discriminator, of one member and with the head `joint`, name → tensor.
        num_windows: how many windows each tower has.
    """
    copied: Tensors = {
        "joint_weight": judge["head.matching.0.weight"],
        "joint_bias": judge["head.matching.0.bias"],
    }
    towers = (("source", "source_tower", "source_embedding"), ("sequence", "tower", "embedding"))
    for own, tower, embedding in towers:
        copied[f"{own}.embedding_weight"] = judge[f"{embedding}.weight"]
        for name in ("weight", "bias"):
            copied[f"{own}.highway_{name}"] = judge[f"{tower}.highway.{name}"]
        shifts = []
        for index in range(num_windows):
            kernel, norm = judge[f"{tower}.kernels.{index}"], f"{tower}.norms.{index}.norm"
            if f"{norm}.weight" in judge:
                statistics = ("weight", "bias", "running_mean", "running_var")
                scale, shift = scale_and_shift(*(judge[f"{norm}.{name}"] for name in statistics))
                kernel = kernel * scale
                shifts.append(shift)
            copied[f"{own}.kernels_{index}"] = kernel
        # Without batch normalisation there is one bias for all windows.
        copied[f"{own}.kernel_bias"] = torch.cat(shifts) if shifts else judge[f"{tower}.bias"]
    return copied


class PairPrefixReader:
    """Reads conditions; `given` then reads prefixes.

    Args:
        features: its weights are read now; later changes of them do not show.
    """

    @torch.no_grad()
    def __init__(self, features: PairPrefixFeatures) -> None:
        self._source_space = features.source_space
        self._source, self.tower = TowerReader(features.source), TowerReader(features.sequence)
        of_source, of_sequence = features.joint_weight.T.contiguous().clone().split(self._source.width)
        self._of_source, self.of_sequence = of_source, of_sequence
        self._bias = features.joint_bias.clone()

    @torch.no_grad()
    def given(self, conditions: Tensor) -> GivenPrefixReader:
        """What reads prefixes, a row for each of the conditions (R, S) int64."""
        found = self._source.of_whole(conditions, sequence_mask(self._source_space, conditions))
        return GivenPrefixReader(self, torch.addmm(self._bias, found, self._of_source))


class GivenPrefixReader(FeatureReader):
    """Reads prefixes whose conditions were read.

    The state of a row is W_c f(c) + b (R, Z), which does not change, and what `TowerReader` keeps.

    Args:
        reader: of the pairs.
        read: (R, Z) W_c f(c) + b.
    """

    def __init__(self, reader: PairPrefixReader, read: Tensor) -> None:
        self._reader, self._read = reader, read

    def start(self, num_rows: int) -> FeatureState:
        """State of empty prefixes, a row for each condition; see `FeatureReader.start`."""
        assert num_rows == len(self._read)
        return (self._read, *self._reader.tower.start(num_rows))

    def advance(self, state: FeatureState, tokens: Tensor) -> FeatureState:
        """State after one more token; see `FeatureReader.advance`."""
        read, *prefixes = state
        return (read, *self._reader.tower.advance(tuple(prefixes), tokens))

    @torch.no_grad()
    def features(self, state: FeatureState) -> Tensor:
        """(R, Z) features of conditions and prefixes; see `FeatureReader.features`."""
        read, *prefixes = state
        found = self._reader.tower.features(tuple(prefixes))
        return torch.addmm(read, found, self._reader.of_sequence).relu_()


class TowerReader(WindowReader):
    """Reads one side.

    The state of a row is how many tokens its prefix has (R, 1) int64; the greatest response of each filter to the
    windows that count (R, F); and of each window size the sums of those that are still open, (R, (w - 1)·N_w), the
    youngest first.
    """

    @property
    def width(self) -> int:
        """Number of features F of the side."""
        return self._sizes.width

    @torch.no_grad()
    def start(self, num_rows: int) -> FeatureState:
        """State of empty prefixes, whose first windows are padding alone; see `FeatureReader.start`."""
        count = torch.zeros(num_rows, 1, dtype=torch.int64, device=self._kernels.device)
        return (count, self._kernels.new_zeros(num_rows, self.width), *self._unopened(num_rows))

    @torch.no_grad()
    def advance(self, state: FeatureState, tokens: Tensor) -> FeatureState:
        """State after one more token; see `FeatureReader.advance`."""
        count, pooled, *opened = state
        found, still = [], []
        sizes = zip(
            self._added(tokens), opened, pooled.split(self._sizes.filters, 1), *self._windows_and_filters(), strict=True
        )
        for adds, sums, greatest, window, number in sizes:
            both = torch.cat([adds[:, :number], adds[:, number:] + sums], 1)
            still.append(both[:, : both.shape[1] - number])
            # The window that began with the sequence, which counts alone until it lies within it.
            place = count.clamp_max(window - 1).unsqueeze(2).expand(-1, 1, number)
            first = both.view(len(both), window, number).gather(1, place).squeeze(1)
            closed = both[:, both.shape[1] - number :]
            found.append(torch.where(count < window, first, torch.maximum(greatest, closed)))
        return (count + 1, torch.cat(found, 1), *still)

    @torch.no_grad()
    def features(self, state: FeatureState) -> Tensor:
        """(R, F) features of one side; see `FeatureReader.features`."""
        return self._through_highway(state[1])

    @torch.no_grad()
    def of_whole(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(R, F) features of sequences (R, S) int64, by all windows at once; what is not in the mask never matters."""
        missing = max(0, max(self._sizes.windows) - tokens.shape[1])
        embedded = functional.pad(self._embedding[tokens] * mask.unsqueeze(2), (0, 0, 0, missing)).flatten(1)
        pooled = []
        width = self._sizes.embedding
        for kernels, window, number in zip(
            self._kernels.split(self._columns, 1), *self._windows_and_filters(), strict=True
        ):
            kernel = kernels.view(width, window, number).transpose(0, 1).flatten(0, 1)
            counts = windows_within(mask, window)
            unfolded = embedded.unfold(1, window * width, width)[:, : counts.shape[1]]
            pooled.append((unfolded @ kernel).masked_fill(~counts.unsqueeze(2), -torch.inf).amax(1))
        return self._through_highway(torch.cat(pooled, 1))

    def _windows_and_filters(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._sizes.windows, self._sizes.filters


def windows_within(mask: Tensor, window: int) -> Tensor:
    """Which windows of a tensor lie within the sequence: (B, P) bool of (B, T), the first always.

    P is the number of windows within the tensor, 1 where it is shorter than a window.
    """
    positions = torch.arange(max(mask.shape[1] - window, 0) + 1, device=mask.device)
    return positions <= (mask.sum(1, keepdim=True) - window).clamp(min=0)
