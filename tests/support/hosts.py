"""Actors that move into processes which are running already: importing torch takes longer than the runs of many tests.

Everything else is Ray's: processes apart, serialised arguments, the object store, one call after the other. What a test
must not ask here is what happens when an actor is lost, for the process lives on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import ray

from rlgan.workers import discriminator, rollout


class _Process:
    """One after the other, it is whatever actor it is told to be."""

    def __init__(self) -> None:
        self._actor: Any = None

    def become(self, actor_class: type, *arguments: Any, **named: Any) -> None:
        self._actor = None  # should this fail, calls must not reach the one before
        self._actor = actor_class(*arguments, **named)

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._actor, method)(*arguments)


class _Handle:
    """What an actor's handle is: a method's name has `remote`."""

    def __init__(self, host: Any) -> None:
        self._host = host

    def __getattr__(self, method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: self._host.call.remote(method, *arguments))


class Hosts:
    """Processes that actors move in and out of, as many as ever lived at once."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._free: list[Any] = []

    @contextmanager
    def taking_in(self) -> Iterator[None]:
        """Rollout workers and discriminators that are started meanwhile move in, and those that are killed move out."""
        with pytest.MonkeyPatch.context() as patch:
            for module in (rollout, discriminator):
                patch.setattr(module, "ray", self._ray())
            yield

    def _ray(self) -> ModuleType:
        """Ray, but for starting and killing actors."""
        ours = ModuleType("ray")
        ours.__dict__.update(ray.__dict__)
        ours.remote = lambda **_: self._remote  # type: ignore[attr-defined]
        ours.kill = lambda handle: self._free.append(handle._host)  # type: ignore[attr-defined]
        return ours

    def _remote(self, actor_class: type) -> SimpleNamespace:
        def move_in(*arguments: Any, **named: Any) -> _Handle:
            if not self._free:
                self._all.append(ray.remote(num_cpus=0)(_Process).remote())
                self._free.append(self._all[-1])
            handle = _Handle(self._free.pop())
            handle._host.become.remote(actor_class, *arguments, **named)
            return handle

        factory = SimpleNamespace(remote=move_in)
        factory.options = lambda **_: factory
        return factory

    def close(self) -> None:
        """End the processes."""
        for host in self._all:
            ray.kill(host)
