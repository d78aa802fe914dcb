"""Where pairs of a source and a target stand: two parallel files, a table, or a JSON object a line; as strings.

A pair that lacks a side that should be there is an error that names its line; a side that is there and empty is the
reader's to count. What the strings mean is in `pairs.py`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import ConfigError, DataError, nearest
from ..settings import Settings
from .lines import RawLines, count, read_lines, which_lines, without_controls

_LINE_BREAK = re.compile("[\r\n]")


class ParallelFiles(Settings):
    """Two files of which line i of one belongs to line i of the other."""

    kind: Literal["parallel"] = "parallel"

    source: str = Field(min_length=1)
    """Text file with one source a line, plain or gzip-compressed; splits without files of their own come from it."""

    target: str = Field(min_length=1)
    """Text file with the target of each line of `source`."""

    valid_source: str | None = Field(default=None, min_length=1)
    """File of the sources held out for early stopping and selection; None: split off."""

    valid_target: str | None = Field(default=None, min_length=1)
    """File of their targets."""

    test_source: str | None = Field(default=None, min_length=1)
    """File of the sources held out for the figures that are reported; None: split off."""

    test_target: str | None = Field(default=None, min_length=1)
    """File of their targets."""

    @model_validator(mode="after")
    def _held_out_files_come_in_twos(self) -> ParallelFiles:
        for split in ("valid", "test"):
            sides = {side: getattr(self, f"{split}_{side}") for side in ("source", "target")}
            given = [side for side, path in sides.items() if path is not None]
            if len(given) == 1:
                lacking = "target" if given == ["source"] else "source"
                raise ConfigError(
                    f"{split}_{given[0]}={sides[given[0]]!r}: has no {split}_{lacking} beside it. Give both, or "
                    "neither, and pairs are split off."
                )
        return self

    @model_validator(mode="after")
    def _sides_have_files_of_their_own(self) -> ParallelFiles:
        for prefix in ("", "valid_", "test_"):
            source, target = getattr(self, f"{prefix}source"), getattr(self, f"{prefix}target")
            if source is not None and target is not None and _absolute(source) == _absolute(target):
                raise ConfigError(
                    f"{prefix}source={source!r}: is the file of {prefix}target too, and every source would be its own "
                    "target. Give the file of the sources and that of the targets; one file of both is tsv or jsonl "
                    "(--pairs)."
                )
        return self

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split with files of its own, the setting that names the sources' file, and its path."""
        files = {"valid": self.valid_source, "test": self.test_source}
        return {split: (f"input.{split}_source", path) for split, path in files.items() if path is not None}


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


