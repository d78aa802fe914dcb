"""Several nodes, some of which join or leave during a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
@pytest.mark.integration
@pytest.mark.slow
def test_nodes_that_join_are_used_and_nodes_that_leave_are_survived() -> None:
    # A process of its own, for one process has one cluster; and notes of its own, or others would join that cluster.
    notes = tempfile.mkdtemp(prefix="rlgan.", dir="/tmp")  # sockets have little room in their path
    described = subprocess.run(
        [sys.executable, "-m", "tests.cluster.nodes"],
        cwd=PROJECT,
        env=os.environ | {"RAY_TMPDIR": notes},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    shutil.rmtree(notes, ignore_errors=True)
    assert described.returncode == 0 and described.stdout.rstrip().endswith("done"), described.stdout + described.stderr
