"""`rlgan compare RUN RUN ...`: runs of an MLflow server side by side, or one sweep with all that its report shows."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rlgan.base.errors import ConfigError

from .runs import LATEST_HELP, named

if TYPE_CHECKING:
    from rlgan.tracking import LoggedRun


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Prints runs of an MLflow server side by side with their baselines, and writes a self-contained page with "
        "tables and pictures. For a sweep, prints and writes its whole report."
    )
    of_run = parser.add_argument_group("run")
    of_run.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder of a run or sweep, MLflow's id, or EXPERIMENT/NAME of a run" + LATEST_HELP,
    )
    of_run.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow server (default MLFLOW_TRACKING_URI, or runs/mlruns.db)"
    )
    of_run.add_argument(
        "--out", metavar="FILE.html", default="comparison.html", help="HTML file to write (default comparison.html)"
    )


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Compare; see `rlgan.cli.verbs.VerbModule`."""
    from rlgan.report.narrow import columns_of
    from rlgan.runs.side_by_side import side_by_side, table_text, write_side_by_side
    from rlgan.tracking import read_run
    from rlgan.tuning.report.logged import is_sweep

    out = Path(options.out)
    if out.suffix != ".html":
        raise ConfigError(
            f"--out {out}: the page is HTML. Use a file name that ends in .html",
            code="compare_out_suffix",
            fields={"out": out},
        )
    if not out.resolve().parent.is_dir():
        raise ConfigError(
            f"--out {out}: the folder {out.resolve().parent} does not exist. Create it, or use another file.",
            code="compare_out_folder",
            fields={"out": out},
        )
    names = [named(one, "RUN") for one in options.runs]
    runs = [read_run(options.tracking_uri, name) for name in names]
    _require_different(names, runs)
    sweeps = [one for one in runs if is_sweep(one)]
    if sweeps and len(runs) > 1:
        raise ConfigError(
            f"{sweeps[0].name}: is a sweep, which cannot be compared with runs. Remove the others, or the sweep.",
            code="compare_sweep_alone",
        )
    if sweeps:
        _sweep(sweeps[0], out)
    else:
        shown = side_by_side(runs)
        print(table_text(shown, columns_of(sys.stdout)))
        write_side_by_side(shown, out)
    print(f"\npage: {out}")
    return 0


def _require_different(given: list[str], runs: list[LoggedRun]) -> None:
    seen: dict[str, str] = {}
    for name, one in zip(given, runs, strict=True):
        if one.run_id in seen:
            raise ConfigError(
                f"{name}: is the same run as {seen[one.run_id]}. Name it once.",
                code="compare_same_run",
                fields={"name": name},
            )
        seen[one.run_id] = name


def _sweep(logged: LoggedRun, out: Path) -> None:
    from rlgan.report.narrow import columns_of
    from rlgan.tuning.report.logged import read_sweep
    from rlgan.tuning.report.page import analyse, summary_text, write_page

    results = read_sweep(logged)
    analysis = analyse(results)
    print(summary_text(results, analysis, columns_of(sys.stdout)))
    with TemporaryDirectory(prefix="rlgan-") as temporary:
        shutil.copyfile(write_page(results, Path(temporary), analysis), out)
