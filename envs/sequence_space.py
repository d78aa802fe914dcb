"""What a sequence is: its alphabet, its greatest length, how it starts and how it ends.

This is the one place for special token ids: networks, samplers, environments and metrics read them here, and a task
fills them in from its vocabulary or tokeniser. `start_id` is only ever an input to the generator and is never stored in
`tokens`. Where sequences may end early, `end_id` is the terminator: it is an ordinary action, it is part of the
sequence (the mask includes it), and positions after it are filled with `pad_id`. Where `end_id` is None all sequences
have exactly `max_length` tokens and every id is an ordinary token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from rlgan.base.errors import ConfigError

if TYPE_CHECKING:
    from .drawing import Drawing


class Spelled(Protocol):
    """How tokens are written as text; `envs.spelling` is the one way."""

    @property
    def names(self) -> tuple[str, ...]:
        """V strings, how each id is shown."""

    @property
    def digest(self) -> str:
        """Tells whether two alphabets are the same, id by id."""

    def texts(self, tokens: Tensor, mask: Tensor, end_id: int | None) -> list[str]:
        """What sequences (B, T), as far as a mask (B, T) goes, say as text."""
        ...


@dataclass(frozen=True, slots=True)
class SequenceSpace:
    """The alphabet and the shape of the sequences of one task.

    An id may have more than one of the meanings below: in a text of ours the terminator is also the start and the
    padding.

    Attributes:
        vocab_size: number of token ids V; legal tokens are 0..V-1.
        max_length: greatest number of tokens T of a sequence, the terminator included.
        end_id: id of the terminator, or None where every sequence has exactly `max_length` tokens.
        given: alphabet and shape of what each sequence is given (a source sentence, turns of a dialogue), or None where
            they are given nothing.
        separator_id: id that stands between the turns of a sequence, or None where a sequence is one turn. It is an
            ordinary token to all who do not ask for turns.
        unknown_id: id that stands for every word without an id of its own, or None where there is none. It is an
            ordinary token to networks; to whoever compares sequences it equals nothing, not even itself.
        start_id: id that a network reads before the first token, or None where there is none; see `required_start`.
        padding_id: id that fills positions after the terminator, or None where the terminator itself does.
        spelling: how tokens are written as text, or None where nobody said it. Two spaces are the same whatever it is.
        drawing: how sequences are drawn, or None where they stand for no pictures. Likewise.
    """

    vocab_size: int
    max_length: int
    end_id: int | None = None
    condition: SequenceSpace | None = None
    separator_id: int | None = None
    unknown_id: int | None = None
    start_id: int | None = 0
    padding_id: int | None = None
    spelling: Spelled | None = field(default=None, compare=False, repr=False)
    drawing: Drawing | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise ConfigError(
                f"vocab_size={self.vocab_size}: must be at least 2.",
                code="space_vocab_size",
                fields={"vocab_size": self.vocab_size},
            )
        if self.max_length < 1:
            raise ConfigError(
                f"max_length={self.max_length}: must be at least 1.",
                code="space_max_length",
                fields={"max_length": self.max_length},
            )
        for name in ("end_id", "separator_id", "unknown_id", "start_id", "padding_id"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.vocab_size:
                raise ConfigError(
                    f"{name}={token}: must be None or an id from 0 to {self.vocab_size - 1}.",
                    code="space_token_id",
                    fields={name: token},
                )
        if self.separator_id is not None and self.separator_id == self.end_id:
            raise ConfigError(
                f"separator_id={self.separator_id}: is also end_id, but turns follow each other. Give the "
                "separator an id of its own.",
                code="separator_is_end",
                fields={"separator_id": self.separator_id},
            )
        if self.unknown_id is not None and self.unknown_id == self.end_id:
            raise ConfigError(
                f"unknown_id={self.unknown_id}: is also end_id, which ends a sequence. Give the unknown token an "
                "id of its own.",
                code="unknown_is_end",
                fields={"unknown_id": self.unknown_id},
            )
        if self.padding_id is not None and self.end_id is None:
            raise ConfigError(
                f"padding_id={self.padding_id}: has no effect with end_id=None, because all sequences have full "
                "length. Set it to None.",
                code="padding_without_end",
                fields={"padding_id": self.padding_id},
            )

    @property
    def pad_id(self) -> int:
        """Id that fills positions after the terminator; masks, never ids, decide what is real."""
        if self.padding_id is not None:
            return self.padding_id
        # Without a terminator every position is real in the end, and what stands there meanwhile is never read.
        return 0 if self.end_id is None else self.end_id

    @property
    def required_start(self) -> int:
        """`start_id`, for a network that reads it.

        Raises:
            ConfigError: there is none.
        """
        if self.start_id is None:
            raise ConfigError(
                "start_id=None: this network reads a start token before the first token. Give the sequence space a "
                "start_id; if the vocabulary has no start token, use end_id.",
                code="network_needs_start",
                fields={"start_id": None},
            )
        return self.start_id
