"""Where a run comes from, in MLflow's words: who began it, with which program, on which data."""

from __future__ import annotations

import getpass
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .addresses import without_password

_DIGEST_LENGTH = 36  # of a dataset, at most, at MLflow
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class DataInput:
    """A split of the data that a run has learned from or was measured on.

    Attributes:
        name: shown in MLflow; different for each split of a run.
        fingerprint: of the whole task; MLflow's digest is the beginning of it.
        context: "training", "validation" or "test".
        source: file that it was read from; None for data that rlgan draws.
        columns: of text; none for tokens.
        profile: what there is of it, JSON values.
    """

    name: str
    fingerprint: str
    context: str
    source: str | None
    columns: tuple[str, ...]
    profile: Mapping[str, Any]


def origin_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags by which MLflow's page shows user, source and version of a run.

    Args:
        tags: of the run (`run_tags`), for the commit.
    """
    found = {"mlflow.source.name": _program(), "mlflow.source.type": "LOCAL"}
    found["command"] = without_password(shlex.join([_program(), *sys.argv[1:]]))
    if (user := _user()) is not None:
        found["mlflow.user"] = user
    if (commit := tags.get("git_commit")) is not None:
        found["mlflow.source.git.commit"] = commit
    return found


def dataset_inputs(inputs: tuple[DataInput, ...]) -> list[Any]:
    """The same as MLflow's entities."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for one in inputs:
        kind, source = "local", json.dumps({"uri": one.source}, ensure_ascii=False)
        if one.source is None:
            kind = "code"
            source = json.dumps({"tags": {"mlflow.source.name": "rlgan", "mlflow.source.type": "LOCAL"}})
        columns = [{"type": "string", "name": name, "required": True} for name in one.columns]
        dataset = Dataset(
            name=one.name,
            digest=one.fingerprint[:_DIGEST_LENGTH],
            source_type=kind,
            source=source,
            schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
            profile=json.dumps({**one.profile, "fingerprint": one.fingerprint}, ensure_ascii=False),
        )
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", one.context)]))
    return found


def _program() -> str:
    """What was started: "rlgan", or the script that uses it."""
    path = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path("python")
    if path.name == "rlgan" or path.resolve() == _PACKAGE / "__main__.py":
        return "rlgan"
    return str(path.resolve()) if path.exists() else path.name


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in a container
        return None
