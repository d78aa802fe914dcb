"""Preferences of a reward: which pairs, their loss by hand, gradient and optimum by enumeration, what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.config.config import Config, Workers
from rlgan.config.paths import override
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.experience import Learnable, Memory, learnable
from rlgan.policy.implicit_losses import PairHinge, PairLogistic
from rlgan.policy.kl_penalty import RewardPenalty
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.logit_maps import Logit
from rlgan.policy.metric_rewards import Mixed, ReferenceMatch
from rlgan.policy.objectives import Reinforce
from rlgan.policy.pair_objectives import Implicit, Preferences
from rlgan.policy.preferred_pairs import preferred_pairs
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, MixedTeacherForcing
from rlgan.presets.controls import control, trained_again
from rlgan.presets.registry import preset
from rlgan.runs.plan import plan_of
from rlgan.sampling.records import Rollouts
from rlgan.schedule.phases import Position
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.recipes import recipe
from tests.support.slow_preferences import slow_pairs
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence
from tests.support.tiny import Recorder, finish, numbers, of_pairs, tiny_config

TASK = build_task(ToyTask())
SEQUENCES = every_sequence(TOY_SPACE)
NAN = float("nan")


def rollouts_of(rewards: list[float], tokens: Tensor | None = None, logprobs: Tensor | None = None) -> Rollouts:
    """Sequences of two tokens whose logits are the rewards."""
    tokens = torch.tensor([[row % 3, row // 3 % 3] for row in range(len(rewards))]) if tokens is None else tokens
    return Rollouts(
        tokens=tokens,
        logprobs=-torch.ones(tokens.shape) if logprobs is None else logprobs,
        mask=torch.ones(tokens.shape, dtype=torch.bool),
        real_logits=torch.tensor(rewards),
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=tokens.numel(),
    )


def learned(rollouts: Rollouts, group: int, objective: Preferences | None = None, **axes: Any) -> Learnable:
    objective = objective or Preferences(loss=PairLogistic(scale=1.0))
    given_axes = recipe(reward=Logit(), objective=objective, group=group, **axes)
    return learnable(rollouts, given_axes, Memory(), TASK, torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------- which pairs


def test_the_best_and_the_worst_of_each_group_are_a_pair() -> None:
    found = preferred_pairs(torch.tensor([0.0, 3.0, -1.0, 5.0, 2.0, 4.0]), 3, 2)
    assert found.chosen.tolist() == [1, 3] and found.rejected.tolist() == [2, 4]
    assert found.margins.tolist() == [4.0, 3.0] and found.are_there.tolist() == [True, True]


def test_of_equal_ones_the_first_is_taken_and_of_an_equal_group_none() -> None:
    found = preferred_pairs(torch.tensor([2.0, 1.0, 2.0, 1.0, 7.0, 7.0, 7.0, 7.0]), 4, 2)
    assert (found.chosen.tolist()[0], found.rejected.tolist()[0]) == (0, 1)
    assert found.are_there.tolist() == [True, False]


def test_what_nothing_rewards_is_neither_preferred_nor_not() -> None:
    found = preferred_pairs(torch.tensor([NAN, 1.0, 0.0, NAN, 1.0, NAN, NAN, NAN, NAN]), 3, 3)
    assert (found.chosen.tolist()[0], found.rejected.tolist()[0]) == (1, 2)
    assert found.are_there.tolist() == [True, False, False]


def test_groups_are_left_out_whose_first_sequence_earns_more() -> None:
    # Drafts 3, 1, none, 2; the rest of a group does not matter.
    rewards = torch.tensor([3.0, -9.0, 1.0, 9.0, NAN, -9.0, 2.0, 0.0])
    for number, groups in ((1, [1]), (2, [1, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])):
        assert (preferred_pairs(rewards, 2, number).chosen // 2).tolist() == groups


def test_groups_must_fit() -> None:
    with refused(ShapeError, "groups_do_not_fit"):
        preferred_pairs(torch.zeros(5), 2, 1)


@given(st.data())
def test_pairs_are_those_of_a_loop(data: st.DataObject) -> None:
    group, groups = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    number = data.draw(st.integers(1, groups))
    some = st.sampled_from([-1.0, 0.0, 0.5, 2.0, NAN])
    rewards = data.draw(st.lists(some, min_size=group * groups, max_size=group * groups))
    found = preferred_pairs(torch.tensor(rewards), group, number)
    pairs = [
        (chosen, rejected) if is_there else None
        for chosen, rejected, is_there in zip(
            found.chosen.tolist(), found.rejected.tolist(), found.are_there.tolist(), strict=True
        )
    ]
    assert pairs == slow_pairs(rewards, group, number)


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0]), min_size=6, max_size=6), st.floats(0.1, 5.0))
def test_only_the_order_within_a_group_counts(rewards: list[float], factor: float) -> None:
    before = preferred_pairs(torch.tensor(rewards), 3, 2)
    # Another increasing function of them, and another constant for each group.
    moved = torch.tensor([math.atan(factor * one) + 7.0 * (row // 3) for row, one in enumerate(rewards)])
    after = preferred_pairs(moved, 3, 2)
    for name in ("chosen", "rejected", "are_there"):
        assert torch.equal(getattr(before, name), getattr(after, name))


# ------------------------------------------------------------------------------------------------- what is learned


def test_the_loss_by_hand() -> None:
    rollouts = rollouts_of([0.0, 2.0, 1.0, 5.0, 5.0, 5.0, 4.0, 3.0, 2.0])
    rollouts = replace(rollouts, logprobs=-torch.arange(1.0, 19.0).view(9, 2))
    found = learned(rollouts, 3)
    rows = found.experience
    assert torch.equal(rows.tokens, rollouts.tokens[[1, 3, 6]]) and rows.rivals is not None
    assert torch.equal(rows.rivals, rollouts.tokens[[0, 3, 8]])
    assert rows.pair_weights is not None and rows.pair_weights.tolist() == [0.5, 0.0, 0.5]
    assert not bool(rows.weights.any())
    assert found.metrics["generator/num_pairs"] == 2.0
    assert found.metrics["generator/pair_margin"] == 2.0
    # Chosen ones 2 and 1 nats likelier than they were, rejected ones 1 nat less likely and 3 likelier: margins of
    # u are 2 - (-1) = 3 and 1 - 3 = -2. ln(1 + e^-3) = .048587, ln(1 + e^2) = 2.126928, mean 1.087758.
    old, rival_old = rows.old_logprobs, rows.rival_old_logprobs
    assert old is not None and rival_old is not None
    logprobs = old + torch.tensor([[1.0, 1.0], [9.0, 9.0], [0.5, 0.5]])
    rivals = rival_old + torch.tensor([[-0.5, -0.5], [-7.0, 1.0], [1.5, 1.5]])
    objective = Preferences(loss=PairLogistic(scale=1.0))
    loss = learner_loss(objective, rows.tensors(), logprobs, rival_logprobs=rivals)
    assert float(loss) == pytest.approx(1.087758, abs=1e-6)
    # With β = ½ margins 1.5 and -1: .201413 and 1.313262.
    halved = learner_loss(Preferences(loss=PairLogistic(scale=0.5)), rows.tensors(), logprobs, rival_logprobs=rivals)
    assert float(halved) == pytest.approx((0.201413 + 1.313262) / 2, abs=1e-6)
    # Of the hinge 1 - 3 is nothing, 1 + 2 is 3.
    hinge = learner_loss(Preferences(loss=PairHinge(scale=1.0)), rows.tensors(), logprobs, rival_logprobs=rivals)
    assert float(hinge) == pytest.approx(1.5)


def test_the_share_of_groups_leaves_rows_out() -> None:
    rewards = [3.0, 1.0, 0.0, 1.0, 2.0, 7.0, 1.0, 5.0]
    whole, half = (learned(rollouts_of(rewards), 2, Preferences(share=share)) for share in (1.0, 0.5))
    assert len(whole.experience.tokens) == 4 and len(half.experience.tokens) == 2
    assert torch.equal(half.experience.tokens, whole.experience.tokens[[1, 3]])  # drafts 0 and 1, not 3 and 2
    assert whole.experience.pair_weights is not None and half.experience.pair_weights is not None
    assert whole.experience.pair_weights.tolist() == [0.25] * 4 and half.experience.pair_weights.tolist() == [0.5] * 2
    assert half.metrics["generator/num_pairs"] == 2.0


def test_of_equal_rewards_nothing_is_learned() -> None:
    found = learned(rollouts_of([1.0] * 6), 3)
    assert found.metrics["generator/num_pairs"] == 0.0 and "generator/pair_margin" not in found.metrics
    rows = found.experience
    assert rows.old_logprobs is not None and rows.rival_old_logprobs is not None
    logprobs, rivals = rows.old_logprobs.clone().requires_grad_(), rows.rival_old_logprobs.clone().requires_grad_()
    loss = learner_loss(Preferences(), rows.tensors(), logprobs, rival_logprobs=rivals)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(one.grad is not None and not bool(one.grad.any()) for one in (logprobs, rivals))


def test_tokens_behind_an_end_do_not_count() -> None:
    rollouts = rollouts_of([0.0, 1.0])
    mask = torch.tensor([[True, False], [True, True]])
    rows = learned(replace(rollouts, mask=mask, logprobs=torch.tensor([[-1.0, NAN], [-1.0, -2.0]])), 2).experience
    assert rows.rival_mask is not None and rows.rival_mask.tolist() == [[1.0, 0.0]]
    assert rows.rival_old_logprobs is not None and rows.rival_old_logprobs.tolist() == [[-1.0, 0.0]]
    rivals = torch.tensor([[-1.0, math.inf]])
    assert rows.old_logprobs is not None
    loss = learner_loss(Preferences(), rows.tensors(), rows.old_logprobs, rival_logprobs=rivals)
    assert float(loss) == pytest.approx(math.log(2))


def test_a_penalty_in_the_reward_changes_what_is_preferred() -> None:
    # Rewards 1 and 2, log-ratios to the reference 0 and 3, β = ½: 1 and 2 - 1.5 = .5.
    rollouts = rollouts_of([1.0, 2.0])
    near = replace(rollouts, reference_logprobs=torch.tensor([[-1.0, -1.0], [-2.5, -2.5]]))
    free, held = (
        learned(one, 2, **axes).experience.tokens.tolist()
        for one, axes in ((rollouts, {}), (near, {"reference": RewardPenalty(weight=0.5)}))
    )
    assert free == [rollouts.tokens[1].tolist()] and held == [rollouts.tokens[0].tolist()]


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_expected_first_gradient_is_that_of_winning_less_losing(scale: float) -> None:
    # All 81 pairs of two answers of the policy, weighed by their probability. At π = π_t each pair has the gradient
    # -β/2·(∇log π(y⁺) - ∇log π(y⁻)), so together they are REINFORCE with β·(P(others earn less) - P(they earn more)).
    policy = TabularGenerator.toy(torch.float64)
    probs = policy.logprobs(SEQUENCES).sum(1).exp().detach()
    rewards = torch.randn(9, generator=torch.Generator().manual_seed(1)).double()
    rewards[4] = rewards[2]  # two that are worth the same
    objective = Preferences(loss=PairLogistic(scale=scale))
    found = torch.zeros_like(policy.table)
    for first, second in itertools.product(range(9), repeat=2):
        tokens = SEQUENCES[[first, second]]
        old = policy.logprobs(tokens).detach()
        rows = learned(rollouts_of(rewards[[first, second]].tolist(), tokens, old), 2, objective).experience
        assert rows.rivals is not None
        own, rivals = policy.logprobs(rows.tokens), policy.logprobs(rows.rivals)
        loss = learner_loss(objective, rows.tensors(), own, rival_logprobs=rivals)
        found += probs[first] * probs[second] * torch.autograd.grad(loss, policy.table)[0]
    order = (rewards.unsqueeze(1) > rewards).double() - (rewards.unsqueeze(1) < rewards).double()
    wins = (order * probs).sum(1)
    exact = torch.autograd.grad(-scale * (probs * wins * policy.logprobs(SEQUENCES).sum(1)).sum(), policy.table)[0]
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)
    assert float(exact.abs().max()) > 0.01


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_optimum_of_uncertain_preferences_is_the_tilted_policy(scale: float) -> None:
    # Where y is preferred to y' with probability σ(r - r'), all pairs of π_t together are least at π ∝ π_t·exp(r/β)
    # (Rafailov et al. 2023). Rewards that are certain have no optimum: the margin grows without end.
    p_t, r = torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), torch.tensor([1.0, -0.5, 0.3, 0.0]).double()
    logits = p_t.log().clone().requires_grad_()
    objective = Preferences(loss=PairLogistic(scale=scale))
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, tolerance_change=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        u = logits.log_softmax(0) - p_t.log()
        pairs = objective.pair_losses(u.unsqueeze(1).expand(4, 4), u.expand(4, 4))
        loss = (p_t.unsqueeze(1) * p_t * torch.sigmoid(r.unsqueeze(1) - r) * pairs).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    wanted = p_t * (r / scale).exp()
    torch.testing.assert_close(logits.detach().softmax(0), wanted / wanted.sum(), rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------------------- in a run


AXES: dict[str, Any] = {
    "reward": Logit(),
    "credit": Terminal(),
    "objective": Preferences(loss=PairLogistic(scale=1.0), epochs=2, minibatches=2),
}


def preferring(schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    return tiny_config({"g_batch": 16, "g_group": 4} | (schedule or {}), **(AXES | changes))


def trained(config: Config) -> tuple[Trainer, Recorder, list[Any]]:
    recorder = Recorder()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        units = finish(trainer)
        trainer.release()
    return trainer, recorder, units


@pytest.mark.parametrize("is_given", [False, True])
def test_an_update_learns_from_two_answers_to_the_same(is_given: bool) -> None:
    config = preferring({"adversarial_updates": 1})
    if is_given:
        config = of_pairs({"adversarial_updates": 1, "g_batch": 16, "g_group": 4}, **AXES)
    trainer, recorder, units = trained(config)
    (_, rows, size) = next(one for one in recorder.updates if one[0] == "adversarial")
    assert (len(rows.tokens), size) == (8, 2)  # 2 passes of 2 steps over 4 pairs
    assert trainer.mle_start is not None and (rows.conditions is not None) == is_given
    opponent = trainer.generator_from(trainer.mle_start)
    for tokens, mask, logprobs in (
        (rows.tokens, rows.pair_mask, rows.old_logprobs),
        (rows.rivals, rows.rival_mask, rows.rival_old_logprobs),
    ):
        with torch.no_grad():
            exact = opponent.conditional(rows.conditions).logprobs(tokens) * mask
        torch.testing.assert_close(logprobs, exact, rtol=0, atol=1e-5)
    metrics = units[-1].metrics
    assert metrics["rollouts/logprob_gap_max"] < 1e-4
    # Weights are those of each step: of all pairs of a pass, times the steps.
    assert float(rows.pair_weights.sum()) == pytest.approx(2 * 2)
    assert 1.0 <= metrics["generator/num_pairs"] <= 4.0 and metrics["generator/pair_margin"] > 0.0
    names = {"generator/chosen_log_ratio", "generator/rejected_log_ratio", "generator/pair_accuracy"}
    assert names <= metrics.keys() and "generator/real_log_ratio" not in metrics


def test_passes_over_pairs_part_both_sides() -> None:
    objective = Preferences(loss=PairLogistic(scale=1.0), epochs=8, minibatches=1)
    _, _, units = trained(preferring({"adversarial_updates": 1, "g_batch": 32}, objective=objective))
    metrics = units[-1].metrics
    assert metrics["generator/chosen_log_ratio"] > metrics["generator/rejected_log_ratio"]
    assert metrics["generator/pair_accuracy"] > 0.6


def test_updates_without_a_pair_change_nothing() -> None:
    config = preferring({"discriminator_rounds": 0, "d_steps": 0}, discriminator=None, reward=ConstantReward(value=0.5))
    trainer, recorder, units = trained(config)
    start, end = trainer.mle_start, trainer.current_weights()
    assert start is not None and all(np.array_equal(start[name], end[name]) for name in start)
    assert len([one for one in recorder.updates if one[0] == "adversarial"]) == 2
    metrics = units[-1].metrics
    assert metrics["generator/num_pairs"] == 0.0 and metrics["reward/equal_share"] == 1.0
    assert metrics["generator/loss"] == 0.0 and "generator/pair_accuracy" not in metrics


@pytest.mark.heavy
def test_the_preferred_become_likelier_and_random_preferences_teach_nothing() -> None:
    """The reward of a text of numbers is its length, so more tokens that are written with two digits are better."""

    def gain(reward: Any) -> float:
        config = override(
            preferring(
                {"discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 12, "g_batch": 64},
                discriminator=None,
                reward=ConstantReward(),
            ),
            {"reward": reward},
        )
        trainer, _, _ = trained(config)
        task = build_task(config.task)
        assert trainer.mle_start is not None
        long = []
        for weights in (trainer.mle_start, trainer.current_weights()):
            with torch.no_grad():
                first = trainer.generator_from(weights).logprobs(torch.arange(20).unsqueeze(1).expand(20, 6))[:, 0]
            wide = torch.tensor([len(name) for name in task.token_names]).float()
            long.append(float((first.exp() * wide).sum()))
        return long[1] - long[0]

    rewarded = gain({"kind": "plugin", "functions": ["tests.support.plugins:length_share"], "map": None})
    assert rewarded > 0.05 and abs(gain({"kind": "random"})) < rewarded / 2


@pytest.mark.parametrize("forcing", [MixedTeacherForcing(), InterleavedTeacherForcing()], ids=lambda one: one.kind)
def test_likelihood_may_be_learned_beside_it(forcing: Any) -> None:
    _, _, units = trained(preferring({"teacher_forcing": forcing}))
    assert all(np.isfinite(unit.metrics["generator/loss"]) for unit in units[-2:])


def test_batches_in_parts_have_the_gradient_of_the_whole() -> None:
    whole = preferring({"adversarial_updates": 1})
    parts = whole.model_copy(update={"workers": Workers(**{**whole.workers.model_dump(), "tokens_at_once": 25})})
    (first, _, _), (second, _, units) = (trained(one) for one in (whole, parts))
    for name, tensor in first.current_weights().items():
        np.testing.assert_allclose(second.current_weights()[name], tensor, atol=2e-6)
    assert "generator/pair_accuracy" in units[-1].metrics


def test_a_run_goes_on_as_if_it_had_not_stopped() -> None:
    config = override(preferring({"adversarial_updates": 3}), {"objective.share": 0.5, "objective.minibatches": 1})
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        whole = Trainer(config, task, parts)
        while not whole.adversarial.num_done:
            whole.step()
        state = whole.state()
        rest = [numbers(unit) for unit in finish(whole)]
        end = whole.current_weights()
    with build_parts(config, task) as parts:
        again = Trainer(config, task, parts)
        again.restore(state)
        assert [numbers(unit) for unit in finish(again)] == rest and len(rest) == 2
        assert all(np.array_equal(one, end[name]) for name, one in again.current_weights().items())


# ------------------------------------------------------------------------------------------------- controls, rules


def test_controls_of_preferences_learn_from_what_they_say() -> None:
    config = preferring()
    # Equal rewards prefer nothing: the control imitates itself, as that of every other run.
    constant = control(config, "constant_reward")
    assert constant.objective == Reinforce(loss_normaliser="sequence") and constant.schedule.g_group is None
    for name, kind in (("random_reward", "random"), ("length_reward", "length")):
        varied = control(config, name)  # type: ignore[arg-type]
        assert varied.reward.kind == kind and varied.objective == config.objective and varied.schedule.g_group == 4
        assert varied.baseline.kind == "none" and varied.discriminator is None
    assert control(config, "mle_continued").objective.kind == "none"
    assert control(config, "frozen_discriminator").objective == config.objective
    assert control(config, "shuffled_discriminator").adversary.verdicts == "shuffled"
    assert trained_again(config.model_copy(update={"controls": ("mle_continued", "random_reward")})) == "random_reward"


def test_a_control_takes_nothing_off_where_the_reward_of_the_run_compares() -> None:
    reward = Mixed(map=Logit(), metric=ReferenceMatch(), weight=0.5, normalise_terms=True)
    config = of_pairs({"g_batch": 16, "g_group": 4}, **(AXES | {"reward": reward}))
    assert control(config, "random_reward").baseline.kind == "none"


def test_random_preferences_are_pairs_of_all_groups_that_are_learned() -> None:
    _, _, units = trained(control(preferring(), "random_reward"))
    assert units[-1].metrics["generator/num_pairs"] == 4.0


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"credit": "monte_carlo"}, "preferences_of_parts"),
    ({"credit": "prefix"}, "preferences_of_parts"),
    ({"credit": "lambda_return", "baseline": "critic"}, "preferences_of_parts"),
    ({"baseline": "group_mean"}, "preferences_of_advantages"),
    ({"normalisation": "whiten"}, "preferences_of_advantages"),
    ({"reference": "loss"}, "preferences_beside_a_penalty"),
    ({"schedule.g_group": None}, "preferences_of_no_group"),
    ({"schedule.teacher_forcing": "mixed_prefix"}, "preferences_of_prefixes"),
    ({"schedule.teacher_forcing": "by_example"}, "preferences_beside_examples"),
    ({"generator": {"kind": "vae"}}, "preferences_of_latents"),
    ({"objective.epochs": 1, "objective.minibatches": 1}, "preferences_in_one_step"),
    ({"objective.share": 0.1}, "share_of_groups"),
    ({"objective.share": 0.9}, "share_of_groups"),
    ({"schedule.behaviour": "cold_mixture"}, "behaviour_of_pairs"),
    ({"objective.minibatches": 3}, "minibatches_do_not_divide"),
    ({"objective.share": 0.5, "objective.minibatches": 4}, "minibatches_do_not_divide"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_what_does_not_fit_it_is_refused(changes: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code):
        override(preferring(), changes)


def test_constants_of_each_prompt_cancel_within_a_group_and_not_between_prompts() -> None:
    config = of_pairs({"g_batch": 16, "g_group": 4}, **AXES)
    changes = {"adversary.loss": "bradley_terry", "adversary.batch": 20}
    assert override(config, changes).objective.share == 1.0
    with refused(ConfigError, "share_across_prompts", {"objective.share": 0.5}):
        override(config, changes | {"objective.share": 0.5, "objective.minibatches": 1})
    compared = changes | {"objective.share": 0.5, "objective.minibatches": 1, "reward": "relative_probability"}
    assert override(config, compared).reward.kind == "relative_probability"
    # A critic without an origin: no baseline is needed, for nothing but the order counts.
    critic = {"adversary.loss": "wasserstein", "adversary.weight_clip": 0.1}
    assert override(preferring(), critic).baseline.kind == "none"
    with refused(ConfigError, "reward_without_origin"):
        override(preferring(objective=Reinforce(), schedule={"g_group": None}), critic)


def test_what_is_found_by_a_search_is_not_drawn() -> None:
    with refused(ConfigError, "beams_are_no_samples", {"schedule.behaviour": "beams"}):
        override(of_pairs({"g_batch": 16, "g_group": 4}, **AXES), {"schedule.behaviour": "beams"})


def test_the_work_of_an_update_counts_pairs_and_passes() -> None:
    assert preset("dial_dpo").objective.num_rows(512, 8) == 16 and Implicit().num_rows(16, 2) == 16
    objective = Preferences(share=0.5, epochs=3, minibatches=1)
    config = preferring(
        {"discriminator_rounds": 0, "d_steps": 0}, objective=objective, discriminator=None, reward=ConstantReward()
    )
    # 16 drawn at half a sequence's work each; of 4 groups 2 pairs of two sequences, three times.
    work = plan_of(config, build_task(config.task), Position())._items["adversarial"].work
    assert work == pytest.approx(16 * 0.5 + 3 * 2 * 2)
