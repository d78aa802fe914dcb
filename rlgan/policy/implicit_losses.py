"""Losses of pairs by the policy's own log-ratio.

    u(y) = log π(y | x) - log π_t(y | x)      π learns; the opponent π_t, which drew the fakes, stays as it was

Each loss is a function of u of a real sequence and of u of a fake under the same condition: the log-ratio is then the
discriminator, and nobody is trained beside the generator. Those of differences are also of two fakes, of which a reward
prefers the first (DPO, Rafailov et al. 2023). Source: SPIN (Chen et al. 2024, eq. 4.7) for those of differences; GSIL
(Xiao et al. 2024) for the five others, which estimate a density ratio.

B pairs
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings


class ImplicitLoss(Settings):
    """A loss of pairs of log-ratios."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: str
    """Name of the loss."""

    @abstractmethod
    def of(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """The loss of each pair.

        Args:
            real_ratios: (B,) float32 nats, u of real sequences.
            fake_ratios: (B,) float32 nats, u of sequences of the opponent.

        Returns:
            (B,) float32.
        """


class PairLoss(ImplicitLoss):
    """A loss of the difference of both, β(u_r - u_g)."""

    scale: Annotated[float, NotSearched("goes with the learning rate")] = Field(0.1, gt=0.0)
    """Factor β of the log-ratios."""


class PairLogistic(PairLoss):
    """SPIN: -log σ(β(u_r - u_g)), which is DPO with the first sequence chosen and the second rejected."""

    kind: Literal["pair_logistic"] = "pair_logistic"

    def of(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `ImplicitLoss.of`."""
        return functional.softplus(-self.scale * (real_ratios - fake_ratios))


class PairHinge(PairLoss):
    """SPIN with a hinge: max(0, 1 - β(u_r - u_g))."""

    kind: Literal["pair_hinge"] = "pair_hinge"

    def of(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `ImplicitLoss.of`."""
        return functional.relu(1.0 - self.scale * (real_ratios - fake_ratios))


class RatioLoss(ImplicitLoss):
    """A loss of both by themselves, s = α·u + b."""

    scale: Annotated[float, NotSearched("goes with the learning rate")] = Field(0.01, gt=0.0)
    """Factor α of the log-ratios."""
    shift: Annotated[float, NotSearched("as published")] = 2.0
    """Constant b that is added."""

    def of(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `ImplicitLoss.of`."""
        return self.of_scores(self.scale * real_ratios + self.shift, self.scale * fake_ratios + self.shift)

    @abstractmethod
    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """The loss of each pair of s."""


class Bernoulli(RatioLoss):
    """-log σ(s_r) - log σ(-s_g), logistic regression."""

    kind: Literal["bernoulli"] = "bernoulli"

    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """See `RatioLoss.of_scores`."""
        return functional.softplus(-real) + functional.softplus(fake)


class Brier(RatioLoss):
    """(1 - σ(s_r))² + σ(s_g)²."""

    kind: Literal["brier"] = "brier"

    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """See `RatioLoss.of_scores`."""
        return (1.0 - real.sigmoid()).square() + fake.sigmoid().square()


class Hinge(RatioLoss):
    """max(0, 1 - s_r) + max(0, 1 + s_g)."""

    kind: Literal["hinge"] = "hinge"

    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """See `RatioLoss.of_scores`."""
        return functional.relu(1.0 - real) + functional.relu(1.0 + fake)


class Kliep(RatioLoss):
    """-s_r + exp(s_g), importance estimation by the KL divergence."""

    kind: Literal["kliep"] = "kliep"

    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """See `RatioLoss.of_scores`."""
        return fake.exp() - real


class Lsif(RatioLoss):
    """-exp(s_r) + ½exp(2·s_g), importance estimation by least squares."""

    kind: Literal["lsif"] = "lsif"

    def of_scores(self, real: Tensor, fake: Tensor) -> Tensor:
        """See `RatioLoss.of_scores`."""
        return 0.5 * (2.0 * fake).exp() - real.exp()


ImplicitLossSettings = Annotated[
    PairLogistic | PairHinge | Bernoulli | Brier | Hinge | Kliep | Lsif, Field(discriminator="kind")
]

PairLossSettings = Annotated[PairLogistic | PairHinge, Field(discriminator="kind")]
"""Those of the difference of both, which say nothing of either alone."""


def log_ratios_of(logprobs: Tensor, opponent_logprobs: Tensor, mask: Tensor) -> Tensor:
    """U of sequences: Σ_t log π - log π_t over their tokens.

    Args:
        logprobs: (B, T) float32 nats, of π.
        opponent_logprobs: (B, T) float32 nats, of π_t.
        mask: (B, T), True or 1 on real tokens.

    Returns:
        (B,) float32 nats.
    """
    return (logprobs - opponent_logprobs).masked_fill(mask == 0, 0.0).sum(1)
