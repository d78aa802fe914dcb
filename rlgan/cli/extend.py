"""`rlgan extend --run RUN --updates N`: more adversarial updates for a run that is complete."""

from __future__ import annotations

import argparse
import dataclasses

from .advice import typeable
from .options import SHORT, Choices, add_accept_changed, add_file_options, add_trust, positive_int
from .runs import LATEST_HELP, named
from .verbs import STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Adds adversarial iterations to a complete run; the result equals a run with the larger number from the start. "
        "Then measures the final table and trains the controls again; earlier tables are kept. Not possible if the "
        "number of iterations changes a run from its start: with schedule.selection, which has replaced the last "
        "generator, and with a temperature that depends on all iterations."
    )
    add_file_options(parser)
    of_run = parser.add_argument_group("run")
    of_run.add_argument(
        "--run",
        metavar="DIR",
        required=True,
        help="the complete run in this folder, or at this URI in a storage" + LATEST_HELP,
    )
    of_run.add_argument(
        "--updates", type=positive_int, metavar="N", required=True, help="number of additional adversarial iterations"
    )
    of_run.add_argument(
        "--out", metavar="DIR", help="local folder for a run that is given by its URI (default runs/NAME)"
    )
    of_run.add_argument("--storage", metavar="URI", help="storage for a run that is given by its folder")
    add_trust(of_run)
    add_accept_changed(of_run)


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Extend a run; see `VerbModule`."""
    from rlgan.config.paths import to_dict

    from .train import Resumption, resumed

    asked = Resumption.of(options, named(options.run, "--run"))
    request = dataclasses.replace(resumed(asked, Choices.of(options), overrides), more_updates=options.updates)
    from rlgan.runs.run import run as run_it

    with typeable(lambda: to_dict(request.config), SHORT):
        return STOPPED if run_it(request).stopped else 0
