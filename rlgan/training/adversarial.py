"""The adversarial phase: lines 6 to 18 of Algorithm 1 of Yu et al. 2017."""

from __future__ import annotations

from typing import Any, ClassVar

from rlgan.schedule.model_selection import selecting
from rlgan.schedule.phases import Phase

from .discriminator_training import DiscriminatorRounds
from .gathering import Gathering
from .generator_updates import GeneratorUpdates
from .selection import GeneratorSelection
from .shared import Done, Shared


class AdversarialTraining:
    """An iteration is `g_steps` generator updates, and the rounds of the discriminator after them, or before.

    Args:
        shared: of the run.
        gathering: draws rollouts, and owns the rollout policy.
        rounds: of the discriminator.
        warns: whether the generator's updates warn of rewards that are all equal.

    Attributes:
        num_done: iterations done.
        selection: keeps the best generator; None where the last is kept.
    """

    name: ClassVar[Phase] = "adversarial"

    def __init__(self, shared: Shared, gathering: Gathering, rounds: DiscriminatorRounds, warns: bool = True) -> None:
        self._schedule, self._gathering, self._rounds = shared.config.schedule, gathering, rounds
        self._generator = GeneratorUpdates(shared, gathering, warns)
        self.num_done, self.has_ended = 0, False
        settings = selecting(self._schedule.selection)
        self.selection = None if settings is None else GeneratorSelection(shared, settings)

    @property
    def is_finished(self) -> bool:
        """Whether it is over, by count or because nothing was gained for long."""
        return self.has_ended or self.num_done >= self._schedule.adversarial_updates

    @property
    def title(self) -> str:
        """The next iteration, for people."""
        return f"adversarial update {self.num_done + 1} of {self._schedule.adversarial_updates}"

    def step(self) -> Done:
        """g-steps, the rollout policy, d-steps (or those first), and the selection of a generator."""
        iteration, selection = self.num_done, self.selection
        metrics: dict[str, float] = {}
        if selection is not None and not iteration:
            metrics["selection/start"] = selection.judge(0)
        if self._schedule.d_first:
            metrics |= self._rounds.between_generator_updates(iteration)
        updates = []
        for g_step in range(self._schedule.g_steps):
            updates.append(self._generator.update(iteration * self._schedule.g_steps + g_step, iteration))
            metrics |= updates[-1].metrics
        self._gathering.move_rollout_policy()
        fakes = None
        if self._schedule.d_fakes == "rollouts" and self._schedule.d_steps:  # else nobody learns from them
            fakes = self._gathering.as_fakes(updates[0].rollouts[0])
        if not self._schedule.d_first:
            metrics |= self._rounds.between_generator_updates(iteration, fakes)
        self.num_done += 1
        if selection is not None:
            metrics |= selection.after(self.num_done)
            if selection.ends_early or self.is_finished:
                self.end()
        if self.is_finished:
            self._rounds.chance.judge("end")
        return Done(metrics, tuple(rollouts for update in updates for rollouts in update.rollouts))

    def end(self) -> None:
        """Take the selected generator, where one is selected."""
        if self.selection is not None:
            self.selection.take_best(self.num_done)
        self.has_ended = True

    @property
    def selected(self) -> str | None:
        """Which generator was selected, as a sentence; None where none was, or not yet."""
        return None if self.selection is None or not self.has_ended else self.selection.sentence(self.num_done)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return self._generator.state() | ({} if self.selection is None else self.selection.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned; counts are in the trainer's position."""
        position = state["position"]
        self.num_done, self.has_ended = position["adversarial_updates"], position["adversarial_finished"]
        self._generator.restore(state)
        if self.selection is not None:
            self.selection.restore(state)
