"""What a sweep has done: nothing that is finished is lost or done again, whenever the driver dies.

Tune keeps notes of its own, as pickles, which are never read; a sweep is taken up again from these files.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..judge.results import FinalResult, Kind, TrialResult
from ..space.spaces import Point
from .journal import Event, Journal, Unpickled

State = Literal["finished", "stopped", "failed"]


def _nobody(event: object) -> None:
    """Nobody is told."""


@dataclass
class Entry:
    """One trial.

    Attributes:
        index: its number in the sweep, from 0.
        point: what it varies, as it stands.
        draws: name of each dimension → value, as the source of proposals knows them.
        schedule: (adversarial updates done, point from then on) of the generator that it has now, from (0, the first
            point): where it took over another trial's state, what that one had done before.
        taken_from: folder of the checkpoint that it took over last; None if it never did.
        results: (adversarial updates done, objective) at each measurement.
        times: (adversarial updates done, seconds since the measurement before) at each of them.
        measure_s: seconds of its last measurement; None where it was not timed.
        state: how it ended; None while it has not.
        metrics: of its last measurement.
        error: what a failed one raised.
        seconds: that it trained, what was done twice included.
    """

    index: int
    point: Point
    draws: dict[str, Any]
    schedule: list[tuple[int, Point]] = field(default_factory=list)
    taken_from: str | None = None
    results: list[tuple[int, float]] = field(default_factory=list)
    times: list[tuple[int, float]] = field(default_factory=list)
    measure_s: float | None = None
    state: State | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0

    @property
    def value(self) -> float | None:
        """The last objective; None where nothing was measured."""
        return self.results[-1][1] if self.results else None

    @property
    def has_gone_on(self) -> bool:
        """Whether it was measured since it took over another's state, if it ever did."""
        return self.taken_from is None or (bool(self.results) and self.results[-1][0] > self.schedule[-1][0])

    def result(self) -> TrialResult:
        """As it is reported."""
        return TrialResult(
            index=self.index,
            point=self.point,
            state=self.state or "unfinished",
            curve=tuple(self.results),
            metrics={name.removeprefix("eval/"): value for name, value in self.metrics.items()},
            seconds=self.seconds,
            error=self.error,
        )


class Ledger(Unpickled):
    """Trials of the search.

    Args:
        path: of the file.

    Attributes:
        entries: trials by their number.
        contradictions: reason → points that were dropped for it.
        told: is told of each event after it happened, and not of those that are read.

    Raises:
        CheckpointError: the file is not what a sweep wrote.
    """

    def __init__(self, path: Path) -> None:
        self.entries: dict[int, Entry] = {}
        self.contradictions: Counter[str] = Counter()
        self.described: Callable[[Event], None] = _nobody
        self._journal = Journal(path, self._apply)

    def _append(self, **event: Any) -> None:
        self._journal.append(**event)
        self.described(event)

    def _apply(self, event: Event) -> None:
        if event["event"] == "dropped":
            self.contradictions.update(event["reasons"])
            return
        index = event["index"]
        if event["event"] == "begun":
            point = event["point"]
            self.entries[index] = Entry(index, point, event["draws"], [(0, point)])
        elif event["event"] == "result":
            entry, update = self.entries[index], event["update"]
            # A trial that is gone on with from its checkpoint measures again what came after it.
            entry.results = [*(one for one in entry.results if one[0] < update), (update, event["value"])]
            entry.times = [*(one for one in entry.times if one[0] < update), (update, event["seconds"])]
            entry.measure_s = event.get("measure_s")  # older ledgers have none
            entry.metrics = event["metrics"]
            entry.seconds += event["seconds"]
        elif event["event"] == "exploited":
            entry, donor, update = self.entries[index], self.entries[event["donor"]], event["update"]
            entry.point, entry.taken_from = event["point"], event["checkpoint"]
            entry.schedule = [*(one for one in donor.schedule if one[0] < update), (update, entry.point)]
        elif event["event"] == "ended":
            self.entries[index].state, self.entries[index].error = event["state"], event["error"]
        else:
            raise ValueError(event["event"])

    def dropped(self, reasons: Mapping[str, int]) -> None:
        """Points were contradictory."""
        self._append(event="dropped", reasons=dict(reasons))

    def begun(self, index: int, point: Point, draws: dict[str, Any]) -> None:
        """A trial begins."""
        self._append(event="begun", index=index, point=point, draws=draws)

    def result(
        self,
        index: int,
        update: int,
        value: float,
        metrics: dict[str, float],
        seconds: float,
        measure_s: float | None = None,
    ) -> None:
        """A trial was measured, `seconds` after it was before, of which measuring took `measure_s`."""
        self._append(
            event="result",
            index=index,
            update=update,
            value=value,
            metrics=metrics,
            seconds=seconds,
            measure_s=measure_s,
        )

    def exploited(self, index: int, donor: int, update: int, point: Point, checkpoint: str) -> None:
        """A trial goes on from another's state after `update` updates, kept in `checkpoint`, at a point of its own."""
        self._append(event="exploited", index=index, donor=donor, update=update, point=point, checkpoint=checkpoint)

    def ended(self, index: int, state: State, error: str | None = None) -> None:
        """A trial is over."""
        self._append(event="ended", index=index, state=state, error=error)

    def unfinished(self) -> list[Entry]:
        """Trials that began and have not ended, in order."""
        return [entry for _, entry in sorted(self.entries.items()) if entry.state is None]

    def ranked(self) -> list[Entry]:
        """Trials that ended with a value, the best first: those that were not stopped before those that were."""
        ended = [entry for entry in self.entries.values() if entry.state in ("finished", "stopped") and entry.results]
        return sorted(ended, key=_standing)


