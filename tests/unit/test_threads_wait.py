"""How threads wait for each other is said before torch is imported, and whoever has said it is heard."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = "import rlgan, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("said", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["nothing", "spins", "policy"],
)
def test_threads_do_not_spin_unless_they_are_asked_to(said: dict[str, str], expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import rlgan, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)",
        ],
        env=inherited | said,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [expected, "False"]
