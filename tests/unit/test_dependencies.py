"""What plug-ins need where nothing is installed for them; nothing of them is executed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from rlgan import extensions
from rlgan.base.errors import ConfigError
from rlgan.extensions import Dependencies, NamedCode, dependencies_of, digest_of, register
from tests.support.errors import refused

FILE = """
from __future__ import annotations
import json, numpy.linalg as linalg
from torch import nn
from rlgan.envs import SequenceSpace
from . import beside
raise SystemExit("nobody executes this")

def later():
    from scipy import sparse
    try:
        import nowhere_to_be_found
    except ImportError:
        pass
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that no index has."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def registered() -> Iterator[NamedCode]:
    register("generator", "of_this_process", len)
    yield NamedCode("generator", "of_this_process", "")
    del extensions.memory.registered["generator", "of_this_process"]


def needs(name: str) -> Dependencies:
    return dependencies_of([NamedCode("generator", name, "")])


def pinned(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}=={version(name).partition('+')[0]}" for name in names)


def test_a_file_needs_what_it_imports_anywhere_and_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(FILE)
    assert sorted(needs(f"{file}:Net").requirements) == sorted(pinned("numpy", "torch", "scipy"))
    assert needs(f"{file}:Net").packages == ()
    digest = digest_of(FILE)
    file.write_text("import yaml")  # what counts is the source that the run began with
    assert dependencies_of([NamedCode("generator", f"{file}:Net", digest)]) != needs(f"{file}:Net")


def test_packages_of_no_index_go_along_with_what_they_import(path: Path) -> None:
    (path / "own_package" / "below").mkdir(parents=True)
    (path / "own_package" / "__init__.py").write_text("import own_module")
    (path / "own_package" / "below" / "deep.py").write_text("import own_package\nimport yaml\n")
    (path / "own_module.py").write_text("import own_package, numpy\n")
    found = needs("own_package.below.deep:Net")
    assert found.packages == (path / "own_package", path / "own_module.py")
    assert sorted(found.requirements) == sorted(pinned("PyYAML", "numpy"))


def test_a_module_of_an_index_is_installed_there() -> None:
    assert needs("yaml.nodes:Node") == Dependencies(pinned("PyYAML"), ())


def test_what_ships_needs_nothing() -> None:
    assert dependencies_of([NamedCode("callback", "tensorboard", "")]) == Dependencies((), ())


def test_what_no_other_process_can_find_is_refused(registered: NamedCode, path: Path) -> None:
    with refused(ConfigError, "plugin_not_portable", {"plugin": "of_this_process"}):
        dependencies_of([registered])
    (path / "without_init").mkdir()
    (path / "without_init" / "net.py").write_text("class Net: ...\n")
    with refused(ConfigError, "plugin_import_not_portable", {"package": "without_init"}):
        needs("without_init.net:Net")
