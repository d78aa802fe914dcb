"""Where the numbers go: always into the run's own metrics.jsonl, and to an MLflow server as long as it answers.

The only room that imports mlflow, and only once a run starts: the import costs seconds. Uploading happens in a thread,
in order, so that a slow or dead server never holds up training. When the server fails, that is said once; numbers go
on into metrics.jsonl, uploading is tried again from time to time, and what was missed is then sent.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from rlgan import __version__
from rlgan.envs.settings import Settings

from .checkpoint import write_atomically

_RETRY_EVERY_S = 30.0
_FINISH_WAIT_S = 60.0
_METRICS_A_CALL = 1000  # MLflow's limit for one batch
_PARAMS_A_CALL = 100
_PARAM_LENGTH = 6000


class TrackingSettings(Settings):
    """Where the numbers go."""

    enabled: bool = True
    """Whether to track in MLflow; metrics.jsonl is written in any case."""
    uri: str | None = None
    """MLflow tracking server; null takes MLFLOW_TRACKING_URI, else mlruns.db beside the run's folder."""
    experiment: str = Field("rlgan", min_length=1)
    """Name of the MLflow experiment."""


def run_tags(preset: str, seed: int) -> dict[str, str]:
    """What identifies a run beside its configuration: preset, seed, version, git state of the code that runs."""
    tags = {"preset": preset, "seed": str(seed), "rlgan_version": __version__}
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is not None:
        tags["git_commit"] = commit
        tags["git_dirty"] = str(bool(_git(folder, "status", "--porcelain"))).lower()
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class Tracker:
    """Numbers of one run.

    Args:
        settings: where to.
        run_dir: folder of the run; metrics.jsonl lies in it.
    """

    def __init__(self, settings: TrackingSettings, run_dir: Path) -> None:
        self._settings, self._run_dir = settings, run_dir
        self._path = run_dir / "metrics.jsonl"
        self._uploader: _Uploader | None = None

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the run in MLflow, or go on with the one that this folder belongs to.

        Args:
            name: shown in MLflow.
            params: flat resolved configuration; logged once.
            tags: see `run_tags`.
        """
        if not self._settings.enabled:
            return
        uri = self._settings.uri or os.environ.get("MLFLOW_TRACKING_URI")
        local = uri is None
        if local:
            uri = f"sqlite:///{self._run_dir.parent.resolve() / 'mlruns.db'}"
        self._uploader = _Uploader(
            uri=str(uri),
            artifact_folder=self._run_dir.parent.resolve() / "mlartifacts" if local else None,
            experiment=self._settings.experiment,
            run_dir=self._run_dir,
            name=name,
            params=dict(params),
            tags=dict(tags),
        )
        for row in self.rows():
            self._uploader.put_row(row)
        self._uploader.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int, phase: str, unit: int | None) -> None:
        """Keep numbers.

        Args:
            metrics: name → value; NaN and infinities are written as null.
            step: counts within the phase.
            phase: which kind of unit.
            unit: units of the run done, or None for what belongs to its end.
        """
        row = {
            "unit": unit,
            "phase": phase,
            "step": step,
            "time": time.time(),
            "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._uploader is not None:
            self._uploader.put_row(row)

    def log_artifact(self, path: Path) -> None:
        """Upload a file of the run's folder, where there is a server; its place in the folder is its truth."""
        if self._uploader is not None:
            self._uploader.put_artifact(path)

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far; a last line that was cut off by a crash is left out."""
        if not self._path.exists():
            return []
        rows = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def truncate_after(self, unit: int) -> None:
        """Drop rows of units past `unit`, which will be done again, and rows of the run's end."""
        kept = [row for row in self.rows() if row["unit"] is not None and row["unit"] <= unit]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"))

    def finish(self, status: str) -> None:
        """Send what is left and close the run: "FINISHED", "FAILED" or "KILLED"."""
        if self._uploader is not None:
            self._uploader.finish(status)


