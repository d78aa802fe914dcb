"""Of many cases alike, those that `make test` has; the others are marked `slow`, and `make test-all` has them all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest


def usually(usual: Collection[Any], values: Sequence[Any]) -> list[Any]:
    """Parameters of a test: those that are not among the usual ones are slow. A usual one that is not there raises."""
    missing = [value for value in usual if value not in values]
    assert not missing, f"{missing} are none of {list(values)}"
    return [value if value in usual else pytest.param(value, marks=pytest.mark.slow) for value in values]
