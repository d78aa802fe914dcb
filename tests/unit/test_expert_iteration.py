"""Generative cooperative networks: the exact table, weights that are shares, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.config.paths import from_dict, to_dict
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.advantage_scaling import NoScaling, SelfNormalised, normalised
from rlgan.policy.baselines import GroupMean
from rlgan.policy.credit import Terminal
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.kl_penalty import RewardPenalty
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.logit_maps import Logit, Probability
from rlgan.policy.objectives import WeightedLikelihood
from rlgan.policy.rewards import RewardSettings
from rlgan.sampling.records import Experience, Rollouts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.recipes import recipe
from tests.support.tiny import finish, tiny_config
from tests.unit.test_declarations import variants

ITERATED = {"normalisation": SelfNormalised(), "objective": WeightedLikelihood()}
TASK = build_task(ToyTask())


def rollouts(tokens: Tensor, logits: Tensor, lengths: Tensor | None = None) -> Rollouts:
    mask = torch.ones_like(tokens, dtype=torch.bool)
    if lengths is not None:
        mask = torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)
    return Rollouts(
        tokens=tokens,
        logprobs=-torch.ones(tokens.shape).masked_fill(~mask, 0.0),
        mask=mask,
        real_logits=logits,
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
    )


def experience(batch: Rollouts, group: int | None = None) -> Experience:
    settings = recipe(reward=Probability(), group=group, **ITERATED)
    return learnable(batch, settings, Memory(), TASK, torch.Generator()).experience


def test_the_exact_table_of_two_symbols() -> None:
    # p_d = (.8, .2), p_0 = (.5, .5); D = p_d/(p_d + p_{t-1}); p_t = argmin KL(q‖p), q ∝ p_{t-1}·D.
    p_d, p = torch.tensor([0.8, 0.2]).double(), torch.tensor([0.5, 0.5]).double()
    table = [(0.682927, 0.317073), (0.750253, 0.249747), (0.777086, 0.222914), (0.788998, 0.211002)]
    number = 400_000
    for wanted in table:
        judge = p_d / (p_d + p)
        if wanted == table[0]:
            assert judge.tolist() == pytest.approx([0.615385, 0.285714], abs=1e-6)
        # As many of each symbol as the generator draws on average: its distribution, to 1 in 400,000.
        tokens = (torch.arange(number) >= int(torch.round(p[0] * number))).long().unsqueeze(1)
        weights = experience(rollouts(tokens, torch.logit(judge)[tokens.squeeze(1)].float())).weights.squeeze(1)
        # Of a table of probabilities Σ w·log p is greatest where they are the shares of w.
        p = torch.stack([weights[tokens.squeeze(1) == symbol].double().sum() for symbol in (0, 1)])
        assert float(p.sum()) == pytest.approx(1.0, abs=1e-5)
        assert p.tolist() == pytest.approx(wanted, abs=1e-5)


def test_the_data_s_own_distribution_stays() -> None:
    # There D is ½ of every sequence, and all weigh alike.
    weights = experience(rollouts(torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5))).weights
    assert weights.tolist() == [pytest.approx([1 / 5])] * 5


def test_weights_of_a_group_are_shares_whatever_the_lengths() -> None:
    logits, lengths = torch.tensor([0.3, -1.2, 2.0, 0.1, 0.4, -3.0]), torch.tensor([1, 3, 2, 2, 3, 1])
    batch = rollouts(torch.zeros(6, 3, dtype=torch.int64), logits, lengths)
    weights = experience(batch, group=3).weights
    assert torch.equal(weights != 0, batch.mask)
    for rows in (slice(0, 3), slice(3, 6)):
        shares = torch.sigmoid(logits[rows]) / torch.sigmoid(logits[rows]).mean() / 6
        torch.testing.assert_close(weights[rows, 0], shares)
        torch.testing.assert_close(weights[rows], shares.unsqueeze(1) * batch.mask[rows])


def test_a_group_that_is_worth_nothing_teaches_nothing() -> None:
    settings = recipe(reward=Probability(), group=2, **ITERATED)
    batch = rollouts(torch.zeros(4, 1, dtype=torch.int64), torch.tensor([-200.0, -200.0, 1.0, 0.0]))
    weights = learnable(batch, settings, Memory(), TASK, torch.Generator()).experience.weights.squeeze(1)
    assert weights[:2].tolist() == [0.0, 0.0] and float(weights[2:].sum()) == pytest.approx(0.5)


def test_later_steps_do_not_ask_who_drew_the_tokens() -> None:
    # The loss is linear in log p: its gradient is the weight, wherever the policy has moved.
    batch = rollouts(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([0.0, 1.0]))
    rows = experience(batch)
    for logprob in (-1.0, -0.1, -5.0):
        logprobs = torch.full((2, 1), logprob, requires_grad=True)
        learner_loss(WeightedLikelihood(), rows.tensors(), logprobs).backward()
        torch.testing.assert_close(logprobs.grad, -rows.weights)
    assert rows.clipped_weights is None


def test_a_small_run_goes_through() -> None:
    config = iterated()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        units = finish(trainer)
        start, end = trainer.mle_start, trainer.current_weights()
    assert any(not np.array_equal(start[name], end[name]) for name in start)
    # A weight has mean 1 over its group.
    assert units[-1].metrics["generator/advantage_mean"] == pytest.approx(1.0, abs=1e-5)


def iterated(**changes: Any) -> Any:
    config = tiny_config(credit=Terminal())
    axes = ITERATED | {"schedule": config.schedule.model_copy(update={"g_group": 4})} | changes
    return from_dict(to_dict(config.model_copy(update=axes)))


def test_weights_that_may_be_negative_are_refused() -> None:
    iterated()
    with refused(ConfigError, "weights_below_zero", {"normalisation": "self_normalised"}):
        iterated(reward=Logit(), objective=tiny_config().objective)
    with refused(ConfigError, "likelihood_below_zero", {"objective": "weighted_likelihood"}):
        iterated(baseline=GroupMean())
    with refused(ConfigError, "likelihood_below_zero", {"objective": "weighted_likelihood"}):
        group = {"g_group": None}
        schedule = tiny_config().schedule.model_copy(update=group)
        iterated(reward=Logit(), normalisation=NoScaling(), schedule=schedule)
    with refused(ConfigError, "weights_less_a_penalty", {"reference": "reward"}):
        iterated(reference=RewardPenalty(weight=0.1))
    with refused(ConfigError, "nothing_is_repeated", {"objective.epochs": 1, "objective.minibatches": 1}):
        iterated(objective=WeightedLikelihood(epochs=1, minibatches=1))


def test_a_sequence_without_a_reward_counts_in_no_mean() -> None:
    settings = SelfNormalised()
    values = torch.tensor([[1.0], [float("nan")], [3.0]])
    there = ~values.isnan()
    found, _ = normalised(settings, values.nan_to_num(), values, there)
    assert found.squeeze(1).tolist() == [0.5, 0.0, 1.5]


def test_rewards_that_say_they_are_positive_are() -> None:
    logits = torch.linspace(-30, 30, 601)

    for reward in variants(RewardSettings):
        if reward.is_elementwise:
            assert bool((reward.of_logits(logits) >= 0).all()) is reward.is_positive, reward.kind