def _standing(entry: Entry) -> tuple[bool, float, int]:
    assert entry.value is not None
    return entry.state != "finished", entry.value if math.isfinite(entry.value) else math.inf, entry.index


@dataclass(frozen=True, slots=True)
class FinalRun:
    """One run of the final race.

    Attributes:
        entrant: who ran.
        kind: as what.
        seed: of the run.
        results: one a temperature; empty if it failed.
        seconds: that it took.
        error: what a failed one raised.
    """

    entrant: str
    kind: Kind
    seed: int
    results: tuple[FinalResult, ...]
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Model:
    """A generator in the registry.

    Attributes:
        name: of the registered model.
        version: of it.
        entrant: whose run it is of.
        seed: of that run.
        temperature: at which it samples.
    """

    name: str
    version: int
    entrant: str
    seed: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who runs in the final race.

    Attributes:
        entrants: names of all.
        beside: name of each finalist → the entrants that are its floor and its ceiling, who may be None.
    """

    entrants: tuple[str, ...]
    beside: Mapping[str, tuple[str | None, str | None]]


class FinalLedger(Unpickled):
    """Runs of the final race.

    Args:
        path: of the file.

    Attributes:
        chosen: who runs: name of each finalist → (floor, ceiling), and the names of all; None before.
        runs: (entrant, seed) → its run.
        model: what was registered last; None before.
        told: is told of each run after it ended, and not of those that are read.

    Raises:
        CheckpointError: the file is not what a sweep wrote.
    """

    def __init__(self, path: Path) -> None:
        self.chosen: Chosen | None = None
        self.runs: dict[tuple[str, int], FinalRun] = {}
        self.model: Model | None = None
        self.described: Callable[[FinalRun], None] = _nobody
        self._journal = Journal(path, self._apply)

    def _apply(self, event: Event) -> None:
        if event["event"] == "chosen":
            beside = {name: (floor, ceiling) for name, (floor, ceiling) in event["beside"].items()}
            self.chosen = Chosen(tuple(event["entrants"]), beside)
        elif event["event"] == "ran":
            who, kind, seed = event["entrant"], event["kind"], event["seed"]
            results = tuple(
                FinalResult(
                    who,
                    kind,
                    seed,
                    one["temperature"],
                    one["validation"],
                    one["test"],
                    tuple(one.get("samples", ())),
                    tuple((source, real) for source, real in one.get("beside", ())),
                )
                for one in event["results"]
            )
            self.runs[who, seed] = FinalRun(who, kind, seed, results, event["seconds"], event["error"])
        elif event["event"] == "registered":
            self.model = Model(event["name"], event["version"], event["entrant"], event["seed"], event["temperature"])
        else:
            raise ValueError(event["event"])

    def choose(self, chosen: Chosen) -> None:
        """Others ran before, perhaps: only these are judged."""
        if chosen != self.chosen:
            self._journal.append(event="chosen", entrants=list(chosen.entrants), beside=dict(chosen.beside))

    def ran(
        self, entrant: str, kind: Kind, seed: int, results: list[dict[str, Any]], seconds: float, error: str | None
    ) -> None:
        """A run is over."""
        self._journal.append(
            event="ran", entrant=entrant, kind=kind, seed=seed, results=results, seconds=seconds, error=error
        )
        self.described(self.runs[entrant, seed])

    def registered(self, model: Model) -> None:
        """The best generator is in the registry."""
        self._journal.append(event="registered", **dataclasses.asdict(model))

    def results(self) -> tuple[FinalResult, ...]:
        """Of those who were chosen last, with seeds that all of them have run, well or badly.

        A race that was broken off, or whose finalists changed, would else be won by who ran when it was easy.
        """
        if self.chosen is None:
            return ()
        seeds = dict.fromkeys(seed for _, seed in self.runs)
        whole = [seed for seed in seeds if all((name, seed) in self.runs for name in self.chosen.entrants)]
        return tuple(
            result for seed in whole for name in self.chosen.entrants for result in self.runs[name, seed].results
        )
