"""A recipe of the generator's side that is plain but for what a test names."""

from __future__ import annotations

from typing import Any

from rlgan.baselines import NoBaseline
from rlgan.credit import Terminal
from rlgan.experience import Recipe
from rlgan.normalisation import AsTheyAre
from rlgan.objectives import Reinforce
from rlgan.reference import NoReference
from rlgan.rewards import Probability


def recipe(**axes: Any) -> Recipe:
    plain = {
        "reward": Probability(),
        "credit": Terminal(),
        "reference": NoReference(),
        "baseline": NoBaseline(),
        "normalisation": AsTheyAre(),
        "objective": Reinforce(loss_normaliser="sum"),
        "group": None,
    }
    return Recipe(**plain | {name: setting for name, setting in axes.items() if setting is not None})
