"""How a language model of `transformers` attends while it writes: to a prompt that several rows share, and to its own.

The model's own layers compute everything but attention: queries, keys and values, rotations, norms, feed-forward parts.
Attention is called by name (`IMPLEMENTATION`), and what it does depends on who asks. Outside of `reading` it is
torch's, with the mask that the model makes. Inside, it is whatever stands there: `Whole` reads many tokens at once and
keeps their keys and values; `Step` reads one token a row, and writes its key and value in their place in memory that is
there already.

    softmax over prompt and own tokens = two softmaxes over one normaliser (Milakov & Gimelshein 2018), so that keys of
    a prompt are never copied for its rows: queries of all rows of a prompt stand side by side.

    R rows, A places of rows, C prompts, P positions of a prompt, T of a sequence, L tokens read, H heads, K heads of
    keys and values, G = H/K, D width of a head
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import ConfigError

IMPLEMENTATION = "rlgan"
"""By this name `transformers` finds the attention."""

_LEFT_OUT = ("softcap", "s_aux", "position_bias", "sinks")  # what some architectures hand in and nobody here computes


class Reader(Protocol):
    """What attention does inside of `reading`."""

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """What the tokens that are read find.

        Args:
            layer: its number.
            queries: (R, H, L, D).
            keys: (R, K, L, D) of the same tokens.
            values: (R, K, L, D).
            scale: of the products.
            window: tokens that each sees, itself included; None sees all.

        Returns:
            (R, H, L, D).
        """
        ...


_READER: ContextVar[Reader | None] = ContextVar("reader", default=None)


@contextmanager
def reading(reader: Reader) -> Iterator[None]:
    """Let a model attend by a reader within the block."""
    token = _READER.set(reader)
    try:
        yield
    finally:
        _READER.reset(token)


def register() -> None:
    """Make the attention known to `transformers`; again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """As `transformers` calls it; (R, L, H, D) and no weights."""
    reader = _READER.get()
    if reader is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return found
    if unknown := [name for name in _LEFT_OUT if options.get(name) is not None]:
        raise ConfigError(
            (
                f"generator: {type(module).__name__} uses {unknown[0]!r} attention, which rlgan does not support. Use "
                "a model of another architecture, such as Llama, Qwen2, Mistral or GPT-2."
            ),
            code="attention_kind_not_supported",
            fields={"architecture": type(module).__name__},
        )
    scale = options.get("scaling")
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    layer = module.layer_idx
    assert isinstance(layer, int)
    attended = reader.attend(layer, query, key, value, scale, options.get("sliding_window"))
    return attended.transpose(1, 2).contiguous(), None


