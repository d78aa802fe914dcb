"""Text cut into tokens for a task: what tokens are, as settings, and the alphabet that comes of training text.

Some tokens are *marks*: strings such as `<turn>` that stand in a text for themselves and are never cut. Pieces of words
are learnt by byte-pair encoding with the library `tokenizers` (extra `pieces`); nothing but names of tokens and how
they are joined is needed to get text back (`vocabulary.join_tokens`). Rules that nothing is learnt for are in
`tokenisers.py`.

Source: Sennrich et al. 2016 (byte-pair encoding), Radford et al. 2019 (on bytes).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.extras import install_command
from rlgan.base.settings import Settings

from ..reading import count
from ..tokenisers import (
    SMILES_PATTERN,
    NotCoveredError,
    PatternSplitter,
    Uncovered,
    compiled,
    grapheme_splitter,
    split_chars,
    split_words,
)
from ..vocabulary import SPECIAL_NAMES, UNK_NAME, WORD_MARK, Joining, Vocabulary, as_byte_names
from .lines import Normalisation, Tokens
from .numbering import Numbering, Places

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_BYTES = 256

DEFAULT_LONGEST: Mapping[str, int] = {"word": 64, "char": 128, "bpe": 128, "smiles": 128, "regex": 128}
"""Greatest `max_length` that is chosen by itself."""


class _Tokens(Settings):
    are_words: ClassVar[bool] = False
    """Whether tokens are words, which are joined by spaces."""

    def helps_unknown(self, option: str) -> list[str]:
        """What makes fewer tokens unknown, besides more training text and a lower `min_count`, as advice says it.

        Args:
            option: that setting, as it is typed: "--task.tokens".
        """
        return []


class _WholeTokens(_Tokens):
    min_count: int = Field(default=1, ge=1)
    """Minimum number of occurrences in the training text for a token to be in the vocabulary."""

    max_size: int | None = Field(default=None, ge=len(SPECIAL_NAMES) + 2)
    """Maximum vocabulary size, including the terminator and the unknown token; None: no limit."""

    def helps_unknown(self, option: str) -> list[str]:
        """See `_Tokens.helps_unknown`."""
        return [] if self.max_size is None else [f"a larger {option}.max-size"]


class Words(_WholeTokens):
    """Tokens are words separated by white space."""

    are_words: ClassVar[bool] = True
    kind: Literal["word"] = "word"

    def helps_unknown(self, option: str) -> list[str]:
        """See `_Tokens.helps_unknown`."""
        return [*super().helps_unknown(option), "pieces of words (--tokens bpe)"]


class Characters(_WholeTokens):
    """Tokens are characters, including spaces."""

    kind: Literal["char"] = "char"

    unit: Literal["code_point", "grapheme"] = "code_point"
    """What a character is: "code_point" (of Unicode) or "grapheme" (a cluster: a letter with its accents, a flag, a
    family emoji; needs the library `regex`)."""


class Smiles(_WholeTokens):
    """Tokens are the atoms, bonds, branches and rings of molecules in SMILES notation."""

    kind: Literal["smiles"] = "smiles"

    uncovered: Literal["error", "unknown"] = "error"
    """What to do with text that is not SMILES: raise an error, or read it as an unknown token."""


class Pattern(_WholeTokens):
    """Tokens are the matches of your own regular expression, from left to right."""

    kind: Literal["regex"] = "regex"

    pattern: str = Field(default=r"\w+|\s+|[^\w\s]", min_length=1)
    """Regular expression of one token, in the syntax of Python's `re`. The default matches words, white space and
    single punctuation marks."""

    uncovered: Uncovered = "error"
    """What to do with text that no match covers: raise an error, read it as an unknown token, or remove it. The
    removed fraction is reported."""

    @field_validator("pattern")
    @classmethod
    def _pattern_is_a_regular_expression(cls, value: str) -> str:
        compiled(value)
        return value


class BytePairs(_Tokens):
    """Tokens are pieces of words, learned from the training text by byte-pair encoding."""

    kind: Literal["bpe"] = "bpe"

    unit: Literal["byte", "character"] = "byte"
    """What pieces consist of: "byte" (of UTF-8: nothing is unknown, and white space is preserved) or "character" (of
    words separated by white space; characters that are not in the training text are unknown)."""

    size: int = Field(default=4000, ge=8, le=1_000_000)
    """Maximum vocabulary size, including the terminator and the unknown token."""

    min_count: int = Field(default=2, ge=1)
    """Minimum number of occurrences in the training text of two pieces that are merged."""

    @model_validator(mode="after")
    def _bytes_have_room(self) -> BytePairs:
        least = NUM_BYTES + len(SPECIAL_NAMES)
        if self.unit == "byte" and self.size < least:
            raise ConfigError(
                f"size={self.size}: the bytes and the special ids alone need {least}. Raise it, or set "
                "unit='character'.",
                code="bpe_size_too_small",
                fields={"size": self.size},
            )
        return self


def _of_name(value: Any) -> Any:
    """Tokens by the name of their kind alone, as older configurations have it."""
    return {"kind": value} if isinstance(value, str) else value


TokenSettings = Annotated[
    Words | Characters | BytePairs | Smiles | Pattern, Field(discriminator="kind"), BeforeValidator(_of_name)
]
"""What tokens are."""


def keeps_spaces(settings: TokenSettings) -> bool:
    """Whether white space between words is part of the tokens."""
    return isinstance(settings, Characters | Pattern) or (isinstance(settings, BytePairs) and settings.unit == "byte")


def is_learnt(settings: TokenSettings) -> bool:
    """Whether how text is cut depends on the training text."""
    return isinstance(settings, BytePairs)


def require_case(settings: TokenSettings, lowercase: bool) -> None:
    """Refuse small letters where case has a meaning.

    Raises:
        ConfigError: SMILES are to be written small.
    """
    if lowercase and isinstance(settings, Smiles):
        raise ConfigError(
            "lowercase=true: in SMILES lower-case letters are different atoms (c is aromatic carbon). Remove it.",
            code="smiles_lowercase",
            fields={"lowercase": True},
        )


class Cleaning:
    """How text is written before it is cut: its Unicode form, its letters, the character that marks words.

    Args:
        tokens: what a token is.
        lowercase: whether letters are made small.
        normalisation: Unicode form that text is brought into.

    Attributes:
        num_marks: how many characters that mark words were taken away.
    """

    def __init__(self, tokens: TokenSettings, lowercase: bool, normalisation: Normalisation) -> None:
        self._lowercase = lowercase
        self._form: Literal["NFC", "NFKC"] | None = _FORMS[normalisation]
        self._marks_words = isinstance(tokens, BytePairs) and tokens.unit == "character"
        self.num_marks = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether every text stays as it is."""
        return not (self._lowercase or self._form or self._marks_words)

    def __call__(self, text: str) -> str:
        """The text as it is to be cut."""
        if self._form is not None:
            text = unicodedata.normalize(self._form, text)
        if self._marks_words and WORD_MARK in text:
            self.num_marks += text.count(WORD_MARK)
            text = text.replace(WORD_MARK, " ")
        if self._lowercase:
            text = text.lower()
            # Small letters of a composed one may be several, of which the form has one.
            text = text if self._form is None else unicodedata.normalize(self._form, text)
        return text

    def notes(self) -> list[str]:
        """What was changed that may surprise."""
        if not self.num_marks:
            return []
        return [
            f"read {count(self.num_marks, 'character')} {WORD_MARK}, which marks words in byte-pair tokens, as a space"
        ]


