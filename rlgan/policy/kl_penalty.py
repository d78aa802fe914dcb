"""Staying near a reference generator, the one that adversarial training began with (docs/algorithms.md §17).

B sequences, T positions
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from rlgan.base.search_priors import LogUniform, NotSearched
from rlgan.base.settings import Settings

from .credit import Credit

Place = Literal["none", "reward", "loss"]
"""Where a penalty is added: nowhere, to rewards before credit is assigned, or to the generator's loss."""


@dataclass(frozen=True, slots=True)
class Penalised:
    """Values after the penalty.

    Attributes:
        values: (B, T) float32, 0 where the mask is False.
        factor: of the penalty's weight, for the next batch.
        metrics: what there is to report of the penalty.
    """

    values: Tensor
    factor: float
    metrics: dict[str, float] = field(default_factory=dict)


class KLPenalty(Settings):
    """What every penalty declares, and what it adds in the one place or the other."""

    place: ClassVar[Place]
    """Where the penalty is added."""

    @property
    def log_ratio_weight(self) -> float:
        """What a nat of a sequence's log-ratio to the reference costs in reward units; 0 where rewards do not pay."""
        return 0.0

    @property
    def adapts(self) -> bool:
        """Whether its weight changes from batch to batch."""
        return False

    @property
    def weighs_by_ratio(self) -> bool:
        """Whether the penalty in the loss is times the ratio to the policy that drew the tokens."""
        return False

    def on_values(
        self, values: Tensor, log_ratios: Tensor, mask: Tensor, credit: Credit, kl: float, factor: float
    ) -> Penalised:
        """What it leaves of values; all of them, where it is not added to rewards.

        Args:
            values: (B, T) float32, 0 where mask is False.
            log_ratios: (B, T) nats, log p_θ - log p_reference of each drawn token, without gradient.
            mask: (B, T) bool.
            credit: how what tokens cost becomes what values lose.
            kl: of this batch, nats a sequence.
            factor: of the penalty's weight, from the batch before.
        """
        return Penalised(values, factor)

    def on_loss(self, drawn: Tensor) -> Tensor | None:
        """What each token weighs in the loss's penalty.

        Args:
            drawn: (B, T) bool, which tokens were drawn.

        Returns:
            (B, T) float32, before the loss's normaliser; None where nothing is added to the loss.
        """
        return None


class NoReference(KLPenalty):
    """No penalty."""

    kind: Literal["none"] = "none"
    place: ClassVar[Place] = "none"


class RewardPenalty(KLPenalty):
    """Values minus β times log p_θ - log p_reference (RLOO and PPO; docs/algorithms.md §17).

    With terminal credit this is the log-ratio of the whole sequence, otherwise that of the tokens from each one on.
    """

    kind: Literal["reward"] = "reward"
    weight: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.05, gt=0.0)
    """β, in reward units per nat."""
    target: Annotated[float | None, NotSearched("a decision on how far the generator may move")] = Field(None, gt=0.0)
    """Target KL in nats per sequence; β is adapted to it by at most 2 % per update. null keeps β constant."""
    place: ClassVar[Place] = "reward"

    @property
    def log_ratio_weight(self) -> float:
        """See `KLPenalty.log_ratio_weight`: β, where it is constant."""
        return self.weight

    @property
    def adapts(self) -> bool:
        """See `KLPenalty.adapts`: where there is a target."""
        return self.target is not None

    def on_values(
        self, values: Tensor, log_ratios: Tensor, mask: Tensor, credit: Credit, kl: float, factor: float
    ) -> Penalised:
        """See `KLPenalty.on_values`: values - β · what the credit makes of the log-ratios."""
        weight = self.weight * factor
        return Penalised(
            values=penalised(values, log_ratios, mask, weight, credit),
            factor=adapted(factor, kl, self.target),
            metrics={"generator/kl_weight": weight},
        )


class LossPenalty(KLPenalty):
    """The loss plus β times exp(d) - d - 1, d = log p_reference - log p_θ of each token (GRPO, Shao et al. 2024)."""

    kind: Literal["loss"] = "loss"
    weight: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.04, gt=0.0)
    """β."""
    times_ratio: Annotated[bool, NotSearched("another estimate of the same")] = False
    """Whether each token's penalty is times its ratio p_θ / p_old, whose gradient counts: of tokens that p_θ drew it is
    then that of KL(p_θ‖p_reference) (DeepSeek-AI 2025; TRL's default), and without it that of KL(p_reference‖p_θ)."""
    place: ClassVar[Place] = "loss"

    @property
    def weighs_by_ratio(self) -> bool:
        """See `KLPenalty.weighs_by_ratio`."""
        return self.times_ratio

    def on_loss(self, drawn: Tensor) -> Tensor:
        """See `KLPenalty.on_loss`: β for each token that was drawn."""
        return self.weight * drawn.float()


ReferenceSettings = Annotated[NoReference | RewardPenalty | LossPenalty, Field(discriminator="kind")]


def penalised(values: Tensor, log_ratios: Tensor, mask: Tensor, weight: float, credit: Credit) -> Tensor:
    """Values less β times the log-ratio to the reference.

    Args:
        values: (B, T) float32, 0 where mask is False.
        log_ratios: (B, T) nats, log p_θ - log p_reference of each token, without gradient.
        mask: (B, T) bool.
        weight: β.
        credit: which tokens' log-ratios are taken off the value of a token.

    Returns:
        (B, T) float32, 0 where mask is False.
    """
    return (values - weight * credit.accumulated(log_ratios, mask)).masked_fill(~mask, 0.0)


def adapted(factor: float, kl: float, target: float | None) -> float:
    """Factor of β for the next batch: × (1 + 0.1 · clip(KL/target - 1, ±0.2)) (Ziegler et al. 2019, §2.2).

    Args:
        factor: of this batch.
        kl: of this batch, nats a sequence.
        target: wanted, nats a sequence; None keeps the factor.
    """
    return factor if target is None else factor * (1.0 + 0.1 * min(0.2, max(-0.2, kl / target - 1.0)))
