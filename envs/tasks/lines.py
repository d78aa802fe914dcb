"""What every task that reads files shares: settings of reading, splitting off, lengths, padding.

Files themselves are read in `rlgan.envs.reading`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import Settings

from ..reading import FileFormat, How, count, known_encoding, known_separator, which_lines
from ..sequence_space import SequenceSpace
from .numbering import Places, Rows

DEFAULT_FRACTION = 0.1

MUCH_DROPPED = 0.5
"""Share of lines dropped for their length above which a note warns."""

OverLong = Literal["drop", "cut", "error"]

Normalisation = Literal["none", "nfc", "nfkc"]

Tokens = tuple[str, ...]


class FromFiles(Settings):
    """How text files are read and shared out; a task's own settings say which files."""

    left_out: ClassVar[Mapping[str, str]] = {
        "mode": "a file has a fixed number of sequences{number}, so that this task is always in mode fixed. Remove it; "
        "or use task oracle, toy, transduction or teacher, from which sequences can be drawn without end."
    }

    @classmethod
    def why_left_out(cls, name: str, values: Mapping[str, Any]) -> str:
        """See `Settings.why_left_out`: how many training sequences there are, where the files can be read."""
        from . import build_task  # which knows this module

        try:
            task = build_task(cls.model_validate({key: value for key, value in values.items() if key != name}))  # type: ignore[arg-type]
        except (ConfigError, DataError, ValidationError):  # of which the user is told when this is mended
            return cls.left_out[name].format(number="")
        return cls.left_out[name].format(number=f" (here {len(task.train):,} to train on)")

    encoding: str = "utf-8"
    """Character encoding of the files. Decoding is strict. A byte order mark takes precedence."""

    format: FileFormat = "auto"
    """Format of the files: "auto" (detected from content and file name), plain "lines", a "table", "jsonl" (one JSON
    record per line), "json" (an array of records), "parquet" or "fasta"."""

    separator: str | None = None
    """Separator between the columns of tables, for instance ";" or "|" or "\t"; None detects it."""

    quotes: bool | None = None
    """Whether cells of tables may be in double quotes, as in CSV; None detects it."""

    header: bool | None = None
    """Whether the first row of each table, or the first line of each file of plain lines, contains column names
    instead of data. None: true if columns are given by name or have well-known names."""

    normalisation: Normalisation = "none"
    """Unicode normalisation of text: "nfc" (one spelling per accented letter), "nfkc" (also replaces wide, narrow
    and ligature forms by plain characters), or "none"."""

    valid_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the training file that is split off for validation; None: 0.1. Used only without a file for
    `valid`."""

    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the training file that is split off for testing; None: 0.1. Used only without a file for `test`."""

    split_seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of the random splits; None: 0. Used only if something is split off."""

    deduplicate: bool | None = None
    """Whether to drop repeated lines from each file. None: only if the training file is split, so that no held-out
    line is also a training line."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        return known_encoding(value)

    @field_validator("separator")
    @classmethod
    def _separator_can_stand_in_a_line(cls, value: str | None) -> str | None:
        return known_separator(value)

    @model_validator(mode="after")
    def _settings_of_tables_have_effect(self) -> FromFiles:
        self.how.require_effect()
        return self

    @model_validator(mode="after")
    def _split_settings_have_effect(self) -> FromFiles:
        files = self.held_out_files
        without_effect = [
            f"{split}_fraction={fraction}: has no effect beside {setting}={path!r}"
            for split, fraction in (("valid", self.valid_fraction), ("test", self.test_fraction))
            for setting, path in [files.get(split, ("", ""))]
            if split in files and fraction is not None
        ]
        if not self.is_split_here and self.split_seed is not None:
            without_effect.append(f"split_seed={self.split_seed}: has no effect when valid and test have files")
        if without_effect:
            raise ConfigError("; ".join(without_effect) + ". Remove one of the two.", code="split_without_effect")
        if sum(self.held_out_fractions.values()) >= 1:
            raise ConfigError(
                f"valid_fraction and test_fraction: {self.held_out_fractions} leave nothing to train on. Set them "
                "so that their sum is below 1.",
                code="nothing_to_train_on",
            )
        return self

    @property
    @abstractmethod
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split that has a file of its own, "valid" or "test", the setting that names it, and its path."""

    @property
    def how(self) -> How:
        """How files are read."""
        return How(self.encoding, self.format, self.separator, self.quotes, self.header)

    @property
    def is_split_here(self) -> bool:
        """Whether a held-out split is taken from the training file."""
        return len(self.held_out_files) < 2

    @property
    def drops_repeated(self) -> bool:
        """Whether what is repeated in a file is dropped."""
        return self.is_split_here if self.deduplicate is None else self.deduplicate

    @property
    def held_out_fractions(self) -> dict[str, float]:
        """Fraction of the training file for each split that has no file of its own."""
        asked = {"valid": self.valid_fraction, "test": self.test_fraction}
        return {
            split: DEFAULT_FRACTION if fraction is None else fraction
            for split, fraction in asked.items()
            if split not in self.held_out_files
        }


@dataclass(frozen=True, slots=True)
class Limit:
    """The greatest length of sequences, and what becomes of longer ones.

    Attributes:
        max_length: greatest number of tokens, the terminator included.
        over_long: "drop", "cut" (to `max_length` tokens, which then have no terminator) or "error".
        setting: path of the setting that `max_length` is; that of `over_long` is `remedy`.
        remedy: path of the setting that `over_long` is.
        keeps_end: whether what is cut keeps its last tokens rather than its first.
    """

    max_length: int
    over_long: OverLong
    setting: str = "max_length"
    remedy: str = "over_long"
    keeps_end: bool = False

    @staticmethod
    def option(path: str) -> str:
        """A setting of the task as it is typed."""
        return f"--task.{path.replace('_', '-')}"


def fit(
    rows: Rows, limit: Limit, *, path: str, numbers: Places, noun: str = "line", unit: str = "line"
) -> tuple[Rows, Places, list[str]]:
    """Drop or cut what is too long.

    Args:
        rows: sequences without terminators.
        limit: how long they may be.
        path: of the file that they are from.
        numbers: of their lines, records or rows.
        noun: what one is called.
        unit: what `numbers` count: "line", "record" or "row".

    Returns:
        The sequences that are kept, cut where that is asked for; their places in `rows`; and what was done.

    Raises:
        DataError: one is too long and that is an error, or all are and nothing is left.
    """
    every = np.arange(len(rows))
    is_over_long = rows.lengths >= limit.max_length
    over_long = np.flatnonzero(is_over_long)
    if not len(over_long):
        return rows, every, []
    first, number = over_long[0], len(over_long)
    where = which_lines(numbers[over_long].tolist(), unit)
    room = f"{limit.setting}={limit.max_length} allows {limit.max_length - 1} tokens and the terminator"
    if limit.over_long == "error":
        raise DataError(
            f"{path}, {unit} {numbers[first]}: the {noun} has {rows.lengths[first]} tokens; {room} "
            f"({count(number, f'such {noun}')}). Raise {limit.setting}, or set {limit.remedy} to 'drop' "
            "or 'cut'.",
            code="too_long",
            fields={"path": path},
        )
    if limit.over_long == "cut":
        length = limit.max_length
        which = "the last " if limit.keeps_end else ""
        notes = [f"cut {count(number, noun)} to {which}{length} tokens, without a terminator, {where}"]
        return rows.cut(length, keeps_end=limit.keeps_end), every, notes
    if number == len(rows):
        shortest = int(rows.lengths.min())
        raise DataError(
            f"{path}: every {noun} is too long: the shortest has {shortest} tokens, and {room}. Raise "
            f"{limit.setting} to at least {shortest + 1}, or set {limit.remedy}='cut'.",
            code="all_too_long",
            fields={"path": path},
        )
    kept = np.flatnonzero(~is_over_long)
    notes = [f"dropped {count(number, noun)} longer than {limit.max_length - 1} tokens, {where}"]
    if number > MUCH_DROPPED * len(rows):
        nine_tenths = int(np.quantile(rows.lengths, 0.9, method="higher")) + 1
        notes.append(
            f"warning: that is {number} of {len(rows)}, so the remaining text differs from the file. To keep nine "
            f"of ten, set {limit.option(limit.setting)} {nine_tenths}; to keep the beginnings of all, set "
            f"{limit.option(limit.remedy)} cut"
        )
    return rows.take(kept), kept, notes


def split_off(
    total: int, settings: FromFiles, *, path: str, noun: str = "usable line", lost: int = 0, remedy: str = ""
) -> dict[str, Places]:
    """Share out the training file.

    Args:
        total: how many there are to share out.
        settings: the fractions and the seed.
        path: of the file.
        noun: what one is called.
        lost: how many were dropped because they are too long.
        remedy: what to do where there are too few; "" for more lines.

    Returns:
        Places 0..total-1 in order, each once, for "train" and every split without a file of its own.

    Raises:
        DataError: there are too few.
    """
    sizes = {split: max(1, round(fraction * total)) for split, fraction in settings.held_out_fractions.items()}
    if sum(sizes.values()) >= total:
        wanted = " and ".join(f"{size} for {split}" for split, size in sizes.items())
        dropped = f" after {count(lost, 'line')} that were too long were dropped" if lost else ""
        remedy = remedy or (
            "Raise --task.max-length, or set --task.over-long cut."
            if lost
            else "Give more lines, or separate files for valid and test."
        )
        raise DataError(
            f"{path}: {count(total, noun)}{dropped}; too few to split off {wanted} and keep one for training. {remedy}",
            code="too_few_to_split",
            fields={"path": path},
        )
    order = np.random.default_rng(settings.split_seed or 0).permutation(total)
    splits = {}
    for split, size in sizes.items():
        taken, order = order[:size], order[size:]
        splits[split] = np.sort(taken)
    return splits | {"train": np.sort(order)}


def padded(encoded: Sequence[Sequence[int]], space: SequenceSpace) -> Tensor:
    """Ids (n, T) int64 with the terminator and padding after each sequence that has room for them."""
    tokens = np.full((len(encoded), space.max_length), space.pad_id, dtype=np.int64)
    for row, ids in zip(tokens, encoded, strict=True):
        row[: len(ids)] = ids
        if space.end_id is not None:
            row[len(ids) : len(ids) + 1] = space.end_id
    return torch.from_numpy(tokens)
