"""Discriminators that look at decoded pixels: convolutions with spectral norm and SAGAN's self-attention.

Sources: spectral norm, Miyato et al. 2018; self-attention and hinge loss, SAGAN, Zhang et al. 2019; a class by
projection, Miyato & Koyama 2018.

B sequences, T tokens, C channels, H and W pixels, N = positions of a feature map
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace

from .codes import codes_in

_WIDTH = "discriminator.options.width"
_SLOPE = 0.1  # of the leaky ReLU, below 0


class SelfAttention(nn.Module):
    """out = x + γ·o, s_ij = q_iᵀ k_j, β = softmax over keys, o = β v; γ begins as 0, where it is the identity.

    Args:
        channels: C; queries and keys have C / 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query = spectral_norm(nn.Conv2d(channels, narrow, 1))
        self.key = spectral_norm(nn.Conv2d(channels, narrow, 1))
        self.value = spectral_norm(nn.Conv2d(channels, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, states: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        query, key, value = (layer(states).flatten(2) for layer in (self.query, self.key, self.value))
        shares = (query.transpose(1, 2) @ key).softmax(2)  # (B, N, N), [i, j]
        attended = (value @ shares.transpose(1, 2)).view_as(states)
        return states + self.gamma * attended


class _Pixels(nn.Module):
    """Tokens, decoded, to features of the image.

    Args:
        space: of the task `images`.
        width: channels of the first convolution.

    Raises:
        ConfigError: sequences are not those of images, or no channels.
    """

    def __init__(self, space: SequenceSpace, width: int) -> None:
        super().__init__()
        codes = codes_in(space, "discriminator pixels")
        if width < 1:
            raise ConfigError(f"{_WIDTH}={width}: must be at least 1.", code="pixels_width", fields={_WIDTH: width})
        # Frozen: the discriminator travels with it, and needs no file where it is built again.
        self.vq_vae = copy.deepcopy(codes.network).requires_grad_(False)
        self.first = spectral_norm(nn.Conv2d(codes.sizes.channels, width, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1))
        self.attention = SelfAttention(2 * width)
        self.third = spectral_norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T) int64 or (B, T, V), with (B, T) → (B, 2 · width) features, summed over the image."""
        table = self.vq_vae.codebook.codes
        quantised = tokens @ table if tokens.is_floating_point() else table[tokens]
        missing = self.vq_vae.sizes.length - mask.shape[1]
        pixels = self.vq_vae.decode(functional.pad(quantised * mask.unsqueeze(2), (0, 0, 0, missing)))
        states = functional.leaky_relu(self.first(pixels * 2.0 - 1.0), _SLOPE)
        states = self.attention(functional.leaky_relu(self.second(states), _SLOPE))
        return functional.leaky_relu(self.third(states), _SLOPE).sum((2, 3))


class PixelCritic(nn.Module):
    """The discriminator `pixels`: judges the image that a sequence stands for.

    What stands where the mask is False, as in prefixes, is decoded as a code of zeros.

    Args:
        space: of the task `images`.
        width: channels of the first convolution; the others have twice as many.
    """

    reads_soft_rows = True

    def __init__(self, space: SequenceSpace, width: int = 16) -> None:
        super().__init__()
        self.pixels = _Pixels(space, width)
        self.output = spectral_norm(nn.Linear(2 * width, 1))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T) int64 or (B, T, V), with (B, T) → real-logits (B,)."""
        logits: Tensor = self.output(self.pixels(tokens, mask)).squeeze(1)
        return logits


class PairPixelCritic(nn.Module):
    """The discriminator `pixel_pairs`: judges an image and the class that it was given, by projection.

    Args:
        space: of the task `images` with classes as conditions.
        width: channels of the first convolution; the others have twice as many.
    """

    reads_soft_rows = True

    def __init__(self, space: SequenceSpace, width: int = 16) -> None:
        super().__init__()
        self.pixels = _Pixels(space, width)
        self.output = spectral_norm(nn.Linear(2 * width, 1))
        num_classes = 2 if space.condition is None else space.condition.vocab_size
        self.classes = spectral_norm(nn.Embedding(num_classes, 2 * width))

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """The same with (B, 1) int64 classes: w·φ + b + e_c·φ (Miyato & Koyama 2018, eq. 4)."""
        features = self.pixels(tokens, mask)
        logits: Tensor = self.output(features).squeeze(1) + (self.classes(conditions[:, 0]) * features).sum(1)
        return logits
