"""What a sequence is: its alphabet, its greatest length, how it starts and how it ends.

This is the one place for special token ids. `START_ID` is only ever an input to the generator and is never stored in
`tokens`. Where sequences may end early, `end_id` is the terminator: it is an ordinary action, it is part of the
sequence (the mask includes it), and positions after it are filled with it. Where `end_id` is None all sequences have
exactly `max_length` tokens and every id is an ordinary token.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlgan.base.errors import ConfigError

START_ID = 0
"""Input token before the first action. In text it is the terminator's id, in an oracle an ordinary token's."""


@dataclass(frozen=True, slots=True)
class SequenceSpace:
    """The alphabet and the shape of the sequences of one task.

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
    """

    vocab_size: int
    max_length: int
    end_id: int | None = None
    given: SequenceSpace | None = None
    separator_id: int | None = None
    unknown_id: int | None = None

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise ConfigError(f"vocab_size={self.vocab_size}: a choice needs at least 2 tokens.")
        if self.max_length < 1:
            raise ConfigError(f"max_length={self.max_length}: a sequence has at least 1 token.")
        if self.end_id is not None and not 0 <= self.end_id < self.vocab_size:
            raise ConfigError(f"end_id={self.end_id}: must be one of the ids 0..{self.vocab_size - 1}, or None.")
        if self.separator_id is not None and not 0 <= self.separator_id < self.vocab_size:
            raise ConfigError(
                f"separator_id={self.separator_id}: must be one of the ids 0..{self.vocab_size - 1}, or None."
            )
        if self.separator_id is not None and self.separator_id == self.end_id:
            raise ConfigError(f"separator_id={self.separator_id}: is end_id too, and turns follow each other.")

        if self.unknown_id is not None and not 0 <= self.unknown_id < self.vocab_size:
            raise ConfigError(
                f"unknown_id={self.unknown_id}: must be one of the ids 0..{self.vocab_size - 1}, or None."
            )
        if self.unknown_id is not None and self.unknown_id == self.end_id:
            raise ConfigError(f"unknown_id={self.unknown_id}: is end_id too, which ends a sequence.")

    @property
    def pad_id(self) -> int:
        """Id that fills positions after the terminator; masks, never ids, decide what is real."""
        return self.end_id if self.end_id is not None else START_ID
