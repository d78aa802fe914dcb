"""What this process is doing at the moment, as a stack of stages: whoever works says so, and whoever shows it looks.

    with stage("mle", "MLE epoch 1"):
        with stage("learn", item="batch", total=4000):
            for batch in batches:
                ...
                advance()

costs next to nothing, shows nothing by itself and changes no number. Stages are opened by the thread that works; others
may look at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(slots=True)
class Stage:
    """Something that is being done.

    Attributes:
        kind: names stages that take alike long.
        name: for people; "" where its count says it all.
        item: what is counted, in the singular.
        total: how many there are; None where nothing is counted.
        began: seconds of the clock.
        done: how many are done.
        before: how many of them were done before the stage began, by a process that was stopped.
        scale: how many times as long the whole takes as what was left of it then.
        first: how many were done when something of it was done for the first time.
        first_ended: seconds of the clock then; None before.
    """

    kind: str
    name: str
    item: str
    total: int | None
    began: float
    done: int = 0
    before: int = 0
    scale: float = 1.0
    first: int = 0
    first_ended: float | None = None

    @property
    def share(self) -> float | None:
        """Share that is done of what was left to do; None where nothing is counted, or nothing is done yet."""
        return (
            (self.done - self.before) / (self.total - self.before) if self.total and self.done > self.before else None
        )

    def lasts(self, now: float) -> tuple[float, float] | None:
        """Seconds of this stage by what it has done so far, and of one that begins warm; None before anything is done.

        The first of what it counts loads libraries and fills caches, which no later one does again. So the pace is that
        of the others, as soon as there are any.
        """
        if self.share is None or self.total is None or self.first_ended is None:
            return None
        total, first, others = self.total - self.before, self.first - self.before, self.done - self.first
        if not others:
            whole = (now - self.began) / self.share
            return whole, whole
        pace = (now - self.first_ended) / others
        return self.first_ended - self.began + pace * (total - first), pace * total

    def __str__(self) -> str:
        counted = f"{self.item} {min(self.done + 1, self.total)} of {self.total}" if self.total else ""
        return ", ".join(filter(None, (self.name, counted)))


class Activity:
    """Stages that are open, outermost first, and who is told when one ends.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._open: tuple[Stage, ...] = ()
        self._listeners: list[Callable[[str, float], None]] = []

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that are open, outermost first."""
        return self._open

    @contextmanager
    def stage(self, kind: str, name: str = "", item: str = "", total: int | None = None) -> Iterator[None]:
        """See `stage`."""
        outside, opened = self._open, Stage(kind, name, item, total, self.clock())
        self._open = (*outside, opened)
        try:
            yield
        finally:
            self._open = outside
        path, took = path_of((*outside, opened)), (self.clock() - opened.began) * opened.scale
        for listener in self._listeners:
            listener(path, took)

    def advance(self, number: int = 1) -> None:
        """See `advance`."""
        if self._open:
            inner = self._open[-1]
            inner.done += number
            if inner.first_ended is None:
                inner.first, inner.first_ended = inner.done, self.clock()

    @contextmanager
    def listening(self, listener: Callable[[str, float], None]) -> Iterator[None]:
        """Tell a function the path and the seconds of each stage that ends without an exception meanwhile."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def already(self, number: int) -> None:
        """See `already`."""
        if self._open and number:
            inner = self._open[-1]
            assert inner.total is not None and number < inner.total
            inner.before = inner.done = number
            for one in self._open:
                one.scale = inner.total / (inner.total - number)


def path_of(stages: tuple[Stage, ...]) -> str:
    """Kinds of stages inside each other: "table/row"."""
    return "/".join(stage.kind for stage in stages)


PROCESS = Activity()
"""Of this process."""

stage = PROCESS.stage
"""A block that is a stage.

    Args:
        kind: names stages that take alike long.
        name: for people; "" where its count says it all.
        item: what is counted, in the singular.
        total: how many there are; None where nothing is counted.
"""
advance = PROCESS.advance
"""Say that so many more of the innermost stage's items are done; nothing where no stage is open."""
already = PROCESS.already
"""Say that so many of the innermost stage's items were done before it began: what is seen of it, and of the stages
around it, is only the rest."""
