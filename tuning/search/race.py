"""The final race: the best trials again, with seeds that the search has not used, beside what they have to beat.

The best of many trials is partly the luckiest. So the finalists run anew, from new starts, and so do maximum
likelihood, as it is and at lower temperatures, the likelihood updates of the runs without their adversary, and, where
the distribution is known, what a perfect discriminator would pay. Whatever is chosen is chosen on validation data; test
data is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from rlgan.config.config import Config, Control
from rlgan.config.paths import flatten, to_dict
from rlgan.envs.tasks import Task
from rlgan.extensions import packed, plugins_in
from rlgan.presets.controls import control
from rlgan.presets.quick import mle
from rlgan.runs.data import DATA
from rlgan.runs.ray_tune import SOURCES

from ..judge.results import Kind
from ..space.spaces import Space
from .ledger import Entry, FinalLedger
from .search import reported_metrics
from .settings import SweepSettings
from .starts import likelihood_alone
from .trial import CHANGES, COMPLETE, FINAL, MEASURED, NAME, OBJECTIVE, RESUME, SELECT_BY, STARTS, UPDATE
from .tuner import Deadline, checkpoints, error_of, run_trials

RaceWatch = Callable[[int, Callable[[], tuple[int, list[str]]]], AbstractContextManager[None]]
"""(number of runs, what tells how many are over and how the others stand) → a block in which a person hears of it."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who runs.

    Attributes:
        name: "trial 7", "MLE", "mle_continued", "oracle_ratio"; a control of another network or schedule than the
            base's says of which trial it is.
        kind: as what.
        config: as it begins.
        schedule: (updates done, changes of `config` from then on), in order.
        floor: of a finalist: the entrant that makes its likelihood updates without its adversary.
        ceiling: of a finalist: the entrant that makes as many generator updates by the exact ratio; None where no
            distribution is known.
    """

    name: str
    kind: Kind
    config: Config
    schedule: tuple[tuple[int, dict[str, Any]], ...] = ()
    floor: str | None = None
    ceiling: str | None = None


def entrants(space: Space, finalists: Sequence[Entry], task: Task) -> list[Entrant]:
    """Who runs in a race.

    Args:
        space: that was searched.
        finalists: trials, the best first.
        task: of the sweep.

    Returns:
        Controls and ceilings first; nothing twice.
    """
    found: list[Entrant] = []

    def add(name: str, of: str | None, kind: Kind, configs: Sequence[tuple[int, Config]]) -> str:
        """The name of the entrant that does this, who may be there already."""
        config, schedule = _as_schedule([(update, _alone(one, space.base, name)) for update, one in configs])
        for one in found:
            if (one.config, one.schedule) == (config, schedule):
                return one.name
        found.append(Entrant(name if of is None else f"{name} of {of}", kind, config, schedule))
        return found[-1].name

    def add_controls(of: str | None, configs: Sequence[tuple[int, Config]]) -> tuple[str, str | None]:
        def beside(name: Control, kind: Kind) -> str:
            return add(name, of, kind, [(update, control(one, name)) for update, one in configs])

        add("MLE", of, "control", [(0, _likelihood(configs[0][1]))])
        floor = beside("mle_continued", "control")
        if task.stream is not None:
            beside("mle_equal_reals", "control")
        return floor, beside("oracle_ratio", "ceiling") if task.has_known_distribution else None

    # Those of the base come before those of the finalists, which mostly are the same.
    add_controls(None, [(0, space.base)])
    chosen = []
    for entry in finalists:
        configs = [(update, space.config(point)) for update, point in entry.schedule]
        name = f"trial {entry.index}"
        floor, ceiling = add_controls(name, configs)
        chosen.append(Entrant(name, "finalist", *_as_schedule(configs), floor, ceiling))
    return [*found, *chosen]


def _as_schedule(
    configs: Sequence[tuple[int, Config]],
) -> tuple[Config, tuple[tuple[int, dict[str, Any]], ...]]:
    """A configuration and what changes of it later."""
    first = flatten(to_dict(configs[0][1]))
    changes = []
    for update, config in configs[1:]:
        now = flatten(to_dict(config))
        changes.append((update, {path: value for path, value in now.items() if first.get(path) != value}))
    if not any(changed for _, changed in changes):
        changes = []
    return configs[0][1], tuple(changes)


def _alone(config: Config, base: Config, name: str) -> Config:
    """A run without a discriminator, with nothing left that would have been the discriminator's."""
    optimizers = config.optimizers.model_copy(update={"discriminator": base.optimizers.discriminator})
    return config.model_copy(update={"preset": name, "adversary": base.adversary, "optimizers": optimizers})


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
    data: str,
    deadline: Deadline,
    watch: RaceWatch,
    say: Callable[[str], None],
) -> bool:
    """Run whatever has not run yet; Ray runs.

    Args:
        who: runs.
        settings: of the sweep.
        ledger: of the race so far.
        folder: Tune's own.
        starts: maximum-likelihood starts.
        data: fingerprint of the task, which every run builds anew.
        deadline: when to stop.
        watch: says how the race stands while nothing else is said.
        say: is told what happens, a line at a time.

    Returns:
        Whether all have run.
    """
    # Seed after seed, so that a race that is broken off has whole rows. What failed is tried again in each session.
    seeds = range(settings.seed + 1, settings.seed + 1 + settings.seeds)
    done = {key for key, run in ledger.runs.items() if run.error is None}
    waiting = [(one, seed) for seed in seeds for one in who if (one.name, seed) not in done]
    if not waiting:
        return True
    say(f"final race: {len(waiting)} runs of {', '.join(one.name for one in who)}, seeds {seeds[0]} to {seeds[-1]}")
    timekeeper = _Timekeeper(waiting, ledger, say)
    with watch(len(waiting), timekeeper.stands):
        run_trials(
            folder,
            _Starter(waiting, settings, folder, starts, data),
            FIFOScheduler(),
            timekeeper,
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
        self, waiting: Sequence[tuple[Entrant, int]], settings: SweepSettings, folder: Path, starts: Path, data: str
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._waiting, self._settings = list(waiting), settings
        self._folder, self._starts, self._data, self._next = folder, starts, data, 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._next == len(self._waiting):
            return Searcher.FINISHED
        one, seed = self._waiting[self._next]
        self._next += 1
        return {
            **to_dict(one.config.model_copy(update={"seed": seed})),
            DATA: self._data,
            SOURCES: packed(plugins_in(one.config)),
            STARTS: str(self._starts.resolve()),
            NAME: run_name(one.name, seed),
            RESUME: checkpoints(self._folder, run_name(one.name, seed)),
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
        self._updates: dict[str, int] = {}
        self._done = 0

    def stands(self) -> tuple[int, list[str]]:
        """Number of runs that are over, and a few words on each that was measured and is not."""
        words = []
        for name, update in list(self._updates.items()):
            one, seed = self._runs[name]
            words.append(f"{one.name}, seed {seed} ({update} of {one.config.schedule.adversarial_updates} updates)")
        return self._done, words

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self._updates[trial.config[NAME]] = result[UPDATE]

    def _over(self, trial: TuneTrial) -> None:
        self._updates.pop(trial.config[NAME], None)
        self._done += 1

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        one, seed = self._runs[trial.config[NAME]]
        result = trial.last_result
        if not result.get(COMPLETE):
            return  # the time was out
        self._over(trial)
        first, *others = result[MEASURED]
        health = {name: value for name, value in reported_metrics(result).items() if not name.startswith("eval/")}
        measured = [{**first, "validation": {**first["validation"], **health}}, *others]
        self._ledger.ran(one.name, one.kind, seed, measured, float(result["time_total_s"]), None)
        self._say(f"final race: {one.name}, seed {seed}: {OBJECTIVE} {result[OBJECTIVE]:.4f} on validation data")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        one, seed = self._runs[trial.config[NAME]]
        error = error_of(trial)
        self._over(trial)
        self._ledger.ran(one.name, one.kind, seed, [], 0.0, error)
        self._say(f"final race: {one.name}, seed {seed}: failed: {error}")
