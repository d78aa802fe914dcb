"""Batch normalisation that knows what is padding (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5
"""ε, which is added to variances."""


class MaskedBatchNorm(nn.Module):
    """y = γ·(x - μ)/√(σ² + ε) + β, μ and σ² of each channel over the real cells of the minibatch.

    In evaluation, μ and σ² are running means of those, buffers that travel with the weights. One real cell has no
    variance: in training, too, it is normalised by the running means.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(num_channels, eps=EPSILON)

    def forward(self, values: Tensor, is_real: Tensor) -> Tensor:
        """Normalise.

        Args:
            values: (..., C) float32, channels last.
            is_real: (...) bool.

        Returns:
            (..., C), 0 where nothing is real.
        """
        real, norm = values[is_real], self.norm
        if real.shape[0] > 1:
            normed: Tensor = norm(real)
        else:
            normed = functional.batch_norm(
                real, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        return values.new_zeros(values.shape).index_put((is_real,), normed)


def scale_and_shift(weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """What normalisation is in evaluation: y = a·x + b, a = γ/√(σ² + ε), b = β - a·μ.

    Args:
        weight: (C,) γ.
        bias: (C,) β.
        mean: (C,) running mean μ.
        variance: (C,) running variance σ².

    Returns:
        Two (C,): a and b.
    """
    scale = weight / (variance + EPSILON).sqrt()
    return scale, bias - scale * mean
