"""What the phases of a run share: what they drive and draw from, and how long things took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from rlgan.base.weights import Tensors, network_of
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.generators import Generator, build_generator
from rlgan.sampling.records import Rollouts
from rlgan.schedule.phases import Phase

from .parts import DiscriminatorHandle, Parts
from .real_sequences import RealSequences


class Timings:
    """Seconds of the current iteration by name, names as in docs/metrics.md.

    Attributes:
        last_s: of the block that ended last.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.last_s = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.last_s = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + self.last_s

    def taken(self) -> dict[str, float]:
        """Those since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds


@dataclass(frozen=True)
class Shared:
    """What the phases of a run share.

    Attributes:
        config: the whole configuration.
        task: of the run.
        parts: rollout pool, discriminator and learners.
        real: training sequences, as the run draws them.
        timings: of the current iteration.
    """

    config: Config
    task: Task
    parts: Parts
    real: RealSequences
    timings: Timings = field(default_factory=Timings)

    @property
    def discriminator(self) -> DiscriminatorHandle:
        """That of a run that has one."""
        assert self.parts.discriminator is not None
        return self.parts.discriminator

    def leak_features(self) -> None:
        """Let the generator's copy of the discriminator's features be that of the discriminator of now."""
        generator, learners = self.config.generator, self.parts.learners
        if generator.prefix_features is not None:
            copied = generator.copied_of(self.discriminator.weights().complete)
            learners.load({**learners.weights().complete, **copied})

    def generator_from(self, weights: Tensors) -> Generator:
        """A generator with the given weights, in this process, in evaluation mode; reads a base where it lies."""
        return network_of(lambda: build_generator(self.config.generator, self.task.space), weights).eval()


@dataclass(frozen=True, slots=True)
class Done:
    """What one step of a phase did.

    Attributes:
        metrics: name → value.
        rollouts: of its generator updates, in order.
    """

    metrics: dict[str, float]
    rollouts: tuple[Rollouts, ...] = ()


class Remembers(Protocol):
    """Whoever owns a part of the trainer's state."""

    def state(self) -> dict[str, Any]:
        """What it remembers: its own keys of the trainer's state. A copy: training that goes on does not change it."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take its own keys out of the trainer's state."""
        ...


class TrainingPhase(Remembers, Protocol):
    """A phase of training: owns what it remembers, and knows when it is over."""

    name: ClassVar[Phase]

    @property
    def num_done(self) -> int:
        """Iterations done."""
        ...

    @property
    def is_finished(self) -> bool:
        """Whether no iteration is left."""
        ...

    @property
    def title(self) -> str:
        """The next iteration, for people."""
        ...

    def step(self) -> Done:
        """Do the next iteration."""
        ...

    def end(self) -> None:
        """Be finished now, as after the last iteration."""
        ...
