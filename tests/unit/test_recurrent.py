"""Padded LSTMs against torch's own over packed sequences, numbers and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rlgan.layers.recurrent import BiLSTM, last_states, reversed_rows, states_over_time

LENGTHS = torch.tensor([5, 1, 3, 5, 2])
MASK = torch.arange(5) < LENGTHS.unsqueeze(1)


def rows(width: int = 4) -> Tensor:
    return torch.randn(5, 5, width, generator=torch.Generator().manual_seed(1)).requires_grad_()


def packed(lstm: nn.LSTM, embedded: Tensor) -> tuple[Tensor, Tensor]:
    """States over time, and what each layer and direction ends with (layers · directions, B, H)."""
    read, (ends, _) = lstm(pack_padded_sequence(embedded, LENGTHS, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(read, batch_first=True, total_length=5)[0], ends


@pytest.mark.parametrize("is_twice_differentiable", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_one_direction_is_what_torch_packs(layers: int, is_twice_differentiable: bool) -> None:
    torch.manual_seed(0)
    lstm, embedded, again = nn.LSTM(4, 3, layers, batch_first=True), rows(), rows()
    expected, ends = packed(lstm, embedded)
    states = states_over_time(lstm, again, MASK, is_twice_differentiable)
    torch.testing.assert_close(states, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(last_states(lstm, again, MASK, is_twice_differentiable), ends[-1], atol=1e-6, rtol=0)
    expected.square().sum().backward()
    states.square().sum().backward()
    torch.testing.assert_close(again.grad, embedded.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [1, 3])
def test_both_directions_are_what_torch_packs(layers: int) -> None:
    torch.manual_seed(0)
    whole, ours = nn.LSTM(4, 3, layers, batch_first=True, bidirectional=True), BiLSTM(4, 3, layers)
    for layer in range(layers):
        for suffix, part in (("", ours.forwards[layer]), ("_reverse", ours.backwards[layer])):
            values = {f"{kind}_l0": getattr(whole, f"{kind}_l{layer}{suffix}") for kind in KINDS}
            part.load_state_dict(values)
    embedded, again = rows(), rows()
    expected, ends = packed(whole, embedded)
    states, of_layers = ours(again, MASK)
    torch.testing.assert_close(states, expected, atol=1e-6, rtol=0)
    assert bool((states[~MASK] == 0).all())
    beside = torch.cat([ends[0::2], ends[1::2]], dim=2)
    torch.testing.assert_close(of_layers, beside, atol=1e-6, rtol=0)
    (expected.square().sum() + beside.sum()).backward()
    (states.square().sum() + of_layers.sum()).backward()
    torch.testing.assert_close(again.grad, embedded.grad, atol=1e-6, rtol=0)
    assert bool((again.grad[~MASK] == 0).all())


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def test_rows_are_turned_round_within_their_ends() -> None:
    turned = reversed_rows(torch.arange(25.0).view(5, 5, 1), MASK).squeeze(2)
    assert turned[:3].tolist() == [[4, 3, 2, 1, 0], [5, 6, 7, 8, 9], [12, 11, 10, 13, 14]]
    assert torch.equal(reversed_rows(turned.unsqueeze(2), MASK).squeeze(2), torch.arange(25.0).view(5, 5))


def test_dropout_is_between_layers_alone() -> None:
    torch.manual_seed(0)
    one, two = BiLSTM(4, 3, 1, dropout=0.5), BiLSTM(4, 3, 2, dropout=0.5)
    assert torch.equal(one(rows(), MASK)[0], one(rows(), MASK)[0])
    assert not torch.equal(two(rows(), MASK)[0], two(rows(), MASK)[0])
    assert torch.equal(two.eval()(rows(), MASK)[0], two(rows(), MASK)[0])


def test_a_row_without_tokens_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        last_states(nn.LSTM(4, 3, batch_first=True), rows(), MASK & (LENGTHS > 1).unsqueeze(1))
