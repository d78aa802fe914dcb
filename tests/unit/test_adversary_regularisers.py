"""Penalties on slope and weights by hand and by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgan.adversary.regularisers import (
    InterpolatedPenalty,
    between,
    clip_weights,
    gradient_penalty,
    slope_penalty,
    weight_penalty,
)
from rlgan.base.errors import ConfigError
from rlgan.discriminators import BidirectionalLSTM, CnnHighway, DiscriminatorSettings, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from tests.support.errors import refused
from tests.support.tabular import TabularDiscriminator

SPACE = SequenceSpace(3, 3, end_id=2)
SPACES = pytest.mark.parametrize("space", ["onehot", "embedding"])


# -------------------------------------------------------------------------------------------------- exact numbers


def test_a_linear_critic_of_slope_5_costs_16() -> None:
    # w = (3, 4), ‖∇‖ = 5 everywhere, (5 - 1)² = 16; held at 5 it costs nothing.
    w = torch.tensor([[3.0], [4.0]])
    points = torch.randn(6, 2, 1)
    assert float(slope_penalty(lambda x: (x * w).sum((1, 2)), points, 1.0)) == pytest.approx(16.0)
    assert float(slope_penalty(lambda x: (x * w).sum((1, 2)), points, 5.0)) == pytest.approx(0.0, abs=1e-10)


def test_a_constant_critic_costs_1_and_one_of_unit_slope_nothing() -> None:
    # And there is a gradient at slope 0, where that of a plain root would be NaN.
    scale = torch.zeros((), requires_grad=True)
    cost = slope_penalty(lambda x: scale * x.sum((1, 2)) + 7.0, torch.randn(6, 2, 3), 1.0)
    cost.backward()
    assert float(cost.detach()) == pytest.approx(1.0, abs=1e-5) and bool(torch.isfinite(scale.grad))
    unit = torch.full((2, 3), 6**-0.5)
    assert float(slope_penalty(lambda x: (x * unit).sum((1, 2)), torch.randn(4, 2, 3), 1.0)) == pytest.approx(0.0)


def test_the_norm_is_of_an_example_and_the_mean_over_examples() -> None:
    # f(x) = ½‖x‖², slope ‖x‖ over both positions: 5 and 13, (4² + 12²)/2 = 80.
    points = torch.tensor([[[3.0], [4.0]], [[5.0], [12.0]]])
    cost = slope_penalty(lambda x: x.square().sum((1, 2)) / 2, points, 1.0)
    assert float(cost.detach()) == pytest.approx(80.0)


def test_points_lie_between_both_ends_and_on_the_simplex() -> None:
    real, fake = (functional.one_hot(random_sequences(SPACE, 5, seed=s), SPACE.vocab_size).float() for s in (0, 1))
    epsilon = torch.tensor([0.0, 1.0, 0.25, 0.5, 0.9])
    points = between(real, fake, epsilon)
    assert torch.equal(points[0], real[0]) and torch.equal(points[1], fake[1])
    torch.testing.assert_close(points[2], 0.75 * real[2] + 0.25 * fake[2])
    torch.testing.assert_close(points.sum(2), torch.ones(5, 3))
    assert bool((points >= 0).all())


def test_weights_are_clipped_from_both_sides_and_others_left_alone() -> None:
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -0.5, 0.009], [-0.01, 0.01, -0.02]]))
        net.bias.copy_(torch.tensor([3.0, 0.0]))
    clip_weights(net.parameters(), 0.01)
    torch.testing.assert_close(net.weight.detach(), torch.tensor([[0.01, -0.01, 0.009], [-0.01, 0.01, -0.01]]))
    assert net.bias.tolist() == pytest.approx([0.01, 0.0])


def test_the_weight_penalty_is_half_the_square_of_everything() -> None:
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, -1.0]]))
        net.bias.fill_(2.0)
    penalty = weight_penalty(net.parameters())
    penalty.backward()
    assert float(penalty.detach()) == 7.0  # ½ (9 + 1 + 4)
    assert net.weight.grad.tolist() == [[3.0, -1.0]] and net.bias.grad.tolist() == [2.0]


# ------------------------------------------------------------------------------------------------ the slow twin


def slope(score: Callable[[Tensor], Tensor], point: Tensor) -> float:
    """Norm of a gradient, one coordinate after another by central differences."""
    total, step = 0.0, 1e-5
    for index in range(point.numel()):
        moved = [point.clone(), point.clone()]
        for where, sign in zip(moved, (1, -1), strict=True):
            where.view(-1)[index] += sign * step
        total += float((score(moved[0]) - score(moved[1])) / (2 * step)) ** 2
    return total**0.5


def slow_penalty(net: nn.Module, space: str, reals: Tensor, fakes: Tensor, epsilon: Tensor, target: float) -> float:
    costs = []
    for real, fake, eps in zip(reals, fakes, epsilon.tolist(), strict=True):
        length = max(int(sequence_mask(SPACE, end.unsqueeze(0)).sum()) for end in (real, fake))
        mask = (torch.arange(SPACE.max_length) < length).unsqueeze(0)
        ends = [functional.one_hot(end, SPACE.vocab_size).double() for end in (real, fake)]
        if space == "embedding":
            ends = [net.embedding.weight.detach()[end] for end in (real, fake)]
        with torch.no_grad():
            point = ((1 - eps) * ends[0] + eps * ends[1]).unsqueeze(0)
            if space == "embedding":
                found = slope(lambda x, mask=mask: net.judge(x, mask, is_twice_differentiable=False), point)
            else:
                found = slope(lambda x, mask=mask: net(x, mask), point)
        costs.append((found - target) ** 2)
    return sum(costs) / len(costs)


@SPACES
@pytest.mark.parametrize(
    "settings",
    [CnnHighway(embedding=2, windows=(1, 2), filters=(2,), dropout=0.0), BidirectionalLSTM(embedding=2, hidden=2)],
    ids=lambda settings: settings.kind,
)
def test_the_penalty_and_its_gradient_are_those_of_finite_differences(
    settings: DiscriminatorSettings, space: str
) -> None:
    torch.manual_seed(0)
    net = build_discriminator(settings, SPACE).double().eval()
    # No two positions are alike in both, for where responses tie the maximum has no derivative.
    reals = torch.tensor([[0, 1, 2], [1, 2, 2], [2, 2, 2], [0, 0, 1], [1, 0, 2]])
    fakes = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 2, 2], [1, 2, 2], [1, 1, 2]])
    epsilon = torch.tensor([0.1, 0.3, 0.5, 0.8, 0.95], dtype=torch.float64)
    chosen = InterpolatedPenalty(target=0.7, space=space)

    def slow() -> float:
        return slow_penalty(net, space, reals, fakes, epsilon, 0.7)

    penalty = gradient_penalty(net, chosen, SPACE, reals, fakes, epsilon)
    assert float(penalty.detach()) == pytest.approx(slow(), rel=1e-6)
    penalty.backward()
    for name, parameter in net.named_parameters():
        # A parameter that the slope does not depend on, such as the last bias, has no gradient of it.
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        index = parameter.numel() // 2
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.view(-1)[index] += step
                values.append(slow())
                parameter.view(-1)[index] -= step
        expected = (values[0] - values[1]) / 2e-5
        assert float(gradient.flatten()[index]) == pytest.approx(expected, abs=2e-4), name


@SPACES
def test_what_stands_after_the_longer_end_does_not_matter(space: str) -> None:
    torch.manual_seed(0)
    net = build_discriminator(CnnHighway(embedding=2, windows=(1, 2), filters=(2,), dropout=0.0), SPACE)
    reals, fakes = torch.tensor([[2, 2, 2], [0, 2, 2]]), torch.tensor([[1, 2, 2], [2, 2, 2]])
    epsilon, found = torch.tensor([0.3, 0.6]), []
    for litter in (2, 0):
        ends = [torch.where(sequence_mask(SPACE, tokens), tokens, litter) for tokens in (reals, fakes)]
        found.append(gradient_penalty(net, InterpolatedPenalty(space=space), SPACE, *ends, epsilon))
    assert torch.equal(*found)


def test_embeddings_cannot_be_joined_where_there_are_none() -> None:
    tokens = random_sequences(SPACE, 2, seed=0)
    with refused(ConfigError, "penalty_needs_embedding", {"adversary.gradient_penalty.space": "embedding"}):
        gradient_penalty(
            TabularDiscriminator(SPACE), InterpolatedPenalty(space="embedding"), SPACE, tokens, tokens, torch.zeros(2)
        )
