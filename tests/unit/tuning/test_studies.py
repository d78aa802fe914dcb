"""The ready studies, and studies of one's own: what they vary, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, LogUniform
from rlgan.envs.tasks import OracleTask
from rlgan.tuning import STUDIES, load_study
from tests.support.errors import refused

TASK = OracleTask(vocab_size=20, num_train=100, num_valid=50, num_test=50)

MINE = """
description = "does a longer memory of fakes help?"
preset = "quick"
[changes]
"schedule.adversarial_updates" = 7
[axes]
"adversary.buffer" = "all"
"schedule.d_steps" = [1, 4]
"optimizers.discriminator.lr" = {log_uniform = [1e-4, 1e-2]}
[bundles.capacity]
small = {"discriminator.windows" = [1, 2], "discriminator.filters" = [8, 8]}
large = {"discriminator.windows" = [1, 2], "discriminator.filters" = [64, 64]}
"""


def test_the_ready_studies_are_those_that_are_promised() -> None:
    assert set(STUDIES) == {"reward_baseline", "discriminator", "from_scratch", "stability", "everything"}
    for name, study in STUDIES.items():
        whole = study.space(TASK, {})
        assert study.name == name and len(whole.axes) >= 5 and whole.base.task == TASK
        assert whole.base.controls == ()


def test_from_scratch_has_no_pretraining() -> None:
    schedule = STUDIES["from_scratch"].space(TASK, {}).base.schedule
    assert schedule.mle_epochs == 0 and schedule.teacher_forcing.kind == "none"


def test_from_scratch_compares_a_reward_a_token_with_one_a_sequence() -> None:
    whole = STUDIES["from_scratch"].space(TASK, {})
    lengths = {"credit.gamma": 0.23, "discriminator.hidden": 64, "adversary.l2_all": 1e-6}
    dense = whole.config({"discriminator": "causal_lstm", "credit": "reward_to_go", "baseline": "ema", **lengths})
    assert (dense.credit.kind, dense.credit.gamma, dense.discriminator.kind) == ("reward_to_go", 0.23, "causal_lstm")
    assert (
        whole.config({"discriminator": "cnn_highway", "credit": "terminal", "baseline": "ema"}).credit.kind
        == "terminal"
    )
    with refused(ConfigError, "tokens_are_judged"):
        whole.config({"discriminator": "causal_lstm", "credit": "terminal", "baseline": "ema"})


def test_what_a_user_fixes_no_longer_varies() -> None:
    paths = [axis.path for axis in STUDIES["reward_baseline"].space(TASK, {"credit": "terminal"}).axes]
    assert "reward" in paths and not any(path.startswith("credit") for path in paths)


def test_a_study_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "memory.toml").write_text(MINE)
    study = load_study(str(tmp_path / "memory.toml"))
    whole = study.space(TASK, {})
    assert study.name == "memory" and whole.base.schedule.adversarial_updates == 7
    assert {axis.path: axis.prior for axis in whole.axes} == {
        "adversary.buffer": Choice((None, 10_000, 50_000)),
        "schedule.d_steps": Choice((1, 4)),
        "optimizers.discriminator.lr": LogUniform(1e-4, 1e-2),
    }
    small = whole.config({"capacity": "small", "schedule.d_steps": 4})
    assert small.discriminator is not None and small.discriminator.filters == (8, 8) and small.schedule.d_steps == 4


def test_a_study_in_python(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rlgan.tuning import Study\nSTUDY = Study('mine', 'a question', 'quick', {'baseline': None})\n"
    )
    assert [axis.path for axis in load_study(str(tmp_path / "mine.py")).space(TASK, {}).axes] == ["baseline"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes = 3", r"axes=3: must be a table"),
        ("axis = {}", r"axis: no such field; .*Did you mean 'axes'"),
        ("[axes]\nbaseline = 3", r"axes\.baseline=3: must be \"all\", a list"),
        ('[axes]\n"optimizers.generator.lr" = {log_uniform = [0, 1]}', r"LOW > 0"),
        ('[axes]\n"optimizers.generator.lr" = {uniform = [2, 1]}', r"LOW < HIGH"),
        ('[axes]\n"optimizers.generator.lr" = {uniform = [0, 1]}', r"optimizers\.generator\.lr=0\.0: .*greater than 0"),
        ('[axes]\n"schedule.d_step" = "all"', r"no such dimension.*Did you mean 'schedule\.d_steps'"),
        ('[axes]\nbaseline = ["medium"]', r"baseline='medium': choose one of"),
        ('preset = "quack"\n[axes]\nbaseline = "all"', r"Did you mean 'quick'"),
        ('[changes]\n"schedule.g_bitch" = 3\n[axes]\nbaseline = "all"', r"Did you mean 'schedule\.g_batch'"),
        ('[axes]\nbaseline = "all"\n[bundles.size]\nsmall = 3', r"bundles\.size: must be a table of label"),
        (
            '[axes]\nbaseline = "all"\n[bundles.size]\nsmall = {"discriminator.windows" = [1]}',
            r"bundle size, small: discriminator\.filters=.*must be one number of filters",
        ),
        ("[axes]", r"nothing varies"),
        ("[axes", r"cannot be read as TOML"),
    ],
)
def test_a_file_that_is_no_study_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_study(str(tmp_path / "mine.toml")).space(TASK, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reward_basline", "not a study.*Did you mean 'reward_baseline'"),
        ("nothing.toml", "no such file"),
    ],
)
def test_an_unknown_study_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(name)


def test_a_python_file_without_a_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("STUDY = 3\n")
    with refused(ConfigError, "study_sets_nothing", match="int"):
        load_study(str(tmp_path / "mine.py"))
