"""The search: trials of a study, until a number of them, or the time, is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from rlgan.base.errors import CheckpointError
from rlgan.config.paths import to_dict
from rlgan.extensions import packed, plugins_in
from rlgan.runs.data import DATA
from rlgan.runs.ray_tune import SOURCES

from ..judge.selection import Objective
from ..space.spaces import Point, Space
from .ledger import Entry, Ledger, State
from .proposals import GridSource, OptunaSource, Outcome, Proposal, Proposals, RandomSource, Source
from .schedulers import build_scheduler, tune_keys
from .settings import SweepSettings
from .trial import COMPLETE, INDEX, MEASURING_S, NAME, OBJECTIVE, RESUME, SELECT_BY, STARTS, UPDATE
from .tuner import Deadline, checkpoints, error_of, run_trials

End = Literal["done", "time", "interrupted"]
"""How a search ended: all was done, the time was spent, or somebody stopped it."""


def search(
    space: Space,
    objective: Objective,
    settings: SweepSettings,
    ledger: Ledger,
    folders: Folders,
    deadline: Deadline,
    moved: Callable[[], None],
    say: Callable[[str], None],
) -> End:
    """Search, or go on searching; Ray runs.

    Args:
        space: what is varied.
        objective: lower is better.
        settings: how.
        ledger: of the trials so far.
        folders: of the sweep.
        deadline: when to stop.
        moved: is called after a trial was measured, and after one ended.
        say: is told what happens, a line at a time.
    """
    proposals = Proposals(space, source_of_proposals(settings, objective))
    scheduler, tell = build_scheduler(settings, space, ledger)
    searcher = _Searcher(space, objective, proposals, settings, ledger, folders, deadline)
    run_trials(
        folders.tune,
        searcher,
        scheduler,
        _Recorder(ledger, tell, deadline, moved, say),
        concurrent=settings.concurrent,
        deadline=deadline,
        population=settings.trials if settings.is_population else None,
    )
    if searcher.exhausted and not ledger.unfinished():
        return "done"
    return "time" if deadline.is_past else "interrupted"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things of a search lie, and what its data is.

    Attributes:
        tune: Tune's own.
        starts: maximum-likelihood starts.
        ledger: file of its events, for messages.
        data: fingerprint of the task, which every trial builds anew.
    """

    tune: Path
    starts: Path
    ledger: Path
    data: str


def source_of_proposals(settings: SweepSettings, objective: Objective) -> Source:
    """Who proposes points.

    Raises:
        ConfigError: its library is not installed.
    """
    if settings.searcher == "grid":
        return GridSource()
    if settings.searcher == "random":
        return RandomSource(settings.seed)
    return OptunaSource(settings.seed, len(objective.sides) if settings.searcher == "motpe" else 1)


