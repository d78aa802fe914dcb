"""Pairs of a source and a target of which each is one record of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlgan.base.errors import DataError, nearest

from .characters import Spaces, one_line
from .chats import answered
from .columns import (
    WELL_KNOWN_PAIRS,
    WELL_KNOWN_SOURCES,
    Path,
    Wanted,
    folded,
    paths_to_texts,
    well_known_chat,
    well_known_pairs,
)
from .how import How
from .notes import count, shown
from .numbers import Numbers
from .opening import OpenedFile, open_file
from .table_columns import Table, about_columns, column_of, listed, table_of, too_few_columns
from .texts import Text, no_record, records_of, refuse_object_of_records, require_object, skipped, unit_of
from .values import Values


@dataclass
class PairFile:
    """The pairs of a file, or of two.

    Attributes:
        path: of the file or files, for notes and errors.
        sources: in the order of the file: a string each, or a list of them (turns, sentences).
        targets: of each source the target; empty where there is none.
        numbers: of the line, record or row that each pair stands on, from 1.
        unit: what is counted: "line", "record" or "row".
        notes: what was read, left out and changed, and the first pair as it was read.
        targets_alone: what is typed behind --data to read the targets alone.
    """

    path: str
    sources: Sequence[Text]
    targets: Sequence[str]
    numbers: Sequence[int]
    unit: str = "line"
    notes: list[str] = field(default_factory=list)
    targets_alone: str = ""

    def where(self, number: int) -> str:
        """File and line of a pair, for errors."""
        return f"{self.path}, {self.unit} {number}"

    def given_up(self) -> Iterator[tuple[int, Text, str]]:
        """Each pair's number, source and target; the file has none of them left, see `TextFile.given_up`."""
        sources, targets = [*self.sources], [*self.targets]
        self.sources, self.targets = [], []
        sources.reverse()
        targets.reverse()
        for number in self.numbers:
            yield number, sources.pop(), targets.pop()


def first_pair(file: PairFile) -> list[str]:
    """The first pair, which shows that sides are swapped, or that names of columns are read as a pair."""
    if not file.numbers:
        return []
    source, target = shown(file.sources[0]), shown(file.targets[0])
    return [f"first pair, {file.unit} {file.numbers[0]}: source {source}, target {target}"]


def read_pairs_of_file(path: str, how: How, source: Wanted, target: Wanted) -> PairFile:
    """Read a file of which every record has a source and a target.

    Args:
        path: of the file.
        how: how it is read.
        source: where the source stands.
        target: where the target stands.

    Raises:
        DataError: the file cannot be read, or a record has no source or target where they should stand.
    """
    description = "a table or JSON records with a source and a target each"
    opened = open_file(path, how, description, lambda cells: bool(well_known_pairs(cells)), always_table=True)
    if opened.format in ("lines", "fasta"):
        raise DataError(
            f"{path}: each of its {'lines' if opened.format == 'lines' else 'sequences'} is a single text, but a "
            f"pair has two sides; it begins with {shown(opened.lines[0])}. Put a tab between source and target, "
            f"set {how.options}separator to the separator of the file, or give two files with --source and "
            "--target.",
            code="no_pairs_in_lines",
            fields={"path": path},
        )
    found = _of_table(opened, how, source, target) if opened.format == "table" else _of_records(opened, source, target)
    found.notes += first_pair(found)
    return found


# Tables


