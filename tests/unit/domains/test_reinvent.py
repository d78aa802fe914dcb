"""REINVENT's loss is a point of the space of rewards, credits and references: the gradients are the same."""

from __future__ import annotations

import torch

from rlgan.policy.credit import Terminal
from rlgan.policy.kl_penalty import RewardPenalty

SIGMA = 128.0


def test_the_worked_example_of_the_loss() -> None:
    # log p_prior -20, S .5, log p_θ -25: -20 + 128 · .5 + 25 = 69, squared 4761.
    assert (-20.0 + SIGMA * 0.5 + 25.0) ** 2 == 4761.0


def test_half_of_its_gradient_is_that_of_a_penalised_reward() -> None:
    generator = torch.Generator().manual_seed(0)
    B, T, V = 6, 4, 5
    logits = torch.randn(T, V, generator=generator, requires_grad=True)
    prior = torch.randn(T, V, generator=generator).log_softmax(1)
    tokens = torch.randint(V, (B, T), generator=generator)
    mask = torch.arange(T)[None, :] < torch.tensor([4, 3, 2, 4, 1, 3])[:, None]
    scores = torch.rand(B, generator=generator)
    steps = torch.arange(T)

    own = (logits.log_softmax(1)[steps, tokens] * mask).sum(1)
    known = (prior[steps, tokens] * mask).sum(1)
    loss = (known + SIGMA * scores - own).square().mean()
    (expected,) = torch.autograd.grad(loss / 2, logits)

    logprobs = logits.log_softmax(1)[steps, tokens]
    values = (SIGMA * scores)[:, None].expand(B, T) * mask
    log_ratios = ((logprobs - prior[steps, tokens]) * mask).detach()
    found = RewardPenalty(weight=1.0).on_values(values, log_ratios, mask, Terminal(), 0.0, 1.0).values
    (gradient,) = torch.autograd.grad(-(found * logprobs * mask).sum() / B, logits)
    torch.testing.assert_close(gradient, expected)
