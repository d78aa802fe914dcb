"""Numbers kept and uploaded, runs read back, generators registered. MLflow is imported here, and only when it is used.

The import and a new database cost seconds, and a configuration must be there without them. What a run logs is decided
in `rlgan.runs`.
"""

from __future__ import annotations

from .origin import DataInput
from .reading import LoggedRun, children, history, read_run, read_table
from .registry import RegisteredGenerator, fetch, find_generator, register, require_model_name
from .tracker import Tracker, TrackingSettings, drop_end, row_of, run_tags

__all__ = [
    "DataInput",
    "LoggedRun",
    "RegisteredGenerator",
    "Tracker",
    "TrackingSettings",
    "children",
    "drop_end",
    "fetch",
    "find_generator",
    "history",
    "read_run",
    "read_table",
    "register",
    "require_model_name",
    "row_of",
    "run_tags",
]
