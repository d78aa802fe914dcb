"""Fréchet distance between two sets of encoded sequences, each taken for a Gaussian (docs/metrics.md).

Which encoder made the vectors is not known here and decides the value: distances of different encoders, or of sets of
different sizes, are never comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ShapeError

from .quantity import Quantity

QUANTITIES = (
    Quantity("fed_*", "distance from the test set as clouds of points", "squared length", "lower", "as real"),
)
"""Facts of the figures of this module."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The two moments of a set of vectors.

    Attributes:
        mean: (d,) float64.
        covariance: (d, d) float64, symmetric.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def gaussian_of(encodings: NDArray[np.floating]) -> Gaussian:
    """Mean and unbiased covariance of a set, in float64 whatever the encoder's precision.

    Args:
        encodings: (n, d) float, n ≥ 1. Of a single member the covariance is 0.

    Raises:
        ShapeError: not (n, d), empty, or a number that is not finite.
    """
    if encodings.ndim != 2 or encodings.size == 0:
        raise ShapeError(f"encodings {encodings.shape}: expected (n, d), both at least 1.", code="encodings_shape")
    exact = encodings.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ShapeError(
            "encodings: contain a number that is not finite. Check the encoder.", code="encodings_not_finite"
        )
    mean = exact.mean(0)
    centred = exact - mean
    return Gaussian(mean, centred.T @ centred / max(1, exact.shape[0] - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians.

    ‖μ_R − μ_S‖² + Tr(Σ_R + Σ_S − 2 (Σ_R^{1/2} Σ_S Σ_R^{1/2})^{1/2})

    Both roots are of symmetric matrices and are taken from eigenvalues, so that nothing complex can appear and a set
    with fewer members than dimensions is no special case. Estimated from samples it is biased upwards, roughly as
    d²/n: two samples of the same 64-dimensional unit Gaussian are 4.44 apart with 500 members, 0.23 with 10,000. So it
    means something only beside the distance of as many real sequences.

    Source: Heusel et al. 2017 (FID); de Masson d'Autume et al. 2019 (ScratchGAN) for sentences.

    Args:
        one: of d dimensions.
        other: of as many.

    Returns:
        The distance in squared units of the encoding, the same with both arguments exchanged; of equal Gaussians 0 but
        for rounding, which may take it a little below.

    Raises:
        ShapeError: the dimensions differ.
    """
    if one.mean.shape != other.mean.shape:
        raise ShapeError(
            f"encodings of dimension {one.mean.size} and {other.mean.size}: both sets must come from one encoder.",
            code="encodings_dimensions",
        )
    values, vectors = np.linalg.eigh(one.covariance)
    # Of a singular covariance, rounding leaves some eigenvalues below 0, here and in the product.
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    product = root @ other.covariance @ root
    cross = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2.0).clip(min=0.0)).sum()
    gap = one.mean - other.mean
    return float(gap @ gap + np.trace(one.covariance) + np.trace(other.covariance) - 2.0 * cross)
