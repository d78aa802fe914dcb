"""Effective rank: limits, a number worked by hand, invariants; and the alarm of what falls."""

from __future__ import annotations

import math

import pytest
import torch

from rlgan.base.errors import ShapeError
from rlgan.metrics import effective_rank, first_fall
from tests.support.errors import refused


@pytest.mark.parametrize("size", [1, 2, 7])
def test_of_the_identity_it_is_its_size(size: int) -> None:
    assert effective_rank(torch.eye(size)) == pytest.approx(size)


def test_of_multiples_of_one_row_it_is_one() -> None:
    row = torch.tensor([0.5, 0.25, 0.25])
    assert effective_rank(torch.outer(torch.tensor([1.0, 2.0, -3.0, 0.5]), row)) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(row.expand(6, 3)) == pytest.approx(1.0, abs=1e-6)


def test_by_hand() -> None:
    # Singular values 3 and 1: shares 3/4 and 1/4. Not their squares, which would be 9/10 and 1/10.
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)
    # Two generators of three prefixes: all continued alike, or one of them in another way. Singular values √2 and 1.
    same, other = [1.0, 0.0], [0.0, 1.0]
    shares = torch.tensor([math.sqrt(2.0), 1.0], dtype=torch.float64) / (math.sqrt(2.0) + 1.0)
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert effective_rank(torch.tensor([same, same, other])) == pytest.approx(expected)


def test_it_sees_neither_scale_nor_order_nor_orientation() -> None:
    matrix = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    expected = effective_rank(matrix)
    assert 1.0 < expected < 5.0
    for other in (matrix * 1e-3, matrix.T, matrix.flip(0), matrix[:, torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])]):
        assert effective_rank(other) == pytest.approx(expected, rel=1e-5)


def test_what_is_not_a_number_has_no_rank_and_mistakes_are_named() -> None:
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.nan]])))
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.inf]])))
    for shape in ((3,), (0, 2), (2, 0)):
        with refused(ShapeError, "matrix_shape"):
            effective_rank(torch.ones(shape))
    with refused(ShapeError, "matrix_is_zero"):
        effective_rank(torch.zeros(2, 2))


def test_a_fall_is_below_a_share_of_the_start() -> None:
    history = [40.0, 44.0, 20.0, 19.9, 30.0]
    assert first_fall(history, 0.5) == 3
    assert first_fall(history, 0.5, patience=2) is None
    assert first_fall([*history, 10.0, 9.0], 0.5, patience=2) == 6
    assert first_fall(history, 0.4) is None
    # Of the start, not of the greatest value.
    assert first_fall([10.0, 100.0, 9.0], 0.5) is None
    assert first_fall([10.0, math.nan], 0.5) == 1
    assert first_fall([], 0.5) is None and first_fall([10.0], 0.5) is None


def test_no_share_can_be_taken_of_what_is_not_positive() -> None:
    for start in (0.0, -1.0, math.nan):
        with refused(ShapeError, "collapse_history"):
            first_fall([start, 1.0], 0.5)
    for share, patience in ((0.0, 1), (1.0, 1), (0.5, 0)):
        with refused(ShapeError, "collapse_share"):
            first_fall([1.0], share, patience)
