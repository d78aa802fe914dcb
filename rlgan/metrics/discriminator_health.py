"""Is the discriminator a teacher? Accuracy, calibration and ranking from its logits; positive means real.

Say which sequences the logits belong to: on sequences it was trained on, a discriminator that only memorises looks
well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError


@dataclass(frozen=True, slots=True)
class DiscriminatorHealth:
    """How well logits tell real sequences from generated ones.

    Attributes:
        accuracy_real: share of real sequences called real.
        accuracy_fake: share of generated sequences called generated.
        mean_prob_real: mean probability of being real, over real sequences.
        mean_prob_fake: the same over generated sequences.
        auc: probability that a real sequence gets a higher logit than a generated one.
    """

    accuracy_real: float
    accuracy_fake: float
    mean_prob_real: float
    mean_prob_fake: float
    auc: float

    @property
    def accuracy(self) -> float:
        """Mean of both accuracies: 0.5 is chance whatever the sizes of the two sets."""
        return (self.accuracy_real + self.accuracy_fake) / 2


def discriminator_health(real_logits: Tensor, fake_logits: Tensor) -> DiscriminatorHealth:
    """Every figure of this room, of one discriminator on one pair of sets.

    Args:
        real_logits: (n,) float, logits of real sequences, positive means real.
        fake_logits: (m,) float, logits of generated sequences.

    Returns:
        Shares and probabilities in [0, 1].

    Raises:
        ShapeError: a tensor is not one-dimensional or is empty.
    """
    return DiscriminatorHealth(
        accuracy_real=accuracy_real(real_logits),
        accuracy_fake=accuracy_fake(fake_logits),
        mean_prob_real=mean_prob(real_logits),
        mean_prob_fake=mean_prob(fake_logits),
        auc=auc(real_logits, fake_logits),
    )


def accuracy_real(real_logits: Tensor) -> float:
    """Share of real sequences with a positive logit.

    A logit of exactly 0 decides nothing and counts one half, so that a constant discriminator is at chance on both
    sides instead of perfect on one.

    Args:
        real_logits: (n,) float, logits of real sequences.

    Returns:
        Share in [0, 1]; NaN where a logit is NaN.

    Raises:
        ShapeError: not one-dimensional, or empty.
    """
    return _share_positive(_checked(real_logits, "real_logits"))


def accuracy_fake(fake_logits: Tensor) -> float:
    """Share of generated sequences with a negative logit; a logit of exactly 0 counts one half.

    Args:
        fake_logits: (m,) float, logits of generated sequences.

    Returns:
        Share in [0, 1]; NaN where a logit is NaN.

    Raises:
        ShapeError: not one-dimensional, or empty.
    """
    return _share_positive(-_checked(fake_logits, "fake_logits"))


def mean_prob(logits: Tensor) -> float:
    """Mean probability of being real, σ(logit).

    Args:
        logits: (n,) float.

    Returns:
        Probability in [0, 1]; NaN where a logit is NaN.

    Raises:
        ShapeError: not one-dimensional, or empty.
    """
    return torch.sigmoid(_checked(logits, "logits")).mean().item()


def auc(real_logits: Tensor, fake_logits: Tensor) -> float:
    """Area under the ROC curve: how often a real sequence outranks a generated one, ties counting one half.

    AUC = (1/(n·m)) Σ_i Σ_j [u_i > v_j] + ½ [u_i = v_j],  u = real_logits, v = fake_logits

    It is computed from ranks in O((n + m) log m), not from pairs. Unlike accuracy it does not depend on where the
    logits are centred. Source: Hanley & McNeil 1982 (the Mann-Whitney statistic).

    Args:
        real_logits: (n,) float, logits of real sequences.
        fake_logits: (m,) float, logits of generated sequences.

    Returns:
        Probability in [0, 1]: 0.5 is chance, below it the polarity is wrong; NaN where a logit is NaN.

    Raises:
        ShapeError: a tensor is not one-dimensional or is empty.
    """
    real = _checked(real_logits, "real_logits")
    fake = _checked(fake_logits, "fake_logits")
    if real.isnan().any() or fake.isnan().any():
        return math.nan
    ordered_fake = fake.sort().values
    num_below = torch.searchsorted(ordered_fake, real, right=False)
    num_not_above = torch.searchsorted(ordered_fake, real, right=True)
    return (num_below + num_not_above).double().mean().item() / (2 * len(fake))


def _share_positive(logits: Tensor) -> float:
    is_positive = torch.heaviside(logits, logits.new_tensor(0.5))
    # heaviside makes 0 of NaN, and a broken discriminator must not read as a mistaken one.
    return torch.where(logits.isnan(), logits, is_positive).mean().item()


def _checked(logits: Tensor, name: str) -> Tensor:
    if logits.dim() != 1 or len(logits) == 0:
        raise ShapeError(
            f"{name} has shape {tuple(logits.shape)}: expected (n,) with n ≥ 1. Select real tokens by the mask first.",
            code="health_logits_shape",
        )
    return logits.detach().double()
