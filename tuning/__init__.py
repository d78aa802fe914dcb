"""Searching the tricks: the space that the settings span, and the studies of it."""

from .spaces import Axis, Bundle, Point, Space, axes, not_searched, space, undecided
from .studies import STUDIES, Study, load_study

__all__ = [
    "STUDIES",
    "Axis",
    "Bundle",
    "Point",
    "Space",
    "Study",
    "axes",
    "load_study",
    "not_searched",
    "space",
    "undecided",
]
