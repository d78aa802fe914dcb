"""A latent of a sequence: what its posterior costs, and bounds on the likelihood of what is generated given it.

B sequences, K draws of the latent, Z its width, T positions
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z|y) = N(μ, diag σ²) of each sequence, in place of the posterior of z that cannot be computed.

    Attributes:
        mean: (B, Z) float32 μ.
        log_variance: (B, Z) float32 log σ².
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def kl(self) -> Tensor:
        """(B,) KL(q‖N(0, I)) in nats; see `kl_to_prior`."""
        return kl_to_prior(self.mean, self.log_variance).sum(1)

    def drawn(self, noise: Tensor) -> Tensor:
        """Z = μ + σ ⊙ ε of standard normal noise ε (..., B, Z), with the gradient of μ and σ."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²)‖N(0, 1)) of each dimension.

    KL = −½ (1 + log σ² − μ² − σ²)

    Source: Kingma & Welling 2014, appendix B.

    Args:
        mean: μ, any shape.
        log_variance: log σ², the same shape.

    Returns:
        The same shape, nats, never below 0 but for rounding; 0 at μ = 0 and σ = 1.
    """
    return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp())


def log_weights(posterior: Posterior, noise: Tensor) -> Tensor:
    """Log p(z)/q(z|y) at z = μ + σ ⊙ ε.

    Args:
        posterior: of B sequences.
        noise: ε (K, B, Z).

    Returns:
        (K, B) float32, nats. Its mean over noise is −KL(q‖p), that of its exponential is 1.
    """
    latents = posterior.drawn(noise)
    log_prior = -0.5 * (latents.square() + _LOG_TWO_PI)
    log_posterior = -0.5 * (noise.square() + posterior.log_variance + _LOG_TWO_PI)
    return (log_prior - log_posterior).sum(2)


def importance_weighted_logprobs(logprobs: Tensor, weights: Tensor) -> Tensor:
    """A bound on log p(y), as a sum over its tokens.

    L_K(y_{1:t}) = log (1/K) Σ_k w_k Π_{s≤t} p(y_s|y_{<s}, z_k),   w_k = p(z_k)/q(z_k|y),   L_K(y_{1:0}) = 0

    Token t has L_K(y_{1:t}) − L_K(y_{1:t−1}), so that the sum over a sequence is L_K(y). E L_1 is the ELBO; E L_K ≤
    E L_{K+1} ≤ log p(y) for every K, so its negative is an upper bound on the NLL, in expectation over z. The share of
    one token is no bound on anything.

    Source: Burda et al. 2016 (IWAE), eq. 8; that its sum is told off token by token is ours.

    Args:
        logprobs: (K, B, T) float32 log p(y_t|y_{<t}, z_k), 0 behind the end of a sequence.
        weights: (K, B) float32 log w_k.

    Returns:
        (B, T) float32, nats.
    """
    whole = torch.logsumexp(weights.unsqueeze(2) + logprobs.cumsum(2), 0) - math.log(len(weights))
    return torch.diff(whole, dim=1, prepend=torch.zeros_like(whole[:, :1]))
