"""What the loss of an actor costs: SIGKILL in the middle of a call, and seconds until the same call is answered.

    python -m benchmarks.restarts [--repeats 5] [--share 1]
        [--cases rollout rollout-of-two discriminator learner]

V=5000, T=20 and the networks of Yu et al. 2017; calls of a second or a few: rollouts of 64 sequences with Monte Carlo
search (N=4) in 4 shards, a round of the discriminator on 640 reals and 640 fakes, 40 updates of the learner; or of a
`--share` of these. A call is made undisturbed and killed turn by turn, from the same state, and both answers must be
equal to the bit. The kill comes after two fifths of the time that the undisturbed call took.

`from kill to answer` is noticing the loss, starting a process that imports torch and Ray, putting the state back, and
the whole call again. `lost` is the disturbed call less the undisturbed one. `start` is the making of such an actor when
the run begins, once; a restart cannot be faster than what of it is Python's imports.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine, spread
from benchmarks.processes import command_line
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Round
from rlgan.base.weights import weights_of
from rlgan.discriminators import CnnHighway, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, build_generator
from rlgan.layers.optimizers import Adam
from rlgan.policy.credit import MonteCarlo
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling.records import Experience, Rollouts
from rlgan.workers.discriminator import RayDiscriminator
from rlgan.workers.environment import own_cluster
from rlgan.workers.faults import Faults
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.placement import Role, Room
from rlgan.workers.processes import ProcessInfo
from rlgan.workers.rollout import RayRollouts

TINY_MARKS = ("ray", "slow")

SPACE = SequenceSpace(5000, 20)
PLAN = RolloutPlan(space=SPACE, credit=MonteCarlo(num_rollouts=4), chunk_rows=256)
KILL_AFTER = 0.4


@dataclass(frozen=True)
class Case:
    """An actor and a call to it.

    Attributes:
        prepare: puts the actor into the state that every call begins from; not part of its time.
        call: makes the call and returns its answer.
        process: which process to kill.
        close: ends the actor.
    """

    prepare: Callable[[], None]
    call: Callable[[], Any]
    process: Callable[[], ProcessInfo]
    close: Callable[[], None]


def rollout_case(faults: Faults, num_workers: int, share: float) -> Case:
    role = Role("rollout worker", num_workers, cpus=0.5, gpus=0.0)
    pool = RayRollouts(faults, Room(faults.call_timeout_s), role, PLAN, LSTM(), CnnHighway())
    torch.manual_seed(0)
    generator = pool.publish(weights_of(build_generator(LSTM(), SPACE), 1))
    judge = pool.publish(weights_of(build_discriminator(CnnHighway(), SPACE), 1))
    shards = [
        Shard(round(16 * share), seed, generator_version=1, rollout_version=1, discriminator_version=1)
        for seed in range(4)
    ]

    def call() -> list[Rollouts]:
        return pool.collect(shards, generator, generator, judge)

    def prepare() -> None:
        # The pool answers without waiting for the actor that takes a lost one's place, which is noticed to be ready in
        # a later call; a call beside a process that is still starting would not be an undisturbed one.
        while len(pool.processes()) < num_workers:
            call()

    return Case(
        prepare=prepare,
        call=call,
        process=lambda: pool.processes()[0],
        close=pool.close,
    )


def discriminator_case(faults: Faults, share: float) -> Case:
    torch.manual_seed(0)
    number = round(640 * share)
    sequences = torch.randint(0, SPACE.vocab_size, (2 * number + 1, SPACE.max_length))
    discriminator = RayDiscriminator(
        faults,
        Room(faults.call_timeout_s),
        Role("discriminator", 1, cpus=0.5, gpus=0.0),
        threads=1,
        gpus=0.0,
        network=CnnHighway(),
        settings=AdversarySettings(sequences_per_round=number),
        optimizer=Adam(lr=1e-4),
        space=SPACE,
        reals=Pairs(sequences[:number]),
        heldout_reals=Pairs(sequences[number : number + 1]),
        seed=0,
    )
    state = discriminator.state()

    def call() -> Any:
        metrics = discriminator.train_round(Round(0, sequences[number + 1 :], 1))
        return metrics, discriminator.weights().complete

    return Case(lambda: discriminator.restore(state), call, lambda: discriminator.process, discriminator.close)


def learner_case(faults: Faults, share: float) -> Case:
    settings = Adam(lr=0.01, clip_norm=5.0)
    learners = GeneratorLearners(
        LSTM(),
        SPACE,
        {"mle": settings, "adversarial": settings},
        Role("learner", 1, cpus=1.0, gpus=0.0),
        threads=1,
        seed=0,
        faults=faults,
        room=Room(faults.call_timeout_s),
    )
    torch.manual_seed(0)
    shape = (64 * round(40 * share), 20)
    experience = Experience(torch.randint(0, SPACE.vocab_size, shape), torch.full(shape, 1.0 / 1280))
    state = learners.state()

    def call() -> Any:
        metrics = learners.update("mle", experience, 64)
        return metrics, learners.weights().complete

    return Case(lambda: learners.restore(state), call, lambda: learners.processes()[0], learners.close)


CASES: dict[str, Callable[[Faults, float], Case]] = {
    "rollout": lambda faults, share: rollout_case(faults, 1, share),
    "rollout-of-two": lambda faults, share: rollout_case(faults, 2, share),
    "discriminator": discriminator_case,
    "learner": learner_case,
}


def plain(answer: Any) -> Any:
    """An answer as lists and numbers, which compare exactly."""
    if isinstance(answer, Rollouts):
        return {field.name: plain(getattr(answer, field.name)) for field in fields(answer)}
    if isinstance(answer, dict):
        return {name: plain(part) for name, part in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(part) for part in answer]
    return answer.tolist() if hasattr(answer, "tolist") else answer


def kill(process: ProcessInfo) -> None:
    """SIGKILL to an actor of this benchmark's own cluster."""
    command = command_line(process.pid)
    assert "ray::" in command, f"{process} is none of ours any more: {command!r}"
    os.kill(process.pid, signal.SIGKILL)


