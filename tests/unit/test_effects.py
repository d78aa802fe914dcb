"""What a run does not read: changed, it changes no number; set by a user, it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config
from rlgan.config.paths import override, to_dict
from rlgan.envs.tasks import build_task
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.presets.effects import require_effect, unread
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny import finish, numbers, of_pairs, tiny_config

NO_ADVERSARY: dict[str, Any] = {"discriminator_rounds": 0, "d_steps": 0}
RUNS = {
    "likelihood alone": tiny_config(NO_ADVERSARY | {"adversarial_updates": 0}, discriminator=None),
    "pretraining alone": tiny_config({"adversarial_updates": 0}),
    "no discriminator": tiny_config(NO_ADVERSARY, discriminator=None, reward=ConstantReward(), credit=Terminal()),
    "from scratch": tiny_config({"mle_epochs": 0}),
    "pairs without texts": of_pairs({"adversarial_updates": 0}),
}
# Another value of each path that any of them does not read, legal beside the rest.
OTHERS: dict[str, Any] = {
    "adversary": {"adversary.batch": 12, "adversary.loss": "hinge", "adversary.weight_clip": 0.1},
    "optimizers.discriminator": {"optimizers.discriminator": "rmsprop", "optimizers.discriminator.lr": 0.3},
    "schedule.d_epochs": {"schedule.d_epochs": 2},
    "schedule.d_fakes": {"schedule.d_fakes": "rollouts"},
    "reward": {"reward": "signed_probability"},
    "credit": {"credit": "terminal"},
    "baseline": {"baseline": "ema"},
    "normalisation": {"normalisation": "whiten"},
    "reference": {"reference": "reward"},
    "objective": {"objective": "ppo", "objective.epochs": 2},
    "sampling": {"sampling": "environment"},
    "optimizers.generator": {"optimizers.generator": "sgd", "optimizers.generator.lr": 0.5},
    "optimizers.mle": {"optimizers.mle": "sgd", "optimizers.mle.lr": 0.5},
    "schedule.g_steps": {"schedule.g_steps": 2},
    "schedule.g_batch": {"schedule.g_batch": 6},
    "schedule.g_group": {"schedule.g_group": 3, "baseline": "leave_one_out"},
    "schedule.rollout_temperature": {"schedule.rollout_temperature": 0.7},
    "schedule.behaviour": {"schedule.behaviour": "cold_mixture"},
    "schedule.d_steps": {"schedule.d_steps": 2},
    "schedule.g_rate_end": {"schedule.g_rate_end": 0.1},
    "schedule.d_rate_end": {"schedule.d_rate_end": 0.1},
    "schedule.d_first": {"schedule.d_first": True},
    "schedule.mle_patience": {"schedule.mle_patience": 1},
    "schedule.mle_batch": {"schedule.mle_batch": 5},
    "evaluation.every": {"evaluation.every": 2},
    "evaluation.mle_every": {"evaluation.mle_every": 2},
    "evaluation.collapse_share": {"evaluation.collapse_share": 0.9},
    "evaluation.equal_trainings": {"evaluation.equal_trainings": 7},
    "evaluation.num_bleu": {"evaluation.num_bleu": 3},
    "evaluation.num_nearest": {"evaluation.num_nearest": 3},
    "evaluation.num_rewarded": {"evaluation.num_rewarded": 3},
    "evaluation.length_matched": {"evaluation.length_matched": True},
    "evaluation.bleu_tokens": {"evaluation.bleu_tokens": "char"},
    "evaluation.beam": {"evaluation.beam": 3},
    "evaluation.length_exponent": {"evaluation.length_exponent": 0.5},
}


def outcome(config: Config) -> tuple[list[dict[str, float]], dict[str, float]]:
    """All numbers of a run, and what is measured of its end."""
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        return [numbers(unit) for unit in finish(trainer)], trainer.measure(20).metrics


@pytest.mark.parametrize("name", RUNS)
def test_what_is_not_read_changes_no_number(name: str) -> None:
    config = RUNS[name]
    idle = [path for path, _ in unread(config)]
    assert idle
    changes = {path: value for one in idle for path, value in OTHERS[one].items()}
    if config.schedule.adversarial_updates:
        changes.pop("evaluation.every", None)
    changed = override(config, changes)
    assert changed != config
    assert outcome(changed) == outcome(config)


def test_all_that_is_ever_not_read_is_tried() -> None:
    assert {path for config in RUNS.values() for path, _ in unread(config)} == OTHERS.keys()


@pytest.mark.parametrize(
    ("name", "changes", "described"),
    [
        ("mle", {"baseline": "ema"}, "setting_has_no_effect"),
        ("mle", {"objective.loss_normaliser": "token"}, "setting_has_no_effect"),
        ("mle", {"adversary.weight_clip": 0.1}, "setting_has_no_effect"),
        ("mle", {"optimizers.discriminator.lr": 0.5}, "setting_has_no_effect"),
        ("mle", {"schedule.g_batch": 3}, "setting_has_no_effect"),
        ("bgan", {"optimizers.mle.lr": 0.5}, "setting_has_no_effect"),
        ("seqgan", {"evaluation.num_bleu": 5}, "setting_has_no_effect: task='oracle'"),
        ("seqgan", {"evaluation.beam": 5}, "setting_has_no_effect: task='oracle'"),
    ],
)
def test_what_a_user_sets_in_vain_is_refused(name: str, changes: Mapping[str, Any], described: str) -> None:
    base = preset(name)
    with refused(ConfigError, described):
        require_effect(to_dict(base), override(base, changes), changes)


def is_refused(base: Config, changes: Mapping[str, Any]) -> bool:
    try:
        require_effect(to_dict(base), override(base, changes), changes)
    except ConfigError:
        return True
    return False


def test_what_was_so_before_may_be_said_again() -> None:
    base = preset("mle")
    assert not is_refused(base, {"schedule.d_epochs": base.schedule.d_epochs})
    assert is_refused(base, {"schedule.d_epochs": base.schedule.d_epochs + 1})
    assert not is_refused(base, {"schedule.mle_epochs": 3, "generator.hidden": 16})


def test_the_command_line_refuses_and_files_may_hold_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = ask(capsys, "train", "mle", "--baseline", "ema", "--dry-run")
    assert (
        described.status == 2
        and "baseline: would have no effect, because schedule.adversarial_updates is 0" in described.err
    )
    shown = ask(capsys, "show-config", "csgan_nmt", "--json")
    assert shown.status == 0
    (tmp_path / "whole.json").write_text(shown.out)
    again = ask(
        capsys, "show-config", "csgan_nmt", "--config", tmp_path / "whole.json", "--schedule.mle-epochs", "3", "--json"
    )
    assert again.status == 0 and again.out != shown.out
    # What a file asks for need not be able to stand by itself.
    (tmp_path / "part.json").write_text('{"credit": {"kind": "lambda_return"}}')
    part = ("show-config", "seqgan", "--config", tmp_path / "part.json")
    assert ask(capsys, *part).status == 2 and ask(capsys, *part, "--baseline", "critic").status == 0