@dataclass(frozen=True)
class Prompts:
    """Prompts that were read, padded on the left.

    Attributes:
        keys: of each layer (C, K, P, D), contiguous: each step multiplies with all of them.
        values: of each layer (C, K, P, D), likewise.
        mask: (C, P) bool, False at padding.
        lengths: (C,) int64 tokens of each.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    lengths: Tensor

    @cached_property
    def is_padded(self) -> bool:
        """Whether some prompt is shorter than the longest."""
        return not bool(self.mask.all())

    def positions(self) -> Tensor:
        """(C, P) int64 position of each token; below 0 at padding."""
        size = self.mask.shape[1]
        return torch.arange(size, device=self.mask.device) - (size - self.lengths).unsqueeze(1)


class Whole:
    """Reads tokens of rows at once, behind prompts or without any, and keeps their keys and values.

    Args:
        mask: (R, L) bool, False at padding, which stands on the left.
        before: what was read before; None for nothing.
        prompt: (R,) int64, which of these each row goes on from.

    Attributes:
        keys: of each layer (R, K, L, D).
        values: of each layer (R, K, L, D).
    """

    def __init__(self, mask: Tensor, before: Prompts | None = None, prompt: Tensor | None = None) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._before, self._prompt = before, prompt
        length = mask.shape[1]
        places = torch.arange(length, device=mask.device)
        positions = places - (length - mask.sum(1, keepdim=True))
        is_before = places <= places.unsqueeze(1)
        # Padding sees itself, so that no row of weights is empty; nobody reads what it finds.
        self._is_seen = is_before & (mask.unsqueeze(1) | torch.eye(length, dtype=torch.bool, device=mask.device))
        self._distance = (positions.unsqueeze(2) - positions.unsqueeze(1)).expand_as(self._is_seen)
        if before is not None and prompt is not None:
            lengths, size = before.lengths[prompt], before.mask.shape[1]
            seen = before.mask[prompt].unsqueeze(1).expand(-1, length, -1)
            distance = (lengths.unsqueeze(1) + positions).unsqueeze(2) - before.positions()[prompt].unsqueeze(1)
            self._is_seen = torch.cat([seen, self._is_seen], 2)
            self._distance = torch.cat([distance.expand(-1, -1, size), self._distance], 2)

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """See `Reader.attend`."""
        self.keys.append(keys)
        self.values.append(values)
        if self._before is not None and self._prompt is not None:
            keys = torch.cat([self._before.keys[layer][self._prompt], keys], 2)
            values = torch.cat([self._before.values[layer][self._prompt], values], 2)
        is_seen = self._is_seen if window is None else self._is_seen & (self._distance < window)
        repeats = queries.shape[1] // keys.shape[1]
        if repeats > 1:
            keys, values = (part.repeat_interleave(repeats, 1) for part in (keys, values))
        return functional.scaled_dot_product_attention(queries, keys, values, is_seen.unsqueeze(1), scale=scale)


class Step:
    """Reads one token a row.

    Args:
        prompts: what was read before.
        prompt: (R,) int64, which of these each row goes on from.
        consumed: (R,) int64 own tokens that each row has read before this one.
        places: (R,) int64, where the keys and values of each row stand; None where row r stands at r, and nobody else.
        keys: of each layer (A, K, T, D), written at `consumed`.
        values: of each layer (A, K, T, D), likewise.
    """

    def __init__(
        self,
        prompts: Prompts,
        prompt: Tensor,
        consumed: Tensor,
        places: Tensor | None,
        keys: list[Tensor],
        values: list[Tensor],
    ) -> None:
        self._prompts, self._keys, self._values = prompts, keys, values
        self._consumed, self._places = consumed, places
        self._at = torch.arange(len(consumed), device=consumed.device) if places is None else places
        self._num_places = keys[0].shape[0]
        most, least = int(consumed.max()), int(consumed.min())
        self._reach = most + 1
        self._even = most == least
        self._lengths = prompts.lengths[prompt]
        self._grouped = _Grouped(prompt, len(prompts.lengths))

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """See `Reader.attend`."""
        own_keys, own_values = self._keys[layer], self._values[layer]
        if self._places is None and self._even:
            own_keys[:, :, self._reach - 1] = keys.squeeze(2)
            own_values[:, :, self._reach - 1] = values.squeeze(2)
        else:
            own_keys[self._at, :, self._consumed] = keys.squeeze(2)
            own_values[self._at, :, self._consumed] = values.squeeze(2)
        rows, heads, _, depth = queries.shape
        asked = queries.view(rows, keys.shape[1], heads // keys.shape[1], depth) * scale
        own = _found(
            self._at_places(asked),
            own_keys[:, :, : self._reach],
            own_values[:, :, : self._reach],
            self._own_mask(window),
        )
        if self._places is not None:
            own = _Found(*(part[self._places] for part in (own.greatest, own.total, own.sums)))
        return own.beside(self._of_prompts(layer, asked, window)).view(rows, heads, 1, depth)

    def _at_places(self, rows: Tensor) -> Tensor:
        """Something of rows (R, ...) where their keys stand, (A, ...); 0 at places of no row."""
        if self._places is None:
            return rows
        return rows.new_zeros(self._num_places, *rows.shape[1:]).index_copy_(0, self._places, rows)

    def _own_mask(self, window: int | None) -> Tensor | None:
        """(A, 1, 1, reach) bool; None where all is seen."""
        if self._even and (window is None or window >= self._reach):
            return None
        places = torch.arange(self._reach, device=self._consumed.device)
        consumed = self._at_places(self._consumed).unsqueeze(1)
        is_seen = places <= consumed
        if window is not None:
            is_seen = is_seen & (consumed - places < window)
        return is_seen[:, None, None]

    def _of_prompts(self, layer: int, asked: Tensor, window: int | None) -> _Found:
        """What queries (R, K, G, D) find in the prompts."""
        prompts, grouped = self._prompts, self._grouped
        mask = prompts.mask[:, None, None] if prompts.is_padded or window is not None else None
        if window is not None:
            position = grouped.together((self._lengths + self._consumed).unsqueeze(1)).squeeze(2)
            distance = position.unsqueeze(2) - prompts.positions().unsqueeze(1)  # (C, most, P)
            repeats = asked.shape[2]
            assert mask is not None
            mask = mask & (distance < window).repeat_interleave(repeats, 1).unsqueeze(1)
        if grouped.is_alone and window is None:
            return _found(asked, prompts.keys[layer], prompts.values[layer], mask)
        _, heads, repeats, depth = asked.shape
        together = grouped.together(asked.flatten(1)).unflatten(2, (heads, repeats, depth))  # (C, most, K, G, D)
        flat = together.transpose(1, 2).flatten(2, 3)  # (C, K, most·G, D)
        found = _found(flat, prompts.keys[layer], prompts.values[layer], mask)
        return _Found(
            *(
                grouped.apart(part.unflatten(2, (-1, repeats)).transpose(1, 2))
                for part in (found.greatest, found.total, found.sums)
            )
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """Softmax of scores times values, before it is normalised.

    Attributes:
        greatest: (..., 1) greatest score.
        total: (..., 1) sum of exp(score - greatest).
        sums: (..., D) sum of exp(score - greatest) times value.
    """

    greatest: Tensor
    total: Tensor
    sums: Tensor

    def beside(self, other: _Found) -> Tensor:
        """What the softmax over both finds, (..., D)."""
        greatest = torch.maximum(self.greatest, other.greatest)
        own, others = (self.greatest - greatest).exp_(), (other.greatest - greatest).exp_()
        total = own * self.total + others * other.total
        sums = (own * self.sums).add_(others * other.sums)
        return (sums / total).to(self.sums.dtype)


def _found(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> _Found:
    """Scores (..., n, P) of queries (..., n, D) with keys (..., P, D), and what they find among values (..., P, D)."""
    scores = (queries @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores.masked_fill_(~mask, torch.finfo(torch.float32).min)
    greatest = scores.amax(-1, keepdim=True)
    weights = scores.sub_(greatest).exp_()
    if mask is not None:
        # Where nothing is seen the greatest is the filling itself.
        weights.masked_fill_(~mask, 0.0)
    return _Found(greatest, weights.sum(-1, keepdim=True), weights.to(values.dtype) @ values)


class _Grouped:
    """Rows beside those of the same prompt.

    Args:
        prompt: (R,) int64 number of each row's prompt.
        num_prompts: C.

    Attributes:
        is_alone: whether row r is the only one of prompt r, for all prompts.
    """

    def __init__(self, prompt: Tensor, num_prompts: int) -> None:
        counts = torch.bincount(prompt, minlength=num_prompts)
        self._most, self._num_prompts = int(counts.max()), num_prompts
        order = torch.argsort(prompt, stable=True)
        place = torch.empty_like(prompt)
        numbers = torch.arange(len(order), device=prompt.device)
        place[order] = numbers - (counts.cumsum(0) - counts)[prompt[order]]
        self._at = (prompt, place)
        self.is_alone = len(prompt) == num_prompts and bool((prompt == numbers).all())

    def together(self, rows: Tensor) -> Tensor:
        """Rows (R, n) as (C, most, n), 0 where a prompt has fewer."""
        together = rows.new_zeros(self._num_prompts, self._most, rows.shape[1])
        together[self._at] = rows
        return together

    def apart(self, together: Tensor) -> Tensor:
        """The opposite: (C, most, ...) as (R, ...)."""
        return together[self._at]
