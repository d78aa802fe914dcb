"""Lines of a text file as sequences: cleaning, splitting, vocabulary; everything left out is counted.

Files are read in `rlgan.envs.reading` and shared out in `lines.py`; tokens and special ids are in `vocabulary.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import ConfigError, DataError
from ..reading import Column, Wanted, as_column, count, read_texts, which_lines
from ..sequence_space import SequenceSpace
from ..vocabulary import END_ID, JOINING_OF, SPECIAL_NAMES, TOKENISERS, UNK_ID, TokenKind, Vocabulary
from .lines import (
    FromFiles,
    Limit,
    OverLong,
    Tokens,
    distinct,
    fit,
    padded,
    split_off,
    unknown_share,
)
from .task import Task

DEFAULT_LONGEST: Mapping[TokenKind, int] = {"word": 64, "char": 128}
"""Greatest `max_length` that is chosen by itself."""


class TextTask(FromFiles):
    """Sequences from the lines of a text file."""

    gives_conditions: ClassVar[bool] = False
    knows_law: ClassVar[bool] = False
    kind: Literal["text"] = "text"

    data: str = Field(min_length=1)
    """File with one sequence a line, row or record; splits without a file of their own come from it."""

    valid: str | None = Field(default=None, min_length=1)
    """File of the lines held out for early stopping and selection; None: split off from `data`."""

    test: str | None = Field(default=None, min_length=1)
    """File of the lines held out for the figures that are reported; None: split off from `data`."""

    column: Column | None = None
    """Where the sequence stands in files that have several columns or fields: number from 0, name, or path into objects
    (`translation.de`, `messages.-1.content`); None: `text`, or the only one."""

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

    over_long: OverLong = "drop"
    """What becomes of a line that does not fit with its terminator: it is dropped, cut to T tokens (which then have no
    terminator), or an error."""

    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of training lines with tokens outside the vocabulary."""

    @field_validator("column", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object) -> object:
        return as_column("column", value)

    @model_validator(mode="after")
    def _names_have_a_header(self) -> TextTask:
        if self.header is False and isinstance(self.column, str):
            raise ConfigError(
                f"header=False: column={self.column!r} is the name of one. Give it by number, or leave header out."
            )
        return self

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """See `FromFiles.held_out_files`."""
        files = {"valid": self.valid, "test": self.test}
        return {split: (split, path) for split, path in files.items() if path is not None}


@dataclass
class _Lines:
    """The tokenised lines of one file, where they stood, and what was left out on the way."""

    path: str
    numbers: list[int]
    sequences: list[Tokens]
    notes: list[str]

    def keep(self, indices: Sequence[int]) -> None:
        self.numbers = [self.numbers[i] for i in indices]
        self.sequences = [self.sequences[i] for i in indices]


def build_text_task(settings: TextTask) -> Task:
    """Read, clean, split and encode the files.

    Raises:
        DataError: a file is missing, unreadable or not text; or nothing is left to train or to measure on.
    """
    data = _read(settings.data, settings)
    max_length = settings.max_length
    if max_length is None:
        longest = max(len(sequence) for sequence in data.sequences)
        max_length = min(longest + 1, DEFAULT_LONGEST[settings.tokens])
    files = {"train": data}
    for split, path in (("valid", settings.valid), ("test", settings.test)):
        if path is not None:
            files[split] = _read(path, settings)
    for lines in files.values():
        _fit(lines, max_length, settings)
        if settings.drops_repeated:
            _deduplicate(lines)

    splits = {split: lines.sequences for split, lines in files.items()}
    if settings.is_split_here:
        shared_out = split_off(len(data.sequences), settings, path=data.path)
        splits |= {split: [data.sequences[place] for place in places] for split, places in shared_out.items()}
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
        split_notes.append(f"train: dropped {count(len(encoded['train']) - len(known), 'line')} with unknown tokens")
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
        unknown, num_tokens = unknown_share(encoded[split])
        notes.append(
            f"{split}: {count(len(encoded[split]), 'sequence')}, {count(num_tokens, 'token')}, "
            f"{unknown} unknown ({unknown / num_tokens:.2%})"
        )
    return Task(
        name="text",
        space=space,
        train=padded(encoded["train"], space),
        valid=padded(encoded["valid"], space),
        test=padded(encoded["test"], space),
        token_names=vocabulary.names,
        joining=JOINING_OF[settings.tokens],
        notes=tuple(notes),
    )


def _read(path: str, settings: TextTask) -> _Lines:
    wanted = "a text file with one sequence a line"
    raw = read_texts(path, settings.how, Wanted("text", "--task.column", settings.column), wanted)
    tokenise = TOKENISERS[settings.tokens]
    numbers, sequences, empty = [], [], []
    for number, line in zip(raw.numbers, raw.strings, strict=True):
        if not line or line.isspace():
            empty.append(number)
            continue
        numbers.append(number)
        sequences.append(tuple(tokenise(line.lower() if settings.lowercase else line)))
    if not sequences:
        raise DataError(f"{path}: all {len(raw.texts)} {raw.noun}s are empty. Give {wanted}.")
    skipped = [f"skipped {count(len(empty), f'empty {raw.noun}')}, {which_lines(empty, raw.unit)}"] if empty else []
    return _Lines(path, numbers, sequences, [*raw.notes, *skipped, *raw.first_text()])


def _fit(lines: _Lines, max_length: int, settings: TextTask) -> None:
    limit = Limit(max_length, settings.over_long)
    kept, notes = fit(lines.sequences, limit, path=lines.path, numbers=lines.numbers)
    lines.numbers = [lines.numbers[index] for index in kept]
    lines.sequences = list(kept.values())
    lines.notes += notes


def _deduplicate(lines: _Lines) -> None:
    kept = distinct(lines.sequences)
    num_repeated = len(lines.sequences) - len(kept)
    if num_repeated:
        lines.keep(kept)
        lines.notes.append(f"dropped {count(num_repeated, 'repeated line')}")
