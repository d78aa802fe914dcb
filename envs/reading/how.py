"""How a file is to be read: what the settings of a task, or the options of a command, say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["auto", "lines", "table", "jsonl", "json", "parquet", "fasta"]
"""What a file holds: "auto" recognises it by its content and the end of its name."""

NAMES_OF_FORMATS = {
    "lines": "plain lines",
    "table": "a table",
    "jsonl": "JSON lines",
    "json": "a JSON array",
    "parquet": "parquet",
    "fasta": "FASTA",
}


@dataclass(frozen=True, slots=True)
class How:
    """How files are read.

    Attributes:
        encoding: character encoding of text; a byte order mark goes before it.
        format: what the files hold.
        separator: what stands between the columns of a table; None: recognised.
        quotes: whether cells of a table may stand in double quotes; None: recognised.
        header: whether the first row of a table, or the first line, names columns; None: recognised.
        same_columns: whether every row of a table must have as many columns as the first.
        known_names: whether a first row of well-known names is a header by itself, where `header` is None.
        options: what stands before the name of a setting where it is typed, for hints.
    """

    encoding: str = "utf-8"
    format: FileFormat = "auto"
    separator: str | None = None
    quotes: bool | None = None
    header: bool | None = None
    same_columns: bool = True
    known_names: bool = True
    options: str = "--task."
