"""Staying near a reference generator, the one that adversarial training began with (docs/algorithms.md §17).

B sequences, T positions
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from rlgan.base.search_priors import LogUniform, NotSearched
from rlgan.base.settings import Settings

from .credit import rewards_to_go

Place = Literal["none", "reward", "loss"]
"""Where a penalty is added: nowhere, to rewards before credit is assigned, or to the generator's loss."""


class KLPenalty(Settings):
    """What every penalty declares."""

    place: ClassVar[Place]
    """Where it is added."""


class NoReference(KLPenalty):
    """The generator may go where it likes."""

    kind: Literal["none"] = "none"
    place: ClassVar[Place] = "none"


class RewardPenalty(KLPenalty):
    """Values less β times log p_θ - log p_reference of what they are values of (RLOO and PPO, 15.1 and 15.3).

    With terminal credit the whole sequence's log-ratio, else that of the tokens from each one on.
    """

    kind: Literal["reward"] = "reward"
    weight: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.05, gt=0.0)
    """β, reward units a nat."""
    target: Annotated[float | None, NotSearched("a choice of how far the generator may go")] = Field(None, gt=0.0)
    """KL, nats a sequence, to which β is adapted by at most 2 % an update; null keeps β."""
    place: ClassVar[Place] = "reward"


class LossPenalty(KLPenalty):
    """The loss plus β times exp(d) - d - 1, d = log p_reference - log p_θ of each token (GRPO, 15.2)."""

    kind: Literal["loss"] = "loss"
    weight: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.04, gt=0.0)
    """β."""
    place: ClassVar[Place] = "loss"


ReferenceSettings = Annotated[NoReference | RewardPenalty | LossPenalty, Field(discriminator="kind")]


def penalised(values: Tensor, log_ratios: Tensor, mask: Tensor, weight: float, terminal: bool, gamma: float) -> Tensor:
    """Values less β times the log-ratio to the reference.

    Args:
        values: (B, T) float32, 0 where mask is False.
        log_ratios: (B, T) nats, log p_θ - log p_reference of each token, without gradient.
        mask: (B, T) bool.
        weight: β.
        terminal: every token pays for the whole sequence, and not for what comes from it on.
        gamma: discount a token of what comes later.

    Returns:
        (B, T) float32, 0 where mask is False.
    """
    paid = log_ratios.detach().masked_fill(~mask, 0.0)
    paid = paid.sum(1, keepdim=True).expand_as(paid) if terminal else rewards_to_go(paid, mask, gamma)
    return (values - weight * paid).masked_fill(~mask, 0.0)


def adapted(factor: float, kl: float, target: float | None) -> float:
    """Factor of β for the next batch: × (1 + 0.1 · clip(KL/target - 1, ±0.2)) (Ziegler et al. 2019; 15.3).

    Args:
        factor: of this batch.
        kl: of this batch, nats a sequence.
        target: wanted, nats a sequence; None keeps the factor.
    """
    return factor if target is None else factor * (1.0 + 0.1 * min(0.2, max(-0.2, kl / target - 1.0)))
