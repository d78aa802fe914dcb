"""The final race: the best trials again, with seeds that the search has not used, beside what they have to beat.

The best of many trials is partly the luckiest. So the finalists run anew, from new starts, and so do maximum
likelihood, as it is and at lower temperatures, the likelihood updates of the runs without their adversary, and, where
the law is known, what a perfect discriminator would pay. Whatever is chosen is chosen on validation data; test data is
reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from rlgan.config import Config
from rlgan.envs.tasks import Task
from rlgan.overrides import to_dict
from rlgan.presets import control, mle

from .ledger import Entry, FinalLedger
from .results import Kind
from .search import reported_metrics
from .settings import SweepSettings
from .spaces import Space
from .starts import likelihood_alone
from .trial import CHANGES, COMPLETE, FINAL, MEASURED, NAME, OBJECTIVE, RESUME, SELECT_BY, STARTS
from .tuner import Deadline, error_of, last_checkpoint, run_trials


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who runs.

    Attributes:
        name: "trial 7", "MLE", "mle_continued", "oracle_ratio"; a control of another network or schedule than the
            base's says of which trial it is.
        kind: as what.
        config: as it begins.
        schedule: (updates done, changes of `config` from then on), in order.
    """

    name: str
    kind: Kind
    config: Config
    schedule: tuple[tuple[int, dict[str, Any]], ...] = ()


def entrants(space: Space, finalists: Sequence[Entry], task: Task) -> list[Entrant]:
    """Who runs in a race.

    Args:
        space: that was searched.
        finalists: trials, the best first.
        task: of the sweep.

    Returns:
        Controls and ceiling first; no configuration twice.
    """
    chosen = [_finalist(space, entry) for entry in finalists]
    found: list[Entrant] = []

    def add(name: str, of: str | None, kind: Kind, config: Config) -> None:
        config = config.model_copy(update={"preset": name})
        if not any(one.config == config for one in found):
            found.append(Entrant(name if of is None else f"{name} of {of}", kind, config))

    # Of the base before those of the finalists, which mostly are the same.
    for of, config in [(None, space.base), *((one.name, one.config) for one in chosen)]:
        add("MLE", of, "control", _likelihood(config))
        add("mle_continued", of, "control", control(config, "mle_continued"))
    if task.oracle is not None:
        add("oracle_ratio", None, "ceiling", control(space.base, "oracle_ratio"))
    return [*found, *chosen]


def _finalist(space: Space, entry: Entry) -> Entrant:
    (_, first), *later = entry.schedule
    return Entrant(
        f"trial {entry.index}",
        "finalist",
        space.config(first),
        tuple((update, space.changes(point)) for update, point in later),
    )


def _likelihood(config: Config) -> Config:
    """Maximum likelihood alone, as the run pretrains; as the preset does where the run is from scratch."""
    if config.schedule.mle_epochs:
        return likelihood_alone(config)
    usual = mle(config.task).schedule
    return likelihood_alone(
        config.model_copy(
            update={
                "schedule": config.schedule.model_copy(
                    update={"mle_epochs": usual.mle_epochs, "mle_patience": usual.mle_patience}
                )
            }
        )
    )


def race(
    who: Sequence[Entrant],
    settings: SweepSettings,
    ledger: FinalLedger,
    folder: Path,
    starts: Path,
    deadline: Deadline,
    say: Callable[[str], None],
) -> bool:
    """Run whatever has not run yet; Ray runs.

    Args:
        who: runs.
        settings: of the sweep.
        ledger: of the race so far.
        folder: Tune's own.
        starts: maximum-likelihood starts.
        deadline: when to stop.
        say: is told what happens, a line at a time.

    Returns:
        Whether all have run.
    """
    # Seed after seed, so that a race that is broken off has whole rows.
    seeds = range(settings.seed + 1, settings.seed + 1 + settings.seeds)
    waiting = [(one, seed) for seed in seeds for one in who if (one.name, seed) not in ledger.runs]
    if not waiting:
        return True
    say(f"final race: {len(waiting)} runs of {', '.join(one.name for one in who)}, seeds {seeds[0]} to {seeds[-1]}")
    run_trials(
        folder,
        _Starter(waiting, settings, folder, starts),
        FIFOScheduler(),
        _Timekeeper(waiting, ledger, say),
        concurrent=settings.concurrent,
        deadline=deadline,
    )
    return all((one.name, seed) in ledger.runs for one, seed in waiting)


def run_name(entrant: str, seed: int) -> str:
    """Names Tune's folder of a run, in all sessions alike."""
    return f"{entrant.replace(' ', '_')}_seed_{seed}"


class _Starter(Searcher):
    """Hands Tune the runs one by one."""

    def __init__(
        self, waiting: Sequence[tuple[Entrant, int]], settings: SweepSettings, folder: Path, starts: Path
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._waiting, self._settings = list(waiting), settings
        self._folder, self._starts, self._next = folder, starts, 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._next == len(self._waiting):
            return Searcher.FINISHED
        one, seed = self._waiting[self._next]
        self._next += 1
        return {
            **to_dict(one.config.model_copy(update={"seed": seed})),
            STARTS: str(self._starts.resolve()),
            NAME: run_name(one.name, seed),
            RESUME: last_checkpoint(self._folder, run_name(one.name, seed)),
            SELECT_BY: self._settings.objective,
            CHANGES: [[update, changes] for update, changes in one.schedule],
            FINAL: True,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the ledger has it."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger has it."""


class _Timekeeper(tune.Callback):
    """Writes into the ledger what Tune sees."""

    def __init__(self, waiting: Sequence[tuple[Entrant, int]], ledger: FinalLedger, say: Callable[[str], None]) -> None:
        self._runs = {run_name(one.name, seed): (one, seed) for one, seed in waiting}
        self._ledger, self._say = ledger, say

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        one, seed = self._runs[trial.config[NAME]]
        result = trial.last_result
        if not result.get(COMPLETE):
            return  # the time was out
        first, *others = result[MEASURED]
        health = {name: value for name, value in reported_metrics(result).items() if not name.startswith("eval/")}
        measured = [{**first, "validation": {**first["validation"], **health}}, *others]
        self._ledger.ran(one.name, one.kind, seed, measured, float(result["time_total_s"]), None)
        self._say(f"final race: {one.name}, seed {seed}: {OBJECTIVE} {result[OBJECTIVE]:.4f} on validation data")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        one, seed = self._runs[trial.config[NAME]]
        error = error_of(trial)
        self._ledger.ran(one.name, one.kind, seed, [], 0.0, error)
        self._say(f"final race: {one.name}, seed {seed}: failed: {error}")
