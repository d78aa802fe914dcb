"""What Ray and RLlib cost, as ratios: a learner update against bare torch, an iteration on an actor against in process.

    python -m benchmarks.overhead [--repeats 5]

Both at the published SeqGAN sizes (W1 of `benchmarks.speed`). The iteration is a generator update with Monte Carlo
search, without discriminator rounds, which are the same work wherever they run; one rollout actor does it all, so that
nothing is gained by parallelism that could hide the cost.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from rlgan.config import Workers
from rlgan.envs.tasks import OracleTask, build_task
from rlgan.generators import LSTM, build_generator
from rlgan.objectives import weighted_nll
from rlgan.optimizers import Adam, build_optimizer, clip_gradients
from rlgan.overrides import override
from rlgan.presets import seqgan
from rlgan.records import Experience
from rlgan.trainer import Trainer
from rlgan.workers.faults import Faults
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.parts import build_parts
from rlgan.workers.placement import roles_of


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def show(name: str, with_cost: list[float], bare: list[float]) -> None:
    ratios = [a / b for a, b in zip(with_cost, bare, strict=True)]
    print(
        f"{name:<44} {statistics.median(with_cost) * 1e3:9.1f} ms against {statistics.median(bare) * 1e3:9.1f} ms: "
        f"{statistics.median(ratios):.3f}x ({min(ratios):.3f}-{max(ratios):.3f})"
    )


def learner_update(repeats: int) -> None:
    """20 optimiser steps through the learner group and without it."""
    config = seqgan()
    task = build_task(OracleTask(num_train=1280, num_valid=10, num_test=10))
    settings = Adam(lr=0.01, clip_norm=5.0)
    experience = Experience(task.train, torch.full((1280, 20), 1.0 / 1280))
    learners = GeneratorLearners(
        config.generator,
        task.space,
        {"mle": settings, "adversarial": settings},
        roles_of(Workers(), has_discriminator=False).learner,
        1,
        seed=0,
        faults=Faults(3, 600.0),
    )
    bare = build_generator(LSTM(), task.space)
    optimizer = build_optimizer(settings, bare.parameters())

    def without() -> None:
        for rows in range(0, 1280, 64):
            loss = weighted_nll(
                bare.logprobs(experience.tokens[rows : rows + 64]), experience.weights[rows : rows + 64]
            )
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(bare.parameters(), settings.clip_norm)
            optimizer.step()

    def through() -> None:
        learners.update("mle", experience, 64)

    for warm_up in (without, through):
        warm_up()
    pairs = [(seconds(through), seconds(without)) for _ in range(repeats)]
    show("RLlib: 20 learner updates", [a for a, _ in pairs], [b for _, b in pairs])


def iteration(repeats: int) -> None:
    """A generator update with its rollouts on one actor and in process, turn by turn."""
    base = override(
        seqgan(OracleTask(num_train=1280, num_valid=100, num_test=100)),
        {
            "schedule.mle_epochs": 0,
            "schedule.discriminator_rounds": 1,
            "schedule.d_steps": 0,
            "schedule.d_epochs": 1,
            "schedule.adversarial_updates": repeats + 2,
            "adversary.sequences_per_round": 64,
            "workers.threads": 1,
        },
    )
    task = build_task(base.task)
    on_ray = override(base, {"workers.rollout": 1, "workers.cpus_per_rollout": 0.5, "workers.cpus_discriminator": 0.5})
    with build_parts(base, task) as here, build_parts(on_ray, task) as there:
        trainers = [Trainer(on_ray, task, there), Trainer(base, task, here)]
        for trainer in trainers:
            trainer.step(measure=False)
            trainer.step(measure=False)
        pairs = [[seconds(lambda t=trainer: t.step(measure=False)) for trainer in trainers] for _ in range(repeats)]
    show("Ray: an iteration on one rollout actor", [a for a, _ in pairs], [b for _, b in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    learner_update(options.repeats)
    iteration(options.repeats)


if __name__ == "__main__":
    main()
