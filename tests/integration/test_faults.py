"""Actors are killed, stopped and broken while they work; the numbers are those of a run in which nothing happened."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray

from rlgan.config.config import Config, Workers
from rlgan.envs.tasks import Task, build_task
from rlgan.rollouts.collecting import Shard
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer
from rlgan.workers import rollout as rollout_module
from rlgan.workers.assembly import build_parts
from rlgan.workers.discriminator import RayDiscriminator
from rlgan.workers.faults import Faults, WorkerLostError
from rlgan.workers.processes import ProcessInfo
from rlgan.workers.rollout import LocalRollouts, RayRollouts, RolloutWorker
from tests.support.on_ray import (
    GENERATOR,
    JUDGE,
    PLAN,
    SHARDS,
    assert_same,
    assert_same_rollouts,
    collected,
    config_of,
    ray_pool,
)
from tests.support.tiny import finish, numbers
from tests.support.usual import usually

pytestmark = [pytest.mark.ray, pytest.mark.integration]


@pytest.fixture(scope="module", autouse=True)
def _cluster(ray_session: None) -> None:
    """Every test here shares the session's cluster of two CPUs."""


def kill(process: ProcessInfo, number: int = signal.SIGKILL) -> None:
    """Send a signal to an actor that this test started, if it is still there."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            name = file.read()
        assert not name or b"ray::" in name, f"{process} is none of ours any more"  # empty: dead already
        os.kill(process.pid, number)
    except (FileNotFoundError, ProcessLookupError):
        pass


def discriminator_of(parts: Parts) -> ProcessInfo:
    assert isinstance(parts.discriminator, RayDiscriminator)
    return parts.discriminator.process


def wait_until(condition: Callable[[], bool], complaint: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.1)


@contextmanager
def pool_of(faults: Faults, num_workers: int = 2) -> Iterator[RayRollouts]:
    pool = ray_pool(faults, num_workers)
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    return collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE)))


# ------------------------------------------------------------------------------------------------- rollouts


def test_all_workers_killed_before_a_batch(expected: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(max_retries=3, call_timeout_s=60.0)
    with pool_of(faults) as pool:
        before = pool.processes()
        for process in before:
            kill(process)
        assert_same_rollouts(collected(pool), expected)
        assert not {process.pid for process in before} & {process.pid for process in pool.processes()}
        assert_same_rollouts(collected(pool), expected)
    assert faults.lost == {"rollout worker": 2}
    assert all(f"rollout worker {seat} (pid {before[seat].pid}" in caplog.text for seat in (0, 1))


def test_a_hung_worker_is_noticed_and_replaced(expected: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(max_retries=3, call_timeout_s=8.0)
    with pool_of(faults) as pool:
        hung = pool.processes()[0]
        kill(hung, signal.SIGSTOP)
        assert_same_rollouts(collected(pool), expected)
        # The other one did the whole rest meanwhile; the lost shard was computed again.
        assert faults.lost == {"rollout worker": 1} and faults.reissued_shards == 1
        assert f"rollout worker 0 ({hung}) with shard 0 was lost (it did not respond within" in caplog.text
        wait_until(lambda: not os.path.exists(f"/proc/{hung.pid}"), "what was hung still holds its memory")


class Mortal(rollout_module.RolloutActor):
    """Dies of every shard."""

    def run(self, *arguments: Any) -> Any:
        os._exit(1)


class Selective(rollout_module.RolloutActor):
    """Dies of one shard."""

    def run(self, shard: Shard, *arguments: Any) -> Any:
        if shard.seed == SHARDS[4].seed:
            os._exit(1)
        return super().run(shard, *arguments)


@pytest.mark.parametrize("kind", [Mortal, Selective])
@pytest.mark.slow
def test_a_worker_that_keeps_dying_stops_the_run(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_module, "RolloutActor", kind)
    faults = Faults(max_retries=1, call_timeout_s=60.0)
    with pool_of(faults) as pool, pytest.raises(WorkerLostError, match=r"2 times in a row.*workers.max_retries=1"):
        collected(pool)


def test_an_exception_in_a_worker_is_raised_here_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(max_retries=3, call_timeout_s=60.0)
    with pool_of(faults, num_workers=1) as pool:
        process = pool.processes()[0]
        wrong = rollout_module.Published(ray.put(None), None)  # no weights at all
        with pytest.raises(AttributeError, match=rf"pid={process.pid}, ip={process.node}"):
            pool.collect(SHARDS, wrong, None, None)
        assert pool.processes() == [process] and not faults.lost
        # The pool still works, and takes nothing that the failed call left behind for its own.
        assert len(collected(pool)) == len(SHARDS)


def test_an_exception_in_the_constructor_is_no_restart_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(rollout_module.RolloutActor):
        def __init__(self, *arguments: Any) -> None:
            raise ValueError("a task that does not build")

    monkeypatch.setattr(rollout_module, "RolloutActor", Broken)
    faults = Faults(max_retries=3, call_timeout_s=60.0)
    with pytest.raises(ray.exceptions.ActorDiedError, match="a task that does not build"):
        ray_pool(faults, 1)
    assert not faults.lost


# -------------------------------------------------------------------------------------------- discriminator


def test_a_killed_discriminator_goes_on_from_the_round_before(task: Task, alone: Any) -> None:
    metrics, states = alone
    with build_parts(config_of(1), task) as parts:
        trainer = Trainer(config_of(1), task, parts)
        done = 0
        while trainer.next_phase is not None:
            kill(discriminator_of(parts))
            assert numbers(trainer.step()) == metrics[done]
            assert_same(trainer.state(), states[done])
            done += 1
        assert parts.faults.lost["discriminator"] == done - 2  # maximum likelihood needs none of it


@pytest.mark.slow
def test_a_hung_discriminator_is_replaced(task: Task, alone: Any) -> None:
    metrics, _ = alone
    config = with_workers(config_of(1), call_timeout_s=10.0)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        steps = [numbers(trainer.step()) for _ in range(2)]
        kill(discriminator_of(parts), signal.SIGSTOP)
        assert [*steps, *(numbers(unit) for unit in finish(trainer))] == metrics
        assert parts.faults.lost["discriminator"] == 1


# ------------------------------------------------------------------------------------------------- learners


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_lost_learner_is_replaced(number: signal.Signals, task: Task, alone: Any) -> None:
    metrics, states = alone
    config = with_workers(config_of(0, learners=1), call_timeout_s=60.0 if number == signal.SIGKILL else 10.0)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        done = []
        while trainer.next_phase is not None:
            if len(done) in (1, 4):
                kill(parts.learners.processes()[0], number)
            done.append(numbers(trainer.step()))
        assert parts.faults.lost == {"learner": 2}
        assert_same(done, metrics)
        assert_same(trainer.state(), states[-1])


@pytest.mark.slow
def test_the_loss_of_one_of_two_learners(task: Task) -> None:
    config = config_of(0, learners=2)

    def run(disturb: Callable[[Parts], None]) -> tuple[list[Any], dict[str, Any]]:
        with build_parts(config, task) as parts:
            trainer = Trainer(config, task, parts)
            units = [trainer.step()]
            disturb(parts)
            return [numbers(unit) for unit in [*units, *finish(trainer)]], trainer.state()

    units, state = run(lambda parts: None)
    disturbed_units, disturbed_state = run(lambda parts: kill(parts.learners.processes()[1]))
    assert disturbed_units == units
    assert_same(disturbed_state, state)


# ------------------------------------------------------------------------------------------- at any moment


class Reaper(threading.Thread):
    """Kills a random actor at random moments."""

    def __init__(self, parts: Parts, seed: int, mean_pause_s: float) -> None:
        super().__init__(daemon=True)
        self._parts, self._random, self._pause_s = parts, random.Random(seed), mean_pause_s
        self.over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        while not self.over.wait(self._random.expovariate(1.0 / self._pause_s)):
            victims = [*self._parts.rollouts.processes(), discriminator_of(self._parts)]
            kill(self._random.choice(victims))
            self.killed += 1


@pytest.mark.parametrize("seed", usually([0], range(30)))
def test_kills_at_any_moment_change_no_number(seed: int, task: Task, alone: Any) -> None:
    metrics, states = alone
    config = with_workers(config_of(2), max_retries=20)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        reaper = Reaper(parts, seed, mean_pause_s=2.0)
        reaper.start()
        try:
            done = [numbers(unit) for unit in finish(trainer)]
        finally:
            reaper.over.set()
            reaper.join()
        assert_same(done, metrics)
        assert_same(trainer.state(), states[-1])


def with_workers(config: Config, **changes: Any) -> Config:
    workers = Workers(**(config.workers.model_dump() | changes))
    return config.model_copy(update={"workers": workers})


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(config_of(0).task)


@pytest.fixture(scope="module")
def alone(task: Task) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Metrics and states after each unit, computed in this process."""
    states: list[dict[str, Any]] = []
    with build_parts(config_of(0), task) as parts:
        trainer = Trainer(config_of(0), task, parts)
        units = finish(trainer, lambda running: states.append(running.state()))
    return [numbers(unit) for unit in units], states
