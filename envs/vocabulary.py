"""Token ↔ id ↔ text: special ids, how tokens are joined, a vocabulary that is the same in every process.

Ids are given by falling frequency and, among equals, by the token itself, so that they depend on nothing but the
counts: not on the order of lines, not on the hash seed. Text is taken as it stands: no Unicode normalisation, no case
folding; whoever wants those does them before. How text is cut is in `tokenisers.py` and `tasks/pieces.py`, reading
files in `reading/`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from rlgan.base.errors import DataError

from .sequence_space import SequenceSpace

END_NAME = "<end>"
UNK_NAME = "<unk>"

SPECIAL_NAMES = (END_NAME, UNK_NAME)
"""How the special ids of a `Vocabulary` are shown, at their ids.

Text may hold the word `<end>`, which is then an ordinary token with an id of its own; the word `<unk>`, which many
corpora write for a rare word, means exactly the unknown token and is read as that.
"""

Joining = Literal["words", "characters", "word_pieces", "byte_pieces", "prefixed_byte_pieces"]
"""How tokens, by their names, become text again. A name, so that it can be kept wherever the names are kept.

words: with a space between them.
characters: one after another.
word_pieces: likewise; `WORD_MARK` is where a word begins.
byte_pieces: likewise; each character of a name is a byte of UTF-8, see `as_byte_names`. Bytes that are
no text become U+FFFD.
prefixed_byte_pieces: likewise, without the space that the first word begins with.
"""

WORD_MARK = "\u2581"
"""Stands before the first piece of a word (SentencePiece's mark)."""


def as_byte_names(text: str) -> str:
    """Text as its UTF-8 bytes, each written as one printable character (GPT-2's table, also that of `tokenizers`)."""
    return byte_names(text.encode("utf-8", "surrogatepass"))


def byte_names(data: bytes) -> str:
    """Bytes, each written as one printable character."""
    return "".join(_BYTE_NAMES[byte] for byte in data)


def join_tokens(names: Sequence[str], joining: Joining, *, in_one_line: bool = True) -> str:
    """The text that tokens spell, on one line.

    All text that is shown or written goes through here, one line a sequence. Tokens may hold or, byte by byte, make
    characters that no line has once it was read: line breaks and controls. Each is a space, as it is in reading.

    Args:
        names: of the tokens, without the terminator.
        joining: how they become text.
        in_one_line: whether line breaks and controls become spaces; else they stay, for whoever reads texts with them.

    Returns:
        Text.
    """
    text = _JOINERS[joining](names)
    return one_line(text) if in_one_line else text


def one_line(text: str) -> str:
    """Text with a space for each line break (Unicode's, too) and each control character but the tab."""
    return _NOT_ON_A_LINE.sub(" ", text)


def _join_byte_pieces(names: Sequence[str]) -> str:
    # Names may come from a stranger's file: a character that is no byte stands for itself.
    pieces = (_BYTE_OF_NAME.get(character) or character.encode() for name in names for character in name)
    return b"".join(pieces).decode("utf-8", "replace")


def _byte_names() -> list[str]:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    # The others, in order, take the characters from U+0100 on.
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: 0x100 + place for place, byte in enumerate(others)}
    return [chr(moved.get(byte, byte)) for byte in range(256)]


# Control characters but the tab, among them LF, CR, VT, FF and NEL; the line and the paragraph separator.
_NOT_ON_A_LINE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_BYTE_NAMES = _byte_names()
_BYTE_OF_NAME = {name: bytes([byte]) for byte, name in enumerate(_BYTE_NAMES)}

_JOINERS: Mapping[Joining, Callable[[Sequence[str]], str]] = {
    "words": " ".join,
    "characters": "".join,
    "word_pieces": lambda names: "".join(names).replace(WORD_MARK, " ").removeprefix(" "),
    "byte_pieces": _join_byte_pieces,
    "prefixed_byte_pieces": lambda names: _join_byte_pieces(names).removeprefix(" "),
}

