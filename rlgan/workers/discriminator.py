"""The discriminator's place: in this process or as an actor, the same `Adversary` either way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from rlgan.adversary.training import Adversary, Round
from rlgan.base.devices import device_of
from rlgan.base.memory import naming_what_to_lower
from rlgan.base.threads import torch_threads
from rlgan.base.weights import Base, Weights, packed, trained_of, unpacked

from .faults import Faults
from .placement import Reservation, Role, Room, reporting_wait
from .processes import ProcessInfo, require_same_versions, this_process


class DiscriminatorWorker:
    """Trains a discriminator with a fixed number of threads.

    Args:
        threads: intra-op threads; sums are rounded by it.
        gpus: above 0 it trains on a GPU.
        arguments: of `Adversary`.

    Raises:
        ConfigError: there is no GPU where one is asked for.
    """

    def __init__(self, threads: int, gpus: float, **arguments: Any) -> None:
        self._threads = threads
        self._adversary = Adversary(**arguments, device=device_of("workers.gpus_discriminator", gpus))
        self._version = 0
        self._snapshot: Weights | None = None

    def train_round(self, request: Round) -> dict[str, float]:
        """See `Adversary.train_round`."""
        advice = (
            "Set adversary.tokens_at_once, or lower it: gradients stay those of whole minibatches. Otherwise lower "
            "adversary.batch, or adversary.sequences_per_round."
        )
        with torch_threads(self._threads), naming_what_to_lower("the discriminator", advice):
            metrics = self._adversary.train_round(request)
        self._version += 1
        self._snapshot = None
        return metrics

    def weights(self) -> Weights:
        """Weights of now; the version counts rounds."""
        if self._snapshot is None:
            self._snapshot = Weights(self._version, trained_of(self._adversary.network), self._adversary.base)
        return self._snapshot

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {**self._adversary.state(), "version": self._version}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._adversary.restore(state)
        self._version, self._snapshot = state["version"], None

    def close(self) -> None:
        """Nothing was started."""


class DiscriminatorActor(DiscriminatorWorker):
    """A `DiscriminatorWorker` that hands out its state with every answer, so that the driver can replace it."""

    def advance(self, request: Round) -> tuple[dict[str, float], dict[str, Any]]:
        """Train, and what has come of it."""
        metrics = self.train_round(request)
        return metrics, self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """`state` as arrays, without the base of the weights, which is `base`."""
        state: dict[str, Any] = packed({**self.state(), "weights": self.weights().tensors})
        return state

    def base(self) -> Base | None:
        """What training leaves alone in the network."""
        return self._adversary.base

    def restore_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Put back what `snapshot` returned."""
        self.restore(unpacked(snapshot))

    def process(self) -> ProcessInfo:
        """Which process this actor is."""
        return this_process()


class RayDiscriminator:
    """A `DiscriminatorWorker` as a Ray actor that may be lost at any moment.

    The driver holds the state after each round. A lost actor is made anew from it and repeats its round.

    Args:
        faults: how often a call is tried again.
        room: where it stands.
        role: what it reserves.
        arguments: of `DiscriminatorWorker`.

    Attributes:
        process: which process the actor is.
    """

    def __init__(self, faults: Faults, room: Room, role: Role, **arguments: Any) -> None:
        self._faults, self._room, self._role = faults, room, role
        self._place: Reservation | None = None
        self._remote = ray.remote(num_cpus=role.cpus, num_gpus=role.gpus)(DiscriminatorActor)
        # Training data goes into the object store once, however often the actor is made.
        self._arguments = {name: ray.put(value) for name, value in arguments.items()}
        self._actor: Any = None
        # What the driver holds: one copy of what is trained, of the version that is, and one of the base.
        self._snapshot: dict[str, Any] | None = None
        self._base: Base | None = None
        self._weights: Weights | None = None
        self._snapshot = self._retry(self._begin)
        require_same_versions("the discriminator", self.process)

    def _begin(self) -> dict[str, Any]:
        self._replace()
        self._base = self._ask("base")
        snapshot: dict[str, Any] = self._ask("snapshot")
        return snapshot

    def _retry(self, call: Callable[[], Any]) -> Any:
        who = "the discriminator" + (f" ({self.process})" if self._snapshot is not None else "")
        return self._faults.retry("discriminator", who, call, self._replace)

    def _ask(self, method: str, *arguments: Any) -> Any:
        return ray.get(getattr(self._actor, method).remote(*arguments), timeout=self._faults.call_timeout_s)

    def _replace(self) -> None:
        """A new actor, in the state that the driver holds."""
        self.close()  # it may only be hung
        self._place = self._room.reserve(self._role)
        self._actor = self._remote.options(**self._place.options).remote(**self._arguments)
        with reporting_wait(self._role):
            self.process: ProcessInfo = ray.get(self._actor.process.remote(), timeout=self._faults.start_timeout_s)
        if self._snapshot is not None:
            self._ask("restore_snapshot", self._whole())

    def _whole(self) -> dict[str, Any]:
        """The state that the driver holds, with the base, as arrays."""
        assert self._snapshot is not None
        base = {} if self._base is None else packed(self._base.tensors)
        return {**self._snapshot, "weights": {**base, **self._snapshot["weights"]}}

    def train_round(self, request: Round) -> dict[str, float]:
        """See `DiscriminatorWorker.train_round`."""
        metrics: dict[str, float]
        metrics, self._snapshot = self._retry(lambda: self._ask("advance", request))
        self._weights = None
        return metrics

    def weights(self) -> Weights:
        """See `DiscriminatorWorker.weights`."""
        assert self._snapshot is not None
        if self._weights is None:
            tensors = unpacked(self._snapshot["weights"], copies=False)
            self._weights = Weights(self._snapshot["version"], tensors, self._base)
        return self._weights

    def state(self) -> dict[str, Any]:
        """See `DiscriminatorWorker.state`."""
        state: dict[str, Any] = unpacked(self._whole())
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """See `DiscriminatorWorker.restore`."""
        whole = packed(state)

        def put_back() -> tuple[Base | None, dict[str, Any]]:
            self._ask("restore_snapshot", whole)
            return self._ask("base"), self._ask("snapshot")

        self._base, self._snapshot = self._retry(put_back)
        self._weights = None

    def close(self) -> None:
        """End the actor."""
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None
        if self._place is not None:
            self._place.release()
            self._place = None
