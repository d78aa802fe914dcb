"""A sweep: trials of a study by Ray Tune, until a number of them, or of hours, is spent.

A sweep's folder holds:

    sweep.json     what was asked for
    trials.jsonl   what was done (`rlgan.tuning.ledger`)
    starts/        maximum-likelihood starts that trials share
    tune/          Tune's own folder: checkpoints of trials, errors; its pickles are never read

A sweep that was interrupted is taken up again from the ledger: what is finished stays, what was under way goes on from
its last checkpoint, and what is proposed next follows from what was told before.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from rlgan.checkpoint import write_atomically
from rlgan.envs.errors import CheckpointError, ConfigError
from rlgan.envs.settings import Settings
from rlgan.envs.tasks import Task, TaskSettings, build_task
from rlgan.overrides import to_dict
from rlgan.trainable import VARIED
from rlgan.workers.parts import cluster

from .ledger import Entry, Ledger
from .proposals import GridSource, OptunaSource, Proposals, RandomSource, Source
from .selection import Objective, objective_for
from .spaces import Point, Space
from .studies import Study
from .trial import COMPLETE, INDEX, OBJECTIVE, RESUME, STARTS, UPDATE, Trial

# Tune's own table, which knows a trial by noise, and its advice on how often to save what is never read.
_QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0"}

_REQUEST, _LEDGER, _STARTS, _TUNE = "sweep.json", "trials.jsonl", "starts", "tune"


class SweepSettings(Settings):
    """How a study is searched."""

    trials: int = Field(40, ge=1)
    """Trials at most."""
    hours: float | None = Field(None, gt=0.0)
    """Hours after which no trial begins and those under way are stopped where they are; null for no limit."""
    search: Literal["random", "tpe", "grid"] = "tpe"
    """Who proposes points: chance, Optuna's TPE, or all combinations."""
    stop_early: bool = True
    """Whether trials that stand badly are stopped before their end (ASHA, Li et al. 2020)."""
    grace: float = Field(0.2, gt=0.0, le=1.0)
    """Share of the updates before which no trial is stopped early."""
    reduction: float = Field(3.0, gt=1.0)
    """One of so many trials goes on at each halving."""
    concurrent: int | None = Field(None, ge=1)
    """Trials at a time; null for as many as the cluster has room for."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the proposals; trials have that of the base configuration."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What is asked for.

    Attributes:
        study: what is varied.
        task: on what; None takes the study's own.
        changes: of the base configuration, by the user.
        settings: how it is searched.
        folder: of the sweep.
        resume: whether it goes on with the sweep there.
    """

    study: Study
    task: TaskSettings | None
    changes: Mapping[str, Any]
    settings: SweepSettings
    folder: Path
    resume: bool


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What came of it.

    Attributes:
        space: that was searched.
        objective: by which trials are told apart.
        ledger: of all trials.
        contradictions: reason → points that were dropped for it, in this session.
        stopped: whether it was interrupted.
    """

    space: Space
    objective: Objective
    ledger: Ledger
    contradictions: Mapping[str, int]
    stopped: bool


def sweep(request: SweepRequest, say: Callable[[str], None]) -> SweepResult:
    """Do a sweep, or go on with one.

    Args:
        request: what is asked for.
        say: is told what happens, a line at a time.

    Raises:
        ConfigError: the study does not fit, or a setting has no effect.
        CheckpointError: the folder holds another sweep, or none to go on with.
        DataError: the data cannot be read.
    """
    _check(request)
    space = request.study.space(request.task, {"workers.threads": 1, "tracking.enabled": False, **request.changes})
    task = build_task(space.base.task)
    objective = objective_for(task, None)
    asked = _asked(request, space, task)
    ledger = _open(request, asked)
    for note in task.notes:
        say(note)
    proposals = Proposals(space, _source(request.settings))
    searcher = _Searcher(space, proposals, ledger, request)
    done = sum(entry.state is not None for entry in ledger.entries.values())
    say(f"sweep {request.folder}: study {request.study.name}, {done} of {request.settings.trials} trials done")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with cluster():
        sessions = len(list((request.folder / _TUNE).glob("session_*")))
        tuner = tune.Tuner(
            Trial,
            param_space={},
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="min",
                search_alg=searcher,
                scheduler=_scheduler(request.settings, space, ledger),
                num_samples=-1,
                max_concurrent_trials=request.settings.concurrent,
                time_budget_s=None if request.settings.hours is None else request.settings.hours * 3600.0,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=f"session_{sessions}",
                storage_path=str((request.folder / _TUNE).resolve()),
                callbacks=[_Recorder(ledger, say)],
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        tuner.fit()
    left = ledger.unfinished()
    return SweepResult(space, objective, ledger, dict(proposals.contradictions), stopped=bool(left))


def _check(request: SweepRequest) -> None:
    settings = request.settings
    if not settings.stop_early:
        for name in ("grace", "reduction"):
            if getattr(settings, name) != SweepSettings.model_fields[name].default:
                raise ConfigError(f"sweep.{name}: has no effect with stop_early=false. Leave out one of the two.")
    if settings.search == "grid" and settings.seed != 0:
        raise ConfigError("sweep.seed: has no effect with search='grid'. Leave it out.")
    for path in ("controls", "tracking"):
        if any(name.replace("-", "_").startswith(path) for name in request.changes):
            raise ConfigError(f"{path}: belongs to a run; a sweep has its own. Leave it out.")


def _asked(request: SweepRequest, space: Space, task: Task) -> dict[str, Any]:
    """Everything that decides what trials are; a sweep that is taken up again must agree in it."""
    return {
        "study": request.study.name,
        "search": request.settings.search,
        "seed": request.settings.seed,
        "base": to_dict(space.base),
        "dimensions": {axis.name: repr(axis.prior) for axis in space.axes}
        | {bundle.name: json.dumps(bundle.options, sort_keys=True) for bundle in space.bundles},
        "data": task.fingerprint(),
    }


def _open(request: SweepRequest, asked: dict[str, Any]) -> Ledger:
    path = request.folder / _REQUEST
    if not request.resume:
        if path.exists():
            raise CheckpointError(
                f"--out {request.folder}: already holds a sweep. Go on with it by --resume {request.folder}, or name "
                "another folder."
            )
        request.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda to: to.write_text(json.dumps(asked, indent=2), "utf-8"))
        return Ledger(request.folder / _LEDGER)
    try:
        before = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"--resume {request.folder}: is no folder of a sweep ({error.strerror}).") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Restore it, or start a new sweep.") from None
    different = [name for name, value in asked.items() if before.get(name) != value]
    if different:
        raise CheckpointError(
            f"--resume {request.folder}: is a sweep of another {', '.join(different)}. Leave the options out to go on "
            "with it as it was, or start a new sweep."
        )
    return Ledger(request.folder / _LEDGER)


def _source(settings: SweepSettings) -> Source:
    if settings.search == "grid":
        return GridSource()
    return RandomSource(settings.seed) if settings.search == "random" else OptunaSource(settings.seed)


def _scheduler(settings: SweepSettings, space: Space, ledger: Ledger) -> TrialScheduler:
    if not settings.stop_early:
        return FIFOScheduler()
    # The budget of a study is the same for all its trials.
    most = space.base.schedule.adversarial_updates
    scheduler = ASHAScheduler(
        time_attr=UPDATE,
        max_t=most,
        grace_period=max(1, math.ceil(settings.grace * most)),
        reduction_factor=settings.reduction,
    )
    return _Remembering(scheduler, ledger)


class _Remembering(TrialScheduler):
    """ASHA that knows how the trials of earlier sessions stood at each halving."""

    def __init__(self, scheduler: ASHAScheduler, ledger: Ledger) -> None:
        super().__init__()
        self._inner, self._ledger = scheduler, ledger

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        known = self._inner.set_search_properties(metric, mode, **spec)
        for entry in self._ledger.entries.values():
            past = _Past(f"past_{entry.index}")
            self._inner.on_trial_add(None, past)
            for update, value in entry.results:
                self._inner.on_trial_result(None, past, {UPDATE: update, OBJECTIVE: value})
        return bool(known)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        return str(self._inner.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        self._inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return str(self._inner.debug_string())


@dataclass(frozen=True)
class _Past:
    """What ASHA asks of a trial."""

    trial_id: str


def _name(trial: TuneTrial) -> str:
    return f"trial_{trial.config[INDEX]:04d}"


class _Searcher(Searcher):
    """Hands Tune first the trials that were under way, then new ones."""

    def __init__(self, space: Space, proposals: Proposals, ledger: Ledger, request: SweepRequest) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._space, self._proposals, self._ledger, self._request = space, proposals, ledger, request
        self._told: dict[str, Any] = {}
        self._tokens: dict[int, Any] = {}
        for index in sorted(ledger.entries):
            self._remember(ledger.entries[index])
        self._waiting = ledger.unfinished()

    def _remember(self, entry: Entry) -> None:
        """Propose again what was proposed, and tell what came of it."""
        self._proposals.repeat(entry.draws)
        proposed = self._proposals.next()
        if proposed is None or proposed.point != entry.point:
            raise CheckpointError(
                f"{self._request.folder / _LEDGER}: trial {entry.index} is not what this study proposes. Restore the "
                "file, or start a new sweep."
            )
        self._tokens[entry.index] = proposed.token
        if entry.state is not None:
            self._proposals.tell(proposed.token, _values(entry))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._waiting:
            entry = self._waiting.pop(0)
            index, point = entry.index, entry.point
        else:
            index = len(self._ledger.entries)
            if index >= self._request.settings.trials:
                return Searcher.FINISHED
            proposed = self._proposals.next()
            if proposed is None:
                return Searcher.FINISHED
            point, self._tokens[index] = proposed.point, proposed.token
            self._ledger.begun(index, point, proposed.draws)
        self._told[trial_id] = index
        return {
            **to_dict(self._space.base),
            **{VARIED + path: value for path, value in self._space.changes(point).items()},
            STARTS: str((self._request.folder / _STARTS).resolve()),
            INDEX: index,
            RESUME: _last_checkpoint(self._request.folder, index),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        index = self._told.pop(trial_id)
        self._proposals.tell(self._tokens[index], None if error else _values(self._ledger.entries[index]))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger has it."""


