"""What the documents say that can be checked: commands, Python, links. Each piece knows its file and line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/README.md",
    *sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "docs").rglob("*.md")),
)
RESULTS = tuple(f"benchmarks/results/{path.name}" for path in sorted((PROJECT / "benchmarks/results").glob("*.md")))

PROGRAMS = ("rlgan", "python", "make", "ray", "pytest", "pip", "mlflow", "head", "curl")
"""What a line of a code block begins with, once a variable or a folder before it is taken off, if it is a command."""


@dataclass(frozen=True)
class Piece:
    """A piece of a document.

    Attributes:
        where: file:line.
        text: as it stands there; of a command its lines as one, without the comment.
        is_block: whether it stands in a code block, where a command is whole; else in a sentence.
    """

    where: str
    text: str
    is_block: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A code block: its first line, its language (empty where it is indented or names none) and its lines."""

    first: int
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        margin = min((len(line) - len(line.lstrip()) for line in self.lines if line.strip()), default=0)
        return "".join(f"{line[margin:]}\n" for line in self.lines)


def blocks(text: str) -> Iterator[Block]:
    """Code blocks of Markdown: between fences, or indented by four after an empty line."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := re.match(r"\s*```(\w*)", line):
            end = next(index for index in range(at + 1, len(lines)) if lines[index].strip() == "```")
            yield Block(at + 2, fence[1], tuple(lines[at + 1 : end]))
            at = end + 1
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(at + 1, "", tuple(lines[at:end]))
            at = end
        else:
            at += 1


def prose(text: str) -> str:
    """The same with code blocks blanked, line for line."""
    lines = text.splitlines()
    for block in blocks(text):
        for at in range(block.first - 1, block.first - 1 + len(block.lines)):
            lines[at] = ""
    return "\n".join(lines)


def spans(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of code in sentences; a span may go over the end of a line."""
    plain = prose(text)
    for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", plain):
        yield plain.count("\n", 0, found.start()) + 1, " ".join(found[1].split())


def program(text: str) -> str | None:
    """Which of PROGRAMS a line of code calls; None where it is no command."""
    words = re.sub(r"^(?:[A-Z_]+=\S* +)*(?:\.venv/bin/)?", "", text).split()
    return words[0] if words and words[0] in PROGRAMS else None


def commands(path: str, text: str) -> Iterator[Piece]:
    """Every command of a document."""
    for block in blocks(text):
        if block.language not in ("", "sh", "bash", "console"):
            continue
        at = 0
        while at < len(block.lines):
            start, line = at, block.lines[at].strip()
            while line.endswith("\\") and at + 1 < len(block.lines):
                at += 1
                line = f"{line[:-1].rstrip()} {block.lines[at].strip()}"
            at += 1
            if program(line):
                yield Piece(f"{path}:{block.first + start}", line)
    for number, code in spans(text):
        if program(code) and len(code.split()) > 1:
            yield Piece(f"{path}:{number}", code, is_block=False)


def options(path: str, text: str) -> Iterator[Piece]:
    """Every option that a document shows without a verb."""
    for number, code in spans(text):
        if re.match(r"--[a-z]", code):
            yield Piece(f"{path}:{number}", code, is_block=False)


def words(command: str) -> list[str]:
    """A command as a shell splits it; what comes after two blanks and no option is a meaning in a table of commands."""
    if "#" not in command:
        command = re.split(r" {3,}", command)[0]
    return shlex.split(command, comments=True)


def python_blocks(path: str, text: str) -> Iterator[Piece]:
    """Every block of Python."""
    for block in blocks(text):
        looks_so = block.language == "" and re.match(r"(from [\w.]+ import |import \w)", block.text)
        if block.language == "python" or looks_so:
            yield Piece(f"{path}:{block.first}", block.text)


def python_files(path: str, text: str) -> dict[str, str]:
    """Blocks of Python that are a file of the reader's, as their first line says (`# mine.py`): name → content."""
    found = {}
    for piece in python_blocks(path, text):
        if named := re.match(r"# (\w+\.py)\n", piece.text):
            found[named[1]] = piece.text
    return found


def toml_blocks(path: str, text: str) -> Iterator[Piece]:
    """Every block of TOML."""
    for block in blocks(text):
        looks_so = block.language == "" and re.search(r"^\[\w[\w.]*\]", block.text, re.MULTILINE)
        if block.language == "toml" or looks_so:
            yield Piece(f"{path}:{block.first}", block.text)


def yaml_blocks(path: str, text: str) -> Iterator[Piece]:
    """Every block of YAML or JSON."""
    for block in blocks(text):
        if block.language in ("yaml", "json"):
            yield Piece(f"{path}:{block.first}", block.text)


def calls(path: str, text: str) -> Iterator[Piece]:
    """Names of this project's modules, and calls of theirs, in sentences."""
    for number, code in spans(text):
        if re.match(r"(rlgan|benchmarks)(\.\w+)+(\(.*\))?$", code) and not re.search(r"\.(py|md|toml|json)$", code):
            yield Piece(f"{path}:{number}", code, is_block=False)


def files(path: str, text: str) -> Iterator[Piece]:
    """Files and folders of this project that sentences name."""
    for number, code in spans(text):
        if re.match(r"(rlgan|envs|tuning|tests|benchmarks|docs|examples)/[\w./-]*$", code):
            yield Piece(f"{path}:{number}", code, is_block=False)


def definitions(path: str, text: str) -> Iterator[Piece]:
    """What a sentence or a table says is defined where, as `name in file`."""
    plain = prose(text)
    for found in re.finditer(r"`(\w+)` in\s+`((?:rlgan|envs|tuning)/[\w/]+\.py)`", plain):
        number = plain.count("\n", 0, found.start()) + 1
        yield Piece(f"{path}:{number}", f"{found[1]} in {found[2]}", is_block=False)


def links(path: str, text: str) -> Iterator[Piece]:
    """Targets of links that stay within the project."""
    plain = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda code: re.sub(r"[^\n]", "x", code[0]), prose(text))
    for found in re.finditer(r"\[[^\]]+\]\(([^)\s]+)\)", plain):
        if not re.match(r"[a-z]+:", found[1]):
            yield Piece(f"{path}:{plain.count(chr(10), 0, found.start()) + 1}", found[1], is_block=False)


def sections(path: str, text: str) -> Iterator[Piece]:
    """Numbers of headings that have one: `## 19.1 Critics` is 19.1, `# 4. maligan` is 4."""
    plain = prose(text)
    for found in re.finditer(r"^#+ (\d+(?:\.\d+)*)\.? ", plain, re.MULTILINE):
        yield Piece(f"{path}:{plain.count(chr(10), 0, found.start()) + 1}", found[1])


def citations(path: str, text: str) -> Iterator[Piece]:
    """Numbers of sections that a program cites; those of a paper stand behind its year (`et al. 2019, §2.2`)."""
    for found in re.finditer(r"(?<!\d{4}, )§ ?(\d+(?:\.\d+)*)", text):
        yield Piece(f"{path}:{text.count(chr(10), 0, found.start()) + 1}", found[1], is_block=False)


def pages_cited(path: str, text: str) -> Iterator[Piece]:
    """Pages of docs/ that a program names."""
    for found in re.finditer(r"\bdocs/[\w/]+\.md\b", text):
        yield Piece(f"{path}:{text.count(chr(10), 0, found.start()) + 1}", found[0], is_block=False)


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a document, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.finditer(r"^#+ +(.+?) *$", prose(text), re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading[1]).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
        found.add(slug if not number else f"{slug}-{number}")
    return found
