"""A policy at another temperature than 1: what is drawn, compared and learned is of one and the same distribution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import PrefixCrossEntropy
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.weights import weights_of
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.generators import LSTM, Draw, build_generator
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.kl_penalty import LossPenalty
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.objectives import PPO, Gumbel, NoPolicyGradient, Reinforce
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, MixedPrefix, MixedTeacherForcing
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling.sampler import sampler_of
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.rollout import RolloutWorker
from tests.support.on_ray import assert_same, config_of
from tests.support.steppers import collect
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence
from tests.support.tiny import finish, numbers, tiny_config

pytestmark = pytest.mark.integration

CONTROLS: tuple[Any, ...] = ("mle_continued", "oracle_ratio", "constant_reward", "random_reward")
SEQUENCES = every_sequence(TOY_SPACE)
REWARDS = torch.linspace(-1.0, 2.0, 9, dtype=torch.float64)[
    torch.randperm(9, generator=torch.Generator().manual_seed(1))
]


def tempered(policy: TabularGenerator, temperature: float) -> Tensor:
    """Probabilities of all sequences of a table whose logits are divided by hand."""
    return TabularGenerator(TOY_SPACE, policy.table / temperature).logprobs(SEQUENCES).sum(1).exp().detach()


# -------------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.7])
def test_the_expected_update_is_the_gradient_of_what_the_policy_that_draws_earns(temperature: float) -> None:
    policy = TabularGenerator.toy(torch.float64)
    probs = policy.logprobs(SEQUENCES, temperature).sum(1).exp()
    torch.testing.assert_close(probs.detach(), tempered(policy, temperature))
    (exact,) = torch.autograd.grad((probs * REWARDS).sum(), policy.table)

    def expected(of: float) -> Tensor:
        # Σ_y π(y) · gradient of the loss on y, weights as the driver forms them of each sequence's reward.
        weights = (probs.detach() * REWARDS).unsqueeze(1).expand(9, 2)
        loss = learner_loss(Reinforce(), {"weights": weights}, policy.logprobs(SEQUENCES, of), None)
        (found,) = torch.autograd.grad(-loss, policy.table)
        return found

    torch.testing.assert_close(expected(temperature), exact, atol=1e-12, rtol=0)
    assert float((expected(1.0) - exact).abs().max()) > 1e-2  # of another policy than the one that drew


def test_entropies_are_those_of_the_policy_that_draws() -> None:
    policy = TabularGenerator.toy(torch.float64)
    probs = torch.softmax(policy.logits(SEQUENCES).detach() / 0.6, 2)
    logprobs, entropies = policy.logprobs_and_entropies(SEQUENCES, 0.6)
    torch.testing.assert_close(entropies.detach(), -(probs * probs.log()).sum(2))
    torch.testing.assert_close(logprobs.detach(), policy.logprobs(SEQUENCES, 0.6).detach())


# ------------------------------------------------------------------------------------------------------- the draw


def test_sequences_and_continuations_are_drawn_from_it() -> None:
    policy, number = TabularGenerator.toy(), 30_000
    sampler = sampler_of(policy, TOY_SPACE, Draw(0.5))
    rng = torch.Generator().manual_seed(0)
    samples = sampler.sample(number, rng)
    codes = samples.tokens @ torch.tensor([3, 1])
    found, probs = codes.bincount(minlength=9) / number, tempered(policy, 0.5)
    assert bool(((found - probs).abs() < 4 * (probs * (1 - probs) / number).sqrt() + 1e-6).all())
    torch.testing.assert_close(samples.logprobs.sum(1).exp(), probs[codes], atol=1e-5, rtol=1e-4)
    begun = torch.tensor([[1, 0]])
    ends = torch.cat([part.tokens for part in sampler.continuations(begun, number, rng)])[:, 1]
    given = torch.softmax(policy.table[2].detach() / 0.5, 0)
    share = ends.bincount(minlength=3) / number
    assert bool(((share - given).abs() < 4 * (given * (1 - given) / number).sqrt() + 1e-6).all())


def test_a_worker_draws_continues_and_compares_at_the_temperature_of_the_plan() -> None:
    space = SequenceSpace(6, 7, end_id=3)
    torch.manual_seed(3)
    settings = LSTM(embedding=8, hidden=8)
    policy, reference = (build_generator(settings, space).eval() for _ in range(2))
    shard = Shard(num_sequences=37, seed=7, generator_version=1, rollout_version=1, discriminator_version=None)
    plan = RolloutPlan(space=space, credit=MonteCarlo(num_rollouts=2), chunk_rows=16, draw=Draw(0.6))
    worker = RolloutWorker(plan, settings, None)
    weights = weights_of(policy, 1)
    found = worker.run(shard, weights, weights, None, weights_of(reference, -1))
    stepper = policy.stepper(0.6)
    expected = collect(plan, shard, stepper, stepper, None, reference)
    assert torch.equal(found.tokens, expected.tokens) and found.num_drawn == expected.num_drawn
    mask = found.mask
    with torch.no_grad():
        own, other = policy.logprobs(found.tokens, 0.6), reference.logprobs(found.tokens, 0.6)
    torch.testing.assert_close(found.logprobs, own.masked_fill(~mask, 0.0), atol=1e-5, rtol=0)
    assert found.reference_logprobs is not None
    torch.testing.assert_close(found.reference_logprobs, other.masked_fill(~mask, 0.0), atol=1e-5, rtol=0)
    cold = collect(plan, shard, policy.stepper(), policy.stepper(), None, reference)
    assert not torch.equal(found.tokens, cold.tokens)


# -------------------------------------------------------------------------------------------------------- whole runs


def outcome(config: Config, stop_after: int | None = None) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Metrics of every unit and the state at the end; stopped after so many units, and gone on with by another."""
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        units = [trainer.step() for _ in range(stop_after)] if stop_after else finish(trainer)
        state = trainer.state()
    if stop_after:
        with build_parts(config, task) as parts:
            trainer = Trainer(config, task, parts)
            trainer.restore(state)
            units += finish(trainer)
            state = trainer.state()
    return [numbers(unit) for unit in units], state


