"""What a verb of the command line is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

STOPPED = 130
"""Exit status after Ctrl-C and a checkpoint."""
UNJUDGED = 3
"""Exit status of a sweep that ended before anything could be judged."""


class VerbModule(Protocol):
    """A module that does the work of a verb."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add what the verb takes; every other option is a path into the configuration."""
        ...

    def run(self, options: argparse.Namespace, overrides: dict[str, str]) -> int:
        """Do it.

        Args:
            options: parsed.
            overrides: dotted path → text.

        Returns:
            The exit status.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb.

    Attributes:
        name: as it is typed.
        help: a line.
        example: a command line of it, without `rlgan`; a test parses it.
        load: imports its module, which may take seconds; called only if the verb is typed.
        has_paths: whether it takes settings by their paths.
        has_files: whether it takes those that name a file, and no others.
        has_plugins: whether code of the user's own may be imported for it.
    """

    name: str
    help: str
    example: str
    load: Callable[[], VerbModule]
    has_paths: bool = False
    has_files: bool = False
    has_plugins: bool = False