class _OneFile(Settings):
    data: str = Field(min_length=1)
    """File of the pairs, plain or gzip-compressed; splits without a file of their own come from it."""

    valid: str | None = Field(default=None, min_length=1)
    """File of the pairs held out for early stopping and selection; None: split off from `data`."""

    test: str | None = Field(default=None, min_length=1)
    """File of the pairs held out for the figures that are reported; None: split off from `data`."""

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split with a file of its own, the setting that names it, and its path."""
        files = {"valid": self.valid, "test": self.test}
        return {split: (f"input.{split}", path) for split, path in files.items() if path is not None}


class Table(_OneFile):
    """A file of columns with a tab between them, one pair a line; there is no quoting."""

    kind: Literal["tsv"] = "tsv"

    source: int | str = 0
    """Column of the source: counted from 0, or by its name, which the first line then holds."""

    target: int | str = 1
    """Column of the target, given in the same way."""

    @field_validator("source", "target", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Table:
        if isinstance(self.source, str) != isinstance(self.target, str):
            raise ConfigError(
                f"source={self.source!r}, target={self.target!r}: a name says that the first line holds names, a "
                "number that it does not. Give both by name or both by number."
            )
        if self.source == self.target:
            raise ConfigError(f"source={self.source!r}: is the target's column too. Name two columns.")
        for side in ("source", "target"):
            column = getattr(self, side)
            if column == "" or (isinstance(column, int) and column < 0):
                raise ConfigError(f"{side}={column!r}: no column. Count from 0, or give the name in the first line.")
        return self


class Records(_OneFile):
    """A file with a JSON object a line; a source may be a list of strings, a target a list of alternatives."""

    kind: Literal["jsonl"] = "jsonl"

    source: str = Field(default="source", min_length=1)
    """Name of the field of the source: a string, or a list of strings (turns, sentences)."""

    target: str = Field(default="target", min_length=1)
    """Name of the field of the target: a string, or a list of strings, each of which makes a pair with the source."""

    @model_validator(mode="after")
    def _fields_differ(self) -> Records:
        if self.source == self.target:
            raise ConfigError(f"source={self.source!r}: is the target's field too. Name two fields.")
        return self


PairInput = Annotated[ParallelFiles | Table | Records, Field(discriminator="kind")]
"""Where pairs stand."""


@dataclass(frozen=True, slots=True)
class RawPair:
    """A pair as it stands in a file.

    Attributes:
        number: of its line, from 1.
        source: a string, or a list of them.
        target: a string.
    """

    number: int
    source: str | list[str]
    target: str


@dataclass
class PairFile:
    """The pairs of a split.

    Attributes:
        path: of its file or files, for notes and errors.
        pairs: in the order of the file.
        notes: what was read and taken away.
    """

    path: str
    pairs: list[RawPair]
    notes: list[str] = field(default_factory=list)


def read_pairs(settings: ParallelFiles | Table | Records, split: str, encoding: str) -> PairFile:
    """Read the file of a split, which it must have.

    Args:
        settings: where pairs stand.
        split: "train", "valid" or "test".
        encoding: of the characters.

    Raises:
        DataError: a file is missing or unreadable, sides do not fit together, or a line is not what it should be.
    """
    return _READERS[type(settings)](settings, split, encoding)


def _read_parallel(settings: ParallelFiles, split: str, encoding: str) -> PairFile:
    prefix = "" if split == "train" else f"{split}_"
    wanted = "a text file with one sentence a line"
    sources = read_lines(getattr(settings, f"{prefix}source"), encoding, wanted)
    targets = read_lines(getattr(settings, f"{prefix}target"), encoding, wanted)
    shorter, longer = sorted((sources, targets), key=lambda raw: len(raw.lines))
    if len(shorter.lines) < len(longer.lines):
        number = len(shorter.lines) + 1
        if number == len(longer.lines) and not longer.lines[-1].strip():
            raise DataError(
                f"{longer.path} has {count(number, 'line')} and {shorter.path} {number - 1}; line i of one belongs to "
                f"line i of the other. Of {longer.path} its last line is empty: delete it."
            )
        raise DataError(
            f"{sources.path} has {count(len(sources.lines), 'line')} and {targets.path} {len(targets.lines)}; line i "
            f"of one belongs to line i of the other. The first line without a partner is line {number} of "
            f"{longer.path}: {_shown(longer.lines[number - 1])}. Give files that were made together; if a line is "
            "missing further up, every pair after it is wrong."
        )
    pairs = [
        RawPair(number, source, target)
        for number, (source, target) in enumerate(zip(sources.lines, targets.lines, strict=True), start=1)
    ]
    notes = [f"{sources.notes[0]} of each"]
    notes += [f"{note} in {raw.path}" for raw in (sources, targets) for note in raw.notes[1:]]
    return PairFile(f"{sources.path}, {targets.path}", pairs, notes + _first_pair(pairs))


def _read_table(settings: Table, split: str, encoding: str) -> PairFile:
    raw = read_lines(_path(settings, split), encoding, "a file with a source, a tab and a target a line")
    rows = [(number, line.split("\t")) for number, line in enumerate(raw.lines, start=1) if line.strip()]
    first = rows[0] if rows else None
    if isinstance(settings.source, str):
        header, rows = (rows[0][1], rows[1:]) if rows else ([], [])
        columns = {side: _named_column(raw.path, header, side, getattr(settings, side)) for side in _SIDES}
    else:
        columns = {side: getattr(settings, side) for side in _SIDES}
    pairs = []
    for number, row in rows:
        for side, column in columns.items():
            if column >= len(row):
                raise DataError(
                    f"{raw.path}, line {number}: has {count(len(row), 'column')} ({_shown(chr(9).join(row))}); the "
                    f"{side} is column {column}, counted from 0. Put a tab between columns, or set input.{side}."
                )
        pairs.append(RawPair(number, row[columns["source"]], row[columns["target"]]))
    about = [_about_columns(settings, columns, *first)] if first is not None else []
    return PairFile(raw.path, pairs, raw.notes + _blank_lines(raw) + about + _first_pair(pairs))


def _about_columns(settings: Table, columns: Mapping[str, int], number: int, row: list[str]) -> str:
    """What is read of the first line; that it holds names where columns are given by name."""
    read = ", ".join(f"the {side} is column {columns[side]}" for side in _SIDES)
    what = "names" if isinstance(settings.source, str) else "has"
    return f"line {number} {what} {count(len(row), 'column')}; counted from 0, {read}"


def _named_column(path: str, header: list[str], side: str, name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    what = f"stands {header.count(name)} times" if name in header else "is not"
    columns = ", ".join(map(repr, header)) or "nothing"
    raise DataError(
        f"{path}, line 1: input.{side}={name!r} {what} among the names of columns, which are {columns}. Name one of "
        f"them, or give both columns by number.{nearest(name, header)}"
    )


def _read_records(settings: Records, split: str, encoding: str) -> PairFile:
    raw = read_lines(_path(settings, split), encoding, "a file with a JSON object a line")
    pairs: list[RawPair] = []
    num_controls = num_several = 0
    for number, line in enumerate(raw.lines, start=1):
        if not line.strip():
            continue
        where = f"{raw.path}, line {number}"
        record = _record(where, line)
        strings = {side: _field(where, record, side, getattr(settings, side), bool(pairs)) for side in _SIDES}
        cleaned: dict[str, str | list[str]] = {}
        for side, value in strings.items():
            parts = [_one_line(part) for part in ([value] if isinstance(value, str) else value)]
            num_controls += sum(number_of for _, number_of in parts)
            texts = [text for text, _ in parts]
            cleaned[side] = texts[0] if isinstance(value, str) else texts
        targets = [cleaned["target"]] if isinstance(cleaned["target"], str) else (cleaned["target"] or [""])
        num_several += len(targets) > 1
        pairs += [RawPair(number, cleaned["source"], target) for target in targets]
    notes = raw.notes + _blank_lines(raw)
    if num_several:
        notes.append(f"{count(num_several, 'record')} with several targets, of which each makes a pair")
    if num_controls:
        notes.append(f"read {count(num_controls, 'control character')} within strings as a space")
    return PairFile(raw.path, pairs, notes + _first_pair(pairs))


def _record(where: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        # Python counts lines, too, but within this one.
        told = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(
            f"{where}: not JSON ({told}): {_shown(line)}. Every line is one JSON object, as {{'source': ..., "
            "'target': ...}; an array over several lines is to be written so first."
        ) from error
    if not isinstance(record, dict):
        raise DataError(
            f"{where}: holds {_json_type(record)}, expected an object with a field for each side, as {{'source': ..., "
            "'target': ...}."
        )
    return record


def _field(where: str, record: dict[str, Any], side: str, name: str, had_by_others: bool) -> str | list[str]:
    """The strings of a side; `had_by_others` says whether lines before this one have the field."""
    if name not in record:
        fields = ", ".join(map(repr, record)) or "none"
        if had_by_others:
            remedy = "Every line before it has one: give this one, too, its field, or leave the line out."
        else:
            remedy = f"Set input.{side} to the {side}'s."
        raise DataError(f"{where}: has no field {name!r}; its fields are {fields}. {remedy}" + nearest(name, record))
    value = record[name]
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not isinstance(part, str):
            within = "a list with " if isinstance(value, list) else ""
            raise DataError(
                f"{where}: field {name!r} is {within}{_json_type(part)} ({_beginning(json.dumps(part))}); expected a "
                "string or a list of strings. Write it as a string, or leave the line out."
            )
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: field {name!r} holds half of a surrogate pair ({part[error.start]!a}), which is no "
                "character. Write the file anew with whole characters."
            ) from error
    return value


def _one_line(text: str) -> tuple[str, int]:
    text, num_controls = without_controls(text)
    text, num_breaks = _LINE_BREAK.subn(" ", text)
    return text, num_controls + num_breaks


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(text: str) -> str:
    return repr(_beginning(text))


def _beginning(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first_pair(pairs: list[RawPair]) -> list[str]:
    """The first pair, by which one sees at once that sides are swapped, or that names of columns are read as a pair."""
    if not pairs:
        return []
    first = pairs[0]
    source = _shown(first.source) if isinstance(first.source, str) else _beginning(str(first.source))
    return [f"first pair, line {first.number}: source {source}, target {_shown(first.target)}"]


def _blank_lines(raw: RawLines) -> list[str]:
    blank = [number for number, line in enumerate(raw.lines, start=1) if not line.strip()]
    return [f"skipped {count(len(blank), 'empty line')}, {which_lines(blank)}"] if blank else []


def _path(settings: Table | Records, split: str) -> str:
    return settings.data if split == "train" else settings.held_out_files[split][1]


_SIDES = ("source", "target")

_READERS: Mapping[type[Settings], Callable[[Any, str, str], PairFile]] = {
    ParallelFiles: _read_parallel,
    Table: _read_table,
    Records: _read_records,
}
