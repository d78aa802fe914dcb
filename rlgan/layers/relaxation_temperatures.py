"""How a relaxation's temperature falls during the adversarial phase; it divides the logits, everywhere.

Inverse temperatures β = 1/τ that rise to a greatest one are RelGAN's (Nie et al. 2019, and its released code).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from rlgan.base.search_priors import Choice, LogUniform
from rlgan.base.settings import Settings

Shape = Literal["linear", "exponential", "logarithmic", "sigmoid", "square_root"]


class FixedTemperature(Settings):
    """A constant temperature."""

    kind: Literal["fixed"] = "fixed"
    value: Annotated[float, LogUniform(0.1, 5.0)] = Field(1.0, gt=0.0)
    """Temperature τ."""


class DecayingTemperature(Settings):
    """τ = max(least, exp(-rate · update)) (Jang et al. 2017)."""

    kind: Literal["decaying"] = "decaying"
    rate: Annotated[float, LogUniform(1e-5, 1e-2)] = Field(1e-4, gt=0.0)
    """Decay of log τ per update."""
    least: Annotated[float, Choice((0.1, 0.5))] = Field(0.5, gt=0.0, le=1.0)
    """Minimum τ."""


class RisingInverse(Settings):
    """τ = 1/β, where β rises from 1 to its maximum at the end of the adversarial phase (RelGAN)."""

    kind: Literal["rising_inverse"] = "rising_inverse"
    greatest: Annotated[float, LogUniform(1.0, 1_000.0)] = Field(100.0, ge=1.0)
    """Maximum β."""
    shape: Annotated[Shape, Choice(("linear", "exponential", "logarithmic", "sigmoid", "square_root"))] = "exponential"
    """Shape of the increase; exponential is greatest^progress."""


TemperatureSettings = Annotated[FixedTemperature | DecayingTemperature | RisingInverse, Field(discriminator="kind")]


def temperature_at(settings: TemperatureSettings, update: int, num_updates: int) -> float:
    """Temperature of a generator update.

    Args:
        settings: which schedule.
        update: counted from 0.
        num_updates: of the whole adversarial phase; read only by `RisingInverse`.

    Returns:
        τ above 0.
    """
    if isinstance(settings, FixedTemperature):
        return settings.value
    if isinstance(settings, DecayingTemperature):
        return max(settings.least, math.exp(-settings.rate * update))
    progress, rise = update / num_updates, settings.greatest - 1.0
    beta = {
        "linear": 1.0 + rise * progress,
        "exponential": settings.greatest**progress,
        "logarithmic": 1.0 + rise * math.log1p(update) / math.log1p(num_updates),
        "sigmoid": 1.0 + rise / (1.0 + math.exp(20.0 * (0.5 - progress))),
        "square_root": 1.0 + rise * math.sqrt(progress),
    }[settings.shape]
    return 1.0 / beta
