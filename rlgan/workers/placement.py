"""Where actors stand: what each role reserves, whether the cluster has it, and who gives way when nodes leave.

The discriminator and the learners are what a run cannot do without: their places are reserved in placement groups, all
of a role or none. Rollout workers are spread over whatever room there is, and come and go with the nodes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlgan.base.errors import ConfigError

from .faults import WorkerLostError

if TYPE_CHECKING:
    from rlgan.config.config import Workers

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_GIVE_WAY_AFTER_S = 5.0  # the room of an actor that was ended is free again within a second or two
_REPORT_AFTER_S = 15.0  # a loaded machine takes so long to start a few processes
_REPORT_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Role:
    """Actors of one kind.

    Attributes:
        name: for people.
        number: how many.
        cpus: CPUs that each reserves.
        gpus: GPUs that each reserves; a fraction shares one.
    """

    name: str
    number: int
    cpus: float
    gpus: float

    @property
    def bundle(self) -> dict[str, float]:
        """What one of them reserves, as Ray names it."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}

    def __str__(self) -> str:
        return f"{self.number} × {self.name}: {shown(self.bundle)} each"


def shown(resources: dict[str, float]) -> str:
    """CPUs and GPUs in words."""
    return " and ".join(f"{resources.get(name, 0.0):g} {name}s" for name in ("CPU", "GPU") if name in resources)


def free() -> str:
    """CPUs and GPUs of the cluster that nobody has reserved, in words."""
    return shown({"CPU": 0.0, **ray.available_resources()})


@contextmanager
def reporting_wait(role: Role) -> Iterator[None]:
    """Log what is waited for, and what is free, for as long as the block lasts; nothing where it is short.

    Args:
        role: the actors that have no place yet, or have not started.
    """
    over, began = threading.Event(), time.monotonic()

    def report() -> None:
        pause = _REPORT_AFTER_S
        while not over.wait(pause):
            pause, unreserved = _REPORT_EVERY_S, free()
            if not over.is_set():
                waited = time.monotonic() - began
                logger.warning(
                    "waiting for %s (for %.0f s so far); free on the cluster: %s. An actor starts when its "
                    "resources are free and its process is running.",
                    role,
                    waited,
                    unreserved,
                )

    threading.Thread(target=report, name="reports a wait", daemon=True).start()
    try:
        yield
    finally:
        over.set()


class Roles(NamedTuple):
    """The actors of a run; none of a role that stays in the driver's process.

    Attributes:
        discriminator: one or none.
        learner: data-parallel learners.
        rollout: rollout workers.
    """

    discriminator: Role
    learner: Role
    rollout: Role


def roles_of(workers: Workers, has_discriminator: bool) -> Roles:
    """What the settings ask for."""
    is_elsewhere = has_discriminator and workers.rollout > 0
    return Roles(
        Role("discriminator", int(is_elsewhere), workers.cpus_discriminator, workers.gpus_discriminator),
        # A learner on a GPU leaves its CPU idle.
        Role("learner", workers.learners, 0.0 if workers.gpus_per_learner else 1.0, workers.gpus_per_learner),
        Role("rollout worker", workers.rollout, workers.cpus_per_rollout, workers.gpus_per_rollout),
    )


def require_room(asked: Sequence[Role], wait_s: float) -> None:
    """Say at once what is missing: an actor that no node can ever hold would wait for it for ever.

    Args:
        asked: what will be started.
        wait_s: seconds to wait for an autoscaler, or a person, to add nodes.

    Raises:
        ConfigError: the cluster has not grown to what is asked for.
    """
    roles = [role for role in asked if role.number]
    if (missing := _missing(roles)) and wait_s:
        logger.warning("%s Waiting for nodes, at most %g seconds.", missing, wait_s)
        request_resources(bundles=[role.bundle for role in roles for _ in range(role.number)])
        try:
            end = time.monotonic() + wait_s
            while (missing := _missing(roles)) and time.monotonic() < end:
                time.sleep(_LOOK_EVERY_S)
        finally:
            request_resources(bundles=[])  # from now on the actors themselves are what keeps nodes
    if missing:
        raise ConfigError(
            f"{missing} Lower the number of workers or the resources of each, or add nodes "
            "(workers.start_timeout_s waits for them).",
            code="cluster_too_small",
        )


def _missing(roles: Sequence[Role]) -> str | None:
    """What the nodes of now cannot hold, in a sentence; None where they hold it if nobody else uses them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked, present = _totals(roles), {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    listed = "; ".join(map(str, roles))
    if any(asked[name] > present[name] + 1e-6 for name in asked):
        return f"workers: need {shown(asked)} ({listed}), but the cluster has {shown(present)}."
    for role in roles:
        if not any(all(node.get(name, 0.0) >= amount for name, amount in role.bundle.items()) for node in nodes):
            return f"workers: no node of the cluster has {shown(role.bundle)} for one {role.name} ({listed})."
    return None


def _totals(roles: Sequence[Role]) -> dict[str, float]:
    totals = {name: sum(role.number * role.bundle.get(name, 0.0) for role in roles) for name in ("CPU", "GPU")}
    return {name: amount for name, amount in totals.items() if amount or name == "CPU"}


class Reservation:
    """Room for actors that are started and lost together.

    Attributes:
        group: the placement group; None inside a Tune trial, whose own group holds all its actors.
    """

    def __init__(self, group: PlacementGroup | None) -> None:
        self.group = group

    @property
    def options(self) -> dict[str, Any]:
        """Options of an actor that stands here."""
        return {} if self.group is None else {"scheduling_strategy": PlacementGroupSchedulingStrategy(self.group)}

    def release(self) -> None:
        """Give the room back; actors that stand there are ended."""
        if self.group is not None:
            remove_placement_group(self.group)


class Room:
    """The places of one run.

    Args:
        timeout_s: seconds to wait for room before the run stops.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        # A Tune trial is given one group for all its actors, and what it starts is put there by Ray.
        self._has_group = get_current_placement_group() is not None
        self._give_way: Callable[[str], None] = lambda _: None

    def yielded_by(self, give_way: Callable[[str], None]) -> None:
        """Name who makes room, a little with each call, when what cannot be done without has no place.

        Args:
            give_way: is told for whom.
        """
        self._give_way = give_way

    @property
    def spread(self) -> dict[str, Any]:
        """Options of actors that stand wherever there is room, on as many nodes as possible."""
        return {} if self._has_group else {"scheduling_strategy": "SPREAD"}

    def reserve(self, role: Role) -> Reservation:
        """Room for all actors of a role, as close together as they fit.

        Raises:
            WorkerLostError: there was none in time.
        """
        if self._has_group:
            return Reservation(None)
        group = placement_group([role.bundle] * role.number, strategy="PACK")
        started = time.monotonic()
        with reporting_wait(role):
            while not group.wait(min(_GIVE_WAY_AFTER_S, self._timeout_s)):
                if time.monotonic() - started > self._timeout_s:
                    remove_placement_group(group)
                    raise WorkerLostError(
                        f"no node had free resources for {self._timeout_s:g} seconds (workers.call_timeout_s): "
                        f"{role}; free on the cluster: {free()}. Add a node, or stop other work on the cluster; "
                        "then --resume."
                    )
                self._give_way(role.name)
        return Reservation(group)
