"""A run as a `ray.tune.Trainable`, so that Tune's schedulers and searchers drive it as it is.

    space = {**to_dict(config), VARIED + "optimizers.generator.lr": tune.loguniform(1e-4, 1e-2)}
    tune.Tuner(SequenceGAN, param_space=space).fit()

A training iteration is one iteration of the schedule. Checkpoints are those of `rlgan.storage.checkpoint`: plain data,
no pickle. Where code of the user's own raises, or does not return in time, the trial fails with its name, and its last
whole iteration is kept in its folder (`KEPT`). `tune.Tuner.restore(..., resume_errored=True)` goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pyarrow.fs import FileSystem, FileType, LocalFileSystem, copy_files
from ray import tune
from ray.tune.result import DONE

from rlgan.base.errors import CheckpointError, PluginError
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, override
from rlgan.envs.tasks import Task
from rlgan.extensions import unpack, when_stuck
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.callbacks import CALLBACKS, Callback, Callbacks, loaded_callbacks
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.placement import Role, roles_of

from .data import DATA, same_task
from .whole import Whole, may_raise, whole

VARIED = "vary:"
"""Before a dotted path that a search varies; without it stand the fields of the base configuration."""
SOURCES = "plugin_sources"
"""Key of sources of the configuration's plug-ins, `rlgan.extensions.packed`, for machines that have not their files."""
VARIED_LOG10 = "vary log10:"
"""Before a dotted path whose value is ten to the number given, for searchers that know linear scales alone."""


KEPT = "checkpoint_kept"
"""Folder in a trial's own, in Tune's storage: the last whole iteration of one in which a plug-in raised."""

logger = logging.getLogger(__name__)


