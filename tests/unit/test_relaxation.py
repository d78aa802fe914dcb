"""Relaxed samples: the distribution of what is drawn, the golden table of the rows, and the gradient it buys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlgan.layers.relaxation import gumbel_noise, relaxed_rows, uniform_of_rows
from rlgan.policy.baselines import BaselineState, ConstantBaseline, advantages
from rlgan.policy.loss_terms import policy_gradient_weights, weighted_nll

LOGITS = torch.tensor([0.2, -0.1, 0.4])
PROBS = torch.tensor([0.337585, 0.250089, 0.412327])
Q = torch.tensor([0.631008, 0.505547, 0.530027])
NUMBER = 1_000_000


def noise(seed: int = 0, number: int = NUMBER) -> Tensor:
    return gumbel_noise(torch.rand(number, 3, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("straight_through", [False, True])
def test_tokens_have_the_distribution_of_the_logits_at_any_temperature(
    temperature: float, straight_through: bool
) -> None:
    _, tokens = relaxed_rows(LOGITS.expand(NUMBER, 3), noise(), temperature, straight_through)
    shares = torch.bincount(tokens, minlength=3) / NUMBER
    deviations = (shares - PROBS).abs() / (PROBS * (1 - PROBS) / NUMBER).sqrt()
    assert float(deviations.max()) < 4


@pytest.mark.parametrize(
    ("temperature", "mean", "greatest"),
    [
        (0.1, [0.3369, 0.2513, 0.4118], 0.955),
        (0.5, [0.3375, 0.2597, 0.4028], 0.792),
        (1.0, [0.3375, 0.2748, 0.3877], 0.655),
        (5.0, [0.3351, 0.3162, 0.3487], 0.411),
    ],
)
def test_soft_rows_are_biased_as_tabulated(temperature: float, mean: list[float], greatest: float) -> None:
    rows, tokens = relaxed_rows(LOGITS.expand(NUMBER, 3), noise(), temperature, False)
    torch.testing.assert_close(rows.mean(0), torch.tensor(mean), atol=2e-3, rtol=0)
    assert float(rows.amax(1).mean()) == pytest.approx(greatest, abs=2e-3)
    torch.testing.assert_close(rows.sum(1), torch.ones(NUMBER))
    assert torch.equal(rows.argmax(1), tokens)


def test_straight_through_is_exactly_one_hot_and_has_the_soft_gradient() -> None:
    logits, weights = LOGITS.clone().requires_grad_(), torch.tensor([1.0, -2.0, 0.5])
    gradients = []
    for straight_through in (False, True):
        rows, tokens = relaxed_rows(logits.expand(500, 3), noise(number=500), 0.7, straight_through)
        if straight_through:
            assert torch.equal(rows, torch.nn.functional.one_hot(tokens, 3).float())
        (gradient,) = torch.autograd.grad((rows @ weights).sum(), logits)
        gradients.append(gradient)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert float(gradients[0].abs().max()) > 1.0


@pytest.mark.parametrize(
    ("temperature", "mean", "variance"),
    [
        (0.1, [0.02442, -0.01302, -0.01140], 0.00810),
        (0.5, [0.02175, -0.01204, -0.00970], 0.00081),
        (1.0, [0.01711, -0.00991, -0.00720], 0.00017),
        (5.0, [0.00491, -0.00313, -0.00178], 0.000001),
    ],
)
def test_the_gradient_through_a_linear_discriminator_is_biased_as_tabulated(
    temperature: float, mean: list[float], variance: float
) -> None:
    # The exact gradient is .024648 -.013117 -.011532.
    logits = LOGITS.expand(NUMBER, 3).clone().requires_grad_()
    rows, _ = relaxed_rows(logits, noise(), temperature, False)
    (gradients,) = torch.autograd.grad((rows @ Q).sum(), logits)
    error = 4 * (variance / NUMBER) ** 0.5
    torch.testing.assert_close(gradients.mean(0), torch.tensor(mean), atol=error + 6e-6, rtol=0)
    assert float(gradients.var(0).sum()) == pytest.approx(variance, rel=0.03, abs=5e-7)


@pytest.mark.parametrize(
    ("constant", "variance", "digits"), [(0.0, 0.2039, 4), (0.557994, 0.00105, 5)], ids=["none", "J"]
)
def test_reinforce_of_the_same_token_varies_as_tabulated(constant: float, variance: float, digits: int) -> None:
    # A baseline brings it below the relaxation's variance at τ = 0.1, and without a bias. Exact, of 3 tokens.
    probs, mask = LOGITS.double().softmax(0), torch.ones(3, 1, dtype=torch.bool)
    gains = advantages(ConstantBaseline(value=constant), Q.double().unsqueeze(1), mask, BaselineState()).advantages
    weights = policy_gradient_weights(gains, mask, "sum")
    logits = LOGITS.double().expand(3, 3).clone().requires_grad_()
    logprobs = logits.log_softmax(1).diagonal().unsqueeze(1)
    (descent,) = torch.autograd.grad(weighted_nll(logprobs, weights), logits)
    mean = -(probs.unsqueeze(1) * descent).sum(0)
    torch.testing.assert_close(mean, torch.tensor([0.024648, -0.013117, -0.011532]).double(), atol=2e-6, rtol=0)
    found = float((probs * descent.square().sum(1)).sum() - mean.square().sum())
    assert round(found, digits) == variance


def test_noise_is_finite_at_the_ends_of_the_unit_interval() -> None:
    assert bool(gumbel_noise(torch.tensor([0.0, 1.0, 0.5])).isfinite().all())


def test_rows_have_noise_of_their_own_however_they_are_shared_out() -> None:
    seeds = torch.tensor([5, 2**61, 7])
    whole = uniform_of_rows(seeds, 4, 3)
    assert whole.shape == (3, 4, 3)
    assert torch.equal(whole[1:], uniform_of_rows(seeds[1:], 4, 3))
    assert not torch.equal(whole[0], whole[1])
