"""All tests of a selection: those without Ray spread over the cores, and beside them those of Ray, one after another.

    python -m tests -m "not slow and not learning and not gpu" -n auto --dist loadscope

Tests of Ray share one cluster, so one process has them. They start many processes, each of which imports torch, and so
take as much of the CPU as the others. What their process prints is shown when the others have ended. A failure of
either is the status of both.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from typing import BinaryIO

_PYTEST = [sys.executable, "-m", "pytest", "-q"]


def shown(printed: BinaryIO) -> None:
    """Print what has come since the last call."""
    sys.stdout.write(printed.read().decode("utf-8", "replace"))
    sys.stdout.flush()


def main() -> int:
    """Run both; the first status that is not 0."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches both: each says where it was, and ends
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-m", dest="selection", required=True, help="the selection of markers, as pytest's")
    selection, spread = parser.parse_known_args()
    marks = selection.selection
    with (
        tempfile.NamedTemporaryFile() as kept,
        open(kept.name, "rb") as printed,
        subprocess.Popen([*_PYTEST, "-m", f"{marks} and ray"], stdout=kept, stderr=subprocess.STDOUT) as of_ray,
    ):
        others = subprocess.call([*_PYTEST, *spread, "-m", f"{marks} and not ray"])
        print("\nTests of Ray:", flush=True)
        while of_ray.poll() is None:
            shown(printed)
            time.sleep(0.5)
        shown(printed)
    return others or of_ray.returncode


if __name__ == "__main__":
    sys.exit(main())
