"""Numbers kept and uploaded, runs read back, generators registered. MLflow is imported here, and only when it is used.

The import and a new database cost seconds, and a configuration must be there without them.
"""

from __future__ import annotations

from .reading import LoggedRun, children, history, read_run
from .tracker import Tracker, TrackingSettings, run_tags

__all__ = ["LoggedRun", "children", "history", "read_run", "Tracker", "TrackingSettings", "run_tags"]