class _Searcher(Searcher):
    """Hands Tune first the trials that were under way, then new ones."""

    def __init__(
        self,
        space: Space,
        objective: Objective,
        proposals: Proposals,
        settings: SweepSettings,
        ledger: Ledger,
        folders: Folders,
        deadline: Deadline,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._space, self._objective, self._proposals, self._settings = space, objective, proposals, settings
        self._ledger, self._folders, self._deadline = ledger, folders, deadline
        self._described: dict[str, int] = {}
        self._tokens: dict[int, Any] = {}
        self.exhausted = False
        for index in sorted(ledger.entries):
            self._remember(ledger.entries[index])
        self._waiting = ledger.unfinished()

    def _remember(self, entry: Entry) -> None:
        """Propose again what was proposed, and tell what came of it."""
        self._proposals.repeat(entry.draws)
        proposed = self._proposals.next()
        if proposed is None or proposed.point != entry.schedule[0][1]:
            raise CheckpointError(
                f"{self._folders.ledger}: trial {entry.index} differs from the proposals of this study. Restore "
                "the file, or start a new sweep.",
                code="trial_not_proposed",
            )
        self._tokens[entry.index] = proposed.token
        if entry.state is not None:
            self._proposals.tell(proposed.token, self._outcome(entry, entry.state))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._waiting:
            entry = self._waiting.pop(0)
            index, point = entry.index, entry.point
        else:
            index = len(self._ledger.entries)
            proposed = None if index >= self._settings.trials else self._propose()
            if proposed is None:
                self.exhausted = True
                return Searcher.FINISHED
            point, self._tokens[index] = proposed.point, proposed.token
            self._ledger.begun(index, point, proposed.draws)
        self._described[trial_id], name = index, f"trial_{index:04d}"
        return {
            **to_dict(self._space.base),
            **tune_keys(self._space.changes(point), self._settings, self._space),
            DATA: self._folders.data,
            SOURCES: packed(plugins_in(self._space.base)),
            STARTS: str(self._folders.starts.resolve()),
            NAME: name,
            INDEX: index,
            RESUME: self._checkpoints(index, name),
            SELECT_BY: self._settings.objective,
        }

    def _propose(self) -> Proposal | None:
        before = self._proposals.contradictions.copy()
        proposed = self._proposals.next()
        if dropped := self._proposals.contradictions - before:
            self._ledger.dropped(dropped)
        return proposed

    def _checkpoints(self, index: int, name: str) -> list[str]:
        """Where a trial goes on from: the first of these that is whole."""
        entry, own = self._ledger.entries[index], checkpoints(self._folders.tune, name)
        if entry.taken_from is None:
            return own
        return [*own, entry.taken_from] if entry.has_gone_on else [entry.taken_from, *own]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        index = self._described.pop(trial_id)
        # The ledger is told after this.
        complete = (result or {}).get(COMPLETE)
        if error or complete or not self._deadline.is_past:
            state: State = "failed" if error else "finished" if complete else "stopped"
            self._proposals.tell(self._tokens[index], self._outcome(self._ledger.entries[index], state))

    def _outcome(self, entry: Entry, state: State) -> Outcome:
        """What the source of proposals learns of a trial."""
        if entry.value is None or state == "failed":
            return Outcome(None)
        values: tuple[float, ...] = (entry.value,)
        if self._settings.searcher == "motpe":
            values = tuple(entry.metrics[side] for side in self._objective.sides)
        return Outcome(values, tuple(entry.results) if state == "stopped" else ())

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger has it."""


class _Recorder(tune.Callback):
    """Writes into the ledger what Tune sees."""

    def __init__(
        self,
        ledger: Ledger,
        tell: Callable[[], None],
        deadline: Deadline,
        moved: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._ledger, self._tell, self._deadline, self._moved, self._say = ledger, tell, deadline, moved, say

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self._ledger.result(
            trial.config[INDEX],
            result[UPDATE],
            result[OBJECTIVE],
            reported_metrics(result),
            float(result["time_this_iter_s"]),
            result.get(MEASURING_S),
        )
        self._tell()
        self._moved()

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        index, result = trial.config[INDEX], trial.last_result
        if not result.get(COMPLETE) and self._deadline.is_past:
            return  # nobody judged it: with more time it goes on
        self._ledger.ended(index, "finished" if result[COMPLETE] else "stopped")
        word = "finished" if result[COMPLETE] else f"stopped after {result[UPDATE]} updates"
        self._say(
            f"trial {index}: {word}, {OBJECTIVE} {result[OBJECTIVE]:.4f}: {_shown(self._ledger.entries[index].point)}"
        )
        self._moved()

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        index, error = trial.config[INDEX], error_of(trial)
        self._ledger.ended(index, "failed", error)
        self._say(f"trial {index}: failed: {error}: {_shown(self._ledger.entries[index].point)}")


def reported_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """What a trial measured, out of what Tune makes of it."""
    return {
        name: float(value)
        for name, value in result.items()
        if "/" in name and isinstance(value, int | float) and not name.startswith("timing/")
    }


def _shown(point: Point) -> str:
    values = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in point.items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())
