"""One loader for what users bring: reward functions, metrics, tasks, networks, presets and callbacks of their own.

A plug-in is named in one of four ways:

    FILE.py:NAME            an object of a Python file
    package.module:NAME     an object of an installed module
    NAME                    what was registered from Python (`register`), or an entry point of the group
                            `rlgan.plugins` with the name KIND.NAME

A configuration keeps the name, the options and a digest of the source (`Plugin`), so that a run goes on with the code
that it began with, or says that it cannot. The source of a file travels with the run: by pickle to workers, and as a
copy in the run's folder (`keep_sources`). What a plug-in of each kind must look like is checked where that kind is
used, not here.

A folder that is read may be a stranger's, and so is every name, digest and source in it. With `reading_a_folder` its
configuration is read without executing anything, and `admit` is the one gate for the code that it names: what it
refuses is executed only where the user says `--trust-code`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import json
import linecache
import math
import pkgutil
import re
import sys
import sysconfig
import threading
import traceback
import types
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from rlgan.base.descriptions import UndescribableError, remembered, source_text
from rlgan.base.errors import CheckpointError, ConfigError, PluginError, nearest
from rlgan.base.files import cannot_write, write_atomically
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings
from rlgan.base.threads import torch_threads

PluginKind = Literal["reward", "metric", "task", "generator", "discriminator", "preset", "callback"]
"""What a plug-in may stand for."""

ENTRY_POINTS = "rlgan.plugins"
"""Group of the entry points by which an installed package offers plug-ins; an entry point is named KIND.NAME."""

FOLDER = "plugins"
"""Folder of a run that holds the sources of its plug-ins."""

Scalar: TypeAlias = bool | int | float | str | None
PlainValue: TypeAlias = Scalar | tuple[Scalar, ...]
"""An option: what JSON can write and a command line can set."""

_KINDS: tuple[PluginKind, ...] = get_args(PluginKind)
_BY_NAME = "qualified-name:"  # begins the digest of an object without source


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plug-in comes from, as it travels from process to process.

    Attributes:
        text: the source that the digest is of; None where an object has none.
        digest: sha256 of the text in hexadecimal, or the object's qualified name behind "qualified-name:".
        path: of the file that the text was read from; tracebacks show it.
        registered: the object itself, where it was registered from Python; None otherwise.
    """

    text: str | None
    digest: str
    path: str = ""
    registered: Any = None


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


_registered: dict[tuple[PluginKind, str], Source] = {}
# By digest, so that it does not matter who remembered a source, nor when. Of files and modules alone.
_sources: dict[str, Source] = {}
_modules: dict[tuple[str, str], types.ModuleType] = {}
# Kind, name and digest of what this process was told by its own user, not by a file that it read.
_own: set[tuple[PluginKind, str, str]] = set()
_is_reading: ContextVar[bool] = ContextVar("rlgan reads a folder", default=False)
_built: dict[tuple[str, str, str], Any] = {}


def register(kind: PluginKind, name: str, plugin: Any) -> None:
    """Give an object of this process a name that configurations can use.

    An object that is registered again under its name takes the place of the one before. A run that is resumed needs it
    registered again.

    Args:
        kind: what it stands for.
        name: without a colon.
        plugin: a function, class or instance; workers get it by pickle.

    Raises:
        ConfigError: an unknown kind, a name that cannot be one, or an object that holds what cannot be compared.
    """
    _require_kind(kind)
    if not name or ":" in name:
        raise ConfigError(
            f"register({kind!r}, {name!r}): a name must not be empty or contain a colon. Use another name.",
            code="register_name",
        )
    _registered[kind, name] = _source_of_object(plugin, f"register({kind!r}, {name!r})")


def known(kind: PluginKind) -> tuple[str, ...]:
    """Names of a kind that can be used without a file or module: registered ones, then entry points."""
    _require_kind(kind)
    registered = [name for one, name in _registered if one == kind]
    return tuple(dict.fromkeys([*registered, *_entry_points(kind)]))


