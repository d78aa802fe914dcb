"""A sweep read back from MLflow: the same as its folder gives, for whoever has not the folder."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from rlgan.base.errors import TrackingError
from rlgan.tracking import LoggedRun, children, history

from ..judge.results import Again, FinalResult, Kind, SweepResults, TrialResult, TrialState
from .tracked import (
    BESIDE,
    ENTRANT,
    ENTRANT_KIND,
    ERROR,
    INDEX,
    KIND,
    OBJECTIVE,
    POINT,
    POPULATION,
    SAMPLES,
    STATE,
    SWEEP,
)

_FINAL = re.compile(r"(validation|test)/tau_([0-9.e+-]+)/(.+)")


def is_sweep(run: LoggedRun) -> bool:
    """Whether a run is a sweep of ours."""
    return run.tags.get(KIND) == "sweep" and SWEEP in run.tags


def read_sweep(run: LoggedRun) -> SweepResults:
    """Everything that a sweep's report shows.

    Args:
        run: of the sweep; see `is_sweep`.

    Raises:
        TrackingError: the server cannot be reached, or what it has is no whole sweep.
    """
    try:
        facts = json.loads(run.tags[SWEEP])
        below = children(run.uri, run.run_id)
        trials = sorted((_trial(one) for one in below if one.tags.get(KIND) == "trial"), key=lambda one: one.index)
        judged = {(name, seed) for name in facts["entrants"] for seed in facts["seeds"]}
        finals = tuple(
            result
            for one in below
            for final in children(run.uri, one.run_id)
            for result in _finals(final)
            if (result.entrant, result.seed) in judged  # who raced in an earlier session may not race now
        )
        return SweepResults(
            name=run.name,
            study=facts["study"],
            description=facts["description"],
            task=facts["task"],
            objective=facts["objective"],
            sides=tuple(facts["sides"]),
            dimensions=tuple(facts["dimensions"]),
            trials=tuple(trials),
            finals=finals,
            contradictions=facts["contradictions"],
            beside={name: (floor, ceiling) for name, (floor, ceiling) in facts["beside"].items()},
            again=None if facts.get("again") is None else Again(*facts["again"]),
        )
    except (KeyError, ValueError) as error:
        raise TrackingError(
            f"run {run.run_id}: is marked as a sweep of rlgan, but was not written by this version ({error!r}).",
            code="not_our_sweep",
            fields={"run": run.run_id},
        ) from None


def _trial(run: LoggedRun) -> TrialResult:
    curve = history(run, [OBJECTIVE])[OBJECTIVE]
    # What was done again after an interruption was logged again.
    latest = dict(curve)
    return TrialResult(
        index=int(run.tags[INDEX]),
        point=_point(run),
        state=cast(TrialState, run.tags.get(STATE, "unfinished")),
        curve=tuple(sorted(latest.items())),
        metrics={
            name.removeprefix("eval/"): value
            for name, value in run.metrics.items()
            if name not in (OBJECTIVE, "seconds") and not name.startswith(POPULATION)
        },
        seconds=run.metrics.get("seconds", 0.0),
        error=run.tags.get(ERROR),
    )


def _point(run: LoggedRun) -> dict[str, Any]:
    """What varies, as it ended: in a population it is not as it began."""
    if POINT in run.tags:
        point: dict[str, Any] = json.loads(run.tags[POINT])
        return point
    return {name: _value(text) for name, text in run.params.items() if name != "config"}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _finals(run: LoggedRun) -> list[FinalResult]:
    found: dict[float, dict[str, dict[str, float]]] = {}
    for name, value in run.metrics.items():
        if (parts := _FINAL.fullmatch(name)) is not None:
            split, temperature, metric = parts.groups()
            found.setdefault(float(temperature), {"validation": {}, "test": {}})[split][metric] = value
    samples = json.loads(run.tags.get(SAMPLES, "{}"))
    beside = tuple((source, real) for source, real in json.loads(run.tags.get(BESIDE, "[]")))
    return [
        FinalResult(
            entrant=run.tags[ENTRANT],
            kind=cast(Kind, run.tags[ENTRANT_KIND]),
            seed=int(run.tags["seed"]),
            temperature=temperature,
            validation=measured["validation"],
            test=measured["test"],
            samples=tuple(samples.get(f"{temperature:g}", ())),
            beside=beside,
        )
        for temperature, measured in found.items()
    ]
