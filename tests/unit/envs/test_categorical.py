"""Inverse CDF drawing: a fine grid of uniforms must hit every token in exact proportion to its weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlgan.envs.categorical import BLOCK, draw_from_logits, draw_from_weights, padded_vocab_size

GRID = 20_000
JUST_BELOW_1 = 1 - 2**-24


def grid_frequencies(draw, rows: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Share of uniforms (k + 1/2)/GRID that give each token."""
    uniforms = (torch.arange(GRID) + 0.5) / GRID
    tokens = draw(rows.expand(GRID, -1).contiguous(), uniforms)
    return torch.bincount(tokens, minlength=vocab_size) / GRID


@pytest.mark.parametrize("vocab_size", [2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_logits_are_drawn_in_proportion_to_their_softmax(vocab_size):
    logits = 2 * torch.randn(1, vocab_size, generator=torch.Generator().manual_seed(vocab_size))
    frequencies = grid_frequencies(draw_from_logits, logits, vocab_size)
    # An interval of length p holds p·GRID grid points, give or take one; another for rounding of the sums.
    assert (frequencies - logits[0].double().softmax(0)).abs().max() <= 2 / GRID


def test_weights_are_drawn_in_proportion_and_zeros_never():
    weights = torch.rand(1, 4 * BLOCK, generator=torch.Generator().manual_seed(0))
    weights[0, [0, 5, BLOCK - 1, BLOCK]] = 0
    weights[0, 2 * BLOCK : 3 * BLOCK] = 0  # a whole block
    weights[0, -3:] = 0
    frequencies = grid_frequencies(draw_from_weights, weights, 4 * BLOCK)
    assert (frequencies - weights[0].double() / weights.sum()).abs().max() <= 2 / GRID
    assert (frequencies[weights[0] == 0] == 0).all()


def test_uniforms_at_the_edges_give_the_first_and_last_token_with_weight():
    weights = torch.zeros(2, 2 * BLOCK)
    weights[:, [3, 10, BLOCK + 7]] = 1.0
    assert draw_from_weights(weights, torch.tensor([0.0, JUST_BELOW_1])).tolist() == [3, BLOCK + 7]


def test_a_uniform_on_a_boundary_belongs_to_the_next_token():
    weights = torch.zeros(2, 2 * BLOCK)
    weights[:, 0] = weights[:, 1] = 1.0
    weights[:, BLOCK] = 2.0
    # Cumulative weights 1/4, 1/2 within the first block, then 1.
    assert draw_from_weights(weights, torch.tensor([0.25, 0.5])).tolist() == [1, BLOCK]


def test_each_row_has_its_own_weights_and_uniform():
    weights = torch.zeros(3, BLOCK)
    weights[torch.arange(3), torch.tensor([4, 0, 9])] = torch.tensor([1e-30, 1.0, 1e30])
    assert draw_from_weights(weights, torch.tensor([0.9, 0.0, 0.3])).tolist() == [4, 0, 9]


@pytest.mark.property
@given(
    weights=st.lists(st.sampled_from([0.0, 1e-30, 0.1, 1.0, 3e7]), min_size=2 * BLOCK, max_size=2 * BLOCK),
    uniform=st.sampled_from([0.0, 2**-24, 0.5, JUST_BELOW_1]) | st.floats(0, JUST_BELOW_1, width=32),
)
def test_no_rounding_makes_a_token_of_weight_zero_possible(weights, uniform):
    row = torch.tensor([weights])
    row[0, 0 if uniform < 0.5 else -1] += 1e-30  # a positive sum, and weight at only one end
    token = draw_from_weights(row, torch.tensor([uniform], dtype=torch.float32))
    assert row[0, token].item() > 0


def test_sums_rounded_in_another_order_do_not_lead_past_the_last_weight():
    # A block's sum and its cumulative sum are added up in different orders: one may end above the other.
    weights = torch.zeros(5_000, 2 * BLOCK)
    weights[:, : BLOCK - 3] = torch.rand(5_000, BLOCK - 3, generator=torch.Generator().manual_seed(0))
    tokens = draw_from_weights(weights, torch.full((5_000,), JUST_BELOW_1))
    assert (weights.gather(1, tokens.unsqueeze(1)) > 0).all()


def test_a_target_rounded_up_to_the_total_gives_the_last_token_with_weight():
    weights = torch.zeros(1, 2 * BLOCK)
    weights[0, 3] = 1e-45  # the smallest float32: any fraction above 1/2 of it is rounded to itself
    assert draw_from_weights(weights, torch.tensor([JUST_BELOW_1])).tolist() == [3]


def test_vocabulary_is_padded_to_whole_blocks():
    assert [padded_vocab_size(size) for size in (1, BLOCK, BLOCK + 1)] == [BLOCK, BLOCK, 2 * BLOCK]
