"""Discriminator health: polarity, ties, and the rank formula against all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.metrics import accuracy_fake, accuracy_real, auc, discriminator_health, mean_prob
from tests.support import reference_metrics as twin
from tests.support.errors import refused

# Few values, so that ties are common.
logits = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]), min_size=1, max_size=8)


def test_positive_means_real() -> None:
    assert accuracy_real(torch.tensor([2.0, 0.1, -0.3, 5.0])) == 0.75
    assert accuracy_fake(torch.tensor([2.0, 0.1, -0.3, 5.0])) == 0.25


def test_a_constant_discriminator_is_at_chance_on_both_sides() -> None:
    zeros = torch.zeros(4)
    health = discriminator_health(zeros, zeros)
    assert (health.accuracy_real, health.accuracy_fake, health.accuracy, health.auc) == (0.5, 0.5, 0.5, 0.5)


def test_mean_prob_is_the_mean_of_sigmoids() -> None:
    # sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2, mean 0.625; the sigmoid of the mean logit would be 0.634.
    assert mean_prob(torch.tensor([math.log(3), 0.0])) == pytest.approx(0.625)
    assert mean_prob(torch.tensor([-math.log(3)])) == pytest.approx(0.25)


def test_auc_counts_ties_as_one_half() -> None:
    # Pairs: 2>1, 2>-1, 1=1, 1>-1, 0<1, 0>-1: 4.5 of 6.
    assert auc(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, -1.0])) == 0.75


def test_auc_sees_ranking_where_accuracy_sees_only_the_threshold() -> None:
    real, fake = torch.tensor([11.0, 12.0]), torch.tensor([9.0, 10.0])
    assert discriminator_health(real, fake).accuracy == 0.5
    assert auc(real, fake) == 1.0
    assert auc(fake, real) == 0.0


@pytest.mark.property
@settings(deadline=None)
@given(logits, logits, st.data())
def test_auc_equals_all_pairs_in_any_order(real: list[float], fake: list[float], data: st.DataObject) -> None:
    permuted_real, permuted_fake = data.draw(st.permutations(real)), data.draw(st.permutations(fake))
    assert auc(torch.tensor(permuted_real), torch.tensor(permuted_fake)) == pytest.approx(twin.auc(real, fake))


def test_health_puts_each_figure_in_its_place() -> None:
    real, fake = torch.tensor([2.0, 1.0, -1.0]), torch.tensor([-3.0, 0.5])
    health = discriminator_health(real, fake)
    assert health.accuracy_real == pytest.approx(2 / 3)
    assert health.accuracy_fake == 0.5
    # Both classes weigh the same although there are more real sequences: 3 of 5 are right, and 7/12 is not 3/5.
    assert health.accuracy == pytest.approx(7 / 12)
    assert health.mean_prob_real == pytest.approx(real.sigmoid().mean().item())
    assert health.mean_prob_fake == pytest.approx(fake.sigmoid().mean().item())
    assert health.auc == pytest.approx(5 / 6)


def test_low_precision_logits_are_averaged_in_double() -> None:
    # A bfloat16 mean of 1,000 shares could not tell 501/1000 from 0.5.
    half = torch.ones(1000, dtype=torch.bfloat16)
    half[501:] = -1
    assert accuracy_real(half) == pytest.approx(0.501)
    assert auc(half, -half) == pytest.approx(0.501)


def test_nan_is_not_mistaken_for_a_verdict() -> None:
    broken, sound = torch.tensor([math.nan, 1.0]), torch.tensor([1.0, 2.0])
    assert math.isnan(accuracy_real(broken))
    assert math.isnan(accuracy_fake(broken))
    assert math.isnan(mean_prob(broken))
    assert math.isnan(auc(broken, sound))
    assert math.isnan(auc(sound, broken))


def test_mistakes_are_named() -> None:
    sound = torch.ones(2)
    for bad in (torch.ones(2, 3), torch.ones(0)):
        with refused(ShapeError, "health_logits_shape"):
            accuracy_real(bad)
        with refused(ShapeError, "health_logits_shape"):
            accuracy_fake(bad)
        with refused(ShapeError, "health_logits_shape"):
            mean_prob(bad)
        with refused(ShapeError, "health_logits_shape"):
            auc(bad, sound)
        with refused(ShapeError, "health_logits_shape"):
            auc(sound, bad)
