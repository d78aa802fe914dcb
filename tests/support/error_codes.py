"""All error codes of the source, and docs/errors.md, the list of them.

python -m tests.support.error_codes        writes docs/errors.md anew
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs/errors.md"
FOLDERS = ("rlgan", "envs", "tuning")

KINDS = {
    "ConfigError": "A setting, option or argument",
    "DataError": "Data",
    "CheckpointError": "Folders of runs and sweeps, checkpoints",
    "PluginError": "Code of your own",
    "StorageError": "Shared storage",
    "MemoryShortError": "Memory",
    "TrackingError": "MLflow",
    "ShapeError": "Tensors handed to functions",
}
"""Classes of errors with the headings of the page; every other class is listed under one of these."""
UNDER = {
    "ConfigPathError": "ConfigError",
    "NoDigestError": "ConfigError",
    "NotCoveredError": "DataError",
    "CallbackError": "PluginError",
    "UploadError": "StorageError",
}
COMPUTED = {
    "setting_missing": ("ConfigError", "…: is not set, and has no default. Set …."),
    "setting_not_known": ("ConfigError", "…=…: no such setting."),
    "setting_variant": ("ConfigError", "…: choose one of …."),
    "setting_value": ("ConfigError", "…=…: has a wrong type or is out of range; the message says what is allowed."),
    "setting_unknown": ("ConfigError", "…: no such setting; …."),
    "plugin_interrupted": (
        "PluginError",
        "…: … has not returned after timeout_s=… seconds. Fix it, or increase ….timeout_s.",
    ),
}
"""Codes that are computed, from pydantic's errors, by default or for any call of a plug-in → class and message."""

SOMETIMES = ("nearest", "near_module", "own_lines", "lines_of", "_nearest_option")
"""Functions that write a sentence or lines behind a message, where there is something to say."""

INTRODUCTION = """\
# Error codes

Every error of rlgan has a code and fields. The command line prints the code in brackets behind the message; in Python
they are `error.code` and `error.fields` of an `RlganError`. Codes stay the same from version to version; messages may
change. `…` stands for a value.

This page is generated: `python -m tests.support.error_codes`.
"""


@dataclass(frozen=True, slots=True)
class Raised:
    """A place where an error is raised.

    Attributes:
        code: of the error; None where none is given.
        kind: class of the error.
        text: of the message, with … in the place of values.
        settings: of a `Problem`: the settings that it names, as far as they are written out.
        place: file and line.
    """

    code: str | None
    kind: str
    text: str
    settings: tuple[str, ...]
    place: str


def raised() -> Iterator[Raised]:
    """All errors of rlgan's own that the source raises, and all problems of settings."""
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            yield from raised_in(path.relative_to(PROJECT).as_posix(), path.read_text("utf-8"))


def raised_in(name: str, source: str) -> Iterator[Raised]:
    """Those of one file."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        kind, place = node.func.id, f"{name}:{node.lineno}"
        if kind == "Problem" and len(node.args) == 3:
            keys = node.args[1].keys if isinstance(node.args[1], ast.Dict) else []
            settings = tuple(one.value for one in keys if isinstance(one, ast.Constant) and isinstance(one.value, str))
            head = ", ".join(f"{one}=…" for one in settings) or "…"
            yield Raised(_constant(node.args[0]), "ConfigError", f"{head}: {text_of(node.args[2])}", settings, place)
        elif kind in KINDS or kind in UNDER:
            code = next((one.value for one in node.keywords if one.arg == "code"), None)
            if code is None and kind == "ConfigPathError":
                continue  # has its code by default
            if isinstance(code, ast.Name | ast.Attribute):
                continue  # that of another error, put into other words
            text = text_of(node.args[0]) if node.args else ""
            yield Raised(None if code is None else _constant(code), kind, text, (), place)


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def text_of(node: ast.expr) -> str:
    """A message as far as it is written out."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.FormattedValue):
        return "" if _is_left_out(node.value) else "…"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    if isinstance(node, ast.IfExp):
        return text_of(node.body)
    if isinstance(node, ast.BoolOp):
        return text_of(node.values[-1])
    return "" if _is_left_out(node) else "…"


def _is_left_out(node: ast.expr) -> bool:
    """Whether a part of a message is a sentence, or lines, that most messages of its code do not have."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SOMETIMES


def page() -> str:
    """The text of docs/errors.md."""
    found = {one.code: (UNDER.get(one.kind, one.kind), one.text) for one in raised() if one.code}
    found |= COMPUTED
    parts = [INTRODUCTION]
    for kind, heading in KINDS.items():
        rows = sorted((code, text) for code, (of, text) in found.items() if of == kind)
        parts.append(f"## {heading}: `{kind}`\n\n| code | message |\n|---|---|")
        parts[-1] += "".join(f"\n| `{code}` | {cell(text)} |" for code, text in rows) + "\n"
    return "\n".join(parts)


def cell(text: str) -> str:
    """A message in a cell of a table."""
    plain = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("`", "")
    plain = re.sub("…(?:…|, …)+", "…", plain)
    # Where a value is a whole sentence, it brings its own full stop.
    plain = re.sub(r"(^|[.!?] )…\.(?= |$)", r"\1…", plain)
    plain = re.sub(r"…\.…$", "….", plain)  # a sentence behind the last one, that most do not have
    return re.sub(r"([<>*_\[\]])", r"\\\1", plain).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE}: {page().count(chr(10) + '| `')} codes")
