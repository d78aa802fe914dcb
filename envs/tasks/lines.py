"""What every task that reads text files shares: reading and cleaning, splitting off, lengths, padding.

Lines are taken as they stand, without Unicode normalisation. What has no meaning in a sequence goes, and is counted:
byte order marks, line terminators, control characters (each becomes a space). A file that cannot be text in the named
encoding is refused rather than repaired.
"""

from __future__ import annotations

import gzip
import re
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from ..errors import ConfigError, DataError, nearest
from ..sequence_space import SequenceSpace
from ..settings import Settings
from .numbering import Places, Rows

DEFAULT_FRACTION = 0.1

MUCH_DROPPED = 0.5
"""Share of lines dropped for their length above which a note warns."""

OverLong = Literal["drop", "cut", "error"]

Normalisation = Literal["none", "nfc", "nfkc"]

Tokens = tuple[str, ...]

# Control characters (Unicode category Cc) other than tab, line feed and carriage return.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BYTE_ORDER_MARK = "\ufeff"
_GZIP_MAGIC = b"\x1f\x8b"


def known_encoding(value: str) -> str:
    """The name of a character encoding as it was given.

    Raises:
        ConfigError: no text is written in it.
    """
    try:
        "a".encode(value).decode(value)
    except (LookupError, UnicodeError, ValueError) as error:
        known = ("utf-8", "utf-16", "latin-1", "cp1252", "ascii", "gb18030", "big5", "shift_jis", "euc-kr")
        raise ConfigError(
            f"encoding={value!r}: not a text encoding Python knows. Known are for instance {', '.join(known)}."
            + nearest(value, known)
        ) from error
    return value


class FromFiles(Settings):
    """How text files are read and shared out; a task's own settings say which files."""

    encoding: str = "utf-8"
    """Character encoding of the files, decoded strictly."""

    normalisation: Normalisation = "none"
    """Unicode form that text is brought into: "nfc" (one way to write a letter with its accents), "nfkc" (wide, narrow
    and ligature forms are the plain ones, too), or "none" (text stays as it is written)."""

    valid_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the training file split off for `valid`; None: 0.1. Only without a file for `valid`."""

    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the training file split off for `test`; None: 0.1. Only without a file for `test`."""

    split_seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Draws what is split off; None: 0. Only where something is split off."""

    deduplicate: bool | None = None
    """Whether repeated lines are dropped from each file; None: where the training file is split, so that no line held
    out of it is also a training line."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        return known_encoding(value)

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
            without_effect.append(f"split_seed={self.split_seed}: has no effect where valid and test have files")
        if without_effect:
            raise ConfigError("; ".join(without_effect) + ". Leave out one of the two.")
        if sum(self.held_out_fractions.values()) >= 1:
            raise ConfigError(
                f"valid_fraction and test_fraction: {self.held_out_fractions} leave nothing to train on. "
                "Together they must stay below 1."
            )
        return self

    @property
    @abstractmethod
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """Of each split that has a file of its own, "valid" or "test", the setting that names it, and its path."""

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