def _values(entry: Entry) -> tuple[float, ...] | None:
    return None if entry.value is None or entry.state == "failed" else (entry.value,)


def _last_checkpoint(folder: Path, index: int) -> str | None:
    """The newest checkpoint of a trial, by the number of units that it has done."""
    found = (folder / _TUNE).glob(f"session_*/trial_{index:04d}/checkpoint_*/checkpoints/[0-9]*")
    newest = max(found, key=lambda path: int(path.name), default=None)
    return None if newest is None else str(newest.parent.parent)


class _Recorder(tune.Callback):
    """Writes into the ledger what Tune sees."""

    def __init__(self, ledger: Ledger, say: Callable[[str], None]) -> None:
        self._ledger, self._say = ledger, say

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        metrics = {
            name: float(value)
            for name, value in result.items()
            if "/" in name and isinstance(value, int | float) and not name.startswith("timing/")
        }
        self._ledger.result(
            trial.config[INDEX], result[UPDATE], result[OBJECTIVE], metrics, float(result["time_total_s"])
        )

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        index, result = trial.config[INDEX], trial.last_result
        self._ledger.ended(index, "finished" if result[COMPLETE] else "stopped")
        word = "finished" if result[COMPLETE] else f"stopped after {result[UPDATE]} updates"
        self._say(
            f"trial {index}: {word}, {OBJECTIVE} {result[OBJECTIVE]:.4f}: {_shown(self._ledger.entries[index].point)}"
        )

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        index = trial.config[INDEX]
        error = Path(trial.error_file).read_text("utf-8").strip().splitlines()[-1] if trial.error_file else "unknown"
        self._ledger.ended(index, "failed", error)
        self._say(f"trial {index}: failed: {error}: {_shown(self._ledger.entries[index].point)}")


def _shown(point: Point) -> str:
    values = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in point.items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())
