"""`rlgan presets`."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes, which is nothing."""


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """List the presets; see `VerbModule`."""
    from rlgan.extensions import known, load
    from rlgan.presets.registry import PRESETS

    width = max(map(len, (*PRESETS, *known("preset"))))
    own = {name: load(name, "preset").object for name in known("preset")}
    for name, function in {**PRESETS, **own}.items():
        first_line = next(iter((function.__doc__ or "").strip().splitlines()), "")
        print(f"{name:<{width}}  {first_line}")
    return 0
