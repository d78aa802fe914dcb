"""What reward functions of the user's own return for a set of sequences, as rows of the final table have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from .quantity import Quantity

REWARD = "reward"
"""Name of the weighted sum of several functions, and beginning of the name of each."""
LOGGED = "logged_"
"""Begins the names of what functions log besides."""
UNSCORED = "reward_unscored_share"

QUANTITIES = (
    Quantity(UNSCORED, "sequences for which no reward function has a reward", "share", "lower"),
    Quantity(REWARD, "your reward functions, weighted and added up", "reward units", "higher", is_key=True),
    Quantity(f"{REWARD}_*", "mean of your reward function", "reward units", "higher", is_key=True),
    Quantity(f"{LOGGED}*", "mean of what a reward function logged", "its own"),
)
"""Facts of the figures of this module."""


def is_of_reward(name: str) -> bool:
    """Whether a figure of the final table is the mean of a reward function, or of their sum."""
    return name != UNSCORED and (name == REWARD or name.startswith(f"{REWARD}_"))


def reward_means(
    names: Sequence[str], each: Tensor, total: Tensor, logged: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Means of rewards over the sequences that have them.

    Args:
        names: of F functions.
        each: (n, F) float32, what each function returned; NaN where it had no reward.
        total: (n,) float32, their weighted sum; NaN where none had a reward.
        logged: name → mean of what else they logged.

    Returns:
        `reward_NAME` of each function that had a reward for some sequence; `reward`, their sum, where they are several;
        `reward_unscored_share` where some sequence has no reward; `logged_NAME`.
    """
    figures: dict[str, float] = {}
    columns = [(f"{REWARD}_{name}", column) for name, column in zip(names, each.double().unbind(1), strict=True)]
    for name, column in [*([(REWARD, total.double())] if len(columns) > 1 else []), *columns]:
        there = column[~column.isnan()]
        if len(there):
            figures[name] = float(there.mean())
    if bool(total.isnan().any()):
        figures[UNSCORED] = float(total.isnan().double().mean())
    return figures | {f"{LOGGED}{name}": value for name, value in (logged or {}).items()}