def _of_table(opened: OpenedFile, how: How, source: Wanted, target: Wanted) -> PairFile:
    table = table_of(opened, how, lambda cells: bool(well_known_pairs(cells)), [source, target])
    columns, behind = _columns_of_table(table, how, source, target)
    numbers, sources, targets = Numbers(), list[str](), list[str]()
    num_uneven = 0
    for row in table.rows:
        number, cells = row
        try:
            sources.append(cells[columns[0]])
            targets.append(cells[columns[1]])
            if behind is not None and (more := cells[behind]).strip():
                sources[-1] += f" {more}"
        except IndexError:
            lacking = columns[0] >= len(cells)
            raise too_few_columns(table, row, *((source, columns[0]) if lacking else (target, columns[1]))) from None
        numbers.append(number)
        num_uneven += len(cells) != table.width
    spaces = Spaces()
    if table.dialect.quotes:
        sources = [one_line(text, spaces) for text in sources]
        targets = [one_line(text, spaces) for text in targets]
    about = about_columns(table, [(source, columns[0]), (target, columns[1])])
    notes = [*opened.notes, *skipped(opened.blank), *table.notes, about]
    if behind is not None:
        notes.append(f"appended the text of column {behind} to the source where it is not empty")
    if num_uneven:
        notes.append(f"{count(num_uneven, 'row')} with a different number of columns than line {table.first[0]}")
    notes += spaces.notes(" within cells")
    column = columns[1] if table.names is None else table.names[columns[1]]
    alone = f"{opened.path} --task.column {column}"
    return PairFile(opened.path, sources, targets, numbers.done(), "line", notes, alone)


def _columns_of_table(table: Table, how: How, source: Wanted, target: Wanted) -> tuple[tuple[int, int], int | None]:
    """The columns of source and target, and of what stands behind the source."""
    if source.column is None and target.column is None and table.names is not None:
        known = well_known_pairs(table.names)
        if len(known) > 1:
            raise _several_known(f"{table.path}, line {table.first[0]}", known, source, target)
        if known:
            _refuse_repeated(table, known[0])
            places = table.names.index(known[0][0]), table.names.index(known[0][1])
            behind = _behind(table.names, known[0])
            return places, None if behind is None else table.names.index(behind)
    given = [None if one.column is None else column_of(table, one) for one in (source, target)]
    if table.width == 2:
        # Of two columns the one that is left is the other side's.
        first = given[0] if given[0] is not None else 1 - given[1] if given[1] is not None else 0
        given = [first, given[1] if given[1] is not None else 1 - first]
    if given[0] is None or given[1] is None:
        lacking = source if given[0] is None else target
        if table.width == 1:
            raise DataError(
                f"{table.path}, line {table.first[0]}: has 1 column ({shown(table.first[1][0])}), but a pair has "
                f"two sides. The table is read with {table.dialect}. Set {how.options}separator to the separator "
                "between source and target, or give two files with --source and --target.",
                code="pairs_of_one_column",
                fields={"path": table.path, "line": table.first[0]},
            )
        raise DataError(
            f"{table.path}, line {table.first[0]}: has {count(table.width, 'column')}, and it is not clear which "
            f"is the {lacking.side}: {listed(table)}. Set {source.option} and {target.option} to their names, or "
            "to their numbers counted from 0.",
            code="ambiguous_pair_columns",
            fields={"path": table.path, "line": table.first[0]},
        )
    if given[0] == given[1]:
        raise DataError(
            f"{table.path}: {source.option} and {target.option} are both column {given[0]}. Give two different "
            "columns.",
            code="same_pair_column",
            fields={"path": table.path},
        )
    return (given[0], given[1]), None


def _refuse_repeated(table: Table, names: Sequence[str]) -> None:
    assert table.names is not None
    for name in names:
        if table.names.count(name) > 1:
            raise DataError(
                f"{table.path}, line {table.first[0]}: the column name {name!r} appears {table.names.count(name)} "
                "times. Rename one, or give columns by number, counted from 0.",
                code="repeated_column_name",
                fields={"path": table.path, "line": table.first[0]},
            )


def _behind(names: Sequence[str], pair: tuple[str, str]) -> str | None:
    """The column of which the text stands behind a source: the input of an instruction."""
    return folded(names).get("input") if pair[0].strip().lower() == "instruction" else None


def _several_known(where: str, known: Sequence[tuple[str, ...]], source: Wanted, target: Wanted) -> DataError:
    described = ", and ".join(" and ".join(map(repr, names)) for names in known)
    example = known[0] if len(known[0]) == 2 else known[-1]
    return DataError(
        f"{where}: has the fields {described}; it is not clear which are source and target. Name them, for "
        f"instance {source.option} {example[0]} {target.option} {example[1]}.",
        code="ambiguous_pair_fields",
        fields={"where": where},
    )


# Objects

Sides = tuple[Text, list[str]]


