"""Populations: which dimensions change while a trial trains, and how they are written for Tune."""

from __future__ import annotations

import math

import pytest

from rlgan.envs.priors import Choice, LogUniform, Uniform
from rlgan.overrides import to_dict
from rlgan.trainable import VARIED, VARIED_LOG10, SequenceGAN, _resolved
from rlgan.tuning import Study
from rlgan.tuning.schedulers import _Within, mutable_axes, tune_keys
from rlgan.tuning.settings import SweepSettings
from tests.support.tiny_sweep import CHANGES, TASK

STUDY = Study(
    "many",
    "a question",
    "quick",
    {
        "optimizers.generator.lr": None,
        "adversary.label_smoothing": None,
        "discriminator.dropout": None,
        "baseline": None,
        "baseline.*": None,
        "schedule.d_steps": Choice((1, 2)),
    },
    CHANGES,
)


def test_numbers_that_all_trials_have_and_that_shape_nothing_may_change() -> None:
    space = STUDY.space(TASK, {})
    # Not the dropout, which is of a network; not the decay of a baseline that some trials have not; not a choice.
    assert [axis.path for axis in mutable_axes(space)] == ["adversary.label_smoothing", "optimizers.generator.lr"]


def test_a_variant_that_is_fixed_brings_its_numbers() -> None:
    study = Study("ema", "a question", "quick", {"baseline.decay": None}, CHANGES | {"baseline": "ema"})
    assert [axis.path for axis in mutable_axes(study.space(TASK, {}))] == ["baseline.decay"]


def test_pb2_is_handed_logarithms_and_the_trial_has_the_number() -> None:
    space, pb2 = STUDY.space(TASK, {}), SweepSettings(scheduler="pb2")
    changes = {"optimizers.generator.lr": 3e-4, "adversary.label_smoothing": 0.1, "baseline": "ema"}
    keys = tune_keys(changes, pb2, space)
    assert keys == {
        VARIED_LOG10 + "optimizers.generator.lr": pytest.approx(math.log10(3e-4)),
        VARIED + "adversary.label_smoothing": 0.1,
        VARIED + "baseline": "ema",
    }
    config = _resolved({**to_dict(space.base), **keys}, SequenceGAN.own_keys)
    assert config.optimizers.generator.lr == pytest.approx(3e-4, rel=1e-12)
    assert config.adversary.label_smoothing == 0.1 and config.baseline.kind == "ema"
    assert set(tune_keys(changes, SweepSettings(scheduler="pbt"), space)) == {VARIED + path for path in changes}


@pytest.mark.parametrize("on_log_scale", [False, True])
def test_a_perturbation_stays_within_its_prior(on_log_scale: bool) -> None:
    axes = mutable_axes(STUDY.space(TASK, {}))
    smoothing, lr = (axis.prior for axis in axes)
    assert isinstance(smoothing, Uniform) and isinstance(lr, LogUniform)
    key = (VARIED_LOG10 if on_log_scale else VARIED) + "optimizers.generator.lr"
    low, high = (math.log10(lr.low), math.log10(lr.high)) if on_log_scale else (lr.low, lr.high)
    within = _Within(axes, on_log_scale)
    other = VARIED + "adversary.label_smoothing"
    assert within({key: high * 1.2 + 9, other: -1.0, "name": "x"}) == {key: high, other: smoothing.low, "name": "x"}
    assert within({key: low - 9, other: 0.1}) == {key: low, other: 0.1}
