"""Rewards that are a function of one logit of the discriminator (docs/algorithms.md §19).

The odds D/(1-D) are exp(logit) and never a quotient of probabilities. Such a reward is a class with one line of
arithmetic; it rewards sequences, prefixes or tokens, whichever the discriminator judges.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from .reward_base import LogitMap


class Probability(LogitMap):
    """D = σ(u), SeqGAN."""

    kind: Literal["probability"] = "probability"
    is_positive: ClassVar[bool] = True

    def function(self, u: Tensor) -> Tensor:
        """σ(u)."""
        return torch.sigmoid(u)


class Logit(LogitMap):
    """u = log D/(1-D)."""

    kind: Literal["logit"] = "logit"
    reads_log_odds: ClassVar[bool] = False

    def function(self, u: Tensor) -> Tensor:
        """The logit itself."""
        return u


class LogProbability(LogitMap):
    """log D."""

    kind: Literal["log_probability"] = "log_probability"

    def function(self, u: Tensor) -> Tensor:
        """The logarithm of σ(u)."""
        return functional.logsigmoid(u)


class NegLogComplement(LogitMap):
    """-log(1 - D), Adversarial-NMT."""

    kind: Literal["neg_log_complement"] = "neg_log_complement"
    is_positive: ClassVar[bool] = True

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
    is_positive: ClassVar[bool] = True

    def function(self, u: Tensor) -> Tensor:
        """exp(u)."""
        return torch.exp(u)


DiscriminatorReward = Probability | Logit | LogProbability | NegLogComplement | SignedProbability | Ratio
"""Maps of the discriminator's logit alone."""

LOGIT_MAPS = tuple(one.model_fields["kind"].default for one in get_args(DiscriminatorReward))
"""Their names."""
