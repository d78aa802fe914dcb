"""What a classifier reads of sequences and of what they are given: their ids, or their text in tokens of its own.

Rows are padded on the right; masks, never ids, say what is real.

    B sequences, S positions of a condition, T of a sequence, L tokens that are read
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from rlgan.base.errors import DataError
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask


@dataclass(frozen=True, slots=True)
class Read:
    """What a model is shown.

    Attributes:
        ids: (B, L) int64, padded on the right.
        mask: (B, L) bool.
        segments: (B, L) int64, 0 for what is given, where something is, and 1 for the sequence behind it.
        first: (B,) int64, where the sequence's own tokens begin; None where they are none of the model's.
    """

    ids: Tensor
    mask: Tensor
    segments: Tensor
    first: Tensor | None


@dataclass(frozen=True, slots=True)
class Layout:
    """What is read around the two sides, for a tokenizer that is to write the same.

    Attributes:
        before: ids in front of all.
        between: ids between what is given and the sequence.
        behind: ids behind all.
        pads: the id that a classifier with ids of its own pads with; else none.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    behind: tuple[int, ...]
    pads: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All that are read."""
        return tuple(dict.fromkeys((*self.before, *self.between, *self.behind)))


class Reader(Protocol):
    """From sequences to what a model is shown."""

    @property
    def reads_pairs(self) -> bool:
        """Whether sequences are given something."""
        ...

    @property
    def layout(self) -> Layout | None:
        """What it reads around texts; None where that is a tokenizer's own, or is no text."""
        ...

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Read:
        """What is read of tokens (B, T) under a mask (B, T), given conditions (B, S)."""
        ...


def joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of several parts behind each other, without what is masked, padded on the right.

    Args:
        parts: ids (B, n) and masks (B, n) of each.

    Returns:
        Ids (B, L), mask (B, L), and of each token the number of its part (B, L).
    """
    ids, mask = (torch.cat(tensors, 1) for tensors in zip(*parts, strict=True))
    number = torch.cat([torch.full_like(one, place) for place, (one, _) in enumerate(parts)], 1)
    order = (~mask).to(torch.int8).sort(dim=1, stable=True).indices
    mask = mask.gather(1, order)
    longest = max(1, int(mask.sum(1).max()))
    ids, mask, number = ids.gather(1, order)[:, :longest], mask[:, :longest], number.gather(1, order)[:, :longest]
    return ids.masked_fill(~mask, 0), mask, number


class IdReader:
    """Reads ids: the start, what is given, and the sequence.

    Args:
        space: the task's sequences.
        shift: what is added to ids of a condition: 0 where both sides have one alphabet.
        boundary: id that stands between the condition and the sequence; None for none.
        begins: whether the start is read before a sequence that is given nothing.
        pad_id: that pads, where it is an id of its own.
    """

    def __init__(
        self, space: SequenceSpace, shift: int, boundary: int | None, begins: bool = True, pad_id: int | None = None
    ) -> None:
        self._space, self._shift, self._boundary, self._begins = space, shift, boundary, begins
        self._pads = () if pad_id is None else (pad_id,)

    @property
    def reads_pairs(self) -> bool:
        """See `Reader.reads_pairs`."""
        return self._space.condition is not None

    @property
    def layout(self) -> Layout | None:
        """See `Reader.layout`; the start that is read in the place of an empty condition is not told."""
        space = self._space
        if self._shift or space.end_id is None:
            return None
        reads_start = self._begins and not self.reads_pairs and space.start_id is not None
        before = (space.start_id,) if reads_start and space.start_id is not None else ()
        between = () if self._boundary is None else (self._boundary,)
        return Layout(before, between, (space.end_id,), self._pads)

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Read:
        """See `Reader`."""
        space, parts = self._space, []
        one = torch.ones_like(tokens[:, :1])
        if conditions is None:
            if space.start_id is not None and self._begins:
                parts.append((one * space.start_id, one.bool()))
        else:
            assert space.condition is not None
            is_real = sequence_mask(space.condition, conditions)
            if self._shift == 0:
                # A terminator that is none of the sequences' tokens is not read.
                is_real = is_real & (conditions < space.vocab_size)
                if self._boundary is None and space.start_id is not None:
                    parts.append((one * space.start_id, ~is_real.any(1, keepdim=True)))
            parts.append((conditions + self._shift, is_real))
            if self._boundary is not None:
                parts.append((one * self._boundary, one.bool()))
        ids, is_read, number = joined([*parts, (tokens, mask)])
        before = is_read & (number < len(parts))
        segments = (is_read & ~before).long() if conditions is not None else torch.zeros_like(ids)
        return Read(ids, is_read, segments, before.sum(1))


class TextReader:
    """Reads text by a tokenizer: reals and fakes go through the same decoding and encoding.

    An encoder reads both sides as its tokenizer joins them. A causal language model reads the condition, a mark, the
    sequence, and a mark at which its verdict is read; the mark is `eos_token`.

    Args:
        space: the task's sequences, with their spelling.
        tokens: of the model.
        tokenizer: its tokenizer, of the library tokenizers.
        is_causal: which of the two reads.
        max_length: most tokens that are read.

    Attributes:
        tokens: of the model.

    Raises:
        DataError: the tokenizer makes no token of a text, or has nothing that ends one.
    """

    def __init__(
        self, space: SequenceSpace, tokens: ModelTokens, tokenizer: Any, is_causal: bool, max_length: int
    ) -> None:
        self._space = space
        self._is_causal, self._max_length = is_causal, max_length
        self.tokens = tokens
        self._mark = tokens.end_of_text if is_causal else None
        self._tokenizer = tokenizer
        if not self._tokenizer.encode("a b c", add_special_tokens=False).ids:
            raise DataError(
                f"{tokens.name}: its tokenizer makes no token of a text. Give the folder of a model with the tokenizer "
                "that it was trained with.",
                code="tokenizer_makes_no_token",
                fields={"path": tokens.name},
            )

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Read:
        """See `Reader`."""
        space = self._space
        assert space.spelling is not None
        said = self._encoded(space.spelling.texts(tokens, mask, space.end_id))
        conditioned: list[Any] = [None] * len(said)
        if conditions is not None:
            assert space.condition is not None and space.condition.spelling is not None
            shown = sequence_mask(space.condition, conditions)
            conditioned = self._encoded(space.condition.spelling.texts(conditions, shown, space.condition.end_id))
        rows = [self._row(*pair) for pair in zip(conditioned, said, strict=True)]
        longest = max(1, *(len(ids) for ids, _ in rows))
        ids, segments = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(2))
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, (own, types) in enumerate(rows):
            ids[place, : len(own)], segments[place, : len(own)] = torch.tensor(own), torch.tensor(types)
            mask[place, : len(own)] = True
        return Read(ids.to(tokens.device), mask.to(tokens.device), segments.to(tokens.device), None)

    @property
    def reads_pairs(self) -> bool:
        """See `Reader.reads_pairs`."""
        return self._space.condition is not None

    @property
    def layout(self) -> Layout | None:
        """See `Reader.layout`: the tokenizer of an encoder has its own."""
        mark = self._mark
        return None if mark is None else Layout((), (mark,), (mark,))

    @property
    def longest(self) -> int:
        """Most tokens that are read."""
        return self._max_length

    def __deepcopy__(self, memo: dict[int, Any]) -> TextReader:
        """Itself: it never changes."""
        return self

    def _encoded(self, texts: list[str]) -> list[Any]:
        found: list[Any] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return found

    def _row(self, condition: Any | None, said: Any) -> tuple[list[int], list[int]]:
        """Ids of a row, and the segment of each."""
        is_pair = condition is not None
        marks = 1 + is_pair if self._is_causal else self._tokenizer.num_special_tokens_to_add(is_pair)
        room = self._max_length - int(marks)
        said.truncate(room)
        if condition is not None:
            condition.truncate(room - len(said.ids), direction="left")
        if self._mark is None:
            row = (
                self._tokenizer.post_process(said, None)
                if condition is None
                else self._tokenizer.post_process(condition, said)
            )
            return row.ids, row.type_ids
        before = [] if condition is None else [*condition.ids, self._mark]
        return [*before, *said.ids, self._mark], [0] * len(before) + [int(is_pair)] * (len(said.ids) + 1)


@lru_cache(maxsize=2)
def tokenizer_of(content: bytes) -> tuple[ModelTokens, Any]:
    """A model's tokens out of what is kept of them, and their tokenizer of the library tokenizers."""
    from tokenizers import Tokenizer

    tokens = ModelTokens.model_validate_json(content)
    tokenizer = Tokenizer.from_str(tokens.tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # What a person or a generator wrote is no special token, whatever it looks like.
    tokenizer.encode_special_tokens = True
    return tokens, tokenizer


def as_buffer(content: bytes) -> Tensor:
    """The content of a tokenizer as (n,) uint8."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).clone()


def shares_alphabet(space: SequenceSpace) -> bool:
    """Whether conditions are written with the tokens of sequences, but for the mark that ends them."""
    condition = space.condition
    if condition is None or condition.vocab_size - (condition.end_id == space.vocab_size) > space.vocab_size:
        return False
    if space.spelling is None or condition.spelling is None:
        return condition.end_id == space.vocab_size
    return condition.spelling.names[: space.vocab_size] == space.spelling.names[: condition.vocab_size]
