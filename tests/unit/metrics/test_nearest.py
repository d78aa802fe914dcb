"""Nearest training sequences: numbers worked by hand, the slow twin, and a test that tells copies from new ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.metrics import JaccardNeighbours, cosine_distances, nearness_test
from tests.support import reference_metrics as twin
from tests.support.errors import refused

sequences = st.lists(st.integers(0, 2), max_size=7).map(tuple)


def letters(*texts: str) -> list[tuple[int, ...]]:
    return [tuple(map(ord, text)) for text in texts]


def test_jaccard_distances_by_hand() -> None:
    neighbours = JaccardNeighbours(letters("abcde", "xyz"))
    # abc, bcd, cde | abc, bcd, bcx: 2 shared of 4.  xyz is there.  abq: none.  bcd: 1 of 3.
    found = neighbours.distances(letters("abcd" + "x", "xyz", "abq", "bcd"))
    assert found.tolist() == pytest.approx([1 - 2 / 4, 0.0, 1.0, 1 - 1 / 3])


def test_of_several_the_nearest_counts_and_not_the_one_with_most_in_common() -> None:
    # With "abcdefgh" 3 of 6 are shared, with "abcd" 2 of 3.
    assert JaccardNeighbours(letters("abcdefgh", "abcd")).distances(letters("abcde")).tolist() == pytest.approx([1 / 3])


def test_a_short_copy_is_a_copy() -> None:
    neighbours = JaccardNeighbours(letters("ab", "", "abc"))
    assert neighbours.distances(letters("ab", "", "ba", "abc")).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert JaccardNeighbours(letters("abc")).distances(letters("", "ab")).tolist() == [1.0, 1.0]


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(sequences, min_size=1, max_size=6), st.lists(sequences, max_size=4), st.integers(1, 3))
def test_jaccard_is_its_twin(training: list[tuple[int, ...]], asked: list[tuple[int, ...]], order: int) -> None:
    found = JaccardNeighbours(training, order).distances(asked)
    assert found.tolist() == pytest.approx([twin.nearest_jaccard(one, training, order) for one in asked])


def test_cosine_distances_are_to_the_nearest_whatever_is_compared_at_once() -> None:
    training = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    asked = np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]], np.float32)
    for chunk in (1, 2, 100):
        # 1 − 0.8; itself; at a right angle to two; nowhere.
        found = cosine_distances(asked, training, chunk)
        assert found.tolist() == pytest.approx([0.2, 0.0, 1.0, 1.0], abs=1e-6)


def test_the_statistic_has_a_direction() -> None:
    near, far = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.35, 0.5, 0.6, 0.7])
    # At 0.3 three of four of the near ones are passed, and none of the far ones.
    assert nearness_test(near, far).statistic == pytest.approx(0.75)
    assert nearness_test(far, near).statistic == pytest.approx(-0.75)
    assert nearness_test(near, far).p_value == nearness_test(far, near).p_value
    # 4 of each, all apart: of 70 orders two have a gap of 1.
    assert nearness_test(near, far + 1.0).p_value == pytest.approx(2 / 70)
    same = nearness_test(near, near)
    assert (same.statistic, same.p_value) == (0.0, 1.0)


@pytest.mark.filterwarnings("error")
def test_hardly_any_gap_is_chance_and_no_warning() -> None:
    for number in range(2, 60):
        one, other = np.arange(number) * 2.0, np.arange(number) * 2.0 + 1.0  # at most one apart
        assert nearness_test(one, other).p_value > 0.999, number


def test_who_learned_by_heart_is_found_and_who_learned_the_distribution_is_not() -> None:
    rng = np.random.default_rng(0)

    def drawn(number: int) -> list[tuple[int, ...]]:
        return [tuple(row) for row in rng.integers(0, 4, size=(number, 8)).tolist()]

    training, held_out, new = drawn(2_000), drawn(200), drawn(200)
    half_by_heart = [*training[:100], *drawn(100)]
    neighbours = JaccardNeighbours(training)
    expected = neighbours.distances(held_out)
    by_heart = nearness_test(neighbours.distances(half_by_heart), expected)
    assert by_heart.statistic > 0.3 and by_heart.p_value < 1e-6
    assert nearness_test(neighbours.distances(new), expected).p_value > 0.05
    noise = [tuple(row) for row in rng.integers(0, 40, size=(200, 8)).tolist()]
    assert nearness_test(neighbours.distances(noise), expected).statistic < -0.9


def test_mistakes_are_named() -> None:
    with refused(ShapeError, "too_few_sequences"):
        JaccardNeighbours([])
    with refused(ShapeError, "nearest_order", {"order": 0}):
        JaccardNeighbours([(1,)], 0)
    for shapes in (((2, 3), (2, 2)), ((2, 3), (0, 3)), ((3,), (2, 3))):
        with refused(ShapeError, "nearest_shapes"):
            cosine_distances(np.zeros(shapes[0]), np.zeros(shapes[1]))
    with refused(ShapeError, "nearest_distances"):
        nearness_test(np.zeros(0), np.zeros(3))
