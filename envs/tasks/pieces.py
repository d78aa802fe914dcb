"""Text cut into tokens for a task: what tokens are, as settings, and the alphabet that comes of training text.

Some tokens are *marks*: strings such as `<turn>` that stand in a text for themselves and are never cut. Pieces of words
are learnt by byte-pair encoding with the library `tokenizers` (extra `pieces`); nothing but names of tokens and how
they are joined is needed to get text back (`vocabulary.join_tokens`).

Source: Sennrich et al. 2016 (byte-pair encoding), Radford et al. 2019 (on bytes).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ..errors import ConfigError, DataError
from ..extras import install_command
from ..settings import Settings
from ..vocabulary import (
    JOINING_OF,
    SPECIAL_NAMES,
    TOKENISERS,
    UNK_NAME,
    WORD_MARK,
    Joining,
    Vocabulary,
    as_byte_names,
)
from .lines import Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_BYTES = 256


class _WholeTokens(Settings):
    min_count: int = Field(default=1, ge=1)
    """Least number of occurrences in the training text of a token that gets an id of its own."""

    max_size: int | None = Field(default=None, ge=len(SPECIAL_NAMES) + 2)
    """Greatest vocabulary, the terminator and the unknown token included; None: no limit."""


class Words(_WholeTokens):
    """Tokens are words, between white space."""

    kind: Literal["word"] = "word"


class Characters(_WholeTokens):
    """Tokens are Unicode code points, spaces included."""

    kind: Literal["char"] = "char"


class BytePairs(Settings):
    """Tokens are pieces of words, learnt from the training text by byte-pair encoding."""

    kind: Literal["bpe"] = "bpe"

    unit: Literal["byte", "character"] = "byte"
    """What pieces are made of: "byte" (of UTF-8: nothing is unknown, and white space is kept as it is) or "character"
    (of words between white space; characters that the training text has not are unknown)."""

    size: int = Field(default=4000, ge=8, le=1_000_000)
    """Greatest vocabulary, the terminator and the unknown token included."""

    min_count: int = Field(default=2, ge=1)
    """Least number of occurrences in the training text of two pieces that become one."""

    @model_validator(mode="after")
    def _bytes_have_room(self) -> BytePairs:
        least = NUM_BYTES + len(SPECIAL_NAMES)
        if self.unit == "byte" and self.size < least:
            raise ConfigError(
                f"size={self.size}: the bytes and the special ids alone are {least}. Raise it, or set unit='character'."
            )
        return self


TokenSettings = Annotated[Words | Characters | BytePairs, Field(discriminator="kind")]
"""What tokens are."""


def keeps_spaces(settings: TokenSettings) -> bool:
    """Whether white space between words is part of the tokens."""
    return isinstance(settings, Characters) or (isinstance(settings, BytePairs) and settings.unit == "byte")


@dataclass(frozen=True)
class Alphabet:
    """How text becomes tokens, and they text.

    Attributes:
        vocabulary: of the tokens.
        joining: how they become text.
        tokenise: cuts a text.
        kind: "word", "char" or "bpe".
        pieces: what byte-pair encoding has learnt, as the library `tokenizers` writes it; None for other tokens.
    """

    vocabulary: Vocabulary
    joining: Joining
    tokenise: Callable[[str], Tokens]
    kind: str
    pieces: str | None = None


def build_alphabet(settings: TokenSettings, texts: Sequence[str], marks: Sequence[str], name: str) -> Alphabet:
    """The alphabet of a training text.

    Args:
        settings: what tokens are.
        texts: to learn from.
        marks: strings that are tokens wherever they stand; those that stand in no text get no id.
        name: how errors call what this is the alphabet of, for instance "sources".

    Raises:
        ConfigError: the library that it takes is not installed.
        DataError: the text has more different characters than the vocabulary may have tokens.
    """
    used = [mark for mark in dict.fromkeys(marks) if any(mark in text for text in texts)]
    if isinstance(settings, BytePairs):
        return _of_byte_pairs(settings, texts, used, name)
    tokenise = _around_marks(marks, TOKENISERS[settings.kind], _itself)
    vocabulary = Vocabulary.build(
        map(tokenise, texts), min_count=settings.min_count, max_size=settings.max_size, always=used
    )
    return Alphabet(vocabulary, JOINING_OF[settings.kind], tokenise, settings.kind)


def split_at(marks: Sequence[str], text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a text in order, each with whether it is a mark; none is empty."""
    if not marks:
        if text:
            yield text, False
        return
    longest_first = sorted(set(marks), key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    for place, piece in enumerate(pieces):
        if piece:
            yield piece, place % 2 == 1


def _around_marks(
    marks: Sequence[str], tokenise: Callable[[str], Sequence[str]], tokens_of: Callable[[str], Sequence[str]]
) -> Callable[[str], Tokens]:
    def cut(text: str) -> Tokens:
        tokens: list[str] = []
        for piece, is_mark in split_at(marks, text):
            tokens += tokens_of(piece) if is_mark else tokenise(piece)
        return tuple(tokens)

    return cut


def _of_byte_pairs(settings: BytePairs, texts: Sequence[str], used: Sequence[str], name: str) -> Alphabet:
    # `<unk>` in a text is the unknown token, as among words; so no piece can be learnt that has its name.
    marks = (*used, UNK_NAME)
    plain = [piece for text in texts for piece, is_mark in split_at(marks, text) if not is_mark]
    on_bytes = settings.unit == "byte"
    if not on_bytes:
        num_characters = len({character for text in plain for character in text if not character.isspace()})
        least = num_characters + len(SPECIAL_NAMES) + len(used) + 1
        if settings.size < least:
            raise DataError(
                f"{name}: the training text has {num_characters} different characters, and size={settings.size} leaves "
                f"no room for them. Raise it to {least} or more, or set unit='byte'."
            )
    tokenizer = _learnt(settings, plain, settings.size - len(SPECIAL_NAMES) - len(used))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    ordinary = [piece for piece, _ in pieces if piece != UNK_NAME]
    of_marks = dict.fromkeys(_name_of(settings, mark) for mark in used)
    vocabulary = Vocabulary((*of_marks, *(piece for piece in ordinary if piece not in of_marks)))
    return _of_pieces(settings, tokenizer, vocabulary, marks)


def restored_alphabet(
    settings: TokenSettings, names: Sequence[str], marks: Sequence[str], pieces: str | None
) -> Alphabet:
    """The alphabet that was built once, from plain data.

    Args:
        settings: what tokens are.
        names: how each of its ids is shown.
        marks: strings that are tokens wherever they stand.
        pieces: `Alphabet.pieces`.

    Raises:
        ConfigError: the library that it takes is not installed.
    """
    vocabulary = Vocabulary(tuple(names[len(SPECIAL_NAMES) :]))
    if not isinstance(settings, BytePairs):
        tokenise = _around_marks(marks, TOKENISERS[settings.kind], _itself)
        return Alphabet(vocabulary, JOINING_OF[settings.kind], tokenise, settings.kind)
    assert pieces is not None
    _require_tokenizers()
    from tokenizers import Tokenizer

    return _of_pieces(settings, Tokenizer.from_str(pieces), vocabulary, (*marks, UNK_NAME))


def _name_of(settings: BytePairs, mark: str) -> str:
    return as_byte_names(mark) if settings.unit == "byte" else WORD_MARK + mark


def _of_pieces(settings: BytePairs, tokenizer: Tokenizer, vocabulary: Vocabulary, marks: Sequence[str]) -> Alphabet:
    on_bytes, known = settings.unit == "byte", set(vocabulary.tokens)

    def tokenise(text: str) -> list[str]:
        # Among words a mark is a word, whatever stood around it.
        found: list[str] = tokenizer.encode(text if on_bytes else text.strip(), add_special_tokens=False).tokens
        return found

    def tokens_of(mark: str) -> list[str]:
        name = _name_of(settings, mark)
        if mark != UNK_NAME and name in known:
            return [name]
        return [UNK_NAME] if on_bytes else [WORD_MARK, UNK_NAME]

    return Alphabet(
        vocabulary,
        "byte_pieces" if on_bytes else "word_pieces",
        _around_marks(marks, tokenise, tokens_of),
        settings.kind,
        tokenizer.to_str(),
    )


def _itself(mark: str) -> list[str]:
    return [mark]


def _require_tokenizers() -> None:
    if find_spec("tokenizers") is None:
        raise ConfigError(
            "vocabulary: 'bpe' needs the package tokenizers, which this Python does not have. From Python 3.11 "
            f"on, install the extra `pieces` ({install_command('pieces')}), or choose word or char."
        )


def _learnt(settings: BytePairs, texts: Sequence[str], num_pieces: int) -> Tokenizer:
    """Train; the same text gives the same pieces, whatever the process and the number of cores."""
    _require_tokenizers()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns wherever a process forks afterwards
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if settings.unit == "byte":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=num_pieces,
            min_frequency=settings.min_count,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token=UNK_NAME))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD_MARK, prepend_scheme="always")
        trainer = trainers.BpeTrainer(
            vocab_size=num_pieces + 1,  # and the unknown token, which has an id already
            min_frequency=settings.min_count,
            special_tokens=[UNK_NAME],
            show_progress=False,
        )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
