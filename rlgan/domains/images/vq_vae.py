"""A vector-quantised autoencoder (VQ-VAE, van den Oord et al. 2017): images as a grid of tokens, and back.

    k(i) = argmin_j ‖z_e(i) - e_j‖
    L = -log p(x | z_q) + ‖sg z_e - e‖² + β ‖z_e - sg e‖²

B images, C channels, H and W pixels, h = H / scale and w = W / scale positions, V codes, D numbers of a code
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.seeding import global_stream, stream
from rlgan.base.threads import torch_threads

Update = Literal["ema", "gradient"]
"""How the codebook learns: by exponential moving averages, or by the gradient of the second term."""

_EPSILON = 1e-5
_SLOPE = 0.1  # of the leaky ReLU, below 0: of a few channels all might be dead
_SETTLED = 0.8  # of the epochs; after that no code is put elsewhere


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shape of the images and of the network.

    Attributes:
        channels: C, 1 or 3.
        height: H, a multiple of `scale`.
        width: W, likewise.
        num_codes: V.
        scale: pixels of a side for each token, a power of 2.
        hidden: channels between the layers.
        code: D.
    """

    channels: int
    height: int
    width: int
    num_codes: int
    scale: int = 2
    hidden: int = 32
    code: int = 8

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.height // self.scale, self.width // self.scale

    @property
    def length(self) -> int:
        """T = h·w."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True)
class Training:
    """How a network learns.

    Attributes:
        epochs: over the images.
        batch: images of a step.
        rate: of Adam.
        commitment: β.
        decay: γ of the moving averages.
        update: how the codebook learns.
        seed: of weights and of the order of the images.
    """

    epochs: int = 40
    batch: int = 64
    rate: float = 2e-3
    commitment: float = 0.25
    decay: float = 0.99
    update: Update = "ema"
    seed: int = 0


def nearest(encoded: Tensor, codebook: Tensor) -> Tensor:
    """k(i) = argmin_j ‖z_e(i) - e_j‖, the first of several.

    Args:
        encoded: (N, D) float32.
        codebook: (V, D) float32.

    Returns:
        (N,) int64.
    """
    distances = encoded.square().sum(1, keepdim=True) - 2.0 * encoded @ codebook.T + codebook.square().sum(1)
    return distances.argmin(1)


def straight_through(encoded: Tensor, quantised: Tensor) -> Tensor:
    """z_q, whose gradient goes to z_e as it is; shapes are equal."""
    return encoded + (quantised - encoded).detach()


def codebook_term(encoded: Tensor, quantised: Tensor) -> Tensor:
    """Mean over all numbers of (sg z_e - e)²: it moves codes alone."""
    return functional.mse_loss(quantised, encoded.detach())


def commitment_term(encoded: Tensor, quantised: Tensor) -> Tensor:
    """Mean over all numbers of (z_e - sg e)²: it moves the encoder alone."""
    return functional.mse_loss(encoded, quantised.detach())


def perplexity(counts: Tensor) -> float:
    """exp(H) of the distribution of codes in use: from 1 to V; 0 without any.

    Args:
        counts: (V,) how often each code was used.
    """
    total = float(counts.sum())
    if not total:
        return 0.0
    shares = counts.double() / total
    return math.exp(-float(torch.xlogy(shares, shares).sum()))


class Codebook(nn.Module):
    """The codes, with their moving averages.

    Args:
        num_codes: V.
        code: D.
        update: how it learns.

    Attributes:
        codes: (V, D) e_j.
        counts: (V,) N_j, moving average of how many encodings are nearest to a code in a batch.
        sums: (V, D) m_j, moving average of their sums.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, num_codes: int, code: int, update: Update = "ema") -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(num_codes, code), requires_grad=update == "gradient")
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codes.detach().clone())

    @torch.no_grad()
    def average(self, encoded: Tensor, tokens: Tensor, decay: float) -> None:
        """N_j ← γ N_j + (1-γ) n_j, m_j ← γ m_j + (1-γ) Σ z_e, e_j ← m_j / N_j (van den Oord et al. 2017, A.1).

        Args:
            encoded: (N, D) z_e.
            tokens: (N,) int64 their nearest codes.
            decay: γ.
        """
        chosen = functional.one_hot(tokens, len(self.codes)).to(encoded.dtype)
        self.counts.mul_(decay).add_(chosen.sum(0), alpha=1.0 - decay)
        self.sums.mul_(decay).add_(chosen.T @ encoded, alpha=1.0 - decay)
        self.codes.copy_(self.sums / self.counts.clamp_min(_EPSILON).unsqueeze(1))

    @torch.no_grad()
    def put(self, places: Tensor, encoded: Tensor) -> None:
        """Put codes where encodings are.

        Args:
            places: (n,) int64 of codes.
            encoded: (n, D).
        """
        self.codes[places] = encoded
        self.sums[places] = encoded
        self.counts[places] = 1.0


