"""The columns of a table that are read: whether its first row names them, and which they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from rlgan.base.errors import DataError, nearest

from .columns import Wanted, looks_like_header
from .how import How
from .notes import count, shown
from .opening import OpenedFile
from .tables import Dialect, Row, dialect_of, require_same_columns, rows_of

_SAMPLE = 100  # rows that a first row is compared with


@dataclass
class Table:
    """A table whose first row was looked at.

    Attributes:
        path: of the file.
        names: of its columns, where the first row holds them; else None.
        first: the first row, and its line.
        rows: all others, or all where the first row names nothing.
        dialect: how rows are written.
        notes: how columns are distinguished, what the first row is.
        options: what stands before the name of a setting where it is typed, for hints.
    """

    path: str
    names: list[str] | None
    first: Row
    rows: Iterator[Row]
    dialect: Dialect
    notes: list[str]
    options: str

    @property
    def width(self) -> int:
        """How many columns the first row has."""
        return len(self.first[1])


def table_of(
    opened: OpenedFile, how: How, are_known: Callable[[Sequence[str]], bool], wanted: Sequence[Wanted]
) -> Table:
    """Look at the first row of a table.

    Args:
        opened: the file.
        how: what the settings say.
        are_known: whether cells of a first row are names of columns that are known.
        wanted: what is looked for.

    Raises:
        DataError: it has no row.
    """
    dialect = dialect_of(opened.lines, opened.separator, how)
    rows = rows_of(opened.path, opened.lines, dialect, how, opened.blank)
    if how.same_columns:
        rows = require_same_columns(opened.path, rows, dialect, how)
    first = next(rows, None)
    if first is None:
        raise DataError(
            f"{opened.path}: all {len(opened.lines)} lines are empty. Give a table with rows.",
            code="only_empty_lines",
            fields={"path": opened.path},
        )
    number, cells = first
    by_name = any(isinstance(one.column, str) for one in wanted)
    is_header = how.header if how.header is not None else by_name or (how.known_names and are_known(cells))
    notes = [f"read as a table with {dialect}"]
    if not is_header:
        sample = list(islice(rows, _SAMPLE))
        if how.header is None and looks_like_header(cells, [row for _, row in sample]):
            notes.append(
                f"line {number} ({shown(dialect.separator.join(cells))}) looks like column names, but is read as "
                f"data; to skip it, set {how.options}header true"
            )
        rows = chain([first], sample, rows)
    return Table(opened.path, cells if is_header else None, first, rows, dialect, notes, how.options)


def column_of(table: Table, wanted: Wanted) -> int:
    """The place of a column that is named or numbered, from 0.

    Raises:
        DataError: there is none, or several have the name.
    """
    number, cells = table.first
    if isinstance(wanted.column, int):
        if wanted.column >= table.width:
            raise too_few_columns(table, table.first, wanted, wanted.column)
        return wanted.column
    assert wanted.column is not None
    names, name = table.names, wanted.column
    if names is None:
        raise DataError(
            f"{table.path}, line {number}: {wanted.option}={name!r} is a column name, but the first row contains "
            "data. Give the column by its number, counted from 0, or set header to true.",
            code="column_name_without_header",
            fields={wanted.option: name, "path": table.path, "line": number},
        )
    if names.count(name) == 1:
        return names.index(name)
    what = f"appears {names.count(name)} times" if name in names else "is not"
    raise DataError(
        f"{table.path}, line {number}: {wanted.option}={name!r} {what} among the column names "
        f"{', '.join(map(repr, names))}. Use one of them, or give the column by its number, counted from "
        f"0.{nearest(name, names)}",
        code="unknown_column",
        fields={wanted.option: name, "path": table.path, "line": number},
    )


def too_few_columns(table: Table, row: Row, wanted: Wanted, column: int) -> DataError:
    """The error of a row that lacks a column."""
    number, cells = row
    text = shown(table.dialect.separator.join(cells))
    return DataError(
        f"{table.path}, line {number}: has {count(len(cells), 'column')} ({text}), but the {wanted.side} is column "
        f"{column}, counted from 0. The table is read with {table.dialect}. Fix this row, set "
        f"{table.options}separator to the separator of the file, or set {wanted.option} to the column of the "
        f"{wanted.side}.",
        code="column_missing_in_row",
        fields={"path": table.path, "line": number},
    )


def about_columns(table: Table, chosen: Sequence[tuple[Wanted, int]]) -> str:
    """The note of which columns are read."""
    of_row = f"line {table.first[0]} {'has' if table.names is None else 'names'} {count(table.width, 'column')}"
    read = []
    for wanted, column in chosen:
        named = "" if table.names is None else f" ({table.names[column]!r})"
        read.append(f"the {wanted.side} is column {column}{named}")
    return f"{of_row}; counted from 0, {', '.join(read)}"


def listed(table: Table) -> str:
    """The columns of a table, for errors: their names or, where they have none, their numbers and the first row."""
    if table.names is not None:
        return ", ".join(map(repr, table.names))
    return ", ".join(f"{place} ({shown(cell)})" for place, cell in enumerate(table.first[1]))
