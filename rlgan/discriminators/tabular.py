"""A free logit for every sequence: the discriminator without an architecture, for worlds that can be enumerated."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import NotSearched
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import pad_after_end

from .discriminator import Architecture, Discriminator, Granularity, PlainScorer, Reads, Scorer, require_no_conditions

MAX_SEQUENCES = 100_000
"""Most sequences V**T of a world that a table is made for."""


class Tabular(Architecture):
    """A table with one logit for every sequence: an unconstrained discriminator that does not generalise at all."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for tasks that are small enough to enumerate")
    kind: Literal["tabular"] = "tabular"
    members: ClassVar[int] = 1
    reads: ClassVar[Reads] = "either"
    granularity: ClassVar[Granularity] = "sequence"
    has_embedding: ClassVar[bool] = False


class TabularDiscriminator(Discriminator):
    """A logit for every sequence, or for every pair of a condition and a sequence, all 0 at first.

    They stand in lexicographic order, the condition before the sequence.

    Of soft rows the logit is the mean over sequences whose tokens are drawn from the rows, one independently of
    another: the one function that is linear in each row and agrees with the table.

    Args:
        space: the task's sequences.

    Raises:
        ConfigError: there are more than `MAX_SEQUENCES`.
    """

    def __init__(self, space: SequenceSpace) -> None:
        super().__init__()
        described = f"{space.vocab_size}**{space.max_length} sequences"
        number = self._num_sequences = space.vocab_size**space.max_length
        if space.condition is not None:
            number *= space.condition.vocab_size**space.condition.max_length
            described = f"{space.condition.vocab_size}**{space.condition.max_length} conditions times {described}"
        if number > MAX_SEQUENCES:
            raise ConfigError(
                f"discriminator='tabular': {described} exceed the limit of {MAX_SEQUENCES:,} for a table. Use a "
                "smaller task, or another discriminator.",
                code="tabular_too_large",
            )
        self.space = space
        self.table = nn.Parameter(torch.zeros(number))

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`."""
        vocab_size, pad_id = self.space.vocab_size, self.space.pad_id
        if not tokens.is_floating_point():
            index = _lexicographic(self.space, tokens.masked_fill(~mask, pad_id))
            return self.table[index + self._num_sequences * self._first(conditions, index)]
        padding = torch.zeros(vocab_size, dtype=tokens.dtype, device=tokens.device)
        padding[pad_id] = 1.0
        rows = torch.where(mask.unsqueeze(2), tokens, padding)
        if self.space.condition is None:
            # Summed out from the last position to the first: (V**t, B) is what is left to be averaged over t positions.
            left = self.table.view(-1, vocab_size) @ rows[:, -1].t()
            for position in range(self.space.max_length - 2, -1, -1):
                left = (left.view(-1, vocab_size, left.shape[1]) * rows[:, position].t()).sum(1)
            return left.squeeze(0)
        # Each row has a table of its own: (B, V**t) is what is left.
        left = self.table.view(-1, self._num_sequences)[self._first(conditions, tokens)]
        for position in range(self.space.max_length - 1, -1, -1):
            left = (left.view(len(left), -1, vocab_size) * rows[:, position].unsqueeze(1)).sum(2)
        return left.squeeze(1)

    def _first(self, conditions: Tensor | None, like: Tensor) -> Tensor:
        """Number (B,) of each row's condition, 0 where there are none."""
        if self.space.condition is None:
            require_no_conditions(self, conditions)
            return torch.zeros(len(like), dtype=torch.int64, device=like.device)
        assert conditions is not None
        return _lexicographic(self.space.condition, pad_after_end(self.space.condition, conditions))

    def penalty(self) -> Tensor:
        """None."""
        return self.table.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


def _lexicographic(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """Number (B,) of each sequence (B, T) in lexicographic order."""
    places = space.vocab_size ** torch.arange(space.max_length - 1, -1, -1, device=tokens.device)
    return (tokens * places).sum(1)
