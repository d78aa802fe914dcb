"""Where the numbers go: always into the run's own metrics.jsonl, and to an MLflow server as long as it answers.

The only room that imports mlflow, and only once a run starts: the import and a new database cost seconds. A thread
reads metrics.jsonl and uploads what the server has not yet, in order and many rows a call, so that a slow or dead
server never holds up training and nothing is kept in memory for it. When the server fails, that is said once; numbers
go on into metrics.jsonl, uploading is tried again from time to time, and what was missed is then sent.

How many rows it has is a tag of the run on the server, set by the call that brings them. It decides what is sent after
a failure, and after a resumption: units that are done again give the numbers that the server has already.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import re
import subprocess
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from rlgan import __version__
from rlgan.envs.errors import CheckpointError
from rlgan.envs.settings import Settings

from .checkpoint import cannot_write, write_atomically

_SEND_EVERY_S = 1.0  # a call costs a tenth of a second of CPU, however many rows it brings
_RETRY_EVERY_S = 30.0
_FINISH_WAIT_S = 60.0
_METRICS_A_CALL = 500  # MLflow takes 1,000 entities a call; a row that begins below this ends below that
_PARAMS_A_CALL = 100
_PARAM_LENGTH = 6000
_ROWS_TAG = "rlgan.rows_uploaded"
# Without it MLflow's page opens on traces of chat applications, not on the table of runs.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


class TrackingSettings(Settings):
    """Where the numbers go."""

    enabled: bool = True
    """Whether to track in MLflow; metrics.jsonl is written in any case."""
    uri: str | None = Field(None, min_length=1)
    """MLflow tracking server; null takes MLFLOW_TRACKING_URI, else mlruns.db beside the run's folder."""
    experiment: str = Field("rlgan", min_length=1)
    """Name of the MLflow experiment."""


def run_tags(preset: str, seed: int) -> dict[str, str]:
    """What identifies a run beside its configuration.

    Args:
        preset: it began from.
        seed: of the run.

    Returns:
        Preset, seed, version; commit of the code that runs and whether it was changed since, where git knows it.
    """
    tags = {"preset": preset, "seed": str(seed), "rlgan_version": __version__}
    here = Path(__file__).resolve()
    # A package that is installed inside somebody's repository is not of that repository.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None:
        commit, changes = _git(here.parent, "rev-parse", "HEAD"), _git(here.parent, "status", "--porcelain")
        if commit is not None and changes is not None:
            tags |= {"git_commit": commit, "git_dirty": str(bool(changes)).lower()}
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where there is no git, no repository, or no such file in it."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class Tracker:
    """Numbers of one run.

    Args:
        settings: where to.
        run_dir: folder of the run; metrics.jsonl lies in it.
        say: shows the user a sentence; None makes them Python's warnings.
    """

    def __init__(self, settings: TrackingSettings, run_dir: Path, say: Callable[[str], None] | None = None) -> None:
        self._settings, self._run_dir, self._say = settings, run_dir, say
        self._path = run_dir / "metrics.jsonl"
        self._uploader: _Uploader | None = None

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the run in MLflow, or go on with the one that this folder belongs to. Does not wait for the server.

        Args:
            name: shown in MLflow.
            params: flat resolved configuration; logged once.
            tags: see `run_tags`.
        """
        if not self._settings.enabled:
            return
        # A dead server should cost the thread seconds, not the minutes of MLflow's defaults.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = self._settings.uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._uploader = _Uploader(uri, self._settings.experiment, self._path, name, params, tags)
        self._uploader.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int, phase: str, unit: int | None) -> None:
        """Keep numbers.

        Args:
            metrics: name → value; NaN and infinities, which JSON has not, are null in metrics.jsonl and NaN in MLflow.
            step: counts within the phase.
            phase: which kind of unit.
            unit: units of the run done, or None for what belongs to its end.

        Raises:
            CheckpointError: the disk is full or cannot be written.
        """
        row = {
            "unit": unit,
            "phase": phase,
            "step": step,
            "time": time.time(),
            "metrics": {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()},
        }
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if self._uploader is not None:
            self._uploader.wake()
        self._tell()

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file of the run's folder, where there is a server; its place in the folder is its truth.

        Args:
            path: of the file.
            folder: among the run's artifacts; None is their top.
        """
        if self._uploader is not None:
            self._uploader.put_artifact(path, folder)
        self._tell()

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far; a last line that was cut off by a crash is left out.

        Raises:
            CheckpointError: a line before the last is damaged.
        """
        rows = []
        for number, line in enumerate(_whole_lines(self._path), start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise CheckpointError(
                    f"{self._path}, line {number}: is damaged ({error}). Remove the line; its numbers are lost."
                ) from None
        return rows

    def truncate_after(self, unit: int) -> None:
        """Drop rows of units past `unit`, which will be done again, and rows of the run's end. Before `start` only.

        Raises:
            CheckpointError: a line is damaged, or the disk cannot be written.
        """
        assert self._uploader is None, "the uploader has already read on"
        kept = [row for row in self.rows() if row["unit"] is not None and row["unit"] <= unit]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"))

    def finish(self, status: str, wait_s: float | None = None) -> None:
        """Send what is left and close the run.

        Args:
            status: "FINISHED", "FAILED" or "KILLED".
            wait_s: how long at most; None is a minute.
        """
        if self._uploader is not None:
            self._uploader.finish(status, _FINISH_WAIT_S if wait_s is None else wait_s)
        self._tell()

    def _tell(self) -> None:
        """Warnings of the uploader, in the caller's thread: there filters and stack levels mean something."""
        while self._uploader is not None and not self._uploader.warnings.empty():
            message = self._uploader.warnings.get()
            if self._say is not None:
                self._say(f"warning: {message}")
            else:
                warnings.warn(message, stacklevel=3)


