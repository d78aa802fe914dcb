"""One process working on one run: the loop over its iterations, checkpoints, signals, what a person sees."""

from __future__ import annotations

import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rlgan.base.activity import stage
from rlgan.base.errors import (
    CallbackError,
    CheckpointError,
    MemoryShortError,
    PluginError,
    RlganError,
    StorageError,
    UploadError,
)
from rlgan.base.files import cannot_write, write_atomically
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_kept, to_dict
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Measurement
from rlgan.evaluation.shown_samples import samples_shown
from rlgan.extensions import keep_sources, needs_trust, plugins_in, when_stuck
from rlgan.presets.controls import trained_again
from rlgan.report.narrow import wrapped
from rlgan.schedule.phases import Position
from rlgan.storage.checkpoint import LoadedCheckpoint, read_run_config, save_checkpoint, write_run_config
from rlgan.storage.discriminator_export import save_run_discriminator
from rlgan.storage.export import save_run_generator
from rlgan.storage.places import Mirror
from rlgan.tracking import Tracker, run_tags
from rlgan.training.callbacks import CALLBACKS, Callback, Callbacks
from rlgan.training.iteration import Iteration
from rlgan.training.parts import Losses
from rlgan.training.trainer import Trainer

from .comparison import compare
from .data import data_inputs, write_run_data
from .ending import ending
from .plan import plan_of, training_left
from .plugin_changes import PLUGIN_CHANGES, PluginChange, change_tags, record_changes
from .progress import Progress, in_words
from .publishing import publish
from .whole import Whole, may_raise, whole

_SHORT_TABLE_S = 20.0  # nobody needs to be told how to make it shorter
_INTERRUPTED_WAIT_S = 3.0  # who presses Ctrl-C does not want to wait for a server


class _StoppedWithinError(Exception):
    """Somebody asked to stop, and an epoch of pretraining was broken off where it can go on."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run.

    Attributes:
        run_dir: its folder.
        stopped: whether it was stopped before its end, after a checkpoint.
        table: rows of the final comparison; empty if stopped.
    """

    run_dir: Path
    stopped: bool
    table: list[dict[str, Any]] = field(default_factory=list)


