"""A database beside a run's folder, and a client that fails as it is told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlgan.tracking import upload
from tests.support.mlflow_server import Flaky


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tracker sets in the environment goes with the test; retries come at once."""
    for name in (
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        "MLFLOW_DISABLE_TELEMETRY",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
    ):
        monkeypatch.setenv(name, "true")
        monkeypatch.delenv(name)
    monkeypatch.setattr(upload, "_SEND_EVERY_S", 0.0)
    monkeypatch.setattr(upload, "_RETRY_EVERY_S", 0.0)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs; making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlruns.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def run_dir(tmp_path: Path, empty_database: Path) -> Path:
    """Folder of a run, with a database beside it."""
    folder = tmp_path / "my runs" / "a"
    folder.mkdir(parents=True)
    shutil.copy(empty_database, folder.parent)
    return folder


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    import mlflow

    flaky, real = Flaky(), mlflow.MlflowClient
    monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: flaky.around(real(tracking_uri)))
    yield flaky
