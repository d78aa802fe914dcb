"""Curves over temperature: who is ahead of whom, on points small enough to see."""

from __future__ import annotations

import math

import pytest

from rlgan.metrics import Lead, greatest_lead

# Cooling buys the first measure for the second; at 0.7 it loses both.
START = {1.0: (3.0, 4.0), 0.9: (2.5, 4.25), 0.8: (2.0, 5.0), 0.7: (2.25, 6.0)}


def test_a_point_below_and_left_of_one_of_the_curve_is_ahead() -> None:
    found = greatest_lead({1.0: (2.75, 3.5), 0.9: (1.75, 4.75)}, START)
    # τ = 1 leads τ' = 1 by (1/4, 1/2), τ = 0.9 leads τ' = 0.8 by (1/4, 1/4): the smaller gains are alike.
    assert found == Lead(1.0, 1.0, (0.25, 0.5))
    assert greatest_lead(START, {1.0: (2.75, 3.5)}) is None
    assert greatest_lead({0.9: (1.5, 4.5)}, START) == Lead(0.9, 0.8, (0.5, 0.5))


def test_a_point_along_the_curve_leads_nowhere() -> None:
    # Between 1 and 0.9 and below the straight line there, as any other temperature of the start itself would be.
    assert greatest_lead({1.0: (2.7, 4.1)}, START) is None
    assert greatest_lead(START, START) is None
    # Better in one and equal in the other is no lead in both.
    assert greatest_lead({1.0: (2.5, 4.0)}, {1.0: (3.0, 4.0)}) is None


def test_what_nobody_would_choose_is_not_beaten() -> None:
    # Ahead of τ' = 0.7 alone, which τ' = 0.8 is ahead of.
    assert greatest_lead({1.0: (2.1, 5.5)}, START) is None
    assert greatest_lead(START, {1.0: (2.1, 5.5)}) == Lead(0.8, 1.0, (pytest.approx(0.1), 0.5))


def test_curves_may_cross() -> None:
    run = {1.0: (3.5, 4.5), 0.9: (1.5, 4.75)}
    assert greatest_lead(run, START) == Lead(0.9, 0.8, (0.5, 0.25))
    assert greatest_lead(START, {1.0: run[1.0]}) == Lead(1.0, 1.0, (0.5, 0.5))


def test_what_was_not_measured_leads_nowhere() -> None:
    assert greatest_lead({}, START) is None
    assert greatest_lead({1.0: (math.nan, 0.0)}, START) is None
    assert greatest_lead({1.0: (0.0, 0.0)}, {1.0: (math.nan, 1.0)}) is None
