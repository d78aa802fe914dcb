"""Which training sequences are learned from, or begun with, and when: functions of the seed and of what is asked.

n training sequences, B of a batch, T positions
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.seeding import stream
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.experience import by_example
from rlgan.policy.objectives import likelihood_weights
from rlgan.rollouts.shards import Beginnings, draw_beginnings
from rlgan.sampling.records import Experience
from rlgan.schedule.example_weights import tf_idf_weights


class RealSequences:
    """A task's training sequences as a run draws them.

    Args:
        config: of the run.
        task: of the run.
    """

    def __init__(self, config: Config, task: Task) -> None:
        self._schedule, self._objective, self._seed = config.schedule, config.objective, config.seed
        reads, self._task = config.reward.reads, task
        self._compares = "targets" in reads or ("texts" in reads and task.conditions is not None)
        self._weights: Tensor | None = None
        if config.schedule.example_weights == "tf_idf":
            self._weights = tf_idf_weights(task.space, task.train)

    # ------------------------------------------------------------------ learned by likelihood

    def epoch(self, epoch: int) -> Experience:
        """All of them once, in whole batches, for an epoch of pretraining, counted from 0."""
        batch, inputs = self._schedule.mle_batch, self._schedule.mle_inputs
        order = self._shuffled("mle", epoch)
        experience = self._by_likelihood(order[: order.shape[0] // batch * batch], batch)
        if inputs.draws_tokens:
            draws = self._input_draws(experience.tokens, epoch, inputs.share_in(epoch))
            experience = dataclasses.replace(experience, input_draws=draws)
        return experience

    def batch(self, update: int, index: int) -> Experience:
        """A fresh batch beside a generator update; `index` tells several apart."""
        batch = self._schedule.mle_batch
        return self._by_likelihood(self._shuffled("teacher_forcing", update, index)[:batch], batch)

    def beside(self, sampled: Experience | None, update: int) -> list[Experience]:
        """What is sampled in a generator update and the examples beside it, both over the norm of the whole batch."""
        index = self._shuffled("examples", update)[: self._schedule.num_real]
        real = Experience(
            tokens=self._task.train[index].long(), weights=self._weights_of(index), conditions=self._conditions(index)
        )
        return by_example(sampled, real, self._schedule.g_batch, self._task.space, self._objective.loss_normaliser)

    def _shuffled(self, *purpose: str | int) -> Tensor:
        return torch.randperm(self._task.train.shape[0], generator=stream(self._seed, *purpose))

    def _by_likelihood(self, index: Tensor, minibatch: int) -> Experience:
        """Training sequences by their index, each minibatch weighted for the mean over its tokens."""
        tokens = self._task.train[index].long()
        parts = [likelihood_weights(sequence_mask(self._task.space, rows)) for rows in tokens.split(minibatch)]
        weights = torch.cat(parts) * self._weights_of(index)
        return Experience(tokens=tokens, weights=weights, conditions=self._conditions(index))

    def _weights_of(self, index: Tensor) -> Tensor:
        """(B, T) float32, what each token of a sequence counts, 1 on average."""
        rows = torch.ones(len(index)) if self._weights is None else self._weights[index]
        return rows.unsqueeze(1).expand(-1, self._task.space.max_length)

    def _input_draws(self, tokens: Tensor, epoch: int, share: float) -> Tensor:
        """Where the generator reads a token of its own, and with which random number; see `Experience.input_draws`."""
        rng = stream(self._seed, "input_draws", epoch)
        own, draws = (torch.rand(tokens.shape, generator=rng) for _ in range(2))
        return torch.where(own < share, draws, -1.0)

    def _conditions(self, index: Tensor) -> Tensor | None:
        return None if self._task.conditions is None else self._task.conditions.train[index].long()

    # ------------------------------------------------------------------ begun with

    def beginnings(self, num_sequences: int, purpose: tuple[str, int], unit: int) -> Beginnings:
        """What sequences without a reward begin with: fakes, and rows that are differentiated.

        Args:
            num_sequences: B.
            purpose: names their random stream.
            unit: adversarial units done.
        """
        return self._drawn(num_sequences, 1, purpose, unit)

    def rollouts(self, update: int, unit: int) -> Beginnings:
        """What the rollouts of a generator update begin with; no pair among them is learned by example, too."""
        schedule = self._schedule
        copies = schedule.g_group or 1
        if not schedule.num_real:
            return self._drawn(schedule.num_sampled, copies, ("prefixes", update), unit, self._compares)
        others = self._shuffled("examples", update)[schedule.num_real :][: schedule.num_sampled // copies]
        rows = others.repeat_interleave(copies)
        targets = self._task.train[rows].long() if self._compares else None
        return Beginnings(conditions=self._conditions(rows), targets=targets)

    def _drawn(
        self, num_sequences: int, copies: int, purpose: tuple[str, int], unit: int, with_targets: bool = False
    ) -> Beginnings:
        prefix_length = self._schedule.teacher_forcing.prefix_length(unit)
        return draw_beginnings(
            self._task, num_sequences, copies, prefix_length, stream(self._seed, *purpose), with_targets
        )


def require_drawable(config: Config, task: Task) -> None:
    """Refuse a task whose training sequences do not suffice for a run of this configuration.

    Raises:
        DataError: fewer training sequences than a batch needs.
        ConfigError: prefixes as long as the sequences.
    """
    schedule, forcing = config.schedule, config.schedule.teacher_forcing
    if schedule.num_real:
        needed = schedule.num_real
        if task.conditions is not None:
            needed += schedule.num_sampled // (schedule.g_group or 1)
        if task.train.shape[0] < needed:
            raise DataError(
                f"task {task.name}: {task.train.shape[0]} training sequences are fewer than the {needed} different "
                f"ones that a generator update with schedule.g_batch={schedule.g_batch} needs "
                f"(schedule.teacher_forcing={forcing.kind!r}). Give more data, or lower schedule.g_batch.",
                code="too_few_for_update",
                fields={"schedule.g_batch": schedule.g_batch, "schedule.teacher_forcing": forcing.kind},
            )
    needed = schedule.mle_batch if schedule.mle_epochs > 0 or forcing.takes_batches else 1
    if task.train.shape[0] < needed:
        raise DataError(
            f"task {task.name}: {task.train.shape[0]} training sequences are fewer than one batch of "
            f"schedule.mle_batch={schedule.mle_batch}. Give more data, or lower schedule.mle_batch.",
            code="too_few_for_batch",
            fields={"schedule.mle_batch": schedule.mle_batch},
        )
    longest, given = task.space.max_length, forcing.prefix_length(0)
    if given >= longest:
        raise ConfigError(
            f"schedule.teacher_forcing.start={given}: leaves no tokens to draw in sequences of {longest} tokens. "
            f"Set it below {longest}.",
            code="prefix_too_long",
            fields={"schedule.teacher_forcing.start": given},
        )
