"""What came of a sweep, as plain data: what is drawn, shown and uploaded, whether it is read from a folder or a server.

Metrics here are named as in docs/metrics.md, without `eval/`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..space.spaces import Point

TrialState = Literal["finished", "stopped", "failed", "unfinished"]
Kind = Literal["finalist", "control", "ceiling"]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of the search, measured on validation data.

    Attributes:
        index: its number in the sweep, from 0.
        point: name of each dimension that was active for it → value.
        state: how it ended; "stopped" is by a scheduler before its end.
        curve: (adversarial updates done, objective) at each measurement, in order.
        metrics: of its last measurement.
        seconds: that it trained.
        error: what a failed one raised.
    """

    index: int
    point: Point
    state: TrialState
    curve: tuple[tuple[int, float], ...]
    metrics: Mapping[str, float]
    seconds: float = 0.0
    error: str | None = None

    @property
    def value(self) -> float | None:
        """The last objective; None where nothing was measured."""
        return self.curve[-1][1] if self.curve else None


def in_standing(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """Trials that were measured, the best first. Those that finished come before those that made fewer updates.

    A trial that was stopped early, or is not done, was measured after fewer updates, so that its objective does not
    compare with that of one that finished. Values that are not finite come last of either.
    """

    def place(trial: TrialResult) -> tuple[bool, float, int]:
        assert trial.value is not None
        return trial.state != "finished", trial.value if math.isfinite(trial.value) else math.inf, trial.index

    return sorted((trial for trial in trials if trial.value is not None), key=place)


@dataclass(frozen=True, slots=True)
class FinalResult:
    """One entrant of the final race, with one seed and at one temperature.

    Attributes:
        entrant: "trial 7", "MLE", "mle_continued", "oracle_ratio".
        kind: a finalist of the search, a control that it has to beat, or the ceiling, which knows the distribution.
        seed: of the whole run, its start included.
        temperature: that divided the logits.
        validation: on validation data; whatever is chosen (temperature, winner) is chosen by these.
        test: on test data; reported, and never chosen by.
        samples: some of what it wrote; empty where they were not kept.
        beside: of each sample what it was given, or None, and a sequence of the test split that was given the same;
            empty in sweeps of older versions, which wrote what was given before the sample.
    """

    entrant: str
    kind: Kind
    seed: int
    temperature: float
    validation: Mapping[str, float]
    test: Mapping[str, float]
    samples: tuple[str, ...] = ()
    beside: tuple[tuple[str | None, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """How the winner is trained again.

    Attributes:
        text: what the command does, and what it does not; or why there is none.
        command: as it is typed in a shell; None where there is none.
    """

    text: str
    command: str | None


@dataclass(frozen=True, slots=True)
class SweepResults:
    """A sweep.

    Attributes:
        name: of the sweep.
        study: that was searched.
        description: its question.
        task: on what.
        objective: name of the measure that trials are distinguished by; lower is better.
        sides: the metrics whose sum the objective is.
        dimensions: in the order of the space.
        trials: of the search, by number.
        finals: of the final race.
        beside: finalist → (the entrant that makes its likelihood updates without its adversary, the one that makes as
            many updates by the exact ratio); None where there is none.
        contradictions: reason → points that were dropped for it.
        again: how the winner is trained again; None where nobody won.
    """

    name: str
    study: str
    description: str
    task: str
    objective: str
    sides: tuple[str, ...]
    dimensions: tuple[str, ...]
    trials: tuple[TrialResult, ...]
    finals: tuple[FinalResult, ...] = ()
    beside: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    contradictions: Mapping[str, int] = field(default_factory=dict)
    again: Again | None = None
