"""What Ray and RLlib cost, as ratios: a learner update against bare torch, an iteration on actors against in process.

    python -m benchmarks.overhead [--repeats 5] [--workers 1 2] [--set PATH VALUE ...]

Both at the published SeqGAN sizes (W1 of `benchmarks.speed`). The iteration is a generator update with Monte Carlo
search, fakes for the discriminator and a small round of its training, with 0 rollout workers and on Ray with 1 and 2,
turn by turn, one thread everywhere. One rollout actor does it all, so that nothing gained by parallelism hides the
cost; two show what is gained. Every number of every iteration must be equal to the bit.

Last comes what the driver holds so that it can replace actors: the discriminator's state after each round.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import add_changes, machine, ratios, seconds, spread
from rlgan.config.config import Config, Workers
from rlgan.config.paths import override
from rlgan.envs.tasks import OracleTask, build_task
from rlgan.generators import LSTM, build_generator
from rlgan.layers.optimizers import Adam, build_optimizer, clip_gradients
from rlgan.policy.loss_terms import weighted_nll
from rlgan.presets.sequences import seqgan
from rlgan.sampling.records import Experience
from rlgan.training.iteration import Iteration
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.environment import own_cluster
from rlgan.workers.faults import Faults
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.placement import roles_of

TINY_MARKS = ("ray",)

NUM_TRAIN, BATCH = 1280, 64


def configuration(repeats: int, changes: Mapping[str, Any]) -> Config:
    """Of the iterations; the learner update has its task and its generator."""
    sizes = {
        "schedule.mle_epochs": 0,
        "schedule.discriminator_rounds": 1,
        "schedule.d_steps": 1,
        "schedule.d_epochs": 1,
        "schedule.adversarial_updates": repeats + 1,
        "adversary.sequences_per_round": 640,
        "workers.threads": 1,
        "workers.shard_fakes": 128,
    }
    task = OracleTask(num_train=NUM_TRAIN, num_valid=100, num_test=100)
    return override(override(seqgan(task), sizes), changes)


def learner_update(config: Config, repeats: int) -> None:
    """20 optimiser steps through the learner group and without it."""
    task = build_task(config.task)
    settings = Adam(lr=0.01, clip_norm=5.0)
    assert isinstance(config.generator, LSTM)
    number = len(task.train)
    experience = Experience(task.train, torch.full(task.train.shape, 1.0 / number))
    learners = GeneratorLearners(
        config.generator,
        task.space,
        {"mle": settings, "adversarial": settings},
        roles_of(Workers(), has_discriminator=False).learner,
        1,
        seed=0,
        faults=Faults(3, 600.0),
    )
    bare = build_generator(config.generator, task.space)
    optimizer = build_optimizer(settings, bare.parameters())

    def without() -> None:
        for first in range(0, number, BATCH):
            rows = slice(first, first + BATCH)
            loss = weighted_nll(bare.logprobs(experience.tokens[rows]), experience.weights[rows])
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(bare.parameters(), settings.clip_norm)
            optimizer.step()

    def through() -> None:
        learners.update("mle", experience, BATCH)

    for warm_up in (without, through):
        warm_up()
    pairs = [(seconds(through), seconds(without)) for _ in range(repeats)]
    with_cost, bare_cost = [a for a, _ in pairs], [b for _, b in pairs]
    print(
        f"RLlib, {number // BATCH} learner updates: {spread(with_cost, 3)} s against {spread(bare_cost, 3)} s, "
        f"{spread(ratios(with_cost, bare_cost))}"
    )


STAGES = ("rollouts", "learn", "sample_fakes", "discriminator", "iteration")


def iterations(base: Config, repeats: int, workers: list[int]) -> None:
    """An adversarial iteration in process and on each number of rollout actors, turn by turn."""
    # All of them are there at once and work in turn: reservations are small, so that they fit on any machine.
    cpus = {"workers.cpus_per_rollout": 0.1, "workers.cpus_discriminator": 0.1}
    configs = [base, *(override(base, {"workers.rollout": number, **cpus}) for number in workers)]
    task = build_task(base.task)
    with own_cluster(), ExitStack() as stack:
        parts = [stack.enter_context(build_parts(config, task)) for config in configs]
        trainers = [Trainer(config, task, part) for config, part in zip(configs, parts, strict=True)]
        for trainer in trainers:
            trainer.step(measure=False)
            trainer.step(measure=False)
        units = [[trainer.step(measure=False) for trainer in trainers] for _ in range(repeats)]
        for together in units:
            assert all(numbers(unit) == numbers(together[0]) for unit in together), "the numbers differ"
        print("an iteration's numbers are equal to the bit for", ", ".join(["0", *map(str, workers)]), "workers")
        print(f"{'':<16}{'0, s':>24}" + "".join(f"{f'{number}, s':>24}{f'{number} / 0':>20}" for number in workers))
        for stage in STAGES:
            times = [
                [together[side].metrics[f"timing/{stage}_s"] for together in units] for side in range(len(configs))
            ]
            line = f"{stage:<16}{spread(times[0], 3):>24}"
            for taken in times[1:]:
                line += f"{spread(taken, 3):>24}{spread(ratios(taken, times[0])):>20}"
            print(line)
        held = parts[-1].discriminator
        assert held is not None
        print(
            f"the driver holds of the discriminator {num_bytes(held.state()) / 1e6:.1f} MB with workers, else nothing"
        )


def numbers(unit: Iteration) -> dict[str, float]:
    """Metrics but for times."""
    return {name: value for name, value in unit.metrics.items() if not name.startswith("timing/")}


def num_bytes(state: object) -> int:
    """Of all tensors in a state."""
    if isinstance(state, dict):
        return sum(num_bytes(part) for part in state.values())
    return state.nbytes if isinstance(state, torch.Tensor) else 0


def tiny(folder: Path) -> list[str]:
    sizes = {
        "task.vocab_size": 20,
        "task.max_length": 5,
        "task.num_train": 128,  # whole batches
        "credit.num_rollouts": 1,
        "adversary.sequences_per_round": 64,
        "discriminator.windows": "1,2",
        "discriminator.filters": "4,4",
    }
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    return ["--repeats", "1", "--workers", "1", *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of rollout actors")
    add_changes(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}; seed 0, {options.repeats} repeats: median (least-greatest)")
    config = configuration(options.repeats, dict(options.set))
    learner_update(config, options.repeats)
    iterations(config, options.repeats, options.workers)


if __name__ == "__main__":
    main()
