"""What several benchmarks need: a stopwatch, median with spread, on what it was measured."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ray
import torch

PROJECT = Path(__file__).resolve().parent.parent
"""Where `python -m benchmarks.NAME` is run."""


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least-greatest)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratios(with_cost: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Formed within a repeat, so that a slow moment of the machine meets both sides."""
    return [a / b for a, b in zip(with_cost, bare, strict=True)]


def add_changes(parser: argparse.ArgumentParser) -> None:
    """The option --set: settings of every configuration that a benchmark builds, by their paths."""
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("PATH", "VALUE"),
        help="a setting of every run, as `rlgan show-config` names it; may be repeated",
    )


def machine() -> str:
    """Processor, cores and versions, in a line."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"Ray {ray.__version__}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
