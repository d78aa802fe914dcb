"""Many small pictures as one PNG: a grid, each enlarged without blurring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ShapeError
from rlgan.base.files import write_atomically

_LEAST_PIXELS = 48  # of the shorter side of a picture that is shown
_GAP, _BACK = 4, 235  # pixels between pictures, and their grey level


def write_grid(pictures: NDArray[np.uint8], path: Path, columns: int = 10) -> None:
    """Write pictures in rows, the first at the top left.

    Args:
        pictures: (n, H, W) of grey levels, or (n, H, W, 3).
        path: of the PNG.
        columns: pictures of a row.

    Raises:
        ShapeError: there are none, or they have another shape.
        CheckpointError: the disk is full or cannot be written.
    """
    from PIL import Image

    grid = grid_of(pictures, columns)
    # The name beside it has no ending by which the format could be found.
    write_atomically(path, lambda beside: Image.fromarray(grid).save(beside, format="PNG"))


def grid_of(pictures: NDArray[np.uint8], columns: int = 10) -> NDArray[np.uint8]:
    """The same as an array (height, width) or (height, width, 3).

    Raises:
        ShapeError: see `write_grid`.
    """
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or pictures.size == 0 or pictures.shape[3:] > (3,):
        raise ShapeError(
            f"pictures {pictures.shape} of {pictures.dtype}: expected (n, H, W) or (n, H, W, 3) of uint8, not empty.",
            code="pictures_shape",
        )
    number, height, width = pictures.shape[:3]
    factor = max(1, -(-_LEAST_PIXELS // min(height, width)))
    enlarged = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    columns = min(columns, number)
    rows = -(-number // columns)
    down, right = height * factor + _GAP, width * factor + _GAP
    grid = np.full((rows * down + _GAP, columns * right + _GAP, *pictures.shape[3:]), _BACK, np.uint8)
    for at, picture in enumerate(enlarged):
        top, left = at // columns * down + _GAP, at % columns * right + _GAP
        grid[top : top + height * factor, left : left + width * factor] = picture
    return grid
