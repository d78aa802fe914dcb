"""Bounded replay of sequences: a ring in which the newest push out the oldest."""

from __future__ import annotations

import torch
from torch import Tensor


class ReplayBuffer:
    """A ring of finished sequences, as tokens or as soft rows.

    Args:
        capacity: most sequences held.
        max_length: T.
        vocab_size: V of soft rows; None holds tokens.
    """

    def __init__(self, capacity: int, max_length: int, vocab_size: int | None = None) -> None:
        if vocab_size is None:
            self._sequences = torch.zeros(capacity, max_length, dtype=torch.int64)
        else:
            self._sequences = torch.zeros(capacity, max_length, vocab_size)
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def capacity(self) -> int:
        """Most sequences held."""
        return self._sequences.shape[0]

    def add(self, sequences: Tensor) -> None:
        """Store sequences, the last of them as the newest; of more than `capacity` only the last are kept.

        Args:
            sequences: (n, T) int64, or soft rows (n, T, V) float32.
        """
        sequences = sequences[-self.capacity :]
        slots = (self._next + torch.arange(sequences.shape[0])) % self.capacity
        self._sequences[slots] = sequences
        self._next = (self._next + sequences.shape[0]) % self.capacity
        self._size = min(self.capacity, self._size + sequences.shape[0])

    def sample(self, num_sequences: int, rng: torch.Generator) -> Tensor:
        """Draw without replacement, in random order.

        Args:
            num_sequences: at most the number held.
            rng: source of the order.

        Returns:
            (num_sequences, T) int64, or soft rows (num_sequences, T, V) float32.

        Raises:
            ValueError: fewer are held.
        """
        if num_sequences > self._size:
            raise ValueError(f"{num_sequences} sequences asked of a replay buffer that holds {self._size}.")
        return self._sequences[torch.randperm(self._size, generator=rng)[:num_sequences]]

    def state(self) -> dict[str, Tensor | int]:
        """Everything that is needed to go on."""
        return {"sequences": self._sequences[: self._size].clone(), "next": self._next}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Put back what `state` returned."""
        sequences, position = state["sequences"], state["next"]
        assert isinstance(sequences, Tensor) and isinstance(position, int)
        self._size = sequences.shape[0]
        self._sequences[: self._size] = sequences
        self._next = position
