"""Bounded replay of sequences: a ring in which the newest push out the oldest."""

from __future__ import annotations

import torch
from torch import Tensor


class ReplayBuffer:
    """A ring of finished sequences.

    Args:
        capacity: most sequences held.
        max_length: T.
    """

    def __init__(self, capacity: int, max_length: int) -> None:
        self._tokens = torch.zeros(capacity, max_length, dtype=torch.int64)
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def capacity(self) -> int:
        """Most sequences held."""
        return self._tokens.shape[0]

    def add(self, tokens: Tensor) -> None:
        """Store sequences (n, T), the last of them as the newest; of more than `capacity` only the last are kept."""
        tokens = tokens[-self.capacity :]
        slots = (self._next + torch.arange(tokens.shape[0])) % self.capacity
        self._tokens[slots] = tokens
        self._next = (self._next + tokens.shape[0]) % self.capacity
        self._size = min(self.capacity, self._size + tokens.shape[0])

    def sample(self, num_sequences: int, rng: torch.Generator) -> Tensor:
        """Draw without replacement, in random order.

        Args:
            num_sequences: at most the number held.
            rng: source of the order.

        Returns:
            (num_sequences, T) int64.

        Raises:
            ValueError: fewer are held.
        """
        if num_sequences > self._size:
            raise ValueError(f"{num_sequences} sequences asked of a replay buffer that holds {self._size}.")
        return self._tokens[torch.randperm(self._size, generator=rng)[:num_sequences]]

    def state(self) -> dict[str, Tensor | int]:
        """Everything that is needed to go on."""
        return {"tokens": self._tokens[: self._size].clone(), "next": self._next}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Put back what `state` returned."""
        tokens, position = state["tokens"], state["next"]
        assert isinstance(tokens, Tensor) and isinstance(position, int)
        self._size = tokens.shape[0]
        self._tokens[: self._size] = tokens
        self._next = position
