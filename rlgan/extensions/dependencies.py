"""What code of the user's own needs where nothing is installed for it: distributions, and packages that go along."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path

from rlgan.base.errors import ConfigError

from .sources import SHIPPED, Code, origins, source_of, target_of

_OURS = "rlgan"  # goes along as a whole


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What plug-ins import.

    Attributes:
        requirements: distributions of a package index, as pip takes them, with the versions that are installed here.
        packages: folders and files of packages that no index has: of a project that is installed from its folder, or
            found on the path.
    """

    requirements: tuple[str, ...]
    packages: tuple[Path, ...]


def dependencies_of(plugins: Iterable[Code]) -> Dependencies:
    """What plug-ins need in a process on another machine; nothing of them is executed.

    Args:
        plugins: that are used there; the source of one of a file goes there by itself.

    Raises:
        ConfigError: one was registered from Python, so that no other process can find it; or its package is neither
            installed from an index nor of files that can be copied.
    """
    wanted: list[str] = []
    for plugin in plugins:
        who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
        source = source_of(plugin.name, plugin.plugin_kind, plugin.digest)
        if source.registered is not None:
            raise ConfigError(
                f"{who}: was registered in this process, so a server cannot find it. Train with FILE.py:NAME or "
                "package.module:NAME, whose source is kept with the model.",
                code="plugin_not_portable",
                fields={"plugin": plugin.name},
            )
        if plugin.name in SHIPPED.get(plugin.plugin_kind, {}):
            continue
        place = target_of(plugin.name, plugin.plugin_kind).rpartition(":")[0]
        if place.endswith(".py"):
            assert source.text is not None
            wanted += _imported(source.text)
        else:
            wanted.append(place.partition(".")[0])
    requirements: dict[str, str] = {}
    packages: dict[str, Path] = {}
    known, seen = packages_distributions(), {_OURS, *sys.stdlib_module_names}
    while wanted:
        name = wanted.pop(0)
        if name in seen:
            continue
        seen.add(name)
        distributions = sorted(set(known.get(name, ())))
        if distributions and not any(_is_local(one) for one in distributions):
            requirements |= {one: f"{one}=={version(one).partition('+')[0]}" for one in distributions}
        elif (path := _files_of(name)) is not None:
            packages[name] = path
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            wanted += [one for file in files for one in _imported(file.read_text("utf-8"))]
    return Dependencies(tuple(requirements.values()), tuple(packages.values()))


def _imported(text: str) -> Iterator[str]:
    """Names of the packages that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _is_local(name: str) -> bool:
    """Whether a distribution was installed from a folder, a file or a repository, and not from an index."""
    try:
        return distribution(name).read_text("direct_url.json") is not None
    except PackageNotFoundError:
        return True


def _files_of(name: str) -> Path | None:
    """Where a package of files lies; None where it is not there, as one that a source can do without.

    Raises:
        ConfigError: it is there, and is no package or module of Python files.
    """
    origin = origins(name)[-1]
    if origin is None:
        return None
    path = Path(origin)
    if path.name == "__init__.py":
        return path.parent
    if path.suffix == ".py":
        return path
    raise ConfigError(
        f"{name}: a plug-in imports it, but it is neither from a package index nor a package of Python files, so it "
        "cannot be kept with the model. Install it from an index, or add an __init__.py.",
        code="plugin_import_not_portable",
        fields={"package": name},
    )
