"""A sweep in MLflow: the sweep a run, its trials and the entrants of its final race below it, their seeds below those.

What is uploaded is what the ledgers hold, and all of it can be read back (`rlgan.tuning.report.logged`): a
trial's parameters are what the study varies, and the identity of the whole configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from rlgan.base.settings import NeverMovesNumbers, facts_below
from rlgan.config.config import Config
from rlgan.config.paths import to_dict
from rlgan.tracking import DataInput, Tracker, TrackingSettings, run_tags

from ..judge.results import SweepResults
from ..search.journal import Event
from ..search.ledger import Entry, FinalLedger, FinalRun, Ledger
from ..space.spaces import Space

KIND, INDEX, STATE, ERROR = "rlgan.kind", "rlgan.trial", "rlgan.state", "rlgan.error"
"""Tags of a run of a sweep: what it is, the number of a trial, how it ended, and what it raised."""
POINT = "rlgan.point"
"""Tag of a trial that took over another's state: the point at which it ended, as JSON; its parameters are the first."""
ENTRANT, ENTRANT_KIND = "rlgan.entrant", "rlgan.entrant_kind"
"""Tags of a run of the final race: who ran, and as what."""
OBJECTIVE = "objective"
"""Metric of a trial."""
SWEEP = "rlgan.sweep"
"""Tag of a sweep: what is known of it beside its trials, as JSON."""
SAMPLES, BESIDE = "rlgan.samples", "rlgan.samples_beside"
"""Tag of a run of the final race: temperature → some of what it wrote, as JSON."""
_LONGEST_SAMPLE = 200  # characters
POPULATION = "population/"
"""Before a dimension that changed while a trial trained; `donor` is the trial whose state it took over."""


