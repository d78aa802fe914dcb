"""Numbers kept and uploaded, runs read back, generators registered. MLflow is imported here, and only when it is used.

The import and a new database cost seconds, and a configuration must be there without them.
"""

from __future__ import annotations

from .tracker import Tracker, TrackingSettings, run_tags

__all__ = ["Tracker", "TrackingSettings", "run_tags"]
