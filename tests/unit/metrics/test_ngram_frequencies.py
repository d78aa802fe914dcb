"""JS of n-gram frequencies: numbers worked by hand, the slow twin, range and symmetry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.metrics import NgramFrequencies
from tests.support import reference_metrics as twin
from tests.support.errors import refused

sets = st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), min_size=1, max_size=5)


def letters(*texts: str) -> list[tuple[int, ...]]:
    return [tuple(map(ord, text)) for text in texts]


def js(one: list[tuple[int, ...]], other: list[tuple[int, ...]], max_order: int = 4) -> dict[int, float]:
    return NgramFrequencies(one, max_order).js(NgramFrequencies(other, max_order))


def test_golden_numbers() -> None:
    # Specification 17.6.
    found = js(letters("aab"), letters("abb"))
    # Letters: (2/3, 1/3) against (1/3, 2/3), half of each is 1/2: 2/3 log₂ 4/3 + 1/3 log₂ 2/3.
    assert found[1] == pytest.approx(0.081704, abs=1e-6)
    assert found[1] == pytest.approx(2 / 3 * math.log2(4 / 3) + 1 / 3 * math.log2(2 / 3))
    # Pairs aa, ab against ab, bb: half of each is shared.
    assert found[2] == pytest.approx(0.5)
    # aab against abb: nothing is shared. Of length 4 neither has any.
    assert (found[3], found[4]) == (1.0, 0.0)


def test_frequencies_are_of_the_whole_set_not_of_each_sequence() -> None:
    # a 3 of 4 against a 1 of 2, whatever the sequences are cut into.
    assert js(letters("aaa", "b"), letters("ab"), 1) == js(letters("aaab"), letters("a", "b"), 1)
    # Ten times as much of the same is the same.
    assert js(letters("abc") * 10, letters("abc"))[2] == pytest.approx(0.0, abs=1e-12)


def test_one_set_too_short_shares_nothing() -> None:
    assert js(letters("a", ""), letters("ab"))[2] == 1.0
    assert js([()], [()])[1] == 0.0


@pytest.mark.property
@settings(deadline=None)
@given(sets, sets)
def test_it_is_its_twin_symmetric_and_within_a_bit(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> None:
    found = js(one, other, 3)
    for order in (1, 2, 3):
        assert found[order] == pytest.approx(twin.js_bits(one, other, order), abs=1e-12)
        assert -1e-12 <= found[order] <= 1.0 + 1e-12
    assert js(other, one, 3) == pytest.approx(found, abs=1e-12)


def test_mistakes_are_named() -> None:
    with refused(ShapeError, "too_few_sequences"):
        NgramFrequencies([])
    with refused(ShapeError, "sequences_are_tensors"):
        NgramFrequencies(torch.tensor([[1, 2]]))  # type: ignore[arg-type]
    with refused(ShapeError, "frequencies_order", {"max_order": 0}):
        NgramFrequencies([(1,)], 0)
    with refused(ShapeError, "frequencies_orders_differ", {"max_order": 2}):
        NgramFrequencies([(1,)], 2).js(NgramFrequencies([(1,)], 3))
