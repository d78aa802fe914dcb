"""Searching the tricks: the space that the settings span, the search on Ray Tune, what comes of it, its report.

`sweep` is all of it in order. The command line's verbs for it live in `rlgan.cli`, a single run in `rlgan.runs`.
"""

from .judge.selection import OBJECTIVES, Objective, objective_for
from .space.spaces import Axis, Bundle, Point, Space, axes, not_searched, undecided
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
    "undecided",
]
