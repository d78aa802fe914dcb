"""Lines of a text file as sequences: reading, cleaning, splitting, vocabulary; everything left out is counted.

Lines are taken as they stand, without Unicode normalisation. What has no meaning in a sequence goes, and is counted:
byte order marks, line terminators, empty lines, control characters (each becomes a space). A file that cannot be text
in the named encoding is refused rather than repaired. Tokens and special ids live in `vocabulary.py`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from ..errors import ConfigError, DataError, nearest
from ..sequence_space import SequenceSpace
from ..settings import Settings
from ..vocabulary import END_ID, JOINING_OF, SPECIAL_NAMES, TOKENISERS, UNK_ID, TokenKind, Vocabulary
from .task import Task

DEFAULT_LONGEST: Mapping[TokenKind, int] = {"word": 64, "char": 128}
"""Greatest `max_length` that is chosen by itself."""

DEFAULT_FRACTION = 0.1

# Control characters (Unicode category Cc) other than tab, line feed and carriage return.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BYTE_ORDER_MARK = "\ufeff"
_GZIP_MAGIC = b"\x1f\x8b"

Tokens = tuple[str, ...]


class TextTask(Settings):
    """Sequences from the lines of a text file."""

    kind: Literal["text"] = "text"

    data: str = Field(min_length=1)
    """Text file with one sequence a line, plain or gzip-compressed; splits without a file of their own come from it."""

    valid: str | None = Field(default=None, min_length=1)
    """File of the lines held out for early stopping and selection; None: split off from `data`."""

    test: str | None = Field(default=None, min_length=1)
    """File of the lines held out for the figures that are reported; None: split off from `data`."""

    encoding: str = "utf-8"
    """Character encoding of the files, decoded strictly."""

    valid_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of `data` split off for `valid`; None: 0.1. Only without a file for `valid`."""

    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of `data` split off for `test`; None: 0.1. Only without a file for `test`."""

    split_seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Draws which lines are split off; None: 0. Only where something is split off."""

    deduplicate: bool | None = None
    """Whether repeated lines are dropped from each file; None: where `data` is split, so that no line held out of it is
    also a training line."""

    tokens: TokenKind = "word"
    """What a token is: "word" (between white space) or "char" (a Unicode code point)."""

    lowercase: bool = False
    """Whether letters are made small."""

    min_count: int = Field(default=1, ge=1)
    """Least number of occurrences in the training lines of a token that gets an id of its own."""

    max_size: int | None = Field(default=None, ge=len(SPECIAL_NAMES) + 2)
    """Greatest vocabulary, the terminator and the unknown token included; None: no limit."""

    max_length: int | None = Field(default=None, ge=2, le=10_000)
    """Greatest number of tokens T of a sequence, the terminator included; None: the longest line of `data` and its
    terminator, but at most 64 words or 128 characters."""

    over_long: Literal["drop", "cut", "error"] = "drop"
    """What becomes of a line that does not fit with its terminator: it is dropped, cut to T tokens (which then have no
    terminator), or an error."""

    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of training lines with tokens outside the vocabulary."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            "a".encode(value).decode(value)
        except (LookupError, UnicodeError, ValueError) as error:
            known = ("utf-8", "utf-16", "latin-1", "cp1252", "ascii", "gb18030", "big5", "shift_jis", "euc-kr")
            raise ConfigError(
                f"encoding={value!r}: not a text encoding Python knows. Known are for instance {', '.join(known)}."
                + nearest(value, known)
            ) from error
        return value

    @model_validator(mode="after")
    def _split_settings_have_effect(self) -> TextTask:
        without_effect = []
        if self.valid is not None and self.valid_fraction is not None:
            without_effect.append(f"valid_fraction={self.valid_fraction}: has no effect beside valid={self.valid!r}")
        if self.test is not None and self.test_fraction is not None:
            without_effect.append(f"test_fraction={self.test_fraction}: has no effect beside test={self.test!r}")
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
    def is_split_here(self) -> bool:
        """Whether a held-out split is taken from `data`."""
        return self.valid is None or self.test is None

    @property
    def held_out_fractions(self) -> dict[str, float]:
        """Fraction of `data` for each split that has no file of its own."""
        fractions = {}
        if self.valid is None:
            fractions["valid"] = DEFAULT_FRACTION if self.valid_fraction is None else self.valid_fraction
        if self.test is None:
            fractions["test"] = DEFAULT_FRACTION if self.test_fraction is None else self.test_fraction
        return fractions


