"""The outer loop. Read it beside Algorithm 1 of Yu et al. 2017.

    pretrain the generator by maximum likelihood                  line 2        `pretraining`
    pretrain the discriminator on its fakes                       lines 4, 5    `discriminator_training`
    (or both side by side, `schedule.pretraining`)
    repeat: g-steps by policy gradient, d-steps on fresh fakes    lines 6 - 18  `adversarial`

An *iteration* is what happens between two places where the run may stop and go on: an epoch over training data, a round
of the discriminator, or some generator updates with the rounds that follow them. `Trainer.step` does one. Within an
epoch, which may take hours, it may stop as well (`Trainer.between`).

Nothing here knows Ray: the parts it drives are in this process or on a cluster, and do the same.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from rlgan.base.activity import stage
from rlgan.base.threads import torch_threads
from rlgan.base.weights import Base, Tensors
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Evaluator, Measurement
from rlgan.generators import Generator
from rlgan.policy.reward_base import TrainerState
from rlgan.schedule.phases import Phase, Position

from .adversarial import AdversarialTraining
from .discriminator_training import DiscriminatorPretraining, DiscriminatorRounds
from .gathering import Gathering
from .iteration import Iteration
from .measuring import CollapseWatch, LatentWatch, against_collapse, is_due, is_measured
from .parts import Parts
from .pretraining import Pretraining
from .real_sequences import RealSequences, require_drawable
from .shared import Remembers, Shared, TrainingPhase


class Trainer:
    """A run of one configuration.

    Args:
        config: the whole configuration.
        task: built from `config.task`.
        parts: rollout pool, discriminator and learners; those of `rlgan.workers.assembly.build_parts`, or others.
        mle_start: generator weights that take the place of maximum-likelihood pretraining (controls start from the
            run's own MLE start).

    Attributes:
        evaluator: measures the generator on the test split of the task.
        stopped: why training was ended before its time; None where it was not.

    Raises:
        DataError: fewer training sequences than a batch needs.
        ConfigError: prefixes as long as the sequences.
    """

    def __init__(self, config: Config, task: Task, parts: Parts, mle_start: Tensors | None = None) -> None:
        require_drawable(config, task, pretrains=mle_start is None)
        config = config.settled()
        self.config, self.task, self._parts = config, task, parts
        self.evaluator = Evaluator(task, config.evaluation, config.seed)
        self.stopped: str | None = None
        self._shared = Shared(config, task, parts, RealSequences(config, task))
        self._pretraining = Pretraining(self._shared, self.evaluator, mle_start)
        self._gathering = Gathering(self._shared, self._pretraining)
        self._rounds = DiscriminatorRounds(self._shared, self._gathering, warns=mle_start is None)
        self._discriminator_pretraining = DiscriminatorPretraining(self._shared, self._rounds)
        self.adversarial = AdversarialTraining(self._shared, self._gathering, self._rounds, warns=mle_start is None)
        self._collapse = CollapseWatch(config.evaluation.collapse_share, against_collapse(config))
        self._latents = LatentWatch()
        self._weights_at_end: Tensors | None = None

    @property
    def _phases(self) -> tuple[TrainingPhase, ...]:
        return self._pretraining, self._discriminator_pretraining, self.adversarial

    @property
    def _owners(self) -> tuple[Remembers, ...]:
        return *self._phases, self._gathering, self._rounds, self._collapse, self._latents, self._shared.real

    def _next(self) -> TrainingPhase | None:
        judge = self._discriminator_pretraining
        pretrains = not (self._pretraining.is_finished or judge.is_finished)
        if pretrains and self.config.schedule.discriminator_is_next(self.position):
            return judge
        return next((phase for phase in self._phases if not phase.is_finished), None)

    def step(self, measure: bool = True) -> Iteration:
        """Do the next iteration.

        Args:
            measure: whether to measure the generator where the schedule says so.

        Raises:
            RuntimeError: the run is complete.
        """
        phase = self._next()
        if phase is None:
            raise RuntimeError("the run is complete; there is no next iteration.")
        # Measurements are rounded by the number of threads as learning is: the same number everywhere.
        with torch_threads(self.config.workers.threads):
            started = time.perf_counter()
            with stage(phase.name, phase.title):
                done = phase.step()
            metrics = done.metrics | {"timing/iteration_s": time.perf_counter() - started}
            measurement, step = None, phase.num_done
            if measure and is_measured(self.config.evaluation, phase.name, step, is_last=phase.is_finished):
                with self._shared.timings.timed("timing/evaluate_s"):
                    measurement = self.measure()
                due = is_due(self.config.evaluation, phase.name, step)
                metrics |= measurement.metrics | self._collapse.after(phase.name, measurement, due)
                metrics |= self._latents.after(measurement, is_pretrained=self._pretraining.is_finished)
        metrics |= self._shared.timings.taken() | self._shared.real.metrics()
        if self._parts.telemetry is not None:
            self._parts.telemetry.record(metrics)
        return Iteration(phase.name, step, metrics, measurement, done.rollouts)

    def stop(self, reason: str) -> None:
        """End training here: each phase ends as after its last iteration. Nothing happens where none is left.

        Args:
            reason: for people; kept in the state.

        Raises:
            ConfigError: a generator is selected, and none that was measured is better than another. The run stands as
                before, and its state can be kept.
        """
        if self.next_phase is not None:
            for phase in self._phases:
                if not phase.is_finished:
                    phase.end()
            self._rounds.chance.judge("end")
            self.stopped = reason

    @property
    def num_streamed(self) -> int:
        """Sequences drawn from the task's stream since the run began; 0 where it has none."""
        return self._shared.real.num_streamed

    @property
    def num_streamed_at_start(self) -> int:
        """Those of them that pretraining by likelihood learned."""
        return 0 if self.task.stream is None else self._pretraining.num_done * self._shared.real.num_of_epoch

    @property
    def between(self) -> Callable[[], None] | None:
        """Called every few seconds within an epoch of pretraining, where `state` can be kept.

        If it raises, so does `step`, and the next one goes on behind the last batch.
        """
        return self._pretraining.between

    @between.setter
    def between(self, function: Callable[[], None] | None) -> None:
        self._pretraining.between = function

    # ------------------------------------------------------------------ where it stands

    @property
    def next_phase(self) -> Phase | None:
        """The phase of the next iteration; None when the run is complete."""
        phase = self._next()
        return None if phase is None else phase.name

    @property
    def position(self) -> Position:
        """Iterations done, and which phases are over."""
        return Position(
            mle_epochs=self._pretraining.num_done,
            mle_batches=self._parts.learners.num_begun,
            mle_finished=self._pretraining.has_ended,
            discriminator_rounds=self._discriminator_pretraining.num_done,
            discriminator_finished=self._discriminator_pretraining.has_ended,
            adversarial_updates=self.adversarial.num_done,
            adversarial_finished=self.adversarial.has_ended,
        )

    @property
    def reward_state(self) -> TrainerState:
        """How far the run is, for rewards that change as it goes on."""
        return self._gathering.reward_state(self.adversarial.num_done)

    @property
    def mle_start(self) -> Tensors | None:
        """Weights with which the adversarial phase began; None while the generator is pretrained."""
        return self._pretraining.start

    @property
    def selected(self) -> str | None:
        """Which generator was selected, as a sentence; None where none was, or not yet."""
        return self.adversarial.selected

    @property
    def shortcuts(self) -> Mapping[str, float]:
        """What the discriminator and the probes reached in the last round, by metric; empty where nothing is probed."""
        return self._rounds.shortcuts.figures

    @property
    def at_chance(self) -> tuple[str, ...]:
        """What was found of a discriminator that ranks no better than chance, as sentences; mostly none."""
        return self._rounds.chance.sentences

    # ------------------------------------------------------------------ looking and keeping

    def current_weights(self) -> Tensors:
        """Weights of the generator as it stands."""
        return self._parts.learners.weights().complete if self._weights_at_end is None else self._weights_at_end

    def generator_from(self, weights: Tensors) -> Generator:
        """A generator with the given weights, in this process, in evaluation mode."""
        return self._shared.generator_from(weights)

    def current_generator(self) -> Generator:
        """The generator as it stands; a copy that later updates do not change."""
        return self.generator_from(self.current_weights())

    def measure(self, num_sequences: int | None = None) -> Measurement:
        """Measure the generator as it stands; see `Evaluator.measure`.

        Only measurements of the schedule are timed: what a callback measures belongs to no iteration.
        """
        with torch_threads(self.config.workers.threads), stage("measure", "measuring"):
            return self.evaluator.measure(self.current_generator(), num_sequences=num_sequences)

    def release(self) -> None:
        """End the actors of a run that is complete, so that whoever comes next finds their places free.

        The generator can still be measured; there is no state any more.

        Raises:
            RuntimeError: there are iterations left to do.
        """
        if self.next_phase is not None:
            raise RuntimeError("some iterations of the run are left, and they need its actors.")
        self._weights_at_end = self.current_weights()
        self._parts.release()

    @property
    def bases(self) -> tuple[Base, ...]:
        """What training leaves alone in the networks: tensors of `state` that a checkpoint needs but once."""
        parts = (self._parts.learners, self._parts.discriminator)
        found = (None if part is None else part.weights().base for part in parts)
        return tuple(base for base in found if base is not None)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on as if never stopped: tensors and JSON values only.

        Training that goes on changes nothing of it.
        """
        discriminator = self._parts.discriminator
        state = {
            "position": dataclasses.asdict(self.position),
            "stopped": self.stopped,
            "learners": self._parts.learners.state(),
            "discriminator": None if discriminator is None else discriminator.state(),
        }
        for owner in self._owners:
            state |= owner.state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned, of this version or an older one."""
        self.stopped = state.get("stopped")  # older versions did not keep it
        self._parts.learners.restore(state["learners"])
        if self._parts.discriminator is not None:
            self._parts.discriminator.restore(state["discriminator"])
        for owner in self._owners:
            owner.restore(state)
