"""Lines of a text file as sequences: cleaning, splitting, vocabulary; everything left out is counted.

Files are read in `rlgan.envs.reading` and shared out in `lines.py`; what tokens are is in `pieces.py`, how they are
numbered in `numbering.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import IsFile, Settings

from ..reading import Column, Wanted, as_column, count, read_texts, which_lines
from ..vocabulary import SPECIAL_NAMES, Vocabulary
from .lines import FromFiles, Limit, OverLong, fit, split_off
from .numbering import Numbering, Places, Rows, equal_rows, equal_texts, filled, first_of_each
from .pieces import (
    DEFAULT_LONGEST,
    Cleaning,
    Cutting,
    TokenSettings,
    Words,
    is_learnt,
    keeps_spaces,
    learn_cutting,
    require_case,
    vocabulary_of,
)
from .remarks import a_handful, many_unknown, single_tokens
from .task import Sides, Task, TaskMeasure


class TextTask(FromFiles):
    """Sequences from the lines of a text file."""

    gives_conditions: ClassVar[bool] = False
    has_prompts: ClassVar[bool] = False
    language_model: ClassVar[None] = None
    knows_distribution: ClassVar[bool] = False
    has_real_sequences: ClassVar[bool] = True
    measures: ClassVar[frozenset[TaskMeasure]] = frozenset({"text"})
    is_certain: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False
    kind: Literal["text"] = "text"

    data: Annotated[str, IsFile("data")] = Field(min_length=1)
    """File with one sequence per line, row or record. Validation and test sequences are split off from it unless
    they have their own files."""

    valid: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the validation lines, for early stopping and model selection; None: split off from `data`."""

    test: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the test lines, for the reported metrics; None: split off from `data`."""

    column: Column | None = None
    """Column of the sequence in files with several columns or fields: number from 0, name, or path into objects
    (`translation.de`, `messages.-1.content`); None: `text`, or the only one."""

    tokens: TokenSettings = Words()
    """What a token is."""

    lowercase: bool = False
    """Whether to convert text to lower case."""

    max_length: int | None = Field(default=None, ge=2, le=10_000)
    """Maximum number of tokens T of a sequence, including the terminator; None: the longest line of `data` and its
    terminator, but at most 64 words or 128 other tokens."""

    over_long: OverLong = "drop"
    """What to do with lines that exceed `max_length` with their terminator: drop the line, cut it to T tokens
    (without a terminator), or raise an error."""

    unknown: Literal["keep", "drop"] = "keep"
    """What to do with training lines that contain unknown tokens."""

    between_turns: str | None = Field(default=None, min_length=1)
    """Token that stands between the turns of a line, where each line is a whole dialogue, such as `__eou__`; None: a
    line is one turn."""

    moved: ClassVar[Mapping[str, str]] = {"min_count": "tokens.min_count", "max_size": "tokens.max_size"}

    @model_validator(mode="before")
    @classmethod
    def _counts_belong_to_tokens(cls, values: Any) -> Any:
        """Read configurations of older versions, where these two stood beside the kind of the tokens."""
        if not isinstance(values, dict) or not values.keys() & cls.moved.keys():
            return values
        values = dict(values)
        tokens = values.get("tokens", "word")
        if isinstance(tokens, Settings):
            kind = {"kind": type(tokens).model_fields["kind"].default}
            tokens = kind | tokens.model_dump(exclude_unset=True)
        tokens = {"kind": tokens} if isinstance(tokens, str) else dict(tokens)
        for name in cls.moved.keys() & values.keys():
            value = values.pop(name)
            if tokens.get(name, value) != value:
                raise ConfigError(
                    f"{name}={value!r}: tokens.{name} is {tokens[name]!r}. Remove one of the two.",
                    code="set_twice_in_tokens",
                    fields={name: value},
                )
            tokens[name] = value
        return {**values, "tokens": tokens}

    @model_validator(mode="after")
    def _case_has_no_meaning(self) -> TextTask:
        require_case(self.tokens, self.lowercase)
        return self

    @field_validator("column", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: object) -> object:
        return as_column("column", value)

    @model_validator(mode="after")
    def _names_have_a_header(self) -> TextTask:
        if self.header is False and isinstance(self.column, str):
            raise ConfigError(
                f"header=False: column={self.column!r} is a column name. Give the column by number, or remove header.",
                code="column_name_no_header",
                fields={"column": self.column},
            )
        return self

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """See `FromFiles.held_out_files`."""
        files = {"valid": self.valid, "test": self.test}
        return {split: (split, path) for split, path in files.items() if path is not None}

    @property
    def are_words(self) -> Sides:
        """See `Sides`."""
        return False, self.tokens.are_words


@dataclass
class _Lines:
    """The lines of one file, where they stood (on which line, record or row), and what was left out on the way."""

    path: str
    unit: str
    numbers: Places
    texts: list[str]
    notes: list[str]


@dataclass
class _Split:
    """The sequences of a split, and the lines, records or rows of a file that they stand on."""

    path: str
    unit: str
    numbers: Places
    rows: Rows

    def take(self, places: Places) -> _Split:
        return _Split(self.path, self.unit, self.numbers[places], self.rows.take(places))


def build_text_task(settings: TextTask) -> Task:
    """Read, clean, split and encode the files.

    Raises:
        ConfigError: a library that the tokens take is not installed.
        DataError: a file is missing, unreadable or not text; or nothing is left to train or to measure on.
    """
    paths = {"train": settings.data, **{split: path for split, (_, path) in settings.held_out_files.items()}}
    files = {split: _read(path, settings) for split, path in paths.items()}
    numbering, more = Numbering(), list[str]()
    # What is learnt may know nothing of lines held out, so those are chosen first, while there are no tokens yet.
    build = _cut_after_splitting if is_learnt(settings.tokens) else _cut_before_splitting
    cutting, splits, max_length = build(files, numbering, settings, more)

    counts = {split: one.rows.counts(len(numbering)) for split, one in splits.items()}
    vocabulary = vocabulary_of(settings.tokens, cutting, numbering.counted(counts["train"]), ())
    if len(vocabulary.tokens) < 2:
        least = settings.tokens.min_count
        kept = ", ".join(map(repr, vocabulary.tokens)) or "none"
        raise DataError(
            f"{settings.data}: the training lines have fewer than 2 distinct tokens that occur at least "
            f"min_count={least} times ({kept}); at least 2 are needed. Give more text, lower min_count, or check "
            "whether tokens should be 'word' or 'char'.",
            code="too_few_tokens",
            fields={"min_count": least, "path": settings.data},
        )
    table = numbering.table(vocabulary)
    is_unknown = table == vocabulary.unknown_id
    split_notes = []
    train = splits["train"]
    if settings.unknown == "drop":
        known = np.flatnonzero(~train.rows.any_of(is_unknown))
        if not len(known):
            raise DataError(
                f"{settings.data}: every training line contains a token outside the vocabulary "
                f"({_limits(settings)}). Set unknown='keep' or enlarge the vocabulary.",
                code="every_line_has_unknowns",
                fields={"path": settings.data},
            )
        split_notes.append(f"train: dropped {count(len(train.rows) - len(known), 'line')} with unknown tokens")
        splits["train"] = train.take(known)
        counts["train"] = splits["train"].rows.counts(len(numbering))
    names = ("train", "valid", "test")
    # Of the lines that there were before those with unknown tokens went.
    of_train, *groups = equal_rows(train.rows, *(splits[split].rows for split in names[1:]))
    for split, found in zip(names[1:], groups, strict=True):
        shared = int(np.isin(found, of_train).sum())
        if shared:
            split_notes.append(f"{split}: {shared} of {len(found)} lines are also training lines")

    space = vocabulary.space(max_length, separator_id=_turn_id(settings, cutting, vocabulary))
    notes = [f"{lines.path}: {note}" for lines in files.values() for note in lines.notes]
    notes += [*more, *(f"tokens: {note}" for note in cutting.notes())]
    notes.append(
        f"vocabulary: {len(vocabulary)} {cutting.kind} ids, {len(SPECIAL_NAMES)} of them special; sequences of at "
        f"most {max_length} tokens including the terminator"
    )
    notes += split_notes
    for split in names:
        number, num_tokens = len(splits[split].rows), int(counts[split].sum())
        unknown = int(counts[split][is_unknown].sum())
        notes.append(
            f"{split}: {count(number, 'sequence')}, {count(num_tokens, 'token')}, "
            f"{unknown} unknown ({unknown / num_tokens:.2%})"
        )
        notes += many_unknown(split, unknown, num_tokens, settings.tokens, "--task.tokens")
        notes += a_handful(split, number, "sequence", f"--task.{split}")
    return Task(
        name="text",
        space=space,
        train=filled(splits["train"].rows, table, space),
        valid=filled(splits["valid"].rows, table, space),
        test=filled(splits["test"].rows, table, space),
        token_names=vocabulary.names,
        joining=cutting.joining,
        notes=tuple(notes),
        measures=settings.measures,
        columns=("text",),
    )


def _turn_id(settings: TextTask, cutting: Cutting, vocabulary: Vocabulary) -> int | None:
    """Id of what stands between turns.

    Raises:
        DataError: it is no token of the training lines.
    """
    if settings.between_turns is None:
        return None
    mark = settings.between_turns.lower() if settings.lowercase else settings.between_turns
    ids = vocabulary.encode(cutting.tokenise(mark))
    if len(ids) != 1 or ids[0] == vocabulary.unknown_id:
        raise DataError(
            f"{settings.data}: between_turns={settings.between_turns!r} is not a token of the training lines (it is "
            f"read as {len(ids)} of them, or as an unknown one). Give the token that stands between turns, or remove "
            "task.between_turns.",
            code="no_such_turn_mark",
            fields={"between_turns": settings.between_turns, "path": settings.data},
        )
    return ids[0]


def _cut_before_splitting(
    files: Mapping[str, _Lines], numbering: Numbering, settings: TextTask, notes: list[str]
) -> tuple[Cutting, dict[str, _Split], int]:
    """Of tokens for which nothing is learnt: how text is cut, the splits and the greatest length T."""
    cutting = learn_cutting(settings.tokens, (), (), "lines")
    splits, lost = {}, 0
    for split, lines in files.items():
        splits[split] = _cut(lines, cutting, numbering)
    max_length = _max_length(splits["train"].rows, settings)
    for split, lines in files.items():
        found, about = _fitted(splits[split], max_length, settings)
        lost += (len(splits[split].rows) - len(found.rows)) * (split == "train")
        lines.notes += about
        lines.notes += single_tokens(found.rows, settings.tokens) if split == "train" else []
        if settings.drops_repeated:
            kept = first_of_each(equal_rows(found.rows)[0])
            lines.notes += _repeated(len(found.rows) - len(kept))
            found = found.take(kept)
        splits[split] = found
    if settings.is_split_here:
        data = splits["train"]
        shared_out = split_off(len(data.rows), settings, path=data.path, lost=lost)
        splits |= {split: data.take(places) for split, places in shared_out.items()}
    return cutting, splits, max_length


def _cut_after_splitting(
    files: Mapping[str, _Lines], numbering: Numbering, settings: TextTask, notes: list[str]
) -> tuple[Cutting, dict[str, _Split], int]:
    """The same of tokens that are learnt from the training lines."""
    for lines in files.values():
        if settings.drops_repeated:
            kept = first_of_each(equal_texts(lines.texts))
            lines.notes += _repeated(len(lines.texts) - len(kept))
            _keep(lines, kept)
    if settings.is_split_here:
        shared_out = split_off(len(files["train"].texts), settings, path=files["train"].path)
    else:
        shared_out = {"train": np.arange(len(files["train"].texts))}
    whole = files["train"]
    parts = {
        split: _Lines(
            whole.path, whole.unit, whole.numbers[places], [whole.texts[place] for place in places.tolist()], []
        )
        for split, places in shared_out.items()
    }
    parts = {**{split: lines for split, lines in files.items() if split != "train"}, **parts}
    whole.texts = []
    cutting = learn_cutting(settings.tokens, parts["train"].texts, (), settings.data)
    splits = {}
    for split, lines in parts.items():
        splits[split] = _cut(lines, cutting, numbering)
    max_length = _max_length(splits["train"].rows, settings)
    for split, one in splits.items():
        splits[split], about = _fitted(one, max_length, settings)
        notes += [f"{split}: {note}" for note in about]
    return cutting, splits, max_length


def _read(path: str, settings: TextTask) -> _Lines:
    wanted = "a text file with one sequence per line"
    raw = read_texts(path, settings.how, Wanted("text", "--task.column", settings.column), wanted)
    about, first = raw.notes, raw.first_text()
    clean = Cleaning(settings.tokens, settings.lowercase, settings.normalisation)
    joins_spaces = not keeps_spaces(settings.tokens) and not settings.tokens.are_words  # words are cut there
    numbers, texts, empty = array("q"), [], []
    for number, line in raw.given_up():
        if not line or line.isspace():
            empty.append(number)
            continue
        text = line if clean.changes_nothing else clean(line)
        text = " ".join(text.split()) if joins_spaces else text
        if not text:
            empty.append(number)
            continue
        numbers.append(number)
        texts.append(text)
    if not texts:
        raise DataError(
            f"{path}: all {len(empty)} {raw.noun}s are empty. Give {wanted}.",
            code="all_lines_empty",
            fields={"path": path},
        )
    skipped = [f"skipped {count(len(empty), f'empty {raw.noun}')}, {which_lines(empty, raw.unit)}"] if empty else []
    notes = [*about, *skipped, *clean.notes(), *first]
    return _Lines(path, raw.unit, np.array(numbers, dtype=np.int64), texts, notes)


def _cut(lines: _Lines, cutting: Cutting, numbering: Numbering) -> _Split:
    """The sequences that the texts of a file are; the texts are given up."""
    texts, lines.texts = lines.texts, []
    rows = numbering.rows(cutting.placed(texts, lines.path, lines.numbers, lines.unit))
    return _with_tokens(_Split(lines.path, lines.unit, lines.numbers, rows), lines)


def _keep(lines: _Lines, places: Places) -> None:
    lines.numbers = lines.numbers[places]
    lines.texts = [lines.texts[place] for place in places.tolist()]


def _with_tokens(split: _Split, lines: _Lines) -> _Split:
    """Those of the sequences that have a token: a pattern may leave out all of a line."""
    kept = np.flatnonzero(split.rows.lengths)
    lost = split.numbers[split.rows.lengths == 0].tolist()
    if not len(kept):
        raise DataError(
            f"{split.path}: no line contains a token. Choose other tokens, or fix tokens.pattern.",
            code="no_line_has_tokens",
            fields={"path": split.path},
        )
    if not lost:
        return split
    lines.notes.append(f"skipped {count(len(lost), 'line')} without any token, {which_lines(lost, lines.unit)}")
    return split.take(kept)


def _max_length(rows: Rows, settings: TextTask) -> int:
    longest = int(rows.lengths.max())
    return settings.max_length or max(2, min(longest + 1, DEFAULT_LONGEST[settings.tokens.kind]))


def _fitted(split: _Split, max_length: int, settings: TextTask) -> tuple[_Split, list[str]]:
    limit = Limit(max_length, settings.over_long)
    rows, kept, notes = fit(split.rows, limit, path=split.path, numbers=split.numbers, unit=split.unit)
    return replace(split, numbers=split.numbers[kept], rows=rows), notes


def _repeated(number: int) -> list[str]:
    return [f"dropped {count(number, 'repeated line')}"] if number else []


def _limits(settings: TextTask) -> str:
    limits = settings.tokens.model_dump(exclude={"kind"})
    return ", ".join(f"{name}={limits[name]}" for name in ("min_count", "max_size", "size") if name in limits)
