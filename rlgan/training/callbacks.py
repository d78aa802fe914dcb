"""Callbacks: code of the user's own that sees every iteration of a run and may stop it.

    class StopsWhenFluent(Callback):
        def on_iteration(self, run, iteration):
            if iteration.metrics.get("eval/nll_gen", inf) < 2.5:
                return Stop("NLL_gen fell below 2.5")

A callback that only reads changes no number of the run: the generator that it sees is a copy, and random numbers of the
run come from streams of their own. Tensors of the task and of rollouts are the run's own, and not to be written into.
What it remembers between iterations it hands out by `state`, so that a run goes on as if never stopped.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rlgan.base.errors import CallbackError, CheckpointError, ConfigError, PluginError
from rlgan.config.config import CallbackPlugin, Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Measurement
from rlgan.extensions import ACCEPT_CHANGED, in_time, own_lines, refusal
from rlgan.generators import Generator
from rlgan.schedule.phases import Position
from rlgan.storage.checkpoint import require_keepable

from .iteration import Iteration
from .trainer import Trainer

CALLBACKS = "callbacks"
"""Key of a checkpoint: what `Callbacks.state` returned."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The wish that training ends with this iteration; the run's table is made as at its regular end.

    Attributes:
        reason: for people, in the log and in MLflow.
    """

    reason: str


class RunView:
    """A run as its callbacks see it.

    Generators and configurations that are reached from here are copies or cannot be changed. The task and an
    iteration's rollouts are the run's own, for they are large: read them, and write nothing into their tensors.

    Args:
        trainer: of the run.
        folder: of the run.

    Attributes:
        folder: of the run; None where it has none of its own, as in a trial of Ray Tune.
    """

    def __init__(self, trainer: Trainer, folder: Path | None = None) -> None:
        self._trainer, self.folder = trainer, folder
        self._logged: dict[str, float] | None = None

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return self._trainer.config

    @property
    def task(self) -> Task:
        """Real sequences, and how to show them: the run's own, not to be written into."""
        return self._trainer.task

    @property
    def position(self) -> Position:
        """Iterations done so far, by phase."""
        return self._trainer.position

    def generator(self) -> Generator:
        """The generator as it stands, in evaluation mode: a copy, built at each call."""
        return self._trainer.current_generator()

    def measure(self, num_sequences: int | None = None) -> Measurement:
        """Measure the generator as it stands; the same numbers as a scheduled measurement would have.

        Args:
            num_sequences: sequences to sample; None takes `evaluation.num_sequences`.
        """
        return self._trainer.measure(num_sequences)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Add metrics of the callback's own to the row of this iteration, in metrics.jsonl and in MLflow.

        Args:
            metrics: name → value; a name that the iteration has already, or that another callback logs, is refused
                when the row is written.

        Raises:
            RuntimeError: there is no row: it is called elsewhere than in `on_iteration`.
            TypeError: a value is no number.
        """
        if self._logged is None:
            raise RuntimeError("log: no row is open. Call it only in on_iteration.")
        for name, value in metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name}={value!r}: is a {type(value).__name__}, expected a number. Log a float.")
            self._logged[name] = float(value)

    @contextmanager
    def _row(self) -> Iterator[dict[str, float]]:
        """What is logged while the block lasts."""
        self._logged = {}
        try:
            yield self._logged
        finally:
            self._logged = None


class Callback:
    """Base of callbacks; each method may be left out.

    All are called in the process of the trainer, in the order of the callbacks, while nothing else is computed.

    Attributes:
        timeout_s: seconds that a method may take, after which it is interrupted and the run stops, with a checkpoint.
    """

    timeout_s: float = 3600.0

    @property
    def name(self) -> str:
        """How errors, checkpoints and logs call it; unique among the callbacks of a run."""
        return type(self).__name__

    def on_start(self, run: RunView) -> None:
        """Before the first iteration of this process, and after `restore` where the run is resumed.

        Args:
            run: the run as it stands.
        """

    def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
        """After each iteration.

        Args:
            run: the run as it stands.
            iteration: what was done.

        Returns:
            `Stop` to end training now; None to go on.
        """
        return None

    def on_end(self, run: RunView) -> None:
        """After the last iteration of this process, complete or stopped, and before the table; not after an error.

        Args:
            run: the run as it stands.
        """

    def state(self) -> dict[str, Any]:
        """What is remembered between iterations, for a checkpoint: text keys; tensors and JSON values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned.

        Args:
            state: tuples have become lists.
        """


def loaded_callbacks(plugins: Sequence[CallbackPlugin]) -> list[Callback]:
    """The callbacks that a configuration names, built with their options.

    Args:
        plugins: in order.

    Raises:
        ConfigError: one cannot be loaded.
        CallbackError: one is no callback, raises when it is built, or has the name of another.
    """
    callbacks = []
    for plugin in plugins:
        loaded = plugin.load()
        callback = loaded.object
        limit_s = plugin.timeout_s or Callback.timeout_s
        if inspect.isclass(callback):
            try:
                with in_time(limit_s, partial(_late, plugin.name, "building it", limit_s), loaded.path, CallbackError):
                    callback = callback(**plugin.options)
            except PluginError:
                raise
            except Exception as error:  # a user's own code may raise anything
                raise refusal(f"callback {plugin.name}", error, ConfigError) or CallbackError(
                    f"callback {plugin.name}: building it raised {type(error).__name__}: {error}. Fix it, or set "
                    f"its options.{own_lines(error, loaded.path)}",
                    code="callback_build",
                    fields={"callback": plugin.name},
                ) from error
        if plugin.timeout_s is not None and isinstance(callback, Callback):
            callback.timeout_s = plugin.timeout_s
        callbacks.append(callback)
    require_usable(callbacks)
    return callbacks


def require_usable(callbacks: Sequence[Callback]) -> None:
    """See to it that callbacks can be called and distinguished.

    Raises:
        CallbackError: one of them is no callback, or two have the same name.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise CallbackError(
                f"callback {callback!r}: is a {type(callback).__name__}. Derive its class from "
                "rlgan.training.callbacks.Callback, and give an object of that class.",
                code="callback_class",
            )
    names = [callback.name for callback in callbacks]
    for name in names:
        if names.count(name) > 1:
            raise CallbackError(
                f"callback {name}: {names.count(name)} callbacks have this name. Give each its own `name`.",
                code="callback_named_twice",
                fields={"callback": name},
            )


