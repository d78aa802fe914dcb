"""Which generator of the adversarial phase is kept, carried out: measured on validation data, its weights held.

When one is measured and which is better is decided in `rlgan.schedule.model_selection`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rlgan.base.activity import stage
from rlgan.base.weights import Tensors
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.schedule.model_selection import (
    BestGenerator,
    SelectionState,
    after_measurement,
    ends_early,
    is_due,
    require_any_gain,
    sentence,
)

from .shared import Shared


class GeneratorSelection:
    """Keeps the best generator of those that were measured.

    Args:
        shared: of the run.
        settings: by what, and how often.

    Attributes:
        evaluator: of validation data.

    Raises:
        ConfigError: the task has not what it is to be measured by.
    """

    def __init__(self, shared: Shared, settings: BestGenerator) -> None:
        self._shared, self._settings, config = shared, settings, shared.config
        self._state = SelectionState()
        self._weights: Tensors | None = None
        # Samples of its own, for what is chosen by some is reported of others; and nothing that none needs.
        evaluation = config.evaluation.model_copy(update={"encoders": (), "adversarial": None})
        self.evaluator = Evaluator(selection_view(shared.task), evaluation, config.seed, draw="selection")
        self.evaluator.require_figure(settings.measure)

    def judge(self, iteration: int) -> float:
        """Measure the generator, and keep its weights if none was better.

        Args:
            iteration: adversarial iterations done.
        """
        with self._shared.timings.timed("timing/select_s"), stage("select", "measuring for selection"):
            weights = self._shared.parts.learners.weights().complete
            value = self.evaluator.figure(self._shared.generator_from(weights), self._settings.measure)
        is_higher_better = self.evaluator.is_higher_better(self._settings.measure)
        self._state = after_measurement(self._settings, self._state, value, iteration, is_higher_better)
        if self._state.iteration == iteration:
            self._weights = weights
        return value

    def after(self, iteration: int) -> dict[str, float]:
        """Where it is time, measure the generator.

        Args:
            iteration: adversarial iterations done.

        Returns:
            Metrics; empty where it is not time.
        """
        if not is_due(self._settings, iteration, self._shared.config.schedule.adversarial_updates):
            return {}
        value, state = self.judge(iteration), self._state
        assert state.best is not None
        return {
            "selection/value": value,
            "selection/best": state.best,
            "selection/iteration": float(state.iteration),
            "selection/since": float(state.since),
        }

    @property
    def ends_early(self) -> bool:
        """Whether nothing has been gained for so long that the phase ends."""
        return ends_early(self._settings, self._state)

    def take_best(self, iteration: int) -> None:
        """Put the best generator in the place of the last; none where none was measured.

        Args:
            iteration: adversarial iterations done.

        Raises:
            ConfigError: the measure is a score, and all values that were measured are 0.
        """
        if self._weights is not None:
            require_any_gain(self._settings, self._state, iteration)
            self._shared.parts.learners.load(self._weights)
            self._weights = None

    def sentence(self, iteration: int) -> str | None:
        """Which generator was selected, at the end; None where none was measured.

        Args:
            iteration: adversarial iterations done.
        """
        if self._state.best is None:
            return None
        return sentence(self._settings, self._state, iteration, self._shared.config.schedule.adversarial_updates)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"selection": dataclasses.asdict(self._state), "selected_weights": self._weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        kept = dict(state["selection"])
        if "unit" in kept:  # of 0.1.0
            kept["iteration"] = kept.pop("unit")
        self._state, self._weights = SelectionState(**kept), state["selected_weights"]
