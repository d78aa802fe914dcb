"""Rewards that need no discriminator: a constant, random numbers, the length, the task's exact distribution.

They are controls, and rewards like any other.

    B sequences, T positions
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.base.search_priors import NotSearched
from rlgan.envs.tasks.task import Task
from rlgan.metrics import feature_log_odds, length_bins, lengths_of
from rlgan.sampling.records import Rollouts

from .reward_base import Level, Reward, Source
from .token_rewards import log_ratio


class ConstantReward(Reward):
    """The same reward for every sequence: a control. Without a baseline it is self-imitation."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The reward."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return torch.full((len(rollouts.tokens),), self.value)


class RandomReward(Reward):
    """Uniform random numbers in [0, 1), one per sequence: a control."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["random"] = "random"
    is_positive: ClassVar[bool] = True
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return torch.rand(len(rollouts.tokens), generator=rng)


class LengthReward(Reward):
    """Log-odds of a sequence's length, and nothing else: a control, a discriminator that reads the length alone.

    log p_d(length)/p_θ(length) by the counts of the training split and of the batch itself, as the probe of length
    counts them (`rlgan.metrics.shortcuts`). It is fitted anew to each batch, so it is never behind the generator.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["length"] = "length"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"training_data"})
    needs_lengths: ClassVar[bool] = True

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        real, fake = (lengths_of(task.space, tokens) for tokens in (task.train, rollouts.tokens))
        of_real, of_fake = (one.unsqueeze(1) for one in length_bins(real, fake))
        return feature_log_odds(of_real, of_fake, of_fake).float()


class OracleReward(Reward):
    """A reward of each token by the task's exact distribution."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the distribution")
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"oracle"})

    def exact_logprobs(self, rollouts: Rollouts, task: Task) -> Tensor:
        """(B, T) nats of the sequences' tokens under the exact distribution."""
        oracle = task.oracle_of(rollouts.conditions)
        if oracle is None:
            raise ShapeError(
                f"reward={self.kind!r} needs an exact distribution; task {task.name!r} has none.",
                code="reward_needs_distribution",
                fields={"reward": self.kind},
            )
        return oracle.logprobs(rollouts.tokens)


class OracleRatio(OracleReward):
    """log p_oracle - log p_θ of each token: the reward of a perfect discriminator, an upper bound."""

    kind: Literal["oracle_ratio"] = "oracle_ratio"
    reads_policy: ClassVar[bool] = True

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        return log_ratio(self.exact_logprobs(rollouts, task), rollouts.logprobs, rollouts.mask)


class OracleLikelihood(OracleReward):
    """log p_oracle of each token: a control that seeks modes (NLL_oracle falls, and so does coverage)."""

    kind: Literal["oracle_likelihood"] = "oracle_likelihood"

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        return self.exact_logprobs(rollouts, task).detach().masked_fill(~rollouts.mask, 0.0)
