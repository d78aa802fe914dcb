"""Tables of text: which separator stands between columns, whether cells stand in quotes, rows with their lines.

Rows follow RFC 4180 where cells may stand in quotes: a quoted cell may hold separators, line breaks and doubled quotes.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rlgan.base.errors import DataError

from .how import How
from .notes import count, shown

TABLE_SUFFIXES = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
"""Ends of names that say that a file is a table, with the separators that are tried for it, in order."""

ANY_SEPARATOR = "\t|;,"
"""Separators that are tried for a file whose name says nothing, in order."""

_QUOTED_CELL = re.compile(r'"[^"]*(?:""[^"]*)*"')
_SAMPLE = 1000  # lines by which a separator is recognised

Row = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the rows of a table are written.

    Attributes:
        separator: one character or several.
        quotes: whether cells may stand in double quotes.
    """

    separator: str
    quotes: bool

    def __str__(self) -> str:
        named = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
        between = named.get(self.separator, repr(self.separator))
        return f"{between} between its columns{' and quotes around cells' if self.quotes else ''}"


def sniffed_separator(lines: Sequence[str], suffix: str, quotes: bool | None) -> str | None:
    """The separator that gives every line of a sample the same number of columns, two or more; None if none does.

    Args:
        lines: of the file.
        suffix: of its name.
        quotes: whether cells may stand in quotes; None: with commas and semicolons.
    """
    sample = [line for line in islice(lines, _SAMPLE) if line.strip()]
    for separator in TABLE_SUFFIXES.get(suffix, ANY_SEPARATOR):
        dialect = Dialect(separator, _is_quoting(separator) if quotes is None else quotes)
        widths = {len(row) for row in _sample_rows(sample, dialect)}
        if len(widths) == 1 and min(widths) > 1:
            return separator
    return None


def is_one_quoted_column(lines: Sequence[str], *, has_header: bool) -> bool:
    """Whether every line that is not empty is one cell in quotes, as CSV writes it; two lines or more.

    Args:
        lines: of the file.
        has_header: whether the first one may be a cell without quotes.
    """
    number = 0
    for line in lines:
        if _QUOTED_CELL.fullmatch(line):
            number += 1
        elif line and not line.isspace():
            if not has_header or number or '"' in line or "," in line:
                return False
            has_header = False
    return number > 1


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line, those in quotes without them."""
    with _cells_of_any_size():
        return next(csv.reader([line], delimiter=separator), [])


def _sample_rows(sample: Sequence[str], dialect: Dialect) -> list[list[str]]:
    with _cells_of_any_size():
        rows = list(csv.reader(_ended(sample), delimiter=dialect.separator, quoting=_quoting(dialect)))
    # The last one may be cut where the sample ends.
    return rows[:-1] if len(rows) > 1 and len(sample) == _SAMPLE else rows


def dialect_of(lines: Sequence[str], separator: str, how: How) -> Dialect:
    """Whether cells stand in quotes, where the settings do not say.

    With commas and semicolons they may, as CSV has it. With other separators quotes are characters like others, unless
    the whole file is quoted without a flaw and some cell could not be written otherwise, or all cells are quoted, those
    of the first row set aside.
    """
    if len(separator) > 1:
        return Dialect(separator, quotes=False)
    if how.quotes is not None:
        return Dialect(separator, how.quotes)
    if _is_quoting(separator) or not any('"' in line for line in lines):
        return Dialect(separator, _is_quoting(separator))
    return Dialect(separator, _is_quoted(lines, separator))


def _is_quoting(separator: str) -> bool:
    return separator in ",;"


def _is_quoted(lines: Sequence[str], separator: str) -> bool:
    width, needs_quotes = None, False
    try:
        with _cells_of_any_size():
            for row in csv.reader(_ended(lines), delimiter=separator, strict=True):
                if row and width is None:
                    width = len(row)
                if row and len(row) != width:
                    return False
                needs_quotes = needs_quotes or any(separator in cell or "\n" in cell for cell in row)
    except csv.Error:
        return False
    # Where the lines are a table without quotes as well, a quote that happens to be closed is no evidence.
    rows = [line.split(separator) for line in lines if line and not line.isspace()]
    needs_quotes = needs_quotes and len(set(map(len, rows))) > 1
    cells = [cell for row in rows for cell in row] if not needs_quotes else []
    in_quotes = [len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells]
    doubled = any('""' in cell[1:-1] for cell, quoted in zip(cells, in_quotes, strict=True) if quoted)
    below = in_quotes[len(rows[0]) :] if rows else []  # a header often stands without
    return needs_quotes or doubled or (bool(in_quotes) and all(below or in_quotes))


def rows_of(path: str, lines: list[str], dialect: Dialect, how: How, blank: list[int]) -> Iterator[Row]:
    """The rows of a table, each with the line on which it begins; empty lines are left out and added to `blank`.

    A line that was read is taken out of the list, so that lines and cells are not held twice.

    Raises:
        DataError: quotes are not closed, or stand where they may not.
    """
    if not dialect.quotes:
        separator = dialect.separator
        for number, line in enumerate(lines, start=1):
            lines[number - 1] = ""
            if line and not line.isspace():
                yield number, line.split(separator)
            else:
                blank.append(number)
        return
    with _cells_of_any_size():
        reader = csv.reader(_ended(lines), delimiter=dialect.separator, strict=True)
        number = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"{path}, line {number}: the quotes of this row are not valid CSV ({error}): "
                    f"{shown(lines[number - 1])}. A quoted cell must end with a quote, and a quote inside it is "
                    'written twice (""). If quotes are ordinary characters in this file, set '
                    f"{how.options}quotes false.",
                    code="csv_quotes",
                    fields={"path": path, "line": number},
                ) from error
            if row is None:
                return
            lines[number - 1 : reader.line_num] = [""] * (reader.line_num - number + 1)
            if len(row) > 1 or (row and row[0].strip()):
                yield number, row
            else:
                blank.append(number)
            number = reader.line_num + 1


def _ended(lines: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, which the reader keeps within quotes."""
    return (line + "\n" for line in lines)


def _quoting(dialect: Dialect) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    # The module's limit is one of the whole process.
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def require_same_columns(path: str, rows: Iterable[Row], dialect: Dialect, how: How) -> Iterator[Row]:
    """The rows, each of which must have as many columns as the first.

    Raises:
        DataError: one has not.
    """
    width, first = 0, 0
    for number, row in rows:
        if not first:
            width, first = len(row), number
        if len(row) != width:
            raise DataError(
                f"{path}, line {number}: has {count(len(row), 'column')} ({shown(dialect.separator.join(row))}), "
                f"but line {first} has {width}. The table is read with {dialect}. Give every row the same number "
                "of columns (in CSV, put cells that contain the separator in double quotes), set "
                f"{how.options}separator to the separator of the file, or set {how.options}format lines if these "
                "are plain lines.",
                code="uneven_columns",
                fields={"path": path, "line": number},
            )
        yield number, row
