"""When the generator is measured between iterations, and what is watched of these measurements."""

from __future__ import annotations

import logging
import math
from typing import Any

from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict
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
    return phase != "discriminator" and (is_last or is_due(settings, phase, step))


def is_due(settings: EvaluationSettings, phase: Phase, step: int) -> bool:
    """Whether an iteration is one of those after which the generator is measured, also where it is not the last.

    Args:
        settings: how often.
        phase: of likelihood, or the adversarial one.
        step: number of the iteration within its phase, from 1.
    """
    return step % (settings.mle_every if phase == "mle" else settings.every) == 0


def against_collapse(config: Config) -> str:
    """Which settings of a run work against mode collapse, as a sentence with their values."""
    values, forcing = flatten(to_dict(config)), config.schedule.teacher_forcing
    ways = [f"lower optimizers.generator.lr (now {values['optimizers.generator.lr']:g})"]
    for path in ("schedule.teacher_forcing.weight", "objective.entropy_bonus"):
        if path in values:
            ways.append(f"raise {path} (now {values[path]:g})")
    if not forcing.learns_likelihood and config.objective.reads_reward:
        ways.append("set schedule.teacher_forcing to mixed")
    if "schedule.selection.measure" not in values:
        ways.append("set schedule.selection to best, which keeps the best generator by validation data")
    return f"In another run, {', '.join(ways[:-1])}{', or ' if len(ways) > 1 else ''}{ways[-1]}"


class CollapseWatch:
    """Warns once the generator continues in far fewer ways than at the end of pretraining.

    The metric `generator/collapse_alarm` of docs/metrics.md says how far.

    Args:
        share: of the effective rank at the end of pretraining below which it warns; None watches nothing.
        advice: what to do, in a sentence; "" where there is none.
    """

    def __init__(self, share: float | None, advice: str = "") -> None:
        self._share, self._advice = share, advice
        self._ranks: list[float] = []  # that of the end of pretraining, and those since

    def after(self, phase: Phase, measurement: Measurement, is_due: bool = True) -> dict[str, float]:
        """Look at a measurement.

        Args:
            phase: in which it was taken.
            measurement: of the generator.
            is_due: whether a longer run would have taken it, too; one that was taken only because the run ends there
                is judged, and not remembered, so that a run can be extended as if it had always been longer.

        Returns:
            Metrics; empty where nothing is watched.
        """
        rank = measurement.metrics.get("eval/effective_rank", math.nan)
        if not math.isfinite(rank) and not self._ranks:
            return {}  # nothing that a fall could be told of
        if phase == "mle":
            self._ranks = [rank]
            return {}
        ranks = [*self._ranks, rank]
        if is_due:
            self._ranks = ranks
        if self._share is None:
            return {}
        fell = first_fall(ranks, self._share)
        if fell == len(ranks) - 1:
            logger.warning(
                "possible mode collapse: the effective rank of the next-token distributions is %.1f; at the start "
                "of adversarial training it was %.1f%s",
                rank,
                ranks[0],
                f". {self._advice}" if self._advice else "",
            )
        return {"generator/collapse_alarm": float(fell is not None)}

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"effective_ranks": list(self._ranks)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._ranks = list(state["effective_ranks"])
