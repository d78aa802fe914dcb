"""From the name of a plug-in to the object: the source is compared first, and then executed."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import math
import os
import sys
import types
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlgan.base.errors import ConfigError, PluginError, nearest

from .sources import (
    MODEL_FOLDERS,
    SHIPPED,
    PluginKind,
    Source,
    is_of_files,
    memory,
    near_module,
    source_of,
    source_of_module,
    target_of,
)
from .tracebacks import own_lines
from .watching import in_time

PLUGIN_TIMEOUT = "RLGAN_PLUGIN_TIMEOUT"
"""Environment variable: seconds that importing the file or module of a plug-in may take, and a preset to return its
configuration. Both happen before there are settings; whatever is called later has a setting of its own."""
_DEFAULT_S = 600.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plug-in, ready to use.

    Attributes:
        object: the function, class or instance.
        name: short: what stands behind the colon, or the registered name.
        digest: of its source.
        path: of the file with its source; "" where it has none.
    """

    object: Any
    name: str
    digest: str
    path: str


def load(name: str, kind: PluginKind, digest: str = "") -> Loaded:
    """Load a plug-in.

    Args:
        name: as in the head of this module.
        kind: what it stands for.
        digest: of the source that is wanted; "" takes the one that is there.

    Returns:
        The object with its short name and digest.

    Raises:
        ConfigError: it does not exist, has another digest, or its file cannot be imported.
    """
    source = source_of(name, kind, digest)
    if source.registered is not None:
        return Loaded(source.registered, name, source.digest, source.path)
    if is_of_files(source.digest):
        place, _, attribute = MODEL_FOLDERS[kind].rpartition(":")
        make = getattr(importlib.import_module(place), attribute)
        return Loaded(make(source.path), Path(source.path).name, source.digest, "")
    target = target_of(name, kind)
    place, _, attribute = target.rpartition(":")
    if name in SHIPPED.get(kind, {}):
        return Loaded(getattr(importlib.import_module(place), attribute), name, source.digest, "")
    module = _of_text(target, kind, source) if place.endswith(".py") else _imported(target, kind, source.digest)
    if not hasattr(module, attribute):
        names = [one for one in vars(module) if not one.startswith("_")]
        raise ConfigError(
            f"{kind} plug-in {name!r}: {place} has no {attribute!r}.{nearest(attribute, names)} Name an object "
            "that it defines.",
            code="plugin_no_attribute",
            fields={"plugin": name},
        )
    return Loaded(getattr(module, attribute), attribute if ":" in name else name, source.digest, source.path)


def import_timeout_s() -> float:
    """Seconds that an import, or a preset, may take: what `PLUGIN_TIMEOUT` says, else ten minutes.

    Raises:
        ConfigError: it is no positive number.
    """
    text = os.environ.get(PLUGIN_TIMEOUT)
    if text is None:
        return _DEFAULT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise ConfigError(
            f"{PLUGIN_TIMEOUT}={text!r}: must be a positive number of seconds. Set the variable to one, or unset it.",
            code="plugin_timeout_variable",
            fields={PLUGIN_TIMEOUT: text},
        )
    return seconds


def too_slow(what: str, timeout_s: float) -> str:
    """What to say of an import or a preset that takes longer than it may."""
    return (
        f"{what} after {timeout_s:g} seconds. Move slow work into the function that needs it, or increase "
        "--plugin-timeout (RLGAN_PLUGIN_TIMEOUT in Python)."
    )


def _imported(target: str, kind: PluginKind, digest: str) -> types.ModuleType:
    """A module of the source with a digest; that is compared before anything of it is executed."""
    place = target.rpartition(":")[0]
    found = source_of_module(target, kind)
    if found.digest != digest:
        raise ConfigError(
            f"{kind} plug-in {target!r}: the installed module {found.path or place} has changed since the run "
            f"began: its digest is {found.digest}, but the configuration has {digest}. Install the earlier "
            "version, or start a new run with digest ''.",
            code="plugin_module_changed",
            fields={"plugin": target},
        )
    limit_s = import_timeout_s()
    try:
        with in_time(limit_s, partial(_late, target, kind, limit_s), found.path):
            return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{kind} plug-in {target!r}: there is no module {error.name!r}.{near_module(place)} Install it in "
                "this environment, or write FILE.py:NAME for your own file.",
                code="plugin_module_missing",
                fields={"plugin": target},
            ) from None
        raise _import_error(target, kind, error, None) from error
    except PluginError:
        raise
    except Exception as error:  # a stranger's module may raise anything
        spec = importlib.util.find_spec(place)
        raise _import_error(target, kind, error, None if spec is None else spec.origin) from error


def _of_text(target: str, kind: PluginKind, source: Source) -> types.ModuleType:
    """The module that a file's text makes; executed once a process."""
    key = source.digest, source.path
    if key in memory.modules:
        return memory.modules[key]
    assert source.text is not None
    path = source.path or target.rpartition(":")[0]
    module = types.ModuleType(f"rlgan_plugin_{source.digest[:16]}")
    module.__file__ = path
    # On another machine there is no such file, and tracebacks and `inspect` are to show its lines all the same.
    linecache.cache[path] = (len(source.text), None, source.text.splitlines(keepends=True), path)
    limit_s = import_timeout_s()
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        with in_time(limit_s, partial(_late, target, kind, limit_s), path):
            exec(compile(source.text, path, "exec"), module.__dict__)
    except PluginError:
        del sys.modules[module.__name__]
        raise
    except Exception as error:  # a user's own code may raise anything
        del sys.modules[module.__name__]
        raise _import_error(target, kind, error, path) from error
    memory.modules[key] = module
    return module


def _late(target: str, kind: PluginKind, limit_s: float) -> str:
    return too_slow(f"{kind} plug-in {target!r}: its import has not finished", limit_s)


def _import_error(target: str, kind: PluginKind, error: Exception, path: str | None) -> ConfigError:
    advice = "Fix it, and try again."
    if isinstance(error, ModuleNotFoundError):
        advice = (
            "Install what it imports on all machines of the run. The file of a plug-in cannot import files beside it."
        )
    return ConfigError(
        f"{kind} plug-in {target!r}: importing it raised {type(error).__name__}: {error}. "
        f"{advice}{own_lines(error, path)}",
        code="plugin_import_raised",
        fields={"plugin": target},
    )
