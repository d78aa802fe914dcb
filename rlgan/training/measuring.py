"""When the generator is measured between iterations, and what is watched of these measurements."""

from __future__ import annotations

import logging
import math
from typing import Any

from rlgan.evaluation.evaluator import EvaluationSettings, Measurement
from rlgan.metrics import first_fall
from rlgan.schedule.phases import Phase

logger = logging.getLogger(__name__)


def is_measured(settings: EvaluationSettings, phase: Phase, step: int, is_last: bool) -> bool:
    """Whether the generator is measured after an iteration.

    Args:
        settings: how often.
        phase: of the iteration; in the discriminator's the generator stays as it is.
        step: number of the iteration within its phase, from 1.
        is_last: whether it is the last of its phase, after which the generator is always measured.
    """
    if phase == "discriminator":
        return False
    return is_last or step % (settings.mle_every if phase == "mle" else settings.every) == 0


class CollapseWatch:
    """Warns once the generator continues in far fewer ways than at the end of pretraining.

    The metric `generator/collapse_alarm` of docs/metrics.md says how far.

    Args:
        share: of the effective rank at the end of pretraining below which it warns; None watches nothing.
    """

    def __init__(self, share: float | None) -> None:
        self._share = share
        self._ranks: list[float] = []  # that of the end of pretraining, and those since

    def after(self, phase: Phase, measurement: Measurement) -> dict[str, float]:
        """Look at a measurement.

        Args:
            phase: in which it was taken.
            measurement: of the generator.

        Returns:
            Metrics; empty where nothing is watched.
        """
        rank = measurement.metrics.get("eval/effective_rank", math.nan)
        if not math.isfinite(rank) and not self._ranks:
            return {}  # nothing that a fall could be told of
        if phase == "mle":
            self._ranks = [rank]
            return {}
        self._ranks.append(rank)
        if self._share is None:
            return {}
        fell = first_fall(self._ranks, self._share)
        if fell == len(self._ranks) - 1:
            logger.warning(
                (
                    "possible mode collapse: the effective rank of the next-token distributions is %.1f; at the start "
                    "of adversarial training it was %.1f"
                ),
                rank,
                self._ranks[0],
            )
        return {"generator/collapse_alarm": float(fell is not None)}

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"effective_ranks": list(self._ranks)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._ranks = list(state["effective_ranks"])