@dataclass(frozen=True)
class RawLines:
    """The lines of one file.

    Attributes:
        path: of the file.
        lines: without their terminators, byte order marks and control characters; line i + 1 of the file is `lines[i]`.
        notes: what was read and taken away.
    """

    path: str
    lines: list[str]
    notes: list[str]


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 line, 2 lines."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def which_lines(numbers: Sequence[int]) -> str:
    """The first five of some lines: line 4; lines 4, 7; lines 1, 2, 3, 5, 8, ..."""
    first = ", ".join(map(str, sorted(numbers)[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"line {first}" if len(numbers) == 1 else f"lines {first}"


def without_controls(text: str) -> tuple[str, int]:
    """Text with a space for each control character, and how many there were."""
    return _CONTROL.subn(" ", text)


def read_lines(path: str, encoding: str, wanted: str) -> RawLines:
    """Read a text file, plain or gzip-compressed.

    Args:
        path: of the file.
        encoding: of its characters.
        wanted: what it should be, for errors: "a text file with one sequence a line".

    Raises:
        DataError: it is missing, unreadable, empty or not text in that encoding.
    """
    content = _read_bytes(path, wanted)
    if not content:
        raise DataError(f"{path}: is empty. Give {wanted}.")
    text = _decoded(path, content, encoding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, num_controls = without_controls(text)
    # Not str.splitlines: that would also cut at form feeds and at Unicode's own line separators, which are text here.
    raw_lines = text.removesuffix("\n").split("\n")
    num_marks = sum(line.startswith(_BYTE_ORDER_MARK) for line in raw_lines)
    notes = [f"read {count(len(raw_lines), 'line')}"]
    if num_controls:
        notes.append(f"read {count(num_controls, 'control character')} as a space")
    if num_marks:
        notes.append(f"took away {count(num_marks, 'byte order mark')}")
    return RawLines(path, [line.lstrip(_BYTE_ORDER_MARK) for line in raw_lines], notes)


def _read_bytes(path: str, wanted: str) -> bytes:
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise DataError(f"{path}: is a directory. Give the file itself.")
        if not file.exists():
            siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
            raise DataError(
                f"{path}: no such file. Give {wanted}, plain or gzip-compressed." + nearest(file.name, siblings)
            )
        if not file.is_file():
            raise DataError(f"{path}: is not a regular file. Write its content to a file first.")
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({error}). Give a text file that this user may read.") from error
    # The content decides, not the name: compressed files come under all sorts of names.
    if content.startswith(_GZIP_MAGIC):
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged or cut gzip data ({error}). Fetch or compress the file again.") from error
    if file.suffix == ".gz" and content:
        raise DataError(f"{path}: is named .gz but is not gzip data. Compress it with gzip, or take .gz off its name.")
    return content


def _decoded(path: str, content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {content[error.start]:#04x} at offset {error.start} is not {encoding} "
            f"({error.reason}). Save the file as {encoding}, or set encoding to what it was written in."
            + (" It holds zero bytes, as UTF-16 and files that are no text do." if b"\x00" in content else "")
        ) from error
    except UnicodeError as error:
        raise DataError(
            f"{path}: is not {encoding} ({error}). Save it as {encoding}, or set encoding to what it was written in."
        ) from error
    # A few stray NULs are dirt; many are a binary file or two bytes a character.
    if text.count("\x00") > 0.05 * len(text):
        raise DataError(
            f"{path}: looks binary, or like UTF-16 read as {encoding}: {text.count(chr(0))} of {len(text)} characters "
            "are NUL. Give a text file, or set encoding to what it was written in (for instance utf-16-le)."
        )
    return text


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


def fit(rows: Rows, limit: Limit, *, path: str, numbers: Places, noun: str = "line") -> tuple[Rows, Places, list[str]]:
    """Drop or cut what is too long.

    Args:
        rows: sequences without terminators.
        limit: how long they may be.
        path: of the file that they are from.
        numbers: of their lines.
        noun: what one is called.

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
    where = which_lines(numbers[over_long].tolist())
    room = f"{limit.setting}={limit.max_length} leaves room for {limit.max_length - 1} and the terminator"
    if limit.over_long == "error":
        raise DataError(
            f"{path}, line {numbers[first]}: the {noun} has {rows.lengths[first]} tokens; {room} "
            f"({count(number, f'such {noun}')}). Raise {limit.setting}, or set {limit.remedy} to 'drop' "
            "or 'cut'."
        )
    if limit.over_long == "cut":
        length = limit.max_length
        which = "the last " if limit.keeps_end else ""
        notes = [f"cut {count(number, noun)} to {which}{length} tokens, without a terminator, {where}"]
        return rows.cut(length, keeps_end=limit.keeps_end), every, notes
    if number == len(rows):
        shortest = int(rows.lengths.min())
        raise DataError(
            f"{path}: every {noun} is too long: the shortest has {shortest} tokens; {room}. "
            f"Raise {limit.setting} to at least {shortest + 1}, or set {limit.remedy}='cut'."
        )
    kept = np.flatnonzero(~is_over_long)
    notes = [f"dropped {count(number, noun)} longer than {limit.max_length - 1} tokens, {where}"]
    if number > MUCH_DROPPED * len(rows):
        nine_tenths = int(np.quantile(rows.lengths, 0.9, method="higher")) + 1
        notes.append(
            f"warning: that is {number} of {len(rows)}, and what is left is other text than the file's. To keep nine "
            f"of ten, set {limit.option(limit.setting)} {nine_tenths}; to keep the beginnings of all, "
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
        dropped = f" after {count(lost, 'line')} too long for it were dropped" if lost else ""
        remedy = remedy or (
            "Raise --task.max-length, or set --task.over-long cut."
            if lost
            else "Give more lines, or files of their own for valid and test."
        )
        raise DataError(
            f"{path}: {count(total, noun)}{dropped}, too few to split off {wanted} and still train on one. {remedy}"
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
    return torch.from_numpy(tokens)
