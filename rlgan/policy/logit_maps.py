"""Rewards that are a function of one logit of the discriminator (docs/algorithms.md §19).

The odds D/(1-D) are exp(logit) and never a quotient of probabilities. Such a reward is a class with one line of
arithmetic; it rewards sequences, prefixes or tokens, whichever the discriminator judges.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.envs.tasks.task import Task
from rlgan.sampling.records import Rollouts

from .reward_base import FinishedReward, Source

_VECTORS = 64  # elements; a multiple of what any processor computes at once
_BLOCK = 16_384  # elements; below the size from which torch takes several threads


class LogitMap(FinishedReward):
    """A function of one logit of the discriminator."""

    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})
    is_elementwise: ClassVar[bool] = True
    reads_log_odds: ClassVar[bool] = True
    """Whether it reads the logit as log p_d/p_θ; else as a score of which more is better."""
    reads_density_ratio: ClassVar[bool] = False
    """Whether it is p_d/p_θ itself, for which everything that reals are told from must be drawn by the generator."""

    @property
    def logit_map(self) -> LogitMap:
        """Itself."""
        return self

    @abstractmethod
    def function(self, u: Tensor) -> Tensor:
        """Rewards of logits, an element each; called by `of_logits`."""

    def of_logits(self, real_logits: Tensor) -> Tensor:
        """Rewards from logits.

        Args:
            real_logits: any shape, float32, positive = real.

        Returns:
            The same shape, reward units, no gradient; equal logits have equal rewards, to the last bit.
        """
        return _same_everywhere(self.function, real_logits.detach())

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`; it reads no scores."""
        return self.of_logits(self.logits_there(real_logits))

    def of_tokens(self, rollouts: Rollouts, task: Task) -> Tensor:
        """See `Reward.of_tokens`."""
        return self.of_logits(self.logits_there(rollouts.token_logits)).masked_fill(~rollouts.mask, 0.0)


class Probability(LogitMap):
    """D = σ(u), SeqGAN."""

    kind: Literal["probability"] = "probability"

    def function(self, u: Tensor) -> Tensor:
        """σ(u)."""
        return torch.sigmoid(u)


class Logit(LogitMap):
    """u = log D/(1-D)."""

    kind: Literal["logit"] = "logit"
    reads_log_odds: ClassVar[bool] = False

    def function(self, u: Tensor) -> Tensor:
        """U."""
        return u


class LogProbability(LogitMap):
    """log D."""

    kind: Literal["log_probability"] = "log_probability"

    def function(self, u: Tensor) -> Tensor:
        """Log σ(u)."""
        return functional.logsigmoid(u)


class NegLogComplement(LogitMap):
    """-log(1 - D), Adversarial-NMT."""

    kind: Literal["neg_log_complement"] = "neg_log_complement"

    def function(self, u: Tensor) -> Tensor:
        """log(1 + exp(u))."""
        return functional.softplus(u)


class SignedProbability(LogitMap):
    """2D - 1, ScratchGAN."""

    kind: Literal["signed_probability"] = "signed_probability"

    def function(self, u: Tensor) -> Tensor:
        """tanh(u/2)."""
        return torch.tanh(u / 2)


class Ratio(LogitMap):
    """D/(1-D) = exp(u), the density ratio of MaliGAN and boundary-seeking GAN."""

    kind: Literal["ratio"] = "ratio"
    reads_density_ratio: ClassVar[bool] = True

    def function(self, u: Tensor) -> Tensor:
        """exp(u)."""
        return torch.exp(u)


DiscriminatorReward = Probability | Logit | LogProbability | NegLogComplement | SignedProbability | Ratio
"""Maps of the discriminator's logit alone."""


def _same_everywhere(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """An elementwise function that gives equal numbers for equal ones, wherever in the tensor they stand.

    torch computes what is left of a tensor behind whole vectors of a processor by other code, which rounds otherwise.
    Here nothing is left, and no block is large enough to be shared out among threads.
    """
    flat = values.reshape(-1)
    padded = functional.pad(flat, (0, -len(flat) % _VECTORS))
    return torch.cat([function(block) for block in padded.split(_BLOCK)])[: len(flat)].reshape(values.shape)
