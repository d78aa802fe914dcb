"""The terms of the generator's loss: normalisers by hand, and that the learner's sum is the loss of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.loss_terms import (
    LossNormaliser,
    clipped_surrogate,
    clipped_tokens,
    likelihood_weights,
    policy_gradient_weights,
    reference_penalty,
    share_of_batch,
    weighted_nll,
)
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.policy.teacher_forcing import TeacherForcingByExample
from tests.support.errors import refused

MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])
ADVANTAGES = torch.tensor([[8.0, -16.0, 24.0, 99.0], [32.0, 99.0, 99.0, 99.0]])


@pytest.mark.parametrize(
    ("normaliser", "norm"),
    # Two sequences with 3 and 1 real tokens, 4 positions.
    [("sum", 1.0), ("sequence", 2.0), ("token", 4.0), ("fixed", 8.0), ("sequence_mean", [[6.0], [2.0]])],
)
def test_normalisers(normaliser: LossNormaliser, norm: float | list[list[float]]) -> None:
    weights = policy_gradient_weights(ADVANTAGES, MASK, normaliser)
    expected = torch.tensor([[8.0, -16.0, 24.0, 0.0], [32.0, 0.0, 0.0, 0.0]]) / torch.tensor(norm)
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


@pytest.mark.parametrize("normaliser", ["sum", "sequence", "token", "fixed", "sequence_mean"])
def test_the_share_of_a_part_makes_its_weights_those_of_the_whole(normaliser: LossNormaliser) -> None:
    whole = policy_gradient_weights(ADVANTAGES, MASK, normaliser)
    for rows in (slice(0, 1), slice(1, 2)):
        alone = policy_gradient_weights(ADVANTAGES[rows], MASK[rows], normaliser)
        torch.testing.assert_close(alone * share_of_batch(MASK[rows], MASK, normaliser), whole[rows])


@pytest.mark.parametrize(("fraction", "batch", "real"), [(0.5, 8, 4), (0.4, 8, 3), (0.25, 2, 0), (0.9, 4, 4)])
def test_the_share_that_is_learned_by_example_is_whole_sequences(fraction: float, batch: int, real: int) -> None:
    assert TeacherForcingByExample(fraction=fraction).num_real(batch) == real


def test_refuses_advantages_of_another_shape() -> None:
    with refused(ShapeError, "objective_shapes"):
        policy_gradient_weights(ADVANTAGES[:, :3], MASK, "sum")


# ------------------------------------------------------------------------------------------------- clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "term", "slope"),
    # min(ρA, clip(ρ)A) with ε = 0.2; the gradient by log p is ρA, or 0 where the clip holds it.
    [(1.5, 1.0, 1.2, 0.0), (1.5, -1.0, -1.5, -1.5), (0.5, 1.0, 0.5, 0.5), (0.5, -1.0, -0.8, 0.0), (1.1, 2.0, 2.2, 2.2)],
)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, term: float, slope: float) -> None:
    old = torch.tensor([[-2.0]])
    logprobs = (old + math.log(ratio)).requires_grad_()
    loss = clipped_surrogate(logprobs, old, torch.tensor([[advantage]]), 0.2, 0.2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-term, abs=1e-6)
    assert logprobs.grad is not None and float(logprobs.grad) == pytest.approx(-slope, abs=1e-6)


def test_each_side_has_a_clip_of_its_own() -> None:
    old, weights = torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
    logprobs = torch.tensor([[math.log(1.5), math.log(0.5)]])
    # min(1.5, 1.28) - and min(-.5, -.9): 1.28 - .9
    assert float(clipped_surrogate(logprobs, old, weights, 0.1, 0.28)) == pytest.approx(-(1.28 - 0.9))


def test_where_nothing_is_learned_no_ratio_can_overflow() -> None:
    logprobs = torch.tensor([[0.0, -1.0]], requires_grad=True)
    loss = clipped_surrogate(logprobs, torch.tensor([[-1e6, -1.0]]), torch.tensor([[0.0, 2.0]]), 0.2, 0.2)
    loss.backward()
    assert float(loss.detach()) == -2.0
    assert logprobs.grad is not None and logprobs.grad.tolist() == [[0.0, -2.0]]


def test_at_the_policy_that_sampled_the_clipped_gradient_is_reinforce() -> None:
    weights = torch.tensor([[0.3, -0.2], [0.0, 1.4]])
    sampled = torch.tensor([[-1.0, -2.0], [-3.0, -0.1]])
    gradients = []
    for loss in (weighted_nll, lambda logprobs, w: clipped_surrogate(logprobs, sampled, w, 0.2, 0.2)):
        logprobs = sampled.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(logprobs, weights), logprobs)[0])
    torch.testing.assert_close(*gradients)


def test_tokens_that_the_clip_holds_are_counted() -> None:
    # Held: up with a positive weight, down with a negative one; of four tokens that are learned from.
    ratios = torch.tensor([[1.5, 1.5, 0.5, 0.5, 9.0]])
    weights = torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.0]])
    assert clipped_tokens(ratios.log(), torch.zeros(1, 5), weights, 0.2, 0.2) == (2, 4)


# ------------------------------------------------------------------------------- reference, entropy, all of it

P1 = torch.tensor([0.337585, 0.250089, 0.412327], dtype=torch.float64)


def test_reference_penalty_has_the_divergence_as_its_mean() -> None:
    # TOY's first token against the uniform distribution.
    penalties = [
        float(reference_penalty(P1.log()[i : i + 1], torch.full((1,), -math.log(3)).double(), torch.ones(1)))
        for i in range(3)
    ]
    assert penalties == pytest.approx([0.000080, 0.045533, 0.021093], abs=1e-6)
    assert float((P1 * torch.tensor(penalties)).sum()) == pytest.approx(0.020112, abs=1e-6)


def test_times_the_ratio_the_penalty_has_the_gradient_of_the_divergence_from_the_reference() -> None:
    reference = torch.tensor([0.2, 0.5, 0.3]).double().log()
    logits = P1.log().clone().requires_grad_(True)
    logprobs = torch.log_softmax(logits, 0)
    (expected,) = torch.autograd.grad((logprobs.exp() * (logprobs - reference)).sum(), logits)
    # Tokens drawn by the policy itself: each weighs its probability, which has no gradient.
    logprobs = torch.log_softmax(logits, 0)
    old = logprobs.detach()
    terms = {"weights": torch.zeros(3), "ratio_kl_weights": old.exp(), "reference_logprobs": reference}
    loss = learner_loss(Reinforce(), terms | {"old_logprobs": old}, logprobs)
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected)
    # Without it that of the other divergence, KL(reference ‖ policy), in value the same.
    logprobs = torch.log_softmax(logits, 0)
    plain = learner_loss(Reinforce(), {**terms, "ratio_kl_weights": torch.zeros(3), "kl_weights": old.exp()} | {
        "old_logprobs": old
    }, logprobs)  # fmt: skip
    assert float(plain.detach()) == pytest.approx(float(loss.detach()))
    (other,) = torch.autograd.grad(plain, logits)
    assert float((other - expected).abs().max()) > 1e-2


def test_terms_add_up_and_those_without_weights_are_absent() -> None:
    logprobs, entropies = torch.tensor([[-1.0, -2.0]]), torch.tensor([[0.5, 0.7]])
    terms = {"tokens": torch.zeros(1, 2), "weights": torch.tensor([[1.0, 0.0]])}
    assert float(learner_loss(Reinforce(), terms, logprobs)) == 1.0
    terms |= {"clipped_weights": torch.tensor([[0.0, 3.0]]), "old_logprobs": logprobs}
    assert float(learner_loss(PPO(), terms, logprobs)) == 1.0 - 3.0
    reference = torch.tensor([[0.0, -2.0 + math.log(2)]])
    terms |= {"kl_weights": torch.tensor([[0.0, 5.0]]), "reference_logprobs": reference}
    penalty = 5.0 * (2.0 - math.log(2) - 1.0)
    assert float(learner_loss(PPO(), terms, logprobs)) == pytest.approx(1.0 - 3.0 + penalty)
    terms["entropy_weights"] = torch.tensor([[2.0, 1.0]])
    assert float(learner_loss(PPO(), terms, logprobs, entropies)) == pytest.approx(1.0 - 3.0 + penalty - 1.0 - 0.7)


def test_ppo_s_own_clip_is_used() -> None:
    terms = {
        "weights": torch.zeros(1, 1),
        "clipped_weights": torch.ones(1, 1),
        "old_logprobs": torch.zeros(1, 1),
    }

    def loss(objective: PPO, logprob: float) -> float:
        found: Tensor = learner_loss(objective, terms, torch.tensor([[logprob]]))
        return float(found)

    assert loss(PPO(clip_high=0.28), 1.0) == pytest.approx(-1.28)
    terms["clipped_weights"] = -torch.ones(1, 1)
    assert loss(PPO(clip_low=0.1), -1.0) == pytest.approx(0.9)