class _Selection(Protocol):
    """What is source and what are targets of a record."""

    described: str
    target: str
    num_after: int

    def of(self, where: str, record: Mapping[str, Any], had_by_others: bool) -> Sides: ...


class _Chat:
    """A field that is a conversation: what was said before the last answer, and that answer."""

    def __init__(self, name: str, wanted: Wanted, values: Values) -> None:
        self._path, self._wanted, self._values = Path(name, (name,)), wanted, values
        self.described = f"the source is the turns of {name!r} before the last answer, the target is that answer"
        self.target = f"{name}.-1.content"
        self.num_after = 0

    def of(self, where: str, record: Mapping[str, Any], had_by_others: bool) -> Sides:
        value = self._path.value_in(where, record, self._wanted, had_by_others)
        turns = self._values.turns(where, self._path.name, value)
        if turns is None:
            raise DataError(
                f"{where}: {self._path.name!r} is not a list of messages ({shown(str(value))}). A message has the "
                "fields role and content (or from and value). Fix the field, or remove the record.",
                code="no_message_list",
                fields={"where": where},
            )
        before, answer, after = answered(turns)
        self.num_after += after
        return before[0] if len(before) == 1 else before, [answer]


class _Fields:
    """A field of the source and one of the target."""

    def __init__(
        self, source: tuple[Wanted, Path], target: tuple[Wanted, Path], behind: str | None, values: Values
    ) -> None:
        (self._source, self._source_path), (self._target, self._target_path) = source, target
        self._behind, self._values = behind, values
        more = "" if behind is None else f" followed by the text of {behind!r} where it is not empty"
        self.described = f"the source is the field {source[1].name!r}{more}, the target {target[1].name!r}"
        self.target = target[1].name
        self.num_after = 0

    def of(self, where: str, record: Mapping[str, Any], had_by_others: bool) -> Sides:
        value = self._source_path.value_in(where, record, self._source, had_by_others)
        answer = self._target_path.value_in(where, record, self._target, had_by_others)
        if self._behind is None and isinstance(value, str) and isinstance(answer, str):
            text = self._values.text
            return (
                text(where, self._source_path.name, value, self._source),
                [text(where, self._target_path.name, answer, self._target)],
            )
        return self._source_of(where, record, value), self._targets_of(where, answer)

    def _source_of(self, where: str, record: Mapping[str, Any], value: Any) -> Text:
        name = self._source_path.name
        turns = self._values.turns(where, name, value)
        if turns is not None:
            return turns[0][1] if len(turns) == 1 else [text for _, text in turns]
        found = self._values.texts(where, name, value, self._source)
        more = record.get(self._behind) if self._behind is not None else None
        if more is None:
            return found
        text = self._values.text(where, str(self._behind), more, self._source)
        if not text.strip():
            return found
        return f"{found} {text}" if isinstance(found, str) else [*found, text]

    def _targets_of(self, where: str, value: Any) -> list[str]:
        name = self._target_path.name
        turns = self._values.turns(where, name, value)
        if turns is not None:
            before, answer, after = answered(turns)
            self.num_after += len(before) + after
            return [answer]
        found = self._values.texts(where, name, value, self._target)
        return [found] if isinstance(found, str) else (found or [""])


def _of_records(opened: OpenedFile, source: Wanted, target: Wanted) -> PairFile:
    unit, values = unit_of(opened), Values()
    numbers, sources, targets = Numbers(), list[Text](), list[str]()
    selection: _Selection | None = None
    num_records = num_several = num_unanswered = 0
    for number, found in records_of(opened, _columns_of_parquet(opened, source, target)):
        where = f"{opened.path}, {unit} {number}"
        record = require_object(where, found, source)
        if selection is None:
            if not well_known_pairs(list(record)) and well_known_chat(list(record)) is None:
                refuse_object_of_records(opened, number, record, source, target)
            selection = _selected(where, record, source, target, values)
        text, answers = selection.of(where, record, num_records > 0)
        num_records += 1
        num_several += len(answers) > 1
        num_unanswered += answers == [""]
        for answer in answers:
            numbers.append(number)
            sources.append(text)
            targets.append(answer)
    if selection is None:
        raise no_record(opened)
    notes = [*opened.notes, *skipped(opened.blank), selection.described]
    if opened.format != "jsonl":
        notes.insert(0, f"read {count(num_records, unit)}")
    if num_several:
        notes.append(f"{count(num_several, 'record')} with several targets; each target makes a pair")
    if selection.num_after:
        notes.append(f"removed {count(selection.num_after, 'turn')} around the last answer of a target")
    notes += values.notes()
    alone = f"{opened.path} --task.column {selection.target}"
    return PairFile(opened.path, sources, targets, numbers.done(), unit, notes, alone)


