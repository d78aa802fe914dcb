"""A run in Weights & Biases."""

from __future__ import annotations

from typing import Any, Literal

from rlgan.base.extras import require_package
from rlgan.config.paths import flatten, to_dict
from rlgan.training.callbacks import Callback, RunView
from rlgan.training.iteration import Iteration

Mode = Literal["online", "offline"]


class WandB(Callback):
    """Logs each metric, and the configuration.

    Its step is the number of iterations of all phases. A run that is resumed goes on with the same run of Weights &
    Biases; iterations that are done again are there already, and are not taken twice.

    Args:
        project: there.
        mode: "online" sends what is logged; "offline" keeps it in `wandb` in the run's folder, to be sent by
            `wandb sync`; None takes WANDB_MODE, else online.
        entity: user or team that the run belongs to; None takes the user's default.

    Raises:
        ConfigError: the package `wandb` is not installed.
    """

    def __init__(self, project: str = "rlgan", mode: Mode | None = None, entity: str | None = None) -> None:
        require_package("wandb", "WandB", extra="wandb")
        self._project, self._mode, self._entity = project, mode, entity
        self._id: str | None = None
        self._run: Any = None

    def on_start(self, run: RunView) -> None:
        """Open the run there, or go on with it; see `Callback.on_start`."""
        import wandb

        folder = run.folder
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            mode=self._mode,
            id=self._id,
            resume=None if self._id is None else "allow",
            name=None if folder is None else folder.name,
            dir=None if folder is None else str(folder),
            config=flatten(to_dict(run.config)),
            reinit="create_new",  # a user's own run in this process is none of ours
        )
        self._id = self._run.id

    def on_iteration(self, run: RunView, iteration: Iteration) -> None:
        """Log its metrics; see `Callback.on_iteration`."""
        self._run.log(dict(iteration.logged), step=run.position.iterations)

    def on_end(self, run: RunView) -> None:
        """Close the run there; see `Callback.on_end`."""
        self._run.finish()

    def state(self) -> dict[str, Any]:
        """Which run it is; see `Callback.state`."""
        return {} if self._id is None else {"id": self._id}

    def restore(self, state: dict[str, Any]) -> None:
        """Know it again; see `Callback.restore`."""
        self._id = state["id"]
