"""A generator and a discriminator that are tables, for worlds small enough to enumerate.

A prefix is a node of the complete V-ary tree: the empty prefix is node 0, and a node's child by token v is
node · V + 1 + v. The generator has a row of logits for every proper prefix, the discriminator a logit for every
sequence.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from rlgan.discriminators import Discriminator
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import TOY_FIRST_LOGITS, TOY_REAL_LOGITS, TOY_SECOND_LOGITS
from rlgan.generators import AutoregressiveGenerator, State, Stepper
from rlgan.layers.relaxation import relaxed_rows

TOY_SPACE = SequenceSpace(3, 2)


def every_sequence(space: SequenceSpace) -> Tensor:
    """(V**T, T) int64, every row of tokens in lexicographic order, padded after a terminator or not."""
    return torch.tensor(list(itertools.product(range(space.vocab_size), repeat=space.max_length)))


class TabularGenerator(AutoregressiveGenerator):
    """A row of logits for every prefix.

    Args:
        space: the sequences.
        table: (1 + V + … + V**(T-1), V) logits by node; drawn from N(0, 1) with seed 0 where it is left out.
    """

    relaxes = True

    def __init__(self, space: SequenceSpace, table: Tensor | None = None) -> None:
        super().__init__()
        self.vocab_size, self.max_length, self.start_id = space.vocab_size, space.max_length, space.required_start
        num_nodes = sum(self.vocab_size**t for t in range(self.max_length))
        if table is None:
            table = torch.randn(num_nodes, self.vocab_size, generator=torch.Generator().manual_seed(0))
        assert table.shape == (num_nodes, self.vocab_size)
        self.table = nn.Parameter(table.clone())

    @classmethod
    def toy(cls, dtype: torch.dtype = torch.float32) -> TabularGenerator:
        """The policy of the golden numbers: row 0 the first token, rows 1-3 the second given the first."""
        return cls(TOY_SPACE, torch.tensor((TOY_FIRST_LOGITS, *TOY_SECOND_LOGITS), dtype=dtype))

    @classmethod
    def deterministic(cls, space: SequenceSpace, tokens: Tensor) -> TabularGenerator:
        """One-hot: along the prefixes of `tokens` (T,) always its next token, elsewhere token 0."""
        table = torch.full((sum(space.vocab_size**t for t in range(space.max_length)), space.vocab_size), -1e4)
        table[:, 0] = 0.0
        node = 0
        for token in tokens.tolist():
            table[node] = -1e4
            table[node, token] = 0.0
            node = node * space.vocab_size + 1 + token
        return cls(space, table)

    def forward(self, inputs: Tensor) -> Tensor:
        node = torch.zeros(inputs.shape[0], dtype=torch.int64)
        rows = [self.table[node]]
        for position in range(1, inputs.shape[1]):
            node = node * self.vocab_size + 1 + inputs[:, position]
            rows.append(self.table[node])
        return torch.stack(rows, dim=1)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Mixes the rows of the prefixes that soft rows stand for."""
        # reached[b, node]: how much of row b stands at a prefix.
        reached = [noise.new_ones(noise.shape[0], 1)]
        rows, tokens, first = [], [], 0
        for position in range(noise.shape[1]):
            width = self.vocab_size**position
            logits = reached[-1] @ self.table[first : first + width]
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            reached.append((reached[-1].unsqueeze(2) * row.unsqueeze(1)).flatten(1))
            first += width
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def stepper(self, temperature: float = 1.0) -> TabularStepper:
        return TabularStepper(self.table.detach().clone() / temperature)


class TabularStepper(Stepper):
    """State: the node of each row's prefix."""

    def __init__(self, table: Tensor) -> None:
        self._vocab_size = table.shape[1]
        self._weights = table.new_zeros(table.shape[0], padded_vocab_size(self._vocab_size))
        self._weights[:, : self._vocab_size] = torch.softmax(table, dim=1)

    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        return (torch.zeros(num_rows, dtype=torch.int64),)

    def advance(self, state: State, tokens: Tensor) -> State:
        return (state[0] * self._vocab_size + 1 + tokens,)

    def weights(self, state: State) -> Tensor:
        return self._weights[state[0]]


class TabularDiscriminator(Discriminator):
    """A logit for every sequence.

    Args:
        space: the sequences.
        logits: (V**T,) in lexicographic order; zeros where they are left out.
    """

    def __init__(self, space: SequenceSpace, logits: Tensor | None = None) -> None:
        super().__init__()
        self.space = space
        if logits is None:
            logits = torch.zeros(space.vocab_size**space.max_length)
        self.table = nn.Parameter(logits.clone())

    @classmethod
    def toy(cls, dtype: torch.dtype = torch.float32) -> TabularDiscriminator:
        """The fixed, not optimal table of the golden numbers."""
        return cls(TOY_SPACE, torch.tensor(TOY_REAL_LOGITS, dtype=dtype).flatten())

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        return self.table[_sequence_index(self.space, tokens, mask)]

    def penalty(self) -> Tensor:
        return self.table.new_zeros(())

    def scorer(self) -> TabularScorer:
        return TabularScorer(self.space, self.table.detach().clone())


class TabularScorer:
    """Frozen copy of the table, which counts the sequences that it was asked for."""

    def __init__(self, space: SequenceSpace, table: Tensor) -> None:
        self._space, self._table = space, table
        self.num_scored = 0

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        self.num_scored += tokens.shape[0]
        return self._table[_sequence_index(self._space, tokens, mask)]


def _sequence_index(space: SequenceSpace, tokens: Tensor, mask: Tensor) -> Tensor:
    places = space.vocab_size ** torch.arange(space.max_length - 1, -1, -1)
    return (tokens.masked_fill(~mask, space.pad_id) * places).sum(1)
