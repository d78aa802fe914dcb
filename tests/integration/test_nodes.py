"""Several nodes, some of which join or leave during a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
@pytest.mark.integration
def test_nodes_that_join_are_used_and_nodes_that_leave_are_survived() -> None:
    # A process of its own, for one process has one cluster.
    told = subprocess.run(
        [sys.executable, "-m", "tests.cluster.nodes"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0 and told.stdout.rstrip().endswith("done"), told.stdout + told.stderr