_FORMS: Mapping[Normalisation, Literal["NFC", "NFKC"] | None] = {"none": None, "nfc": "NFC", "nfkc": "NFKC"}


@dataclass(frozen=True)
class Cutting:
    """How text is cut.

    Attributes:
        tokenise: cuts a text.
        joining: how tokens become text.
        kind: of the settings.
        many: cuts many texts, one after another and no faster than they are asked for.
        pattern: what counts the characters that no token covers; None where all are covered.
        vocabulary: where it comes with what was learnt; None where it is the tokens that are found.
        pieces: what byte-pair encoding has learnt, as the library `tokenizers` writes it; None for other tokens.
    """

    tokenise: Callable[[str], Tokens]
    joining: Joining
    kind: str
    many: Callable[[Iterable[str]], Iterator[Sequence[str]]]
    pattern: PatternSplitter | None = None
    vocabulary: Vocabulary | None = None
    pieces: str | None = None

    def placed(self, texts: Iterable[str], path: str, numbers: Places, unit: str = "line") -> Iterator[Sequence[str]]:
        """The tokens of many texts of a file.

        Args:
            texts: in the order of the file.
            path: of the file.
            numbers: of their lines, records or rows.
            unit: what `numbers` count: "line", "record" or "row".

        Raises:
            DataError: a text has what is no token; names its line.
        """
        done = 0
        try:
            for tokens in self.many(texts):
                yield tokens
                done += 1
        except NotCoveredError as error:
            raise DataError(
                f"{path}, {unit} {numbers[done]}: {error}",
                code=error.code,
                fields={"path": path, "line": numbers[done], **error.fields},
            ) from None

    def notes(self) -> list[str]:
        """What no token covers, of all that was cut so far."""
        if self.pattern is None or not self.pattern.num_uncovered:
            return []
        number, total = self.pattern.num_uncovered, self.pattern.num_characters
        done = "left out" if self.pattern.uncovered == "drop" else "read as unknown tokens"
        return [f"{done} {count(number, 'character')} of {total} ({number / total:.2%}) that no token covers"]


