"""Who interferes with trials under way: Tune's schedulers, told what a sweep that was interrupted had done before."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, LogUniform, Uniform
from rlgan.base.seeding import stream_seed
from rlgan.runs.ray_tune import VARIED, VARIED_LOG10

from ..space.spaces import Axis, Space
from .ledger import Entry, Ledger
from .settings import SweepSettings
from .trial import INDEX, NAME, OBJECTIVE, RESUME, UPDATE


def require_something_to_change(settings: SweepSettings, space: Space) -> None:
    """See to it that a population has something to learn.

    Raises:
        ConfigError: nothing that the study varies may change while a trial trains.
    """
    if settings.is_population and not mutable_axes(space):
        varied = [bundle.name for bundle in space.bundles] + [axis.path for axis in space.axes]
        raise ConfigError(
            f"--scheduler {settings.scheduler}: changes numbers on a scale (learning rates, weights, fractions) "
            f"during training, but this study varies none: {', '.join(dict.fromkeys(varied))}. Use another "
            "scheduler, or a study that varies such numbers.",
            code="scheduler_needs_scales",
            fields={"scheduler": settings.scheduler},
        )


def build_scheduler(settings: SweepSettings, space: Space, ledger: Ledger) -> tuple[TrialScheduler, Callable[[], None]]:
    """The scheduler of a search.

    Args:
        settings: which one.
        space: that is searched.
        ledger: of the trials so far.

    Returns:
        The scheduler, and what tells the ledger who took over from whom; it is to be called after each result is in the
        ledger.
    """
    # The budget of a study is the same for all its trials.
    most, every = space.base.schedule.adversarial_updates, space.base.evaluation.every
    if settings.scheduler == "none":
        return FIFOScheduler(), _nothing
    if settings.scheduler == "asha":
        asha = ASHAScheduler(
            time_attr=UPDATE,
            max_t=most,
            grace_period=max(1, math.ceil(settings.of_scheduler("grace") * most)),
            reduction_factor=settings.of_scheduler("reduction"),
        )
        return _Remembering(asha, ledger), _nothing
    mutable = mutable_axes(space)
    shared: dict[str, Any] = {
        "time_attr": UPDATE,
        # Trials are looked at where they are measured, so that is where the clock strikes.
        "perturbation_interval": every * max(1, round(settings.of_scheduler("interval") * most / every)),
        "quantile_fraction": settings.of_scheduler("quantile"),
        "log_config": False,  # the ledger has it
        # All are compared at the same number of updates, so that who takes over does not depend on who is fast.
        "synch": True,
        "custom_explore_fn": _Within(mutable, on_log_scale=settings.scheduler == "pb2"),
    }
    # Tune draws from the generators that everybody shares; after an interruption other numbers than before it.
    seed = stream_seed(settings.seed, "population", sum(len(entry.results) for entry in ledger.entries.values()))
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if settings.scheduler == "pbt":
        pbt = _Pbt(ledger, hyperparam_mutations={VARIED + axis.path: _domain(axis) for axis in mutable}, **shared)
        return pbt, pbt.tell
    pb2 = _Pb2(ledger, hyperparam_bounds={_linear_key(axis): _linear_bounds(axis) for axis in mutable}, **shared)
    return pb2, pb2.tell


def _nothing() -> None:
    """Nobody takes over from anybody."""


def mutable_axes(space: Space) -> list[Axis]:
    """Dimensions that may change between two updates of a run: numbers that shape no network, and that all trials have.

    Those of a variant that is itself varied are not among them.
    """
    varied = {axis.path for axis in space.axes}
    return [
        axis
        for axis in space.axes
        if isinstance(axis.prior, Uniform | LogUniform)
        and not axis.path.startswith(("generator.", "discriminator."))
        and space.is_active_in_base(axis)
        and not any(path in varied for path, _ in axis.only_if)
    ]


def tune_keys(changes: Mapping[str, Any], settings: SweepSettings, space: Space) -> dict[str, Any]:
    """Keys of Tune's configuration for what a trial changes of the base.

    PB2 knows linear scales alone, so that what is drawn on a logarithmic one is handed to it as its logarithm.
    """
    logarithms = set()
    if settings.scheduler == "pb2":
        logarithms = {axis.path for axis in mutable_axes(space) if isinstance(axis.prior, LogUniform)}
    return {
        (VARIED_LOG10 if path in logarithms else VARIED) + path: math.log10(value) if path in logarithms else value
        for path, value in changes.items()
    }


def _changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial changes of the base, from Tune's configuration."""
    plain = {key.removeprefix(VARIED): value for key, value in config.items() if key.startswith(VARIED)}
    logarithms = {
        key.removeprefix(VARIED_LOG10): 10.0**value for key, value in config.items() if key.startswith(VARIED_LOG10)
    }
    return plain | logarithms


def _linear_key(axis: Axis) -> str:
    return (VARIED_LOG10 if isinstance(axis.prior, LogUniform) else VARIED) + axis.path


def _linear_bounds(axis: Axis) -> list[float]:
    prior = axis.prior
    assert not isinstance(prior, Choice)
    ends = [prior.low, prior.high]
    return [math.log10(end) for end in ends] if isinstance(prior, LogUniform) else ends


