"""A small classifier of images, in whose features sets of images are compared; trained once, by a seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.seeding import global_stream, stream
from rlgan.base.threads import torch_threads

FEATURES = 32
"""Numbers that the last layer reads of an image."""
_EPOCHS, _BATCH, _RATE = 20, 64, 2e-3


class Classifier(nn.Module):
    """Two convolutions, means over quarters of the image, a hidden layer.

    Args:
        channels: C.
        num_classes: K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, FEATURES),
            nn.ReLU(),
        )
        self.output = nn.Linear(FEATURES, num_classes)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) from 0 to 1 → (B, 32)."""
        found: Tensor = self.body(pixels * 2.0 - 1.0)
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) → logits (B, K)."""
        logits: Tensor = self.output(self.features(pixels))
        return logits


def train(pixels: Tensor, labels: Tensor, num_classes: int, seed: int) -> Classifier:
    """Train a classifier; the same arguments give the same bits on a machine.

    Args:
        pixels: (n, C, H, W) float32 from 0 to 1.
        labels: (n,) int64.
        num_classes: K.
        seed: of weights and of the order of the images.

    Returns:
        In evaluation mode, without gradients.
    """
    rng = stream(seed, "images", "classifier")
    with torch_threads(1), global_stream(seed, "images", "classifier"):
        network = Classifier(pixels.shape[1], num_classes)
        optimizer = torch.optim.Adam(network.parameters(), _RATE)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(pixels), generator=rng).split(_BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(network(pixels[rows]), labels[rows]).backward()
                optimizer.step()
    return network.eval().requires_grad_(False)