def require_no_namesake(kind: PluginKind, shipped: str, where: str) -> None:
    """See to it that a name of what ships is not one of the user's own, too: one of both would be ignored.

    Args:
        kind: what it stands for.
        shipped: name of what ships; dashes and underscores are alike.
        where: the setting that it was given for, for the error.

    Raises:
        ConfigError: something is registered, or an entry point, under the name.
    """
    for name in known(kind):
        if name.replace("-", "_") == shipped.replace("-", "_"):
            raise ConfigError(
                (
                    f"{where}={shipped!r}: is the name of a built-in {kind}, and of your own one ({name!r}, registered "
                    "or an entry point). Register yours under another name."
                ),
                code="plugin_name_taken",
                fields={where: shipped, "where": where},
            )


def is_plugin_name(name: str) -> bool:
    """Whether a name says by itself that it is a plug-in's: FILE.py:NAME or package.module:NAME."""
    module, colon, attribute = name.rpartition(":")
    return bool(colon) and attribute.isidentifier() and (module.endswith(".py") or _is_dotted(module))


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
    target = _target(name, kind)
    place, _, attribute = target.rpartition(":")
    module = _of_text(target, kind, source) if place.endswith(".py") else _imported(target, kind, source.digest)
    if not hasattr(module, attribute):
        names = [one for one in vars(module) if not one.startswith("_")]
        raise ConfigError(
            (
                f"{kind} plug-in {name!r}: {place} has no {attribute!r}.{nearest(attribute, names)} Name an object "
                "that it defines."
            ),
            code="plugin_no_attribute",
            fields={"plugin": name},
        )
    return Loaded(getattr(module, attribute), attribute if ":" in name else name, source.digest, source.path)


def source_of(name: str, kind: PluginKind, digest: str = "") -> Source:
    """The source of a plug-in; nothing of it is executed.

    Args:
        name: as in the head of this module.
        kind: what it stands for.
        digest: of the source that is wanted; "" takes the one that is there.

    Raises:
        ConfigError: it does not exist, or its source is another one.
    """
    _require_kind(kind)
    # Of a module only what is installed here can be executed, whatever text has come along.
    if digest in _sources and name.rpartition(":")[0].endswith(".py") and (kind, name) not in _registered:
        return _sources[digest]
    found = _find(name, kind)
    if digest and found.digest != digest:
        raise ConfigError(
            (
                f"{kind} plug-in {name!r}: its source has changed since the run began: its digest is {found.digest}, "
                f"but the configuration has {digest}. Restore the source, or start a new run with digest ''."
            ),
            code="plugin_source_changed",
            fields={"plugin": name},
        )
    if found.registered is None:
        _sources.setdefault(found.digest, found)
    return found


