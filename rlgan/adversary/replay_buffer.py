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
        condition_length: S of what each sequence is given; None where they are given nothing.
    """

    def __init__(
        self, capacity: int, max_length: int, vocab_size: int | None = None, condition_length: int | None = None
    ) -> None:
        if vocab_size is None:
            self._sequences = torch.zeros(capacity, max_length, dtype=torch.int64)
        else:
            self._sequences = torch.zeros(capacity, max_length, vocab_size)
        self._conditions = (
            None if condition_length is None else torch.zeros(capacity, condition_length, dtype=torch.int64)
        )
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def capacity(self) -> int:
        """Most sequences held."""
        return self._sequences.shape[0]

    def add(self, sequences: Tensor, conditions: Tensor | None = None) -> None:
        """Store sequences, the last of them as the newest; of more than `capacity` only the last are kept.

        Args:
            sequences: (n, T) int64, or soft rows (n, T, V) float32.
            conditions: (n, S) int64 what they are given, or None.
        """
        sequences = sequences[-self.capacity :]
        slots = (self._next + torch.arange(sequences.shape[0])) % self.capacity
        self._sequences[slots] = sequences
        if self._conditions is not None:
            assert conditions is not None
            self._conditions[slots] = conditions[-self.capacity :]
        self._next = (self._next + sequences.shape[0]) % self.capacity
        self._size = min(self.capacity, self._size + sequences.shape[0])

    def sample(self, num_sequences: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draw without replacement, in random order.

        Args:
            num_sequences: at most the number held.
            rng: source of the order.

        Returns:
            (num_sequences, T) int64, or soft rows (num_sequences, T, V) float32; and what they are given,
            (num_sequences, S) int64, or None.

        Raises:
            ValueError: fewer are held.
        """
        return self.rows(self.draw(num_sequences, rng))

    def draw(
        self,
        number: int,
        rng: torch.Generator,
        replay: float | None = None,
        num_new: int = 0,
        group: int = 1,
    ) -> Tensor:
        """Places of sequences, or of groups of them, drawn without replacement, in random order.

        Args:
            number: of sequences or groups; at most the number held.
            rng: source of the order.
            replay: share that is drawn from those that were there before the newest, as far as there are so many; None
                draws from all alike.
            num_new: sequences that were stored last.
            group: sequences in a row that are drawn together; the capacity is a multiple.

        Returns:
            (number,) int64: of sequences, or of groups, which begin at `group` times that.

        Raises:
            ValueError: fewer are held.
        """
        held = self._size // group
        if number > held:
            raise ValueError(f"{number} sequences were requested from a replay buffer with {held}.")
        drawn = torch.randperm(held, generator=rng)
        if replay is None:
            return drawn[:number]
        age = (self._next - 1 - drawn * group) % self.capacity  # sequences stored since the first of each
        is_new = age < num_new
        new, old = drawn[is_new], drawn[~is_new]
        num_old = min(round(replay * number), len(old))
        num_old = max(num_old, number - len(new))  # where a round shows more than it brought
        chosen = torch.cat([new[: number - num_old], old[:num_old]])
        return chosen[torch.randperm(number, generator=rng)]

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Sequences at the given places, and what they are given; see `sample`."""
        return self._sequences[index], None if self._conditions is None else self._conditions[index]

    def state(self) -> dict[str, Tensor | int | None]:
        """Everything that is needed to go on."""
        conditions = None if self._conditions is None else self._conditions[: self._size].clone()
        return {"sequences": self._sequences[: self._size].clone(), "conditions": conditions, "next": self._next}

    def restore(self, state: dict[str, Tensor | int | None]) -> None:
        """Put back what `state` returned."""
        sequences, position = state["sequences"], state["next"]
        assert isinstance(sequences, Tensor) and isinstance(position, int)
        self._size = sequences.shape[0]
        self._sequences[: self._size] = sequences
        if self._conditions is not None:
            conditions = state["conditions"]
            assert isinstance(conditions, Tensor)
            self._conditions[: self._size] = conditions
        self._next = position
