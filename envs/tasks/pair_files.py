"""Where pairs of a source and a target stand: two parallel files, or one of records.

Files are read in `rlgan.envs.reading`. A pair that lacks a side that should be there is an error that names its line; a
side that is there and empty is counted in `pairs.py`, which also says what the strings mean.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import IsFile, Settings

from ..reading import (
    Column,
    How,
    PairFile,
    TextFile,
    Wanted,
    as_column,
    count,
    first_pair,
    read_pairs_of_file,
    read_texts,
    shown,
)


class _Input(Settings):
    fixed_format: ClassVar[str | None] = None
    """Format of its files, where the settings of reading have no effect."""
    may_have_header: ClassVar[bool] = True
    """Whether `header` has an effect on its files."""
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """Endings of the names of the settings that name a split's files."""

    @property
    def columns(self) -> tuple[Column | None, ...]:
        """Where in a table the texts stand; none of what is no table."""
        return ()


class ParallelFiles(_Input):
    """Two files: line i of the target file belongs to line i of the source file."""

    suffixes: ClassVar[tuple[str, ...]] = ("-source", "-target")

    kind: Literal["parallel"] = "parallel"

    source: Annotated[str, IsFile("source")] = Field(min_length=1)
    """File with one source per line. Validation and test pairs are split off from it unless they have their own
    files."""

    target: Annotated[str, IsFile("target")] = Field(min_length=1)
    """File with the target of each line of `source`."""

    valid_source: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the validation sources, for early stopping and model selection; None: split off."""

    valid_target: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of their targets."""

    test_source: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the test sources, for the reported metrics; None: split off."""

    test_target: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of their targets."""

    column: Column | None = None
    """Column of the text in files with several columns or fields: number from 0, name, or path into objects; None:
    `text`, or the only one."""

    @field_validator("column", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object, info: ValidationInfo) -> object:
        return as_column(str(info.field_name), value)

    @model_validator(mode="after")
    def _held_out_files_come_in_twos(self) -> ParallelFiles:
        for split in ("valid", "test"):
            sides = {side: getattr(self, f"{split}_{side}") for side in ("source", "target")}
            given = [side for side, path in sides.items() if path is not None]
            if len(given) == 1:
                lacking = "target" if given == ["source"] else "source"
                raise ConfigError(
                    f"{split}_{given[0]}={sides[given[0]]!r}: {split}_{lacking} is missing. Give both, or neither; "
                    "without them pairs are split off.",
                    code="split_lacks_side",
                    fields={f"{split}_{given[0]}": sides[given[0]]},
                )
        return self

    @model_validator(mode="after")
    def _sides_have_files_of_their_own(self) -> ParallelFiles:
        for prefix in ("", "valid_", "test_"):
            source, target = getattr(self, f"{prefix}source"), getattr(self, f"{prefix}target")
            if source is not None and target is not None and _absolute(source) == _absolute(target):
                raise ConfigError(
                    f"{prefix}source={source!r}: is also the file of {prefix}target, so every source would be its "
                    "own target. Give a file of sources and a file of targets; to read one file with both, use "
                    "--pairs.",
                    code="same_file_twice",
                    fields={f"{prefix}source": source},
                )
        return self

    @property
    def columns(self) -> tuple[Column | None, ...]:
        """See `_Input.columns`."""
        return (self.column,)

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split with files of its own, the setting that names the sources' file, and its path."""
        files = {"valid": self.valid_source, "test": self.test_source}
        return {split: (f"input.{split}_source", path) for split, path in files.items() if path is not None}


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


