"""A run as event files, which `tensorboard --logdir` shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlgan.base.errors import ConfigError
from rlgan.base.extras import require_package
from rlgan.evaluation.shown_samples import samples_shown
from rlgan.training.callbacks import Callback, RunView
from rlgan.training.iteration import Iteration

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""Folder of a run's folder that holds its event files."""


class TensorBoard(Callback):
    """Writes each metric as a curve over the iterations of its phase, and samples of each measurement as text.

    A run that is resumed goes on in a new file of the same folder; iterations that are done again are written again.

    Args:
        folder: for the event files; None takes `tensorboard` in the run's folder.

    Raises:
        ConfigError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        require_package("tensorboard", "TensorBoard", extra="tensorboard")
        self._folder = None if folder is None else Path(folder)
        self._writer: SummaryWriter | None = None

    def on_start(self, run: RunView) -> None:
        """Open a file; see `Callback.on_start`."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder
        if folder is None:
            if run.folder is None:
                raise ConfigError(
                    "TensorBoard: this run has no folder. Give one: TensorBoard(folder).", code="tensorboard_folder"
                )
            folder = run.folder / FOLDER
        self._writer = SummaryWriter(str(folder))

    def on_iteration(self, run: RunView, iteration: Iteration) -> None:
        """Write its metrics; see `Callback.on_iteration`."""
        assert self._writer is not None
        for name, value in iteration.logged.items():
            self._writer.add_scalar(name, value, iteration.step)
        if iteration.measurement is not None:
            texts = samples_shown(run.task, iteration.measurement, run.config.evaluation.num_shown)
            # Four spaces keep a text as it is: TensorBoard reads Markdown.
            self._writer.add_text(
                f"samples/{iteration.phase}", "\n".join(f"    {text}" for text in texts), iteration.step
            )
        self._writer.flush()

    def on_end(self, run: RunView) -> None:
        """Close the file; see `Callback.on_end`."""
        assert self._writer is not None
        self._writer.close()
