"""One trial of a sweep: a run from a shared start, measured on validation data, that reports as Tune wants it.

Its configuration is that of `rlgan.runs.ray_tune.SequenceGAN`, with the keys below.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ray.tune.result import DONE

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.evaluation.shown_samples import beside_real
from rlgan.runs.ray_tune import VARIED, SequenceGAN
from rlgan.storage.checkpoint import load_latest
from rlgan.storage.export import save_run_generator
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer

from ..judge.selection import objective_for, require_one_budget
from .starts import Starts

logger = logging.getLogger(__name__)

STARTS = "starts"
"""Key of a trial's configuration: folder of the starts."""
NAME = "name"
"""Key of a trial's configuration: of its folder."""
INDEX = "index"
"""Key of a trial's configuration: its number in the search."""
RESUME = "resume"
"""Key of a trial's configuration: folders of checkpoints; it goes on from the first that is whole, if any is."""
SELECT_BY = "select_by"
"""Key of a trial's configuration: name of the objective, or None for what fits the task."""
CHANGES = "changes"
"""Key of a trial's configuration: [[updates done, {path: value}], ...], what changes while it trains."""
FINAL = "final"
"""Key of a trial's configuration: whether it is measured at its end at all temperatures, on test data too."""

OBJECTIVE = "objective"
"""Name of the reported value that trials are distinguished by; lower is better."""
UPDATE = "update"
"""Name of the reported number of adversarial updates done."""
COMPLETE = "complete"
"""Name of the report whether the run is at its end."""
MEASURED = "measured"
"""Name of the report of a final measurement: a list of {temperature, validation, test, samples, beside}."""
MEASURING_S = "measuring_s"
"""Name of the reported seconds that the measurement took."""
_SAMPLES = 3  # that a person is shown of each temperature


class Trial(SequenceGAN):
    """A trial that Tune steps, stops early, saves, restores and exploits.

    A step goes on to the next measurement, so that every result has a value of the objective.
    """

    config: dict[str, Any]  # Tune's own has no annotation
    _changed_at = 0  # the first point is the configuration itself

    own_keys: ClassVar[frozenset[str]] = SequenceGAN.own_keys | {STARTS, NAME, INDEX, RESUME, SELECT_BY, CHANGES, FINAL}

    def build(self, config: Config, task: Task, parts: Parts) -> Trainer:
        """Begin at the shared start; see `SequenceGAN.build`."""
        require_one_budget(config)
        self._objective = objective_for(task, self.config.get(SELECT_BY))
        self._task = task
        start = Starts(Path(self.config[STARTS])).get(config, task)
        # A trial never trains a fresh evaluator, and the validation split may be too small for one.
        measured = config.evaluation.model_copy(update={"adversarial": None})
        return Trainer(config.model_copy(update={"evaluation": measured}), selection_view(task), parts, mle_start=start)

    def resume(self) -> None:
        """Go on from the first checkpoint that is whole, if any is; see `SequenceGAN.resume`."""
        for checkpoint in self.config.get(RESUME) or []:
            try:
                state = load_latest(Path(checkpoint)).state
            except CheckpointError as error:  # the machine died while it was copied
                logger.warning("%s", error)
                continue
            self.put_back(state, Path(checkpoint))
            break

    def step(self) -> dict[str, Any]:
        """Units up to the next measurement; called by Tune."""
        result: dict[str, Any] = {}
        while not self._objective.is_in(result):
            if self.trainer.next_phase is None:  # nothing to train: a start as it is
                with self.keeping():
                    result = self.trainer.measure().metrics
            else:
                self._change()
                result = super().step()
                self._require_whole()
        complete = self.trainer.next_phase is None
        report = {
            **result,
            OBJECTIVE: self._objective.value(result),
            UPDATE: self.trainer.position.adversarial_updates,
            MEASURING_S: result.get("timing/evaluate_s"),
            COMPLETE: complete,
            DONE: complete,
        }
        if not (complete and self.config.get(FINAL)):
            return report
        with self.keeping():
            return {**report, MEASURED: self._measure()}

    def _require_whole(self) -> None:
        """Trials are compared at equal numbers of updates, which a callback may not change.

        Raises:
            ConfigError: one has stopped training.
        """
        if self.trainer.stopped is not None:
            raise ConfigError(
                f"training stopped by {self.trainer.stopped}: trials of a sweep are compared at equal numbers of "
                "updates. Remove the callbacks, or let them return None; a scheduler stops poor trials early.",
                code="trial_stopped",
            )

    def _change(self) -> None:
        """Go on at another point, if it is time: what a population found is a schedule of points."""
        done = self.trainer.position.adversarial_updates
        due = [one for one in self.config.get(CHANGES) or [] if self._changed_at < one[0] <= done]
        if due:
            update, changes = due[-1]
            state = self.state()
            config = {name: value for name, value in self.config.items() if not name.startswith(VARIED)}
            self.reset_config({**config, **{VARIED + path: value for path, value in changes.items()}, RESUME: []})
            self.put_back(state, Path(self.config[STARTS]))
            self._changed_at = update

    def setup(self, config: dict[str, Any]) -> None:
        """Build the run; called by Tune."""
        self._changed_at, self.config = 0, config
        super().setup(config)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep the state in Tune's folder, and of a run of the final race its generator alone; called by Tune."""
        super().save_checkpoint(checkpoint_dir)
        if self.config.get(FINAL) and self.trainer.next_phase is None:
            weights = self.trainer.current_weights()
            save_run_generator(Path(checkpoint_dir), self.trainer.config.generator, self._task, weights)

    def _measure(self) -> list[dict[str, Any]]:
        """The run at its end, at every temperature, on the data that it was chosen by and on that which it was not."""
        trainer, settings = self.trainer, self.trainer.config.evaluation
        # Samples of its own: half of each objective is of samples alone, and would be the very number chosen by.
        on_test = Evaluator(self._task, settings, trainer.config.seed, draw="evaluation on test data")
        generator = trainer.current_generator()
        measured = []
        with torch_threads(trainer.config.workers.threads):
            for temperature in dict.fromkeys((1.0, *settings.temperatures)):
                one, other = (
                    evaluator.measure(generator, temperature, settings.final_sequences)
                    for evaluator in (trainer.evaluator, on_test)
                )
                shown = beside_real(self._task, other, _SAMPLES)
                measured.append(
                    {
                        "temperature": temperature,
                        "validation": _plain(one.metrics),
                        "test": _plain(other.metrics),
                        "samples": [one.generated for one in shown],
                        "beside": [[one.source, one.real] for one in shown],
                    },
                )
        return measured


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("eval/"): float(value) for name, value in metrics.items()}
