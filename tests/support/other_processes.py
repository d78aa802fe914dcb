"""The same lines in processes whose sets and dictionaries are laid out otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def printed_with_two_hash_seeds(script: str) -> tuple[str, str]:
    """What a script prints in two processes with other hash seeds."""
    one, other = (
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    return one, other