def _columns_of_parquet(opened: OpenedFile, source: Wanted, target: Wanted) -> list[str] | None:
    """Columns that need not stand in a record for a message; None where all are wanted."""
    if opened.parquet is None or source.column is None or target.column is None:
        return None
    return [str(source.column), str(target.column)]


def _selected(where: str, record: Mapping[str, Any], source: Wanted, target: Wanted, values: Values) -> _Chat | _Fields:
    names = list(record)
    if source.column is None and target.column is None:
        pairs, chat = well_known_pairs(names), well_known_chat(names)
        known: list[tuple[str, ...]] = [*pairs, *([] if chat is None else [(chat,)])]
        if len(known) > 1:
            if not pairs:
                raise _unknown(where, record, source, target)
            raise _several_known(where, known, source, target)
        if chat is not None:
            return _Chat(chat, source, values)
        if not pairs:
            raise _unknown(where, record, source, target)
        (of_source, of_target) = pairs[0]
        paths = Path(of_source, (of_source,)), Path(of_target, (of_target,))
        return _Fields((source, paths[0]), (target, paths[1]), _behind(names, pairs[0]), values)
    chosen = [
        Path.of(str(one.column), record) if one.column is not None else _other_side(where, record, one, other)
        for one, other in ((source, target), (target, source))
    ]
    if chosen[0].is_within(chosen[1]) or chosen[1].is_within(chosen[0]):
        raise DataError(
            f"{where}: {source.option}={chosen[0].name!r} and {target.option}={chosen[1].name!r} are the same "
            "field, or one contains the other, so a source would contain its own answer. Name two different "
            "fields. For a list of messages leave both out: the turns before the last answer are then the source.",
            code="source_holds_target",
            fields={source.option: chosen[0].name, target.option: chosen[1].name, "where": where},
        )
    return _Fields((source, chosen[0]), (target, chosen[1]), None, values)


def _other_side(where: str, record: Mapping[str, Any], wanted: Wanted, other: Wanted) -> Path:
    """The side that is not named beside one that is."""
    known = folded(list(record))
    sides = WELL_KNOWN_SOURCES if wanted.side == "source" else tuple(dict.fromkeys(t for _, t in WELL_KNOWN_PAIRS))
    found = [known[name] for name in sides if name in known and known[name] != other.column]
    if len(found) == 1:
        return Path(found[0], (found[0],))
    fields = ", ".join(map(repr, record)) or "none"
    raise DataError(
        f"{where}: it is not clear which field is the {wanted.side} beside {other.option}={other.column!r}; the "
        f"fields are {fields}. Set {wanted.option}, too.",
        code="ambiguous_other_field",
        fields={other.option: other.column, "where": where},
    )


def _unknown(where: str, record: Mapping[str, Any], source: Wanted, target: Wanted) -> DataError:
    """The error of a record without well-known names; suggests paths that lead to texts."""
    fields = ", ".join(map(repr, record)) or "none"
    paths = paths_to_texts(record)
    if len(paths) > 1:
        remedy = (
            f"Fields with text are {', '.join(map(repr, paths))}. Name two, for instance {source.option} "
            f"{paths[0]} {target.option} {paths[1]}."
        )
    else:
        remedy = f"Set {source.option} and {target.option} to fields that contain text."
    near = next((hint for name in ("source", "target") if name not in record and (hint := nearest(name, record))), "")
    return DataError(
        f"{where}: it is not clear which fields are source and target; the fields are {fields}. {remedy}{near}",
        code="unclear_pair_fields",
        fields={"where": where},
    )
