"""Runs that an older version stopped are gone on with, to the numbers that it would have had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlgan.cli.main import main
from rlgan.tracking import row_of
from tests.support.commands import rows_of

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

RUNS = Path(__file__).resolve().parents[1] / "fixtures" / "runs_of_0_1_0"
STOPPED = sorted(place.parent for place in RUNS.glob("*/*/checkpoints"))
LATER = frozenset({"rollouts/logprob_gap_max", "reward/equal_share"})
"""Metrics that 0.1.0 did not log."""
TOLERANCE = 1e-4
"""On another CPU sums are rounded otherwise, and a run of these sizes has drifted so far by its end."""


def assert_alike(found: Any, recorded: Any) -> None:
    """The same keys and texts, and numbers that differ by rounding alone."""
    if isinstance(recorded, dict):
        assert found.keys() == recorded.keys()
        for key, value in recorded.items():
            assert_alike(found[key], value)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            assert_alike(one, other)
    elif isinstance(recorded, float):
        assert found == pytest.approx(recorded, rel=TOLERANCE, abs=TOLERANCE, nan_ok=True)
    else:
        assert found == recorded


def rows_as_of_0_1_0(run_dir: Path) -> list[dict[str, Any]]:
    """Rows of a run without the metrics that 0.1.0 did not log."""
    rows = rows_of(run_dir)
    return [
        {**row, "metrics": {name: one for name, one in row["metrics"].items() if name not in LATER}} for row in rows
    ]


def after(position: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the units after a position, and of the final table, which has none."""
    return [row for row in rows if row["iteration"] is None or row["iteration"] > position]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same runs by the version of now, from their beginning."""
    folders = {}
    for run in sorted({stopped.parent for stopped in STOPPED}):
        folders[run.name] = tmp_path_factory.mktemp(run.name) / "run"
        assert main(["train", "--config", str(run / "config.json"), "--out", str(folders[run.name])]) == 0
    return folders


@pytest.mark.parametrize("stopped", STOPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_run_of_0_1_0_ends_with_the_numbers_of_one_that_never_stopped(
    stopped: Path, tmp_path: Path, never_stopped: dict[str, Path]
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    for name in ("config.json", "data.json"):
        shutil.copy(stopped.parent / name, tmp_path)
    position = int(next((tmp_path / "checkpoints").iterdir()).name)
    assert main(["train", "--resume", str(tmp_path)]) == 0
    found = after(position, rows_as_of_0_1_0(tmp_path))
    recorded = [row_of(line) for line in (stopped.parent / "metrics.jsonl").read_text().splitlines()]
    rest = after(position, recorded)
    table, recorded_table = (json.loads((folder / "table.json").read_text()) for folder in (tmp_path, stopped.parent))
    assert len(rest) > 1
    assert_alike(found, rest)
    assert_alike(table, recorded_table)
    if rows_as_of_0_1_0(never_stopped[stopped.parent.name]) == recorded:
        # This machine rounds as the one that recorded them did, so nothing may differ at all.
        assert found == rest and table == recorded_table