class Callbacks:
    """The callbacks of a run, called in order; their errors carry their names.

    Args:
        callbacks: in order.
        trainer: of the run.
        folder: of the run; None where it has none.

    Raises:
        CallbackError: one of them is no callback, or two have the same name.
    """

    def __init__(self, callbacks: Sequence[Callback], trainer: Trainer, folder: Path | None = None) -> None:
        require_usable(callbacks)
        self._callbacks, self._trainer, self._view = tuple(callbacks), trainer, RunView(trainer, folder)

    def start(self) -> None:
        """Call `on_start` of all."""
        for callback in self._callbacks:
            with _named(callback, "on_start"):
                callback.on_start(self._view)

    def after(self, iteration: Iteration) -> Iteration:
        """Call `on_iteration` of all, also where one of them wants to stop; then end training if one does.

        Args:
            iteration: that was done.

        Returns:
            The same, with what callbacks logged among its metrics.

        Raises:
            CallbackError: a callback raised, returned something else than `Stop` or None, or logged a metric that the
                iteration or another callback has already.
            ConfigError: training cannot end here; see `Trainer.stop`.
        """
        reasons = []
        logged: dict[str, float] = {}
        of: dict[str, str] = {}  # whose each of them is
        for callback in self._callbacks:
            with self._view._row() as own, _named(callback, "on_iteration", iteration):
                answer = callback.on_iteration(self._view, iteration)
            if isinstance(answer, Stop):
                reasons.append(f"callback {callback.name}: {answer.reason}")
            elif answer is not None:
                raise CallbackError(
                    f"callback {callback.name}: on_iteration returned {answer!r}, a {type(answer).__name__}. "
                    "Return Stop(reason) to end training, or None to continue.",
                    code="callback_returned",
                    fields={"callback": callback.name},
                )
            for name in sorted(own):
                if name in iteration.metrics:
                    raise CallbackError(
                        f"callback {callback.name}: logged {name}, which is a built-in metric. Use another name.",
                        code="callback_logged_builtin",
                        fields={"callback": callback.name},
                    )
                if name in of:
                    raise CallbackError(
                        f"callback {callback.name}: logged {name}, which callback {of[name]} also logged. Give one "
                        "of them another name.",
                        code="callback_logged_twice",
                        fields={"callback": callback.name},
                    )
            logged |= own
            of |= dict.fromkeys(own, callback.name)
        if reasons:
            self._trainer.stop(reasons[0])
        return replace(iteration, metrics={**iteration.metrics, **logged})

    def end(self) -> None:
        """Call `on_end` of all."""
        for callback in self._callbacks:
            with _named(callback, "on_end"):
                callback.on_end(self._view)

    def state(self) -> dict[str, Any]:
        """Name → state of each callback that remembers something."""
        states, errors = self.states()
        if errors:
            raise errors[0]
        return states

    def states(self) -> tuple[dict[str, Any], list[CallbackError]]:
        """The same of those callbacks whose `state` returns, and what the others raised."""
        states: dict[str, Any] = {}
        errors: list[CallbackError] = []
        for callback in self._callbacks:
            try:
                with _named(callback, "state"):
                    if state := callback.state():
                        require_keepable(state, "state")
                        states[callback.name] = state
            except CallbackError as error:
                errors.append(error)
        return states, errors

    def restore(self, states: Mapping[str, Any]) -> None:
        """Put back what `state` returned.

        Raises:
            CheckpointError: there is a state of a callback that this run has not.
        """
        if unknown := sorted(states.keys() - {callback.name for callback in self._callbacks}):
            raise CheckpointError(
                f"callback {unknown[0]}: the run began with this callback, and the checkpoint contains its state. "
                "Give the callback again to continue.",
                code="callback_missing",
                fields={"callback": unknown[0]},
            )
        for callback in self._callbacks:
            if callback.name in states:
                with _named(callback, "restore"):
                    callback.restore(states[callback.name])