class VqVae(nn.Module):
    """Encoder, codebook and decoder, all of convolutions.

    Args:
        sizes: of images and layers.
        update: how the codebook learns.
    """

    def __init__(self, sizes: Sizes, update: Update = "ema") -> None:
        super().__init__()
        self.sizes = sizes
        hidden, halvings = sizes.hidden, sizes.scale.bit_length() - 1
        down: list[nn.Module] = [nn.Conv2d(sizes.channels, hidden, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        up: list[nn.Module] = [nn.Conv2d(sizes.code, hidden, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        for _ in range(halvings):
            down += [nn.Conv2d(hidden, hidden, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
            up += [nn.ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(hidden, sizes.code, 1))
        self.codebook = Codebook(sizes.num_codes, sizes.code, update)
        self.decoder = nn.Sequential(*up, nn.Conv2d(hidden, sizes.channels, 3, padding=1))

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) from 0 to 1 → (B, h·w, D) z_e in raster order."""
        encoded: Tensor = self.encoder(pixels * 2.0 - 1.0)
        return encoded.flatten(2).transpose(1, 2)

    def decode(self, quantised: Tensor) -> Tensor:
        """(B, h·w, D) in raster order → (B, C, H, W), about 0 to 1 and not clipped."""
        grid = quantised.transpose(1, 2).unflatten(2, self.sizes.grid)
        decoded: Tensor = self.decoder(grid)
        return (decoded + 1.0) / 2.0

    @torch.no_grad()
    def tokens_of(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) → (B, T) int64 tokens, some images at a time."""
        found = []
        for some in pixels.split(512):
            encoded = self.encode(some)
            found.append(nearest(encoded.flatten(0, 1), self.codebook.codes).view(encoded.shape[:2]))
        return torch.cat(found)

    @torch.no_grad()
    def pixels_of(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 → (B, C, H, W) between 0 and 1, some sequences at a time."""
        return torch.cat([self.decode(self.codebook.codes[some]).clamp(0.0, 1.0) for some in tokens.split(512)])


def train(pixels: Tensor, sizes: Sizes, how: Training, advance: Callable[[int], object] = lambda _: None) -> VqVae:
    """Train a network; the same arguments give the same bits on a machine.

    The likelihood is a Gaussian with the variance σ² of the images' numbers, so that the first term is the squared
    error over σ², as in the released code; squared norms are means over numbers. The codes begin as encodings of the
    first batch. Those that no encoding was nearest to in an epoch are put on encodings drawn from its last batch, but
    not in the last fifth of the epochs.

    Args:
        pixels: (n, C, H, W) float32 from 0 to 1.
        sizes: of images and layers.
        how: it learns.
        advance: is called with 1 after each epoch.

    Returns:
        In evaluation mode, without gradients.
    """
    rng = stream(how.seed, "images", "order")
    with torch_threads(1), global_stream(how.seed, "images", "weights"):
        network = VqVae(sizes, how.update)
        optimizer = torch.optim.Adam([one for one in network.parameters() if one.requires_grad], how.rate)
        variance = pixels.var(correction=0).clamp_min(1e-6)
        encoded = network.encode(pixels[torch.randperm(len(pixels), generator=rng)[: how.batch]]).detach().flatten(0, 1)
        network.codebook.put(torch.arange(sizes.num_codes), _drawn(encoded, sizes.num_codes, rng))
        for epoch in range(how.epochs):
            used = torch.zeros(sizes.num_codes)
            for rows in torch.randperm(len(pixels), generator=rng).split(how.batch):
                encoded, tokens = _step(network, pixels[rows], variance, how, optimizer)
                used += torch.bincount(tokens, minlength=sizes.num_codes)
            dead = (used == 0).nonzero().squeeze(1)
            if len(dead) and epoch < _SETTLED * how.epochs:
                network.codebook.put(dead, _drawn(encoded, len(dead), rng))
            advance(1)
    return network.eval().requires_grad_(False)


def _step(
    network: VqVae, pixels: Tensor, variance: Tensor, how: Training, optimizer: torch.optim.Optimizer
) -> tuple[Tensor, Tensor]:
    """One step; the encodings (N, D) of the batch and their tokens (N,)."""
    grid = network.encode(pixels)
    encoded = grid.flatten(0, 1)
    tokens = nearest(encoded.detach(), network.codebook.codes.detach())
    quantised = network.codebook.codes[tokens]
    rebuilt = network.decode(straight_through(encoded, quantised).view_as(grid))
    loss = functional.mse_loss(rebuilt, pixels) / variance + how.commitment * commitment_term(encoded, quantised)
    if how.update == "gradient":
        loss = loss + codebook_term(encoded, quantised)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if how.update == "ema":
        network.codebook.average(encoded.detach(), tokens, how.decay)
    return encoded.detach(), tokens


def _drawn(encoded: Tensor, number: int, rng: torch.Generator) -> Tensor:
    return encoded[torch.randint(len(encoded), (number,), generator=rng)]
