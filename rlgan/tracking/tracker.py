"""Where the numbers go: always into the run's own metrics.jsonl, and to an MLflow server as long as it answers.

A run may have children, as a sweep has trials: each keeps its own file in its own folder, and all go to the server
through the one thread and connection of the topmost run (`upload`).
"""

from __future__ import annotations

import json
import math
import queue
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from rlgan import __version__
from rlgan.base.errors import CheckpointError
from rlgan.base.files import cannot_write, write_atomically
from rlgan.base.settings import Settings

from .addresses import be_brief, tracking_uri
from .origin import DataInput
from .upload import RECORD, RunRecord, RunUpload, Uploader, whole_lines

_FINISH_WAIT_S = 60.0


class TrackingSettings(Settings):
    """Where the numbers go."""

    enabled: bool = True
    """Whether to log to MLflow; metrics.jsonl is always written."""
    uri: str | None = Field(None, min_length=1)
    """MLflow tracking server; null uses MLFLOW_TRACKING_URI, or mlruns.db beside the run's folder."""
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


def drop_end(run_dir: Path) -> None:
    """Drop the rows of a run's end, because more iterations follow; their places are taken by rows of other numbers.

    Args:
        run_dir: folder of the run; nobody tracks it meanwhile.

    Raises:
        CheckpointError: a line or the record is damaged, or the disk cannot be written.
    """
    tracker = Tracker(TrackingSettings(enabled=False), run_dir)
    rows = tracker.rows()
    num_dropped = sum(row["iteration"] is None for row in rows)
    if num_dropped and (run_dir / RECORD).exists():
        # Before the rows go: whoever is killed in between sends a row twice, and none too few.
        RunRecord(run_dir / RECORD).drop_rows(num_dropped)
    tracker.truncate_after(max((row["iteration"] for row in rows if row["iteration"] is not None), default=0))


_RENAMED = {"timing/unit_s": "timing/iteration_s", "selection/unit": "selection/iteration"}


