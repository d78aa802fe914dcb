"""Rounds of the discriminator: its pretraining, and those between generator updates.

Lines 4, 5 and 13 to 16 of Algorithm 1 of Yu et al. 2017.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from rlgan.adversary.minibatches import Fakes
from rlgan.adversary.training import MOST_HELDOUT, Round
from rlgan.base.activity import stage
from rlgan.metrics import RankedRound
from rlgan.schedule.discriminator_balance import HELDOUT_AUC, BalanceState
from rlgan.schedule.phases import Phase

from .gathering import Gathering
from .measuring import ChanceWatch, ShortcutWatch
from .shared import Done, Shared


class DiscriminatorRounds:
    """Does rounds, counts them, and balances the discriminator against the generator by what they report.

    Args:
        shared: of the run.
        gathering: draws fakes.
        warns: whether it warns of what the discriminator may be reading.

    Attributes:
        shortcuts: watches what the discriminator may be reading.
        chance: watches whether it ranks anything.
    """

    def __init__(self, shared: Shared, gathering: Gathering, warns: bool = True) -> None:
        self.shortcuts, self.chance = ShortcutWatch(warns), ChanceWatch(shared.config, warns)
        self._shared, self._gathering, self._settings = shared, gathering, shared.config.schedule.balance
        self._balance = self._settings.first_state()

    def train(self, iteration: int = 0, pretrains: bool = False, fakes: Fakes | None = None) -> dict[str, float]:
        """One round: fresh fakes, where the loss reads any, then training.

        Args:
            iteration: adversarial iterations before this one.
            pretrains: whether the round is one of pretraining.
            fakes: those that it learns from; None draws fresh ones.

        Returns:
            Metrics of the round.
        """
        timings, index = self._shared.timings, self._balance.rounds
        adversary, schedule = self._shared.config.adversary, self._shared.config.schedule
        if fakes is None:
            with timings.timed("timing/sample_fakes_s"), stage("fakes", "fakes"):
                fakes = self._gathering.fakes(index, iteration, pretrains)
        with timings.timed("timing/discriminator_s"), stage("judge", "discriminator"):
            request = Round(
                index,
                fakes.tokens,
                schedule.d_epochs,
                self._settings.real_weight(self._balance),
                self._settings.hold_above,
                fakes.conditions,
                self._shared.real.for_round(index, adversary.sequences_per_round),
                self._shared.parts.learners.weights() if adversary.loss.reads_policy else None,
                fakes.reals,
                schedule.g_group or 1,
                1.0 if pretrains else schedule.d_rate(iteration),
            )
            metrics = self._shared.discriminator.train_round(request)
            self._shared.leak_features()
        self.shortcuts.after(metrics)
        self.chance.after(self._ranked(metrics, fakes, pretrains), pretrains)
        self._balance, more = self._settings.after_round(self._balance, metrics)
        return metrics | more

    def _ranked(self, metrics: Mapping[str, float], fakes: Fakes, pretrains: bool) -> RankedRound | None:
        """What a round was measured to rank; None where the discriminator ranks nothing."""
        schedule = self._shared.config.schedule
        group, number = schedule.g_group or 1, min(MOST_HELDOUT, len(fakes.tokens))
        if (pairs := metrics.get("discriminator/pair_accuracy")) is not None:
            return RankedRound(pairs, max(1, number // group), group, is_of_pairs=True)
        if (area := metrics.get(HELDOUT_AUC)) is None:
            return None
        number = min(number, len(self._shared.task.valid))
        # Rollouts under one prompt are alike in what the prompt gives them.
        is_grouped = fakes.conditions is not None and not pretrains and schedule.d_fakes == "rollouts"
        drawn = max(1, number // group) if is_grouped else number
        return RankedRound(area, number, drawn, is_of_pairs=False)

    def between_generator_updates(self, iteration: int, fakes: Fakes | None = None) -> dict[str, float]:
        """The rounds of an adversarial iteration: as many as the schedule has, unless fewer suffice.

        Args:
            iteration: adversarial iterations before this one.
            fakes: those that they learn from; None draws fresh ones for each.

        Returns:
            Metrics of the last.
        """
        metrics: dict[str, float] = {}
        for _ in range(self._settings.most_rounds(iteration, self._shared.config.schedule.d_steps)):
            metrics |= self.train(iteration, fakes=fakes)
            if self._settings.suffices(self._balance):
                break
        return metrics

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "balance": dataclasses.asdict(self._balance),
            "shortcuts": self.shortcuts.state(),
            "chance": self.chance.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._balance = BalanceState(**state["balance"])
        self.shortcuts.restore(state.get("shortcuts"))
        self.chance.restore(state.get("chance"))


class DiscriminatorPretraining:
    """An iteration is a round on fakes of the pretrained generator.

    Args:
        shared: of the run.
        rounds: does them.

    Attributes:
        num_done: rounds done.
    """

    name: ClassVar[Phase] = "discriminator"

    def __init__(self, shared: Shared, rounds: DiscriminatorRounds) -> None:
        self._schedule, self._rounds = shared.config.schedule, rounds
        self.num_done, self.has_ended = 0, False

    @property
    def is_finished(self) -> bool:
        """Whether it is over, by count or by accuracy."""
        return self.has_ended or self.num_done >= self._schedule.discriminator_rounds

    @property
    def title(self) -> str:
        """The next round, for people."""
        return f"discriminator round {self.num_done + 1} of {self._schedule.discriminator_rounds}"

    def step(self) -> Done:
        """One round; a round is judged before it trains, so that the one that judges well enough is the last."""
        metrics, wanted = self._rounds.train(pretrains=True), self._schedule.discriminator_accuracy
        self.num_done += 1
        if wanted is not None and metrics["discriminator/accuracy_heldout"] >= wanted:
            self.end()
        if self.is_finished:
            self._rounds.chance.judge("start")
        return Done(metrics)

    def end(self) -> None:
        """Be finished now."""
        self.has_ended = True

    def state(self) -> dict[str, Any]:
        """Nothing but its counts, which are in the trainer's position."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take its counts out of the trainer's position."""
        position = state["position"]
        self.num_done, self.has_ended = position["discriminator_rounds"], position["discriminator_finished"]
