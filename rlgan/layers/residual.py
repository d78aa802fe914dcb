"""Residual convolutions without normalisation, of both networks of WGAN-GP's character model (Gulrajani et al. 2017).

B sequences, W channels, T positions
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

SHORTCUT_SCALE = 0.3
"""Factor of what a block adds; the released code's."""


class ResidualConvolutions(nn.Module):
    """Blocks x + 0.3 · conv(ReLU(conv(ReLU(x)))) of unchanged shape; nothing here is without a second derivative.

    Args:
        width: channels W.
        blocks: number of blocks.
        window: of every convolution; odd.
    """

    def __init__(self, width: int, blocks: int, window: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.ModuleList(nn.Conv1d(width, width, window, padding=window // 2) for _ in range(blocks)) for _ in range(2)
        )

    def forward(self, channels: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, W, T) to (B, W, T).

        Args:
            channels: (B, W, T) float32.
            mask: (B, T) bool; what lies beyond it is 0 before every convolution, as what lies beyond the tensor. None
                for sequences that all have T positions.
        """
        kept = 1.0 if mask is None else mask.unsqueeze(1)
        channels = channels * kept
        for first, second in zip(self.first, self.second, strict=True):
            hidden = first(functional.relu(channels)) * kept
            channels = channels + SHORTCUT_SCALE * second(functional.relu(hidden)) * kept
        return channels
