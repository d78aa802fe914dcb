"""`rlgan show-config [PRESET] ...`."""

from __future__ import annotations

import argparse
import json
import textwrap

from .options import add_choices, resolve


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_choices(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, as --config reads it")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Print every setting; see `VerbModule`."""
    from rlgan.config.paths import documentation, to_dict

    config = resolve(options, overrides)
    if options.json:
        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
        return 0
    for path, value, text in documentation(config):
        print(f"{path} = {json.dumps(value, ensure_ascii=False)}")
        print(textwrap.fill(text, width=100, initial_indent="    ", subsequent_indent="    "))
    return 0
