"""Every benchmark runs, in its tiny form (benchmarks/__init__.py says what that is); what it prints is not looked at.

Benchmarks are found in their folder, so that a new one without a tiny form fails here.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "benchmarks"
MARKS = ("ray", "heavy", "slow")


def is_program(tree: ast.Module) -> bool:
    """Whether a module ends with `if __name__ == "__main__"`."""
    return any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body)


def marks(tree: ast.Module) -> tuple[str, ...]:
    """The value of TINY_MARKS, read without importing the module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["TINY_MARKS"]:
            return tuple(ast.literal_eval(node.value))
    return ()


def complaints(tree: ast.Module) -> list[str]:
    """What a benchmark lacks."""
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    lacking = [f"has no {name}()" for name in ("main", "tiny") if name not in functions]
    return lacking + [f"TINY_MARKS has {mark!r}, which is none of {MARKS}" for mark in marks(tree) if mark not in MARKS]


TREES = {path.stem: ast.parse(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.py"))}
BENCHMARKS = {name: tree for name, tree in TREES.items() if is_program(tree)}


def test_a_benchmark_without_a_tiny_form_is_noticed() -> None:
    text = 'def main() -> None: ...\nif __name__ == "__main__":\n    main()'
    assert is_program(ast.parse(text)) and complaints(ast.parse(text)) == ["has no tiny()"]
    assert complaints(ast.parse(f"TINY_MARKS = ('rya',)\ndef tiny(folder): ...\n{text}"))
    assert not is_program(ast.parse("def helper() -> None: ..."))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_a_tiny_form(name: str) -> None:
    assert complaints(BENCHMARKS[name]) == []


@contextmanager
def in_the_session(**options: object) -> Iterator[None]:
    """Stands for `own_cluster`: one cluster serves all tests of a process, which cannot have a second."""
    yield


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[getattr(pytest.mark, mark) for mark in marks(tree)])
        for name, tree in BENCHMARKS.items()
    ],
)
def test_a_benchmark_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    for library in getattr(module, "NEEDS", ()):
        pytest.importorskip(library)
    if "ray" in marks(BENCHMARKS[name]):
        request.getfixturevalue("ray_session")
        monkeypatch.setattr(module, "own_cluster", in_the_session, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{name}", *module.tiny(tmp_path)])
    module.main()
    assert capfd.readouterr().out.strip()


def test_presets_that_are_compared_fit_the_world_of_the_comparison() -> None:
    from benchmarks.presets import OF_PAIRS, OWN_GENERATORS, SMALL_PAIRS, compared, small

    forms = {name: small(name, 2, 1) for name in compared()}
    assert set(OWN_GENERATORS) <= set(forms) and "organ" not in forms
    assert {name for name, config in forms.items() if config.generator != forms["quick"].generator} == {*OWN_GENERATORS}
    pairs = {name: small(name, 2, 1, SMALL_PAIRS) for name in OF_PAIRS}
    assert {name for name, config in pairs.items() if config.generator != pairs["quick"].generator} == {*OWN_GENERATORS}
