"""A recipe of the generator's side that is plain but for what a test names."""

from __future__ import annotations

from typing import Any

from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import NoBaseline
from rlgan.policy.credit import Terminal
from rlgan.policy.experience import Recipe
from rlgan.policy.kl_penalty import NoReference
from rlgan.policy.logit_maps import Probability
from rlgan.policy.objectives import Reinforce


def recipe(**axes: Any) -> Recipe:
    plain = {
        "reward": Probability(),
        "credit": Terminal(),
        "reference": NoReference(),
        "baseline": NoBaseline(),
        "normalisation": NoScaling(),
        "objective": Reinforce(loss_normaliser="sum"),
        "group": None,
    }
    return Recipe(**plain | {name: setting for name, setting in axes.items() if setting is not None})
