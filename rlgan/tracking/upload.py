"""The MLflow side of tracking: one thread and one connection for a run and all its children, however many.

The thread reads each run's metrics.jsonl and sends what the server has not yet, in order and many rows a call, so that
a slow or dead server never holds up training and nothing is kept in memory for it. When the server fails, that is said
once; numbers go on into the files, uploading is tried again from time to time, and what was missed is then sent.

How many rows the server has is a tag of the run there, set by the call that brings them. It decides what is sent after
a failure, and after a resumption: iterations that are done again give the numbers that the server has. What else must
outlive the process lies in mlflow_run.json: which MLflow run the folder belongs to, and the files it should have.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError
from rlgan.base.files import write_atomically

from .addresses import artifacts_beside, without_password
from .connection import first_line, is_own_database, making_tables, quieten
from .origin import DataInput, dataset_inputs, origin_tags

RECORD = "mlflow_run.json"
"""Name of the file that says which MLflow run a folder belongs to."""

_SEND_EVERY_S = 1.0  # a call costs a tenth of a second of CPU, however many rows it brings
_RETRY_EVERY_S = 30.0
_LAST_TRIES = 5  # of a database of our own, which may be busy with another process for a moment
_LAST_TRY_EVERY_S = 1.0
_METRICS_A_CALL = 500  # MLflow takes 1,000 entities a call; a row that begins below this ends below that
_PARAMS_A_CALL = _TAGS_A_CALL = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000
_ROWS_TAG = "rlgan.rows_uploaded"
_KEY_TAG = "rlgan.key"
_PARENT_TAG = "mlflow.parentRunId"
# An experiment of model training, as MLflow's page calls it: without it, that opens on traces of chat applications.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
# Answers of a server that is well and does not want this run's request; others may fare better.
_REFUSALS = {"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}


@dataclass(frozen=True, slots=True)
class _Artifact:
    sha256: str | None  # of what the server has
    waiting: bool  # whether it may have changed since


class RunRecord:
    """What mlflow_run.json says of a folder. Both threads change it.

    Files outside the folder are kept in memory only, and those that the record names there are passed over: a folder
    from a stranger must not make us send what else lies on this machine.

    Args:
        path: of the file; it need not exist.

    Raises:
        CheckpointError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        values: dict[str, Any] = {}
        try:
            if path.exists():
                values = json.loads(path.read_text(encoding="utf-8"))
            self.run_id, self.key = str(values.get("run_id", "")), str(values.get("key", ""))
            self.num_dropped = int(values.get("num_dropped", 0))  # older versions had none
            self._artifacts = {
                (one["path"], one["folder"]): _Artifact(one["sha256"], one["waiting"])
                for one in values.get("artifacts", [])
                if self._within(path.parent / one["path"])
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}). It stores which MLflow run belongs to this folder. Restore it, "
                "or remove it; then a new MLflow run gets all metrics.",
                code="damaged_mlflow_record",
                fields={"path": path},
            ) from None

    def attempt(self) -> str:
        """Note that a run is about to be made, before it is; so it is found again if the answer gets lost.

        Returns:
            What the run is to be tagged with.
        """
        with self._lock:
            self.run_id, self.key, self.num_dropped = "", uuid.uuid4().hex, 0
            self._artifacts = dict.fromkeys(self._artifacts, _Artifact(None, True))
            self._write()
            return self.key

    def belongs_to(self, run_id: str) -> None:
        """Note which run it is."""
        with self._lock:
            if run_id != self.run_id:
                self.run_id = run_id
                self._write()

    def drop_rows(self, number: int) -> None:
        """Note that so many rows at the end of metrics.jsonl are there no more, which the server may have.

        What follows them is counted behind them: the server knows of a run only how many rows it got.
        """
        with self._lock:
            self.num_dropped += number
            self._write()

    def want(self, path: Path, folder: str | None) -> None:
        """Note that the server should have a file as it is now."""
        with self._lock:
            full = path.parent.resolve() / path.name
            if self._within(full):
                full = full.relative_to(self._path.parent.resolve())
            key = (full.as_posix(), folder)
            known = self._artifacts.get(key)
            self._artifacts[key] = _Artifact(None if known is None else known.sha256, True)
            self._write()

    def waiting(self) -> list[tuple[str, str | None, str | None]]:
        """Files that the server may not have as they are: (path, folder, SHA-256 of what it has)."""
        with self._lock:
            return [(*key, one.sha256) for key, one in self._artifacts.items() if one.waiting]

    def settle(self, name: str, folder: str | None, digest: str | None) -> None:
        """Note that the server has a file, or by None that the file is gone."""
        with self._lock:
            if digest is None:
                del self._artifacts[name, folder]
            else:
                self._artifacts[name, folder] = _Artifact(digest, False)
            self._write()

    def _within(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._path.parent.resolve())

    def _write(self) -> None:
        artifacts = [
            {"path": name, "folder": folder, "sha256": one.sha256, "waiting": one.waiting}
            for (name, folder), one in self._artifacts.items()
            if self._within(self._path.parent / name)
        ]
        values: dict[str, Any] = {"run_id": self.run_id, "key": self.key, "artifacts": artifacts}
        if self.num_dropped:
            values["num_dropped"] = self.num_dropped
        text = json.dumps(values, ensure_ascii=False)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class _Ending:
    status: str
    tags: Mapping[str, str]
    time_ms: int


