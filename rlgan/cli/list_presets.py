"""`rlgan presets`."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes, which is nothing."""


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """List the presets; see `VerbModule`."""
    from rlgan.presets.registry import PRESETS

    width = max(map(len, PRESETS))
    for name, function in PRESETS.items():
        first_line = (function.__doc__ or "").strip().splitlines()[0]
        print(f"{name:<{width}}  {first_line}")
    return 0