def _find(name: str, kind: PluginKind) -> Source:
    """What is there now under a name."""
    if (kind, name) in _registered:
        return _registered[kind, name]
    target = _target(name, kind)
    place = target.rpartition(":")[0]
    if not place.endswith(".py"):
        return _source_of_module(target, kind)
    path = Path(place).expanduser()
    if not path.is_file():
        beside = [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(
            (
                f"{kind} plug-in {name!r}: there is no file {path.absolute()}.{nearest(path.name, beside)} Give an "
                "absolute path, or one relative to the current folder."
            ),
            code="plugin_no_file",
            fields={"plugin": name},
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{kind} plug-in {name!r}: {path} cannot be read ({error}). It must be a Python file in UTF-8.",
            code="plugin_unreadable",
            fields={"plugin": name},
        ) from None
    return Source(text, _sha256(text), str(path.absolute()))


def _source_of_module(target: str, kind: PluginKind) -> Source:
    """Source of an installed module, found without importing it or the packages above it."""
    place = target.rpartition(":")[0]
    origin = _origins(place)[-1]
    if origin is None:
        parents = [".".join(place.split(".")[:number]) for number in range(1, place.count(".") + 2)]
        missing = next(one for one, found in zip(parents, _origins(place), strict=False) if found is None)
        raise ConfigError(
            (
                f"{kind} plug-in {target!r}: there is no module {missing!r}.{_near_module(place)} Install it in this "
                "environment, or write FILE.py:NAME for your own file."
            ),
            code="plugin_no_module",
            fields={"plugin": target},
        )
    linecache.checkcache(origin)
    # As `inspect.getsource` has it: every line has an end, whichever the file has.
    text = "".join(linecache.getlines(origin)) if origin.endswith(".py") else ""
    if not text:  # compiled, built in, or empty
        return Source(None, _BY_NAME + place)
    return Source(text, _sha256(text), origin)


def _origins(place: str) -> list[str | None]:
    """Files of the packages on the way to a module, and of the module; ends with None where there is none.

    Nothing is imported, as `importlib.util.find_spec` does with the packages above a module. What is imported already
    counts as it was imported. A file that there is none of, as for a folder without `__init__.py`, is "".
    """
    found: list[str | None] = []
    folders: Any = None
    parts = place.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        if name in sys.modules:
            module = sys.modules[name]
            origin, folders = getattr(module, "__file__", None), getattr(module, "__path__", None)
        else:
            spec = _spec(name, folders) if number == 1 or folders is not None else None
            if spec is None:
                return [*found, None]
            origin, folders = spec.origin if spec.has_location else None, spec.submodule_search_locations
        found.append(origin or "")
    return found


def _spec(name: str, folders: Iterable[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Where a module lies: within the folders of the package above it, or None for one that stands alone."""
    if folders is None:
        found = (finder.find_spec(name, None) for finder in sys.meta_path)
        return next((spec for spec in found if spec is not None), None)
    # Not `PathFinder`, which reads the package above, that is not imported, where there is no `__init__.py`.
    portions: list[str] = []
    for folder in folders:
        finder: Any = pkgutil.get_importer(folder)
        spec: importlib.machinery.ModuleSpec | None = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        portions += [] if spec is None else spec.submodule_search_locations or []
    if not portions:
        return None
    package = importlib.machinery.ModuleSpec(name, None, is_package=True)
    package.submodule_search_locations = portions
    return package


def _source_of_object(plugin: Any, who: str) -> Source:
    """Its digest is of the source, and of what the object holds besides: closure, defaults, attributes."""
    described = plugin if inspect.isroutine(plugin) or inspect.isclass(plugin) else type(plugin)
    text = source_text(described)
    try:
        held = remembered(plugin)
    except (UndescribableError, RecursionError) as error:
        where = f"{error.where or 'it'} ({error.what})" if isinstance(error, UndescribableError) else "it"
        raise ConfigError(
            (
                f"{who}: {where} cannot be compared between processes or sent to workers. Create it at the first call, "
                "or exclude it with __getstate__."
            ),
            code="plugin_not_describable",
            fields={"plugin": who},
        ) from None
    if text is None:  # of C, or typed into an interpreter that keeps no source
        digest = f"{_BY_NAME}{described.__module__}.{described.__qualname__}"
        return Source(None, f"{digest} {_sha256(held)}" if held else digest, registered=plugin)
    digest = _sha256(f"{text}\0{held}" if held else text)
    return Source(text, digest, inspect.getsourcefile(described) or "", registered=plugin)


def _target(name: str, kind: PluginKind) -> str:
    """FILE.py:NAME or package.module:NAME of a name."""
    if is_plugin_name(name):
        return name
    entries = _entry_points(kind)
    if name in entries:
        return entries[name]
    forms = "FILE.py:NAME, package.module:NAME, or a registered name"
    if ":" in name or name.endswith(".py"):
        raise ConfigError(
            f"{kind} plug-in {name!r}: is not a valid name of a plug-in. Write {forms}.",
            code="plugin_bad_name",
            fields={"plugin": name},
        )
    there = known(kind)
    raise ConfigError(
        f"{kind} plug-in {name!r}: nothing is registered under this name; registered are {', '.join(there) or 'none'}."
        f"{nearest(name, there)} Write {forms}.",
        code="plugin_not_registered",
        fields={"plugin": name},
    )


def _entry_points(kind: PluginKind) -> dict[str, str]:
    """What installed packages offer of a kind: name → package.module:NAME."""
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    named = {entry.name: entry.value for entry in found}
    return {name.removeprefix(f"{kind}."): value for name, value in named.items() if name.startswith(f"{kind}.")}


def _imported(target: str, kind: PluginKind, digest: str) -> types.ModuleType:
    """A module of the source with a digest; that is compared before anything of it is executed."""
    place = target.rpartition(":")[0]
    found = _source_of_module(target, kind)
    if found.digest != digest:
        raise ConfigError(
            (
                f"{kind} plug-in {target!r}: the installed module {found.path or place} has changed since the run "
                f"began: its digest is {found.digest}, but the configuration has {digest}. Install the earlier "
                "version, or start a new run with digest ''."
            ),
            code="plugin_module_changed",
            fields={"plugin": target},
        )
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(
                (
                    f"{kind} plug-in {target!r}: there is no module {error.name!r}.{_near_module(place)} Install it in "
                    "this environment, or write FILE.py:NAME for your own file."
                ),
                code="plugin_module_missing",
                fields={"plugin": target},
            ) from None
        raise _import_error(target, kind, error, None) from error
    except Exception as error:  # a stranger's module may raise anything
        spec = importlib.util.find_spec(place)
        raise _import_error(target, kind, error, None if spec is None else spec.origin) from error


def _near_module(place: str) -> str:
    parent, _, last = place.rpartition(".")
    if parent:
        return ""
    match = difflib.get_close_matches(last, sys.modules, n=1, cutoff=0.8)
    return f" Did you mean {match[0]!r}?" if match else ""


def _of_text(target: str, kind: PluginKind, source: Source) -> types.ModuleType:
    """The module that a file's text makes; executed once a process."""
    key = source.digest, source.path
    if key in _modules:
        return _modules[key]
    assert source.text is not None
    path = source.path or target.rpartition(":")[0]
    module = types.ModuleType(f"rlgan_plugin_{source.digest[:16]}")
    module.__file__ = path
    # On another machine there is no such file, and tracebacks and `inspect` are to show its lines all the same.
    linecache.cache[path] = (len(source.text), None, source.text.splitlines(keepends=True), path)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        exec(compile(source.text, path, "exec"), module.__dict__)
    except Exception as error:  # a user's own code may raise anything
        del sys.modules[module.__name__]
        raise _import_error(target, kind, error, path) from error
    _modules[key] = module
    return module


def _import_error(target: str, kind: PluginKind, error: Exception, path: str | None) -> ConfigError:
    advice = "Fix it, and try again."
    if isinstance(error, ModuleNotFoundError):
        advice = (
            "Install what it imports on all machines of the run. The file of a plug-in cannot import files beside it."
        )
    return ConfigError(
        (
            f"{kind} plug-in {target!r}: importing it raised {type(error).__name__}: {error}. "
            f"{advice}{own_lines(error, path)}"
        ),
        code="plugin_import_raised",
        fields={"plugin": target},
    )


def own_lines(error: BaseException, path: str | None) -> str:
    """The lines of a user's file in a traceback, on lines of their own; all of them where none is of that file.

    Args:
        error: that was raised.
        path: of the user's file.
    """
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"\n  {path}, line {error.lineno}\n    {(error.text or '').strip()}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == path] or frames[-1:]
    return "".join(f"\n  {one.filename}, line {one.lineno}, in {one.name}\n    {one.line}" for one in own)


def _is_dotted(place: str) -> bool:
    return bool(place) and all(part.isidentifier() for part in place.split("."))


def _require_kind(kind: str) -> None:
    if kind not in _KINDS:
        raise ConfigError(
            f"plug-ins of kind {kind!r}: choose one of {', '.join(_KINDS)}.{nearest(kind, _KINDS)}", code="plugin_kind"
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class NoDigestError(ConfigError):
    """A file that is read names code, and does not say which."""


class TakesPlugin(Settings):
    """A variant that the name of a plug-in chooses: `--reward mine.py:brevity`."""

    plugin_kind: ClassVar[PluginKind]
    """Kind of the plug-in."""

    @classmethod
    @abstractmethod
    def of_plugin(cls, name: str) -> dict[str, Any]:
        """The settings that a plug-in's name stands for, as JSON values."""


class Plugin(TakesPlugin):
    """Your own code in place of a built-in variant: the base class of one variant of each axis.

    The digest is filled in when the configuration is built. A plug-in with a digest was built before: it is loaded only
    when it is used, so that reading the configuration of a run executes none of its code.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("one's own")
    kind: Literal["plugin"] = "plugin"
    name: str = Field(min_length=1)
    """`FILE.py:NAME`, `package.module:NAME`, or a registered name."""
    options: Mapping[str, PlainValue] = Field(default_factory=dict)
    """Keyword arguments of the plug-in."""
    digest: str = ""
    """SHA-256 digest of the source; filled in by rlgan. A run cannot continue with another source."""

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _with_digest(self) -> Self:
        if not self.digest:
            if _is_reading.get():
                raise NoDigestError(
                    (
                        f"{self.plugin_kind} plug-in {self.name!r}: has no digest, so it is unknown which code is "
                        "meant, and rlgan does not execute it. Every run has a digest. Restore the file."
                    ),
                    code="plugin_no_digest",
                    fields={"plugin": self.name},
                )
            loaded = self.load()
            self.check_object(loaded)
            object.__setattr__(self, "digest", loaded.digest)
            _own.add((self.plugin_kind, self.name, self.digest))
        return self

    @classmethod
    def of_plugin(cls, name: str) -> dict[str, Any]:
        """See `TakesPlugin.of_plugin`."""
        return {"name": name}

    def load(self) -> Loaded:
        """The object that the name stands for, of the source that the digest is of.

        Raises:
            ConfigError: see `load`.
        """
        return load(self.name, self.plugin_kind, self.digest)

    def check_object(self, loaded: Loaded) -> None:
        """Check what can be checked without data: signatures, bases. A kind of plug-in has its own.

        Raises:
            ConfigError: the object is not what the kind asks for.
        """

    @property
    def short_name(self) -> str:
        """What stands behind the colon, or the registered name: how metrics call it."""
        return self.name.rpartition(":")[2]

    def __getstate__(self) -> dict[Any, Any]:
        # Whoever gets this in another process, perhaps on another machine, gets the source too.
        return {**super().__getstate__(), "source": source_of(self.name, self.plugin_kind, self.digest)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        source: Source = state.pop("source")
        super().__setstate__(state)
        if source.registered is None:
            _sources.setdefault(source.digest, source)
        else:
            _registered[self.plugin_kind, self.name] = source


class RaisedError(Exception):
    """Code of the user's own raised.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def call_in_time(call: Callable[[], Any], timeout_s: float, late: Callable[[], str]) -> Any:
    """Call code of the user's own, which may never return: it is then left behind, and keeps no process alive.

    Args:
        call: the code, with its arguments; it runs in a thread of its own, without gradients, and with as many threads
            of torch as the caller has.
        timeout_s: seconds that it may take.
        late: what to say when they are over.

    Returns:
        What the code returned.

    Raises:
        RaisedError: the code raised.
        PluginError: it did not return in time.
    """
    num_threads = torch.get_num_threads()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            # A new thread has torch's defaults, and the number of threads decides how sums are rounded.
            with torch_threads(num_threads), torch.no_grad():
                outcome["returned"] = call()
        except BaseException as error:  # `sys.exit()` of a plug-in is an error of it, too
            outcome["raised"] = error

    thread = threading.Thread(target=run, name="rlgan plug-in", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if "raised" in outcome:
        raise RaisedError(outcome["raised"])
    if "returned" not in outcome:
        raise PluginError(late(), code="plugin_too_slow")
    return outcome["returned"]


def brief(value: Any, most: int = 200) -> str:
    """A value that a plug-in returned, as errors show it: with its type, and cut to `most` characters."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{text if len(text) <= most else f'{text[:most]}...'} ({type(value).__name__})"


def as_number(value: Any) -> float | None:
    """A finite number of any library as a float; None for whatever is none."""
    plain = value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value
    is_number = isinstance(plain, int | float | np.integer | np.floating)
    return float(plain) if is_number and math.isfinite(plain) else None


def signature_of(plugin: Plugin, target: Any, forms: str) -> inspect.Signature:
    """Signature of what is called: of a class that of its instances, without `self`.

    Args:
        plugin: whose object it is; its options are those of the class, where it is one.
        target: the object.
        forms: what is asked for, as a sentence part.

    Raises:
        ConfigError: it cannot be called, or its class does not take the options.
    """
    who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
    if not callable(target):
        raise ConfigError(
            (
                f"{who}: is {type(target).__name__}, which is not callable. Name a function, or a class with __call__: "
                f"{forms}."
            ),
            code="plugin_not_callable",
            fields={"plugin": who},
        )
    if isinstance(target, torch.nn.Module):
        return inspect.signature(target.forward)

    def read(one: Any) -> inspect.Signature:
        try:
            return inspect.signature(one)
        except (TypeError, ValueError):  # of C
            raise ConfigError(
                f"{who}: its parameters cannot be read. Wrap it in a Python function: {forms}.",
                code="plugin_no_signature",
                fields={"plugin": who},
            ) from None

    if not inspect.isclass(target):
        return read(target)
    check_options(plugin, read(target), ())
    if not any("__call__" in vars(one) for one in target.__mro__):
        raise ConfigError(
            f"{who}: its instances are not callable. Add a method __call__: {forms}.",
            code="plugin_no_call",
            fields={"plugin": who},
        )
    call: Any = target.forward if issubclass(target, torch.nn.Module) else target.__call__
    signature = read(call)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def bound(plugin: Plugin, loaded: Loaded) -> Callable[..., Any]:
    """The function of a plug-in with its options: a class is built with them, once a process; a function called so.

    Raises:
        PluginError: building the class raises.
    """
    if not inspect.isclass(loaded.object):
        return partial(loaded.object, **plugin.options)
    key = loaded.digest, plugin.name, json.dumps(dict(plugin.options), sort_keys=True)
    if key in _built:
        return partial(_built[key])
    try:
        built: Any = loaded.object(**plugin.options)
    except Exception as error:  # a user's own code may raise anything
        raise PluginError(
            (
                f"{plugin.plugin_kind} plug-in {plugin.name!r}: building it raised {type(error).__name__}: {error}. "
                f"Fix it, or set its options.{own_lines(error, loaded.path)}"
            ),
            code="plugin_build_raised",
            fields={"plugin": plugin.name},
        ) from error
    _built[key] = built
    return partial(built)


def note(plugin: Plugin, name: str, value: object) -> None:
    """Fill in a field that the object itself decides, such as what a network reads.

    Args:
        plugin: whose field it is, while its digest is filled in.
        name: of the field.
        value: what the object says.

    Raises:
        ConfigError: it was set to something else, which is not its default.
    """
    asked, default = getattr(plugin, name), type(plugin).model_fields[name].default
    if asked not in (value, default):
        raise ConfigError(
            f"{plugin.plugin_kind}.{name}={asked!r}: but {plugin.name!r} itself declares {value!r}. Remove it.",
            code="plugin_fact_contradicted",
            fields={name: asked},
        )
    object.__setattr__(plugin, name, value)


def check_options(plugin: Plugin, signature: inspect.Signature, given: Iterable[str]) -> None:
    """Check a plug-in's options against what takes them.

    Args:
        plugin: whose options they are.
        signature: of its function, or of its class.
        given: names of the parameters that are handed over besides.

    Raises:
        ConfigError: an option that there is no parameter for, or a parameter that nothing is handed to.
    """
    parameters = signature.parameters
    taken = {name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    given = set(given)
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
    for name in plugin.options:
        if name in given:
            raise ConfigError(
                f"{who}: options.{name}: is provided by rlgan. Rename the option.",
                code="plugin_option_reserved",
                fields={"plugin": who},
            )
        if name not in taken and not takes_all:
            free = sorted(taken - given)
            raise ConfigError(
                (
                    f"{who}: options.{name}: there is no such parameter; parameters are "
                    f"{', '.join(free) or 'none'}.{nearest(name, free)}"
                ),
                code="plugin_option_unknown",
                fields={"plugin": who},
            )
    for name, one in parameters.items():
        is_needed = one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if is_needed and name not in given and name not in plugin.options:
            raise ConfigError(
                f"{who}: the parameter {name!r} has no default. Set options.{name}.",
                code="plugin_option_missing",
                fields={"plugin": who},
            )


def plugins_in(settings: Settings) -> list[Plugin]:
    """Every plug-in of a configuration, at any depth, in the order of its fields."""
    found: list[Plugin] = [settings] if isinstance(settings, Plugin) else []
    for value in (getattr(settings, name) for name in type(settings).model_fields):
        parts = value if isinstance(value, tuple) else (value,)
        found += [plugin for part in parts if isinstance(part, Settings) for plugin in plugins_in(part)]
    return found


def keep_sources(run_dir: Path, plugins: Iterable[Plugin]) -> list[Path]:
    """Keep the sources of plug-ins in a run's folder, a file each, so that they are found there.

    Args:
        run_dir: folder of the run.
        plugins: of its configuration.

    Returns:
        The files.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    kept: list[Path] = []
    for plugin in plugins:
        source = source_of(plugin.name, plugin.plugin_kind, plugin.digest)
        if source.text is None:
            continue
        path = run_dir / FOLDER / f"{source.digest[:16]}.py"
        if path in kept:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        # Byte for byte, or its digest would be another one.
        content = source.text.encode()
        write_atomically(path, lambda beside, content=content: beside.write_bytes(content))  # type: ignore[misc]
        kept.append(path)
    return kept


def kept_text(plugin: Settings) -> str | None:
    """Source of a plug-in that a description beside weights holds; None where a file of the user's has none."""
    if not isinstance(plugin, Plugin) or not plugin.name.rpartition(":")[0].endswith(".py"):
        return None
    return source_of(plugin.name, plugin.plugin_kind, plugin.digest).text


@contextmanager
def reading_a_folder() -> Iterator[None]:
    """Within it, settings are read out of a file that may be a stranger's: a plug-in without a digest is refused.

    Anywhere else such a plug-in is loaded to fill its digest in, which executes it.

    Raises:
        CheckpointError: a plug-in in it has no digest.
    """
    token = _is_reading.set(True)
    try:
        yield
    except ValidationError as error:
        causes = [problem.get("ctx", {}).get("error") for problem in error.errors(include_url=False)]
        if (found := next((cause for cause in causes if isinstance(cause, NoDigestError)), None)) is not None:
            raise CheckpointError(str(found), code=found.code, fields=found.fields) from None
        raise
    finally:
        _is_reading.reset(token)


def admit(
    plugins: Iterable[Plugin],
    folder: Path,
    asked: str,
    *,
    trust_code: bool,
    texts: Mapping[str, str] | None = None,
) -> None:
    """The gate for code that a folder names, which may be a stranger's; nothing of it is executed here.

    Unasked only what is the user's own is let through: a file that lies where the configuration says, with the same
    content, neither in the folder itself nor among installed packages; an entry point of the group `rlgan.plugins`;
    what was registered in this process; and what this process was told to use by something else than a folder. The
    same content alone does not make code one's own: whoever names `subprocess.py` knows what is in it.

    Args:
        plugins: that are going to be used, of the configuration in the folder.
        folder: that was read: of a run, a model or a checkpoint.
        asked: how the user named it, for messages.
        trust_code: the user has read the code, and lets it be executed: what the folder keeps, and where it says.
        texts: sources that the folder keeps elsewhere than in its `plugins`: the file that holds one → the source.

    Raises:
        CheckpointError: code that is not at hand, or may not be executed unasked.
    """
    plugins = list(plugins)
    kept = {path: path.read_bytes().decode("utf-8", "replace") for path in sorted((folder / FOLDER).glob("*.py"))}
    kept |= {Path(path): text for path, text in (texts or {}).items()}
    for path, text in kept.items() if trust_code else ():
        digest = _sha256(text)
        _sources.setdefault(digest, Source(text, digest, str(path.absolute())))
    for plugin in plugins:
        who = f"{asked}: the {plugin.plugin_kind} plug-in {plugin.name!r} is foreign code that"
        is_told = (plugin.plugin_kind, plugin.name, plugin.digest) in _own
        if not trust_code and not is_told and (reason := _not_ones_own(plugin, folder)) is not None:
            raise CheckpointError(
                (
                    f"{who} {reason}. Inspect it, then allow its execution with --trust-code (trust_code=True in "
                    "Python)."
                ),
                code="code_not_trusted",
                fields={"plugin": who},
            )
        try:
            source_of(plugin.name, plugin.plugin_kind, plugin.digest)
        except ConfigError as error:
            copy = next((path for path, text in kept.items() if _sha256(text) == plugin.digest), None)
            advice = (
                ""
                if copy is None
                else (
                    f" Or inspect the source in {copy}, then allow its execution with --trust-code (trust_code=True in "
                    "Python)."
                )
            )
            raise CheckpointError(
                f"{who} is not available: {error}{advice}", code="plugin_not_at_hand", fields={"plugin": who}
            ) from None


def needs_trust(plugins: Iterable[Plugin], folder: Path) -> bool:
    """Whether another process goes on with a folder's plug-ins, where they are at hand, only by `--trust-code`."""
    return any(_not_ones_own(plugin, folder) is not None for plugin in plugins)


def _not_ones_own(plugin: Plugin, folder: Path) -> str | None:
    """Why code that a folder names is not executed unasked; None where it is the user's own or is not at hand."""
    kind, name = plugin.plugin_kind, plugin.name
    if (kind, name) in _registered or name in _entry_points(kind):
        return None
    place = name.rpartition(":")[0]
    is_file = place.endswith(".py")
    origins = [place] if is_file else [one for one in _origins(place) if one]
    paths = [Path(one).expanduser().resolve() for one in origins]
    if any(path.is_relative_to(folder.resolve()) for path in paths):
        return "is stored in that folder itself"
    if not is_file and name in _entry_points(kind).values():
        return None
    if not is_file and _origins(place)[-1] is not None:
        return "belongs to an installed module that does not offer it as a plug-in (an entry point of rlgan.plugins)"
    if is_file and any(_is_installed(path) for path in paths):
        return "is a file of an installed package or of Python itself"
    return None


def _is_installed(path: Path) -> bool:
    """Whether a file belongs to a Python, this or another one, rather than to its user."""
    of_python = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    of_python.add(Path(__file__).resolve().parent)
    names = ("site-packages", "dist-packages")
    return any(path.is_relative_to(one) for one in of_python) or any(
        part in names or re.fullmatch(r"python\d+\.\d+", part) for part in path.parts
    )


def packed(plugins: Iterable[Plugin]) -> list[dict[str, str]]:
    """Sources of files as JSON values, for processes that get a configuration as such; see `unpack`."""
    sources = {one.digest: one for one in (source_of(each.name, each.plugin_kind, each.digest) for each in plugins)}
    return [{"text": one.text, "path": one.path} for one in sources.values() if one.text is not None]


def unpack(sources: Iterable[Mapping[str, str]]) -> None:
    """Let this process find what `packed` returned; nothing of it is executed."""
    for one in sources:
        digest = _sha256(one["text"])
        _sources.setdefault(digest, Source(one["text"], digest, one["path"]))


def require_unchanged(plugins: Iterable[Plugin], run: str) -> None:
    """Refuse to go on with a run whose plug-ins have changed since; what is gone is for `admit` to find.

    Args:
        plugins: of the run's configuration.
        run: how the user names the run.

    Raises:
        ConfigError: the source under a plug-in's name is another one now; names both digests.
    """
    for plugin in plugins:
        try:
            now = _find(plugin.name, plugin.plugin_kind).digest
        except ConfigError:
            continue
        if now != plugin.digest:
            raise ConfigError(
                (
                    f"{run}: the {plugin.plugin_kind} plug-in {plugin.name!r} has changed since the run began: its "
                    f"digest is {now}, but the run has {plugin.digest} (its folder keeps the source in "
                    f"{FOLDER}/{plugin.digest[:16]}.py). Restore the source, or start a new run."
                ),
                code="plugin_changed",
                fields={"run": run},
            )
