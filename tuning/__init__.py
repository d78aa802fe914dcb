"""Searching the tricks: the space that the settings span, the search on Ray Tune, what comes of it, its report.

`sweep` is all of it in order. The command line's verbs for it live in `rlgan.cli`, a single run in `rlgan.runs`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Taken from where they live when they are asked for: help of the command line must not import what knows all settings.
_HOMES = ("judge.selection", "space.spaces", "space.studies")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
