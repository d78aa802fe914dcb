"""Passes over data until what is held out is predicted no better."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVar

T = TypeVar("T")


def best_of_passes(
    learn: Callable[[], None], judged: Callable[[], tuple[T, float]], *, epochs: int, patience: int
) -> T:
    """What had the least held-out loss.

    Args:
        learn: passes once over what is learned from.
        judged: what was reached, frozen, and its held-out loss.
        epochs: most passes, at least 1.
        patience: passes without a lower loss after which it stops.

    Raises:
        FloatingPointError: no pass led to a finite loss.
    """
    reached: list[T] = []
    least, num_worse = inf, 0
    for _ in range(epochs):
        learn()
        frozen, loss = judged()
        num_worse = 0 if loss < least else num_worse + 1
        if loss < least:
            reached, least = [frozen], loss
        if num_worse == patience:
            break
    if not reached:
        raise FloatingPointError("the validation loss is not finite. Lower the learning rate.")
    return reached[0]
