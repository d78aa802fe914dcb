"""Beams as rollouts: all hypotheses in order, the same in whatever shards, and likelihood of the best of each group."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.base.weights import weights_of
from rlgan.config.paths import override
from rlgan.envs.tasks import build_task
from rlgan.generators import Sampler, Seq2SeqLSTM, build_generator
from rlgan.policy.advantage_scaling import BestOfGroup, normalised
from rlgan.policy.behaviour import Beams, OwnPolicy
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.objectives import Reinforce, WeightedLikelihood
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.rollouts.collecting import RolloutPlan
from rlgan.rollouts.shards import Beginnings, cut_into_shards
from rlgan.sampling.beam_search import beam_search
from rlgan.sampling.records import concatenate
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.rollout import RolloutWorker
from tests.integration.test_rollout_temperature import outcome
from tests.support.errors import refused
from tests.support.on_ray import assert_same
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence
from tests.support.tiny import Recorder, finish, of_pairs, tiny_config

pytestmark = pytest.mark.integration

AXES: dict[str, Any] = {"credit": Terminal(), "normalisation": BestOfGroup(), "objective": WeightedLikelihood()}
SEARCHING: dict[str, Any] = {"behaviour": Beams(), "g_group": 4}


def test_as_many_beams_as_sequences_find_all_of_them_in_order() -> None:
    policy, sequences = TabularGenerator.toy(), every_sequence(TOY_SPACE)
    logprobs = policy.logprobs(sequences).sum(1).detach()
    found = beam_search(policy.stepper(), TOY_SPACE, 2, 9, keeps_all=True)
    assert len({tuple(one) for one in found.tokens[:9].tolist()}) == 9
    torch.testing.assert_close(found.logprobs[:9], logprobs.sort(descending=True).values)
    torch.testing.assert_close(policy.logprobs(found.tokens).sum(1).detach(), found.logprobs)
    assert torch.equal(found.tokens[:9], found.tokens[9:])
    # A tenth sequence does not exist.
    more = beam_search(policy.stepper(), TOY_SPACE, 1, 10, keeps_all=True).tokens
    assert len({tuple(one) for one in more.tolist()}) == 9 and torch.equal(more[9], more[0])


@pytest.mark.parametrize("shard_size", [1, 3, 8, 100])
def test_hypotheses_do_not_depend_on_how_a_batch_is_cut(shard_size: int) -> None:
    task = build_task(of_pairs().task)
    torch.manual_seed(1)
    settings = Seq2SeqLSTM(embedding=4, hidden=6)
    policy = build_generator(settings, task.space).eval()
    assert task.conditions is not None
    conditions = task.conditions.train[:3].long().repeat_interleave(4, 0)
    plan = RolloutPlan(task.space, Terminal(), 64, behaviour=Beams())
    common: dict[str, Any] = {"generator_version": 1, "rollout_version": None, "discriminator_version": None}
    shards = cut_into_shards(
        12, shard_size, 0, ("rollouts", 0), Beginnings(conditions=conditions), places=torch.arange(12) % 4, beam=4,
        is_rewarded=True, **common,
    )  # fmt: skip
    worker, weights = RolloutWorker(plan, settings, None), weights_of(policy, 1)
    found = concatenate([worker.run(shard, weights, None, None, None) for shard in shards])
    expected = beam_search(policy.stepper(), task.space, 3, 4, 0.0, conditions[::4], keeps_all=True)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.logprobs.sum(1), expected.logprobs, atol=1e-4, rtol=0)
    assert len({tuple(one) for one in found.tokens[:4].tolist()}) == 4


def test_the_best_of_a_group_have_the_weight_of_all_and_where_all_are_equal_there_is_none() -> None:
    values = torch.tensor([0.2, 0.9, 0.1, 0.4, 0.4, 0.4, 0.7, 0.0, 0.7])
    lengths = torch.tensor([1, 2, 2, 1, 2, 1, 2, 2, 1])
    mask = torch.arange(2) < lengths.unsqueeze(1)
    spread = values.unsqueeze(1) * mask
    found, _ = normalised(BestOfGroup(), spread, spread, mask, group=3)
    expected = torch.tensor([0, 3, 0, 0, 0, 0, 1.5, 0, 1.5])
    assert torch.equal(found, expected.unsqueeze(1) * mask)


def test_what_is_learned_is_what_the_discriminator_likes_best() -> None:
    config = of_pairs(SEARCHING | {"adversarial_updates": 1}, **AXES)
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        last = finish(Trainer(config, task, recorder.around(parts)))[-1]
    (rollouts,) = last.rollouts
    assert rollouts.real_logits is not None and len(rollouts.tokens) == 8
    assert all(len({tuple(one) for one in rows.tolist()}) == 4 for rows in rollouts.tokens.split(4))
    _, rows, _ = next(one for one in recorder.updates if one[0] == "adversarial")
    taught = {tuple(one) for one in rows.tokens[rows.weights.sum(1) != 0].tolist()}
    logits = rollouts.real_logits.view(2, 4)
    best = logits == logits.amax(1, keepdim=True)
    assert taught == {tuple(one) for one in rollouts.tokens[best.flatten()].tolist()}
    assert last.metrics["rollouts/logprob_gap_max"] < 1e-4


@pytest.mark.heavy
def test_stopped_or_through_the_environment_it_is_the_same_run() -> None:
    config = of_pairs(SEARCHING, **AXES)
    metrics, state = outcome(config)
    for other in (outcome(config, stop_after=4), outcome(override(config, {"sampling": "environment"}))):
        assert_same(other[0], metrics)
        assert_same(other[1], state)


@pytest.mark.parametrize(
    ("code", "schedule", "changes"),
    [
        ("beams_without_conditions", {}, {"task": tiny_config().task}),
        ("beams_are_no_samples", {}, {"objective": Reinforce()}),
        ("beams_of_no_group", {"g_group": None}, {}),
        ("beams_from_nothing", {"teacher_forcing": MixedPrefix(start=1, decrement=1, block=1)}, {}),
        ("beams_continued", {}, {"credit": MonteCarlo(num_rollouts=2)}),
    ],
)
def test_it_is_refused_where_hypotheses_are_no_candidates(
    code: str, schedule: dict[str, Any], changes: dict[str, Any]
) -> None:
    config = of_pairs(SEARCHING, **AXES)
    assert not list(config.problems())

    def codes(**behaviour: Any) -> list[str]:
        values = config.schedule.model_copy(update=schedule | behaviour)
        return [one.code for one in config.model_copy(update={"schedule": values, **changes}).problems()]

    assert code in codes() and code not in codes(behaviour=OwnPolicy())


def test_a_sampler_of_whole_sequences_has_no_hypotheses() -> None:
    class Whole(Sampler):
        pass

    with refused(ConfigError, "sampler_without_hypotheses", {"schedule.behaviour": "beams"}):
        Whole().hypotheses(1, 2)


def test_controls_that_learn_otherwise_draw_their_own() -> None:
    config = preset("selfgan")
    names: tuple[Any, ...] = ("mle_continued", "constant_reward", "random_reward", "shuffled_discriminator")
    found = {name: control(config, name).schedule.behaviour.kind for name in names}
    assert found == {
        "mle_continued": "own", "constant_reward": "own", "random_reward": "beams", "shuffled_discriminator": "beams"
    }  # fmt: skip
