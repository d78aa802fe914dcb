"""How a file is to be read: what the settings of a task, or the options of a command, say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlgan.base.errors import ConfigError

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

    def require_effect(self) -> None:
        """See to it that what is said of tables can be true of them.

        Raises:
            ConfigError: it has no effect on files of the format, or with the separator.
        """
        of_tables: dict[str, object] = {"separator": self.separator, "quotes": self.quotes}
        if self.format not in ("auto", "lines", "table"):
            of_tables["header"] = self.header
        for name, value in of_tables.items():
            if value is not None and self.format not in ("auto", "table"):
                raise ConfigError(
                    f"{name}={value!r}: has no effect with format={self.format!r}. Remove one of the two.",
                    code="no_effect_with_format",
                    fields={name: value, "format": self.format},
                )
        if self.quotes and self.separator is not None and len(self.separator) > 1:
            raise ConfigError(
                f"quotes=True: has no effect with separator={self.separator!r}; CSV needs a separator of one "
                "character. Remove one of the two.",
                code="quotes_with_separator",
                fields={"separator": self.separator},
            )


def known_separator(text: str | None) -> str | None:
    """What stands between columns, as it was asked for: a tab has a name.

    Raises:
        ConfigError: it cannot stand between columns.
    """
    found = {"\\t": "\t", "tab": "\t"}.get(text, text) if text is not None else None
    if found is not None and (not found or '"' in found or not set(found).isdisjoint("\r\n")):
        raise ConfigError(
            f"separator={found!r}: cannot separate columns. Give one or more characters.",
            code="bad_separator",
            fields={"separator": found},
        )
    return found
