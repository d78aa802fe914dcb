"""Optimisers against steps worked by hand, clipping, and states that are copies."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rlgan.layers.optimizers import (
    SGD,
    Adadelta,
    Adam,
    OptimizerSettings,
    RMSProp,
    build_optimizer,
    clip_gradients,
    optimizer_state,
    restore_optimizer_state,
)
from tests.support.errors import refused

EVERY_OPTIMIZER = [
    Adam(lr=0.1, weight_decay=0.1),
    RMSProp(lr=0.1),
    SGD(lr=0.1, momentum=0.5),
    SGD(lr=0.1, momentum=0.5, nesterov=True),
    Adadelta(lr=0.5, rho=0.8),
]


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def step(optimizer: torch.optim.Optimizer, weights: nn.Parameter, gradient: list[float]) -> list[float]:
    weights.grad = torch.tensor(gradient)
    optimizer.step()
    return weights.detach().tolist()


def test_first_step_of_adam_is_the_learning_rate_against_the_sign() -> None:
    # Both moments are corrected for their start, so the first step is lr · g/(|g| + 1e-8).
    weights = parameter(1.0, 2.0)
    optimizer = build_optimizer(Adam(lr=0.1), [weights])
    assert step(optimizer, weights, [3.0, -0.01]) == pytest.approx([0.9, 2.1], abs=1e-5)


def test_second_step_of_adam_by_hand() -> None:
    # β1 = .5, β2 = .8; gradients 1, then 3.  m = .5·.5 + .5·3 = 1.75, over 1 - .25 = 7/3;
    # v = .8·.2 + .2·9 = 1.96, over 1 - .64 = 49/9, root 7/3. The step is lr · (7/3)/(7/3) = lr.
    weights = parameter(1.0)
    optimizer = build_optimizer(Adam(lr=0.1, beta1=0.5, beta2=0.8), [weights])
    step(optimizer, weights, [1.0])
    assert step(optimizer, weights, [3.0]) == pytest.approx([0.8], abs=1e-5)


def test_weight_decay_is_decoupled() -> None:
    # 2 · (1 - 0.1·0.5) = 1.9, then the step of 0.1: added to the gradient it would not show in Adam's first step.
    weights = parameter(2.0)
    optimizer = build_optimizer(Adam(lr=0.1, weight_decay=0.5), [weights])
    assert step(optimizer, weights, [1.0]) == pytest.approx([1.8], abs=1e-5)


def test_first_step_of_rmsprop_by_hand() -> None:
    # v = (1 - .99)·g², so the step is lr / sqrt(.01) = 10 lr.
    weights = parameter(1.0)
    assert step(build_optimizer(RMSProp(lr=0.01), [weights]), weights, [4.0]) == pytest.approx([0.9], abs=1e-5)


def test_two_steps_of_sgd_with_momentum_by_hand() -> None:
    # 1 - .1·2 = .8;  velocity .5·2 + 2 = 3, .8 - .3 = .5
    weights = parameter(1.0)
    optimizer = build_optimizer(SGD(lr=0.1, momentum=0.5), [weights])
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.8])
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.5])


def test_two_steps_of_nesterov_by_hand() -> None:
    # velocity 2, step .1·(2 + .5·2) = .3: .7.  velocity .5·2 + 2 = 3, step .1·(2 + .5·3) = .35: .35
    weights = parameter(1.0)
    optimizer = build_optimizer(SGD(lr=0.1, momentum=0.5, nesterov=True), [weights])
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.7])
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.35])


def test_nesterov_wants_a_momentum() -> None:
    with refused(ValidationError, "nesterov_needs_momentum", {"nesterov": True}):
        SGD(nesterov=True)


def test_two_steps_of_adadelta_by_hand() -> None:
    # Of g = 2 at ρ = .75: E[g²] = 1, E[Δ²] = 0, Δ = √1e-6/√(1 + 1e-6)·2 = .002; E[Δ²] = .25·4e-6 = 1e-6.
    # Then E[g²] = .75 + 1 = 1.75, Δ = √(1e-6 + 1e-6)/√1.75·2 = .0021381. Half of each at lr .5.
    weights = parameter(1.0)
    optimizer = build_optimizer(Adadelta(lr=0.5, rho=0.75), [weights])
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.999], abs=1e-7)
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.999 - 0.00106904], abs=1e-7)


# -------------------------------------------------------------------------------------------------- clipping


def with_gradients(*gradients: Tensor | None) -> list[nn.Parameter]:
    parameters = []
    for gradient in gradients:
        weights = nn.Parameter(torch.zeros(2))
        weights.grad = gradient
        parameters.append(weights)
    return parameters


def test_clipping_is_by_the_norm_of_all_gradients_together() -> None:
    # Norm sqrt(3² + 4² + 12²) = 13, clipped to 6.5: everything halves.
    parameters = with_gradients(torch.tensor([3.0, 4.0]), None, torch.tensor([12.0, 0.0]))
    assert clip_gradients(parameters, 6.5) == pytest.approx(13.0)
    gradients = [weights.grad for weights in parameters]
    assert gradients[1] is None
    torch.testing.assert_close(gradients[0], torch.tensor([1.5, 2.0]))
    torch.testing.assert_close(gradients[2], torch.tensor([6.0, 0.0]))


@pytest.mark.parametrize("clip_norm", [None, 5.0, 6.0])
def test_gradients_within_the_norm_are_left_alone(clip_norm: float | None) -> None:
    parameters = with_gradients(torch.tensor([3.0, 4.0]))
    assert clip_gradients(parameters, clip_norm) == pytest.approx(5.0)
    assert torch.equal(parameters[0].grad, torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_ends_the_run(bad: float) -> None:
    with pytest.raises(FloatingPointError, match="the update was not applied"):
        clip_gradients(with_gradients(torch.tensor([1.0, bad])), 5.0)


@pytest.mark.parametrize("settings", EVERY_OPTIMIZER, ids=lambda settings: settings.kind)
def test_numbers_of_the_gradient_are_clipped_before_every_step(settings: OptimizerSettings) -> None:
    twins = [parameter(1.0, -2.0, 3.0) for _ in range(2)]
    clipping = build_optimizer(settings.model_copy(update={"clip_value": 0.5}), [twins[0]])
    plain = build_optimizer(settings, [twins[1]])
    for gradient, clipped in (([9.0, -0.6, 0.2], [0.5, -0.5, 0.2]), ([-0.7, 0.1, 5.0], [-0.5, 0.1, 0.5])):
        assert step(clipping, twins[0], gradient) == step(plain, twins[1], clipped)


def test_numbers_are_clipped_after_the_norm() -> None:
    # (6, 8) has norm 10, at most 5: (3, 4); of which each at most 3.5. The other order would leave (2.47, 3.54).
    weights = parameter(0.0, 0.0)
    optimizer = build_optimizer(SGD(lr=1.0, clip_norm=5.0, clip_value=3.5), [weights])
    weights.grad = torch.tensor([6.0, 8.0])
    assert clip_gradients([weights], 5.0) == pytest.approx(10.0)
    optimizer.step()
    assert weights.detach().tolist() == pytest.approx([-3.0, -3.5])


def test_a_parameter_without_a_gradient_is_not_clipped() -> None:
    weights = [parameter(1.0), parameter(1.0)]
    optimizer = build_optimizer(SGD(lr=1.0, clip_value=0.5), weights)
    assert step(optimizer, weights[0], [2.0]) == [0.5] and weights[1].tolist() == [1.0]


# ----------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("settings", EVERY_OPTIMIZER, ids=lambda settings: settings.kind)
def test_a_restored_optimizer_goes_on_alike(settings: OptimizerSettings) -> None:
    weights = parameter(1.0, -2.0)
    optimizer = build_optimizer(settings, [weights])
    step(optimizer, weights, [1.0, 2.0])
    state, kept = optimizer_state(optimizer), weights.detach().clone()
    expected = [step(optimizer, weights, [-3.0, 0.5]) for _ in range(3)]

    other = nn.Parameter(kept)
    restored = build_optimizer(settings, [other])
    restore_optimizer_state(restored, state)
    assert [step(restored, other, [-3.0, 0.5]) for _ in range(3)] == expected


@pytest.mark.parametrize("settings", EVERY_OPTIMIZER, ids=lambda settings: settings.kind)
def test_a_state_is_a_copy_that_no_later_step_changes(settings: OptimizerSettings) -> None:
    weights = parameter(1.0, -2.0)
    optimizer = build_optimizer(settings, [weights])
    step(optimizer, weights, [1.0, 2.0])
    state = optimizer_state(optimizer)
    expected = copy.deepcopy(state)
    step(optimizer, weights, [-3.0, 0.5])
    assert_equal_states(state, expected)
    restore_optimizer_state(optimizer, state)
    step(optimizer, weights, [-3.0, 0.5])
    assert_equal_states(state, expected)


def assert_equal_states(found: dict[str, dict[str, Tensor]], expected: dict[str, dict[str, Tensor]]) -> None:
    assert found.keys() == expected.keys() == {"0"}
    assert found["0"].keys() == expected["0"].keys()
    for name, value in expected["0"].items():
        assert torch.equal(found["0"][name], value), name


def test_an_optimizer_without_memory_has_an_empty_state() -> None:
    weights = parameter(1.0)
    optimizer = build_optimizer(SGD(lr=0.1), [weights])
    step(optimizer, weights, [2.0])
    state = optimizer_state(optimizer)
    assert state == {}
    restore_optimizer_state(optimizer, state)
    assert step(optimizer, weights, [2.0]) == pytest.approx([0.6])


def test_the_learning_rate_is_as_built_and_not_as_saved() -> None:
    weights = parameter(1.0)
    saved = build_optimizer(Adam(lr=0.1), [weights])
    step(saved, weights, [1.0])
    fresh = build_optimizer(Adam(lr=0.5), [weights])
    restore_optimizer_state(fresh, optimizer_state(saved))
    assert fresh.param_groups[0]["lr"] == 0.5
