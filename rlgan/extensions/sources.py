"""Names of plug-ins, and where the source behind a name lies; nothing of a source is executed here.

What this process remembers of plug-ins is `memory`, for all of the package.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import inspect
import linecache
import pkgutil
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, get_args

from rlgan.base.descriptions import UndescribableError, remembered, source_text
from rlgan.base.errors import ConfigError, nearest

PluginKind = Literal[
    "reward", "filter", "metric", "task", "drawing", "generator", "discriminator", "preset", "callback"
]
"""What a plug-in may stand for."""

ENTRY_POINTS = "rlgan.plugins"
"""Group of the entry points by which an installed package offers plug-ins; an entry point is named KIND.NAME."""

SHIPPED: Mapping[str, Mapping[str, str]] = {
    "callback": {"tensorboard": "rlgan.callbacks:TensorBoard", "wandb": "rlgan.callbacks:WandB"},
    "discriminator": {
        "pixel_pairs": "rlgan.domains.images:PairPixelCritic",
        "pixels": "rlgan.domains.images:PixelCritic",
    },
    "drawing": {"images": "rlgan.domains.images:drawing"},
    "filter": {"scaffold_buckets": "rlgan.domains.molecules:ScaffoldBuckets"},
    "metric": {"images": "rlgan.domains.images:Images", "molecules": "rlgan.domains.molecules:Molecules"},
    "reward": {
        name: f"rlgan.domains.molecules:{name}"
        for name in (
            "isomer",
            "logp",
            "median",
            "mpo",
            "penalised_logp",
            "qed",
            "rediscovery",
            "similarity",
            "synthesisability",
        )
    },
    "task": {
        "images": "rlgan.domains.images:images",
        "molecules": "rlgan.domains.molecules:molecules",
        "teacher": "rlgan.runs.teacher:teacher",
    },
}
"""Plug-ins that come with rlgan: kind → name → package.module:NAME."""

MODEL_FOLDERS: Mapping[str, str] = {"reward": "rlgan.policy.frozen_classifier:classifier_of"}
"""Kinds that the folder of a model may stand for: kind → what makes an object of the folder's path."""

_KINDS: tuple[PluginKind, ...] = get_args(PluginKind)
_BY_NAME = "qualified-name:"  # begins the digest of an object without source
_BY_FILES = "files:"  # begins the digest of a folder, of which nothing is executed
_CONFIG = "config.json"  # in the folder of a model
_ADAPTER = "adapter_config.json"  # in that of an adapter
_WEIGHTS = (".safetensors", ".json", ".txt", ".model", ".jinja")


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


class Code(Protocol):
    """What names code of the user's own: a plug-in's settings, or `NamedCode`."""

    @property
    def plugin_kind(self) -> PluginKind:
        """What it stands for."""
        ...

    @property
    def name(self) -> str:
        """As in the head of the package."""
        ...

    @property
    def digest(self) -> str:
        """Of its source."""
        ...


@dataclass(frozen=True, slots=True)
class NamedCode:
    """Code of the user's own, by what it stands for, its name and the digest of its source."""

    plugin_kind: PluginKind
    name: str
    digest: str


@dataclass
class Memory:
    """What a process remembers of plug-ins.

    Attributes:
        registered: what was registered from Python, by kind and name.
        sources: of files and modules, by digest, so that it does not matter who remembered one, nor when.
        modules: that files were executed as, by digest and path.
        built: instances of classes, by digest, name and options.
        own: kind, name and digest of what this process was given by its own user, not by a file that it read.
    """

    registered: dict[tuple[PluginKind, str], Source] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    modules: dict[tuple[str, str], types.ModuleType] = field(default_factory=dict)
    built: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    own: set[tuple[PluginKind, str, str]] = field(default_factory=set)


memory = Memory()


def known(kind: PluginKind) -> tuple[str, ...]:
    """Names of a kind that can be used without a file or module: registered ones, then entry points."""
    _require_kind(kind)
    registered = [name for one, name in memory.registered if one == kind]
    return tuple(dict.fromkeys([*registered, *entry_points(kind)]))


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
    memory.registered[kind, name] = _source_of_object(plugin, f"register({kind!r}, {name!r})")


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
                f"{where}={shipped!r}: is the name of a built-in {kind}, and of your own one ({name!r}, registered "
                "or an entry point). Register yours under another name.",
                code="plugin_name_taken",
                fields={where: shipped, "where": where},
            )


