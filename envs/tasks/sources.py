"""How the text of a source becomes tokens: what a source is, how it is written before it is cut, and new ones read.

Training data and sources that somebody brings later go through the same code; all that it needs of a task is plain data
(`Reading`), which is kept with a trained generator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import Settings

from ..model_tokens import Message, ModelTokens
from ..reading import Text, count, known_encoding
from ..vocabulary import SPECIAL_NAMES, WORD_MARK, Vocabulary
from .lines import Limit, Normalisation, OverLong, Tokens, fit
from .numbering import Numbering, filled
from .pieces import Cleaning, Cutting, TokenSettings, keeps_spaces, restored_cutting, split_at

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def _checked_mark(value: str) -> str:
    if not value or any(character.isspace() for character in value) or value in SPECIAL_NAMES or WORD_MARK in value:
        raise ConfigError(
            f"{value!r}: not a valid token. It must be one word, and not {' or '.join(SPECIAL_NAMES)}. Use another "
            "one, for instance <turn>.",
            code="bad_special_token",
        )
    return value


class _Domain(Settings):
    keeps_end: ClassVar[bool] = False
    """Whether the end of a source that is too long is kept, instead of its beginning."""
    are_summaries: ClassVar[bool] = False
    """Whether targets are summaries, which have their own metrics."""

    @property
    def separator(self) -> str | None:
        """Mark between the parts of a source; None where it has no parts."""
        return None

    @property
    def turn_mark(self) -> str | None:
        """The same where the parts are turns, of which a dialogue is made."""
        return None

    @property
    def most_parts(self) -> int | None:
        """Greatest number of parts of a source, of which the last are read; None for all."""
        return None

    @property
    def number_mark(self) -> str | None:
        """Token that stands for every number, in sources and targets; None where numbers stay as they are."""
        return None


class _LimitedSources(_Domain):
    max_source_length: int | None = Field(default=None, ge=2, le=10_000)
    """Maximum number of tokens S of a source, including the terminator; None: the longest training source and its
    terminator, but at most 64 words or 128 characters or pieces."""

    over_long_source: OverLong = "drop"
    """What to do with pairs whose source and terminator exceed `max_source_length`: drop the pair, cut the source to
    S tokens (without a terminator), or raise an error. Validation and test pairs are cut, never dropped."""


class Translation(_LimitedSources):
    """A source is a sentence."""

    kind: Literal["translation"] = "translation"


class Dialogue(_LimitedSources):
    """A source is the dialogue so far, as turns. Long sources are cut at the beginning."""

    keeps_end: ClassVar[bool] = True  # the turn before the answer matters more than the first one
    kind: Literal["dialogue"] = "dialogue"

    max_turns: int = Field(default=3, ge=1)
    """Maximum number of turns of a source; the last ones are used."""

    turn_token: str = "<turn>"
    """Token between turns. A source that is a single string is split into turns at this token."""

    @field_validator("turn_token")
    @classmethod
    def _turn_token_is_a_word(cls, value: str) -> str:
        return _checked_mark(value)

    @property
    def separator(self) -> str:
        """See `_Domain.separator`."""
        return self.turn_token

    @property
    def turn_mark(self) -> str:
        """See `_Domain.turn_mark`."""
        return self.turn_token

    @property
    def most_parts(self) -> int:
        """See `_Domain.most_parts`."""
        return self.max_turns


class Summarization(_Domain):
    """A source is a document; its beginning is read."""

    are_summaries: ClassVar[bool] = True
    over_long_source: ClassVar[OverLong] = "cut"
    kind: Literal["summarization"] = "summarization"

    max_source_length: int = Field(default=350, ge=2, le=10_000)
    """Maximum number of tokens S of a source, including the terminator; a longer source is cut to its first S
    tokens, without a terminator."""

    sentence_token: str = "<s>"
    """Token between the strings of a source that is a list, for instance of sentences."""

    number_token: str | None = None
    """Token that replaces every number written in digits, in sources and targets; None: numbers stay as they are."""

    @field_validator("sentence_token", "number_token")
    @classmethod
    def _tokens_are_words(cls, value: str | None) -> str | None:
        return None if value is None else _checked_mark(value)

    @model_validator(mode="after")
    def _tokens_differ(self) -> Summarization:
        if self.sentence_token == self.number_token:
            raise ConfigError(
                f"number_token={self.number_token!r}: is also the sentence_token. Use another one.",
                code="number_is_sentence_token",
                fields={"number_token": self.number_token},
            )
        return self

    @property
    def separator(self) -> str:
        """See `_Domain.separator`."""
        return self.sentence_token

    @property
    def number_mark(self) -> str | None:
        """See `_Domain.number_mark`."""
        return self.number_token


DomainSettings = Annotated[Translation | Dialogue | Summarization, Field(discriminator="kind")]
"""What a source is."""


def marks_of(domain: DomainSettings) -> tuple[list[str], list[str]]:
    """Strings that are tokens wherever they stand: in sources, and in targets."""
    target = [mark for mark in [domain.number_mark] if mark is not None]
    return [mark for mark in [domain.separator] if mark is not None] + target, target


class Writing:
    """How text of one side is written before it is cut.

    Args:
        domain: what a source is.
        tokens: what a token of this side is.
        lowercase: whether letters are made small.
        normalisation: Unicode form that text is brought into.

    Attributes:
        num_earlier: how many turns before the last ones were left out.
    """

    def __init__(
        self,
        domain: DomainSettings,
        tokens: TokenSettings,
        lowercase: bool,
        normalisation: Normalisation = "none",
    ) -> None:
        self._domain, self._number_token = domain, domain.number_mark
        self._keeps_spaces, self._cleaning = keeps_spaces(tokens), Cleaning(tokens, lowercase, normalisation)
        self.num_earlier = 0

    @property
    def num_marks(self) -> int:
        """How many characters that mark words were taken away."""
        return self._cleaning.num_marks

    def source(self, raw: str | Sequence[str], where: Callable[[], str]) -> str:
        """A source as text to be cut, its parts with marks between them; empty where nothing is left.

        Args:
            raw: the source, or its parts.
            where: tells file and line, for errors.

        Raises:
            DataError: parts, where a source has none.
        """
        parts = [part for part in map(self.clean, self._parts(raw, where)) if part.strip()]
        most = self._domain.most_parts
        if most is not None and len(parts) > most:
            self.num_earlier += len(parts) - most
            parts = parts[-most:]
        return (self._domain.separator or "").join(parts)

    def _parts(self, raw: str | Sequence[str], where: Callable[[], str]) -> list[str]:
        separator = self._domain.separator
        if isinstance(raw, str):
            return [raw] if separator is None else [part.strip() for part in raw.split(separator)]
        if separator is None:
            raise DataError(
                f"{where()}: the source is a list of {count(len(raw), 'string')}, but with domain=translation it "
                "must be one string. Choose --task.domain dialogue (turns) or --task.domain summarization "
                "(sentences), or join the strings.",
                code="source_is_list",
            )
        return [part.strip() for string in raw for part in string.split(separator)]

    def clean(self, text: str) -> str:
        """Text as the settings ask for it; marks that stand in it stay as they are."""
        if self._number_token is None:
            text = text if self._cleaning.changes_nothing else self._cleaning(text)
            return text if self._keeps_spaces else " ".join(text.split())
        marks = (self._number_token,)
        text = "".join(piece if is_mark else self._changed(piece) for piece, is_mark in split_at(marks, text))
        return text if self._keeps_spaces else " ".join(text.split())

    def _changed(self, text: str) -> str:
        return _NUMBER.sub(lambda _: self._number_token or "", self._cleaning(text))


def turn_id(domain: DomainSettings, cutting: Cutting, vocabulary: Vocabulary) -> int | None:
    """Id of what stands between turns; None where sources have no turns, or no training source has two."""
    if domain.turn_mark is None:
        return None
    ids = vocabulary.encode(cutting.tokenise(domain.turn_mark))
    return ids[0] if len(ids) == 1 and ids[0] != vocabulary.unknown_id else None


@dataclass(frozen=True, slots=True)
class ReadSources:
    """Sources that were read.

    Attributes:
        conditions: (n, S) int64, padded after the terminator.
        words: of each its tokens as they were written, at most S and without the terminator: those that have no id,
            too.
        notes: what was cut, or is unknown.
    """

    conditions: Tensor
    words: tuple[Tokens, ...]
    notes: tuple[str, ...]


Source = Text | Sequence[Message]
"""What somebody brings to be written for: a text, its turns or parts, or a conversation of {"role", "content"}."""


class Reading(Settings):
    """How sources that somebody brings become conditions: plain data."""

    domain: DomainSettings
    """What a source is."""

    tokens: TokenSettings
    """What a token is."""

    lowercase: bool
    """Whether to convert text to lower case."""

    names: tuple[str, ...]
    """The text of each id."""

    pieces: str | None
    """What byte-pair encoding learned, in the format of the library `tokenizers`; None for other tokens."""

    max_length: int
    """Maximum number of tokens of a source; longer ones are cut as in training."""

    encoding: str = "utf-8"
    """Character encoding of the training files; not stored in runs of older versions."""

    normalisation: Normalisation = "none"
    """Unicode normalisation of text; not stored in runs of older versions."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        return known_encoding(value)

    @property
    def model_tokens(self) -> ModelTokens | None:
        """Tokens of the language model that reads it; None where there is none."""
        return None

    @property
    def is_chat(self) -> bool:
        """Whether a text is put into a chat template."""
        return False

    def conditions(self, sources: Sequence[Source], path: str) -> Tensor:
        """Sources as conditions (n, S) int64; see `read`."""
        return self.read(sources, path).conditions

    @property
    def are_words(self) -> bool:
        """Whether a token is a word."""
        return self.tokens.are_words

    @property
    def separator(self) -> str | None:
        """Token that stands between the parts of a source; None where it has no parts."""
        return self.domain.separator

    def read(self, texts: Sequence[Source], path: str, numbers: Sequence[int] | None = None) -> ReadSources:
        """Sources as conditions.

        Args:
            texts: one source each, or its parts.
            path: where they are from, for errors.
            numbers: of the lines that they stand on; None: 1, 2, ...

        Returns:
            One condition a source, and what was cut, or is unknown.

        Raises:
            DataError: there is none, or a line is empty, for which nothing could be written.
        """
        places = np.array(range(1, len(texts) + 1) if numbers is None else numbers, dtype=np.int64)
        if not texts:
            raise DataError(
                f"{path}: contains no lines. Give a file with one source per line.",
                code="no_source_lines",
                fields={"path": path},
            )
        writing = Writing(self.domain, self.tokens, self.lowercase, self.normalisation)
        cutting, vocabulary = restored_cutting(self.tokens, self.names, marks_of(self.domain)[0], self.pieces)
        written = []
        for number, raw in zip(places.tolist(), texts, strict=True):
            text = writing.source(as_text(raw, path), f"{path}, line {number}".__str__)
            if not text.strip():
                raise DataError(
                    f"{path}, line {number}: is empty, but each line must be a source. Remove the line.",
                    code="empty_source_line",
                    fields={"path": path, "line": number},
                )
            written.append(text)
        numbering = Numbering()
        rows = numbering.rows(cutting.placed(written, path, places))
        if not rows.lengths.all():
            number = int(places[rows.lengths == 0][0])
            raise DataError(
                f"{path}, line {number}: contains no known token. Remove the line.",
                code="source_without_tokens",
                fields={"path": path, "line": number},
            )
        limit = Limit(self.max_length, "cut", keeps_end=self.domain.keeps_end)
        rows, _, notes = fit(rows, limit, path=path, numbers=places, noun="source")
        notes += cutting.notes()
        table, counts = numbering.table(vocabulary), rows.counts(len(numbering))
        num_unknown, num_tokens = int(counts[table == vocabulary.unknown_id].sum()), int(counts.sum())
        if num_unknown:
            notes.append(f"{num_unknown} of {count(num_tokens, 'token')} unknown ({num_unknown / num_tokens:.1%})")
        conditions = filled(rows, table, vocabulary.space(self.max_length)).long()
        return ReadSources(conditions, numbering.words(rows), tuple(notes))


def as_text(source: Source, path: str) -> Text:
    """A source of a generator that reads no conversations.

    Raises:
        DataError: it is one.
    """
    if isinstance(source, str):
        return source
    if all(isinstance(one, str) for one in source):
        return [str(one) for one in source]
    raise DataError(
        f"{path}: contains a conversation, but this generator reads texts. Give texts.", code="source_is_conversation"
    )