@contextmanager
def _named(callback: Callback, method: str, iteration: Iteration | None = None) -> Iterator[None]:
    """Say of an error in which callback and where in its code it happened.

    Raises:
        CallbackError: whatever the block raised.
    """
    when = "" if iteration is None else f" after {iteration.phase} iteration {iteration.step}"
    path = getattr(sys.modules.get(type(callback).__module__), "__file__", None) or ""
    late = partial(_late, callback.name, f"{method}{when}", callback.timeout_s)
    with in_time(callback.timeout_s, late, path, CallbackError):
        try:
            yield
        except Exception as error:  # a user's own code may raise anything
            raise CallbackError(
                (
                    f"callback {callback.name}: {method}{when} raised {type(error).__name__}: {error}. If the cause is "
                    "outside its code, remove the cause and continue with --resume. If you fix the source of a "
                    f"callback of the configuration, also add {ACCEPT_CHANGED}.{own_lines(error, path)}"
                ),
                code="callback_raised",
                fields={"callback": callback.name},
            ) from error


def _late(name: str, doing: str, limit_s: float) -> str:
    return (
        f"callback {name}: {doing} has not returned after timeout_s={limit_s:g} seconds. Fix it, or increase "
        "callbacks.N.timeout_s (N counts callbacks from 0) or the callback's attribute timeout_s."
    )
