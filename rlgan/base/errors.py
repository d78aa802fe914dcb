"""The errors a caller can get wrong, at the bottom of the house so that every room may raise them.

Each message says four things: which setting, argument, or file and line; its value; what is allowed; what to do.
The command line prints the message and the code in one paragraph, and exits with status 2. Any other exception is a bug
or a failed run.

Programs and tests read `error.code` and `error.fields`; sentences may change in any version. docs/errors.md lists all
codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class RlganError(Exception):
    """Base of the errors that the caller can fix.

    Args:
        message: which setting, argument, or file and line; its value; what is allowed; what to do.
        code: stable name of the rule; "" only for errors of extensions that have no code.
        fields: what the message is about: name of a setting or argument, or `path` and `line` of a file → value.

    Attributes:
        code: as above.
        fields: as above.
    """

    def __init__(self, message: str = "", *, code: str = "", fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.fields = dict(fields or {})

    def reword(self, message: str) -> None:
        """Replace the message; code and fields stay the same."""
        self.args = (message, *self.args[1:])


class ConfigError(RlganError, ValueError):
    """A setting is unknown, of the wrong type, out of range, contradictory or without effect."""


class DataError(RlganError, ValueError):
    """A data or parameter file is missing, unreadable, or holds nothing that can be trained on."""


class ShapeError(RlganError, ValueError):
    """Tensors handed to a pure function do not fit together."""


class CheckpointError(RlganError, RuntimeError):
    """A run folder cannot be resumed or read: missing, truncated, corrupted or of another configuration."""


class StorageError(RlganError, RuntimeError):
    """A shared storage cannot be reached, read or written, or its URI is not one that may be used."""


class UploadError(StorageError):
    """A run is complete or stopped, and its folder did not get into its storage; the command line exits with 1."""


class PluginError(RlganError, RuntimeError):
    """Something of the user's own raised, hung, or returned what it must not; the command line exits with 1.

    The run's last checkpoint is kept, and the run can be resumed.
    """


class MemoryShortError(RlganError, MemoryError):
    """A part of a run is out of memory; the command line exits with 1.

    The run's last checkpoint is kept, and the run can be resumed with other settings.
    """


class TrackingError(RlganError, RuntimeError):
    """A tracking server or its model registry cannot be reached, or has not what is asked of it."""


class CallbackError(PluginError):
    """A user's callback raised or cannot be used."""


def nearest(name: str, known: Iterable[str], before: str = "") -> str:
    """Sentence part that names the nearest known spelling, or '' where nothing is near.

    Args:
        name: what was typed.
        known: the legal names.
        before: what stands before a legal name where it is typed, such as its folder.

    Returns:
        " Did you mean 'x'?" or an empty string.
    """
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {before + match[0]!r}?" if match else ""
