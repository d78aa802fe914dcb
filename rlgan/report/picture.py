"""A figure that a notebook shows where it is the value of a cell, whichever backend of matplotlib is in use."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure of matplotlib, see its documentation."""

    def _repr_png_(self) -> bytes:
        """What a notebook asks for."""
        target = BytesIO()
        self.savefig(target, format="png")
        return target.getvalue()
