"""A run as a `ray.tune.Trainable`, so that Tune's schedulers and searchers drive it as it is.

    space = {**to_dict(config), VARIED + "optimizers.generator.lr": tune.loguniform(1e-4, 1e-2)}
    tune.Tuner(SequenceGAN, param_space=space).fit()

A training iteration is one unit of the schedule. Checkpoints are those of `rlgan.storage.checkpoint`: plain data, no
pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.tune.result import DONE

from rlgan.base.errors import CheckpointError
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, override
from rlgan.envs.tasks import Task
from rlgan.extensions import unpack
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.callbacks import CALLBACKS, Callback, Callbacks, loaded_callbacks
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.placement import Role, roles_of

from .data import DATA, same_task

VARIED = "vary:"
"""Before a dotted path that a search varies; without it stand the fields of the base configuration."""
SOURCES = "plugin_sources"
"""Key of sources of the configuration's plug-ins, `rlgan.extensions.packed`, for machines that have not their files."""
VARIED_LOG10 = "vary log10:"
"""Before a dotted path whose value is ten to the number given, for searchers that know linear scales alone."""


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
        self.resume()

    def resume(self) -> None:
        """Go on from where another trial stopped, which a subclass may know; called when everything is built."""

    def callbacks(self, config: Config) -> Sequence[Callback]:
        """Callbacks of this run; a subclass may have others."""
        return loaded_callbacks(config.callbacks)

    def build(self, config: Config, task: Task, parts: Parts) -> Trainer:
        """The trainer of this run; a search may give it another start."""
        return Trainer(config, task, parts)

    def step(self) -> dict[str, Any]:
        """One unit of the schedule; called by Tune."""
        if not self._has_started:
            self._callbacks.start()
            self._has_started = True
        done = self._callbacks.after(self.trainer.step())
        is_complete = self.trainer.next_phase is None
        if is_complete:
            self._callbacks.end()
        return {**done.metrics, "phase": done.phase, "phase_step": done.step, DONE: is_complete}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep the state in Tune's folder; called by Tune."""
        trainer = self.trainer
        save_checkpoint(Path(checkpoint_dir), self.state(), trainer.position.units, keep=1, bases=trainer.bases)

    def load_checkpoint(self, checkpoint_dir: str | None) -> None:
        """Go on from a state in Tune's folder; called by Tune."""
        assert checkpoint_dir is not None
        path = Path(checkpoint_dir)
        self.put_back(load_latest(path).state, path)

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
