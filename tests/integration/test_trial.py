"""A trial: from a shared start, a value at every step, and Tune's way of saving, exploiting and stopping it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlgan.envs.errors import ConfigError
from rlgan.overrides import override, to_dict
from rlgan.trainable import VARIED
from rlgan.tuning.trial import OBJECTIVE, STARTS, Trial
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.integration

CONFIG = override(tiny_config({"adversarial_updates": 6}), {"evaluation.every": 2, "workers.threads": 1})


def trial(starts: Path, **varied: Any) -> Trial:
    return Trial({**to_dict(CONFIG), STARTS: str(starts), **{VARIED + path: value for path, value in varied.items()}})


def weights_of(one: Trial) -> dict[str, np.ndarray]:
    return one.trainer.current_weights()


def test_a_step_goes_to_the_next_measurement(tmp_path: Path) -> None:
    one = trial(tmp_path)
    results = [one.train() for _ in range(3)]
    assert [(result["phase_step"], result["done"]) for result in results] == [(2, False), (4, False), (6, True)]
    for result in results:
        assert result[OBJECTIVE] == result["eval/kl_forward"] + result["eval/kl_reverse"]
    one.stop()


def test_trials_with_one_generator_share_one_start(tmp_path: Path) -> None:
    one, two = trial(tmp_path), trial(tmp_path, reward="logit")
    for name, array in weights_of(one).items():
        assert np.array_equal(array, weights_of(two)[name])
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    three = trial(tmp_path, **{"generator.hidden": 9})
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    for each in (one, two, three):
        each.stop()


def test_a_trial_from_scratch_starts_at_random_weights(tmp_path: Path) -> None:
    one = trial(tmp_path, **{"schedule.mle_epochs": 0})
    assert one.trainer.next_phase == "discriminator"
    assert OBJECTIVE in one.train()
    one.stop()


def test_an_exploited_trial_has_its_donors_weights_and_its_own_learning_rate(tmp_path: Path) -> None:
    donor = trial(tmp_path)
    donor.train()
    donor.save(str(tmp_path / "checkpoint"))
    exploiting = trial(tmp_path, **{"optimizers.generator.lr": 0.02})
    exploiting.restore(str(tmp_path / "checkpoint"))
    for name, array in weights_of(donor).items():
        assert np.array_equal(array, weights_of(exploiting)[name])
    ours, theirs = exploiting.train(), donor.train()
    assert ours["phase_step"] == theirs["phase_step"] == 4
    assert any(not np.array_equal(array, weights_of(exploiting)[name]) for name, array in weights_of(donor).items())
    for each in (donor, exploiting):
        each.stop()


def test_a_key_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start=.*no such setting"):
        Trial({**to_dict(CONFIG), STARTS: str(tmp_path), "start": 3})
