"""A batch in parts: all rows once, none above the bound, little padding."""

from __future__ import annotations

import torch

from rlgan.layers.micro_batches import micro_batches


def cost(lengths: torch.Tensor, part: torch.Tensor) -> int:
    return len(part) * int(lengths[part].amax(0).sum())


def test_a_batch_that_fits_stays_in_its_order() -> None:
    lengths = torch.tensor([[2, 1], [1, 3], [2, 2]])  # 3 rows of 2 + 3 tokens
    (whole,) = micro_batches(lengths, 15)
    assert whole.tolist() == [0, 1, 2]
    assert len(micro_batches(lengths, 14)) == 2


def test_every_row_is_in_one_part_and_no_part_is_above_the_bound() -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(100):
        lengths = torch.randint(1, 12, (int(torch.randint(1, 40, (), generator=rng)), 2), generator=rng)
        most = int(torch.randint(24, 200, (), generator=rng))
        parts = micro_batches(lengths, most)
        assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
        assert all(cost(lengths, part) <= most for part in parts)


def test_rows_of_like_length_stand_together_the_longest_first() -> None:
    # Sorted 8, 7, 2, 1, 1: two of 8 fill 16; three of 2 have 6.
    parts = micro_batches(torch.tensor([[1], [8], [2], [7], [1]]), 16)
    assert [part.tolist() for part in parts] == [[1, 3], [2, 0, 4]]


def test_a_row_above_the_bound_is_a_part_of_its_own() -> None:
    parts = micro_batches(torch.tensor([[9], [2], [2]]), 4)
    assert [part.tolist() for part in parts] == [[0], [1, 2]]
