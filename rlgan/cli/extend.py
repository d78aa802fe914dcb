"""`rlgan extend --run RUN --updates N`: more adversarial updates for a run that is complete."""

from __future__ import annotations

import argparse
import dataclasses

from .advice import typeable
from .options import SHORT, add_accept_changed, add_file_options, add_trust, positive_int
from .runs import LATEST_HELP, named
from .verbs import STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Makes more adversarial updates, with the numbers of a run that was asked for all of them at once; then "
        "measures the final table and trains the controls again. The tables so far stay beside it. Refused where a "
        "longer run is another one from its beginning: with schedule.selection, which has replaced the last generator, "
        "and with a temperature that is spread over all updates."
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
        "--updates", type=positive_int, metavar="N", required=True, help="adversarial updates, how many more"
    )
    of_run.add_argument(
        "--out", metavar="DIR", help="local folder of a run that is named by its URI (default runs/NAME)"
    )
    of_run.add_argument("--storage", metavar="URI", help="second place of a run that is named by its folder")
    add_trust(of_run)
    add_accept_changed(of_run)


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Extend a run; see `VerbModule`."""
    from rlgan.config.paths import to_dict

    from .train import resumed

    asked = {**vars(options), "resume": named(options.run, "--run"), "preset": None, "tokens": None}
    asked |= {"seed": None, "config": None, "model": None}
    request = dataclasses.replace(resumed(argparse.Namespace(**asked), overrides), more_updates=options.updates)
    from rlgan.runs.run import run as run_it

    with typeable(lambda: to_dict(request.config), SHORT):
        return STOPPED if run_it(request).stopped else 0