@dataclass(frozen=True)
class Alphabet:
    """How text becomes tokens, and they text.

    Attributes:
        vocabulary: of the tokens.
        joining: how they become text.
        tokenise: cuts a text.
        kind: "word", "char", "bpe", "smiles" or "regex".
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
    cutting, numbering = learn_cutting(settings, texts, marks, name), Numbering()
    rows = numbering.rows(cutting.many(texts))
    counts = numbering.counted(rows.counts(len(numbering)))
    vocabulary = vocabulary_of(settings, cutting, counts, used_marks(marks, texts))
    return Alphabet(vocabulary, cutting.joining, cutting.tokenise, cutting.kind, cutting.pieces)


def used_marks(marks: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The marks that stand in the texts, each once."""
    return [mark for mark in dict.fromkeys(marks) if any(mark in text for text in texts)]


def vocabulary_of(
    settings: TokenSettings, cutting: Cutting, counts: Mapping[str, int], used: Sequence[str]
) -> Vocabulary:
    """The vocabulary of a training text.

    Args:
        settings: what tokens are.
        cutting: what `learn_cutting` made of them.
        counts: number of occurrences of each token in that text.
        used: the marks that stand in it.
    """
    if cutting.vocabulary is not None:
        return cutting.vocabulary
    assert not isinstance(settings, BytePairs)
    return Vocabulary.of_counts(counts, min_count=settings.min_count, max_size=settings.max_size, always=used)


def learn_cutting(settings: TokenSettings, texts: Sequence[str], marks: Sequence[str], name: str) -> Cutting:
    """How a task's text is cut.

    Args:
        settings: what tokens are.
        texts: to learn from, where something is learnt.
        marks: strings that are tokens wherever they stand.
        name: how errors call what is cut, for instance "sources".

    Raises:
        ConfigError: the library that it takes is not installed.
        DataError: the text has more different characters than the vocabulary may have tokens.
    """
    if isinstance(settings, BytePairs):
        return _of_byte_pairs(settings, texts, used_marks(marks, texts), name)
    return _by_rule(settings, marks)


def _by_rule(settings: Words | Characters | Smiles | Pattern, marks: Sequence[str]) -> Cutting:
    """What cuts without having learnt."""
    tokenise, pattern = _rule(settings)
    cut = _around_marks(marks, tokenise, _itself)
    joining: Joining = "words" if settings.are_words else "characters"
    # A text without a mark in it is cut as it stands.
    plain = tokenise if not marks else lambda text: cut(text) if any(mark in text for mark in marks) else tokenise(text)
    return Cutting(cut, joining, settings.kind, lambda texts: map(plain, texts), pattern)


def _rule(
    settings: Words | Characters | Smiles | Pattern,
) -> tuple[Callable[[str], Sequence[str]], PatternSplitter | None]:
    if isinstance(settings, Words):
        return split_words, None
    if isinstance(settings, Characters):
        return (split_chars if settings.unit == "code_point" else grapheme_splitter()), None
    source, name = (SMILES_PATTERN, "SMILES") if isinstance(settings, Smiles) else (settings.pattern, "the pattern")
    splitter = PatternSplitter(compiled(source), settings.uncovered, name)
    return splitter, splitter


