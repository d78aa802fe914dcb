"""Whether a generator uses its latent, and what is known of the likelihood of one with a latent (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

from .effective_rank import effective_rank
from .quantity import Quantity

QUANTITIES = (
    Quantity(
        "nll_gen_bound",
        "upper bound on the NLL of held-out sequences",
        "nats/token",
        "lower",
        side="coverage",
        is_key=True,
    ),
    Quantity("latent_kl", "KL(q(z|y)‖prior) of held-out sequences", "nats/sequence"),
    Quantity("active_units", "dimensions of the latent that depend on the sequence", "–"),
    Quantity("latent_rank", "directions in which the latent changes what is generated", "–"),
)
"""Facts of the figures of this module."""

ACTIVE_VARIANCE = 0.01
"""Variance of a dimension's posterior mean over sequences, above which it counts as active (Burda et al. 2016)."""
_NO_DIRECTION = 1e-8  # far above what rounding leaves of central differences in float64


def active_units(means: Tensor) -> int:
    """Dimensions of a latent whose posterior mean depends on the sequence.

    #{d : Var_y(μ_d(y)) > 0.01}

    Source: Burda et al. 2016 (IWAE), section 5.

    Args:
        means: (n, Z) float, posterior means μ of n sequences.

    Returns:
        Between 0, where the posterior has collapsed to the prior, and Z.

    Raises:
        ShapeError: not (n, Z), or fewer than two sequences, which do not vary.
    """
    if means.dim() != 2 or means.shape[0] < 2:
        raise ShapeError(
            f"means have shape {tuple(means.shape)}: expected (n, Z), of at least two sequences.",
            code="latent_means_shape",
        )
    return int((means.detach().double().var(0, correction=0) > ACTIVE_VARIANCE).sum())


def mean_rank(jacobians: Tensor) -> float:
    """Effective rank of each Jacobian, averaged; see `rlgan.metrics.effective_rank`.

    Source: Qi et al. 2018 (Localized GAN), for whom tangents that vanish or become parallel are local mode collapse.

    Args:
        jacobians: (n, F, Z) float64, of F features by Z latents at n sequences.

    Returns:
        Between 1 and min(F, Z); one where the latent changes nothing counts 0. Without unit.

    Raises:
        ShapeError: not (n, F, Z), or empty.
    """
    if jacobians.dim() != 3 or jacobians.numel() == 0:
        raise ShapeError(
            f"jacobians have shape {tuple(jacobians.shape)}: expected (n, F, Z), all at least 1.",
            code="jacobians_shape",
        )
    ranks = [0.0 if bool(one.abs().max() < _NO_DIRECTION) else effective_rank(one) for one in jacobians]
    return sum(ranks) / len(ranks)


def central_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-4) -> Tensor:
    """∂f/∂z by central differences, a dimension at a time.

    J[:, d] ≈ (f(z + h·e_d) − f(z − h·e_d)) / 2h

    Source: the released code of Qi et al. 2018 takes steps of 1e-4.

    Args:
        function: of latents (n, Z) to features (n, F), row by row; float64, for differences of float32 are noise.
        at: (n, Z) float64.
        step: h.

    Returns:
        (n, F, Z) float64; its error is of the order of step².
    """
    columns = []
    with torch.no_grad():
        for dimension in range(at.shape[1]):
            moved = torch.zeros_like(at)
            moved[:, dimension] = step
            columns.append((function(at + moved) - function(at - moved)) / (2.0 * step))
    return torch.stack(columns, 2)