def _domain(axis: Axis) -> Any:
    prior = axis.prior
    assert not isinstance(prior, Choice)
    return (tune.loguniform if isinstance(prior, LogUniform) else tune.uniform)(prior.low, prior.high)


class _Within:
    """Keeps what a perturbation changed inside its prior."""

    def __init__(self, axes: list[Axis], on_log_scale: bool) -> None:
        if on_log_scale:
            self._bounds = {_linear_key(axis): _linear_bounds(axis) for axis in axes}
        else:
            self._bounds = {VARIED + axis.path: [axis.prior.low, axis.prior.high] for axis in axes}  # type: ignore[union-attr]

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        for key, (low, high) in self._bounds.items():
            config[key] = min(high, max(low, config[key]))
        return config


class _Population:
    """What PBT and PB2 do here beyond Tune's.

    Members keep their own names, the ledger knows who took over from whom, and the clock by which members are compared
    goes on after an interruption, and when somebody whom the others wait for has failed.
    """

    _ledger: Ledger
    _interval: int
    _unreported: list[dict[str, Any]]

    def _begin(self, ledger: Ledger, interval: int) -> None:
        self._ledger, self._interval, self._unreported = ledger, interval, []
        farthest = max((self._round_before(entry) for entry in ledger.unfinished()), default=0)
        self._next_perturbation_sync = farthest + interval

    def _round_before(self, entry: Entry) -> int:
        """Updates of the last comparison that a member took part in."""
        done = entry.results[-1][0] if entry.results else 0
        return done // self._interval * self._interval

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        # Tune refuses searchers beside a population, for what they would learn of trials that change under their hands
        # is wrong. Ours only draws the beginning.
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)  # type: ignore[misc]
        state = self._trial_state[trial]  # type: ignore[attr-defined]
        entry = self._ledger.entries[trial.config[INDEX]]
        state.last_perturbation_time = state.last_train_time = self._round_before(entry)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        chosen: TuneTrial | None = super().choose_trial_to_run(tune_controller)  # type: ignore[misc]
        trials = tune_controller.get_trials()
        if chosen is None and not any(trial.status == TuneTrial.RUNNING for trial in trials):
            waiting = [trial for trial in trials if trial.status == TuneTrial.PAUSED]
            if waiting:
                # All wait for one that will not come: it failed, or was measured beside the clock.
                done = max(self._trial_state[trial].last_train_time for trial in waiting)  # type: ignore[attr-defined]
                self._next_perturbation_sync = done // self._interval * self._interval + self._interval
                chosen = super().choose_trial_to_run(tune_controller)  # type: ignore[misc]
        return chosen

    def _exploit(self, tune_controller: Any, trial: TuneTrial, trial_to_clone: TuneTrial) -> None:
        index, name, donor = trial.config[INDEX], trial.config[NAME], trial_to_clone.config[INDEX]
        super()._exploit(tune_controller, trial, trial_to_clone)  # type: ignore[misc]
        # The whole configuration is now the donor's, with other numbers.
        trial.set_config({**trial.config, INDEX: index, NAME: name, RESUME: []})
        state = self._trial_state[trial_to_clone]  # type: ignore[attr-defined]
        point = dict(self._ledger.entries[donor].point)
        changed = _changes(trial.config)
        point |= {name: changed[name] for name in point if name in changed}
        # Tune asks its scheduler before it tells of the result for which it asks.
        self._unreported.append(
            {
                "index": index,
                "donor": donor,
                "update": state.last_result[UPDATE],
                "point": point,
                "checkpoint": state.last_checkpoint.path,
            }
        )

    def tell(self) -> None:
        """Write into the ledger who took over."""
        while self._unreported:
            self._ledger.exploited(**self._unreported.pop(0))


class _Pbt(_Population, PopulationBasedTraining):
    def __init__(self, ledger: Ledger, perturbation_interval: int, **settings: Any) -> None:
        super().__init__(perturbation_interval=perturbation_interval, **settings)
        self._begin(ledger, perturbation_interval)


class _Pb2(_Population, PB2):
    def __init__(self, ledger: Ledger, perturbation_interval: int, **settings: Any) -> None:
        super().__init__(perturbation_interval=perturbation_interval, **settings)
        self._begin(ledger, perturbation_interval)


class _Remembering(TrialScheduler):
    """ASHA that knows how the trials of earlier sessions stood at each halving."""

    def __init__(self, scheduler: ASHAScheduler, ledger: Ledger) -> None:
        super().__init__()
        self._inner, self._ledger = scheduler, ledger

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        known = self._inner.set_search_properties(metric, mode, **spec)
        for entry in self._ledger.entries.values():
            if entry.state is not None:
                self._replay(entry, _Past(f"past_{entry.index}"))
        return bool(known)

    def _replay(self, entry: Entry, trial: Any) -> None:
        self._inner.on_trial_add(None, trial)
        for update, value in entry.results:
            self._inner.on_trial_result(None, trial, {UPDATE: update, OBJECTIVE: value})

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        # One that was under way counts once at each halving, at the update at which it stood there.
        self._replay(self._ledger.entries[trial.config[INDEX]], trial)

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