class _OneFile(_Input):
    data: Annotated[str, IsFile("pairs")] = Field(min_length=1)
    """File of the pairs. Validation and test pairs are split off from it unless they have their own files."""

    valid: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the validation pairs, for early stopping and model selection; None: split off from `data`."""

    test: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the test pairs, for the reported metrics; None: split off from `data`."""

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split with a file of its own, the setting that names it, and its path."""
        files = {"valid": self.valid, "test": self.test}
        return {split: (f"input.{split}", path) for split, path in files.items() if path is not None}


class PairsFile(_OneFile):
    """A file with a source and a target in every row or record: a table, JSON or parquet. The format is detected."""

    kind: Literal["file"] = "file"

    source: Column | None = None
    """Column of the source: number from 0, name, or a path into objects (`translation.de`, `messages.-1.content`);
    None: detected by well-known names (source and target, messages), or the first of two columns."""

    target: Column | None = None
    """Column of the target, given in the same way; None: detected in the same way, or the second of two columns."""

    @field_validator("source", "target", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object, info: ValidationInfo) -> object:
        return as_column(str(info.field_name), value)

    @model_validator(mode="after")
    def _columns_differ(self) -> PairsFile:
        if self.source is not None and self.source == self.target:
            raise ConfigError(
                f"source={self.source!r}: is also the column of the target. Give two different columns.",
                code="source_is_target_column",
                fields={"source": self.source},
            )
        return self

    @property
    def columns(self) -> tuple[Column | None, ...]:
        """See `_Input.columns`."""
        return self.source, self.target


class Table(_OneFile):
    """A file with tab-separated columns, one pair per line, whatever its name; quotes are ordinary characters."""

    fixed_format: ClassVar[str | None] = "table"

    kind: Literal["tsv"] = "tsv"

    source: int | str = 0
    """Column of the source: number counted from 0, or name. With names, the first line must contain them."""

    target: int | str = 1
    """Column of the target, given in the same way."""

    @field_validator("source", "target", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object, info: ValidationInfo) -> object:
        return as_column(str(info.field_name), value)

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Table:
        if isinstance(self.source, str) != isinstance(self.target, str):
            raise ConfigError(
                f"source={self.source!r}, target={self.target!r}: a name means that the first line contains column "
                "names, a number means that it does not. Give both by name or both by number.",
                code="mixed_columns",
                fields={"source": self.source, "target": self.target},
            )
        if self.source == self.target:
            raise ConfigError(
                f"source={self.source!r}: is also the column of the target. Give two different columns.",
                code="source_is_target_in_table",
                fields={"source": self.source},
            )
        return self

    @property
    def columns(self) -> tuple[Column | None, ...]:
        """See `_Input.columns`."""
        return self.source, self.target


class Records(_OneFile):
    """A file with one JSON object per line, whatever its name; sources and targets may be lists of strings."""

    fixed_format: ClassVar[str | None] = "jsonl"
    may_have_header: ClassVar[bool] = False

    kind: Literal["jsonl"] = "jsonl"

    source: str = Field(default="source", min_length=1)
    """Field of the source, by name or path: a string, or a list of strings (turns, sentences)."""

    target: str = Field(default="target", min_length=1)
    """Field of the target, by name or path: a string, or a list of strings, each of which makes a pair with the
    source."""

    @model_validator(mode="after")
    def _fields_differ(self) -> Records:
        if self.source == self.target:
            raise ConfigError(
                f"source={self.source!r}: is also the field of the target. Give two different fields.",
                code="source_is_target_field",
                fields={"source": self.source},
            )
        return self


PairInput = Annotated[ParallelFiles | PairsFile | Table | Records, Field(discriminator="kind")]
"""Where pairs stand."""


def read_pairs(settings: ParallelFiles | PairsFile | Table | Records, split: str, how: How) -> PairFile:
    """Read the file of a split, which it must have.

    Args:
        settings: where pairs stand.
        split: "train", "valid" or "test".
        how: how files are read.

    Raises:
        DataError: a file is missing or unreadable, sides do not fit together, or a line is not what it should be.
    """
    if isinstance(settings, ParallelFiles):
        return _read_parallel(settings, split, how)
    if isinstance(settings, Table):
        how = replace(how, format="table", separator="\t", quotes=False, same_columns=False, known_names=False)
    elif isinstance(settings, Records):
        how = replace(how, format="jsonl")
    path = settings.data if split == "train" else settings.held_out_files[split][1]
    source = Wanted("source", "--task.input.source", settings.source)
    target = Wanted("target", "--task.input.target", settings.target)
    return read_pairs_of_file(path, how, source, target)


def _read_parallel(settings: ParallelFiles, split: str, how: How) -> PairFile:
    prefix = "" if split == "train" else f"{split}_"
    sources, targets = (
        read_texts(
            getattr(settings, f"{prefix}{side}"),
            how,
            Wanted(side, "--task.input.column", settings.column),
            "a text file with one sentence per line",
        )
        for side in ("source", "target")
    )
    if len(sources.texts) != len(targets.texts):
        raise _uneven(sources, targets)
    notes = [f"{note} in {raw.path}" for raw in (sources, targets) for note in raw.notes]
    each = f"read {count(sources.num_units, sources.unit)}"
    if each in sources.notes and each in targets.notes:
        notes = [f"{each} of each", *(note for note in notes if not note.startswith(f"{each} in "))]
    path = f"{sources.path}, {targets.path}"
    found = PairFile(path, sources.strings, targets.strings, sources.numbers, sources.unit, notes, targets.path)
    found.notes += first_pair(found)
    return found


def _uneven(sources: TextFile, targets: TextFile) -> DataError:
    shorter, longer = sorted((sources, targets), key=lambda file: len(file.texts))
    number = len(shorter.texts)
    if number + 1 == len(longer.texts) and not longer.strings[-1].strip():
        return DataError(
            f"{longer.path} has {count(number + 1, longer.unit)} and {shorter.path} has {number}; line i of one "
            f"belongs to line i of the other. The last {longer.unit} of {longer.path} is empty. Delete it.",
            code="trailing_empty_line",
            fields={"path": longer.path},
        )
    return DataError(
        f"{sources.path} has {count(len(sources.texts), sources.unit)} and {targets.path} has "
        f"{len(targets.texts)}; line i of one belongs to line i of the other. The first {longer.unit} without a "
        f"partner is {longer.unit} {longer.numbers[number]} of {longer.path}: {shown(longer.strings[number])}. "
        "Give files that match line by line. If a line is missing further up, every pair after it is wrong.",
        code="unequal_files",
        fields={"path": sources.path},
    )
