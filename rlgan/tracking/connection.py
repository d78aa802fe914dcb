"""Asking a tracking server something while the caller waits: a client, and failures in words that help."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from rlgan.base.errors import TrackingError

from .addresses import be_brief, without_password

_MAKING_S = 300.0  # tables take seconds, and a minute where twenty processes share a core


@contextmanager
def asking(uri: str) -> Iterator[Any]:
    """A client for a server; what it throws becomes a sentence.

    Args:
        uri: of the server.

    Yields:
        The `mlflow.MlflowClient`.

    Raises:
        TrackingError: the server cannot be reached, or refuses.
    """
    path = _database(uri)
    if path is not None and not path.exists():  # MLflow would make an empty one
        raise TrackingError(
            f"{path}: there is no tracking database. Give the tracking server (--tracking-uri, "
            "MLFLOW_TRACKING_URI), or the right folder.",
            code="no_tracking_database",
            fields={"path": path},
        )
    be_brief()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    quieten()
    try:
        with making_tables(uri):
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        yield client
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"MLflow at {without_password(uri)} does not respond correctly ({first_line(error)}). Check the "
            "address, and that the server is running.",
            code="mlflow_no_answer",
        ) from error


@contextmanager
def making_tables(uri: str) -> Iterator[None]:
    """Only one process at a time opens a database of our own: whoever finds it without tables makes them.

    MLflow looks for them first and makes them afterwards, so that of two processes in a fresh folder one fails.

    Args:
        uri: of the server; those that are no SQLite database see to it themselves.

    Raises:
        OSError: the folder cannot be written, or another process has held the lock for longer than tables take.
    """
    path = _database(uri)
    if path is None or (path.exists() and not os.access(path.parent, os.W_OK)):
        yield
        return
    with FileLock(path.parent / f".{path.name}.lock", timeout=_MAKING_S):
        yield


def is_own_database(uri: str) -> bool:
    """Whether a server is a database that this process opens itself, and not a service that answers or does not."""
    return _database(uri) is not None


def first_line(error: Exception) -> str:
    """Kind and first line of an error, without credentials."""
    return without_password(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def is_unknown(error: Any) -> bool:
    """Whether an MlflowException says that something does not exist."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def listed(names: Iterable[str]) -> str:
    """Names for a message: the first ten, and how many more."""
    shown = sorted(names)
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return (", ".join(shown[:10]) or "none") + more


def quieten() -> None:
    """Let MLflow and its database speak of warnings only, unless the user wants to hear more."""
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        # Both configure their loggers while they are imported, so they are quieted afterwards.
        import mlflow  # noqa: F401

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)


def _database(uri: str) -> Path | None:
    """The file of an SQLite database; None for a server."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])
