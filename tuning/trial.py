"""One trial of a sweep: a run from a shared start, measured on validation data, that reports as Tune wants it.

Its configuration is that of `rlgan.trainable.SequenceGAN`, with `STARTS`, the folder of starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from rlgan.checkpoint import load_latest
from rlgan.config import Config
from rlgan.envs.tasks import Task
from rlgan.trainable import SequenceGAN
from rlgan.trainer import Trainer
from rlgan.workers.parts import Parts

from .selection import objective_for, selection_view
from .starts import Starts

STARTS = "starts"
"""Key of a trial's configuration: folder of the starts."""
INDEX = "index"
"""Key of a trial's configuration: its number in the sweep."""
RESUME = "resume"
"""Key of a trial's configuration: folder of the checkpoint that it goes on from, or None."""
OBJECTIVE = "objective"
"""Name of the reported value that trials are told apart by; lower is better."""

UPDATE = "update"
"""Name of the reported number of adversarial updates done."""
COMPLETE = "complete"
"""Name of the report whether the run is at its end."""


class Trial(SequenceGAN):
    """A trial that Tune steps, stops early, saves, restores and exploits.

    A step goes on to the next measurement, so that every result has a value of the objective.
    """

    own_keys: ClassVar[frozenset[str]] = frozenset({STARTS, INDEX, RESUME})

    def build(self, config: Config, task: Task, parts: Parts) -> Trainer:
        """Begin at the shared start; see `SequenceGAN.build`."""
        self._objective = objective_for(task, None)
        start = Starts(Path(self.config[STARTS])).get(config, task)
        trainer = Trainer(config, selection_view(task), parts, mle_start=start)
        if (checkpoint := self.config.get(RESUME)) is not None:
            trainer.restore(load_latest(Path(checkpoint)).state)
        return trainer

    def step(self) -> dict[str, Any]:
        """Units up to the next measurement; called by Tune."""
        while True:
            result = super().step()
            if all(side in result for side in self._objective.sides):
                return {
                    **result,
                    OBJECTIVE: self._objective.value(result),
                    UPDATE: self.trainer.position.adversarial_updates,
                    COMPLETE: self.trainer.next_phase is None,
                }