class RunUpload:
    """One run on its way to the server. Callers note what happened to it; the rest is the thread's.

    Args:
        folder: of the run.
        name: shown in MLflow.
        params: flat; logged once.
        tags: of the run from its beginning.
        parent: the run that it belongs below; None for the top.
        goes_on: whether it is certain that more will come of it, so that the server should call it running.
        inputs: the data of the run.

    Raises:
        CheckpointError: the folder's record is damaged.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: RunUpload | None,
        goes_on: bool,
        inputs: tuple[DataInput, ...] = (),
    ) -> None:
        self.path, self.name, self.parent = folder / "metrics.jsonl", name, parent
        self.params = {key: _param_text(value) for key, value in params.items()}
        self.tags = {key: _tag_text(value) for key, value in tags.items()}
        self.inputs = inputs
        self.record = RunRecord(folder / RECORD)
        self.goes_on = goes_on
        self.ending: _Ending | None = None
        self.begun_ms = _now_ms()
        # The thread's own: what the server has, as far as it was asked since the connection was made.
        self.is_open = False
        self.server_status = ""
        self.server_tags: dict[str, str] = {}
        self.num_rows = self.num_bytes = 0  # of metrics.jsonl
        self.said: set[str] = set()

    def end(self, status: str, tags: Mapping[str, str]) -> None:
        """Note how it ended."""
        self.ending = _Ending(status, {key: _tag_text(value) for key, value in tags.items()}, _now_ms())


class Uploader:
    """The thread. Nothing of what a server does may raise into training.

    Args:
        uri: of the server.
        experiment: name.
        top: the run above all others.

    Attributes:
        warnings: what the user should know; to be read in the caller's thread.
    """

    def __init__(self, uri: str, experiment: str, top: RunUpload) -> None:
        self._uri, self._experiment, self._top = uri, experiment, top
        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._runs = [top]  # that are not done with, each after its parent
        self._num_children = 0
        self._awake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-upload", daemon=True)
        self._next_call = 0.0
        # The thread's own; None while there is no connection.
        self._client: Any = None
        self._experiment_id: str | None = None
        self._origin = {key: _tag_text(value) for key, value in origin_tags(top.tags).items()}

    def start(self) -> None:
        """Begin. Does not wait for the server."""
        self._awake.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._awake.set()

    def add(self, run: RunUpload) -> None:
        """Take a child in; after `finish` it stays where it is."""
        with self._lock:
            if self._closing.is_set():
                return
            self._runs.append(run)
            self._num_children += 1
        self._awake.set()

    def finish(self, status: str, tags: Mapping[str, str], wait_s: float) -> None:
        """Send what is left of all runs and close them.

        Args:
            status: of the top. A child that nobody ended was cut short: it is "KILLED".
            tags: of the top.
            wait_s: how long at most.
        """
        self._top.end(status, tags)
        with self._lock:
            for run in self._runs:
                if run.ending is None:
                    run.end("KILLED", {})
            self._closing.set()
        self._awake.set()
        self._thread.join(timeout=wait_s)
        if self._thread.is_alive():
            with self._lock:
                waiting = sum(run is not self._top for run in self._runs)
            of = f"; {waiting} child runs are waiting" if waiting else ""
            self._warn_of_server(f"no answer within {wait_s:.0f} s{of}")

    def _work(self) -> None:
        last_tries = _LAST_TRIES if is_own_database(self._uri) else 1
        while True:
            self._awake.wait()
            is_last = self._closing.wait(max(0.0, self._next_call - time.monotonic()))
            self._awake.clear()
            error = self._send_all(is_last)
            self._next_call = time.monotonic() + (_SEND_EVERY_S if error is None else _RETRY_EVERY_S)
            last_tries -= is_last
            if error is not None:
                self._disconnect()
                self._awake.set()
                if is_last and last_tries and _is_busy(error):
                    time.sleep(_LAST_TRY_EVERY_S)
                    continue
                self._warn_of_server(first_line(error))
            if is_last:
                return

    def _send_all(self, is_last: bool) -> Exception | None:
        """Send what there is of all runs, parents first.

        Args:
            is_last: whether nothing comes after this, so that the top is closed too.

        Returns:
            The first error: whatever a server, a driver or a proxy may throw, for training must go on.
        """
        with self._lock:
            # How a run ended is read before its rows are, so that none is missing when it is closed.
            runs = [(run, run.ending) for run in self._runs]
        first: Exception | None = None
        failed: set[RunUpload] = set()
        for run, ending in runs:
            if run.parent in failed:
                failed.add(run)
                continue
            try:
                if self._client is None:
                    self._connect()
                self._send_numbers(run)
            except Exception as error:
                first, failed = first or error, failed | {run}
                if not _is_of_one_run(error):
                    return first  # one that does not answer is not asked for each of hundreds of runs
                continue
            try:
                self._send_artifacts(run)
                if ending is not None and run is not self._top:
                    self._close(run, ending)
            except Exception as error:
                first, failed = first or error, failed | {run}
        if is_last and self._top.ending is not None and self._top not in failed:
            try:
                self._close(self._top, self._top.ending)  # after its children: nothing is done any more below it
            except Exception as error:
                first = first or error
        return first

    # ------------------------------------------------------------------ connections

    def _connect(self) -> None:
        import mlflow

        quieten()
        with making_tables(self._uri):
            self._client = mlflow.MlflowClient(tracking_uri=self._uri)

    def _disconnect(self) -> None:
        """After a failure the server is asked anew how far it got."""
        self._client = self._experiment_id = None
        with self._lock:
            for run in self._runs:
                run.is_open = False

    def _open(self, run: RunUpload) -> None:
        """Find the run on the server, or make it; learn what it has, and send parameters that it lacks."""
        import mlflow

        found = self._known_run(run)
        if found is None:
            tags = {**self._origin, **run.tags, **self._parent_tag(run), _KEY_TAG: run.record.attempt()}
            found = self._client.create_run(
                self._experiment_of_runs(), start_time=_begun_ms(run), run_name=run.name, tags=tags
            )
        run_id = found.info.run_id
        run.record.belongs_to(run_id)
        run.server_status, run.server_tags = found.info.status, dict(found.data.tags)
        for key, value in self._parent_tag(run).items():
            if run.server_tags.get(key) != value:  # the parent was deleted on the server, and made anew
                self._client.set_tag(run_id, key, value)
        # A resumed run keeps the parameters that it began with: MLflow does not let them change.
        missing = [mlflow.entities.Param(*item) for item in run.params.items() if item[0] not in found.data.params]
        for some in _pieces(missing, _PARAMS_A_CALL):
            self._client.log_batch(run_id, params=some)
        if run.inputs and not found.inputs.dataset_inputs:
            self._client.log_inputs(run_id, datasets=dataset_inputs(run.inputs))
        run.num_rows, run.num_bytes = int(found.data.tags.get(_ROWS_TAG, 0)), 0
        run.is_open = True

    @staticmethod
    def _parent_tag(run: RunUpload) -> dict[str, str]:
        return {} if run.parent is None else {_PARENT_TAG: run.parent.record.run_id}

    def _known_run(self, run: RunUpload) -> Any:
        """The MLflow run that a folder already belongs to; None where this server has none.

        The server's address does not matter: folders move with the database beside them, and addresses change.
        """
        from mlflow.exceptions import MlflowException

        if not run.record.run_id:
            if not run.record.key:
                return None
            # It was being made when the connection broke, and may be there.
            made = self._client.search_runs(
                [self._experiment_of_runs()], filter_string=f"tags.`{_KEY_TAG}` = '{run.record.key}'", max_results=1
            )
            return made[0] if made else None
        try:
            found = self._client.get_run(run.record.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _experiment_of_runs(self) -> str:
        if self._experiment_id is None:
            self._experiment_id = self._find_experiment()
        return self._experiment_id

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(
                    self._client.create_experiment(
                        self._experiment, artifact_location=artifacts_beside(self._uri), tags=_EXPERIMENT_TAGS
                    )
                )
            except MlflowException:  # another run may have made it in between
                found = self._client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        for key, value in _EXPERIMENT_TAGS.items():
            if key not in found.tags:  # somebody made it without saying what it is for
                self._client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    # ------------------------------------------------------------------ what is sent

    def _send_numbers(self, run: RunUpload) -> None:
        """Send the rows of metrics.jsonl that the server has not."""
        if not run.is_open:
            self._open(run)
        if run.goes_on and run.server_status != "RUNNING":
            self._client.update_run(run.record.run_id, status="RUNNING")
            run.server_status = "RUNNING"
        number = run.record.num_dropped if run.num_bytes == 0 else run.num_rows
        end = run.num_bytes
        waiting: list[tuple[int, list[Any]]] = []
        for line in whole_lines(run.path, run.num_bytes):
            number, end = number + 1, end + len(line)
            if number > run.num_rows:
                waiting.append((number, _metrics(_parsed(run.path, line))))
            if sum(len(metrics) for _, metrics in waiting) >= _METRICS_A_CALL:
                self._send_rows(run, waiting)
                waiting = []
        if waiting:
            self._send_rows(run, waiting)
        # Below what the server has, rows of a resumed run are still to come: they are counted from the beginning.
        if number >= run.num_rows:
            run.num_rows, run.num_bytes = number, end

    def _send_rows(self, run: RunUpload, rows: Sequence[tuple[int, list[Any]]]) -> None:
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        run_id = run.record.run_id
        *first, last = _pieces([metric for _, metrics in rows for metric in metrics], 2 * _METRICS_A_CALL - 1) or [[]]
        try:
            for some in first:
                self._client.log_batch(run_id, metrics=some)
            self._client.log_batch(run_id, metrics=last, tags=[RunTag(_ROWS_TAG, str(rows[-1][0]))])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            # The server answers and does not want these. One row must not hold up all that come after it.
            if len(rows) > 1:
                for row in rows:
                    self._send_rows(run, [row])
            else:
                number = rows[0][0]
                self._warn(
                    "refused",
                    f"MLflow refused row {number} of {run.path} ({first_line(error)}). It is kept in the file.",
                )

    def _send_artifacts(self, run: RunUpload) -> None:
        for name, folder, there in run.record.waiting():
            path = run.path.parent / name
            if not path.exists():
                self._warn(str(path), f"{path}: does not exist, so it is not uploaded to MLflow.", run.said)
                run.record.settle(name, folder, None)
                continue
            with path.open("rb") as file:
                digest = sha256(file.read()).hexdigest()
            if digest != there:
                self._client.log_artifact(run.record.run_id, str(path), folder)
            run.record.settle(name, folder, digest)

    def _close(self, run: RunUpload, ending: _Ending) -> None:
        """Tell the server how a run ended, and forget it."""
        from mlflow.entities import RunTag

        missing = [RunTag(*item) for item in ending.tags.items() if run.server_tags.get(item[0]) != item[1]]
        for some in _pieces(missing, _TAGS_A_CALL):
            self._client.log_batch(run.record.run_id, tags=some)
        if run.server_status != ending.status:
            self._client.set_terminated(run.record.run_id, ending.status, ending.time_ms)
        with self._lock:
            self._runs.remove(run)

    # ------------------------------------------------------------------ warnings

    def _warn_of_server(self, reason: str) -> None:
        others = " and in the files of its child runs" if self._num_children else ""
        self._warn(
            "server",
            (
                f"MLflow at {without_password(self._uri)} does not accept metrics ({without_password(reason)}). "
                f"Training continues; all metrics are in {self._top.path}{others}. Missing ones are uploaded when the "
                "server responds again, or with --resume."
            ),
        )

    def _warn(self, subject: str, message: str, said: set[str] | None = None) -> None:
        """Say something once."""
        said = self._said if said is None else said
        if subject not in said:
            said.add(subject)
            self.warnings.put(message)


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Lines of a file from a byte on; the last one only if it was written to its end.

    Args:
        path: of the file; one that does not exist has none.
        offset: the byte.
    """
    if path.exists():
        with path.open("rb") as file:
            file.seek(offset)
            yield from (line for line in file if line.endswith(b"\n"))


