"""How many directions a matrix really uses, and when a measure fell too far (docs/metrics.md).

Of a generator's next-token distributions it tells in how many different ways the generator continues: one where it
continues everything alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

from .quantity import Quantity

QUANTITIES = (Quantity("effective_rank", "in how many ways the generator continues", "–", size="prefixes"),)
"""Facts of the figures of this module."""


def effective_rank(matrix: Tensor) -> float:
    """Effective rank of a matrix: exp of the entropy of its singular values taken as shares.

    exp(H(σ / Σσ)),   H(s) = −Σ s_i log s_i

    Source: Roy & Vetterli 2007; for generators Qi et al. 2018 (Localized GAN), on tangents.

    Args:
        matrix: (m, n) float.

    Returns:
        Between 1 (all rows are multiples of one) and min(m, n) (orthogonal rows of one length), without unit; not
        changed by scaling the matrix. NaN where a number of the matrix is not finite.

    Raises:
        ShapeError: not (m, n), empty, or all 0, for then there is no direction.
    """
    if matrix.dim() != 2 or matrix.numel() == 0:
        raise ShapeError(
            f"matrix has shape {tuple(matrix.shape)}: expected (m, n), both at least 1.", code="matrix_shape"
        )
    exact = matrix.detach().double()
    if not torch.isfinite(exact).all():
        return math.nan
    if not exact.any():
        raise ShapeError(
            f"matrix {tuple(matrix.shape)} is 0 everywhere: its effective rank is undefined.", code="matrix_is_zero"
        )
    values = torch.linalg.svdvals(exact)
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def first_fall(history: Sequence[float], share: float, patience: int = 1) -> int | None:
    """When a measure fell below a share of its start, and stayed there: an alarm for measures that collapse takes down.

    Args:
        history: values in the order in which they were measured; the first is the start.
        share: of the start, below which a value is a fall; in (0, 1).
        patience: values in a row that must be falls, so that a dip by chance is none.

    Returns:
        Index in `history` of the value by which so many in a row were falls; None if that never was. A value that is
        not a number is a fall.

    Raises:
        ShapeError: share outside (0, 1), patience below 1, or a start that is not positive, of which there is no share.
    """
    if not 0.0 < share < 1.0 or patience < 1:
        raise ShapeError(
            f"share={share}, patience={patience}: expected a share between 0 and 1, and a patience of at least 1.",
            code="collapse_share",
            fields={"share": share, "patience": patience},
        )
    if not history:
        return None
    if not history[0] > 0.0:
        raise ShapeError(
            f"history starts at {history[0]}: its first value must be positive.",
            code="collapse_history",
        )
    in_a_row = 0
    for index, value in enumerate(history):
        in_a_row = 0 if value >= share * history[0] else in_a_row + 1
        if in_a_row == patience:
            return index
    return None
