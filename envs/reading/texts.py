"""One text a record: what a text task learns from, one side of parallel files, sources that somebody brings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from rlgan.base.errors import DataError

from .characters import Spaces, one_line
from .chats import Turn, is_chat
from .columns import (
    Path,
    Wanted,
    looks_like_header,
    paths_to_texts,
    well_known_prompt,
    well_known_source,
    well_known_text,
)
from .fasta import fasta_sequences, is_comment
from .how import How
from .json_records import json_array, json_lines, json_type, one_object
from .notes import beginning, count, shown, which_lines
from .numbers import Numbers
from .opening import OpenedFile, open_file
from .table_columns import about_columns, column_of, listed, table_of, too_few_columns
from .values import Values

Text = str | list[str]


@dataclass
class TextFile:
    """The texts of a file, each on one line.

    Attributes:
        path: of the file, for notes and errors.
        texts: in the order of the file; empty ones too, of plain lines. Lists only where lists are allowed.
        numbers: of the line, record or row that each stands on, from 1.
        unit: what is counted: "line", "record" or "row".
        notes: what was read, left out and changed.
        num_units: how many lines, records or rows were read.
        noun: what one text is called: "line" where lines are the texts, else "text".
        turns: place among the texts → role and text of each message, of those that were conversations.
    """

    path: str
    texts: Sequence[Text]
    numbers: Sequence[int]
    unit: str
    notes: list[str] = field(default_factory=list)
    num_units: int = 0
    noun: str = "text"
    turns: dict[int, list[Turn]] = field(default_factory=dict)

    @property
    def strings(self) -> Sequence[str]:
        """The texts, where lists were not allowed."""
        return cast("Sequence[str]", self.texts)

    def given_up(self) -> Iterator[tuple[int, str]]:
        """Each text with its number, where lists were not allowed; the file has none of them left.

        What is made of a text can take its place in memory, so that a large file is not held twice.
        """
        remaining, self.texts = [*self.strings], []
        remaining.reverse()
        for number in self.numbers:
            yield number, remaining.pop()

    def first_text(self) -> list[str]:
        """A note of the first text that is not empty; it shows that another column was meant, or a header is read."""
        place = next((place for place, text in enumerate(self.texts) if text and not str(text).isspace()), None)
        if place is None:
            return []
        return [f"first {self.noun}, {self.unit} {self.numbers[place]}: {shown(self.texts[place])}"]


def read_texts(
    path: str, how: How, wanted: Wanted, description: str, *, lists: bool = False, chats: bool = False
) -> TextFile:
    """Read a file of which every record is, or has, one text.

    Args:
        path: of the file.
        how: how it is read.
        wanted: where the text stands in records that have several columns.
        description: what the file should be, for errors: "a text file with one sequence a line".
        lists: whether a text may be a list of strings or of messages (the parts of a source).
        chats: whether a field of whole conversations may be the text, beside those with other well-known names.

    Raises:
        DataError: the file cannot be read, its records have no such text, or there is none.
    """
    well_known = well_known_source if lists else partial(well_known_text, before=wanted.known)
    if chats:
        well_known = well_known_prompt
    opened = open_file(path, how, description, lambda cells: well_known(cells) is not None, always_table=False)
    if opened.format == "lines":
        found = _of_lines(opened, how, wanted)
    elif opened.format == "fasta":
        found = _of_fasta(opened, wanted)
    elif opened.format == "table":
        found = _of_table(opened, how, wanted, well_known)
    else:
        found = _of_records(opened, wanted, well_known, lists)
    return found


def _refuse_column(path: str, wanted: Wanted, what: str, or_else: str = "") -> None:
    if wanted.column is not None:
        raise DataError(
            f"{path}: is {what}, so {wanted.option}={wanted.column!r} has no effect. Remove it{or_else}.",
            code="column_no_effect",
            fields={wanted.option: wanted.column, "path": path},
        )


def _of_lines(opened: OpenedFile, how: How, wanted: Wanted) -> TextFile:
    lines, notes = opened.lines, opened.notes
    if isinstance(wanted.column, int) or (wanted.column is not None and not how.header):
        _refuse_column(opened.path, wanted, "read as plain lines", f", or set {how.options}format table")
    first = 1
    if how.header:
        notes.append(f"skipped line 1, which names the column: {shown(lines[0])}")
        lines, first = lines[1:], 2
    elif how.header is None and looks_like_header(lines[:1], [[line] for line in lines[1:100] if line.strip()]):
        notes.append(
            f"line 1 ({shown(lines[0])}) looks like a column name, but is read as data; to skip it, set "
            f"{how.options}header true"
        )
    return TextFile(opened.path, lines, range(first, first + len(lines)), "line", notes, len(opened.lines), "line")


def _of_fasta(opened: OpenedFile, wanted: Wanted) -> TextFile:
    _refuse_column(opened.path, wanted, "FASTA")
    numbers, sequences = fasta_sequences(opened.path, opened.lines)
    notes = [*opened.notes, f"{count(len(sequences), 'sequence')}, without the name lines"]
    if num_comments := sum(map(is_comment, opened.lines)):
        notes.append(f"left out {count(num_comments, 'comment line')} (;)")
    return TextFile(opened.path, sequences, numbers, "line", notes, len(opened.lines))


def _of_table(
    opened: OpenedFile, how: How, wanted: Wanted, well_known: Callable[[Sequence[str]], str | None]
) -> TextFile:
    table = table_of(opened, how, lambda cells: well_known(cells) is not None, [wanted])
    if wanted.column is not None:
        column = column_of(table, wanted)
    elif table.names is not None and (name := well_known(table.names)) is not None:
        column = table.names.index(name)
    elif table.width == 1:
        column = 0
    else:
        raise DataError(
            f"{table.path}, line {table.first[0]}: has {count(table.width, 'column')}, and it is not clear which "
            f"is the {wanted.side}: {listed(table)}. Set {wanted.option} to its name, or to its number counted "
            f"from 0. For plain lines set {how.options}format lines.",
            code="ambiguous_column",
            fields={"path": table.path, "line": table.first[0]},
        )
    numbers, texts = Numbers(), list[str]()
    for number, row in table.rows:
        if column >= len(row):
            raise too_few_columns(table, (number, row), wanted, column)
        numbers.append(number)
        texts.append(row[column])
    spaces = Spaces()
    if table.dialect.quotes:
        texts = [one_line(text, spaces) for text in texts]
    notes = [*opened.notes, *table.notes, about_columns(table, [(wanted, column)]), *spaces.notes(" within cells")]
    notes += skipped(opened.blank)
    return TextFile(opened.path, texts, numbers.done(), "line", notes, len(opened.lines))


def _of_records(
    opened: OpenedFile, wanted: Wanted, well_known: Callable[[Sequence[str]], str | None], lists: bool
) -> TextFile:
    unit, values = unit_of(opened), Values()
    numbers, texts = Numbers(), list[Text]()
    path: Path | None = None
    conversations: dict[int, list[Turn]] = {}
    known = well_known(opened.parquet.names) if opened.parquet is not None and wanted.column is None else None
    name = str(wanted.column) if wanted.column is not None else known
    for number, found in records_of(opened, None if name is None else [name]):
        where = f"{opened.path}, {unit} {number}"
        if isinstance(found, str) and wanted.column is None:
            text: Text = values.text(where, "record", found, wanted)
        else:
            record = require_object(where, found, wanted)
            if path is None:
                if well_known(list(record)) is None:
                    refuse_object_of_records(opened, number, record, wanted)
                path = _path_of(where, record, wanted, well_known)
            value = path.value_in(where, record, wanted, bool(texts))
            turns = values.turns(where, path.name, value) if lists else None
            if turns is not None:
                conversations[len(texts)] = turns
                text = [said for _, said in turns] if len(turns) > 1 else turns[0][1]
            else:
                text = (values.texts if lists else values.text)(where, path.name, value, wanted)
        numbers.append(number)
        texts.append(text)
    if not texts:
        raise no_record(opened)
    about = [] if path is None else [f"the {wanted.side} is the field {path.name!r}"]
    notes = [*opened.notes, *about, *values.notes(), *skipped(opened.blank)]
    if opened.format != "jsonl":
        notes.insert(0, f"read {count(len(texts), unit)}")
    return TextFile(opened.path, texts, numbers.done(), unit, notes, len(texts), turns=conversations)


def _path_of(
    where: str, record: Mapping[str, Any], wanted: Wanted, well_known: Callable[[Sequence[str]], str | None]
) -> Path:
    if wanted.column is not None:
        return Path.of(str(wanted.column), record)
    known = well_known(list(record))
    if known is not None:
        return Path(known, (known,))
    paths = paths_to_texts(record)
    if len(record) == len(paths) == 1 and paths[0] in record:
        return Path(paths[0], (paths[0],))
    fields = ", ".join(map(repr, record)) or "none"
    if not paths:
        raise DataError(
            f"{where}: has no field with text; its fields are {fields}. Give records with a text field.",
            code="no_text_field",
            fields={"where": where},
        )
    raise DataError(
        f"{where}: it is not clear which field is the {wanted.side}; the fields are {fields}, and those with text "
        f"are {', '.join(map(repr, paths))}. Name one, for instance {wanted.option} {paths[0]}.",
        code="ambiguous_field",
        fields={"where": where},
    )


def unit_of(opened: OpenedFile) -> str:
    """What records of a file are counted by."""
    return {"json": "record", "parquet": "row"}.get(opened.format, "line")


def records_of(opened: OpenedFile, columns: Sequence[str] | None) -> Iterable[tuple[int, Any]]:
    """The records of a file of JSON or parquet, each with its number.

    Args:
        opened: the file.
        columns: names or paths that are asked for, if they are known: other columns of parquet are not decoded.
    """
    if opened.format == "jsonl":
        return json_lines(opened.path, opened.lines, opened.blank)
    if opened.format == "json":
        return json_array(opened.path, opened.text)
    assert opened.parquet is not None
    names = opened.parquet.names
    if columns is not None:
        chosen = [name if name in names else name.partition(".")[0] for name in columns]
        for name in chosen:
            if names.count(name) > 1:
                raise DataError(
                    f"{opened.path}: has {names.count(name)} columns named {name!r}. Rename all but one.",
                    code="column_repeated",
                    fields={"path": opened.path},
                )
        if all(name in names for name in chosen):
            return opened.parquet.records(list(dict.fromkeys(chosen)))
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{opened.path}: has {names.count(repeated)} columns named {repeated!r}. Rename all but one.",
            code="columns_repeated",
            fields={"path": opened.path},
        )
    return opened.parquet.records()


def require_object(where: str, record: Any, wanted: Wanted) -> Mapping[str, Any]:
    """A record that has fields.

    Raises:
        DataError: it has none.
    """
    if isinstance(record, dict):
        return record
    raise DataError(
        f"{where}: is {json_type(record)} ({beginning(str(record))}); expected an object with a field for the "
        f'{wanted.side}, such as {{"{wanted.side}": "..."}}. Fix the record, or remove it.',
        code="record_is_no_object",
        fields={"where": where},
    )


def refuse_object_of_records(opened: OpenedFile, number: int, record: Mapping[str, Any], *wanted: Wanted) -> None:
    """See to it that the only record of JSON lines is no object around the records, if nobody says where texts stand.

    Args:
        opened: the file, whose lines up to this record were read.
        number: line of the record.
        record: the first of the file.
        wanted: what is looked for.

    Raises:
        DataError: it is one.
    """
    if opened.format != "jsonl" or any(one.column is not None for one in wanted):
        return
    around = [
        name
        for name, value in record.items()
        if isinstance(value, list) and value and not is_chat(value) and all(isinstance(one, dict) for one in value)
    ]
    if around and not any(line and not line.isspace() for line in opened.lines[number:]):
        raise one_object(opened.path, record, around[0])


def no_record(opened: OpenedFile) -> DataError:
    """The error of a file without a record."""
    return DataError(
        f"{opened.path}: contains no records. Give a file with at least one.",
        code="no_records",
        fields={"path": opened.path},
    )


def skipped(blank: Sequence[int]) -> list[str]:
    """The note of empty lines."""
    return [f"skipped {count(len(blank), 'empty line')}, {which_lines(blank)}"] if blank else []