def row_of(line: str | bytes) -> dict[str, Any]:
    """A row of metrics.jsonl; what 0.1.0 named otherwise has the names of now.

    Raises:
        ValueError: it is no JSON.
    """
    row: dict[str, Any] = json.loads(line)
    if "unit" not in row:
        return row
    metrics = {_RENAMED.get(name, name): value for name, value in row.get("metrics", {}).items()}
    return {"iteration": row.pop("unit"), **row, "metrics": metrics}


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
        # Both None while nothing is uploaded.
        self._uploader: Uploader | None = None
        self._upload: RunUpload | None = None
        self._last_tags: dict[str, str] = {}

    def start(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], inputs: tuple[DataInput, ...] = ()
    ) -> None:
        """Open the run in MLflow, or go on with the one that this folder belongs to. Does not wait for the server.

        Args:
            name: shown in MLflow.
            params: flat resolved configuration; logged once.
            tags: see `run_tags`.
            inputs: the data of the run.
        """
        if not self._settings.enabled:
            return
        be_brief()
        self._upload = RunUpload(self._run_dir, name, params, tags, parent=None, goes_on=True, inputs=inputs)
        uri = tracking_uri(self._settings.uri, self._run_dir.parent)
        self._uploader = Uploader(uri, self._settings.experiment, self._upload)
        self._uploader.start()

    def child(
        self,
        folder: Path,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        truncate_after: int | None = None,
    ) -> Tracker:
        """A run below this one: of its own folder and numbers, uploaded by the thread that this one has.

        A folder that belongs to an MLflow run already goes on with it; if nothing is missing there, that costs one
        request. Without a started and enabled parent the child keeps metrics.jsonl and uploads nothing.

        Args:
            folder: of the child; made if it does not exist.
            name: shown in MLflow.
            params: flat; logged once.
            tags: of the child.
            truncate_after: drops rows of iterations past this one, which will be done again, before any is uploaded
                (`truncate_after`); None keeps all.

        Returns:
            Its tracker, already started; its `finish` does not wait.

        Raises:
            CheckpointError: the disk cannot be written, or a file of the folder is damaged.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        child = Tracker(self._settings, folder, self._say)
        if truncate_after is not None:
            child.truncate_after(truncate_after)
        if self._uploader is not None:
            goes_on = truncate_after is not None
            child._upload = RunUpload(folder, name, params, tags, self._upload, goes_on)
            child._uploader = self._uploader
            self._uploader.add(child._upload)
        self._tell()
        return child

    def log_metrics(self, metrics: Mapping[str, float], step: int, phase: str, iteration: int | None) -> None:
        """Keep numbers.

        Args:
            metrics: name → value; NaN and infinities, which JSON has not, are null in metrics.jsonl and NaN in MLflow.
            step: counts within the phase.
            phase: which kind of iteration.
            iteration: iterations of the run done, or None for what belongs to its end.

        Raises:
            CheckpointError: the disk is full or cannot be written.
        """
        row = {
            "iteration": iteration,
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
        if self._uploader is not None and self._upload is not None:
            self._upload.goes_on = True
            self._uploader.wake()
        self._tell()

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file of the run's folder, where there is a server; its place in the folder is its truth.

        It is sent later, also by a later process that starts with this folder, if it cannot be sent now.

        Args:
            path: of the file.
            folder: among the run's artifacts; None is their top.

        Raises:
            CheckpointError: the disk is full or cannot be written.
        """
        if self._uploader is not None and self._upload is not None:
            self._upload.record.want(path, folder)
            self._uploader.wake()
        self._tell()

    def tag_at_end(self, tags: Mapping[str, str]) -> None:
        """Keep tags of what is known now; MLflow gets them when the run is finished."""
        self._last_tags |= tags

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far; a last line that was cut off by a crash is left out.

        Raises:
            CheckpointError: a line before the last is damaged.
        """
        rows = []
        for number, line in enumerate(whole_lines(self._path), start=1):
            try:
                rows.append(row_of(line))
            except ValueError as error:
                raise CheckpointError(
                    f"{self._path}, line {number}: is damaged ({error}). Remove the line; its metrics are lost.",
                    code="damaged_metrics_line",
                    fields={"path": self._path, "line": number},
                ) from None
        return rows

    def truncate_after(self, iteration: int) -> None:
        """Drop rows of later iterations, which will be done again, and rows of the run's end. Before `start` only.

        Args:
            iteration: the last to keep.

        Raises:
            CheckpointError: a line is damaged, or the disk cannot be written.
        """
        assert self._uploader is None, "the uploader has already read on"
        kept = [row for row in self.rows() if row["iteration"] is not None and row["iteration"] <= iteration]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"))

    def finish(self, status: str, wait_s: float | None = None, tags: Mapping[str, str] | None = None) -> None:
        """Close the run. A child is only marked, and closed on the server when all of it is there.

        The topmost run waits until everything of it and of all children arrived, but not for ever. Children that
        nobody finished are "KILLED".

        Args:
            status: "FINISHED", "FAILED" or "KILLED".
            wait_s: how long the topmost run waits at most; None is a minute. A child takes None only.
            tags: what is known of the run now that it is over; they take the place of those of the same names.
        """
        tags = {**self._last_tags, **(tags or {})}
        if self._uploader is not None and self._upload is not None:
            if self._upload.parent is None:
                self._uploader.finish(status, tags, _FINISH_WAIT_S if wait_s is None else wait_s)
            else:
                assert wait_s is None, "a child does not wait"
                self._upload.end(status, tags)
                self._uploader.wake()
        self._tell()

    def _tell(self) -> None:
        """Warnings of the uploader, in the caller's thread: there filters and stack levels mean something."""
        while self._uploader is not None:
            try:
                message = self._uploader.warnings.get_nowait()
            except queue.Empty:
                return
            if self._say is not None:
                self._say(f"warning: {message}")
            else:
                warnings.warn(message, stacklevel=3)
