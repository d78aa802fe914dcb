"""Temperatures of a relaxation by hand, at their ends, and that they fall."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from rlgan.layers.relaxation_temperatures import (
    DecayingTemperature,
    FixedTemperature,
    RisingInverse,
    Shape,
    temperature_at,
)


def test_fixed_and_decaying() -> None:
    assert temperature_at(FixedTemperature(value=0.3), 7, 10) == 0.3
    decaying = DecayingTemperature(rate=0.01, least=0.5)
    assert temperature_at(decaying, 0, 10) == 1.0
    assert temperature_at(decaying, 30, 10) == pytest.approx(math.exp(-0.3))
    assert temperature_at(decaying, 1_000, 10) == 0.5


@pytest.mark.parametrize("shape", get_args(Shape))
def test_an_inverse_rises_from_one_to_its_greatest(shape: Shape) -> None:
    settings = RisingInverse(greatest=100.0, shape=shape)
    betas = [1 / temperature_at(settings, update, 50) for update in range(51)]
    assert betas == sorted(betas)
    # RelGAN: β₀ = 1 and β_I = β_max; the sigmoid comes within e^-10 of both ends.
    assert betas[0] == pytest.approx(1.0, abs=0.01) and betas[-1] == pytest.approx(100.0, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "beta"),
    [
        ("linear", 1 + 99 / 4),
        ("exponential", 100**0.25),
        ("logarithmic", 1 + 99 * math.log(26) / math.log(101)),
        ("sigmoid", 1 + 99 / (1 + math.exp(5))),
        ("square_root", 1 + 99 / 2),
    ],
)
def test_shapes_a_quarter_of_the_way(shape: Shape, beta: float) -> None:
    assert temperature_at(RisingInverse(greatest=100.0, shape=shape), 25, 100) == pytest.approx(1 / beta)
