"""Fréchet distance: numbers worked by hand, a formula of commuting matrices, symmetry, and its bias."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from rlgan.base.errors import ShapeError
from rlgan.metrics import Gaussian, frechet_distance, gaussian_of
from tests.support.errors import refused


def random_set(seed: int, number: int, dimensions: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + rng.normal(
        size=dimensions
    )


def test_golden_number() -> None:
    # T-FED: ‖(1, 2, 2)‖² = 9 and Tr(I + 4I − 2·2I) = 3.
    one = Gaussian(np.zeros(3), np.eye(3))
    other = Gaussian(np.array([1.0, 2.0, 2.0]), 4.0 * np.eye(3))
    assert frechet_distance(one, other) == pytest.approx(12.0, abs=1e-12)
    assert frechet_distance(other, one) == pytest.approx(12.0, abs=1e-12)


def test_on_one_dimension_it_is_the_two_differences_squared() -> None:
    # (2 − 5)² + (σ 1 − σ 3)²
    assert frechet_distance(
        Gaussian(np.array([2.0]), np.array([[1.0]])), Gaussian(np.array([5.0]), np.array([[9.0]]))
    ) == pytest.approx(9.0 + 4.0)


def test_moments_are_the_unbiased_ones() -> None:
    # Mean 2; squared deviations 1, 0, 1 over n − 1 = 2.
    found = gaussian_of(np.array([[1.0], [2.0], [3.0]], np.float32))
    assert found.mean.dtype == np.float64
    assert (found.mean.tolist(), found.covariance.tolist()) == ([2.0], [[1.0]])
    encodings = random_set(0, 50, 4)
    np.testing.assert_allclose(gaussian_of(encodings).covariance, np.cov(encodings.T), rtol=1e-12)


def test_single_members_are_as_far_apart_as_they_are() -> None:
    # ‖(1, 2) − (4, 6)‖² = 25
    one, other = gaussian_of(np.array([[1.0, 2.0]])), gaussian_of(np.array([[4.0, 6.0]]))
    assert frechet_distance(one, other) == pytest.approx(25.0)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_formula_with_general_matrix_roots(seed: int) -> None:
    one, other = gaussian_of(random_set(seed, 60, 6)), gaussian_of(random_set(seed + 10, 80, 6))
    gap = one.mean - other.mean
    expected = gap @ gap + np.trace(one.covariance + other.covariance - 2 * sqrtm(one.covariance @ other.covariance))
    assert frechet_distance(one, other) == pytest.approx(expected.real, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected.real, rel=1e-9)


@pytest.mark.parametrize("number", [200, 5], ids=["full rank", "fewer members than dimensions"])
def test_identical_sets_are_at_no_distance(number: int) -> None:
    # T-FED.
    encodings = random_set(1, number, 16)
    found = gaussian_of(encodings)
    assert abs(frechet_distance(found, gaussian_of(encodings[::-1]))) < 1e-4 * np.trace(found.covariance)


def test_the_bias_of_small_sets_is_as_quoted() -> None:
    # Two sets of one distribution, 64-d unit Gaussians: 4.44 with 500 members, 1.07 with 2,000.
    rng = np.random.default_rng(0)
    for number, expected in ((500, 4.44), (2_000, 1.07)):
        one, other = (gaussian_of(rng.normal(size=(number, 64))) for _ in range(2))
        assert frechet_distance(one, other) == pytest.approx(expected, rel=0.06)


def test_mistakes_are_named() -> None:
    with refused(ShapeError, "encodings_dimensions"):
        frechet_distance(gaussian_of(random_set(0, 5, 3)), gaussian_of(random_set(0, 5, 2)))
    for shape in ((0, 3), (4,), (3, 0)):
        with refused(ShapeError, "encodings_shape"):
            gaussian_of(np.zeros(shape))
    with refused(ShapeError, "encodings_not_finite"):
        gaussian_of(np.array([[0.0], [np.nan]]))
