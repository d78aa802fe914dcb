"""Rules and rooms read what variants declare; who tests for a variant of another room by its class is counted here."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

# The whole configuration, and all plug-ins whatever they are of, are no variants.
WHOLE = {"Config", "Plugin", "TakesPlugin"}
# Parts of a network's own settings, which several networks share: no axis has them for variants.
SHARED = ("rlgan/base/pretrained.py", "rlgan/layers/pretrained/")
# Where another room's settings are distinguished by their class, and why; everywhere else declarations are read.
ALLOWED = {
    "rlgan/config/config.py": 1,  # files that any network's embeddings begin from
}


def sources() -> dict[str, ast.Module]:
    return {
        path.relative_to(PROJECT).as_posix(): ast.parse(path.read_text("utf-8"))
        for folder in ("rlgan", "envs", "tuning")
        for path in sorted((PROJECT / folder).rglob("*.py"))
    }


def room(path: str) -> str:
    first, second, *_ = path.split("/")
    return second if first == "rlgan" else first


def names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def variants(modules: dict[str, ast.Module]) -> dict[str, str]:
    """Classes of settings, and unions of such, by name: the room that defines each."""
    bases = {
        node.name: (names(ast.Tuple([*node.bases])), path)
        for path, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    found = {"Settings"}
    while grown := {name for name, (above, _) in bases.items() if name not in found and above & found}:
        found |= grown
    own = {name for name in found - {"Settings"} - WHOLE if not bases[name][1].startswith(SHARED)}
    known = {name: room(bases[name][1]) for name in own}
    unions = {
        node.targets[0].id: room(path)
        for path, module in modules.items()
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.BinOp)
        and names(node.value) & known.keys()
    }
    return known | unions


def asked(modules: dict[str, ast.Module]) -> Counter[str]:
    """Calls of `isinstance` with a variant of another room, by file."""
    known = variants(modules)
    return Counter(
        path
        for path, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and names(node.func) == {"isinstance"}
        and any(known.get(name, room(path)) != room(path) for name in names(node.args[1]) - own_classes(module))
    )


def own_classes(module: ast.Module) -> set[str]:
    return {node.name for node in module.body if isinstance(node, ast.ClassDef)}


def test_it_complains() -> None:
    there = ast.parse("class Base(Settings): ...\nclass One(Base): ...\nclass Two(Base): ...\nBoth = One | Two")
    for asking in ("isinstance(x, One)", "isinstance(x.y, One | int)", "isinstance(x, Both)", "isinstance(x, (Two,))"):
        here = ast.parse(f"def f(x): return {asking}")
        assert asked({"rlgan/policy/a.py": there, "rlgan/policy/b.py": here}) == {}
        assert asked({"rlgan/policy/a.py": there, "rlgan/config/b.py": here}) == {"rlgan/config/b.py": 1}
    assert asked({"rlgan/policy/a.py": there, "rlgan/config/b.py": ast.parse("isinstance(x, str)")}) == {}


def test_variants_of_other_rooms_are_not_told_apart_by_their_class() -> None:
    assert asked(sources()) - Counter(ALLOWED) == Counter()


def test_checks_know_the_ground_alone() -> None:
    """So there is no circle: a configuration imports the checks, and they no room."""
    for path, module in sources().items():
        if not path.startswith("rlgan/config/checks/"):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "collections.abc"):
                is_sibling = node.level == 1
                assert is_sibling or (node.module or "").startswith("rlgan.base."), f"{path}: {node.module}"
