"""Text that every Python has: the docstrings of its standard library.

The other examples train on it, so they need no download: about 5,700 sentences such as "Return the square root of the
sample variance." and about 5,000 function names such as `check_size`. The numbers depend on the version of Python.

    python examples/corpus.py docstrings.txt        writes the sentences, one per line; takes 5 s
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from functools import cache
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data"}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sentences() -> list[str]:
    """First paragraphs of docstrings, of 3 to 16 words, each once, in the order of the alphabet."""
    documented = (ast.get_docstring(definition) for definition in _definitions())
    firsts = {" ".join(text.split("\n\n")[0].split()) for text in documented if text}
    return sorted(text for text in firsts if text.isascii() and 3 <= len(text.split()) <= 16)


def names() -> list[str]:
    """Names of functions and classes in small letters, of 3 to 10 characters, each once."""
    found = {definition.name.strip("_").lower() for definition in _definitions()}
    return sorted(name for name in found if name.isascii() and 3 <= len(name) <= 10)


@cache
def _definitions() -> list[Definition]:
    library = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in library.rglob("*.py") if LEFT_OUT.isdisjoint(path.relative_to(library).parts)]
    trees = (ast.parse(path.read_bytes()) for path in sorted(paths))
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, Definition)]


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docstrings.txt")
    target.write_text("".join(f"{line}\n" for line in sentences()), "utf-8")
    print(f"{target}: {len(sentences())} sentences of Python {sys.version.split()[0]}")
