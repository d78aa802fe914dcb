"""The generator's loss as weights: normalisers by hand, and that the learner's sum is the loss of the papers."""

from __future__ import annotations

import pytest
import torch

from rlgan.envs.errors import ShapeError
from rlgan.objectives import LossNormaliser, likelihood_weights, policy_gradient_weights, weighted_nll

MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])
ADVANTAGES = torch.tensor([[8.0, -16.0, 24.0, 99.0], [32.0, 99.0, 99.0, 99.0]])


@pytest.mark.parametrize(
    ("normaliser", "norm"),
    # Two sequences with 3 and 1 real tokens, 4 positions.
    [("sum", 1.0), ("sequence", 2.0), ("token", 4.0), ("fixed", 8.0)],
)
def test_normalisers(normaliser: LossNormaliser, norm: float) -> None:
    weights = policy_gradient_weights(ADVANTAGES, MASK, normaliser)
    expected = torch.tensor([[8.0, -16.0, 24.0, 0.0], [32.0, 0.0, 0.0, 0.0]]) / norm
    assert torch.equal(weights, expected)


def test_weights_carry_no_gradient_and_their_loss_none_back_to_them() -> None:
    advantages = ADVANTAGES.clone().requires_grad_()
    weights = policy_gradient_weights(advantages, MASK, "sum")
    assert not weights.requires_grad
    learned, logprobs = torch.ones(2, 4, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    weighted_nll(logprobs, learned).backward()
    assert learned.grad is None and logprobs.grad is not None


def test_loss_is_minus_the_weighted_sum_of_logprobs() -> None:
    # -(2·(-1) + (-3)·(-2)) = -4, and its gradient is minus the weights.
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    loss = weighted_nll(logprobs, torch.tensor([[2.0, -3.0]]))
    loss.backward()
    assert float(loss.detach()) == -4.0
    assert logprobs.grad is not None and logprobs.grad.tolist() == [[-2.0, 3.0]]


def test_likelihood_weights_make_the_loss_the_mean_nll_of_real_tokens() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0, -50.0], [-6.0, -50.0, -50.0, -50.0]])
    # (1 + 2 + 3 + 6) / 4 = 3
    assert float(weighted_nll(logprobs, likelihood_weights(MASK))) == pytest.approx(3.0)
    assert float(likelihood_weights(MASK).sum()) == pytest.approx(1.0)


def test_refuses_advantages_of_another_shape() -> None:
    with pytest.raises(ShapeError, match="differ"):
        policy_gradient_weights(ADVANTAGES[:, :3], MASK, "sum")
