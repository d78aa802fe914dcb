"""`rlgan completion SHELL`: a script by which a shell completes verbs, options, presets and settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlgan.base.errors import ConfigError
from rlgan.base.extras import install_command

from .verbs import Verb

SHELLS = ("bash", "zsh", "tcsh")
_INSTALL = {
    "bash": "rlgan completion bash > ~/.local/share/bash-completion/completions/rlgan",
    "zsh": "rlgan completion zsh > DIR/_rlgan, where DIR is a folder in $fpath",
    "tcsh": "rlgan completion tcsh > ~/.rlgan.completion, and `source` it in ~/.tcshrc",
}
_FILES, _FOLDERS = ("FILE", "FILE.npz", "FILE.html", "FILE.pkl", "OUT.npz"), ("DIR", "WHERE", "RUN")


@dataclass
class Completion:
    """The verb, as `VerbModule` has it.

    Attributes:
        verbs: that are completed.
    """

    verbs: Sequence[Verb]

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add what the verb takes."""
        ways = "\n".join(f"  {shell:<6}{how}" for shell, how in _INSTALL.items())
        parser.description = f"Prints a completion script for the settings of this version. To install it:\n{ways}"
        parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))

    def run(self, options: argparse.Namespace, overrides: dict[str, str]) -> int:
        """Print the script; see `VerbModule`."""
        try:
            import shtab
        except ImportError:
            raise ConfigError(
                f"completion: needs shtab. Install the extra `completion` ({install_command('completion')}).",
                code="completion_needs_shtab",
            ) from None
        print(shtab.complete(self._parser(shtab.FILE, shtab.DIRECTORY), options.shell))
        return 0

    def _parser(self, file: Any, folder: Any) -> argparse.ArgumentParser:
        """The parser of all verbs with all options, what is a file or a folder marked so."""
        from .main import parser_of

        parser, parsers = parser_of(self.verbs)
        for verb in self.verbs:
            own = parsers[verb.name]
            verb.load().add_options(own)
            if verb.has_paths:
                _add_settings(own)
            for action in _actions(own):
                if action.metavar in _FILES:
                    action.complete = file  # type: ignore[attr-defined]
                elif action.metavar in _FOLDERS:
                    action.complete = folder  # type: ignore[attr-defined]
        return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Each setting of the preset of who names none as an option; an axis with its variants, and names of presets."""
    from rlgan.config.paths import settable_paths, to_dict, variants_at
    from rlgan.presets.registry import PRESETS, preset
    from rlgan.tuning.space.ready import READY

    from .options import DEFAULT

    for action in parser._actions:
        if action.dest in ("preset", "study"):
            action.choices = tuple(PRESETS if action.dest == "preset" else READY)
    for path in dict.fromkeys(settable_paths(to_dict(preset(DEFAULT)))):
        name = "--" + path.replace("_", "-")
        if name not in parser._option_string_actions:
            parser.add_argument(name, choices=tuple(variants_at(path)) or None)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Of a parser and those below it."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [one for below in action.choices.values() for one in _actions(below)]
    return found
