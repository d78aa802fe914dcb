"""Values in, advantages out. Everything here sees the whole batch: the result may not depend on who sampled what.

An advantage never carries a gradient and is exactly 0 where the mask is False.

    B sequences, T positions
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.envs.errors import ShapeError
from rlgan.envs.priors import Choice, Uniform
from rlgan.envs.settings import Settings


class NoBaseline(Settings):
    """Advantage = value (SeqGAN as published)."""

    kind: Literal["none"] = "none"


class ConstantBaseline(Settings):
    """Advantage = value - a constant."""

    kind: Literal["constant"] = "constant"
    value: Annotated[float, Uniform(0.0, 1.0)] = 0.5
    """The constant, in reward units."""


class BatchMean(Settings):
    """Advantage = value - mean over all real tokens of the batch."""

    kind: Literal["batch_mean"] = "batch_mean"


class PerStepMean(Settings):
    """Advantage = value - mean over the batch at the same position."""

    kind: Literal["per_step_mean"] = "per_step_mean"


class ExponentialMean(Settings):
    """Advantage = value - moving average of batch means, this batch included (ScratchGAN, specification 11.2)."""

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Uniform(0.0, 0.99)] = Field(0.9, ge=0.0, lt=1.0)
    """Weight of the old average; ScratchGAN 0.08."""


class LeaveOneOut(Settings):
    """Advantage = value - mean over the other sequences at the same position; a finished one keeps its last value."""

    kind: Literal["leave_one_out"] = "leave_one_out"


class ImportanceWeights(Settings):
    """MaliGAN: advantage = m · softmax(real-logits) - ramp, over the m sequences of the batch (specification 4.2)."""

    kind: Literal["importance_weights"] = "importance_weights"
    ramp_updates: Annotated[int, Choice((0, 20, 100))] = Field(0, ge=0)
    """Generator updates over which the ramp rises from 0 to 1; 0 means 1 from the start."""


BaselineSettings = Annotated[
    NoBaseline | ConstantBaseline | BatchMean | PerStepMean | ExponentialMean | LeaveOneOut | ImportanceWeights,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class BaselineState:
    """What a baseline remembers between generator updates.

    Attributes:
        moving_average: of batch means, reward units; starts at 0.
        num_updates: generator updates so far.
    """

    moving_average: float = 0.0
    num_updates: int = 0


@dataclass(frozen=True, slots=True)
class Advantages:
    """Advantages and the state for the next batch.

    Attributes:
        advantages: (B, T) float32.
        state: what the baseline remembers now.
    """

    advantages: Tensor
    state: BaselineState


def advantages(
    settings: BaselineSettings, values: Tensor, mask: Tensor, state: BaselineState, real_logits: Tensor | None = None
) -> Advantages:
    """Advantages of a whole batch.

    Args:
        settings: which baseline.
        values: (B, T) float32, 0 where mask is False.
        mask: (B, T) bool.
        state: what the baseline remembers.
        real_logits: (B,) float32; read only by `ImportanceWeights`.

    Returns:
        (B, T) advantages and the next state.

    Raises:
        ShapeError: shapes differ, a leave-one-out batch of one sequence, or importance weights without logits.
    """
    if values.shape != mask.shape:
        raise ShapeError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ.")
    values = values.detach()
    average = state.moving_average
    if isinstance(settings, NoBaseline):
        result = values
    elif isinstance(settings, ConstantBaseline):
        result = values - settings.value
    elif isinstance(settings, BatchMean):
        result = values - _masked_mean(values, mask)
    elif isinstance(settings, PerStepMean):
        result = values - (values * mask).sum(0) / mask.sum(0).clamp_min(1)
    elif isinstance(settings, ExponentialMean):
        average = settings.decay * average + (1.0 - settings.decay) * float(_masked_mean(values, mask))
        result = values - average
    elif isinstance(settings, LeaveOneOut):
        result = values - leave_one_out_means(values, mask)
    else:
        if real_logits is None:
            raise ShapeError("baseline='importance_weights' needs the discriminator's logits; there are none.")
        ramp = min(1.0, state.num_updates / settings.ramp_updates) if settings.ramp_updates else 1.0
        weights = importance_weights(real_logits)
        result = (weights * weights.shape[0] - ramp).unsqueeze(1).expand_as(values)
    return Advantages(
        advantages=result.masked_fill(~mask, 0.0),
        state=BaselineState(moving_average=average, num_updates=state.num_updates + 1),
    )


def importance_weights(real_logits: Tensor) -> Tensor:
    """Self-normalised density ratios w̃ = softmax(u), Σ w̃ = 1 (MaliGAN; specification 4.2).

    Args:
        real_logits: (m,) float32 of one group.

    Returns:
        (m,) float32; a softmax of logits, finite for any logits, never a quotient of probabilities.
    """
    return torch.softmax(real_logits.detach(), dim=0)


def effective_sample_size(weights: Tensor) -> float:
    """ESS = 1/Σ w̃² of weights that sum to 1: m for uniform weights, 1 when one sequence has all the mass."""
    return float(1.0 / weights.square().sum())


def leave_one_out_means(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the *other* sequences at the same position.

    A sequence that has finished keeps the value of its last token, so that with terminal credit this is RLOO's
    b_i = mean_{j≠i} R_j whatever the lengths, and a constant added to all rewards always cancels.

    Args:
        values: (B, T) float32.
        mask: (B, T) bool.

    Returns:
        (B, T) float32.

    Raises:
        ShapeError: fewer than two sequences.
    """
    batch = values.shape[0]
    if batch < 2:
        raise ShapeError("baseline='leave_one_out' needs a batch of at least 2 sequences.")
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(0)
    held = torch.where(mask, values, values.gather(1, last))
    return (held.sum(0, keepdim=True) - held) / (batch - 1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum()
