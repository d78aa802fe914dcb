"""Sequences that the generator draws: rollouts that are judged and learned from, and fakes for the discriminator.

Lines 4, 8 and 14 of Algorithm 1 of Yu et al. 2017. What sequences begin with is drawn here, and which weights judge and
continue them is decided here; who computes them is not known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlgan.adversary.minibatches import Fakes
from rlgan.base.weights import Weights, averaged
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.reward_base import TrainerState
from rlgan.rollouts.shards import cut_into_shards
from rlgan.sampling.beam_search import searched_rows
from rlgan.sampling.records import Rollouts, concatenate

from .pretraining import Pretraining
from .shared import Shared

_REFERENCE_VERSION = -1  # no version of the learners: those count from 0


class Gathering:
    """Draws for a run, and owns the policy that continues prefixes.

    Args:
        shared: of the run.
        pretraining: whose end is the reference that the generator is kept near.
    """

    def __init__(self, shared: Shared, pretraining: Pretraining) -> None:
        self._shared, self._pretraining = shared, pretraining
        self._rollout_policy: Weights | None = None
        self._targets: Tensor | None = None  # of the last rollouts
        self._reference: Any = None  # handle of weights that never change

    def rollouts(self, update: int, iteration: int) -> Rollouts:
        """Sequences for a generator update, judged as the reward asks and continued as the credit asks.

        Args:
            update: generator updates before this one.
            iteration: adversarial iterations before this one.
        """
        shared, config, pool = self._shared, self._shared.config, self._shared.parts.rollouts
        generator = shared.parts.learners.weights()
        handle = pool.publish(generator)
        policy, policy_handle = None, None
        if config.credit.num_continuations:
            policy, policy_handle = generator, handle
            if config.credit.rollout_ema:
                # It begins as the generator before its first adversarial update.
                policy = self._rollout_policy = self._rollout_policy or generator
                policy_handle = pool.publish(policy)
        discriminator, discriminator_handle = None, None
        if "discriminator" in config.reward.reads:
            discriminator = shared.discriminator.weights()
            discriminator_handle = pool.publish(discriminator)
        begun = shared.real.rollouts(update, iteration)
        self._targets = begun.targets
        places, beam = None, 1
        if config.schedule.behaviour.searches:
            assert config.schedule.g_group is not None
            beam = config.schedule.g_group
            places = torch.arange(config.schedule.num_sampled) % beam
        shards = cut_into_shards(
            config.schedule.num_sampled,
            config.workers.shard_sequences,
            config.seed,
            ("rollouts", update),
            begun,
            places=places,
            beam=beam,
            generator_version=generator.version,
            rollout_version=None if policy is None else policy.version,
            discriminator_version=None if discriminator is None else discriminator.version,
            is_rewarded=config.objective.reads_reward,
            weighs_targets=config.objective.contrasts_reals,
            judges_targets="demonstrations" in config.reward.reads,
            reads_features="features" in config.reward.reads,
            reads_verdicts="verdicts" in config.reward.reads,
            reads_goals=config.objective.teaches_goals,
            state=self.reward_state(update),
        )
        reference = None if config.reference.place == "none" else self._reference_handle()
        return concatenate(pool.collect(shards, handle, policy_handle, discriminator_handle, reference))

    def reward_state(self, update: int) -> TrainerState:
        """How far a run is after so many updates, as its reward functions learn of it."""
        schedule = self._shared.config.schedule
        num_begun = update * (schedule.num_sampled / (schedule.g_group or 1))
        return TrainerState(update, num_begun / len(self._shared.task.train))

    def _reference_handle(self) -> Any:
        if self._reference is None:
            assert self._pretraining.start is not None
            base = self._shared.parts.learners.weights().base
            frozen = {} if base is None or base.tensors is None else base.tensors
            start = {name: tensor for name, tensor in self._pretraining.start.items() if name not in frozen}
            if base is not None and self._shared.config.generator.adds_nothing(start):
                start = {}  # the base alone, which whoever samples has already
            weights = Weights(_REFERENCE_VERSION, start, base)
            self._reference = self._shared.parts.rollouts.publish(weights)
        return self._reference

    def move_rollout_policy(self) -> None:
        """β ← κ·β + (1-κ)·θ after the generator updates of an iteration; line 17 of Algorithm 1, where κ = 0."""
        if self._rollout_policy is None:
            return
        theta, kappa = self._shared.parts.learners.weights(), self._shared.config.credit.rollout_ema
        self._rollout_policy = averaged(self._rollout_policy, theta, kappa)

    def fakes(self, index: int, iteration: int, pretrains: bool) -> Fakes:
        """Sequences for a round of the discriminator; none where its loss reads none.

        Args:
            index: rounds before this one.
            iteration: adversarial iterations before this one.
            pretrains: whether the round is one of pretraining.
        """
        shared, config, settings = self._shared, self._shared.config, self._shared.config.adversary
        if not settings.loss.reads_fakes:
            return Fakes(torch.empty(0, shared.task.space.max_length, dtype=torch.int64))
        generator, is_soft = shared.parts.learners.weights(), config.objective.makes_soft_rows
        number = settings.sequences_per_round
        begun = shared.real.fakes(number, index, iteration)
        shards = cut_into_shards(
            number,
            config.workers.shard_fakes,
            config.seed,
            ("fakes", index),
            begun,
            searched_rows(settings.decoding, number, pretrains),
            beam=settings.decoding.beam,
            generator_version=generator.version,
            rollout_version=None,
            discriminator_version=None,
            is_soft=is_soft,
            relaxation=self.relaxation(iteration * config.schedule.g_steps) if is_soft else None,
        )
        pool = shared.parts.rollouts
        fakes = concatenate(pool.collect(shards, pool.publish(generator)))
        tokens = fakes.tokens if fakes.soft_rows is None else fakes.soft_rows
        return Fakes(tokens, fakes.conditions, begun.targets)

    @property
    def targets(self) -> Tensor:
        """(B, T) int64 real sequences that the last rollouts are compared with."""
        assert self._targets is not None
        return self._targets

    def as_fakes(self, rollouts: Rollouts) -> Fakes:
        """The last rollouts as fakes."""
        shows_prompts = self._shared.config.adversary.shows_prompts
        return Fakes(rollouts.tokens, rollouts.conditions, self._targets if shows_prompts else None)

    def relaxation(self, update: int) -> Relaxation | None:
        """How tokens are drawn in a generator update, and by the fakes before it; None where nothing is relaxed."""
        schedule = self._shared.config.schedule
        return self._shared.config.objective.relaxation(update, schedule.adversarial_updates * schedule.g_steps)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        policy = self._rollout_policy
        kept = None if policy is None else {"version": policy.version, "arrays": policy.complete}
        return {"rollout_policy": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        kept = state["rollout_policy"]
        self._rollout_policy = None if kept is None else Weights(kept["version"], kept["arrays"])
        self._reference = None