class _Uploader:
    """The MLflow side, in a thread of its own. Nothing here may raise into training."""

    def __init__(
        self,
        uri: str | None,
        experiment: str,
        path: Path,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        self._uri = uri or f"sqlite:///{path.parent.parent.resolve() / 'mlruns.db'}"
        self._path, self._experiment, self._name = path, experiment, name
        self._params = {key: _param_text(value) for key, value in params.items()}
        self._tags = dict(tags)
        self._id_path = path.with_name("mlflow_run.json")

        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: set[str] = set()
        self._artifacts: deque[tuple[Path, str | None]] = deque()
        self._status = ""
        self._awake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-upload", daemon=True)
        self._next_call = 0.0
        # The thread's own; None while there is no connection.
        self._client: Any = None
        self._run_id = ""
        self._num_rows = self._num_bytes = 0  # of metrics.jsonl, that the server has

    def start(self) -> None:
        self._awake.set()
        self._thread.start()

    def wake(self) -> None:
        self._awake.set()

    def put_artifact(self, path: Path, folder: str | None) -> None:
        self._artifacts.append((path, folder))
        self._awake.set()

    def finish(self, status: str, wait_s: float) -> None:
        self._status = status
        self._closing.set()
        self._awake.set()
        self._thread.join(timeout=wait_s)
        if self._thread.is_alive():
            self._warn_of_server(f"no answer within {wait_s:.0f} s")

    def _work(self) -> None:
        while True:
            self._awake.wait()
            is_last = self._closing.wait(max(0.0, self._next_call - time.monotonic()))
            self._awake.clear()
            self._send(is_last)
            if is_last:
                return

    def _send(self, is_last: bool) -> None:
        try:
            if self._client is None:
                self._connect()
            self._send_rows()
            self._send_artifacts()
            if is_last:
                self._client.set_terminated(self._run_id, self._status)
            self._next_call = time.monotonic() + _SEND_EVERY_S
        except Exception as error:  # whatever a server, a driver or a proxy may throw: training must go on
            self._client = None  # the next try asks the server how far it got
            self._next_call = time.monotonic() + _RETRY_EVERY_S
            self._awake.set()
            self._warn_of_server(_first_line(error))

    def _connect(self) -> None:
        import mlflow

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            # Both configure their loggers while they are imported, so they are quieted afterwards.
            for noisy in ("alembic", "mlflow"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
        client = mlflow.MlflowClient(tracking_uri=self._uri)
        run = self._known_run(client)
        if run is None:
            run = client.create_run(self._experiment_id(client), run_name=self._name, tags=self._tags)
            self._run_id = run.info.run_id
        elif run.info.status != "RUNNING":
            client.update_run(self._run_id, status="RUNNING")
        known = json.dumps({"run_id": self._run_id})
        write_atomically(self._id_path, lambda path: path.write_text(known, encoding="utf-8"))
        # A resumed run keeps the parameters that it began with: MLflow does not let them change.
        missing = [mlflow.entities.Param(*item) for item in self._params.items() if item[0] not in run.data.params]
        for some in _pieces(missing, _PARAMS_A_CALL):
            client.log_batch(self._run_id, params=some)
        self._num_rows, self._num_bytes = int(run.data.tags.get(_ROWS_TAG, 0)), 0
        self._client = client

    def _known_run(self, client: Any) -> Any:
        """The MLflow run that this folder already belongs to; None where this server has none.

        The server's address does not matter: folders move with the database beside them, and addresses change.
        """
        from mlflow.exceptions import MlflowException

        if not self._run_id and self._id_path.exists():
            self._run_id = json.loads(self._id_path.read_text(encoding="utf-8"))["run_id"]
        if not self._run_id:
            return None
        try:
            run = client.get_run(self._run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _experiment_id(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(
                    client.create_experiment(
                        self._experiment, artifact_location=_artifacts_beside(self._uri), tags=_EXPERIMENT_TAGS
                    )
                )
            except MlflowException:  # another run may have made it in between
                found = client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _send_rows(self) -> None:
        """Send the rows of metrics.jsonl that the server has not."""
        number = 0 if self._num_bytes == 0 else self._num_rows
        end = self._num_bytes
        waiting: list[tuple[int, list[Any]]] = []
        for line in _whole_lines(self._path, self._num_bytes):
            number, end = number + 1, end + len(line)
            if number > self._num_rows:
                waiting.append((number, _metrics(json.loads(line))))
            if sum(len(metrics) for _, metrics in waiting) >= _METRICS_A_CALL:
                self._send_some(waiting)
                waiting = []
        if waiting:
            self._send_some(waiting)
        # Below what the server has, rows of a resumed run are still to come: they are counted from the beginning.
        if number >= self._num_rows:
            self._num_rows, self._num_bytes = number, end

    def _send_some(self, rows: Sequence[tuple[int, list[Any]]]) -> None:
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        *first, last = _pieces([metric for _, metrics in rows for metric in metrics], 2 * _METRICS_A_CALL - 1) or [[]]
        try:
            for some in first:
                self._client.log_batch(self._run_id, metrics=some)
            self._client.log_batch(self._run_id, metrics=last, tags=[RunTag(_ROWS_TAG, str(rows[-1][0]))])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            # The server answers and does not want these. One row must not hold up all that come after it.
            if len(rows) > 1:
                for row in rows:
                    self._send_some([row])
            else:
                number = rows[0][0]
                self._warn(
                    "refused", f"MLflow refused row {number} of {self._path} ({_first_line(error)}). It stays there."
                )

    def _send_artifacts(self) -> None:
        while self._artifacts:
            path, folder = self._artifacts[0]
            if path.exists():
                self._client.log_artifact(self._run_id, str(path), folder)
            else:
                self._warn(str(path), f"{path}: does not exist, so it is not uploaded to MLflow.")
            self._artifacts.popleft()

    def _warn_of_server(self, reason: str) -> None:
        self._warn(
            "server",
            f"MLflow at {_without_password(self._uri)} does not take our numbers ({_without_password(reason)}). "
            f"Training goes on; all numbers are in {self._path}. What is missing is sent when the server answers "
            "again, or with --resume.",
        )

    def _warn(self, subject: str, message: str) -> None:
        """Say something once."""
        if subject not in self._said:
            self._said.add(subject)
            self.warnings.put(message)


def _whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Lines from a byte on; the last one only if it was written to its end."""
    if path.exists():
        with path.open("rb") as file:
            file.seek(offset)
            yield from (line for line in file if line.endswith(b"\n"))


def _metrics(row: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Metric

    stamp = int(row["time"] * 1000)
    return [
        Metric(name, math.nan if value is None else value, stamp, row["step"]) for name, value in row["metrics"].items()
    ]


def _pieces(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _param_text(value: Any) -> str:
    text = _without_password(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _PARAM_LENGTH else text[: _PARAM_LENGTH - 1] + "…"


def _artifacts_beside(uri: str) -> str | None:
    """Where artifacts go: beside a database of our own; a server knows its place."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    return (database.resolve().parent / "mlartifacts").as_uri()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//…@", text)
