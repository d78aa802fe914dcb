"""Where MLflow is: which server, in whose words, and where its files lie."""

from __future__ import annotations

import os
import re
from pathlib import Path


def tracking_uri(uri: str | None, runs_dir: Path) -> str:
    """The server that is meant.

    Args:
        uri: as asked for; None takes MLFLOW_TRACKING_URI, else the database in `runs_dir`.
        runs_dir: folder that holds run folders.
    """
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_dir.resolve() / 'mlruns.db'}"


def be_brief() -> None:
    """Let MLflow's calls fail within seconds where nobody answers, for its defaults are minutes, and draw no bars.

    What the user has set stays.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def artifacts_beside(uri: str) -> str | None:
    """Where artifacts go: beside a database of our own; a server knows its place."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    return (database.resolve().parent / "mlartifacts").as_uri()


def without_password(text: str) -> str:
    """A text whose URIs do not tell their credentials."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)
