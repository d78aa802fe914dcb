"""The command line says how threads wait for each other before torch is imported, and hears whoever has said it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rlgan.base.threads_wait import for_workers

SCRIPT = """
import os, sys
{before}
from rlgan.__main__ import run
assert "GOMP_SPINCOUNT" not in os.environ or os.environ["GOMP_SPINCOUNT"] == "7"
try:
    run(["--version"])
except SystemExit:
    pass
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("said", "before", "expected"),
    [
        ({}, "", "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "active"}, "", "None"),
        ({}, "import torch", "None"),  # it would be without effect
    ],
    ids=["nothing", "spins", "policy", "too late"],
)
def test_threads_do_not_spin_unless_they_are_asked_to(said: dict[str, str], before: str, expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        env=inherited | said, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split()[-1] == expected


def test_workers_wait_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert for_workers() == {"GOMP_SPINCOUNT": "1000"}
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert for_workers() == {}
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    assert for_workers() == {"GOMP_SPINCOUNT": "1000"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert for_workers() == {}
