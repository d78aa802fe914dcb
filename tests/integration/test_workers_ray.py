"""The same numbers whoever computes them: in this process, by any number of actors, after a loss of one."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import pytest
import ray
import torch

from rlgan.adversary.losses import Hinge
from rlgan.base.errors import ConfigError
from rlgan.base.weights import Weights, packed, unpacked, weights_of
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import build_discriminator
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import GeneratorSettings, LatentConv, SequenceVAE, build_generator
from rlgan.layers.optimizers import SGD, Adam, OptimizerSettings
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.baselines import BaselineSettings, GroupMean, ImportanceWeights
from rlgan.policy.credit import MonteCarlo
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.implicit_losses import PairLogistic
from rlgan.policy.kl_penalty import LossPenalty
from rlgan.policy.logit_maps import Probability, Ratio
from rlgan.policy.loss_terms import LossNormaliser, likelihood_weights
from rlgan.policy.objectives import PPO, ObjectiveSettings, Reinforce, Soft
from rlgan.policy.pair_objectives import Preferences
from rlgan.sampling.records import Experience, concatenate, stacked
from rlgan.training.parts import LearnerPhase
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.placement import Room
from rlgan.workers.rollout import LocalRollouts, RayRollouts, RolloutWorker
from tests.support.errors import refused
from tests.support.on_ray import (
    GENERATOR,
    JUDGE,
    PLAN,
    SHARDS,
    SPACE,
    assert_same,
    assert_same_rollouts,
    collected,
    config_of,
    learner_role,
    ray_pool,
)
from tests.support.recipes import recipe
from tests.support.tiny import FAULTS, finish, numbers
from tests.support.usual import usually

pytestmark = [pytest.mark.ray, pytest.mark.integration]


@pytest.fixture(scope="module", autouse=True)
def _cluster(ray_session: None) -> None:
    """Every test here shares the session's cluster of two CPUs."""


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(config_of(0).task)


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


# ------------------------------------------------------------------------------------------ number of workers


