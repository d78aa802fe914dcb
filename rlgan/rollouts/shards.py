"""What is asked of the rollout pool: what sequences begin with, and the fixed shards of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rlgan.base.seeding import stream_seed

from .collecting import Shard


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What the sequences of a batch begin with, each that of a training sequence.

    Attributes:
        prefixes: (B, n) int64 first tokens; None where none are given.
        conditions: (B, S) int64; None where the task's sequences are given nothing.
        targets: (B, T) int64 that training sequence itself; None where nobody compares with it.
        rows: (B,) int64 its number; likewise.
    """

    prefixes: Tensor | None = None
    conditions: Tensor | None = None
    targets: Tensor | None = None
    rows: Tensor | None = None


def beginnings_of(
    tokens: Tensor,
    conditions: Tensor | None,
    prefix_length: int,
    with_targets: bool = False,
    rows: Tensor | None = None,
) -> Beginnings:
    """What generated sequences begin with that begin like training sequences.

    Args:
        tokens: (B, T) int64 training sequences.
        conditions: (B, S) int64 what they are given; None where they are given nothing.
        prefix_length: n first tokens of them.
        with_targets: whether the training sequences themselves go along, and their numbers.
        rows: (B,) int64 numbers of the training sequences; None of a stream, which are not numbered.
    """
    return Beginnings(
        prefixes=tokens[:, :prefix_length] if prefix_length else None,
        conditions=conditions,
        targets=tokens if with_targets else None,
        rows=rows if with_targets else None,
    )


def cut_into_shards(
    num_sequences: int,
    shard_size: int,
    seed: int,
    purpose: tuple[str, int],
    begun: Beginnings,
    is_searched: Tensor | None = None,
    places: Tensor | None = None,
    **common: Any,
) -> list[Shard]:
    """The fixed shards of a batch: the same whoever computes them.

    Args:
        num_sequences: B.
        shard_size: sequences a shard, but for the last.
        seed: the run's seed.
        purpose: names the random streams of the batch.
        begun: what its sequences begin with.
        is_searched: (B,) bool, which of them beams find; None draws all.
        places: (B,) int64 which hypothesis of a search each is; None where they are not hypotheses.
        common: what all shards have in common, by the names of `Shard`.

    Returns:
        Shards in the order of their sequences.
    """

    def rows(tensor: Tensor | None, first: int) -> Tensor | None:
        return None if tensor is None else tensor[first : first + shard_size]

    return [
        Shard(
            num_sequences=min(shard_size, num_sequences - first),
            seed=stream_seed(seed, *purpose, first // shard_size),
            prefixes=rows(begun.prefixes, first),
            conditions=rows(begun.conditions, first),
            is_searched=rows(is_searched, first),
            places=rows(places, first),
            targets=rows(begun.targets, first),
            rows=rows(begun.rows, first),
            **common,
        )
        for first in range(0, num_sequences, shard_size)
    ]
