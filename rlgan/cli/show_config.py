"""`rlgan show-config [PRESET] ...`."""

from __future__ import annotations

import argparse
import json
import textwrap

from .options import Choices, Resolved, add_choices, resolved


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_choices(parser)
    shown = parser.add_argument_group("output")
    shown.add_argument(
        "--changed",
        action="store_true",
        help="only settings that differ from their defaults: those of the preset, and yours",
    )
    shown.add_argument("--json", action="store_true", help="print JSON that --config can read")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Print every setting; see `VerbModule`."""
    from rlgan.config.paths import documentation, to_dict

    asked = resolved(Choices.of(options), overrides)
    config = asked.config
    if options.changed:
        return _show_changed(asked, options.json)
    if options.json:
        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
        return 0
    for path, value, text in documentation(config):
        print(f"{path} = {json.dumps(value, ensure_ascii=False)}")
        print(textwrap.fill(text, width=100, initial_indent="    ", subsequent_indent="    "))
    return 0


def _show_changed(asked: Resolved, in_json: bool) -> int:
    """Print what differs from the defaults, and who chose it."""
    from pydantic_core import to_jsonable_python

    from rlgan.config.paths import override

    from .typed import differences

    config, base = asked.config, asked.preset
    here = dict(differences(override(base, asked.sizes), config))
    # A default that takes the place of what the preset chose is the user's choice, too.
    shown = {path: to_jsonable_python(value) for path, value in {**dict(differences(None, config)), **here}.items()}
    if in_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return 0
    lines = {path: f"{path} = {json.dumps(value, ensure_ascii=False)}" for path, value in shown.items()}
    width = min(60, max(map(len, lines.values())))
    for path, line in lines.items():
        who = "you" if path in here else "data" if path in asked.sizes else f"preset {base.preset}"
        print(f"{line:<{width}}  # {who}")
    return 0
