"""The errors a caller can get wrong, at the bottom of the house so that every room may raise them.

Each message tells four things: which field, argument, file or line; what it was; what is allowed; what to do.
The command line prints these as one paragraph and exits with status 2; anything else is a bug or a failed run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlganError(Exception):
    """Base of the errors that are the caller's to mend."""


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
