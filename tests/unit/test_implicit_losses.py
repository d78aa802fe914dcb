"""Losses of the policy's own log-ratio: golden numbers, optima by enumeration, and what the learner makes of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import ShapeError
from rlgan.policy.implicit_losses import (
    Bernoulli,
    Brier,
    Hinge,
    ImplicitLoss,
    Kliep,
    Lsif,
    PairHinge,
    PairLogistic,
    RatioLoss,
    log_ratios_of,
)
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.objectives import Reinforce
from rlgan.policy.pair_objectives import Implicit
from rlgan.sampling.records import Experience, stacked
from tests.support.errors import refused


def one(loss: ImplicitLoss, real: float, fake: float) -> float:
    (found,) = loss.of(torch.tensor([real]), torch.tensor([fake]))
    return float(found)


def test_spin_by_hand() -> None:
    # log π real -10 (opponent -12), generated -8 (opponent -7): β(2 - (-1)) = 0.3.
    assert one(PairLogistic(), 2.0, -1.0) == pytest.approx(0.554355, abs=1e-6)
    assert one(PairHinge(), 2.0, -1.0) == pytest.approx(0.7)
    assert one(PairLogistic(scale=1.0), 2.0, -1.0) == pytest.approx(math.log(1 + math.exp(-3)))


@pytest.mark.parametrize(
    ("loss", "value"),
    [(Bernoulli(), 1.972869), (Brier(), 0.724879), (Hinge(), 2.7), (Kliep(), 3.273947), (Lsif(), 5.957037)],
    ids=lambda found: getattr(found, "kind", None),
)
def test_gsil_by_hand(loss: RatioLoss, value: float) -> None:
    # s_r = 0.01·20 + 2 = 2.2, s_g = 0.01·(-30) + 2 = 1.7.
    assert one(loss, 20.0, -30.0) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("loss", [Bernoulli(), Brier(), Kliep(), Lsif()], ids=lambda loss: loss.kind)
def test_scores_of_the_optimum_are_log_density_ratios(loss: RatioLoss) -> None:
    p_d, p_t = torch.tensor([0.5, 0.3, 0.15, 0.05]).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def expected() -> Tensor:
        # Separable, so that any pairing has the same expectation: each value beside a rival of every value.
        pairs = loss.of_scores(scores.unsqueeze(1).expand(4, 4), scores.expand(4, 4))
        return (p_d.unsqueeze(1) * p_t * pairs).sum()

    _minimise(expected, scores)
    torch.testing.assert_close(scores.detach(), (p_d / p_t).log(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_policy_of_the_optimum_of_spin(scale: float) -> None:
    # Of all pairs of a real one of p_d and one of π_t the loss is least where β·u = log p_d/π_t + constant, so
    # π ∝ π_t·(p_d/π_t)^(1/β): the data's own distribution after one iteration with β = 1.
    p_d, p_t = torch.tensor([0.5, 0.3, 0.15, 0.05]).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    logits = p_t.log().clone().requires_grad_()

    def expected() -> Tensor:
        ratios = logits.log_softmax(0) - p_t.log()
        pairs = PairLogistic(scale=scale).of(ratios.unsqueeze(1).expand(4, 4), ratios.expand(4, 4))
        return (p_d.unsqueeze(1) * p_t * pairs).sum()

    _minimise(expected, logits)
    wanted = p_t * (p_d / p_t) ** (1 / scale)
    torch.testing.assert_close(logits.detach().softmax(0), wanted / wanted.sum(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", [PairLogistic(), PairHinge()], ids=lambda loss: loss.kind)
def test_a_policy_that_is_the_data_stays(loss: ImplicitLoss) -> None:
    p_d = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    logits = p_d.log().clone().requires_grad_()
    ratios = logits.log_softmax(0) - p_d.log()
    ((p_d.unsqueeze(1) * p_d) * loss.of(ratios.unsqueeze(1).expand(4, 4), ratios.expand(4, 4))).sum().backward()
    assert float(logits.grad.abs().max()) < 1e-12


def _minimise(function: Any, parameter: Tensor) -> None:
    optimizer = torch.optim.LBFGS(
        [parameter], max_iter=500, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = function()
        loss.backward()
        return loss

    optimizer.step(closure)


# ------------------------------------------------------------------------------------------------- in the learner


def pairs(weight: float = 0.5) -> tuple[Experience, Tensor, Tensor]:
    """Two pairs of up to three tokens, and log-probabilities of both sides."""
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-0.5, -0.5, -1.0]], requires_grad=True)
    rivals = torch.tensor([[-2.0, -9.0, -9.0], [-1.0, -1.0, -1.0]], requires_grad=True)
    experience = Experience(
        tokens=torch.ones(2, 3, dtype=torch.int64),
        weights=torch.zeros(2, 3),
        old_logprobs=torch.tensor([[-2.0, -3.0, 0.0], [-1.0, -1.0, -1.0]]),
        pair_weights=torch.full((2,), weight),
        pair_mask=torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]),
        rivals=torch.ones(2, 3, dtype=torch.int64),
        rival_mask=torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        rival_old_logprobs=torch.tensor([[-1.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]),
    )
    return experience, logprobs, rivals


def test_the_learner_s_loss_by_hand() -> None:
    # u: 2 and 1 of the reals, -1 and 0 of the rivals; margins β·3 and β·1.
    experience, logprobs, rivals = pairs()
    loss = learner_loss(Implicit(), experience.tensors(), logprobs, rival_logprobs=rivals)
    expected = 0.5 * (math.log(1 + math.exp(-0.3)) + math.log(1 + math.exp(-0.1)))
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    loss.backward()
    # -½·β·σ(-margin) for each real token, + the same for each of the rival's, nothing behind an end.
    first, second = (0.5 * 0.1 / (1 + math.exp(margin)) for margin in (0.3, 0.1))
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-first, -first, 0.0], [-second] * 3]))
    torch.testing.assert_close(rivals.grad, torch.tensor([[first, 0.0, 0.0], [second] * 3]))


def test_at_the_opponent_the_loss_is_ln_2_and_pushes_both_sides_alike() -> None:
    experience, _, _ = pairs()
    logprobs, rivals = experience.old_logprobs.requires_grad_(), experience.rival_old_logprobs.requires_grad_()
    terms = {name: tensor.detach() for name, tensor in experience.tensors().items()}
    loss = learner_loss(Implicit(), terms, logprobs, rival_logprobs=rivals)
    loss.backward()
    assert float(loss) == pytest.approx(math.log(2))
    assert float(logprobs.grad.min()) == pytest.approx(-0.025) and float(rivals.grad.max()) == pytest.approx(0.025)


def test_rows_that_are_no_pairs_count_for_what_they_are() -> None:
    experience, logprobs, rivals = pairs()
    plain = Experience(tokens=torch.ones(1, 3, dtype=torch.int64), weights=torch.tensor([[1.0, 0.0, 0.0]]))
    both = stacked([experience, plain])
    more = torch.cat([logprobs, torch.tensor([[-3.0, -9.0, -9.0]])])
    # What stands in the place of a rival may be anything: exp of it would be no number.
    other = torch.cat([rivals, torch.full((1, 3), 1e30)])
    for loss in (PairLogistic(), Lsif()):
        alone = learner_loss(Implicit(loss=loss), experience.tensors(), logprobs, rival_logprobs=rivals)
        found = learner_loss(Implicit(loss=loss), both.tensors(), more, rival_logprobs=other)
        assert float(found) == pytest.approx(float(alone) + 3.0)


def test_weights_of_pairs_are_scaled_with_all_others() -> None:
    experience, logprobs, rivals = pairs()
    once, thrice = (
        learner_loss(Implicit(), one.tensors(), logprobs, rival_logprobs=rivals)
        for one in (experience, experience.times(3.0))
    )
    assert float(thrice) == pytest.approx(3 * float(once))


def test_what_stands_behind_an_end_never_counts() -> None:
    mask = torch.tensor([[1.0, 0.0]])
    found = log_ratios_of(torch.tensor([[-1.0, math.inf]]), torch.tensor([[-3.0, -math.inf]]), mask)
    assert found.tolist() == [2.0]


def test_other_objectives_contrast_nothing() -> None:
    with refused(ShapeError, "objective_contrasts_nothing"):
        Reinforce().pair_losses(torch.zeros(1), torch.zeros(1))


def test_a_pair_of_losses_is_the_softplus_of_its_margin() -> None:
    margins = torch.linspace(-3, 3, 7)
    found = PairLogistic(scale=1.0).of(margins, torch.zeros(7))
    torch.testing.assert_close(found, -functional.logsigmoid(margins))