def split_at(marks: Sequence[str], text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a text in order, each with whether it is a mark; none is empty."""
    if not any(mark in text for mark in marks):
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


def _of_byte_pairs(settings: BytePairs, texts: Sequence[str], used: Sequence[str], name: str) -> Cutting:
    # `<unk>` in a text is the unknown token, as among words; so no piece can be learnt that has its name.
    marks = (*used, UNK_NAME)

    def plain() -> Iterator[str]:
        return (piece for text in texts for piece, is_mark in split_at(marks, text) if not is_mark)

    on_bytes = settings.unit == "byte"
    if not on_bytes:
        num_characters = sum(not character.isspace() for character in set().union(*plain()))
        least = num_characters + len(SPECIAL_NAMES) + len(used) + 1
        if settings.size < least:
            raise DataError(
                f"{name}: the training text has {num_characters} different characters, but size={settings.size} is "
                f"too small for them. Raise it to {least} or more, or set unit='byte'.",
                code="bpe_size_below_characters",
                fields={"size": settings.size, "name": name},
            )
    tokenizer = _learnt(settings, plain(), settings.size - len(SPECIAL_NAMES) - len(used))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    ordinary = [piece for piece, _ in pieces if piece != UNK_NAME]
    of_marks = dict.fromkeys(_name_of(settings, mark) for mark in used)
    vocabulary = Vocabulary((*of_marks, *(piece for piece in ordinary if piece not in of_marks)))
    return _of_pieces(settings, tokenizer, vocabulary, marks)


def restored_cutting(
    settings: TokenSettings, names: Sequence[str], marks: Sequence[str], pieces: str | None
) -> tuple[Cutting, Vocabulary]:
    """How text is cut and the vocabulary that was built once, from plain data.

    Args:
        settings: what tokens are.
        names: how each of its ids is shown.
        marks: strings that are tokens wherever they stand.
        pieces: `Cutting.pieces`.

    Raises:
        ConfigError: the library that it takes is not installed.
    """
    vocabulary = Vocabulary(tuple(names[len(SPECIAL_NAMES) :]))
    if not isinstance(settings, BytePairs):
        return _by_rule(settings, marks), vocabulary
    assert pieces is not None
    _require_tokenizers()
    from tokenizers import Tokenizer

    return _of_pieces(settings, Tokenizer.from_str(pieces), vocabulary, (*marks, UNK_NAME)), vocabulary


def _name_of(settings: BytePairs, mark: str) -> str:
    return as_byte_names(mark) if settings.unit == "byte" else WORD_MARK + mark


_AT_ONCE = 4096  # texts that the library cuts in one call


def _of_pieces(settings: BytePairs, tokenizer: Tokenizer, vocabulary: Vocabulary, marks: Sequence[str]) -> Cutting:
    on_bytes, known = settings.unit == "byte", set(vocabulary.tokens)

    def written(text: str) -> str:
        # Among words a mark is a word, whatever stood around it.
        return text if on_bytes else text.strip()

    def tokenise(text: str) -> list[str]:
        found: list[str] = tokenizer.encode(written(text), add_special_tokens=False).tokens
        return found

    def tokens_of(mark: str) -> list[str]:
        name = _name_of(settings, mark)
        if mark != UNK_NAME and name in known:
            return [name]
        return [UNK_NAME] if on_bytes else [WORD_MARK, UNK_NAME]

    cut = _around_marks(marks, tokenise, tokens_of)
    names = {index: name for name, index in tokenizer.get_vocab().items()}

    def many(texts: Iterable[str]) -> Iterator[Sequence[str]]:
        remaining = iter(texts)
        while some := list(islice(remaining, _AT_ONCE)):
            has_mark = [any(mark in text for mark in marks) for text in some]
            plain = [written(text) for text, has in zip(some, has_mark, strict=True) if not has]
            found = iter(tokenizer.encode_batch_fast(plain, add_special_tokens=False))
            for text, has in zip(some, has_mark, strict=True):
                yield cut(text) if has else [names[index] for index in next(found).ids]

    return Cutting(
        cut,
        "byte_pieces" if on_bytes else "word_pieces",
        settings.kind,
        many,
        vocabulary=vocabulary,
        pieces=tokenizer.to_str(),
    )


def _itself(mark: str) -> list[str]:
    return [mark]


def _require_tokenizers() -> None:
    if find_spec("tokenizers") is None:
        raise ConfigError(
            "tokens: 'bpe' needs the package tokenizers, which is not installed. With Python 3.11 or later install "
            f"the extra `pieces` ({install_command('pieces')}), or choose word or char.",
            code="bpe_needs_tokenizers",
        )


def _learnt(settings: BytePairs, texts: Iterable[str], num_pieces: int) -> Tokenizer:
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