def _begun_ms(run: RunUpload) -> int:
    """When a run began: no later than its first row, which may be of an earlier process."""
    first = next(whole_lines(run.path), None)
    return run.begun_ms if first is None else min(run.begun_ms, int(_parsed(run.path, first)["time"] * 1000))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _is_of_one_run(error: Exception) -> bool:
    """Whether an error says nothing of other runs: the server refused this one's request, or its files are damaged."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, CheckpointError) or (isinstance(error, MlflowException) and error.error_code in _REFUSALS)


def _is_busy(error: Exception) -> bool:
    """Whether a database of our own was in use by another process for longer than SQLite waits."""
    return "OperationalError" in f"{type(error).__name__}: {error}"


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        return row
    except ValueError as error:
        raise CheckpointError(
            f"{path}: a line is damaged ({error}). Remove the line; its metrics are lost.",
            code="damaged_metrics",
            fields={"path": path},
        ) from None


def _metrics(row: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Metric

    stamp = int(row["time"] * 1000)
    return [
        Metric(name, math.nan if value is None else value, stamp, row["step"]) for name, value in row["metrics"].items()
    ]


def _pieces(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _param_text(value: Any) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _PARAM_LENGTH)


def _tag_text(value: str) -> str:
    return _cut(value, _TAG_LENGTH)


def _cut(text: str, length: int) -> str:
    text = without_password(text)
    return text if len(text) <= length else text[: length - 1] + "…"
