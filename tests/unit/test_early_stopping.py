"""Which pass is kept, and after which one it ends."""

from __future__ import annotations

from math import inf, nan

import pytest

from rlgan.layers.early_stopping import best_of_passes


def kept(losses: list[float], epochs: int, patience: int) -> tuple[int, int]:
    """(the pass that is kept, passes made), of held-out losses by pass."""
    made: list[float] = []

    def learn() -> None:
        made.append(losses[len(made)])

    best = best_of_passes(learn, lambda: (len(made), made[-1]), epochs=epochs, patience=patience)
    return best, len(made)


@pytest.mark.parametrize(
    ("losses", "epochs", "patience", "expected"),
    [
        pytest.param([3, 2, 2.5, 2.6, 1], 5, 2, (2, 4), id="two worse end it"),
        pytest.param([3, 2, 2.5, 1, 2, 2], 6, 2, (4, 6), id="a better one counts anew"),
        pytest.param([3, 3, 3, 3], 4, 2, (1, 3), id="as good is no better"),
        pytest.param([3, 2, 1], 3, 2, (3, 3), id="better to the end"),
        pytest.param([3, 2, 1], 2, 2, (2, 2), id="no more passes"),
        pytest.param([nan, 2, nan, nan], 4, 2, (2, 4), id="not a number is no better"),
    ],
)
def test_the_best_pass_is_kept(losses: list[float], epochs: int, patience: int, expected: tuple[int, int]) -> None:
    assert kept(losses, epochs, patience) == expected


@pytest.mark.parametrize("loss", [nan, inf])
def test_nothing_finite_is_refused(loss: float) -> None:
    with pytest.raises(FloatingPointError, match="not finite. Lower the learning rate"):
        kept([loss] * 3, 3, 3)
