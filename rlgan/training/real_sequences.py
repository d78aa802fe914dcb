"""Which training sequences are learned from, or begun with, and when: functions of the seed and of what is asked.

A task has a fixed training split, or a stream of sequences that are new each time (`Task.stream`). Of a stream it is
counted how many were drawn and read, for runs are compared at equal numbers. Where conditions alone are read, their
sequences are not counted.

n training sequences, B of a batch, T positions
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlgan.adversary.minibatches import Pairs
from rlgan.base.errors import ConfigError, DataError
from rlgan.base.seeding import stream, stream_seed
from rlgan.config.config import Config
from rlgan.config.reals import reals_read
from rlgan.envs.tasks import Task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.experience import by_example
from rlgan.policy.loss_terms import likelihood_weights
from rlgan.rollouts.shards import Beginnings, beginnings_of
from rlgan.sampling.records import Experience
from rlgan.schedule.example_weights import tf_idf_weights


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Training sequences.

    Attributes:
        tokens: (B, T) int64.
        conditions: (B, S) int64; None where they are given nothing.
        weights: (B,) float32, what each counts, 1 on average over the training split.
        numbers: (B,) int64 which of the split they are; None of a stream.
    """

    tokens: Tensor
    conditions: Tensor | None
    weights: Tensor
    numbers: Tensor | None = None

    def beginnings(self, prefix_length: int, with_targets: bool) -> Beginnings:
        """What generated sequences begin with that begin like these."""
        return beginnings_of(self.tokens, self.conditions, prefix_length, with_targets, self.numbers)

    def rows(self, rows: Tensor) -> _Chosen:
        """Some of them, in any order."""
        conditions, numbers = (None if one is None else one[rows] for one in (self.conditions, self.numbers))
        return _Chosen(self.tokens[rows], conditions, self.weights[rows], numbers)