class _Uploader:
    """The MLflow side, in a thread of its own. Nothing here may raise into training."""

    def __init__(
        self,
        uri: str,
        artifact_folder: Path | None,
        experiment: str,
        run_dir: Path,
        name: str,
        params: dict[str, Any],
        tags: dict[str, str],
    ) -> None:
        self._uri, self._artifact_folder, self._experiment = uri, artifact_folder, experiment
        self._run_dir, self._name, self._params, self._tags = run_dir, name, params, tags
        self._waiting: queue.SimpleQueue[Callable[[Any, str], None] | None] = queue.SimpleQueue()
        self._failed: list[Callable[[Any, str], None]] = []
        self._thread = threading.Thread(target=self._work, name="mlflow-upload", daemon=True)
        self._warned = False
        self._next_try = 0.0
        self._client: Any = None
        self._run_id = ""

    def start(self) -> None:
        # A dead server should cost a thread seconds, not the minutes of MLflow's defaults.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_DO_NOT_TRACK", "true")
        self._thread.start()

    def put_row(self, row: dict[str, Any]) -> None:
        self._waiting.put(lambda client, run_id: _send_row(client, run_id, row))

    def put_artifact(self, path: Path) -> None:
        self._waiting.put(lambda client, run_id: client.log_artifact(run_id, str(path)))

    def finish(self, status: str) -> None:
        self._waiting.put(lambda client, run_id: client.set_terminated(run_id, status))
        self._waiting.put(None)
        self._thread.join(timeout=_FINISH_WAIT_S)
        if self._thread.is_alive():
            self._warn(f"the server did not take the last numbers within {_FINISH_WAIT_S:.0f} s")

    def _work(self) -> None:
        while True:
            task = self._waiting.get()
            if task is not None:
                self._failed.append(task)
            is_last = task is None
            if is_last or time.monotonic() >= self._next_try:
                self._send_all()
            if is_last:
                return

    def _send_all(self) -> None:
        """Send in order; whatever fails stays and is tried again later."""
        try:
            if self._client is None:
                self._connect()
            while self._failed:
                self._failed[0](self._client, self._run_id)
                self._failed.pop(0)
        except Exception as error:  # whatever a server, a driver or a proxy may throw: training must go on
            self._next_try = time.monotonic() + _RETRY_EVERY_S
            self._warn(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def _connect(self) -> None:
        import mlflow

        # Both configure their loggers while they are imported, so they are quieted afterwards.
        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        client = mlflow.MlflowClient(tracking_uri=self._uri)
        run_id = self._known_run(client)
        if run_id is None:
            run_id = client.create_run(self._experiment_id(client), run_name=self._name, tags=self._tags).info.run_id
            params = [mlflow.entities.Param(key, _param_text(value)) for key, value in self._params.items()]
            for first in range(0, len(params), _PARAMS_A_CALL):
                client.log_batch(run_id, params=params[first : first + _PARAMS_A_CALL])
            write_atomically(
                self._run_dir / "mlflow_run.json",
                lambda path: path.write_text(json.dumps({"uri": self._uri, "run_id": run_id}), encoding="utf-8"),
            )
        else:
            client.update_run(run_id, status="RUNNING")
        self._client, self._run_id = client, run_id

    def _known_run(self, client: Any) -> str | None:
        """The MLflow run that this folder already belongs to, on the same server."""
        path = self._run_dir / "mlflow_run.json"
        if not path.exists():
            return None
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["uri"] != self._uri:
            return None
        client.get_run(known["run_id"])
        return str(known["run_id"])

    def _experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._artifact_folder is None else self._artifact_folder.as_uri()
        return str(client.create_experiment(self._experiment, artifact_location=location))

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"MLflow at {self._uri} does not take our numbers ({reason}). Training goes on; all numbers are in "
                f"{self._run_dir / 'metrics.jsonl'} and are sent when the server answers again.",
                stacklevel=2,
            )


def _send_row(client: Any, run_id: str, row: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    stamp = int(row["time"] * 1000)
    metrics = [
        Metric(name, float("nan") if value is None else value, stamp, row["step"])
        for name, value in row["metrics"].items()
    ]
    for first in range(0, len(metrics), _METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[first : first + _METRICS_A_CALL])


def _param_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_PARAM_LENGTH]
