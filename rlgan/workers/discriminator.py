"""The discriminator's place: in this process or as an actor, the same `Adversary` either way."""

from __future__ import annotations

from typing import Any, Protocol

import ray

from rlgan.adversary import Adversary, Round
from rlgan.seeding import torch_threads

from .weights import Weights, weights_of


class DiscriminatorWorker:
    """Trains a discriminator with a fixed number of threads.

    Args:
        threads: intra-op threads; sums are rounded by it.
        arguments: of `Adversary`.
    """

    def __init__(self, threads: int, **arguments: Any) -> None:
        self._threads = threads
        self._adversary = Adversary(**arguments)
        self._version = 0

    def train_round(self, request: Round) -> dict[str, float]:
        """See `Adversary.train_round`."""
        with torch_threads(self._threads):
            metrics = self._adversary.train_round(request)
        self._version += 1
        return metrics

    def weights(self) -> Weights:
        """Weights of now; the version counts rounds."""
        return weights_of(self._adversary.network, self._version)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {**self._adversary.state(), "version": self._version}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._adversary.restore(state)
        self._version = state["version"]

    def close(self) -> None:
        """Nothing was started."""


class DiscriminatorHandle(Protocol):
    """What the trainer asks of the discriminator's place; see `DiscriminatorWorker`."""

    def train_round(self, request: Round) -> dict[str, float]:
        """Add fakes, train, report."""
        ...

    def weights(self) -> Weights:
        """Weights of now."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class RayDiscriminator:
    """A `DiscriminatorWorker` as a Ray actor.

    Args:
        num_cpus: CPUs that the actor reserves.
        arguments: of `DiscriminatorWorker`.
    """

    def __init__(self, num_cpus: float, **arguments: Any) -> None:
        self._actor = ray.remote(num_cpus=num_cpus)(DiscriminatorWorker).remote(**arguments)

    def train_round(self, request: Round) -> dict[str, float]:
        """See `DiscriminatorWorker.train_round`."""
        result: dict[str, float] = ray.get(self._actor.train_round.remote(request))
        return result

    def weights(self) -> Weights:
        """See `DiscriminatorWorker.weights`."""
        result: Weights = ray.get(self._actor.weights.remote())
        return result

    def state(self) -> dict[str, Any]:
        """See `DiscriminatorWorker.state`."""
        result: dict[str, Any] = ray.get(self._actor.state.remote())
        return result

    def restore(self, state: dict[str, Any]) -> None:
        """See `DiscriminatorWorker.restore`."""
        ray.get(self._actor.restore.remote(state))

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)
