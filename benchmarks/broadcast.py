"""What it costs to hand new weights to rollout actors, against the size of the generator.

    python -m benchmarks.broadcast [--repeats 5] [--actors 1 2] [--hidden 10 96 256 640 1400]

From weights on the driver to a generator that is ready on every actor, in two ways, turn by turn:

* store: as a run does it. `RayRollouts.publish` puts the arrays into the object store, once; each actor maps them and
  copies them into its network (`load_weights`).
* message: the same call with the weights as a plain argument, pickled into the call's message for each actor anew. Ray
  would put such an argument into the store by itself from 100 kB on; here that limit is raised out of the way.

V=5000 and as wide an embedding as the hidden layer. The column `put` is publish alone, `load` the slowest actor's copy
into its network; what is left of the whole is the way. MB/s are those of one copy of the weights over the whole time.
`build` is not part of the others: a new network, its weights and its frozen copy for sampling, which a rollout actor
makes of each new version (`RolloutWorker`); it costs the same wherever the actor runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from benchmarks.common import machine, ratios, seconds, spread
from rlgan.base.weights import Weights, load_weights, weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, Generator, build_generator
from rlgan.policy.credit import MonteCarlo
from rlgan.rollouts.collecting import RolloutPlan
from rlgan.workers.environment import own_cluster
from rlgan.workers.rollout import RolloutActor

TINY_MARKS = ("ray", "slow")

SPACE = SequenceSpace(5000, 20)
PLAN = RolloutPlan(space=SPACE, credit=MonteCarlo(num_rollouts=1), chunk_rows=256)
_NO_LIMIT = 2**31 - 1


class Receiver(RolloutActor):
    """A rollout actor that tells how long weights took it."""

    def __init__(self, generator: LSTM) -> None:
        super().__init__(PLAN, generator, None)
        self._receiver: Generator = build_generator(generator, SPACE)

    def receive(self, weights: Weights) -> tuple[float, float]:
        """Seconds of the copy, and a sum of the weights that shows that they are the right ones."""
        spent = seconds(lambda: load_weights(self._receiver, weights.tensors))
        return spent, float(next(iter(self._receiver.parameters())).detach().flatten()[0])

    def build(self, weights: Weights) -> float:
        """Seconds of what a rollout actor makes of a new version."""
        return seconds(lambda: self._build_policy(weights).sampler)


@dataclass
class Times:
    """Of one way, a value a repeat, in seconds."""

    whole: list[float]
    put: list[float]
    load: list[float]


def hand_over(actors: list[Any], weights: Weights, through_store: bool, times: Times) -> None:
    """Weights to all actors, and wait until all have them."""
    started = time.perf_counter()
    argument = ray.put(weights) if through_store else weights
    put = time.perf_counter() - started
    answers = ray.get([actor.receive.remote(argument) for actor in actors])
    times.whole.append(time.perf_counter() - started)
    times.put.append(put)
    times.load.append(max(spent for spent, _ in answers))
    sent = float(next(iter(weights.tensors.values())).flatten()[0])
    assert all(received == sent for _, received in answers), "an actor has other weights than it was sent"


def measure(hidden: int, num_actors: int, repeats: int) -> None:
    settings = LSTM(embedding=hidden, hidden=hidden)
    torch.manual_seed(0)
    initial = weights_of(build_generator(settings, SPACE), 0)
    num_bytes = initial.num_bytes()
    actors = [ray.remote(num_cpus=0.1)(Receiver).remote(settings) for _ in range(num_actors)]
    ray.get([actor.process.remote() for actor in actors])
    store, message = Times([], [], []), Times([], [], [])
    builds = []
    for repeat in range(repeats + 1):
        # New arrays each time, as after an update; nobody can have them already.
        weights = Weights(repeat, {name: tensor + float(repeat) for name, tensor in initial.tensors.items()})
        hand_over(actors, weights, True, store)
        hand_over(actors, weights, False, message)
        builds.append(max(ray.get([actor.build.remote(ray.put(weights)) for actor in actors])))
    for actor in actors:
        ray.kill(actor)
    for times in (store, message):
        times.whole, times.put, times.load = times.whole[1:], times.put[1:], times.load[1:]  # the first warms up

    def ms(values: list[float]) -> str:
        return spread([1e3 * value for value in values], 1)

    rate = num_bytes / 1e6 / statistics.median(store.whole)
    slow_rate = num_bytes / 1e6 / statistics.median(message.whole)
    print(
        f"{num_bytes / 4e6:>6.2f} {num_bytes / 1e6:>7.1f} {num_actors:>6}  {ms(store.whole):>22} {ms(store.put):>20} "
        f"{ms(store.load):>20} {rate:>6.0f}  {ms(message.whole):>24} {slow_rate:>6.0f}  "
        f"{spread(ratios(message.whole, store.whole)):>18}  {ms(builds[1:]):>22}",
        flush=True,
    )


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--actors", "1", "--hidden", "4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--hidden", type=int, nargs="+", default=[10, 96, 256, 640, 1400])
    options = parser.parse_args()
    torch.set_num_threads(1)
    # With arguments in messages, and only in those: what `ray.put` stores stays in the store.
    limits = {"max_direct_call_object_size": _NO_LIMIT, "task_rpc_inlined_bytes_limit": _NO_LIMIT}
    print(f"{machine()}; seed 0, {options.repeats} repeats, milliseconds: median (least-greatest)")
    print(
        f"{'M par.':>6} {'MB':>7} {'actors':>6}  {'store':>22} {'put':>20} {'load':>20} {'MB/s':>6}  {'message':>24} "
        f"{'MB/s':>6}  {'message / store':>18}  {'build':>22}"
    )
    with own_cluster(_system_config=limits):
        for hidden in options.hidden:
            for num_actors in options.actors:
                measure(hidden, num_actors, options.repeats)


if __name__ == "__main__":
    main()