JOININGS = tuple(_JOINERS)
"""Every way of joining."""


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of tokens; ids follow the special ids.

    Attributes:
        tokens: the ordinary tokens; `tokens[i]` has id `i + len(SPECIAL_NAMES)`.

    Raises:
        DataError: a token is empty, repeated, or the name of the unknown token.
    """

    tokens: tuple[str, ...]

    end_id: ClassVar[int] = SPECIAL_NAMES.index(END_NAME)
    """Terminator and padding; also used as the start token."""

    unknown_id: ClassVar[int] = SPECIAL_NAMES.index(UNK_NAME)
    """Replaces every token outside the vocabulary."""

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens):
            token = Counter(self.tokens).most_common(1)[0][0]
            raise DataError(
                f"vocabulary: the token {token!r} appears twice. Remove one.",
                code="vocabulary_repeated_token",
            )
        for forbidden in ("", UNK_NAME):
            if forbidden in self.tokens:
                raise DataError(
                    f"vocabulary: {forbidden!r} cannot be an ordinary token. Remove it.",
                    code="vocabulary_special_token",
                )

    @classmethod
    def build(
        cls,
        sequences: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        always: Sequence[str] = (),
    ) -> Vocabulary:
        """Vocabulary of the most frequent tokens.

        Args:
            sequences: tokenised lines, of the training split only.
            min_count: least number of occurrences of a token that gets an id.
            max_size: greatest `len` of the vocabulary, the special ids included; None for no limit.
            always: tokens that have the first ids, whatever their counts.

        Returns:
            The vocabulary, by falling count and then by token.
        """
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        return cls.of_counts(counts, min_count=min_count, max_size=max_size, always=always)

    @classmethod
    def of_counts(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        always: Sequence[str] = (),
    ) -> Vocabulary:
        """The same of tokens that were counted; one that occurs 0 times is none of the training split.

        Args:
            counts: token → number of occurrences.
            min_count: see `build`.
            max_size: see `build`.
            always: see `build`.

        Returns:
            The vocabulary, by falling count and then by token.
        """
        apart = {UNK_NAME, *always}
        # Two stable sorts, the less weighty first: keys of pairs would take three times as long.
        kept = sorted(token for token, number in counts.items() if number >= min_count and token not in apart)
        kept.sort(key=counts.__getitem__, reverse=True)
        if max_size is not None:
            kept = kept[: max(0, max_size - len(SPECIAL_NAMES) - len(always))]
        return cls((*always, *kept))

    def __len__(self) -> int:
        """Number of ids V, the special ones included."""
        return len(SPECIAL_NAMES) + len(self.tokens)

    @property
    def names(self) -> tuple[str, ...]:
        """V strings: how each id is shown."""
        return SPECIAL_NAMES + self.tokens

    def space(
        self, max_length: int, *, separator_id: int | None = None, condition: SequenceSpace | None = None
    ) -> SequenceSpace:
        """The sequences that are written with this vocabulary.

        Args:
            max_length: greatest number of tokens T, the terminator included.
            separator_id: see `SequenceSpace`.
            condition: see `SequenceSpace`.
        """
        return SequenceSpace(
            len(self),
            max_length,
            self.end_id,
            condition=condition,
            separator_id=separator_id,
            unknown_id=self.unknown_id,
            start_id=self.end_id,
        )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens, start=len(SPECIAL_NAMES))}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens, `unknown_id` for those outside the vocabulary; no terminator is added."""
        ids = self._ids
        return [ids.get(token, self.unknown_id) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of ids up to the terminator, which is not shown."""
        names = self.names
        tokens = []
        for token_id in ids:
            if token_id == self.end_id:
                break
            tokens.append(names[token_id])
        return tokens

    def to_json(self) -> str:
        """One line of JSON from which `from_json` makes the same vocabulary."""
        return json.dumps({"special": list(SPECIAL_NAMES), "tokens": list(self.tokens)})

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read what `to_json` wrote.

        Raises:
            DataError: not that JSON, or written with other special ids.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"vocabulary: not JSON ({error}). Give text that Vocabulary.to_json wrote.",
                code="vocabulary_not_json",
            ) from error
        tokens = content.get("tokens") if isinstance(content, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DataError(
                'vocabulary: expected {"special": [...], "tokens": [...strings...]}, as written by to_json.',
                code="vocabulary_form",
            )
        if content.get("special") != list(SPECIAL_NAMES):
            raise DataError(
                f"vocabulary: special ids are {content.get('special')!r}; this version has "
                f"{list(SPECIAL_NAMES)!r}. Rebuild the vocabulary from the training text.",
                code="vocabulary_special_ids",
            )
        return cls(tuple(tokens))
