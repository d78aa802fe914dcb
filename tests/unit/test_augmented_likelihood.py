"""REINVENT's loss: worked by hand, beside the point of the space that has its gradient, and with what it replays."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.config.paths import override
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import NoBaseline
from rlgan.policy.best_sequences import BestSequences
from rlgan.policy.credit import Terminal
from rlgan.policy.experience import Learnable, Memory, Recipe, learnable
from rlgan.policy.kl_penalty import RewardPenalty
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.loss_terms import squared_distances
from rlgan.policy.objective_base import Objective
from rlgan.policy.objectives import AugmentedLikelihood, Reinforce
from rlgan.policy.reward_functions import PluginReward
from rlgan.sampling.records import Rollouts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.on_ray import assert_same
from tests.support.small_presets import small
from tests.support.tiny import finish, numbers

SIGMA = 128.0
TASK = build_task(ToyTask(vocab_size=4, max_length=3, ends=False, num_train=20, num_valid=4, num_test=4))


def test_the_loss_is_the_worked_one() -> None:
    # log p_prior -20, σ 128, S .5, log p_θ -25: -20 + 64 + 25 = 69, squared 4761; σ 10, log p_θ -18: -20 + 5 + 18 = 3.
    logprobs = torch.tensor([[-20.0, -5.0, -99.0], [-17.0, -1.0, -99.0]])
    targets = torch.tensor([-20.0 + 128.0 * 0.5, -20.0 + 10.0 * 0.5])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])  # what is written behind the end does not count
    for weights, expected in (((1.0, 0.0), 4761.0), ((0.0, 1.0), 9.0), ((0.5, 0.5), 2385.0)):
        assert float(squared_distances(logprobs, targets, mask, torch.tensor(weights))) == expected


def rollouts_of(logits: Tensor, prior: Tensor, tokens: Tensor, scores: Tensor) -> Rollouts:
    steps = torch.arange(tokens.shape[1])
    mask = torch.ones(tokens.shape, dtype=torch.bool)
    return Rollouts(
        tokens=tokens,
        logprobs=logits.detach().log_softmax(1)[steps, tokens],
        mask=mask,
        real_logits=None,
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=prior.log_softmax(1)[steps, tokens],
        generator_version=0,
        discriminator_version=None,
        prefix_length=0,
        num_drawn=int(mask.sum()),
        scores=scores,
        score_parts=scores.unsqueeze(1),
    )


def learned(objective: Objective, rollouts: Rollouts, memory: Memory | None = None, seed: int = 0) -> Learnable:
    recipe = Recipe(
        PluginReward(functions=("tests.support.plugins:length_share",), map=None),  # type: ignore[arg-type]
        Terminal(),
        RewardPenalty(weight=1 / SIGMA),
        NoBaseline(),
        NoScaling(),
        objective,
        None,
    )
    return learnable(rollouts, recipe, memory or Memory(), TASK, torch.Generator().manual_seed(seed))


def gradient(objective: Objective, found: Learnable, logits: Tensor) -> Tensor:
    logprobs = logits.log_softmax(1)[torch.arange(3), found.experience.tokens]
    return torch.autograd.grad(learner_loss(objective, found.experience.tensors(), logprobs), logits)[0]


def world(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, generator=rng, requires_grad=True)
    prior = torch.randn(3, 4, generator=rng)
    return logits, prior, torch.randint(4, (6, 3), generator=rng), torch.rand(6, generator=rng)


def test_the_gradient_is_that_of_a_penalised_reward() -> None:
    logits, prior, tokens, scores = world()
    rollouts = rollouts_of(logits, prior, tokens, scores)
    objective = AugmentedLikelihood(replay=0)
    found = learned(objective, rollouts)
    beside = learned(Reinforce(loss_normaliser="sequence"), rollouts)
    torch.testing.assert_close(
        gradient(objective, found, logits), 2 * SIGMA * gradient(Reinforce(), beside, logits), rtol=1e-4, atol=1e-4
    )
    assert found.memory.best is None and found.experience.tokens.shape == (6, 3)


def test_the_expected_gradient_is_that_of_the_penalised_expectation() -> None:
    # All 64 sequences, each weighed by its probability: ∇ of E[S] - β KL(p_θ‖p_prior), times -2σ; θ by differences.
    logits, prior, _, _ = world(3)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    scores = torch.rand(64, generator=torch.Generator().manual_seed(5)).double()
    log_prior = prior.double().log_softmax(1)[torch.arange(3), every].sum(1)

    def gain(of: Tensor) -> Tensor:
        own = of.log_softmax(1)[torch.arange(3), every].sum(1)
        return (own.exp() * (scores - (own - log_prior) / SIGMA)).sum()

    exact = torch.autograd.grad(gain(wide := logits.detach().double().requires_grad_()), wide)[0]
    targets = log_prior + SIGMA * scores
    logprobs = wide.log_softmax(1)[torch.arange(3), every]
    weights = logprobs.detach().sum(1).exp()
    loss = squared_distances(logprobs, targets, torch.ones(64, 3), weights)
    torch.testing.assert_close(torch.autograd.grad(loss, wide)[0], -2 * SIGMA * exact, rtol=1e-6, atol=1e-6)


def test_the_best_are_learned_again_with_the_targets_that_they_had() -> None:
    logits, prior, tokens, scores = world()
    objective = AugmentedLikelihood(replay=2, memory=3)
    first = learned(objective, rollouts_of(logits, prior, tokens, scores))
    assert first.experience.tokens.shape == (6, 3) and "generator/replay_score" not in first.metrics
    best = first.memory.best
    assert best is not None and torch.equal(best.scores, scores.sort(descending=True).values[:3])
    moved = (logits.detach() + 1.0 * torch.randn(3, 4)).requires_grad_()  # the generator; its prior stays
    second = learned(objective, rollouts_of(moved, prior, tokens.flip(0), scores * 0.1), first.memory)
    experience = second.experience
    assert experience.tokens.shape == (8, 3)
    assert experience.square_targets is not None and experience.square_weights is not None
    log_prior = prior.log_softmax(1)[torch.arange(3), experience.tokens].sum(1)
    worth = torch.cat([scores * 0.1, (experience.square_targets - log_prior)[6:] / SIGMA])
    torch.testing.assert_close(experience.square_targets, log_prior + SIGMA * worth, rtol=1e-4, atol=1e-3)
    assert set(worth[6:].mul(1e3).round().tolist()) <= set(best.scores.mul(1e3).round().tolist())
    assert experience.square_weights.tolist() == [pytest.approx(1 / 8)] * 8
    # The loss is the mean over all eight of them.
    logprobs = moved.log_softmax(1)[torch.arange(3), experience.tokens]
    expected = (experience.square_targets - logprobs.sum(1)).square().mean()
    torch.testing.assert_close(learner_loss(objective, experience.tensors(), logprobs), expected)
    assert second.metrics["generator/replay_score"] == pytest.approx(float(worth[6:].mean()), rel=1e-3)


def test_what_has_no_reward_is_neither_learned_nor_remembered() -> None:
    logits, prior, tokens, scores = world()
    scores[1] = scores[4] = math.nan
    objective = AugmentedLikelihood(replay=2, memory=100)
    found = learned(objective, rollouts_of(logits, prior, tokens, scores))
    assert found.experience.square_weights is not None and found.memory.best is not None
    assert found.experience.square_weights.tolist() == pytest.approx([0.25, 0.0, 0.25, 0.25, 0.0, 0.25])
    different = {tuple(row) for row, score in zip(tokens.tolist(), scores, strict=True) if not score.isnan()}
    assert {tuple(row) for row in found.memory.best.tokens.tolist()} == different
    assert len(found.memory.best.scores) == len(different) and bool(gradient(objective, found, logits).isfinite().all())


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12
    ),
    st.integers(1, 5),
    st.integers(0, 12),
)
def test_the_memory_is_that_of_a_loop(rows: list[tuple[int, int, float]], most: int, cut: int) -> None:
    def of(part: list[tuple[int, int, float]], first: int) -> BestSequences:
        tokens = torch.tensor([[a, b] for a, b, _ in part]).reshape(-1, 2)
        scores = torch.tensor([score for *_, score in part])
        numbered = torch.arange(first, first + len(part), dtype=torch.float32)
        return BestSequences(tokens, torch.ones(tokens.shape, dtype=torch.bool), scores, numbered)

    empty = of(rows[:0], 0)
    found = empty.with_those_of(of(rows[:cut], 0), most).with_those_of(of(rows[cut:], cut), most)
    kept: list[tuple[float, int]] = []
    for part in (range(min(cut, len(rows))), range(min(cut, len(rows)), len(rows))):
        kept = sorted([*kept, *((-rows[number][2], number) for number in part)])
        names: list[tuple[int, ...]] = []
        chosen = []
        for score, number in kept:
            if rows[number][:2] not in names and len(chosen) < most:
                names.append(rows[number][:2])
                chosen.append((score, number))
        kept = chosen
    assert [(-float(score), int(number)) for score, number in zip(found.scores, found.targets, strict=True)] == kept


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"reference": "none"}, "target_without_reference"),
    ({"reference.target": 3.0}, "target_without_reference"),
    ({"baseline": "leave_one_out"}, "target_of_advantages"),
    ({"normalisation": "whiten"}, "target_of_advantages"),
    ({"credit": "monte_carlo", "reward.filter": None}, "target_of_parts"),
    ({"schedule.teacher_forcing": "mixed_prefix"}, "target_of_prefixes"),
    ({"objective.replay": 101}, "replay_above_memory"),
    ({"generator": {"kind": "vae"}}, "replay_of_latents"),
    ({"discriminator": {"kind": "cnn_highway"}, "schedule.d_steps": 1, "reward": "logit"}, "replay_of_old_verdicts"),
    ({"credit": "monte_carlo"}, "filter_of_continuations"),
    ({"reward.normalise_terms": True}, "filter_of_terms"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_what_does_not_fit_it_is_refused(changes: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code):
        override(small("reinvent"), changes)


def test_a_run_goes_on_as_if_it_had_not_stopped() -> None:
    config = override(small("reinvent"), {"schedule.adversarial_updates": 3, "objective.replay": 3})
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        whole = Trainer(config, task, parts)
        while not whole.adversarial.num_done:
            whole.step()
        state = whole.state()
        rest = [numbers(unit) for unit in finish(whole)]
        end = whole.state()
    assert len(rest) == 2 and all("generator/replay_score" in unit for unit in rest)
    assert all(0.0 < unit["reward/filtered_share"] < 1.0 for unit in rest)
    with build_parts(config, task) as parts:
        again = Trainer(config, task, parts)
        again.restore(state)
        assert_same([numbers(unit) for unit in finish(again)], rest)
        assert_same(again.state(), end)
