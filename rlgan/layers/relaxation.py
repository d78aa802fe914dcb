"""Samples as differentiable functions of logits and noise (Jang et al. 2017, Maddison et al. 2017).

    y_hard = argmax(ℓ + g) ~ Cat(softmax ℓ) exactly,  y_soft = softmax((ℓ + g)/τ),  g = -log(-log U)
    straight-through: forward y_hard, backward ∂y_soft

A relaxation optimises an expectation over soft rows and not over tokens: its low variance is bought with bias.

    B sequences, T positions, V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST, _GREATEST = 1e-10, 1.0 - 1e-7  # beyond these float32 has no finite noise


@dataclass(frozen=True, slots=True)
class Relaxation:
    """How a token is drawn in a way that can be differentiated.

    Attributes:
        temperature: τ.
        straight_through: one-hot rows with the gradient of the soft ones.
    """

    temperature: float
    straight_through: bool


def tokens_of(sequences: Tensor) -> Tensor:
    """(B, T) int64 of sequences that are tokens already, or of soft rows (B, T, V), which stand for their greatest."""
    return sequences.argmax(2) if sequences.is_floating_point() else sequences


def rows_of(sequences: Tensor, vocab_size: int) -> Tensor:
    """(B, T, V) float32 of sequences that are soft rows already, or of tokens (B, T), which become one-hot rows."""
    if sequences.is_floating_point():
        return sequences
    return torch.nn.functional.one_hot(sequences, vocab_size).to(torch.float32)


def gumbel_noise(uniform: Tensor) -> Tensor:
    """G = -log(-log U) of uniform numbers, any shape, float32."""
    return -torch.log(-torch.log(uniform.clamp(_LEAST, _GREATEST)))


def uniform_of_rows(seeds: Tensor, length: int, vocab_size: int) -> Tensor:
    """Uniform numbers of rows, each from a seed of its own: the same however rows are shared out among learners.

    Args:
        seeds: (B,) int64.
        length: T.
        vocab_size: V.

    Returns:
        (B, T, V) float32 on the CPU.
    """
    return torch.stack(
        [torch.rand(length, vocab_size, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    )


def normal_of_rows(seeds: Tensor, size: int) -> Tensor:
    """The same with standard normal numbers: (B, size) float32 on the CPU from seeds (B,) int64."""
    return torch.stack([torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()])


def relaxed_rows(logits: Tensor, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
    """One relaxed draw from each row of logits.

    Args:
        logits: (..., V) float32 with gradient.
        noise: (..., V) Gumbel noise.
        temperature: τ of the relaxation; the token that is drawn does not depend on it.
        straight_through: hand out one-hot rows whose gradient is that of the soft ones.

    Returns:
        Rows (..., V) on the simplex with gradient, and the tokens (...) int64 that were drawn.
    """
    perturbed = logits + noise
    soft = torch.softmax(perturbed / temperature, dim=-1)
    tokens = perturbed.argmax(-1)
    if not straight_through:
        return soft, tokens
    hard = torch.nn.functional.one_hot(tokens, logits.shape[-1]).to(soft.dtype)
    # In this order the forward value is exactly one-hot: soft - soft is exactly 0.
    return hard + (soft - soft.detach()), tokens