@pytest.fixture(scope="module")
def alone(task: Task) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Metrics and states after each unit, computed in this process."""
    states: list[dict[str, Any]] = []
    with trainer_of(config_of(0), task) as trainer:
        units = finish(trainer, lambda running: states.append(running.state()))
    return [numbers(unit) for unit in units], states


@pytest.mark.parametrize("rollout_workers", usually([2], [1, 2, 4]))
def test_any_number_of_workers_gives_the_same_numbers_and_weights(
    rollout_workers: int, task: Task, alone: tuple[list[dict[str, float]], list[dict[str, Any]]]
) -> None:
    metrics, states = alone
    with trainer_of(config_of(rollout_workers), task) as trainer:
        assert_same([numbers(unit) for unit in finish(trainer)], metrics)
        assert_same(trainer.state(), states[-1])
        # Back to a state of the run in this process, and on from there: no worker may answer with networks it kept.
        trainer.restore(states[3])
        assert_same([numbers(unit) for unit in finish(trainer)], metrics[4:])
        assert_same(trainer.state(), states[-1])


@pytest.mark.parametrize(("rollout_workers", "learners"), [(10, 0), (0, 3), (1, 2)])
def test_more_workers_than_cpus_are_refused_at_once(task: Task, rollout_workers: int, learners: int) -> None:
    # Two CPUs: 10·0.2 + 0.2, 3, and 0.2 + 0.2 + 2 are too many. An actor that cannot be placed waits for ever.
    started = time.monotonic()
    config = config_of(rollout_workers, learners)
    with refused(ConfigError, "cluster_too_small", match=r"2 CPUs and 0 GPUs\."), build_parts(config, task):
        pass
    assert time.monotonic() - started < 5


# ------------------------------------------------------------------------------------------------- the pool


@pytest.fixture(scope="module")
def pool() -> Iterator[RayRollouts]:
    pool = ray_pool(FAULTS, num_workers=2)
    yield pool
    pool.close()


def test_shards_come_back_in_their_order_whoever_had_them(pool: RayRollouts) -> None:
    here = LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE))
    assert_same_rollouts(collected(pool), collected(here))
    # Published again under another version: no worker may answer with the networks it kept.
    assert_same_rollouts(collected(pool, seed=1, version=2), collected(here, seed=1, version=2))


def test_an_error_in_a_worker_is_an_error_here_and_the_pool_goes_on(pool: RayRollouts) -> None:
    torch.manual_seed(0)
    whole = weights_of(build_generator(GENERATOR, SPACE), 3)
    del whole.tensors["output.bias"]
    broken = pool.publish(whole)
    with pytest.raises(RuntimeError, match="output.bias"):
        pool.collect(SHARDS, broken, None, None)
    assert len(collected(pool, version=4)) == len(SHARDS)


# -------------------------------------------------------------------------------------------------- learners


def experience(number: int, seed: int) -> Experience:
    weights = torch.randn(number, 5, generator=torch.Generator().manual_seed(seed)) / number
    return Experience(tokens=random_sequences(SPACE, number, seed), weights=weights)


def learn(num_learners: int, threads: int = 1) -> tuple[list[dict[str, float]], dict[str, Any], list[int]]:
    """Updates of both phases: minibatches that two learners share evenly, unevenly, and of a single row."""
    optimizers = Optimizers(mle=Adam(lr=0.05, clip_norm=0.05), generator=SGD(lr=0.3, momentum=0.9))
    group = GeneratorLearners(
        GENERATOR,
        SPACE,
        {"mle": optimizers.mle, "adversarial": optimizers.generator},
        learner_role(num_learners),
        threads=threads,
        seed=0,
        faults=FAULTS,
        room=Room(60.0),
    )
    try:
        learned = [
            group.update("mle", experience(12, 0), minibatch=4),
            group.update("mle", experience(15, 1), minibatch=5),
            group.update("adversarial", experience(7, 2), minibatch=7),
            group.update("adversarial", experience(1, 3), minibatch=1),
        ]
        before, after = group.state(), None
        learned.append(group.update("adversarial", experience(7, 4), minibatch=7))
        after = group.state()
        group.restore(before)
        again = group.update("adversarial", experience(7, 4), minibatch=7)
        assert again == learned[-1], "restored learners go on otherwise"
        assert_same(group.state(), after)
        return learned, after, group._each(lambda learner: torch.get_num_threads())
    finally:
        group.close()


def test_one_learner_elsewhere_is_one_here_bit_for_bit() -> None:
    learned, state, _ = learn(0, threads=2)
    elsewhere, their_state, threads = learn(1, threads=2)
    assert_same(elsewhere, learned)
    assert_same(their_state, state)
    # Sums are rounded by the number of threads, so it is part of the result wherever the learner is.
    assert threads == [2]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.slow
def test_an_epoch_broken_off_elsewhere_goes_on_with_the_dropout_of_each_learner(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneratorLearners, "_FIRST_AT_ONCE", 2)
    network = GENERATOR.model_copy(update={"dropout": 0.5, "layers": 2})
    optimizers: dict[Any, Any] = {"mle": Adam(lr=0.05), "adversarial": Adam()}
    group = GeneratorLearners(network, SPACE, optimizers, learner_role(number), 1, 0, FAULTS, Room(60.0))

    def stop() -> None:
        raise InterruptedError

    try:
        begun = group.state()
        whole = group.update("mle", experience(12, 0), minibatch=3)
        expected = group.state()
        group.restore(begun)
        with pytest.raises(InterruptedError):
            group.update("mle", experience(12, 0), minibatch=3, between=stop)
        assert group.num_begun == 2
        kept = unpacked(packed(group.state()))
        group.restore(begun)
        group.restore(kept)
        assert group.update("mle", experience(12, 0), minibatch=3) == whole
        assert_same(group.state(), expected)
    finally:
        group.close()


@pytest.mark.slow
def test_an_error_in_a_learner_is_an_error_here_and_is_not_tried_again() -> None:
    optimizers: dict[Any, Any] = {"mle": Adam(), "adversarial": Adam()}
    group = GeneratorLearners(GENERATOR, SPACE, optimizers, learner_role(1), 1, 0, FAULTS, Room(60.0))
    try:
        wrong = {name: array for name, array in group.weights().complete.items() if name != "output.bias"}
        with pytest.raises(RuntimeError, match="output.bias"):
            group.load(wrong)
        assert not FAULTS.lost
        # RLlib has taken the learner out of service; it is made anew, in the state before the error.
        learned = group.update("mle", experience(4, 0), minibatch=4)
        undisturbed = GeneratorLearners(GENERATOR, SPACE, optimizers, learner_role(0), 1, 0, FAULTS)
        assert learned == undisturbed.update("mle", experience(4, 0), minibatch=4)
    finally:
        group.close()


def test_two_learners_average_to_one() -> None:
    learned, state, _ = learn(0)
    shared, their_state, _ = learn(2)
    for one, two in zip(shared, learned, strict=True):
        assert one == pytest.approx(two, abs=1e-6, rel=1e-5)
    for name, weights in state["weights"].items():
        torch.testing.assert_close(their_state["weights"][name], weights, atol=1e-6, rtol=0)


def every_objective(task: Task) -> Iterator[tuple[str, Experience]]:
    """Every baseline with every normaliser, on a batch that two learners cannot share evenly; and teacher forcing."""
    rollouts = concatenate(collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE)))[:2])
    assert rollouts.tokens.shape[0] == 7
    for kind in get_args(get_args(BaselineSettings)[0]):
        reward = Ratio() if kind is ImportanceWeights else Probability()
        for normaliser in get_args(LossNormaliser):
            axes = recipe(
                reward=reward,
                credit=MonteCarlo(num_rollouts=2),
                baseline=kind(),
                objective=Reinforce(loss_normaliser=normaliser),
            )
            formed = learnable(rollouts, axes, Memory(), task, torch.Generator(), torch.full(rollouts.mask.shape, 0.2))
            yield f"{kind.__name__}, {normaliser}", formed.experience
    log_ratio_to_reference = replace(rollouts, reference_logprobs=0.9 * rollouts.logprobs)
    terms = recipe(objective=PPO(entropy_bonus=0.1), reference=LossPenalty(weight=0.5), baseline=GroupMean())
    yield (
        "clip, reference, entropy",
        learnable(log_ratio_to_reference, terms, Memory(), task, torch.Generator()).experience,
    )
    mask = sequence_mask(SPACE, rollouts.tokens)
    yield "likelihood", Experience(tokens=rollouts.tokens, weights=likelihood_weights(mask))
    mixed = torch.cat([formed.experience.weights, 0.3 * likelihood_weights(mask)])
    yield "mixed", Experience(tokens=rollouts.tokens.repeat(2, 1), weights=mixed)
    yield "fewer sequences than learners", Experience(formed.experience.tokens[:1], formed.experience.weights[:1])


def rows_of_noise(number: int) -> Experience:
    """Rows that a learner draws anew and differentiates through the discriminator."""
    nothing = torch.zeros(number, 5)
    seeds = torch.arange(number) + 11
    return Experience(nothing.long(), nothing, row_weights=torch.full((number,), 1 / number), row_seeds=seeds)


def every_relaxation() -> Iterator[tuple[str, Experience, Relaxation]]:
    """Rows that are drawn anew, softly or straight through; beside likelihood; and fewer of them than learners."""
    for straight_through in (False, True):
        relaxation = Relaxation(0.7, straight_through)
        yield f"gumbel, {straight_through}", rows_of_noise(7), relaxation
        yield f"gumbel, {straight_through}, mixed", stacked([rows_of_noise(4), experience(3, 0)]), relaxation
    yield "gumbel, fewer rows than learners", rows_of_noise(1), relaxation


@contextmanager
def one_and_two(
    generator: GeneratorSettings, objective: ObjectiveSettings, tokens_at_once: int | None = None
) -> Iterator[list[GeneratorLearners]]:
    """The learner in this process, and two elsewhere, whose gradients may be computed in parts."""
    optimizers: dict[LearnerPhase, OptimizerSettings] = {"mle": Adam(lr=0.05), "adversarial": SGD(lr=1.0)}
    groups = [
        GeneratorLearners(
            generator,
            SPACE,
            optimizers,
            learner_role(number),
            1,
            0,
            FAULTS,
            Room(60.0),
            objective,
            (JUDGE, Hinge()),
            tokens_at_once=tokens_at_once if number else None,
        )  # fmt: skip
        for number in (0, 2)
    ]
    try:
        yield groups
    finally:
        for group in groups:
            group.close()


def assert_the_same_step(name: str, groups: list[GeneratorLearners], rows: Experience, **through: Any) -> None:
    start = groups[0].weights().complete
    for group in groups:
        group.load(start)
        group.update("adversarial", rows, minibatch=rows.tokens.shape[0], **through)
    stepped, there = (group.weights().complete for group in groups)
    groups[0].load(start)
    assert any(abs(stepped[key] - start[key]).max() > 1e-4 for key in start), f"{name}: nothing was learned"
    for key in stepped:
        size = max(1.0, float(abs(there[key]).max()))  # a float's last digit is as large as the number
        assert abs(there[key] - stepped[key]).max() <= 1e-6 * size, f"{name}: {key}"


def judge() -> Weights:
    torch.manual_seed(5)
    return weights_of(build_discriminator(JUDGE, SPACE), 1)


@pytest.mark.slow
def test_two_learners_take_the_step_of_one_for_every_objective(task: Task) -> None:
    # 7 rows of 5 tokens are 4 a learner, and go through in parts of 2; or in one, where there are fewer.
    with one_and_two(GENERATOR, PPO(), tokens_at_once=10) as groups:
        names = []
        for name, rows in every_objective(task):
            names.append(name)
            assert_the_same_step(name, groups, rows)
        assert len(names) == 11 * 5 + 4
        for name, rows, relaxation in every_relaxation():
            assert_the_same_step(name, groups, rows, judge=judge(), relaxation=relaxation)


@pytest.mark.slow
def test_two_learners_take_the_step_of_one_of_pairs(task: Task) -> None:
    objective = Preferences(loss=PairLogistic(scale=1.0))
    rollouts = concatenate(collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE)))[:2])
    # Seven sequences are one pair; beside it, rows that are likelihood alone, and one without a pair.
    axes = recipe(objective=objective, group=7)
    pair = learnable(rollouts, axes, Memory(), task, torch.Generator()).experience
    none = pair.times(0.0)
    mask = sequence_mask(SPACE, rollouts.tokens)
    likely = Experience(tokens=rollouts.tokens, weights=likelihood_weights(mask))
    with one_and_two(GENERATOR, objective, tokens_at_once=10) as groups:
        assert_the_same_step("fewer pairs than learners", groups, pair)
        assert_the_same_step("a group without a pair", groups, stacked([none, pair, none]))
        assert_the_same_step("beside likelihood", groups, stacked([pair, likely]))


@pytest.mark.slow
def test_two_learners_take_the_step_of_one_where_no_tokens_are_drawn() -> None:
    with one_and_two(LatentConv(latent=3, width=4, blocks=1, window=3), Soft()) as groups:
        # Shared evenly; unevenly, so that one share is filled up; and with nothing but filling in one of them.
        for number in (6, 7, 1):
            assert_the_same_step(f"soft, {number} rows", groups, rows_of_noise(number), judge=judge())


@pytest.mark.slow
def test_two_learners_take_the_step_of_one_where_sequences_have_latents() -> None:
    # Real rows, whose latent is inferred, beside drawn ones; and these alone, by which what infers is left as it is.
    with one_and_two(SequenceVAE(embedding=4, hidden=5, latent=2), PPO(), tokens_at_once=10) as groups:
        rng = torch.Generator().manual_seed(0)
        tokens = torch.randint(SPACE.vocab_size, (7, SPACE.max_length), generator=rng)
        drawn = Experience(
            tokens=tokens,
            weights=torch.randn(tokens.shape, generator=rng),
            latents=torch.randn(7, 2, generator=rng),
        )
        real = replace(drawn, infers_latents=torch.ones(7), latent_kl_weights=torch.rand(7, generator=rng))
        for name, rows in (("drawn", drawn), ("both", stacked([drawn, real])), ("drawn again", drawn)):
            assert_the_same_step(f"latents, {name}", groups, rows)


# ------------------------------------------------------------------------------------------------ telemetry


@pytest.mark.slow
def test_the_figures_of_a_run_are_where_the_dashboard_reads_them(task: Task) -> None:
    with build_parts(config_of(1), task) as parts:
        parts.faults.lost["rollout worker"] = 3
        units = finish(Trainer(config_of(1), task, parts))
        (node,) = [node for node in ray.nodes() if node["Alive"]]
        if node["MetricsExportPort"] < 1:
            pytest.skip("Ray exports no metrics without the extra: pip install -c constraints.txt -e '.[cluster]'")
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        shown: dict[str, float] = {}
        end = time.monotonic() + 60
        while len(shown) < 7 and time.monotonic() < end:
            time.sleep(1.0)  # Ray gathers them every few seconds
            with urllib.request.urlopen(address, timeout=10) as page:
                lines = [line.decode() for line in page if line.startswith(b"ray_rlgan_")]
            shown = {line.partition("{")[0]: float(line.split()[-1]) for line in lines}
    last = units[-1].metrics
    assert shown["ray_rlgan_sequences_per_s"] == pytest.approx(last["timing/sequences_per_s"])
    assert shown["ray_rlgan_tokens_per_s"] == pytest.approx(last["timing/tokens_per_s"])
    assert shown["ray_rlgan_buffer_fake"] == last["discriminator/buffer_fake"] == 40
    assert shown["ray_rlgan_buffer_real"] == 40 and shown["ray_rlgan_staleness"] == 0
    assert shown["ray_rlgan_accuracy_heldout"] == pytest.approx(last["discriminator/accuracy_heldout"])
    assert shown["ray_rlgan_actors_lost"] == 3 and shown["ray_rlgan_shards_computed_again"] == 0
