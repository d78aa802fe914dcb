"""The command line in process, on runs of seconds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rlgan.__main__ import run
from rlgan.config.config import Config
from rlgan.config.paths import to_dict


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        status: exit status.
        out: standard output.
        err: standard error.
    """

    status: int
    out: str
    err: str


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run a command in this process."""
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    return Answer(status, *capsys.readouterr())


def write_config(path: Path, config: Config, tracked: bool = False) -> Path:
    """A file for `--config` that makes any preset into `config`; untracked unless asked."""
    values = to_dict(config)
    values["tracking"]["enabled"] = tracked
    path.write_text(json.dumps(values))
    return path


def copy_of(run_dir: Path, target: Path) -> Path:
    """A copy of a run's folder, to be ruined."""
    return Path(shutil.copytree(run_dir, target))


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what is different each time: clock and times."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["time"]
        row["metrics"] = {name: value for name, value in row["metrics"].items() if "timing/" not in name}
    return rows