class RealSequences:
    """A task's training sequences as a run draws them.

    Args:
        config: of the run.
        task: of the run.

    Attributes:
        num_streamed: sequences that were drawn from the task's stream since the run began, and read; 0 where it has
            none.
    """

    def __init__(self, config: Config, task: Task) -> None:
        self._schedule, self._objective, self._seed = config.schedule, config.objective, config.seed
        self._generator = config.generator
        self._task = task
        self._read = reals_read(config, task.conditions is not None)
        self._weights: Tensor | None = None
        if config.schedule.example_weights == "tf_idf":
            self._weights = tf_idf_weights(task.space, task.train)
        self.num_streamed = 0

    # ------------------------------------------------------------------ learned by likelihood

    @property
    def num_of_epoch(self) -> int:
        """Sequences of an epoch of pretraining, in whole batches."""
        return self._task.train.shape[0] // self._schedule.mle_batch * self._schedule.mle_batch

    def epoch(self, epoch: int, *, again: bool = False) -> Experience:
        """All of them once, in whole batches, for an epoch of pretraining.

        Args:
            epoch: counted from 0.
            again: whether the epoch has begun already: of a stream its sequences are counted once.
        """
        batch, inputs, counted = self._schedule.mle_batch, self._schedule.mle_inputs, self.num_streamed
        experience = self._by_likelihood(
            self._choose(self.num_of_epoch, "mle", epoch), batch, "mle", epoch, epoch=epoch
        )
        if again:
            self.num_streamed = counted
        if inputs.draws_tokens:
            draws = self._input_draws(experience.tokens, epoch, inputs.share_in(epoch))
            experience = dataclasses.replace(experience, input_draws=draws)
        return experience

    def batch(self, update: int, index: int) -> Experience:
        """A fresh batch beside a generator update; `index` tells several apart."""
        batch = self._schedule.mle_batch
        purpose = ("teacher_forcing", update, index)
        return self._by_likelihood(self._choose(batch, *purpose), batch, *purpose)

    def demonstrations(self, update: int) -> Experience:
        """What a generator update learns from whose objective reads real sequences alone."""
        batch = self._schedule.g_batch
        real = self._by_likelihood(self._choose(batch, "demonstrations", update), batch)
        return dataclasses.replace(real, **self._objective.terms_of_reals(real.weights))

    def beside(self, sampled: Experience | None, update: int, advantage: float) -> list[Experience]:
        """What is sampled in a generator update and the examples beside it, both over the norm of the whole batch."""
        chosen = self._choose(self._schedule.num_real, "examples", update)
        weights = advantage * self._of_tokens(chosen)
        real = Experience(tokens=chosen.tokens, weights=weights, conditions=chosen.conditions)
        real = self._with_goals(self._with_latents(real, weights[:, 0], "examples", update))
        return by_example(sampled, real, self._schedule.g_batch, self._task.space, self._objective.loss_normaliser)

    def _by_likelihood(
        self, chosen: _Chosen, minibatch: int, *purpose: str | int, epoch: int | None = None
    ) -> Experience:
        """Training sequences, each minibatch weighted for the mean over its tokens; `purpose` names the noise."""
        tokens = chosen.tokens
        parts = [likelihood_weights(sequence_mask(self._task.space, rows)) for rows in tokens.split(minibatch)]
        weights = torch.cat(parts) * self._of_tokens(chosen)
        real = Experience(tokens=tokens, weights=weights, conditions=chosen.conditions)
        return self._with_goals(self._with_latents(real, weights[:, 0], *purpose, epoch=epoch))

    def _with_latents(
        self, real: Experience, weights: Tensor, *purpose: str | int, epoch: int | None = None
    ) -> Experience:
        """The same whose latents are inferred, where sequences have some: likelihood then is the ELBO.

        Args:
            real: training sequences.
            weights: (B,) what a token of each weighs, and with it the KL of its latent.
            purpose: names the stream of the noise.
            epoch: of pretraining; None behind it.
        """
        width = self._generator.latent_width
        if not width:
            return real
        noise = torch.randn(len(real.tokens), width, generator=stream(self._seed, "latents", *purpose))
        return dataclasses.replace(
            real,
            latents=noise,
            infers_latents=torch.ones(len(noise)),
            latent_kl_weights=self._generator.latent_kl_weight(epoch) * weights,
        )

    def _with_goals(self, real: Experience) -> Experience:
        """The same from which goals are learned, where the generator sets some, with the weights of the tokens."""
        return dataclasses.replace(real, goal_weights=real.weights) if self._generator.sets_goals else real

    def _of_tokens(self, chosen: _Chosen) -> Tensor:
        """(B, T) float32, what each token of the sequences counts."""
        return chosen.weights.unsqueeze(1).expand(-1, self._task.space.max_length)

    # ------------------------------------------------------------------ chosen

    def _choose(self, number: int, *purpose: str | int, skipping: int = 0, are_read: bool = True) -> _Chosen:
        """Training sequences, none of them twice; of a stream new ones.

        Args:
            number: of sequences.
            purpose: names the random stream.
            skipping: of the split, how many of the same purpose were chosen before.
            are_read: see `_streamed`.
        """
        if self._task.stream is not None:
            return self._streamed(number, *purpose, skipping, are_read=are_read)
        return self._at(self._shuffled(*purpose)[skipping:][:number])

    def _streamed(self, number: int, *purpose: str | int, are_read: bool = True) -> _Chosen:
        """New training sequences.

        Args:
            number: of sequences.
            purpose: names the random stream.
            are_read: whether the sequences themselves are read, and not only what they are given; tokens that are not
                read may be left out.
        """
        assert self._task.stream is not None
        seed, given = stream_seed(self._seed, "stream", *purpose), self._task.conditions
        if are_read or (given is not None and given.stream is None):
            tokens, conditions = self._task.stream(number, seed)
            self.num_streamed += number if are_read else 0
        else:
            tokens = torch.empty(number, 0, dtype=torch.int64)
            conditions = None if given is None or given.stream is None else given.stream(number, seed)
        return _Chosen(tokens, conditions, torch.ones(number))

    def _at(self, index: Tensor) -> _Chosen:
        """Those of the split at these places."""
        conditions = None if self._task.conditions is None else self._task.conditions.train[index].long()
        weights = torch.ones(len(index)) if self._weights is None else self._weights[index]
        return _Chosen(self._task.train[index].long(), conditions, weights, index)

    def _shuffled(self, *purpose: str | int) -> Tensor:
        return torch.randperm(self._task.train.shape[0], generator=stream(self._seed, *purpose))

    def _input_draws(self, tokens: Tensor, epoch: int, share: float) -> Tensor:
        """Where the generator reads a token of its own, and with which random number; see `Experience.input_draws`."""
        rng = stream(self._seed, "input_draws", epoch)
        own, draws = (torch.rand(tokens.shape, generator=rng) for _ in range(2))
        return torch.where(own < share, draws, -1.0)

    # ------------------------------------------------------------------ shown to the discriminator

    def for_round(self, index: int, number: int) -> Pairs | None:
        """New sequences for a round of the discriminator.

        None where it draws from the training split itself, and where the fakes come with the real sequences of their
        prompts.

        Args:
            index: rounds before this one.
            number: of sequences.
        """
        if self._task.stream is None or self._read.shown_with_prompts:
            return None
        chosen = self._streamed(number, "discriminator", index)
        return Pairs(chosen.tokens, chosen.conditions)

    # ------------------------------------------------------------------ begun with

    def noise(self, num_sequences: int, update: int, iteration: int) -> Beginnings:
        """What rows that are differentiated begin with; where the loss compares them with reals, with these.

        Args:
            num_sequences: B.
            update: generator updates before this one.
            iteration: adversarial iterations done.
        """
        return self._drawn(num_sequences, 1, ("prefixes", update), iteration, self._read.guide)

    def fakes(self, num_sequences: int, index: int, iteration: int) -> Beginnings:
        """What fakes of a round begin with; where answers to one prompt are shown together in groups, with the reals.

        Args:
            num_sequences: B.
            index: rounds before this one.
            iteration: adversarial iterations done.
        """
        copies = (self._schedule.g_group or 1) if self._read.shown_with_prompts else 1
        return self._drawn(num_sequences, copies, ("fake_prefixes", index), iteration, self._read.shown_with_prompts)

    def rollouts(self, update: int, iteration: int) -> Beginnings:
        """What the rollouts of a generator update begin with; no pair among them is learned by example, too."""
        schedule = self._schedule
        copies, with_targets = schedule.g_group or 1, self._read.beside_rollouts
        if not schedule.num_real:
            return self._drawn(schedule.num_sampled, copies, ("prefixes", update), iteration, with_targets)
        number = schedule.num_sampled // copies
        others = self._choose(number, "examples", update, skipping=schedule.num_real, are_read=with_targets)
        rows = torch.arange(len(others.tokens)).repeat_interleave(copies)
        return self._beginnings(others.rows(rows), 0, with_targets)

    def _drawn(
        self, num_sequences: int, copies: int, purpose: tuple[str, int], iteration: int, with_targets: bool = False
    ) -> Beginnings:
        prefix_length = self._schedule.teacher_forcing.prefix_length(iteration)
        if self._task.conditions is None and not prefix_length and not with_targets:
            return Beginnings()
        different = -(-num_sequences // copies)
        if self._task.stream is not None:
            chosen = self._streamed(different, *purpose, are_read=with_targets or prefix_length > 0)
        else:
            rng = stream(self._seed, *purpose)
            chosen = self._at(torch.randint(self._task.train.shape[0], (different,), generator=rng))
        rows = torch.arange(different).repeat_interleave(copies)[:num_sequences]
        return self._beginnings(chosen.rows(rows), prefix_length, with_targets)

    def _beginnings(self, chosen: _Chosen, prefix_length: int, with_targets: bool) -> Beginnings:
        """Of prompts alone only their numbers go along, by which a reward finds their columns."""
        begun = chosen.beginnings(prefix_length, with_targets)
        return begun if self._task.has_real_sequences else dataclasses.replace(begun, targets=None)

    # ------------------------------------------------------------------ kept

    def metrics(self) -> dict[str, float]:
        """How many sequences were drawn from the stream; nothing where there is none."""
        return {} if self._task.stream is None else {"data/real_sequences": float(self.num_streamed)}

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"num_streamed": self.num_streamed}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned; older versions had no streams."""
        self.num_streamed = state.get("num_streamed", 0)


def require_drawable(config: Config, task: Task, *, pretrains: bool = True) -> None:
    """Refuse a task whose training sequences do not suffice for a run of this configuration.

    Args:
        config: of the run, or of a control.
        task: of the run.
        pretrains: whether it begins with pretraining of its own; a control begins where that of its run ended.

    Raises:
        DataError: fewer training sequences than a batch needs.
        ConfigError: prefixes as long as the sequences, a reward of lengths where all are equally long, or networks
            that look at more tokens or real sequences than there are.
    """
    _require_within(config, task)
    schedule, forcing = config.schedule, config.schedule.teacher_forcing
    if schedule.adversarial_updates and config.reward.needs_lengths and task.space.end_id is None:
        raise ConfigError(
            f"reward={config.reward.kind!r}: rewards lengths, but all sequences of task {task.name} have "
            f"{task.space.max_length} tokens. Use another reward, or remove it from controls.",
            code="reward_of_equal_lengths",
            fields={"reward": config.reward.kind, "max_length": task.space.max_length},
        )
    if schedule.num_real and task.stream is None:
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
    needed = schedule.g_batch if schedule.adversarial_updates and config.objective.learns_reals else 0
    if task.stream is None and task.train.shape[0] < needed:
        raise DataError(
            f"task {task.name}: {task.train.shape[0]} training sequences are fewer than the schedule.g_batch="
            f"{needed} different ones that an update with objective={config.objective.kind!r} learns from. Give more "
            "data, or lower schedule.g_batch.",
            code="too_few_to_demonstrate",
            fields={"schedule.g_batch": needed, "objective": config.objective.kind},
        )
    of_the_split = (pretrains and schedule.mle_epochs > 0) or (forcing.takes_batches and task.stream is None)
    needed = schedule.mle_batch if of_the_split else 1
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


def _require_within(config: Config, task: Task) -> None:
    """Refuse networks that look at more tokens than a sequence has, or at more real sequences than there are."""
    parts = (("generator", config.generator), ("discriminator", config.discriminator))
    asked = [(f"{axis}.{name}", getattr(part, name)) for axis, part in parts if part for name in part.within_sequences]
    longest = task.space.max_length
    for path, value in asked:
        if value > longest:
            raise ConfigError(
                f"{path}={value}: is more than the {longest} tokens of the longest sequence. Set it to at most "
                f"{longest}.",
                code="longer_than_sequences",
                fields={path: value},
            )
    if config.discriminator is None:
        return
    shown = config.adversary.sequences_per_round
    shown = shown if task.stream is not None else min(shown, task.train.shape[0])
    for name in config.discriminator.within_reals:
        value = getattr(config.discriminator, name)
        if value > shown:
            raise ConfigError(
                f"discriminator.{name}={value}: is more than the {shown} real sequences of a round "
                f"({task.train.shape[0]} training sequences, adversary.sequences_per_round="
                f"{config.adversary.sequences_per_round}). Set it to at most {shown}, or raise these.",
                code="more_than_the_reals",
                fields={f"discriminator.{name}": value},
            )
