"""Chunked log-probabilities against torch's own softmax over all logits."""

from __future__ import annotations

import pytest
import torch

from rlgan.generators.vocabulary import token_logprobs


def plain(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(features @ weight.T + bias, dim=1).gather(1, tokens.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("masked", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("rows", "vocab_size"), [(1, 2), (127, 5), (128, 70), (300, 33)])
def test_values_and_gradients_are_those_of_log_softmax(rows: int, vocab_size: int, masked: float) -> None:
    rng = torch.Generator().manual_seed(rows)
    inputs = [
        torch.randn(rows, 7, generator=rng, dtype=torch.float64),
        torch.randn(vocab_size, 7, generator=rng, dtype=torch.float64),
        torch.randn(vocab_size, generator=rng, dtype=torch.float64),
    ]
    tokens = torch.randint(0, vocab_size, (rows,), generator=rng)
    upstream = torch.randn(rows, generator=rng, dtype=torch.float64)
    upstream = upstream.masked_fill(torch.rand(rows, generator=rng) < masked, 0.0)
    results = []
    for function in (token_logprobs, plain):
        leaves = [value.clone().requires_grad_() for value in inputs]
        values = function(*leaves, tokens)
        results.append([values.detach(), *torch.autograd.grad((values * upstream).sum(), leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_large_logits_stay_finite() -> None:
    features = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    weight = torch.tensor([[500.0], [-500.0]])
    values = token_logprobs(features, weight, torch.zeros(2), torch.tensor([0, 0]))
    torch.testing.assert_close(values, torch.tensor([0.0, -1000.0]))
    values.sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad, torch.tensor([[0.0], [1000.0]]))


def test_rows_of_which_nothing_is_asked_are_not_looked_at() -> None:
    # What stands at padding may be anything.
    features = torch.tensor([[1.0], [torch.nan]], requires_grad=True)
    values = token_logprobs(features, torch.tensor([[2.0], [0.0]]), torch.zeros(2), torch.tensor([0, 0]))
    values[0].backward()
    expected = torch.tensor(2.0).mul(1.0 - torch.sigmoid(torch.tensor(2.0)))
    torch.testing.assert_close(features.grad, torch.stack([expected, torch.tensor(0.0)]).unsqueeze(1))
