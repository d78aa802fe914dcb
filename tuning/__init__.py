"""Searching the tricks: the space that the settings span, and the studies of it."""

from .judge.selection import OBJECTIVES, Objective, objective_for
from .space.spaces import Axis, Bundle, Point, Space, axes, not_searched, space, undecided
from .space.studies import STUDIES, Study, load_study

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