def identity(config: Config) -> str:
    """Twelve hexadecimal digits that two configurations share if they give the same numbers."""
    values = to_dict(config)
    for path, _ in facts_below(Config, NeverMovesNumbers):
        *parents, name = path.split(".")
        del reduce(dict.__getitem__, parents, values)[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def run_folder(folder: Path, entrant: str, seed: int) -> Path:
    """Where the numbers of a run of the final race lie, in the folder of its sweep."""
    return folder / "entrants" / entrant.replace(" ", "_") / f"seed_{seed}"


class SweepTracking:
    """Uploads what the ledgers are told.

    Args:
        settings: where to.
        folder: of the sweep.
        space: that is searched.
        ledger: of the search.
        finals: of the final race.
        results: the sweep without its trials.
        params: of the sweep.
        say: shows the user a sentence.
        inputs: the data of the sweep.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        folder: Path,
        space: Space,
        ledger: Ledger,
        finals: FinalLedger,
        results: SweepResults,
        params: Mapping[str, Any],
        say: Callable[[str], None],
        inputs: tuple[DataInput, ...] = (),
    ) -> None:
        self._folder, self._space, self._ledger, self._finals = folder, space, ledger, finals
        self._tracker = Tracker(settings, folder, say)
        base = space.base
        self._tags = run_tags(base.preset, base.seed)
        tags = {**self._tags, KIND: "sweep", SWEEP: _facts(results)}
        self._tracker.start(folder.name, {**params, "config": identity(base)}, tags, inputs)
        # Of trials and entrants by name; those that ended stay, for their seeds come below them later.
        self._trackers: dict[str, Tracker] = {}
        self._ended: set[str] = set()
        # What ended in an earlier session, and perhaps did not arrive.
        for entry in ledger.entries.values():
            if entry.state is not None:
                self._catch_up(entry)
                self._end_trial(entry)
        for run in finals.runs.values():
            self._final_run(run)
        ledger.described, finals.described = self._trial_event, self._final_run

    def _trial(self, index: int, truncate_after: int | None = None) -> Tracker:
        entry, name = self._ledger.entries[index], f"trial {index}"
        if name not in self._trackers:
            config = self._space.config(entry.schedule[0][1])
            params = {**entry.schedule[0][1], "config": identity(config)}
            tags = {**self._tags, KIND: "trial", INDEX: str(index)}
            folder = self._folder / "trials" / f"{index:04d}"
            self._trackers[name] = self._tracker.child(folder, name, params, tags, truncate_after)
        return self._trackers[name]

    def _trial_event(self, event: Event) -> None:
        if event["event"] == "dropped":
            return  # told at the end, all together
        index = event["index"]
        if event["event"] == "begun":
            self._trial(index)
        elif event["event"] == "result":
            # One that goes on from its checkpoint measures again what came after it.
            self._log_result(
                self._trial(index, truncate_after=event["update"] - 1),
                event["update"],
                event["value"],
                event["metrics"],
            )
        elif event["event"] == "exploited":
            numbers = {name: value for name, value in event["point"].items() if _is_number(value)}
            metrics = {
                f"{POPULATION}{name}": float(value) for name, value in {"donor": event["donor"], **numbers}.items()
            }
            update = event["update"]
            self._trial(index).log_metrics(metrics, step=update, phase="population", iteration=update)
        else:
            self._end_trial(self._ledger.entries[index])
            self._log_best()

    def _log_result(self, tracker: Tracker, update: int, value: float, metrics: Mapping[str, float]) -> None:
        tracker.log_metrics({OBJECTIVE: value, **metrics}, step=update, phase="adversarial", iteration=update)

    def _catch_up(self, entry: Entry) -> None:
        """Log the last measurement, if the driver died between the ledger's line and ours."""
        tracker = self._trial(entry.index)
        if entry.results and not any(row["iteration"] == entry.results[-1][0] for row in tracker.rows()):
            self._log_result(tracker, *entry.results[-1], entry.metrics)

    def _end_trial(self, entry: Entry) -> None:
        tracker = self._trial(entry.index)
        assert entry.state is not None
        tags = {STATE: entry.state, **({} if entry.error is None else {ERROR: entry.error})}
        if entry.taken_from is not None:
            tags[POINT] = json.dumps(entry.point)
        if not any("seconds" in row["metrics"] for row in tracker.rows()):
            tracker.log_metrics({"seconds": entry.seconds}, step=0, phase="end", iteration=None)
        tracker.finish("FAILED" if entry.state == "failed" else "FINISHED", tags=tags)
        self._ended.add(f"trial {entry.index}")

    def _log_best(self) -> None:
        ended = [one for one in self._ledger.entries.values() if one.state is not None]
        best = self._ledger.ranked()
        if best and best[0].value is not None:
            self._tracker.log_metrics({"best_objective": best[0].value}, step=len(ended), phase="sweep", iteration=None)

    def _entrant(self, run: FinalRun) -> Tracker:
        if run.kind == "finalist":
            return self._trial(int(run.entrant.removeprefix("trial ")))
        if run.entrant not in self._trackers:
            folder = run_folder(self._folder, run.entrant, run.seed).parent
            self._trackers[run.entrant] = self._tracker.child(folder, run.entrant, {}, {KIND: run.kind})
        return self._trackers[run.entrant]

    def _final_run(self, run: FinalRun) -> None:
        folder = run_folder(self._folder, run.entrant, run.seed)
        name = f"{run.entrant}, seed {run.seed}"
        tags = {KIND: "final", "seed": str(run.seed), ENTRANT: run.entrant, ENTRANT_KIND: run.kind}
        if samples := {f"{result.temperature:g}": _short(result.samples) for result in run.results if result.samples}:
            tags[SAMPLES] = json.dumps(samples, ensure_ascii=False)
        # The same at every temperature: what is given, and the real sequences, are those of the test split.
        if beside := next((result.beside for result in run.results if result.beside), ()):
            shown = [[None if source is None else _short([source])[0], _short([real])[0]] for source, real in beside]
            tags[BESIDE] = json.dumps(shown, ensure_ascii=False)
        tracker = self._entrant(run).child(folder, name, {"entrant": run.entrant, "seed": run.seed}, tags)
        if run.results and not tracker.rows():
            tracker.log_metrics(final_metrics(run), step=0, phase="final", iteration=None)
            tracker.log_metrics({"seconds": run.seconds}, step=0, phase="end", iteration=None)
        error = {} if run.error is None else {ERROR: run.error}
        tracker.finish("FINISHED" if run.error is None else "FAILED", tags=error)

    def finish(
        self,
        status: str,
        results: SweepResults,
        files: Iterable[Path],
        wait_s: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send what is left, and files.

        Args:
            status: "FINISHED", "KILLED" or "FAILED".
            results: of the sweep as it stands.
            files: of its folder.
            wait_s: how long at most; None is the tracker's own.
            tags: what its page says in words.
        """
        for name, tracker in self._trackers.items():
            if name not in self._ended:
                tracker.finish("KILLED" if name.startswith("trial ") else "FINISHED")
        for path in files:
            self._tracker.log_artifact(path)
        self._tracker.finish(status, wait_s, tags={SWEEP: _facts(results), **(tags or {})})


def _facts(results: SweepResults) -> str:
    """What is known of a sweep beside its trials."""
    facts = {
        "study": results.study,
        "description": results.description,
        "task": results.task,
        "objective": results.objective,
        "sides": results.sides,
        "dimensions": results.dimensions,
        "contradictions": dict(results.contradictions),
        "beside": dict(results.beside),
        "entrants": list(dict.fromkeys(final.entrant for final in results.finals)),
        "seeds": list(dict.fromkeys(final.seed for final in results.finals)),
        "again": None if results.again is None else [results.again.text, results.again.command],
    }
    return json.dumps(facts, ensure_ascii=False)


def final_metrics(run: FinalRun) -> dict[str, float]:
    """Names and values under which a run of the final race is logged: `test/tau_0.9/kl_sum`."""
    return {
        f"{split}/tau_{result.temperature:g}/{name}": value
        for result in run.results
        for split, metrics in (("validation", result.validation), ("test", result.test))
        for name, value in metrics.items()
    }


def _short(samples: Sequence[str]) -> list[str]:
    """As much of them as a tag has room for."""
    return [one if len(one) <= _LONGEST_SAMPLE else f"{one[: _LONGEST_SAMPLE - 2]} …" for one in samples]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
