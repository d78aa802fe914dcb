"""Runs read back from an MLflow server, ours and those of strangers: nothing here asks for tags that only we set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlgan.base.errors import CheckpointError, TrackingError, nearest

from .addresses import tracking_uri, without_password
from .connection import asking, is_unknown, listed
from .upload import RECORD, RunRecord

_PARENT_TAG = "mlflow.parentRunId"
_RUNS_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A run as the server has it.

    Attributes:
        run_id: of MLflow.
        name: shown there.
        status: "RUNNING", "FINISHED", "FAILED", "KILLED" or "SCHEDULED".
        experiment: name.
        parent_id: of the run that it is below; None for a top.
        params: name → text.
        tags: name → text, MLflow's own (`mlflow.*`) among them.
        metrics: name → last value, which is that of the greatest step.
        start_time_ms: since 1970.
        uri: of the server; it may hold a password, and is not shown.
    """

    run_id: str
    name: str
    status: str
    experiment: str
    parent_id: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    start_time_ms: int
    uri: str = field(repr=False)


def read_run(uri: str | None, run: str | Path) -> LoggedRun:
    """Read a run.

    Args:
        uri: of the server; None takes MLFLOW_TRACKING_URI, else for a folder the nearest mlruns.db above it, else
            runs/mlruns.db.
        run: folder of a run, or EXPERIMENT/RUN_NAME, or MLflow's id of a run. An existing folder comes first.

    Raises:
        CheckpointError: the folder was never uploaded.
        TrackingError: the server cannot be reached, or has no such run.
    """
    folder = Path(run)
    if isinstance(run, Path) or folder.is_dir():
        address = tracking_uri(uri, _runs_dir(folder))
        with asking(address) as client:
            return _by_id(client, address, _recorded(folder), f"{folder}: ")
    address = tracking_uri(uri, Path("runs"))
    with asking(address) as client:
        return _by_name(client, address, run) if "/" in run else _by_id(client, address, run)


