"""Where sequences end: the step-wise rule, the mask of finished sequences and the padding say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlgan.envs import ConfigError, SequenceSpace, ShapeError, is_terminal, pad_after_end, sequence_mask
from rlgan.envs.testing import sequence_spaces, token_batches
from rlgan.envs.transition import turn_of_tokens
from tests.support.errors import refused


@pytest.mark.property
@given(data=st.data())
def test_mask_is_true_as_long_as_the_stepwise_rule_goes_on(data):
    space = data.draw(sequence_spaces())
    tokens = data.draw(token_batches(space))
    expected = []
    for row in tokens.tolist():
        mask, going = [], True
        for num_tokens, token in enumerate(row, start=1):
            mask.append(going)
            going = going and not is_terminal(space, token, num_tokens)
        assert not going  # at the horizon everything has ended
        expected.append(mask)
    assert sequence_mask(space, tokens).tolist() == expected


@pytest.mark.property
@given(data=st.data())
def test_padding_keeps_real_tokens_and_forgets_the_rest(data):
    space = data.draw(sequence_spaces())
    tokens = data.draw(token_batches(space))
    mask = sequence_mask(space, tokens)
    padded = pad_after_end(space, tokens)
    assert torch.equal(padded[mask], tokens[mask])
    assert (padded[~mask] == space.pad_id).all()
    assert torch.equal(sequence_mask(space, padded), mask)


def test_mask_by_hand():
    space = SequenceSpace(vocab_size=4, max_length=3, end_id=2)
    tokens = torch.tensor([[2, 1, 2], [1, 2, 0], [0, 1, 3]])
    assert sequence_mask(space, tokens).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert pad_after_end(space, tokens).tolist() == [[2, 2, 2], [1, 2, 2], [0, 1, 3]]


def test_a_separator_ends_its_turn():
    tokens = torch.tensor([[0, 3, 1, 3, 3, 2], [3, 1, 0, 2, 0, 3]])
    assert turn_of_tokens(SequenceSpace(4, 6, end_id=2, separator_id=3), tokens).tolist() == [
        [0, 0, 1, 1, 2, 3],
        [0, 1, 1, 1, 1, 1],
    ]
    assert turn_of_tokens(SequenceSpace(4, 6, end_id=2), tokens).tolist() == [[0] * 6] * 2


@pytest.mark.parametrize("as_kind", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("end_id", "num_tokens", "expected"),
    [(0, 1, [True, False]), (0, 3, [True, True]), (None, 1, [False, False]), (None, 3, [True, True])],
)
def test_terminal_keeps_the_kind_and_shape_of_the_actions(as_kind, end_id, num_tokens, expected):
    actions = as_kind([0, 1])
    terminal = is_terminal(SequenceSpace(2, 3, end_id), actions, num_tokens)
    assert type(terminal) is type(actions)
    assert terminal.tolist() == expected


def test_a_mask_needs_rows():
    with refused(ShapeError, "transition_tokens_shape", match=r"\(3,\)"):
        sequence_mask(SequenceSpace(2, 3), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 3, None), "space_vocab_size: vocab_size=1"),
        ((2, 0, None), "space_max_length: max_length=0"),
        ((2, 3, 2), "space_token_id: end_id=2.*0 to 1"),
        ((2, 3, -1), "space_token_id: 0 to 1"),
        ((2, 3, None, None, 2), "space_token_id: separator_id=2.*0 to 1"),
        ((2, 3, 1, None, 1), "separator_is_end: separator_id=1"),
    ],
)
def test_impossible_spaces_are_refused(arguments, message):
    with refused(ConfigError, message):
        SequenceSpace(*arguments)
