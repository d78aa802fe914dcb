"""`rlgan export ...`: a run's language model, or its discriminator, as a folder that transformers loads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .options import add_trust
from .runs import LATEST_HELP, named


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Write the generator of a run as a folder that transformers can load, with its tokenizer, generation "
        "config and a model card; or its discriminator, as a classifier with one label. If the run trained an adapter, "
        "only the adapter is written, unless --merge is given."
    )
    of_run = parser.add_argument_group("run")
    of_run.add_argument(
        "--run", required=True, metavar="DIR", help="folder of the run, or its URI in a storage" + LATEST_HELP
    )
    add_trust(of_run)
    settings = parser.add_argument_group("settings")
    settings.add_argument(
        "--to", required=True, type=Path, metavar="DIR", help="folder to write; it must be new or empty"
    )
    settings.add_argument(
        "--discriminator",
        action="store_true",
        help="export the discriminator, for AutoModelForSequenceClassification, as a reward of other libraries",
    )
    settings.add_argument("--merge", action="store_true", help="merge the adapter of the run into the model's weights")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Export; see `VerbModule`."""
    from rlgan.runs.exporting import (
        FOR_THE_CARD,
        NEEDED,
        NEEDED_OF_DISCRIMINATOR,
        export,
        export_discriminator,
    )
    from rlgan.storage.places import as_folder

    asked = named(options.run, "--run")
    needed, write = (NEEDED_OF_DISCRIMINATOR, export_discriminator) if options.discriminator else (NEEDED, export)
    with as_folder(asked, needed, FOR_THE_CARD) as folder:
        saved = write(folder, options.to, merges=options.merge, trust_code=options.trust_code)
    whole = "a classifier with one label" if options.discriminator else "a whole model"
    what = f"an adapter of {saved.base}" if saved.is_adapter else whole
    others = "" if options.discriminator else ", generation config"
    print(f"{asked}: {what}, tokenizer{others} and README.md", file=sys.stderr)
    print(options.to)
    return 0
