"""Runs that belong together put below one run of MLflow, after they were logged each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .connection import asking
from .reading import read_run

_PARENT_TAG = "mlflow.parentRunId"


def group_runs(
    uri: str | None, folders: Sequence[Path], name: str, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> str:
    """Put runs below a run of their own; runs that are below one already keep it, and it gets the metrics.

    Args:
        uri: of the server; None takes MLFLOW_TRACKING_URI, else the mlruns.db beside the folders.
        folders: of the runs, all logged; at least one.
        name: of the run above them.
        metrics: of the run above them.
        tags: of the run above them.

    Returns:
        MLflow's id of the run above them.

    Raises:
        CheckpointError: a folder was never logged.
        TrackingError: the server cannot be reached, or refuses.
    """
    runs = [read_run(uri, folder) for folder in folders]
    with asking(runs[0].uri) as client:
        parent = next((one.parent_id for one in runs if one.parent_id is not None), None)
        if parent is None:
            experiment = client.get_run(runs[0].run_id).info.experiment_id
            parent = str(client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)
        for one in runs:
            client.set_tag(one.run_id, _PARENT_TAG, parent)
        for key, value in metrics.items():
            client.log_metric(parent, key, value)
        client.set_terminated(parent, "FINISHED")
        return parent
