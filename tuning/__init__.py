"""Searching the tricks: the space that the settings span, and the studies of it."""

from .selection import OBJECTIVES, Objective, objective_for, selection_view
from .spaces import Axis, Bundle, Point, Space, axes, not_searched, space, undecided
from .starts import Starts
from .studies import STUDIES, Study, load_study
from .trial import OBJECTIVE, STARTS, Trial

__all__ = [
    "OBJECTIVE",
    "OBJECTIVES",
    "STARTS",
    "STUDIES",
    "Axis",
    "Bundle",
    "Objective",
    "Point",
    "Space",
    "Starts",
    "Study",
    "Trial",
    "axes",
    "load_study",
    "not_searched",
    "objective_for",
    "selection_view",
    "space",
    "undecided",
]