class SequenceGAN(tune.Trainable):
    """A trainer that Tune steps, saves and restores.

    Its configuration is what `rlgan.config.paths.to_dict` returns, with `VARIED` paths for what a search varies. With
    the key `rlgan.runs.data.DATA`, the fingerprint of a task, it refuses to train on other data.
    """

    own_keys: ClassVar[frozenset[str]] = frozenset({DATA, SOURCES})
    """Keys of Tune's configuration that a subclass reads itself."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Room for the driver's threads and for every actor of the trial; called by Tune."""
        roles = roles_of_trial(_resolved(config, cls.own_keys))
        return tune.PlacementGroupFactory([role.bundle for role in roles for _ in range(role.number)])

    def setup(self, config: dict[str, Any]) -> None:
        """Build the run; called by Tune."""
        resolved = _resolved(config, self.own_keys)
        self._stack = ExitStack()
        task = same_task(resolved.task, config.get(DATA), "trial")
        self._fingerprint = task.fingerprint()
        parts = self._stack.enter_context(build_parts(resolved, task))
        self.trainer = self.build(resolved, task, parts)
        self._callbacks, self._has_started = Callbacks(self.callbacks(resolved), self.trainer), False
        self._may_raise = may_raise(resolved)
        self._whole: Whole | None = None  # while an iteration is being done
        self._resumed_at: int | None = None
        self.resume()
        self._resume_kept()

    def resume(self) -> None:
        """Go on from where another trial stopped, which a subclass may know; called when everything is built."""

    def callbacks(self, config: Config) -> Sequence[Callback]:
        """Callbacks of this run; a subclass may have others."""
        return loaded_callbacks(config.callbacks)

    def build(self, config: Config, task: Task, parts: Parts) -> Trainer:
        """The trainer of this run; a search may give it another start."""
        return Trainer(config, task, parts)

    def step(self) -> dict[str, Any]:
        """One iteration of the schedule; called by Tune."""
        with self.keeping():
            if not self._has_started:
                self._callbacks.start()
                self._has_started = True
            self._whole = self._now() if self._may_raise else None
            iteration = self.trainer.step()
            self._whole = None
            done = self._callbacks.after(iteration)
            is_complete = self.trainer.next_phase is None
            if is_complete:
                self._callbacks.end()
        return {**done.metrics, "phase": done.phase, "phase_step": done.step, DONE: is_complete}

    def _now(self) -> Whole:
        """The trial between two iterations, without the states of callbacks that raise when they are asked for it."""
        states = self._callbacks.states()[0]
        return whole(self.trainer, self._fingerprint, deepcopy(states))

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within it, a trial that code of the user's own breaks off is kept as it last stood between two iterations."""
        try:
            with when_stuck(self._keep):
                yield
        except PluginError:
            self._keep()
            raise

    def _keep(self) -> None:
        """Keep the last whole iteration in the trial's folder."""
        last = self._now() if self._whole is None else self._whole
        with TemporaryDirectory(prefix="rlgan-") as folder:
            save_checkpoint(Path(folder), last.state, last.position.iterations, keep=1, bases=last.bases)
            system, kept = self._place()
            system.create_dir(kept, recursive=True)
            copy_files(folder, kept, LocalFileSystem(), system)
        logger.warning("stopped by a plug-in; the trial after %s is kept in %s", last.position, kept)

    def _place(self) -> tuple[FileSystem, str]:
        """Where the trial keeps what a plug-in broke off."""
        if self._storage is None:  # outside of Tune
            return LocalFileSystem(), str(Path(self.logdir) / KEPT)
        return self._storage.storage_filesystem, f"{self._storage.trial_fs_path}/{KEPT}"

    def _resume_kept(self) -> None:
        """Go on from what a plug-in broke off in this trial."""
        system, kept = self._place()
        if system.get_file_info(kept).type == FileType.NotFound:
            return
        with TemporaryDirectory(prefix="rlgan-") as folder:
            copy_files(kept, folder, system, LocalFileSystem())
            loaded = load_latest(Path(folder))
            self.put_back(loaded.state, Path(kept))
        self._resumed_at = loaded.position

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep the state in Tune's folder; called by Tune."""
        trainer = self.trainer
        save_checkpoint(Path(checkpoint_dir), self.state(), trainer.position.iterations, keep=1, bases=trainer.bases)
        if self._resumed_at is not None:  # Tune has a newer one now
            system, kept = self._place()
            system.delete_dir(kept)
            self._resumed_at = None

    def load_checkpoint(self, checkpoint_dir: str | None) -> None:
        """Go on from a state in Tune's folder; called by Tune."""
        assert checkpoint_dir is not None
        path = Path(checkpoint_dir)
        loaded = load_latest(path)
        # Tune knows the checkpoints that it asked for, and begins a trial that failed again from the last of these.
        if self._resumed_at is None or loaded.position > self._resumed_at:
            self.put_back(loaded.state, path)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {**self.trainer.state(), DATA: self._fingerprint, CALLBACKS: self._callbacks.state()}

    def put_back(self, state: dict[str, Any], where: Path) -> None:
        """Go on from what `state` returned.

        Args:
            state: whole.
            where: it lay, for people.

        Raises:
            CheckpointError: it was trained on other data.
        """
        if state.get(DATA, self._fingerprint) != self._fingerprint:  # older versions did not keep it
            raise CheckpointError(
                f"{where}: its data has changed: the checkpoint was trained on other sequences. Restore the files, "
                "or start again.",
                code="tune_state_of_other_data",
                fields={"where": where},
            )
        self.trainer.restore(state)
        self._callbacks.restore(state.get(CALLBACKS, {}))  # older versions had none

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process, which has everything imported; called by Tune."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """End what was started; called by Tune."""
        self._stack.close()


def roles_of_trial(config: Config) -> list[Role]:
    """What one trial reserves: its own process first, then its actors."""
    workers, roles = config.workers, roles_of(config.workers, config.has_adversary)
    # What stays in the trial's own process computes on its GPU.
    gpus = sum(
        gpus
        for gpus, role in (
            (workers.gpus_discriminator if config.has_adversary else 0.0, roles.discriminator),
            (workers.gpus_per_learner, roles.learner),
            (workers.gpus_per_rollout, roles.rollout),
        )
        if not role.number
    )
    return [Role("trial", 1, float(workers.threads), min(1.0, gpus)), *roles]


def _resolved(config: dict[str, Any], own_keys: frozenset[str]) -> Config:
    """The run that Tune's configuration means."""
    unpack(config.get(SOURCES) or [])
    whole, varied = {}, {}
    for name, value in config.items():
        if name.startswith(VARIED):
            varied[name.removeprefix(VARIED)] = value
        elif name.startswith(VARIED_LOG10):
            varied[name.removeprefix(VARIED_LOG10)] = 10.0**value
        elif name not in own_keys:
            whole[name] = value
    return override(from_dict(whole), varied)