def is_plugin_name(name: str) -> bool:
    """Whether a name says by itself that it is a plug-in's: FILE.py:NAME or package.module:NAME."""
    module, colon, attribute = name.rpartition(":")
    return bool(colon) and attribute.isidentifier() and (module.endswith(".py") or _is_dotted(module))


def names_plugin(name: str, kind: PluginKind) -> bool:
    """Whether a name stands for something of the user's own: a plug-in, registered or not, or the folder of a model."""
    return is_plugin_name(name) or name in known(kind) or is_model_folder(name, kind)


def is_model_folder(name: str, kind: PluginKind) -> bool:
    """Whether a name is that of a folder with a model, where a kind knows such; one that looks like a path is."""
    if kind not in MODEL_FOLDERS or name.endswith(".py") or ".py:" in name:
        return False
    return (
        name.startswith((".", "/", "~"))
        or "/" in name
        or any((Path(name) / one).is_file() for one in (_CONFIG, _ADAPTER))
    )


def is_of_files(digest: str) -> bool:
    """Whether a digest is that of a model's files, of which nothing is executed."""
    return digest.startswith(_BY_FILES)


def _source_of_folder(name: str, kind: PluginKind) -> Source:
    folder = Path(name).expanduser()
    if (folder / _ADAPTER).is_file() and not (folder / _CONFIG).is_file():
        raise ConfigError(
            f"{kind} {name!r}: holds an adapter alone, and the model that it belongs to is elsewhere. Give a folder "
            "with all weights: `rlgan export --discriminator` writes one with --merge, peft by merge_and_unload.",
            code="plugin_folder_of_adapter",
            fields={"name": name},
        )
    if not (folder / _CONFIG).is_file():
        there = [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []
        what = f"has no {_CONFIG}" if folder.is_dir() else f"does not exist.{nearest(folder.name, there)}"
        raise ConfigError(
            f"{kind} {name!r}: this folder {what.rstrip('.')}. Give the folder of a model that save_pretrained of "
            "transformers wrote, or FILE.py:NAME.",
            code="plugin_folder",
            fields={"name": name},
        )
    files = sorted(one for one in folder.iterdir() if one.is_file() and one.suffix in _WEIGHTS)
    facts = tuple((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files)
    return Source(None, _digest_of_files(facts), str(folder.absolute()))


@functools.lru_cache(maxsize=16)
def _digest_of_files(facts: tuple[tuple[str, int, int], ...]) -> str:
    """Of names and contents; sizes and times are there so that files are read again only when they have changed."""
    whole = hashlib.sha256()
    for path, _, _ in facts:
        with Path(path).open("rb") as file:
            content = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _hashed(file)
        whole.update(f"{Path(path).name} {content.hexdigest()}\n".encode())
    return _BY_FILES + whole.hexdigest()


def _hashed(file: BinaryIO) -> Any:
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest


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
    if digest in memory.sources and name.rpartition(":")[0].endswith(".py") and (kind, name) not in memory.registered:
        return memory.sources[digest]
    found = source_now(name, kind)
    if digest and found.digest != digest:
        raise ConfigError(
            f"{kind} plug-in {name!r}: its source has changed since the run began: its digest is {found.digest}, "
            f"but the configuration has {digest}. Restore the source, or start a new run with digest ''.",
            code="plugin_source_changed",
            fields={"plugin": name},
        )
    if found.registered is None:
        memory.sources.setdefault(found.digest, found)
    return found


def source_now(name: str, kind: PluginKind) -> Source:
    """What is there now under a name."""
    if (kind, name) in memory.registered:
        return memory.registered[kind, name]
    if name in SHIPPED.get(kind, {}):  # of this version, whichever it is: what it is called is all of it
        return Source(None, _BY_NAME + SHIPPED[kind][name])
    if is_model_folder(name, kind):
        return _source_of_folder(name, kind)
    target = target_of(name, kind)
    place = target.rpartition(":")[0]
    if not place.endswith(".py"):
        return source_of_module(target, kind)
    path = Path(place).expanduser()
    if not path.is_file():
        beside = [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(
            f"{kind} plug-in {name!r}: there is no file {path.absolute()}.{nearest(path.name, beside)} Give an "
            "absolute path, or one relative to the current folder.",
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
    return Source(text, digest_of(text), str(path.absolute()))


def source_of_module(target: str, kind: PluginKind) -> Source:
    """Source of an installed module, found without importing it or the packages above it."""
    place = target.rpartition(":")[0]
    origin = origins(place)[-1]
    if origin is None:
        parents = [".".join(place.split(".")[:number]) for number in range(1, place.count(".") + 2)]
        missing = next(one for one, found in zip(parents, origins(place), strict=False) if found is None)
        raise ConfigError(
            f"{kind} plug-in {target!r}: there is no module {missing!r}.{near_module(place)} Install it in this "
            "environment, or write FILE.py:NAME for your own file.",
            code="plugin_no_module",
            fields={"plugin": target},
        )
    linecache.checkcache(origin)
    # As `inspect.getsource` has it: every line has an end, whichever the file has.
    text = "".join(linecache.getlines(origin)) if origin.endswith(".py") else ""
    if not text:  # compiled, built in, or empty
        return Source(None, _BY_NAME + place)
    return Source(text, digest_of(text), origin)


def origins(place: str) -> list[str | None]:
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
    if hasattr(plugin, "cache_parameters") and ("<" in plugin.__qualname__ or plugin.__module__ == "__main__"):
        raise ConfigError(
            (
                f"{who}: is a functools.lru_cache around {plugin.__qualname__}, which workers can find only in an "
                "installed module. Register a function that calls it, or the function inside."
            ),
            code="plugin_is_cache",
            fields={"plugin": who},
        )
    described = plugin if inspect.isroutine(plugin) or inspect.isclass(plugin) else type(plugin)
    text = source_text(described)
    try:
        held = remembered(plugin)
    except (UndescribableError, RecursionError) as error:
        where = f"{error.where or 'it'} ({error.what})" if isinstance(error, UndescribableError) else "it"
        raise ConfigError(
            f"{who}: {where} cannot be compared between processes or sent to workers. Create it at the first call, "
            "or exclude it with __getstate__.",
            code="plugin_not_describable",
            fields={"plugin": who},
        ) from None
    if text is None:  # of C, or typed into an interpreter that keeps no source
        digest = f"{_BY_NAME}{described.__module__}.{described.__qualname__}"
        return Source(None, f"{digest} {digest_of(held)}" if held else digest, registered=plugin)
    digest = digest_of(f"{text}\0{held}" if held else text)
    return Source(text, digest, inspect.getsourcefile(inspect.unwrap(described)) or "", registered=plugin)


def target_of(name: str, kind: PluginKind) -> str:
    """FILE.py:NAME or package.module:NAME of a name."""
    if is_plugin_name(name):
        return name
    entries = entry_points(kind)
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


def _installed() -> tuple[tuple[str, int], ...]:
    """Folders that packages are installed in, each with the time at which one came or went."""
    folders = [(name, Path(name or ".")) for name in sys.path]
    return tuple((name, folder.stat().st_mtime_ns) for name, folder in folders if folder.is_dir())


@functools.lru_cache(maxsize=1)
def _entry_points(read: Callable[..., Any], installed: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    """Name → target of all plug-ins of installed packages; read anew when a package was installed or removed.

    A file of every installed package is opened for it, and the names are asked for hundreds of times a command.
    """
    return {entry.name: entry.value for entry in read(group=ENTRY_POINTS)}


def entry_points(kind: PluginKind) -> dict[str, str]:
    """What rlgan and installed packages offer of a kind: name → package.module:NAME."""
    named = _entry_points(importlib.metadata.entry_points, _installed())
    offered = {name.removeprefix(f"{kind}."): value for name, value in named.items() if name.startswith(f"{kind}.")}
    return {**offered, **SHIPPED.get(kind, {})}


def near_module(place: str) -> str:
    """A hint for a module that there is none of: one that is loaded and has nearly its name; "" where there is none."""
    parent, _, last = place.rpartition(".")
    if parent:
        return ""
    match = difflib.get_close_matches(last, sys.modules, n=1, cutoff=0.8)
    return f" Did you mean {match[0]!r}?" if match else ""


def _is_dotted(place: str) -> bool:
    return bool(place) and all(part.isidentifier() for part in place.split("."))


def _require_kind(kind: str) -> None:
    if kind not in _KINDS:
        raise ConfigError(
            f"plug-ins of kind {kind!r}: choose one of {', '.join(_KINDS)}.{nearest(kind, _KINDS)}", code="plugin_kind"
        )


def digest_of(text: str) -> str:
    """Sha256 of a source, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
