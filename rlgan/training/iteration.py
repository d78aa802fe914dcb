"""What one step of the trainer did, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlgan.evaluation.evaluator import Measurement
from rlgan.sampling.records import Rollouts
from rlgan.schedule.phases import Phase


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one call of `Trainer.step` did.

    Attributes:
        phase: which phase it belongs to.
        step: its number within the phase, from 1.
        metrics: name → value, names as in docs/metrics.md.
        measurement: of the generator, where the schedule asked for one.
        rollouts: of each generator update of the adversarial phase, in order; empty elsewhere, and where the objective
            learns from none.
    """

    phase: Phase
    step: int
    metrics: Mapping[str, float]
    measurement: Measurement | None = None
    rollouts: tuple[Rollouts, ...] = ()

    @property
    def logged(self) -> Mapping[str, float]:
        """Metrics by the names under which they are logged, which keep phases apart: each counts its own steps.

        eval/* and discriminator/* belong to the adversarial phase, mle/* and discriminator_pretraining/* to the others.
        """
        own = {"mle": ("eval/", "mle/"), "discriminator": ("discriminator/", "discriminator_pretraining/")}
        if self.phase not in own:
            return self.metrics
        before, after = own[self.phase]
        return {
            name.replace(before, after).replace("timing/", f"{after}timing/"): value
            for name, value in self.metrics.items()
        }