class Session:
    """One process working on one run.

    Args:
        config: of the run.
        task: of the run.
        trainer: of that configuration and task, with nothing done yet.
        faults: counts the actors that the trainer's parts lose.
        run_dir: folder of the run; it exists.
        progress: shows what is going on, and watches.
        mirror: of that folder in a shared storage; None where there is none.
        notes: lines for the log, after the task's own.
        callbacks: see each iteration, and may end training.
        changes: plug-ins with another source than the run was done with so far, which the user accepted.
        tags: of the MLflow run, when this process ends, besides those of what happened.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        trainer: Trainer,
        faults: Losses,
        run_dir: Path,
        progress: Progress,
        mirror: Mirror | None = None,
        notes: tuple[str, ...] = (),
        callbacks: Sequence[Callback] = (),
        changes: Sequence[PluginChange] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._tags = dict(tags or {})
        self._config, self._task, self._trainer, self._run_dir = config, task, trainer, run_dir
        self._fingerprint = task.fingerprint()  # of all sequences, so it is not computed at every checkpoint
        self._faults, self._mirror, self._callbacks = faults, mirror, Callbacks(callbacks, trainer, run_dir)
        self._notes = (*task.notes, *trainer.evaluator.notes, *notes)
        self._progress, self._changes = progress, tuple(changes)
        self._tracker = Tracker(config.tracking, run_dir, self._progress.say)
        self._last_checkpoint = time.monotonic()
        self._stop_asked = False
        self._kept_position: Position | None = None
        self._may_raise = may_raise(config)
        self._whole: Whole | None = None
        self._not_sent = ""  # the reason that was told last

    def run(self, resumed_from: LoadedCheckpoint | None) -> RunResult:
        """Work until the run is complete or stopped.

        Args:
            resumed_from: the state to go on from; None begins.

        Returns:
            What became of the run.

        Raises:
            CheckpointError: the disk is full or cannot be written.
            UploadError: the run is complete or stopped, and its folder did not get into its storage.
        """
        try:
            result = self._work(resumed_from)
        except Exception:
            self._send()  # what there is, as far as it goes: this machine may be gone when somebody looks
            raise
        if self._mirror is not None:
            send_last(self._mirror, self._run_dir)
        return result

    def _work(self, resumed_from: LoadedCheckpoint | None) -> RunResult:
        self._progress.say(f"run {self._run_dir}")
        if self._mirror is not None:
            self._progress.say(f"kept in {self._mirror.place.uri}")
        for note in self._notes:
            self._progress.say(note)
        if resumed_from is not None:
            self._restore(resumed_from)
            write_run_data(self._run_dir, self._config, self._task, from_kept(read_run_config(self._run_dir)))
            self._write_changes()
        else:
            write_run_data(self._run_dir, self._config, self._task)
            # The configuration makes the folder a run, and comes when there is something to go on with.
            self._checkpoint()
            keep_sources(self._run_dir, plugins_in(self._config))
            write_run_config(self._run_dir, to_dict(self._config))
        self._send()
        self._training_began = time.monotonic()
        self._progress.follow(plan_of(self._config, self._task, self._trainer.position))
        name = self._run_dir.name
        self._tracker.start(
            name,
            flatten(to_dict(self._config)),
            run_tags(self._config.preset, self._config.seed) | self._trainer.evaluator.tags,
            data_inputs(self._config, self._task, self._fingerprint),
        )
        status = "FAILED"
        wait_s: float | None = None
        tags = {**change_tags(self._run_dir), **self._tags}
        try:
            with self._stop_on_signals(), when_stuck(self._keep_whole):
                self._train()
            if self._trainer.stopped is not None:
                self._say_wrapped(f"training was stopped by {self._trainer.stopped}")
                tags["stopped_by"] = self._trainer.stopped
            if self._trainer.selected is not None:
                self._say_wrapped(self._trainer.selected)
                tags["selected"] = self._trainer.selected
            if self._stop_asked:
                status = "KILLED"
                return self._stopped()
            with torch_threads(self._config.workers.threads):
                table = self._report()
            status = "FINISHED"
            return RunResult(self._run_dir, stopped=False, table=table)
        except KeyboardInterrupt:
            status, wait_s = "KILLED", _INTERRUPTED_WAIT_S
            return self._stopped()
        except MemoryShortError:
            self._progress.say(
                f"stopped, for memory was out; the {self._kept_position} of the last checkpoint are kept. Go on "
                f"with: {self._again()}, and the setting that the error names"
            )
            raise
        except PluginError:
            self._progress.say(
                f"stopped by a plug-in; the {self._kept_position} of the last checkpoint are kept. When "
                f"the cause is fixed, continue with: {self._again()} (add --accept-changed-plugins if you changed "
                "the source of a plug-in)"
            )
            raise
        finally:
            if lost := self._faults.summary():
                self._progress.say(lost)
            self._progress.close()
            self._tracker.finish(status, wait_s, tags)

    def _write_changes(self) -> None:
        """From here on the run is one of the new sources; those before stay in its folder."""
        if not self._changes:
            return
        assert self._kept_position is not None
        keep_sources(self._run_dir, plugins_in(self._config))
        record_changes(self._run_dir, self._changes, self._kept_position.iterations)
        write_run_config(self._run_dir, to_dict(self._config))
        for change in self._changes:
            self._progress.say(f"continues with a new source of {change}; this is recorded in {PLUGIN_CHANGES}")

    def _stopped(self) -> RunResult:
        self._progress.say(f"stopped after {self._kept_position}; to continue, run: {self._again()}")
        return RunResult(self._run_dir, stopped=True)

    def _again(self) -> str:
        """The command that goes on with this run."""
        run = str(self._run_dir) if self._mirror is None else self._mirror.place.uri
        trust = " --trust-code" if needs_trust(plugins_in(self._config), self._run_dir) else ""
        return f"rlgan train --resume {shlex.quote(run)}{trust}"

    # ------------------------------------------------------------------ training

    def _train(self) -> None:
        trainer, callbacks = self._trainer, self._callbacks
        trainer.between = self._between
        callbacks.start()
        while trainer.next_phase is not None and not self._stop_asked:
            if self._may_raise:
                self._whole = self._now(deepcopy(callbacks.states()[0]))
            try:
                iteration = trainer.step()
            except _StoppedWithinError:
                break
            except (PluginError, MemoryShortError):
                self._keep_whole()
                raise
            try:
                done = callbacks.after(iteration)
            except RlganError:
                self._log(iteration)
                self._checkpoint_beside_error()
                raise
            self._log(done)
            self._checkpoint_if_due()
        if self._kept_position != trainer.position:
            self._checkpoint()
            self._send()
        callbacks.end()

    def _between(self) -> None:
        """Between two batches of an epoch of pretraining."""
        if self._stop_asked:
            raise _StoppedWithinError
        self._checkpoint_if_due()

    def _checkpoint_if_due(self) -> None:
        if time.monotonic() - self._last_checkpoint > self._config.checkpoint_every_s:
            self._checkpoint()
            self._send()

    def _log(self, done: Iteration) -> None:
        number = self._trainer.position.iterations
        self._tracker.log_metrics(done.logged, step=done.step, phase=done.phase, iteration=number)
        self._progress.iteration(done, training_left(self._config, self._trainer.position))
        if done.measurement is not None:
            self._write_samples(f"{done.phase} {done.step}", done.measurement)

    def _write_samples(self, title: str, measurement: Measurement) -> None:
        shown = samples_shown(self._task, measurement, self._config.evaluation.num_shown)
        path = self._run_dir / "samples.txt"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"=== {title}\n" + "".join(f"{line}\n" for line in shown))
        except OSError as error:
            raise cannot_write(path, error) from error

    def _now(self, callbacks: Mapping[str, Any]) -> Whole:
        """The run as it stands, between two iterations."""
        return whole(self._trainer, self._fingerprint, callbacks)

    def _checkpoint(self) -> None:
        """Keep the run as it stands, also where a callback cannot say what it remembers.

        Raises:
            CallbackError: the `state` of a callback raised; the checkpoint is kept without it.
        """
        states, errors = self._callbacks.states()
        self._keep(self._now(states))
        if errors:
            self._progress.say(
                f"warning: the checkpoint after {self._kept_position} is saved without the state of a "
                "callback, which starts anew when the run is resumed"
            )
            raise errors[0]

    def _checkpoint_beside_error(self) -> None:
        """The same while another error is on its way, which is the one to tell of."""
        try:
            self._checkpoint()
        except CallbackError as error:
            self._progress.say(f"warning: {error}")

    def _keep_whole(self) -> None:
        """Keep the last whole iteration, where a plug-in raised in the middle of the next."""
        if self._whole is None or self._kept_position is None:
            return
        # Within an epoch a checkpoint may be further on than the last whole iteration.
        if self._whole.position.order > self._kept_position.order:
            self._keep(self._whole)

    def _keep(self, kept: Whole) -> None:
        state = kept.state
        save_checkpoint(self._run_dir, state, kept.position.iterations, bases=kept.bases)
        self._kept_position = kept.position
        weights = state["learners"]["weights"]
        # The same tensors, and not only of the same names: a discriminator may have a base, too.
        base = next(
            (one for one in kept.bases if all(weights.get(name) is own for name, own in (one.tensors or {}).items())),
            None,
        )
        save_run_generator(self._run_dir, self._config.generator, self._task, weights, base)
        if self._config.discriminator is not None:
            reward = self._config.reward.model_dump(mode="json")
            judge = state["discriminator"]["weights"]
            save_run_discriminator(self._run_dir, self._config.discriminator, reward, self._task, judge)
        self._last_checkpoint = time.monotonic()

    def _send(self) -> None:
        """Send what changed into the storage; what does not get there now is tried again after the next checkpoint."""
        if self._mirror is None:
            return
        try:
            self._mirror.send()
            self._not_sent = ""
        except StorageError as error:
            if str(error) != self._not_sent:
                self._not_sent = str(error)
                self._progress.say(f"warning: {error} The run continues, and tries again after each checkpoint.")

    def _restore(self, loaded: LoadedCheckpoint) -> None:
        for reason in loaded.skipped:
            self._progress.say(f"warning: {reason}; continuing from {loaded.path.name}, the last intact checkpoint")
        try:
            self._trainer.restore(loaded.state)
        except RuntimeError as error:  # torch's, of tensors that a network has no place for
            if not self._changes:
                raise
            raise CheckpointError(
                (
                    f"{self._run_dir}: the checkpoint does not fit the changed plug-in "
                    f"{', '.join(map(str, self._changes))}: {error}. Nothing was changed. Fix the plug-in so that it "
                    "has the same parameters as before, or start a new run."
                ),
                code="state_does_not_fit_plugin",
                fields={"run": self._run_dir},
            ) from error
        self._callbacks.restore(loaded.state.get(CALLBACKS, {}))  # older versions had none
        self._kept_position = self._trainer.position
        self._tracker.truncate_after(loaded.position)
        _truncate_samples(self._run_dir / "samples.txt", self._trainer)
        self._progress.say(f"resumed after {self._kept_position}")

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C ends at the next place where the run can go on, with a checkpoint; the second at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self._stop_asked:
                raise KeyboardInterrupt
            self._stop_asked = True
            self._progress.say(
                "stopping after this iteration, or within it if it is an epoch (press Ctrl-C again to stop at once and "
                "lose progress since the last checkpoint)"
            )

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may ask for signals
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ------------------------------------------------------------------ report

    def _warn_of_a_long_table(self) -> None:
        """Say what makes it shorter, where it will take more than a third of what training took."""
        left, trained_s = self._progress.seconds_left(), time.monotonic() - self._training_began
        if left is None or left < max(_SHORT_TABLE_S, trained_s / 3):
            return
        evaluation = self._config.evaluation
        temperatures = ",".join(f"{temperature:g}" for temperature in evaluation.temperatures)
        shorter = [
            f"--evaluation.final-sequences {evaluation.final_sequences}",
            f"--evaluation.temperatures {temperatures}",
        ]
        if trained_again(self._config) is not None:
            shorter.append(f"--evaluation.equal-trainings {evaluation.equal_trainings}")
        if self._config.controls:  # else nothing is trained for the table
            shorter.append(f"--controls {','.join(self._config.controls)}")
        self._say_wrapped(
            f"the final table takes about {in_words(left)}; training took {in_words(trained_s)}. To shorten it in "
            f"another run, reduce {', '.join(shorter)}. Ctrl-C keeps the run; a resumed run makes the table anew."
        )

    def _say_wrapped(self, text: str) -> None:
        """A sentence in lines of a terminal."""
        self._progress.say(wrapped(text, self._progress.columns))

    def _report(self) -> list[dict[str, Any]]:
        self._warn_of_a_long_table()
        with stage("table", "final table"):
            comparison = compare(_as_trained(self._config, self._trainer), self._task, self._trainer, self._say_wrapped)
        self._write_samples("final", comparison.final)
        is_tracked = self._config.tracking.enabled
        self._progress.say(f"\n{ending(comparison, self._run_dir, self._progress.columns, is_tracked)}")
        publish(comparison, self._task, self._run_dir, self._tracker, is_tracked)
        return comparison.rows


def _as_trained(config: Config, trainer: Trainer) -> Config:
    """The configuration of a run that a callback may have stopped, so that its controls make as many updates."""
    done = trainer.position.adversarial_updates
    if trainer.stopped is None or done == config.schedule.adversarial_updates:
        return config
    schedule = config.schedule.model_copy(update={"adversarial_updates": done})
    return config.model_copy(update={"schedule": schedule, "controls": config.controls if done else ()})


def send_last(mirror: Mirror, run_dir: Path) -> None:
    """Send the folder of a run that is complete or stopped.

    Args:
        mirror: of the folder.
        run_dir: folder of the run.

    Raises:
        UploadError: it did not get into its storage, with what to do.
    """
    try:
        mirror.send()
    except StorageError as error:
        again = f"rlgan train --resume {shlex.quote(str(run_dir))} --storage {shlex.quote(mirror.place.parent_uri)}"
        raise UploadError(
            f"{error} Nothing is lost: the complete run is in {run_dir}. When the storage is available again, "
            f"upload it with: {again}",
            code="upload_failed",
        ) from error


def _truncate_samples(path: Path, trainer: Trainer) -> None:
    """Drop samples of iterations that will be done again."""
    if not path.exists():
        return
    done = {
        "mle": trainer.position.mle_epochs,
        "discriminator": trainer.position.discriminator_rounds,
        "adversarial": trainer.position.adversarial_updates,
    }
    kept = []
    # A sample may hold the mark too, so it counts only with the rest of its line.
    for block in re.split(
        r"^(?==== (?:mle \d+|discriminator \d+|adversarial \d+|final)$)", path.read_text("utf-8"), flags=re.M
    ):
        _, _, title = block.partition("\n")[0].partition(" ")
        phase, _, step = title.partition(" ")
        if step and int(step) <= done[phase]:
            kept.append(block)
    write_atomically(path, lambda target: target.write_text("".join(kept), "utf-8"))
