"""Numbers kept and uploaded, runs read back, generators registered. MLflow is imported here, and only when it is used.

The import and a new database cost seconds, and a configuration must be there without them.
"""

from __future__ import annotations

from .reading import LoggedRun, children, history, read_run
from .registry import RegisteredGenerator, fetch, find_generator, register, require_model_name
from .tracker import Tracker, TrackingSettings, run_tags

__all__ = [
    "LoggedRun",
    "RegisteredGenerator",
    "Tracker",
    "TrackingSettings",
    "children",
    "fetch",
    "find_generator",
    "history",
    "read_run",
    "register",
    "require_model_name",
    "run_tags",
]
