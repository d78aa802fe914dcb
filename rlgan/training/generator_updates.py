"""Updates of the generator in the adversarial phase: lines 8 to 11 of Algorithm 1 of Yu et al. 2017.

A batch is rollouts that are rewarded, or rows that are differentiated through the discriminator, or neither; and the
real sequences that teacher forcing adds. The learner is handed weighted tokens and never asks which algorithm it was.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from rlgan.base.activity import stage
from rlgan.base.errors import ConfigError
from rlgan.base.seeding import stream
from rlgan.config.config import Config
from rlgan.policy.baselines import BaselineState
from rlgan.policy.best_sequences import BestSequences
from rlgan.policy.experience import Memory, Recipe, contrasted, learnable
from rlgan.policy.value_function import build_critic
from rlgan.sampling.records import Experience, Rollouts, stacked

from .gathering import Gathering
from .measuring import EqualRewardWatch
from .shared import Done, Shared


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
        config.adversary.verdicts == "shuffled",
        config.schedule.behaviour,
    )


def require_one_policy(gap: float, most: float | None) -> None:
    """See to it that learner and sampler are the same policy, but for rounding.

    Args:
        gap: greatest distance of their log-probabilities of a token, nats.
        most: that is allowed; None allows all.

    Raises:
        ConfigError: they part.
    """
    if most is not None and not gap <= most:
        raise ConfigError(
            (
                f"rollouts/logprob_gap_max={gap:.3g}: the log-probabilities of a drawn token in the learner and in the "
                f"sampler differ by so many nats; the maximum is workers.most_logprob_gap={most:g}. The update would "
                "follow the gradient of another policy than the one that drew the tokens. Set generator.dtype to "
                "float32, fix the step of your own generator, or raise workers.most_logprob_gap."
            ),
            code="policies_differ",
            fields={"logprob_gap_max": gap, "workers.most_logprob_gap": most},
        )


class GeneratorUpdates:
    """Makes updates, and owns what is remembered from one to the next.

    That is baselines, scales, the value function, the best sequences, and what a filter of rewards has seen.

    Args:
        shared: of the run.
        gathering: draws rollouts.
        warns: whether it warns of rewards that are all equal.
    """

    def __init__(self, shared: Shared, gathering: Gathering, warns: bool = True) -> None:
        self._shared, self._gathering = shared, gathering
        self._equal_rewards = EqualRewardWatch(shared.config.schedule.g_group, warns)
        self._memory = Memory()
        self._filter = shared.config.reward.score_filter(shared.task)
        self._value_function = build_critic(shared.config.baseline, shared.task.space, shared.config.seed)

    def update(self, update: int, iteration: int) -> Done:
        """One batch learned from, with its teacher forcing.

        Args:
            update: generator updates before this one.
            iteration: adversarial iterations before this one.
        """
        shared, config = self._shared, self._shared.config
        learners, forcing, timings = shared.parts.learners, config.schedule.teacher_forcing, shared.timings
        metrics: dict[str, float] = {}
        rate = config.schedule.g_rate(iteration)
        collected: list[Rollouts] = []
        sampled: list[Experience] = []
        through: dict[str, Any] = {}  # the network that is learned through, or the policy that drew
        if config.objective.is_differentiated:
            sampled.append(self._rows_of_noise(update, iteration))
            through = {"judge": shared.discriminator.weights(), "relaxation": self._gathering.relaxation(update)}
            if through["relaxation"] is not None:
                metrics["generator/temperature"] = through["relaxation"].temperature
        elif config.objective.reads_reward:
            collected.append(self._collect(update, iteration, metrics))
            sampled.append(self._policy_gradient_rows(collected[0], update, metrics))
            through = {"temperature": config.schedule.rollout_temperature}
        elif config.objective.contrasts_reals:
            collected.append(self._collect(update, iteration, metrics))
            sampled.append(contrasted(collected[0], self._gathering.targets, shared.task.space))
            metrics["generator/mean_length"] = float(collected[0].mask.sum(1).float().mean())
        elif config.objective.learns_reals:
            sampled.append(shared.real.demonstrations(update))
        if rows := forcing.rows(sampled, shared.real, update):
            experience, minibatch = self._passes(rows, update)
            with timings.timed("timing/learn_s"):
                learned = learners.update("adversarial", experience, minibatch, rate=rate, **through)
            if (gap := learned.pop("logprob_gap_max", None)) is not None:
                metrics["rollouts/logprob_gap_max"] = gap
                require_one_policy(gap, config.workers.most_logprob_gap)
            metrics |= {f"generator/{name}": value for name, value in learned.items()}
        if batches := forcing.steps(shared.real, update):
            with timings.timed("timing/teacher_forcing_s"):
                learned = learners.update("adversarial", stacked(batches), config.schedule.mle_batch, rate=rate)
            metrics["generator/teacher_forcing_nll"] = learned["loss"] - learned.get("goal_loss", 0.0)
        return Done(metrics, tuple(collected))

    def _collect(self, update: int, iteration: int, metrics: dict[str, float]) -> Rollouts:
        timings = self._shared.timings
        with timings.timed("timing/rollouts_s"), stage("rollouts", "rollouts"):
            rollouts = self._gathering.rollouts(update, iteration)
        metrics["timing/sequences_per_s"] = rollouts.tokens.shape[0] / timings.last_s
        metrics["timing/tokens_per_s"] = rollouts.num_drawn / timings.last_s
        metrics["generator/staleness"] = self._shared.parts.learners.version - rollouts.generator_version
        return rollouts

    def _policy_gradient_rows(self, rollouts: Rollouts, update: int, metrics: dict[str, float]) -> Experience:
        """Rewards, credit, baseline, weights; the value function learns what its states were worth."""
        config, state_values = self._shared.config, None
        if self._filter is not None:
            rollouts, filtered = self._filter.filtered(rollouts)
            metrics |= filtered
        seen = rollouts.tokens, rollouts.mask
        if self._value_function is not None:
            state_values = self._value_function.values(*seen, rollouts.conditions)
        rng = stream(config.seed, "reward", update)
        batch = learnable(rollouts, recipe_of(config), self._memory, self._shared.task, rng, state_values)
        self._memory = batch.memory
        if self._value_function is not None and state_values is not None:
            with self._shared.timings.timed("timing/critic_s"):
                metrics |= self._value_function.learn(*seen, batch.values, state_values, rollouts.conditions)
        metrics |= batch.metrics
        self._equal_rewards.after(metrics)
        return batch.experience

    def _rows_of_noise(self, update: int, iteration: int) -> Experience:
        """Rows that the learner draws anew and differentiates through the discriminator."""
        config = self._shared.config
        batch, length = config.schedule.g_batch, self._shared.task.space.max_length
        rng = stream(config.seed, "relaxation", update)
        begun = self._shared.real.noise(batch, update, iteration)
        return Experience(
            tokens=torch.zeros(batch, length, dtype=torch.int64),
            weights=torch.zeros(batch, length),
            row_weights=torch.full((batch,), 1.0 / batch),
            row_seeds=torch.randint(2**62, (batch,), generator=rng),
            row_reals=begun.targets,
            conditions=begun.conditions,
        )

    def _passes(self, parts: list[Experience], update: int) -> tuple[Experience, int]:
        """Rows in the order in which they are learned from, and how many a step: all at once, or PPO's epochs.

        Each minibatch has its share of every part, and weights that make it an estimate of the whole batch's loss.
        """
        objective = self._shared.config.objective
        if objective.epochs == objective.minibatches == 1:
            experience = stacked(parts)
            return experience, experience.tokens.shape[0]
        number = objective.minibatches
        rng = stream(self._shared.config.seed, "passes", update)
        steps: list[Experience] = []
        for _ in range(objective.epochs):
            order = [torch.randperm(part.tokens.shape[0], generator=rng).chunk(number) for part in parts]
            steps += [
                stacked([part.rows(rows[index]) for part, rows in zip(parts, order, strict=True)])
                for index in range(number)
            ]
        return stacked(steps).times(number), steps[0].tokens.shape[0]

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        critic = None if self._value_function is None else self._value_function.state()
        kept = None if self._filter is None else self._filter.state()
        return {
            "memory": dataclasses.asdict(self._memory),
            "critic": critic,
            "reward_filter": kept,
            "equal_rewards": self._equal_rewards.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        memory = state["memory"]
        best = memory.get("best")  # older versions did not keep any
        self._memory = Memory(
            **{
                **memory,
                "baseline": BaselineState(**memory["baseline"]),
                "best": None if best is None else BestSequences(**best),
            }
        )
        self._equal_rewards.restore(state.get("equal_rewards"))
        if self._filter is not None:
            self._filter.restore(state["reward_filter"])
        if self._value_function is not None:
            self._value_function.restore(state["critic"])
