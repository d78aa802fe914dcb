"""Plain words: what a user may read in the source, and the words that docs/glossary.md tells to avoid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.support.documents import PROJECT
from tests.support.error_codes import FOLDERS, raised_in, text_of

MOST_WORDS = 35
"""Of a sentence in an error, a help text or the description of a setting."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something that a user may read."""

    place: str
    text: str


def said_in(name: str, source: str) -> Iterator[Said]:
    """Errors, help texts and descriptions of settings in a file; `…` stands for values."""
    for one in raised_in(name, source):
        yield Said(one.place, one.text)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("help", "description"):
                    yield Said(f"{name}:{node.lineno}", text_of(keyword.value))
        elif isinstance(node, ast.ClassDef):
            for before, after in zip(node.body, node.body[1:], strict=False):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(before, ast.AnnAssign) and is_text and isinstance(after.value.value, str):  # type: ignore[attr-defined]
                    yield Said(f"{name}:{after.lineno}", after.value.value)  # type: ignore[attr-defined]


@cache
def said() -> tuple[Said, ...]:
    """All of the source."""
    paths = [path for folder in FOLDERS for path in sorted((PROJECT / folder).rglob("*.py"))]
    return tuple(
        one for path in paths for one in said_in(path.relative_to(PROJECT).as_posix(), path.read_text("utf-8"))
    )


def sentences(text: str) -> list[str]:
    """Sentences of a text, at full stops, semicolons and colons."""
    plain = re.sub(r"\([^()]*\)", "", " ".join(text.split()))
    return [one for one in re.split(r"(?<=[.?!;:])\s+", plain) if one]


@cache
def avoided() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The table "Words to avoid" of the glossary: a pattern and what to write instead."""
    section = (PROJECT / "docs/glossary.md").read_text("utf-8").split("## Words to avoid")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|$", section, re.MULTILINE)
    return tuple((re.compile(rf"(?<![\w`-])(?:{row[0]})(?![\w`-])".replace(r"\|", "|")), row[1]) for row in rows)


def complaints(place: str, text: str) -> list[str]:
    """What of a text is in words to avoid."""
    return [
        f"{place}: {found.group()!r}: write {instead}"
        for pattern, instead in avoided()
        for found in pattern.finditer(" ".join(text.split()))
    ]


def long_sentences() -> list[str]:
    """Sentences of the source with too many words."""
    return [
        f"{one.place}: {len(part.split())} words: {part}"
        for one in said()
        for part in sentences(one.text)
        if len(part.split()) > MOST_WORDS
    ]
