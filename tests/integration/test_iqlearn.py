"""IQLearn: the worked numbers, likelihood where λ is 0, and small runs of own networks and of a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.base.errors import DataError, ShapeError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, CausalLM, build_generator
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.loss_terms import implied_rewards, likelihood_weights
from rlgan.policy.objectives import InverseSoftQ, Reinforce
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, MixedPrefix, MixedTeacherForcing
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.integration.test_rollout_temperature import outcome
from tests.support.errors import refused
from tests.support.on_ray import assert_same
from tests.support.tabular import TabularGenerator
from tests.support.tiny import Recorder, finish, of_pairs, tiny_config

pytestmark = pytest.mark.integration

AXES: dict[str, Any] = {"discriminator": None, "reward": ConstantReward(), "credit": Terminal()}
NONE = {"discriminator_rounds": 0, "d_steps": 0}


def learning(schedule: dict[str, Any] | None = None, build: Any = tiny_config, **changes: Any) -> Config:
    config: Config = build(NONE | (schedule or {}), **(AXES | {"objective": InverseSoftQ()} | changes))
    return config


# Q₁ = [1, 0], taken 0; then Q₂ = [0, 2], taken 1. The row of the second token given the other first one is not read.
WORKED = TabularGenerator(SequenceSpace(2, 2), torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, -9.0]]))
TAKEN = torch.tensor([[0, 1]])


def loss_of(
    policy: Any, tokens: Tensor, mask: Tensor, objective: InverseSoftQ, weights: Tensor | None = None
) -> Tensor:
    weights = likelihood_weights(mask) if weights is None else weights
    logprobs, values = policy.logprobs_and_values(tokens)
    return learner_loss(objective, objective.terms_of_reals(weights), logprobs, state_values=values)


def test_the_worked_numbers() -> None:
    logprobs, values = WORKED.logprobs_and_values(TAKEN)
    assert values.tolist()[0] == pytest.approx([1.313262, 2.126928], abs=1e-6)
    assert logprobs.tolist()[0] == pytest.approx([-0.313262, -0.126928], abs=1e-6)
    mask = torch.ones(1, 2, dtype=torch.bool)
    # r₁ = 1 - 2.126928; behind the end v is 0, so r₂ = 2.
    assert implied_rewards(logprobs, values, mask, 1.0).tolist()[0] == pytest.approx([-1.126928, 2.0], abs=1e-6)
    assert float(loss_of(WORKED, TAKEN, mask, InverseSoftQ(weight=0.1)).detach()) == pytest.approx(0.483593, abs=1e-6)
    ones = torch.ones(1, 2)
    assert float(loss_of(WORKED, TAKEN, mask, InverseSoftQ(weight=0.1), ones)) == pytest.approx(0.967186, abs=1e-6)
    assert float(loss_of(WORKED, TAKEN, mask, InverseSoftQ(weight=0.0), ones)) == pytest.approx(0.440190, abs=1e-6)
    # γ = 0: r is the logit of the token, 1 and 2.
    assert implied_rewards(logprobs, values, mask, 0.0).tolist()[0] == pytest.approx([1.0, 2.0], abs=1e-6)


def test_a_constant_of_all_logits_changes_the_loss_and_not_the_likelihood() -> None:
    moved = TabularGenerator(SequenceSpace(2, 2), WORKED.table.detach() + 3.0)
    mask = torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(moved.logprobs(TAKEN), WORKED.logprobs(TAKEN))
    # r₁ stays, for it is a difference of both steps; r₂ = 5.
    logprobs, values = moved.logprobs_and_values(TAKEN)
    assert implied_rewards(logprobs, values, mask, 1.0).tolist()[0] == pytest.approx([-1.126928, 5.0], abs=1e-5)
    assert float(loss_of(moved, TAKEN, mask, InverseSoftQ()) - loss_of(WORKED, TAKEN, mask, InverseSoftQ())) > 1.0


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_the_loss_is_that_of_a_loop_whatever_pads_a_sequence(gamma: float) -> None:
    space = SequenceSpace(5, 6, end_id=2)
    torch.manual_seed(0)
    policy = build_generator(LSTM(embedding=4, hidden=6), space).double()
    tokens = torch.tensor([[1, 3, 2, 0, 0, 0], [4, 4, 4, 4, 4, 4], [2, 0, 0, 0, 0, 0]])
    mask = sequence_mask(space, tokens)
    logits = policy.logits(tokens)
    total = torch.zeros((), dtype=torch.float64)
    for row, length in ((0, 3), (1, 6), (2, 1)):
        for step in range(length):
            value = torch.logsumexp(logits[row, step], 0)
            action = logits[row, step, tokens[row, step]]
            later = torch.logsumexp(logits[row, step + 1], 0) if step + 1 < length else 0.0
            total = total + 0.3 * (action - gamma * later) ** 2 - (action - value)
    for padding in (0, 3):
        padded = torch.where(mask, tokens, padding)
        found = loss_of(policy, padded, mask, InverseSoftQ(weight=0.3, gamma=gamma))
        torch.testing.assert_close(found, total / 10)
    parameters = list(policy.parameters())
    expected = torch.autograd.grad(total / 10, parameters, allow_unused=True)
    for one, other in zip(torch.autograd.grad(found, parameters, allow_unused=True), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_without_weight_it_is_likelihood_exactly() -> None:
    real = learning(objective=InverseSoftQ(weight=0.0))
    task, recorder = build_task(real.task), Recorder()
    with build_parts(real, task) as parts:
        finish(Trainer(real, task, recorder.around(parts)))
    _, rows, size = next(one for one in recorder.updates if one[0] == "adversarial")
    assert rows.tensors().keys() == {"tokens", "weights"} and size == len(rows.tokens) == 8
    assert torch.equal(rows.weights, likelihood_weights(sequence_mask(task.space, rows.tokens)))
    known = {tuple(one) for one in task.train.tolist()}
    assert len({tuple(one) for one in rows.tokens.tolist()} & known) == 8


@pytest.mark.parametrize("build", [tiny_config, of_pairs])
def test_a_run_goes_through_is_resumed_and_learns_in_parts(build: Any) -> None:
    config = learning(build=build)
    metrics, state = outcome(config)
    assert np.isfinite(metrics[-1]["generator/implied_reward"])
    resumed = outcome(config, stop_after=3)
    assert_same(resumed[0], metrics)
    assert_same(resumed[1], state)
    in_parts, _ = outcome(override(config, {"workers.tokens_at_once": 20}))
    for name in ("generator/loss", "generator/grad_norm", "generator/implied_reward"):
        assert in_parts[-1][name] == pytest.approx(metrics[-1][name], rel=1e-4)


def test_a_language_model_learns_by_it() -> None:
    weights = FreshWeights(width=8, layers=1, heads=2)
    metrics, _ = outcome(learning(build=of_pairs, generator=CausalLM(weights=weights)))
    assert metrics[-1]["generator/implied_reward"] != 0.0
    assert preset("iqlearn").objective == InverseSoftQ(weight=0.1, gamma=1.0)


@pytest.mark.ray
@pytest.mark.slow
def test_learners_and_workers_give_the_same_run(ray_session: None) -> None:
    config = learning()
    metrics, state = outcome(config)
    of_workers, state_of_workers = outcome(override(config, {"workers.rollout": 2}))
    assert_same(of_workers, metrics)
    assert_same(state_of_workers, state)
    of_learners, _ = outcome(override(config, {"workers.learners": 2}))
    for name in ("generator/loss", "generator/implied_reward"):
        assert of_learners[-1][name] == pytest.approx(metrics[-1][name], rel=1e-4)


@pytest.mark.parametrize(
    "forcing", [MixedTeacherForcing(), InterleavedTeacherForcing(), MixedPrefix(start=2, decrement=1, block=1)]
)
def test_likelihood_beside_it_and_too_little_data_are_refused(forcing: Any) -> None:
    config = learning()
    schedule = config.schedule.model_copy(update={"teacher_forcing": forcing})
    problems = [one.code for one in config.model_copy(update={"schedule": schedule}).problems()]
    assert "likelihood_beside_likelihood" in problems
    large = learning({"g_batch": 71})
    with (
        refused(DataError, "too_few_to_demonstrate", {"schedule.g_batch": 71, "objective": "inverse_soft_q"}),
        build_parts(large, task := build_task(large.task)) as parts,
    ):
        Trainer(large, task, parts)


def test_no_other_objective_implies_rewards() -> None:
    with refused(ShapeError, "objective_implies_nothing"):
        Reinforce().implied_rewards(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))


def test_its_control_is_likelihood_in_batches_as_large() -> None:
    other = control(preset("iqlearn"), "mle_continued")
    assert other.objective.kind == "none" and other.schedule.mle_batch == preset("iqlearn").schedule.g_batch