def undisturbed(case: Case) -> tuple[float, Any]:
    """Seconds, and the answer."""
    case.prepare()
    started = time.perf_counter()
    answer = case.call()
    return time.perf_counter() - started, plain(answer)


def disturbed(case: Case, kill_after_s: float, faults: Faults) -> tuple[float, float, Any]:
    """Seconds of the whole call, seconds from the kill to the answer, and the answer."""
    case.prepare()
    victim = case.process()
    killed_at: list[float] = []

    def strike() -> None:
        killed_at.append(time.perf_counter())
        kill(victim)

    losses = faults.lost.total()
    timer = threading.Timer(kill_after_s, strike)
    started = time.perf_counter()
    timer.start()
    answer = case.call()
    answered = time.perf_counter()
    timer.join()
    assert killed_at[0] < answered and faults.lost.total() == losses + 1, "the kill missed the call"
    return answered - started, answered - killed_at[0], plain(answer)


def measure(name: str, repeats: int, share: float) -> None:
    faults = Faults(max_retries=3, call_timeout_s=600.0)
    began = time.perf_counter()
    case = CASES[name](faults, share)
    start_s = time.perf_counter() - began
    calls, wholes, waits = [], [], []
    with ExitStack() as stack:
        stack.callback(case.close)
        undisturbed(case)  # warms up
        for _ in range(repeats):
            call_s, expected = undisturbed(case)
            whole_s, wait_s, answer = disturbed(case, KILL_AFTER * call_s, faults)
            assert answer == expected, f"{name}: the answer after a kill differs from the undisturbed one"
            calls.append(call_s)
            wholes.append(whole_s)
            waits.append(wait_s)
    lost = [whole - call for whole, call in zip(wholes, calls, strict=True)]
    print(
        f"{name:<16} {spread(calls):>18} {spread(waits):>20} {spread(lost):>18} "
        f"{spread([w / c for w, c in zip(wholes, calls, strict=True)]):>18} {start_s:>8.2f}",
        flush=True,
    )


def tiny(folder: Path) -> list[str]:
    # Not less: a kill would miss shorter calls.
    return ["--repeats", "1", "--share", "0.125", "--cases", "rollout"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--share", type=float, default=1.0, help="of the sequences of each call")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("rlgan").setLevel(logging.ERROR)  # each loss is a warning, and here they are the point
    print(f"{machine()}; seed 0, {options.repeats} repeats, seconds: median (least-greatest)")
    print(
        f"{'killed':<16} {'undisturbed call':>18} {'from kill to answer':>20} {'lost':>18} {'disturbed/undist.':>18} "
        f"{'start':>8}"
    )
    with own_cluster():
        for name in options.cases:
            measure(name, options.repeats, options.share)


if __name__ == "__main__":
    main()
