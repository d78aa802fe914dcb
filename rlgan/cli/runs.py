"""`rlgan runs list`: which runs there are."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rlgan.base.errors import ConfigError
from rlgan.runs.folders import LATEST, RUNS, as_json, latest_run, runs_in, table_of

LATEST_HELP = f"; {LATEST} is the most recently used run in {RUNS}/"
"""What the help of an option that names a run says at its end."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    shown = ways.add_parser(
        "list",
        help="the runs in a folder: name, preset, state, iterations, best metric, age",
        description="Lists the runs and sweeps in a folder from their files, most recently used first.",
        allow_abbrev=False,
    )
    shown.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="DIR", help=f"default {RUNS}")
    shown.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """List runs; see `VerbModule`."""
    if not options.folder.is_dir() and options.folder != RUNS:
        raise ConfigError(
            f"{options.folder}: is not a folder. Give the folder that contains the runs (default {RUNS}).",
            code="runs_no_folder",
            fields={"path": options.folder},
        )
    found = runs_in(options.folder)
    if options.json:
        print(json.dumps([as_json(one) for one in found], indent=2))
    elif found:
        print("\n".join(table_of(found, options.folder)))
    else:
        print(f"{options.folder}: no runs. Start one with `rlgan train`.")
    return 0


def named(run: str, option: str, folder: Path = RUNS) -> str:
    """The run that somebody names: `latest` is the one that was worked on last, and is named on standard error.

    Args:
        run: as typed: a folder, a URI, or `latest`; a folder of that name is ./latest.
        option: that names it, for messages.
        folder: that holds runs.

    Raises:
        CheckpointError: there is no run.
    """
    if run != LATEST:
        return run
    path = latest_run(folder, option)
    print(f"{option} {LATEST}: {path}", file=sys.stderr, flush=True)
    return str(path)
