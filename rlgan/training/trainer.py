"""The outer loop. Read it beside Algorithm 1 of Yu et al. 2017.

An *epoch* is a pass over training data by maximum likelihood; a *round* is one call to the discriminator with fresh
fakes; a *generator update* is one optimiser step on one batch of rollouts; a *unit* is what happens between two places
where the run may stop and go on (see `rlgan.schedule.phases`). `Trainer.step` does one unit.

Nothing here knows Ray: the parts it drives are in this process or on a cluster, and do the same.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgan.adversary.training import Pairs, Round
from rlgan.base.activity import stage
from rlgan.base.seeding import stream
from rlgan.base.threads import torch_threads
from rlgan.base.weights import Weights, load_weights
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Evaluator, Measurement, selection_view
from rlgan.generators import Generator, build_generator
from rlgan.layers.embeddings import with_embeddings_of
from rlgan.layers.relaxation import Relaxation
from rlgan.metrics import first_fall
from rlgan.policy.baselines import BaselineState, CriticBaseline
from rlgan.policy.experience import Memory, Recipe, learnable
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedTeacherForcing,
    ScheduledSampling,
    TeacherForcingByExample,
)
from rlgan.policy.value_function import Critic
from rlgan.rollouts.shards import cut_into_shards
from rlgan.sampling.beam_search import SearchedAndDrawn, searched_rows
from rlgan.sampling.records import Experience, Rollouts, concatenate, stacked
from rlgan.schedule.discriminator_balance import (
    BalanceState,
    Band,
    Equilibrium,
    after_round,
    first_state,
    most_rounds,
    suffices,
)
from rlgan.schedule.model_selection import (
    BestGenerator,
    SelectionState,
    after_measurement,
    ends_early,
    is_due,
    require_any_gain,
    told,
)
from rlgan.schedule.phases import Phase, Position, next_phase
from rlgan.training.parts import Parts

from .iteration import Iteration
from .real_sequences import RealSequences, require_drawable

_REFERENCE_VERSION = -1

logger = logging.getLogger(__name__)


def recipe_of(config: Config) -> Recipe:
    """What turns rollouts of a run into what is learned from them."""
    return Recipe(
        config.reward,
        config.credit,
        config.reference,
        config.baseline,
        config.normalisation,
        config.objective,
        config.schedule.g_group,
        config.tells_log_odds,
    )


class Trainer:
    """A run of one configuration.

    Args:
        config: the whole configuration.
        task: built from `config.task`.
        parts: rollout pool, discriminator and learners, from `rlgan.workers.assembly.build_parts`.
        mle_start: generator weights that take the place of maximum-likelihood pretraining (controls start from the
            run's own MLE start).

    Raises:
        DataError: fewer training sequences than a batch needs.
        ConfigError: prefixes as long as the sequences.
    """

    def __init__(
        self, config: Config, task: Task, parts: Parts, mle_start: dict[str, np.ndarray] | None = None
    ) -> None:
        self.config, self.task, self._parts = config, task, parts
        require_drawable(config, task)
        self.evaluator = Evaluator(task, config.evaluation, config.seed)
        self._real = RealSequences(config, task)
        self.position = Position()
        self.mle_start: dict[str, np.ndarray] | None = None
        self._best_valid_nll = float("inf")
        self._best_weights: dict[str, np.ndarray] | None = None
        self._epochs_without_gain = 0
        self._memory = Memory()
        self._balance = first_state(config.schedule.balance)
        self._selection = SelectionState()
        self._selected_weights: dict[str, np.ndarray] | None = None
        self._validator: Evaluator | None = None
        if isinstance(config.schedule.selection, BestGenerator):
            # Samples of its own, for what is chosen by some is reported of others; and nothing that none needs.
            settings = config.evaluation.model_copy(update={"encoders": (), "adversarial": None})
            self._validator = Evaluator(selection_view(task), settings, config.seed, draw="selection")
            self._validator.require_figure(config.schedule.selection.measure)
        self._effective_ranks: list[float] = []
        self._reference: Any = None  # handle of the reference's weights, which never change
        self._critic: Critic | None = None
        if isinstance(config.baseline, CriticBaseline):
            self._critic = Critic(config.baseline, task.space, config.seed)
        self._rollout_policy: Weights | None = None
        self._timings: dict[str, float] = {}
        self._collected: list[Rollouts] = []
        self.stopped: str | None = None
        self._weights_at_end: dict[str, np.ndarray] | None = None
        if mle_start is not None:
            parts.learners.load(mle_start)
            self.position = Position(mle_finished=True)
        if self.next_phase != "mle":
            self._finish_mle()

    @property
    def next_phase(self) -> Phase | None:
        """The phase of the next unit; None when the run is complete."""
        return next_phase(self.config.schedule, self.position)

    @property
    def selected(self) -> str | None:
        """Which generator was selected, as a sentence; None where none was, or not yet."""
        schedule = self.config.schedule
        if not isinstance(schedule.selection, BestGenerator) or not self.position.adversarial_finished:
            return None
        if self._selection.best is None:
            return None  # training was stopped before anything was measured
        done, most = self.position.adversarial_updates, schedule.adversarial_updates
        return told(schedule.selection, self._selection, done, most)

    def step(self, measure: bool = True) -> Iteration:
        """Do the next unit.

        Args:
            measure: whether to measure the generator where the schedule says so.

        Raises:
            RuntimeError: the run is complete.
        """
        phase = self.next_phase
        if phase is None:
            raise RuntimeError("the run is complete; there is no next unit.")
        # Measurements are rounded by the number of threads as learning is: the same number everywhere.
        with torch_threads(self.config.workers.threads):
            unit = self._unit(phase, measure)
        if self._parts.telemetry is not None:
            self._parts.telemetry.record(unit.metrics)
        return unit

    def _unit(self, phase: Phase, measure: bool) -> Iteration:
        self._timings, self._collected = {}, []
        started = time.perf_counter()
        with stage(phase, self._unit_name(phase)):
            metrics = {
                "mle": self._mle_epoch,
                "discriminator": self._pretrain_round,
                "adversarial": self._adversarial_unit,
            }[phase]()
        step = {
            "mle": self.position.mle_epochs,
            "discriminator": self.position.discriminator_rounds,
            "adversarial": self.position.adversarial_updates,
        }[phase]
        metrics["timing/unit_s"] = time.perf_counter() - started
        measurement = self.measure() if measure and self._is_measurement_due(phase, step) else None
        if measurement is not None:
            metrics |= measurement.metrics | self._watch(phase, measurement)
        return Iteration(phase, step, metrics | self._timings, measurement, tuple(self._collected))

    def _unit_name(self, phase: Phase) -> str:
        """The unit that comes next, for people."""
        schedule, position = self.config.schedule, self.position
        name, done, most = {
            "mle": ("MLE epoch", position.mle_epochs, schedule.mle_epochs),
            "discriminator": ("discriminator round", position.discriminator_rounds, schedule.discriminator_rounds),
            "adversarial": ("adversarial update", position.adversarial_updates, schedule.adversarial_updates),
        }[phase]
        return f"{name} {done + 1} of {most}"

    def _watch(self, phase: Phase, measurement: Measurement) -> dict[str, float]:
        """Warn once the generator continues in far fewer ways than it did (`generator/collapse_alarm`)."""
        share, rank = self.config.evaluation.collapse_share, measurement.metrics.get("eval/effective_rank", math.nan)
        if not math.isfinite(rank) and not self._effective_ranks:
            return {}  # nothing that a fall could be told of
        if phase == "mle":
            self._effective_ranks = [rank]
        else:
            self._effective_ranks.append(rank)
        if phase == "mle" or share is None:
            return {}
        fell = first_fall(self._effective_ranks, share)
        if fell == len(self._effective_ranks) - 1:
            logger.warning(
                "collapse? effective rank of the next-token laws %.1f; adversarial training began with %.1f",
                rank,
                self._effective_ranks[0],
            )
        return {"generator/collapse_alarm": float(fell is not None)}

    # ------------------------------------------------------------------ maximum likelihood

    def _mle_epoch(self) -> dict[str, float]:
        schedule, position = self.config.schedule, self.position
        metrics: dict[str, float] = {}
        if isinstance(schedule.mle_inputs, ScheduledSampling):
            metrics["mle/own_inputs"] = schedule.mle_inputs.share_in(position.mle_epochs)
        experience, rate = self._real.epoch(position.mle_epochs), schedule.mle_rate(position.mle_epochs)
        with self._timed("timing/mle_s"):
            learned = self._parts.learners.update("mle", experience, schedule.mle_batch, rate=rate)
        self.position = dataclasses.replace(position, mle_epochs=position.mle_epochs + 1)
        metrics |= {"mle/train_nll": learned["loss"], "mle/grad_norm": learned["grad_norm"]}
        if schedule.mle_patience is not None:
            metrics["mle/valid_nll"] = self._stop_early(schedule.mle_patience)
        if self.next_phase != "mle":
            self._finish_mle()
        return metrics

    def _stop_early(self, patience: int) -> float:
        generator = self.current_generator()
        conditions = None if self.task.conditions is None else self.task.conditions.valid
        with stage("validate", "likelihood of validation sequences"):
            valid_nll = self.evaluator.held_out_nll(generator, self.task.valid, conditions=conditions)
        if valid_nll < self._best_valid_nll:
            self._best_valid_nll, self._epochs_without_gain = valid_nll, 0
            self._best_weights = self._parts.learners.weights().arrays
        else:
            self._epochs_without_gain += 1
        is_last = self.position.mle_epochs == self.config.schedule.mle_epochs
        if self._epochs_without_gain >= patience or is_last:
            assert self._best_weights is not None
            self._parts.learners.load(self._best_weights)
            self.position = dataclasses.replace(self.position, mle_finished=True)
        return valid_nll

    def _finish_mle(self) -> None:
        """Pretraining is over: its weights are where the adversarial phase and all controls begin."""
        self.position = dataclasses.replace(self.position, mle_finished=True)
        start = self._parts.learners.weights()
        self.mle_start = start.arrays
        self._best_weights = None
        if self.config.shares_embeddings:
            assert self._parts.discriminator is not None
            state, generator = self._parts.discriminator.state(), _as_tensors(self.mle_start)
            assert generator is not None
            self._parts.discriminator.restore({**state, "weights": with_embeddings_of(state["weights"], generator)})
        if self.config.credit.rollout_ema > 0.0:
            self._rollout_policy = start

    # ------------------------------------------------------------------ discriminator

    def _pretrain_round(self) -> dict[str, float]:
        metrics = self._discriminator_round()
        done, wanted = self.position.discriminator_rounds, self.config.schedule.discriminator_accuracy
        suffices = wanted is not None and metrics["discriminator/accuracy_heldout"] >= wanted
        self.position = dataclasses.replace(
            self.position, discriminator_rounds=done + 1, discriminator_finished=suffices
        )
        return metrics

    def _discriminator_round(self) -> dict[str, float]:
        """Fresh fakes, where the loss reads any, then training."""
        schedule, index = self.config.schedule, self._balance.rounds
        with self._timed("timing/sample_fakes_s"), stage("fakes", "fakes"):
            fakes = self._fakes(index)
        with self._timed("timing/discriminator_s"), stage("judge", "discriminator"):
            assert self._parts.discriminator is not None
            real_weight = self._balance.real_weight if isinstance(schedule.balance, Equilibrium) else None
            hold_above = schedule.balance.high if isinstance(schedule.balance, Band) else None
            request = Round(index, fakes.tokens, schedule.d_epochs, real_weight, hold_above, fakes.conditions)
            metrics = self._parts.discriminator.train_round(request)
        self._balance, told = after_round(schedule.balance, self._balance, metrics)
        return metrics | told

    def _fakes(self, index: int) -> Pairs:
        settings, objective = self.config.adversary, self.config.objective
        if not settings.loss.reads_fakes:
            return Pairs(torch.empty(0, self.task.space.max_length, dtype=torch.int64))
        generator = self._parts.learners.weights()
        update, is_soft = self.position.adversarial_updates * self.config.schedule.g_steps, objective.makes_soft_rows
        shards = cut_into_shards(
            settings.sequences_per_round,
            self.config.workers.shard_fakes,
            self.config.seed,
            ("fakes", index),
            self._real.beginnings(
                settings.sequences_per_round, ("fake_prefixes", index), self.position.adversarial_updates
            ),
            searched_rows(settings.decoding, settings.sequences_per_round, self.next_phase == "discriminator"),
            beam=settings.decoding.beam if isinstance(settings.decoding, SearchedAndDrawn) else 1,
            generator_version=generator.version,
            rollout_version=None,
            discriminator_version=None,
            is_soft=is_soft,
            relaxation=self._relaxation(update) if is_soft else None,
        )
        handle = self._parts.rollouts.publish(generator)
        fakes = concatenate(self._parts.rollouts.collect(shards, handle))
        return Pairs(fakes.tokens if fakes.soft_rows is None else fakes.soft_rows, fakes.conditions)

    # ------------------------------------------------------------------ adversarial phase

    def _adversarial_unit(self) -> dict[str, float]:
        schedule, position = self.config.schedule, self.position
        metrics: dict[str, float] = {}
        if isinstance(schedule.selection, BestGenerator) and not position.adversarial_updates:
            metrics["selection/start"] = self._judge_for_selection(schedule.selection)
        for g_step in range(schedule.g_steps):
            metrics |= self._generator_update(position.adversarial_updates * schedule.g_steps + g_step)
        self._move_rollout_policy()
        for _ in range(most_rounds(schedule.balance, position.adversarial_updates, schedule.d_steps)):
            metrics |= self._discriminator_round()
            if suffices(schedule.balance, self._balance):
                break
        self.position = dataclasses.replace(position, adversarial_updates=position.adversarial_updates + 1)
        if isinstance(schedule.selection, BestGenerator):
            metrics |= self._select(schedule.selection)
        return metrics

    def _select(self, settings: BestGenerator) -> dict[str, float]:
        """Where it is time, measure the generator on validation data; at the end of the phase take the best one."""
        done, most = self.position.adversarial_updates, self.config.schedule.adversarial_updates
        if not is_due(settings, done, most):
            return {}
        value = self._judge_for_selection(settings)
        state = self._selection
        if ends_early(settings, state) or done == most:
            require_any_gain(settings, state, done)
            assert self._selected_weights is not None
            self._parts.learners.load(self._selected_weights)
            self._selected_weights = None
            self.position = dataclasses.replace(self.position, adversarial_finished=True)
        assert state.best is not None
        return {
            "selection/value": value,
            "selection/best": state.best,
            "selection/unit": float(state.unit),
            "selection/since": float(state.since),
        }

    def _judge_for_selection(self, settings: BestGenerator) -> float:
        """Measure the generator, and keep its weights if none was better."""
        assert self._validator is not None
        with self._timed("timing/select_s"), stage("select", "measuring for selection"):
            weights = self.current_weights()
            value = self._validator.figure(self.generator_from(weights), settings.measure)
        unit = self.position.adversarial_updates
        is_higher_better = self._validator.is_higher_better(settings.measure)
        self._selection = after_measurement(settings, self._selection, value, unit, is_higher_better)
        if self._selection.unit == unit:
            self._selected_weights = weights
        return value

    def _generator_update(self, update: int) -> dict[str, float]:
        """One batch of rollouts learned from, with its teacher forcing.

        The mixed form, and that by example, is the same optimiser steps on generated and real rows together; the
        interleaved form is separate steps.
        """
        schedule, objective = self.config.schedule, self.config.objective
        forcing = schedule.teacher_forcing
        metrics: dict[str, float] = {}
        rows: list[Experience] = []
        through: dict[str, Any] = {}
        if objective.is_differentiated:
            rows.append(self._rows_of_noise(update))
            assert self._parts.discriminator is not None
            relaxation = self._relaxation(update)
            through = {"judge": self._parts.discriminator.weights(), "relaxation": relaxation}
            if relaxation is not None:
                metrics["generator/temperature"] = relaxation.temperature
        elif objective.reads_reward:
            rows.append(self._policy_gradient_rows(update, metrics))
        if isinstance(forcing, MixedTeacherForcing):
            rows.append(self._real.batch(update, 0).times(forcing.weight))
        elif isinstance(forcing, TeacherForcingByExample):
            rows = self._real.beside(rows[0] if rows else None, update)
        if rows:
            experience, minibatch = self._passes(rows, update)
            with self._timed("timing/learn_s"):
                learned = self._parts.learners.update("adversarial", experience, minibatch, **through)
            metrics |= {f"generator/{name}": value for name, value in learned.items()}
        if isinstance(forcing, InterleavedTeacherForcing):
            experience = stacked([self._real.batch(update, index) for index in range(forcing.num_updates)])
            with self._timed("timing/teacher_forcing_s"):
                learned = self._parts.learners.update("adversarial", experience, schedule.mle_batch)
            metrics["generator/teacher_forcing_nll"] = learned["loss"]
        return metrics

    def _rows_of_noise(self, update: int) -> Experience:
        """Rows that the learner draws anew and differentiates through the discriminator."""
        batch, length = self.config.schedule.g_batch, self.task.space.max_length
        rng = stream(self.config.seed, "relaxation", update)
        return Experience(
            tokens=torch.zeros(batch, length, dtype=torch.int64),
            weights=torch.zeros(batch, length),
            row_weights=torch.full((batch,), 1.0 / batch),
            row_seeds=torch.randint(2**62, (batch,), generator=rng),
            conditions=self._real.beginnings(batch, ("prefixes", update), self.position.adversarial_updates).conditions,
        )

    def _relaxation(self, update: int) -> Relaxation | None:
        """How tokens are drawn in a generator update, and by the discriminator's fakes before it."""
        schedule = self.config.schedule
        return self.config.objective.relaxation(update, schedule.adversarial_updates * schedule.g_steps)

    def _passes(self, parts: list[Experience], update: int) -> tuple[Experience, int]:
        """Rows in the order in which they are learned from, and how many a step: all at once, or PPO's epochs.

        Each minibatch has its share of every part, and weights that make it an estimate of the whole batch's loss.
        """
        objective = self.config.objective
        if objective.epochs == objective.minibatches == 1:
            experience = stacked(parts)
            return experience, experience.tokens.shape[0]
        number = objective.minibatches
        rng = stream(self.config.seed, "passes", update)
        steps: list[Experience] = []
        for _ in range(objective.epochs):
            order = [torch.randperm(part.tokens.shape[0], generator=rng).chunk(number) for part in parts]
            steps += [
                stacked([part.rows(rows[index]) for part, rows in zip(parts, order, strict=True)])
                for index in range(number)
            ]
        return stacked(steps).times(number), steps[0].tokens.shape[0]

    def _policy_gradient_rows(self, update: int, metrics: dict[str, float]) -> Experience:
        config = self.config
        with self._timed("timing/rollouts_s"), stage("rollouts", "rollouts"):
            rollouts = self._rollouts(update)
        self._collected.append(rollouts)
        metrics["timing/sequences_per_s"] = rollouts.tokens.shape[0] / self._timings["timing/rollouts_s"]
        metrics["timing/tokens_per_s"] = rollouts.num_drawn / self._timings["timing/rollouts_s"]
        metrics["generator/staleness"] = self._parts.learners.version - rollouts.generator_version
        rng, state_values = stream(config.seed, "reward", update), None
        if self._critic is not None:
            state_values = self._critic.values(rollouts.tokens, rollouts.mask, rollouts.conditions)
        batch = learnable(rollouts, recipe_of(config), self._memory, self.task, rng, state_values)
        self._memory = batch.memory
        if self._critic is not None:
            assert state_values is not None
            with self._timed("timing/critic_s"):
                seen = (rollouts.tokens, rollouts.mask, batch.values, state_values, rollouts.conditions)
                metrics |= self._critic.learn(*seen)
        metrics |= batch.metrics
        return batch.experience

    def _rollouts(self, update: int) -> Rollouts:
        config, pool = self.config, self._parts.rollouts
        generator = self._parts.learners.weights()
        handle = pool.publish(generator)
        rollout_policy, rollout_handle = None, None
        if config.credit.num_continuations:
            if self._rollout_policy is None:
                rollout_policy, rollout_handle = generator, handle
            else:
                rollout_policy, rollout_handle = self._rollout_policy, pool.publish(self._rollout_policy)
        discriminator, discriminator_handle = None, None
        if "discriminator" in config.reward.reads:
            assert self._parts.discriminator is not None
            discriminator = self._parts.discriminator.weights()
            discriminator_handle = pool.publish(discriminator)
        shards = cut_into_shards(
            config.schedule.num_sampled,
            config.workers.shard_sequences,
            config.seed,
            ("rollouts", update),
            self._real.rollouts(update, self.position.adversarial_updates),
            generator_version=generator.version,
            rollout_version=None if rollout_policy is None else rollout_policy.version,
            discriminator_version=None if discriminator is None else discriminator.version,
            is_rewarded=True,
        )
        reference_handle = None
        if config.reference.place != "none":
            assert self.mle_start is not None
            if self._reference is None:
                # No version of the learners: those count from 0.
                self._reference = pool.publish(Weights(_REFERENCE_VERSION, self.mle_start))
            reference_handle = self._reference
        return concatenate(pool.collect(shards, handle, rollout_handle, discriminator_handle, reference_handle))

    def _move_rollout_policy(self) -> None:
        """β ← κ·β + (1-κ)·θ; β starts as the generator before its first adversarial update."""
        if self._rollout_policy is None:
            return
        theta, old, kappa = self._parts.learners.weights(), self._rollout_policy.arrays, self.config.credit.rollout_ema
        moved = {name: kappa * old[name] + (1.0 - kappa) * array for name, array in theta.arrays.items()}
        self._rollout_policy = Weights(theta.version, moved)

    # ------------------------------------------------------------------ looking and keeping

    def release(self) -> None:
        """End the actors of a run that is complete, so that whoever comes next finds their places free.

        The generator can still be measured; there is no state any more.

        Raises:
            RuntimeError: there are units left to do.
        """
        if self.next_phase is not None:
            raise RuntimeError("units of the run are left, and its actors are needed for them.")
        self._weights_at_end = self.current_weights()
        self._parts.release()

    def stop(self, reason: str) -> None:
        """End training here: each phase ends as it would after its last unit, and no unit is left.

        Args:
            reason: kept in the state, for people.
        """
        if self.next_phase is None:
            return
        self.stopped = reason
        if not self.position.mle_finished:
            if self._best_weights is not None:
                self._parts.learners.load(self._best_weights)
            self._finish_mle()
        schedule = self.config.schedule
        if isinstance(schedule.selection, BestGenerator) and self._selected_weights is not None:
            self._parts.learners.load(self._selected_weights)
            self._selected_weights = None
        self.position = dataclasses.replace(self.position, discriminator_finished=True, adversarial_finished=True)

    def current_weights(self) -> dict[str, np.ndarray]:
        """Weights of the generator as it stands."""
        return self._parts.learners.weights().arrays if self._weights_at_end is None else self._weights_at_end

    def generator_from(self, weights: dict[str, np.ndarray]) -> Generator:
        """A generator with the given weights, on this process, in evaluation mode."""
        return load_weights(build_generator(self.config.generator, self.task.space), weights).eval()

    def current_generator(self) -> Generator:
        """The generator as it stands; a copy that later updates do not change."""
        return self.generator_from(self.current_weights())

    def measure(self, num_sequences: int | None = None) -> Measurement:
        """Measure the generator as it stands; see `Evaluator.measure`."""
        measuring = stage("measure", "measuring")
        with self._timed("timing/evaluate_s"), torch_threads(self.config.workers.threads), measuring:
            return self.evaluator.measure(self.current_generator(), num_sequences=num_sequences)

    def _is_measurement_due(self, phase: Phase, step: int) -> bool:
        settings = self.config.evaluation
        if phase == "discriminator":
            return False
        is_last_of_phase = self.next_phase != phase
        return is_last_of_phase or step % (settings.mle_every if phase == "mle" else settings.every) == 0

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] = self._timings.get(name, 0.0) + time.perf_counter() - started

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on as if never stopped: tensors and JSON values only."""
        return {
            "position": dataclasses.asdict(self.position),
            "stopped": self.stopped,
            "learners": self._parts.learners.state(),
            "discriminator": None if self._parts.discriminator is None else self._parts.discriminator.state(),
            "memory": dataclasses.asdict(self._memory),
            "balance": dataclasses.asdict(self._balance),
            "selection": dataclasses.asdict(self._selection),
            "selected_weights": _as_tensors(self._selected_weights),
            "effective_ranks": list(self._effective_ranks),
            "critic": None if self._critic is None else self._critic.state(),
            "mle_start": _as_tensors(self.mle_start),
            "best_valid_nll": self._best_valid_nll,
            "best_weights": _as_tensors(self._best_weights),
            "epochs_without_gain": self._epochs_without_gain,
            "rollout_policy": None
            if self._rollout_policy is None
            else {
                "version": self._rollout_policy.version,
                "arrays": _as_tensors(self._rollout_policy.arrays),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.position = Position(**state["position"])
        self.stopped = state.get("stopped")  # older versions did not keep it
        self._parts.learners.restore(state["learners"])
        if self._parts.discriminator is not None:
            self._parts.discriminator.restore(state["discriminator"])
        memory = state["memory"]
        self._memory = Memory(**{**memory, "baseline": BaselineState(**memory["baseline"])})
        self._balance = BalanceState(**state["balance"])
        self._selection = SelectionState(**state["selection"])
        self._selected_weights = _as_arrays(state["selected_weights"])
        self._effective_ranks = list(state["effective_ranks"])
        if self._critic is not None:
            self._critic.restore(state["critic"])
        self.mle_start, self._reference = _as_arrays(state["mle_start"]), None
        self._best_valid_nll = state["best_valid_nll"]
        self._best_weights = _as_arrays(state["best_weights"])
        self._epochs_without_gain = state["epochs_without_gain"]
        kept = state["rollout_policy"]
        self._rollout_policy = None if kept is None else Weights(kept["version"], _as_arrays(kept["arrays"]) or {})


def _as_tensors(arrays: dict[str, np.ndarray] | None) -> dict[str, Tensor] | None:
    return None if arrays is None else {name: torch.tensor(array) for name, array in arrays.items()}


def _as_arrays(tensors: dict[str, Tensor] | None) -> dict[str, np.ndarray] | None:
    return None if tensors is None else {name: tensor.numpy() for name, tensor in tensors.items()}