def tempered_run(**changes: Any) -> Config:
    """Continuations, a penalty, a clipped objective in two steps, an entropy bonus, likelihood in steps of its own."""
    given: dict[str, Any] = {
        "reference": LossPenalty(weight=0.1),
        "objective": PPO(epochs=1, minibatches=2, loss_normaliser="sequence", entropy_bonus=0.01),
        "schedule": {"rollout_temperature": 0.6, "teacher_forcing": InterleavedTeacherForcing(num_updates=1)},
    }
    given |= changes
    return tiny_config(given.pop("schedule"), **given)


def test_learner_and_sampler_are_one_policy() -> None:
    metrics, _ = outcome(tempered_run())
    gaps = [unit["rollouts/logprob_gap_max"] for unit in metrics if "rollouts/logprob_gap_max" in unit]
    assert len(gaps) == 2 and max(gaps) < 1e-5
    at_one, _ = outcome(tempered_run(schedule={"teacher_forcing": InterleavedTeacherForcing(num_updates=1)}))
    # Colder draws: fewer nats a token, of the policy that drew.
    assert metrics[-1]["generator/entropy"] < at_one[-1]["generator/entropy"] - 0.1
    # Likelihood stays at 1: that of the first iteration is the same, for it comes before the fakes differ.
    assert metrics[0] == at_one[0]


@pytest.mark.heavy
def test_stopped_or_through_the_environment_it_is_the_same_run() -> None:
    config = tempered_run()
    metrics, state = outcome(config)
    for other in (outcome(config, stop_after=4), outcome(override(config, {"sampling": "environment"}))):
        assert_same(other[0], metrics)
        assert_same(other[1], state)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_give_the_same_run(ray_session: None) -> None:
    cold = {"schedule.rollout_temperature": 0.6}
    metrics, state = outcome(override(config_of(0), cold))
    of_workers, state_of_workers = outcome(override(config_of(2), cold))
    assert_same(of_workers, metrics)
    assert_same(state_of_workers, state)


# ----------------------------------------------------------------------------------------------- what it has no part in


@pytest.mark.parametrize(
    ("code", "schedule", "changes"),
    [
        ("temperature_of_no_tokens", {}, {"objective": Gumbel(), "credit": Terminal()}),
        ("temperature_of_no_rollouts", {}, {"objective": NoPolicyGradient(), "discriminator": None}),
        ("temperature_of_a_policy_read", {}, {"adversary": AdversarySettings(loss=PrefixCrossEntropy())}),
        ("temperature_of_likelihood", {"teacher_forcing": MixedTeacherForcing()}, {}),
        ("temperature_of_likelihood", {"teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)}, {}),
    ],
)
def test_it_is_refused_where_it_would_be_of_another_distribution(
    code: str, schedule: dict[str, Any], changes: dict[str, Any]
) -> None:
    problems = [problem.code for problem in _problems(schedule | {"rollout_temperature": 0.6}, changes)]
    assert code in problems
    assert code not in [problem.code for problem in _problems(schedule, changes)]


def _problems(schedule: dict[str, Any], changes: dict[str, Any]) -> list[Any]:
    config = tiny_config()
    values = config.schedule.model_copy(update=schedule)
    return list(config.model_copy(update={"schedule": values, **changes}).problems())


def test_controls_that_draw_nothing_or_learn_likelihood_beside_are_at_1() -> None:
    config = tempered_run()
    found = {name: control(config, name).schedule.rollout_temperature for name in CONTROLS}
    assert found == {"mle_continued": 1.0, "oracle_ratio": 1.0, "constant_reward": 0.6, "random_reward": 0.6}


def test_gad_draws_as_published() -> None:
    assert preset("gad", None).schedule.rollout_temperature == 0.8
    assert preset("grpo", None).schedule.rollout_temperature == 1.0