def history(run: LoggedRun, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Curves of a run.

    Args:
        run: whose.
        names: of metrics; one that the run does not have gives an empty list.

    Returns:
        Name → (step, value), by step; what was logged twice at a step is there twice, in the order of its logging.

    Raises:
        TrackingError: the server cannot be reached, or no longer has the run.
    """
    with asking(run.uri) as client:
        found = {name: client.get_metric_history(run.run_id, name) for name in names}  # it reads all pages
    return {
        name: [(one.step, one.value) for one in sorted(metrics, key=lambda metric: (metric.step, metric.timestamp))]
        for name, metrics in found.items()
    }


def read_table(run: LoggedRun, name: str) -> list[dict[str, Any]] | None:
    """A table that was uploaded with a run, as JSON rows or in the form of columns and data that MLflow shows.

    Args:
        run: whose.
        name: of the artifact.

    Returns:
        Its rows; None where the run has no such artifact.

    Raises:
        TrackingError: the server cannot be reached, or the table is damaged.
    """
    with asking(run.uri) as client, TemporaryDirectory(prefix="rlgan-") as temporary:
        if name not in {file.path for file in client.list_artifacts(run.run_id)}:
            return None
        content = Path(client.download_artifacts(run.run_id, name, temporary)).read_bytes()
    try:
        rows = json.loads(content)
        if isinstance(rows, dict):
            rows = [dict(zip(rows["columns"], cells, strict=True)) for cells in rows["data"]]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("not a list of rows")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrackingError(
            f"run {run.run_id}: its artifact {name} is damaged ({error}). Restore it, or upload it again with "
            "rlgan train --resume DIR.",
            code="damaged_artifact",
            fields={"run": run.run_id},
        ) from None
    return rows


def children(uri: str | None, run_id: str) -> list[LoggedRun]:
    """All runs directly below a run, in its experiment, by their start.

    Args:
        uri: as in `read_run`.
        run_id: of the parent.

    Raises:
        TrackingError: the server cannot be reached, or has no such run.
    """
    address = tracking_uri(uri, Path("runs"))
    with asking(address) as client:
        parent = _by_id(client, address, run_id)
        experiment = client.get_experiment_by_name(parent.experiment)
        found = _search(client, experiment.experiment_id, f"tags.`{_PARENT_TAG}` = '{run_id}'")
        below = [_logged(one, address, experiment.name) for one in found]
    return sorted(below, key=lambda one: (one.start_time_ms, one.run_id))


def _runs_dir(folder: Path) -> Path:
    """Where the database of a run lies: beside its folder, or beside that of a run which it is a child of."""
    above = folder.resolve().parents
    return next((parent for parent in above if (parent / "mlruns.db").exists()), folder.parent)


def _recorded(folder: Path) -> str:
    path = folder / RECORD
    if not path.exists():
        raise CheckpointError(
            f"{folder}: contains no {RECORD}, so it has no MLflow run. Give the folder of a run that was tracked "
            "(--tracking.enabled true), an id, or EXPERIMENT/RUN_NAME.",
            code="folder_of_no_mlflow_run",
            fields={"path": folder},
        )
    run_id = RunRecord(path).run_id
    if not run_id:
        raise CheckpointError(
            f"{path}: has no MLflow run yet, because its server never responded. Upload the run with rlgan train "
            f"--resume {folder}",
            code="mlflow_run_not_created",
            fields={"path": path},
        )
    return run_id


def _by_id(client: Any, uri: str, run_id: str, where: str = "") -> LoggedRun:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        # An id of another form than MLflow's is refused, not looked up.
        if not is_unknown(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise TrackingError(
            f"{where}MLflow at {without_password(uri)} has no run {run_id!r}. Give the id of an existing run, "
            "EXPERIMENT/RUN_NAME, or the folder of a run. For another server give its URI.",
            code="no_mlflow_run",
            fields={"where": where},
        ) from None
    return _logged(found, uri, client.get_experiment(found.info.experiment_id).name)


def _by_name(client: Any, uri: str, run: str) -> LoggedRun:
    experiments = {experiment.name: experiment.experiment_id for experiment in _experiments(client)}
    parts = run.split("/")
    # Either name may hold slashes; the shortest name of a run that fits an experiment is meant.
    splits = [("/".join(parts[:cut]), "/".join(parts[cut:])) for cut in range(len(parts) - 1, 0, -1)]
    known = [(experiment, name) for experiment, name in splits if experiment in experiments]
    server = f"MLflow at {without_password(uri)}"
    if not known:
        raise TrackingError(
            f"{run!r}: is not a folder, and {server} has no experiment "
            f"{splits[0][0]!r}.{nearest(splits[0][0], experiments)} It has {listed(experiments)}.",
            code="no_mlflow_experiment",
            fields={"run": run},
        )
    for experiment, name in known:
        quote = '"' if "'" in name else "'"
        found = list(_search(client, experiments[experiment], f"attributes.run_name = {quote}{name}{quote}"))
        if len(found) > 1:
            ids = ", ".join(one.info.run_id for one in found[:5])
            raise TrackingError(
                f"{run!r}: {len(found)} runs of experiment {experiment!r} have this name. Give the id of one: {ids}",
                code="mlflow_runs_of_one_name",
                fields={"run": run},
            )
        if found:
            return _logged(found[0], uri, experiment)
    experiment, name = known[0]
    names = {one.info.run_name or "" for one in _search(client, experiments[experiment], "")}
    raise TrackingError(
        f"{run!r}: experiment {experiment!r} at {server} has no run {name!r}.{nearest(name, names)} It has "
        f"{listed(names)}.",
        code="no_mlflow_run_of_name",
        fields={"run": run},
    )


def _experiments(client: Any) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_experiments(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _search(client: Any, experiment_id: str, condition: str) -> Iterator[Any]:
    """All runs of an experiment that meet a condition, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _logged(run: Any, uri: str, experiment: str) -> LoggedRun:
    return LoggedRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        experiment=experiment,
        parent_id=run.data.tags.get(_PARENT_TAG),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        start_time_ms=run.info.start_time,
        uri=uri,
    )
