"""A trial: from a shared start, a value at every step, and Tune's way of saving, exploiting and stopping it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlgan.base.errors import ConfigError
from rlgan.config.paths import override, to_dict
from rlgan.envs.tasks import build_task
from rlgan.evaluation.evaluator import Evaluator
from rlgan.runs.ray_tune import VARIED
from rlgan.storage.export import load_run_generator
from rlgan.tuning.search.starts import likelihood_alone
from rlgan.tuning.search.trial import CHANGES, FINAL, MEASURED, OBJECTIVE, RESUME, STARTS, UPDATE, Trial
from tests.support.errors import refused
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
    with refused(ConfigError, "setting_not_known"):
        Trial({**to_dict(CONFIG), STARTS: str(tmp_path), "start": 3})


@pytest.mark.heavy
def test_a_schedule_of_points_is_what_an_exploited_trial_did(tmp_path: Path) -> None:
    lr = "optimizers.generator.lr"
    donor = trial(tmp_path, **{lr: 0.01})
    donor.train()
    donor.save(str(tmp_path / "checkpoint"))
    exploiting = trial(tmp_path, **{lr: 0.02})
    exploiting.restore(str(tmp_path / "checkpoint"))
    while not exploiting.train()["done"]:
        pass

    def scheduled(**more: Any) -> Trial:
        return Trial({**to_dict(CONFIG), STARTS: str(tmp_path), VARIED + lr: 0.01, CHANGES: [[2, {lr: 0.02}]], **more})

    alone = scheduled()
    while not alone.train()["done"]:
        pass
    assert alone.trainer.config.optimizers.generator.lr == 0.02
    # And one that was interrupted after the change has not forgotten it.
    begun = scheduled()
    for _ in range(2):
        begun.train()
    begun.save(str(tmp_path / "later"))
    resumed = scheduled(**{RESUME: [str(tmp_path / "later")]})
    resumed.train()
    for name, array in weights_of(exploiting).items():
        assert np.array_equal(array, weights_of(alone)[name])
        assert np.array_equal(array, weights_of(resumed)[name])
    for each in (donor, exploiting, alone, begun, resumed):
        each.stop()


def test_a_run_of_the_final_race_is_measured_on_both_splits_at_all_temperatures(tmp_path: Path) -> None:
    config = override(CONFIG, {"evaluation.temperatures": [0.8], "evaluation.final_sequences": 40})
    one = Trial({**to_dict(config), STARTS: str(tmp_path / "starts"), FINAL: True})
    results = [one.train() for _ in range(3)]
    assert [MEASURED in result for result in results] == [False, False, True]
    measured = results[-1][MEASURED]
    assert [each["temperature"] for each in measured] == [1.0, 0.8]
    task, generator = build_task(config.task), one.trainer.current_generator()
    for each in measured:
        for split, tokens in (("validation", task.valid), ("test", task.test)):
            nll = Evaluator(task, config.evaluation, config.seed).held_out_nll(generator, tokens, each["temperature"])
            assert each[split]["nll_gen"] == pytest.approx(nll, abs=1e-6)
    # What is reported shares neither data nor samples with what was chosen by.
    for name in ("nll_gen", "nll_div", "nll_oracle", "kl_reverse"):
        assert measured[0]["validation"][name] != measured[0]["test"][name], name
    one.save(str(tmp_path / "checkpoint"))
    exported = load_run_generator(tmp_path / "checkpoint").generator.state_dict()
    for name, array in weights_of(one).items():
        assert np.array_equal(exported[name].numpy(), array)
    one.stop()


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    one = trial(tmp_path)
    one.train()
    one.save(str(tmp_path / "whole"))
    one.train()
    one.save(str(tmp_path / "torn"))
    for path in (tmp_path / "torn").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def resumed(*folders: str) -> Trial:
        return (
            trial(tmp_path, **{})
            if not folders
            else Trial({**to_dict(CONFIG), STARTS: str(tmp_path), RESUME: [str(tmp_path / name) for name in folders]})
        )

    assert resumed("torn", "whole").trainer.position.adversarial_updates == 2
    assert resumed("torn").trainer.position.adversarial_updates == 0  # from the start again
    assert resumed("missing", "whole").trainer.position.adversarial_updates == 2


def test_likelihood_alone_is_its_start_as_it_is(tmp_path: Path) -> None:
    one = Trial({**to_dict(likelihood_alone(CONFIG)), STARTS: str(tmp_path), FINAL: True})
    result = one.train()
    assert result["done"] and result[UPDATE] == 0 and len(result[MEASURED]) > 1
    start = trial(tmp_path)
    for name, array in weights_of(one).items():
        assert np.array_equal(array, weights_of(start)[name])
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    for each in (one, start):
        each.stop()


def test_a_process_may_become_another_trial(tmp_path: Path) -> None:
    reused, fresh = trial(tmp_path), trial(tmp_path, reward="logit")
    reused.train()
    assert reused.reset({**to_dict(CONFIG), STARTS: str(tmp_path), VARIED + "reward": "logit"})
    assert reused.train()[OBJECTIVE] == fresh.train()[OBJECTIVE]
    for each in (reused, fresh):
        each.stop()


def test_a_trial_may_select_its_generator_but_not_end_itself(tmp_path: Path) -> None:
    config = override(CONFIG, {"optimizers.generator.lr": 0.3, "schedule.selection": "best"})
    config = override(config, {"schedule.selection.measure": "kl_sum", "schedule.selection.every": 2})
    one = Trial({**to_dict(config), STARTS: str(tmp_path / "starts")})
    start = weights_of(one)
    results = [one.train() for _ in range(3)]
    assert [(result[UPDATE], result["done"]) for result in results] == [(2, False), (4, False), (6, True)]
    # The last value is that of what was selected, the one before is of the generator as it stood.
    chosen = one.trainer.measure().metrics
    assert results[-1][OBJECTIVE] == chosen["eval/kl_forward"] + chosen["eval/kl_reverse"]
    assert results[-1]["selection/iteration"] == 0.0
    assert all(np.array_equal(array, weights_of(one)[name]) for name, array in start.items())
    # Saved in the middle, it goes on to the same end.
    two = Trial({**to_dict(config), STARTS: str(tmp_path / "starts")})
    two.train()
    two.save(str(tmp_path / "checkpoint"))
    three = Trial({**to_dict(config), STARTS: str(tmp_path / "starts"), RESUME: [str(tmp_path / "checkpoint")]})
    three.train()
    assert three.train()[OBJECTIVE] == results[-1][OBJECTIVE]
    for each in (one, two, three):
        each.stop()
    with refused(ConfigError, "selection_patience_in_sweep", {"schedule.selection.patience": 2}):
        Trial({**to_dict(override(config, {"schedule.selection.patience": 2})), STARTS: str(tmp_path / "starts")})
