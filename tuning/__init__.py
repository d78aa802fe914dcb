"""Searching the tricks: the space that the settings span, and the studies of it."""

from .selection import OBJECTIVES, Objective, objective_for
from .spaces import Axis, Bundle, Point, Space, axes, not_searched, space, undecided
from .studies import STUDIES, Study, load_study

__all__ = [
    "OBJECTIVES",
    "STUDIES",
    "Axis",
    "Bundle",
    "Objective",
    "Point",
    "Space",
    "Study",
    "axes",
    "load_study",
    "not_searched",
    "objective_for",
    "space",
    "undecided",
]