@dataclass
class _Lines:
    """The tokenised lines of one file, where they stood, and what was left out on the way."""

    path: str
    numbers: list[int]
    sequences: list[Tokens]
    notes: list[str] = field(default_factory=list)

    def keep(self, indices: Sequence[int]) -> None:
        self.numbers = [self.numbers[i] for i in indices]
        self.sequences = [self.sequences[i] for i in indices]


def build_text_task(settings: TextTask) -> Task:
    """Read, clean, split and encode the files.

    Raises:
        DataError: a file is missing, unreadable or not text; or nothing is left to train or to measure on.
    """
    data = _read_lines(settings.data, settings)
    max_length = settings.max_length
    if max_length is None:
        longest = max(len(sequence) for sequence in data.sequences)
        max_length = min(longest + 1, DEFAULT_LONGEST[settings.tokens])
    files = {"train": data}
    for split, path in (("valid", settings.valid), ("test", settings.test)):
        if path is not None:
            files[split] = _read_lines(path, settings)
    deduplicate = settings.is_split_here if settings.deduplicate is None else settings.deduplicate
    for lines in files.values():
        _fit(lines, max_length, settings)
        if deduplicate:
            _deduplicate(lines)

    splits = {split: lines.sequences for split, lines in files.items()}
    if settings.is_split_here:
        splits |= _split(data, settings)
    vocabulary = Vocabulary.build(splits["train"], min_count=settings.min_count, max_size=settings.max_size)
    if len(vocabulary.tokens) < 2:
        kept = ", ".join(map(repr, vocabulary.tokens)) or "none"
        raise DataError(
            f"{settings.data}: the training lines have fewer than 2 distinct tokens that occur at least "
            f"min_count={settings.min_count} times (kept: {kept}); a choice needs at least 2. "
            "Give more text, lower min_count, or see whether tokens should be 'word' or 'char'."
        )
    encoded = {split: [vocabulary.encode(tokens) for tokens in sequences] for split, sequences in splits.items()}
    split_notes = []
    if settings.unknown == "drop":
        known = [ids for ids in encoded["train"] if UNK_ID not in ids]
        if not known:
            raise DataError(
                f"{settings.data}: every training line holds a token outside the vocabulary (min_count="
                f"{settings.min_count}, max_size={settings.max_size}). Set unknown='keep' or keep more tokens."
            )
        split_notes.append(f"train: dropped {_count(len(encoded['train']) - len(known), 'line')} with unknown tokens")
        encoded["train"] = known
    train_lines = set(splits["train"])
    for split in ("valid", "test"):
        shared = sum(tokens in train_lines for tokens in splits[split])
        if shared:
            split_notes.append(f"{split}: {shared} of {len(splits[split])} lines are also training lines")

    space = SequenceSpace(vocab_size=len(vocabulary), max_length=max_length, end_id=END_ID)
    notes = [f"{lines.path}: {note}" for lines in files.values() for note in lines.notes]
    notes.append(
        f"vocabulary: {len(vocabulary)} {settings.tokens} ids, of them {len(SPECIAL_NAMES)} special; "
        f"sequences of at most {max_length} tokens with the terminator"
    )
    notes += split_notes
    for split in ("train", "valid", "test"):
        num_tokens = sum(map(len, encoded[split]))
        unknown = sum(ids.count(UNK_ID) for ids in encoded[split])
        notes.append(
            f"{split}: {_count(len(encoded[split]), 'sequence')}, {_count(num_tokens, 'token')}, "
            f"{unknown} unknown ({unknown / num_tokens:.2%})"
        )
    return Task(
        name="text",
        space=space,
        train=_padded(encoded["train"], space),
        valid=_padded(encoded["valid"], space),
        test=_padded(encoded["test"], space),
        token_names=vocabulary.names,
        joining=JOINING_OF[settings.tokens],
        notes=tuple(notes),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _read_bytes(path: str) -> bytes:
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise DataError(f"{path}: is a directory. Give the text file itself.")
        if not file.exists():
            siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
            raise DataError(
                f"{path}: no such file. Give a text file, plain or gzip-compressed, with one sequence a line."
                + nearest(file.name, siblings)
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


def _decode(path: str, content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {content[error.start]:#04x} at offset {error.start} is not {encoding} "
            f"({error.reason}). Save the file as {encoding}, or set encoding to what it was written in."
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


def _read_lines(path: str, settings: TextTask) -> _Lines:
    content = _read_bytes(path)
    if not content:
        raise DataError(f"{path}: is empty. Give a text file with one sequence a line.")
    text = _decode(path, content, settings.encoding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, num_controls = _CONTROL.subn(" ", text)
    # Not str.splitlines: that would also cut at form feeds and at Unicode's own line separators, which are text here.
    raw_lines = text.removesuffix("\n").split("\n")
    num_marks = sum(line.startswith(_BYTE_ORDER_MARK) for line in raw_lines)
    tokenise = TOKENISERS[settings.tokens]
    numbers, sequences = [], []
    for number, raw in enumerate(raw_lines, start=1):
        line = raw.lstrip(_BYTE_ORDER_MARK)
        if not line or line.isspace():
            continue
        numbers.append(number)
        sequences.append(tuple(tokenise(line.lower() if settings.lowercase else line)))
    if not sequences:
        raise DataError(f"{path}: all {len(raw_lines)} lines are empty. Give a text file with one sequence a line.")
    notes = [f"read {_count(len(raw_lines), 'line')}"]
    if len(raw_lines) > len(sequences):
        notes.append(f"skipped {_count(len(raw_lines) - len(sequences), 'empty line')}")
    if num_controls:
        notes.append(f"read {_count(num_controls, 'control character')} as a space")
    if num_marks:
        notes.append(f"took away {_count(num_marks, 'byte order mark')}")
    return _Lines(path, numbers, sequences, notes)


def _fit(lines: _Lines, max_length: int, settings: TextTask) -> None:
    over_long = [index for index, tokens in enumerate(lines.sequences) if len(tokens) >= max_length]
    if not over_long:
        return
    first = over_long[0]
    limit = f"max_length={max_length} leaves room for {max_length - 1} and the terminator"
    if settings.over_long == "error":
        raise DataError(
            f"{lines.path}, line {lines.numbers[first]}: has {len(lines.sequences[first])} tokens; {limit} "
            f"({_count(len(over_long), 'such line')}). Raise max_length, or set over_long to 'drop' or 'cut'."
        )
    if settings.over_long == "cut":
        lines.sequences = [tokens[:max_length] for tokens in lines.sequences]
        lines.notes.append(f"cut {_count(len(over_long), 'line')} to {max_length} tokens, without a terminator")
        return
    if len(over_long) == len(lines.sequences):
        shortest = min(map(len, lines.sequences))
        raise DataError(
            f"{lines.path}: every line is too long: the shortest has {shortest} tokens; {limit}. "
            f"Raise max_length to at least {shortest + 1}, or set over_long='cut'."
        )
    dropped = set(over_long)
    lines.keep([index for index in range(len(lines.sequences)) if index not in dropped])
    lines.notes.append(f"dropped {_count(len(over_long), 'line')} longer than {max_length - 1} tokens")


def _deduplicate(lines: _Lines) -> None:
    first_index: dict[Tokens, int] = {}
    for index, tokens in enumerate(lines.sequences):
        first_index.setdefault(tokens, index)
    num_repeated = len(lines.sequences) - len(first_index)
    if num_repeated:
        lines.keep(list(first_index.values()))
        lines.notes.append(f"dropped {_count(num_repeated, 'repeated line')}")


def _split(data: _Lines, settings: TextTask) -> dict[str, list[Tokens]]:
    total = len(data.sequences)
    sizes = {split: max(1, round(fraction * total)) for split, fraction in settings.held_out_fractions.items()}
    if sum(sizes.values()) >= total:
        split_off = " and ".join(f"{size} for {split}" for split, size in sizes.items())
        raise DataError(
            f"{data.path}: {_count(total, 'usable line')}, too few to split off {split_off} and still train on one. "
            "Give more lines, or files of their own for valid and test."
        )
    order = np.random.default_rng(settings.split_seed or 0).permutation(total)
    splits = {}
    for split, size in sizes.items():
        taken, order = order[:size], order[size:]
        splits[split] = [data.sequences[index] for index in np.sort(taken)]
    splits["train"] = [data.sequences[index] for index in np.sort(order)]
    return splits


def _padded(encoded: list[list[int]], space: SequenceSpace) -> Tensor:
    tokens = np.full((len(encoded), space.max_length), space.pad_id, dtype=np.int64)
    for row, ids in zip(tokens, encoded, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(tokens)
