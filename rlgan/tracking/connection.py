"""Asking a tracking server something while the caller waits: a client, and failures in words that help."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlgan.envs.errors import TrackingError

from .addresses import be_brief, without_password


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
            f"{path}: there is no tracking database. Name the tracking server (--tracking-uri, MLFLOW_TRACKING_URI), "
            "or the right folder."
        )
    be_brief()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    quieten()
    try:
        yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"MLflow at {without_password(uri)} does not answer as it should ({first_line(error)}). Check the address, "
            "and that the server runs."
        ) from error


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
