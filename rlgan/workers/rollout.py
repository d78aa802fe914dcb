"""Rollout workers: whoever runs a shard, in this process or on a cluster, runs the same function.

The pool hands shards to whichever worker is free and returns the results in the order of the shards. Weights travel
with every call, so a worker that was restarted needs nothing but its next task; it keeps the networks of the versions
that it saw last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray

from rlgan.discriminators import DiscriminatorSettings, Scorer, build_discriminator
from rlgan.generators import GeneratorSettings, Stepper, build_generator
from rlgan.records import Rollouts
from rlgan.rollouts import RolloutPlan, Shard, collect
from rlgan.seeding import torch_threads

from .weights import Weights, load_weights

SHARD_THREADS = 1
"""Threads that compute a shard wherever it runs: two one-thread processes beat one two-thread process, and sums are
rounded by the number of threads."""

_MAX_RESTARTS = 3

Built = TypeVar("Built")


class _Latest(Generic[Built]):
    """Something built from the weights of one version, kept until another version is asked for."""

    def __init__(self, build: Callable[[Weights], Built]) -> None:
        self._build = build
        self._version: int | None = None
        self._built: Built | None = None

    def of(self, weights: Weights) -> Built:
        if self._built is None or self._version != weights.version:
            self._built = None  # free the old one before the new one is made
            self._built = self._build(weights)
            self._version = weights.version
        return self._built


class RolloutWorker:
    """Computes shards.

    Args:
        plan: common to the run.
        generator: architecture of the generator.
        discriminator: architecture of the discriminator, or None.
    """

    def __init__(
        self, plan: RolloutPlan, generator: GeneratorSettings, discriminator: DiscriminatorSettings | None
    ) -> None:
        self._plan, self._generator, self._discriminator = plan, generator, discriminator
        self._policy: _Latest[Stepper] = _Latest(self._stepper)
        self._rollout_policy: _Latest[Stepper] = _Latest(self._stepper)
        self._scorer: _Latest[Scorer] = _Latest(self._build_scorer)

    def _stepper(self, weights: Weights) -> Stepper:
        return load_weights(build_generator(self._generator, self._plan.space), weights.arrays).eval().stepper()

    def _build_scorer(self, weights: Weights) -> Scorer:
        assert self._discriminator is not None
        return load_weights(build_discriminator(self._discriminator, self._plan.space), weights.arrays).scorer()

    def run(
        self, shard: Shard, generator: Weights, rollout_policy: Weights | None, discriminator: Weights | None
    ) -> Rollouts:
        """Compute one shard with one thread.

        Args:
            shard: which part of which batch.
            generator: weights of the policy that samples.
            rollout_policy: weights of the policy that continues prefixes, or None where none are continued.
            discriminator: weights of the discriminator that scores, or None.

        Returns:
            The shard's rollouts.
        """
        with torch_threads(SHARD_THREADS):
            return collect(
                self._plan,
                shard,
                self._policy.of(generator),
                None if rollout_policy is None else self._rollout_policy.of(rollout_policy),
                None if discriminator is None else self._scorer.of(discriminator),
            )


class RolloutPool(Protocol):
    """Computes many shards."""

    def publish(self, weights: Weights) -> Any:
        """Hand weights over once; the returned handle stands for them in `collect`."""
        ...

    def collect(
        self, shards: Sequence[Shard], generator: Any, rollout_policy: Any | None, discriminator: Any | None
    ) -> list[Rollouts]:
        """Rollouts of all shards, in their order; the last three are handles from `publish`."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class LocalRollouts:
    """One worker in this process.

    Args:
        worker: computes the shards.
    """

    def __init__(self, worker: RolloutWorker) -> None:
        self._worker = worker

    def publish(self, weights: Weights) -> Weights:
        """See `RolloutPool.publish`."""
        return weights

    def collect(
        self,
        shards: Sequence[Shard],
        generator: Weights,
        rollout_policy: Weights | None,
        discriminator: Weights | None,
    ) -> list[Rollouts]:
        """See `RolloutPool.collect`."""
        return [self._worker.run(shard, generator, rollout_policy, discriminator) for shard in shards]

    def close(self) -> None:
        """See `RolloutPool.close`."""


@dataclass
class RayRollouts:
    """Rollout actors on a Ray cluster.

    Args:
        plan: common to the run.
        generator: architecture of the generator.
        discriminator: architecture of the discriminator, or None.
        num_workers: actors.
        cpus_per_worker: CPUs that each reserves.
    """

    plan: RolloutPlan
    generator: GeneratorSettings
    discriminator: DiscriminatorSettings | None
    num_workers: int
    cpus_per_worker: float

    def __post_init__(self) -> None:
        remote = ray.remote(num_cpus=self.cpus_per_worker, max_restarts=_MAX_RESTARTS, max_task_retries=_MAX_RESTARTS)(
            RolloutWorker
        )
        self._actors = [remote.remote(self.plan, self.generator, self.discriminator) for _ in range(self.num_workers)]

    def publish(self, weights: Weights) -> ray.ObjectRef:
        """See `RolloutPool.publish`: into the object store, from where each node fetches it once."""
        return ray.put(weights)

    def collect(
        self,
        shards: Sequence[Shard],
        generator: ray.ObjectRef,
        rollout_policy: ray.ObjectRef | None,
        discriminator: ray.ObjectRef | None,
    ) -> list[Rollouts]:
        """See `RolloutPool.collect`."""
        results: dict[int, Rollouts] = {}
        running: dict[Any, tuple[int, Any]] = {}
        idle, waiting = list(self._actors), list(enumerate(shards))[::-1]
        while waiting or running:
            while waiting and idle:
                index, shard = waiting.pop()
                actor = idle.pop()
                running[actor.run.remote(shard, generator, rollout_policy, discriminator)] = (index, actor)
            finished, _ = ray.wait(list(running))
            for reference in finished:
                index, actor = running.pop(reference)
                results[index] = ray.get(reference)
                idle.append(actor)
        return [results[index] for index in range(len(shards))]

    def close(self) -> None:
        """See `RolloutPool.close`."""
        for actor in self._actors:
            ray.kill(actor)
