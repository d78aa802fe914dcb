"""The critic: it looks back only, begins at 0, learns exact values of a world that can be enumerated.

As a baseline it leaves the expected gradient alone, whatever it reads and whatever it has learned.
"""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.testing import all_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.layers.optimizers import Adam
from rlgan.policy.baselines import CriticBaseline
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.loss_terms import weighted_nll
from rlgan.policy.value_function import ValueFunction, explained_variance, value_loss
from rlgan.sampling.records import Rollouts
from tests.support.recipes import recipe
from tests.support.tabular import TOY_SPACE, TabularGenerator

MASK = torch.tensor([[True, True], [True, False]])
TOY_J, TOY_Q = 0.557994, torch.tensor([0.631008, 0.505547, 0.530027])


def test_value_loss_by_hand() -> None:
    # Errors 1, -2 and 3 (the padding's 99 does not count): ½·(1 + 4 + 9)/3.
    values, targets = torch.tensor([[1.0, 0.0], [5.0, 99.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    assert float(value_loss(values, targets, torch.zeros(2, 2), MASK)) == pytest.approx(14 / 6)
    # Old values 0: held at .5, .0 and .5, errors .5, -2, -1.5; the larger of each counts: 1, 4, 9 again.
    assert float(value_loss(values, targets, torch.zeros(2, 2), MASK, clip=0.5)) == pytest.approx(14 / 6)
    # From 4 on the values 1, 0, 5 are held at 3.5, 3.5, 4.5: errors 3.5, 1.5 and 2.5 against 1, 2 and 3.
    loss = value_loss(values, targets, torch.full((2, 2), 4.0), MASK, clip=0.5)
    assert float(loss) == pytest.approx((3.5**2 + 4 + 9) / 6)


def test_a_value_that_has_changed_enough_has_no_gradient() -> None:
    # It went up from 0 towards 2 by more than the clip: what counts is held, and stands still.
    values = torch.tensor([[1.0]], requires_grad=True)
    value_loss(values, torch.tensor([[2.0]]), torch.zeros(1, 1), MASK[:1, :1], clip=0.5).backward()
    assert values.grad is not None and float(values.grad) == 0.0


def test_explained_variance() -> None:
    targets = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(targets, targets) == 1.0
    assert explained_variance(torch.full((3,), 7.0), targets) == pytest.approx(0.0)
    assert explained_variance(-targets, targets) == pytest.approx(-3.0)
    assert explained_variance(targets, torch.ones(3)) == 0.0


def critic(**settings: object) -> ValueFunction:
    return ValueFunction(CriticBaseline(optimizer=Adam(lr=0.02), **settings), TOY_SPACE, seed=0)  # type: ignore[arg-type]


def test_it_begins_at_zero_and_sees_nothing_of_the_token_it_is_a_baseline_of() -> None:
    judge = critic()
    tokens = torch.tensor([[0, 1], [0, 2], [2, 1]])
    assert bool((judge.values(tokens, torch.ones(3, 2, dtype=torch.bool)) == 0).all())
    judge.learn(tokens, torch.ones(3, 2, dtype=torch.bool), torch.rand(3, 2), torch.zeros(3, 2))
    values = judge.values(tokens, torch.ones(3, 2, dtype=torch.bool))
    assert torch.equal(values[0], values[1])
    assert float(values[0, 0]) == pytest.approx(float(values[2, 0])) != 0.0
    assert float(values[0, 1]) != pytest.approx(float(values[2, 1]), abs=1e-7)


def test_it_learns_the_exact_values_of_the_toy_world() -> None:
    # Targets D(y) of all nine sequences, in the proportion in which the policy draws them.
    torch.manual_seed(0)
    sequences, judge = all_sequences(TOY_SPACE), critic(epochs=400)
    probs = torch.tensor(
        [
            [0.486415, 0.218560, 0.295025],
            [0.218560, 0.295025, 0.486415],
            [0.422319, 0.422319, 0.155362],
        ]
    )
    distribution = (torch.tensor([0.337585, 0.250089, 0.412327]).unsqueeze(1) * probs).flatten()
    rewards = torch.sigmoid(torch.tensor([1.2, -0.4, 0.3, -1.0, 0.8, 0.0, 0.5, -0.7, 1.5]))
    counts = (distribution * 1_000).round().long()
    tokens, targets = sequences.repeat_interleave(counts, 0), rewards.repeat_interleave(counts).unsqueeze(1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    figures = judge.learn(tokens, mask, targets.expand_as(tokens), torch.zeros(tokens.shape))
    values = judge.values(sequences, mask[:9])
    torch.testing.assert_close(values[:, 0], torch.full((9,), TOY_J), atol=2e-3, rtol=0)
    torch.testing.assert_close(values[:, 1], TOY_Q[sequences[:, 0]], atol=2e-3, rtol=0)
    assert figures["critic/explained_variance"] == pytest.approx(0.0, abs=1e-6)  # of the values before


def test_what_it_kept_goes_on_the_same() -> None:
    tokens, mask, targets = all_sequences(TOY_SPACE), torch.ones(9, 2, dtype=torch.bool), torch.rand(9, 2)
    one, other = critic(), critic(embedding=32)
    for _ in range(2):
        one.learn(tokens, mask, targets, targets)
    other.restore(one.state())
    for judge in (one, other):
        judge.learn(tokens, mask, targets, targets)
    assert torch.equal(one.values(tokens, mask), other.values(tokens, mask))


# ----------------------------------------------------------------------------------- sequences that are given something

Reads = Literal["state", "source"]
SOURCES = SequenceSpace(3, 2, end_id=0)
GIVEN_SPACE = SequenceSpace(3, 2, condition=SOURCES)
SEQUENCES = all_sequences(GIVEN_SPACE)
# Two of one token, the terminator, which end; what stands behind it does not matter.
CONDITIONS = torch.tensor([[0, 0], [1, 0], [2, 1], [1, 2]])
BOTH = pytest.mark.parametrize("reads", ["state", "source"])


def given_critic(reads: Reads, **settings: object) -> ValueFunction:
    chosen = CriticBaseline(reads=reads, optimizer=Adam(lr=0.02), **settings)  # type: ignore[arg-type]
    return ValueFunction(chosen, GIVEN_SPACE, seed=0)


def moved(reads: Reads) -> ValueFunction:
    """A critic that has learned something arbitrary."""
    judge, rng = given_critic(reads), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in judge.network.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=rng))
    return judge


def everywhere(judge: ValueFunction, conditions: Tensor) -> Tensor:
    """Values of all nine sequences under one condition: (9, 2)."""
    return judge.values(SEQUENCES, torch.ones(9, 2, dtype=torch.bool), conditions.expand(9, 2))


@BOTH
def test_no_baseline_of_what_is_given_moves_the_expected_gradient(reads: Reads) -> None:
    # Σ_x p(x) Σ_y p_θ(y|x) · gradient, exactly, against the gradient of Σ p(x) p_θ(y|x) R(x, y).
    rng, task, judge = torch.Generator().manual_seed(0), build_task(ToyTask()), moved(reads)
    for condition in CONDITIONS:
        policy = TabularGenerator(GIVEN_SPACE, torch.randn(4, 3, generator=rng).double())
        rewards, mask = torch.rand(9, generator=rng), torch.ones(9, 2, dtype=torch.bool)
        rollouts = Rollouts(
            tokens=SEQUENCES,
            logprobs=torch.zeros(9, 2),
            mask=mask,
            real_logits=torch.logit(rewards),
            token_logits=None,
            continuation_logits=None,
            reference_logprobs=None,
            generator_version=0,
            discriminator_version=0,
            prefix_length=0,
            num_drawn=0,
            conditions=condition.expand(9, 2),
        )
        values = everywhere(judge, condition)
        axes = recipe(baseline=CriticBaseline(reads=reads))
        weights = learnable(rollouts, axes, Memory(), task, rng, values).experience.weights
        assert not torch.allclose(weights, rewards.unsqueeze(1).expand(9, 2), atol=0.01)
        probs = policy.logprobs(SEQUENCES).sum(1).exp()
        loss = weighted_nll(policy.logprobs(SEQUENCES), probs.detach().unsqueeze(1) * weights)
        (found,) = torch.autograd.grad(-loss, policy.table)
        (exact,) = torch.autograd.grad((probs * rewards).sum(), policy.table)
        torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)


@BOTH
def test_it_reads_what_is_given_up_to_its_end(reads: Reads) -> None:
    judge = moved(reads)
    one, other = everywhere(judge, torch.tensor([2, 1])), everywhere(judge, torch.tensor([1, 2]))
    assert bool(((one - other).abs() > 1e-3).all())
    behind = everywhere(judge, torch.tensor([0, 2]))
    assert torch.equal(behind, everywhere(judge, torch.tensor([0, 1])))


def test_what_is_given_alone_has_one_value_and_a_state_has_its_own() -> None:
    source, state = (everywhere(moved(reads), CONDITIONS[2]) for reads in ("source", "state"))
    assert float(source.max() - source.min()) < 1e-6
    # Before the first token one value, before the second one for each first token, and none of what follows.
    assert float(state[:, 0].max() - state[:, 0].min()) < 1e-6
    by_first = state[:, 1].view(3, 3)
    torch.testing.assert_close(by_first, by_first[:, :1].expand(3, 3))
    assert float(by_first[:, 0].sort().values.diff().min()) > 1e-3


@BOTH
def test_given_something_it_begins_at_zero_and_goes_on_from_what_it_kept(reads: Reads) -> None:
    one, other = given_critic(reads), given_critic(reads, epochs=1)
    mask, targets, given = torch.ones(9, 2, dtype=torch.bool), torch.rand(9, 2), CONDITIONS[2].expand(9, 2)
    assert bool((everywhere(one, CONDITIONS[2]) == 0).all())
    for _ in range(2):
        one.learn(SEQUENCES, mask, targets, targets, given)
    other.restore(one.state())
    for judge in (one, other):
        judge.learn(SEQUENCES, mask, targets, targets, given)
    assert torch.equal(everywhere(one, CONDITIONS[2]), everywhere(other, CONDITIONS[2]))
    assert bool((everywhere(one, CONDITIONS[2]) != 0).all())


def test_of_what_is_given_alone_every_sequence_counts_once() -> None:
    # One of 1 token that is paid 0, one of 3 that is paid 1: the mean over sequences is 1/2, over tokens 3/4.
    space = SequenceSpace(2, 3, end_id=0, condition=SOURCES)
    judge = ValueFunction(CriticBaseline(reads="source", epochs=300, optimizer=Adam(lr=0.05)), space, seed=0)
    tokens = torch.tensor([[0, 0, 0], [1, 1, 1]])
    mask, given = sequence_mask(space, tokens), CONDITIONS[2].expand(2, 2)
    judge.learn(tokens, mask, torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), torch.zeros(2, 3), given)
    torch.testing.assert_close(judge.values(tokens, mask, given)[mask], torch.full((4,), 0.5), atol=0.01, rtol=0)
