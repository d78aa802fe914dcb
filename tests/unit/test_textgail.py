"""TextGAIL's parts: golden numbers, ratios of sequences, running moments, demonstrations that fade, a small run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import bradley_terry
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.weights import load_weights
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, to_dict
from rlgan.discriminators import CausalLSTM, PairLSTM, build_discriminator
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.baselines import BaselineState, RunningMoments, advantages
from rlgan.policy.credit import MonteCarlo, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import RelativeProbability
from rlgan.policy.logit_maps import Probability
from rlgan.policy.loss_terms import clipped_surrogate
from rlgan.policy.objectives import PPO
from rlgan.policy.teacher_forcing import TeacherForcingByExample
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, of_pairs, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

TASK = build_task(ToyTask())
SEQUENCE = PPO(loss_normaliser="sequence", ratio="sequence")


def test_the_reward_and_the_loss_of_a_pair_by_hand() -> None:
    real, fake = torch.tensor([1.0]), torch.tensor([0.0])
    judged = replace(rollouts(), real_logits=fake, target_logits=real)
    reward = RelativeProbability().of_sequences(judged, TASK, torch.Generator())
    assert reward.tolist() == pytest.approx([0.268941], abs=1e-6)
    loss = bradley_terry(torch.cat([real, fake]), torch.tensor([True, False]), torch.zeros(2, dtype=torch.int64))
    assert float(loss) == pytest.approx(0.313262, abs=1e-6)
    # A constant of the prompt changes neither.
    moved = replace(judged, real_logits=fake + 7.0, target_logits=real + 7.0)
    torch.testing.assert_close(RelativeProbability().of_sequences(moved, TASK, torch.Generator()), reward)


def test_a_relative_reward_needs_both_logits() -> None:
    with refused(ShapeError, "relative_needs_logits", {"reward": "relative_probability"}):
        RelativeProbability().of_sequences(rollouts(), TASK, torch.Generator())


@pytest.mark.parametrize(("change", "ratio"), [(0.1, 1.105171), (0.3, 1.349859), (-0.3, 0.740818)])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_the_ratio_of_a_sequence_is_clipped_as_one(change: float, ratio: float, advantage: float) -> None:
    # Two tokens share the change; a ratio of each alone, exp(change/2), would lie within the clip.
    old = torch.tensor([[-1.0, -2.0, 0.0]])
    new = (old + torch.tensor([[change / 2, change / 2, 9.0]])).requires_grad_()
    weights = torch.tensor([[advantage, advantage, 0.0]])
    found = SEQUENCE.surrogate(new, old, weights)
    clipped = min(max(ratio, 0.8), 1.2)
    assert float(found) == pytest.approx(-min(ratio * advantage, clipped * advantage), abs=1e-6)
    found.backward()
    is_held = ratio * advantage > clipped * advantage
    slope = 0.0 if is_held else -ratio * advantage
    torch.testing.assert_close(new.grad, torch.tensor([[slope, slope, 0.0]]))
    assert SEQUENCE.clipped(new, old, weights) == (int(is_held), 1)


def test_the_first_step_has_the_gradient_of_ratios_of_tokens() -> None:
    old, lengths = -torch.rand(4, 5), torch.tensor([1, 5, 3, 2])
    weights = (torch.tensor([1.0, -0.5, 0.25, 0.0]).unsqueeze(1) * (torch.arange(5) < lengths.unsqueeze(1))) / 4
    gradients = []
    for loss in (
        lambda new: SEQUENCE.surrogate(new, old, weights),
        lambda new: clipped_surrogate(new, old, weights, 0.2, 0.2),
    ):
        new = old.clone().requires_grad_()
        loss(new).backward()
        gradients.append(new.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def formed(rewards: list[float], state: BaselineState) -> tuple[Tensor, BaselineState]:
    # Of different lengths: a sequence counts once, however long it is.
    mask = torch.arange(3) < torch.arange(1, len(rewards) + 1).clamp_max(3).unsqueeze(1)
    values = torch.tensor(rewards).unsqueeze(1) * mask
    found = advantages(RunningMoments(), values, mask, state)
    assert torch.equal(found.advantages != 0, mask) or not bool(found.advantages.any())
    return found.advantages[:, 0], found.state


def test_running_moments_by_hand() -> None:
    # From μ = s = 0 one reward of 1: μ = s = 0.1, σ = √(0.1 - 0.01) = 0.3, (1 - 0.1)/0.3 = 3, clipped to 2.
    found, state = formed([1.0], BaselineState())
    assert found.tolist() == [2.0]
    assert (state.moving_average, state.moving_square, state.num_updates) == pytest.approx((0.1, 0.1, 1))
    # Two more, 0.81 of the old: μ = 0.081 + 0.19·0.25, s = 0.081 + 0.19·0.125.
    found, state = formed([0.5, 0.0], state)
    mean, square = 0.081 + 0.19 * 0.25, 0.081 + 0.19 * 0.125
    assert (state.moving_average, state.moving_square) == pytest.approx((mean, square))
    deviation = (square - mean**2) ** 0.5 + 1e-5
    assert found.tolist() == pytest.approx([(0.5 - mean) / deviation, -mean / deviation])


def test_rewards_that_never_differ_end_at_nothing() -> None:
    state = BaselineState()
    for _ in range(60):
        found, state = formed([0.5] * 8, state)
    assert found.abs().max() < 1e-3


@pytest.mark.parametrize(("update", "advantage"), [(0, 2.0), (25, 1.5), (100, 0.0), (140, 0.0)])
def test_demonstrations_fade(update: int, advantage: float) -> None:
    assert TeacherForcingByExample(advantage=2.0, decay_updates=100).advantage_in(update) == pytest.approx(advantage)
    assert TeacherForcingByExample().advantage_in(update) == 1.0


AXES: dict[str, Any] = {
    "reward": RelativeProbability(),
    "credit": Terminal(),
    "baseline": RunningMoments(),
    "objective": PPO(loss_normaliser="sequence", ratio="sequence", epochs=1, minibatches=2),
}
SCHEDULE = {"teacher_forcing": TeacherForcingByExample(fraction=0.25, advantage=2.0, decay_updates=2)}


def small(is_given: bool = False, **changes: Any) -> Config:
    make = of_pairs if is_given else tiny_config
    more = {"discriminator": PairLSTM(embedding=3, hidden=4, mlp_hidden=5)} if is_given else {}
    return make(SCHEDULE, **(AXES | more | changes))


@pytest.mark.parametrize("is_given", [False, True])
def test_a_small_run_learns_from_fading_demonstrations_beside_clipped_sequences(is_given: bool) -> None:
    config = small(is_given)
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        units = finish(Trainer(config, task, recorder.around(parts)))
    rows = [rows for phase, rows, _ in recorder.updates if phase == "adversarial"]
    # 6 are drawn and 2 real, at 2 then 1 of advantage over the 8 of the batch; two steps, each twice its share.
    for update, advantage in ((0, 2.0), (1, 1.0)):
        real = rows[update].weights[rows[update].weights != 0]
        torch.testing.assert_close(real, torch.full_like(real, 2 * advantage / 8))
        assert int((rows[update].weights != 0).any(1).sum()) == 2
    assert float(rows[0].clipped_weights.abs().max()) <= 2 * 2.0 / 8 + 1e-6
    assert np.isfinite(units[-1].metrics["generator/loss"]) and "generator/clipped_share" in units[-1].metrics


@pytest.mark.parametrize("is_given", [False, True])
def test_targets_are_judged_by_the_discriminator_that_judges_the_rollouts(is_given: bool) -> None:
    config, recorder = small(is_given), Recorder()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        batch = finish(Trainer(config, task, recorder.around(parts)))[-1].rollouts[0]
    shards, _, _, judge = [one for one in recorder.searches if one[3] is not None][-1]
    network = load_weights(build_discriminator(config.discriminator, task.space), judge.tensors).eval()
    targets = torch.cat([shard.targets for shard in shards])
    with torch.no_grad():
        wanted = network.scorer()(targets, sequence_mask(task.space, targets), batch.conditions)
    torch.testing.assert_close(batch.target_logits, wanted)
    real = {tuple(one) for one in task.train.tolist()}
    assert all(tuple(one) in real for one in targets.tolist())


def changed(config: Config, **changes: Any) -> Config:
    return from_dict(to_dict(config.model_copy(update=changes)))


def test_what_rewards_parts_is_refused() -> None:
    config = small()
    with refused(ConfigError, "relative_of_prefixes", {"reward": "relative_probability"}):
        changed(config, credit=MonteCarlo(num_rollouts=2), objective=PPO())
    with refused(ConfigError, "relative_of_tokens", {"reward": "relative_probability"}):
        changed(config, discriminator=CausalLSTM(embedding=3, hidden=4), credit=RewardToGo(), objective=PPO())
    with refused(ConfigError, "ratio_of_parts", {"objective.ratio": "sequence"}):
        changed(config, reward=Probability(), credit=MonteCarlo(num_rollouts=2))
    with refused(ConfigError, "ratio_of_parts", {"objective.ratio": "sequence"}):
        changed(config, reward=Probability(), credit=RewardToGo(), discriminator=CausalLSTM(embedding=3, hidden=4))
