"""A configuration as the command that asks for it: typed in a shell, it is the same configuration."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from rlgan.cli.typed import _compared, _parsed, train_command
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import PairsTask, TextTask
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.presets.sizes import DataSummary
from rlgan.tuning.search.starts import likelihood_alone

TEXT = TextTask(data="/data/a file with 'quotes' and spaces.txt", tokens="char")
PAIRS = PairsTask.model_validate({"input": {"kind": "parallel", "source": "/a/x.de", "target": "/a/x.en"}})


@pytest.fixture(autouse=True)
def summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of `TEXT` and `PAIRS`, which nobody has: large enough for sizes of their own."""
    data = DataSummary(
        num_train=8_000, num_valid=1_000, num_test=1_000, vocab_size=5_000, mean_length=13.0, max_length=30
    )
    monkeypatch.setattr(
        "rlgan.presets.own_data.summary_of_data", lambda task: None if task.knows_distribution else data
    )


def read_back(command: str) -> Config:
    first, second, *words = shlex.split(command)
    assert (first, second) == ("rlgan", "train")
    return _parsed(words)


def changed(name: str, changes: dict[str, Any], task: Any = None) -> Config:
    return override(preset(name, task), {"controls": [], "seed": 11, **changes})


CONFIGS = {
    "as it is": changed("quick", {}),
    "numbers": changed("quick", {"optimizers.generator.lr": 1.2345678901234567e-05, "schedule.d_steps": 7}),
    "variants": changed(
        "quick", {"baseline": "ema", "baseline.decay": 0.87, "credit": "terminal", "reward": "ratio"}
    ),
    "lists and nulls": changed(
        "quick",
        {"discriminator.windows": [1, 3], "discriminator.filters": [8, 9], "adversary.buffer": None,
         "schedule.mle_patience": None, "evaluation.temperatures": [1.0, 0.5]},
    ),
    "a file with blanks": changed("quick", {"task.max_length": 12}, TEXT),
    "pairs": changed("quick", {"generator.hidden": 17}, PAIRS),
    "another network of pairs": changed("quick", {"generator": "seq2seq_transformer", "generator.dropout": 0.2}, PAIRS),
    "an optimiser": changed("quick", {"optimizers.generator": "sgd", "optimizers.generator.lr": 0.25}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_the_command_reads_back_as_the_configuration(case: str) -> None:
    config = CONFIGS[case]
    command = train_command(config, ["quick", "mle"])
    assert command is not None
    assert _compared(read_back(command), config) == _compared(config, config)
    assert read_back(command).seed == 11


def test_only_what_differs_is_typed() -> None:
    config = changed("quick", {"schedule.d_steps": 7, "optimizers.generator.lr": 1e-05})
    assert train_command(config, ["quick"]) == (
        "rlgan train quick --seed 11 --schedule.d-steps 7 --optimizers.generator.lr 1e-05"
    )


@pytest.mark.parametrize("task", [None, TEXT, PAIRS], ids=["oracle", "text", "pairs"])
def test_controls_have_commands_too(task: Any) -> None:
    whole = changed("quick", {"generator.hidden": 24}, task)
    for config in (likelihood_alone(whole), control(whole, "mle_continued")):
        command = train_command(config, ["quick", "mle"])
        assert command is not None
        assert _compared(read_back(command), config) == _compared(config, config)


def test_sizes_of_the_data_are_not_typed_and_others_are() -> None:
    by_the_data = {"generator.hidden": 128, "generator.embedding": 128, "evaluation.final_sequences": 1_000}
    assert train_command(changed("quick", by_the_data | {"schedule.mle_epochs": 26, "seed": 0}, TEXT), ["quick"]) == (
        f"rlgan train quick --data {shlex.quote(TEXT.data)} --tokens char"
    )
    # The preset's own units would not be those of the run that is begun by the command, and must be said.
    small = by_the_data | {"generator.hidden": 32, "schedule.mle_epochs": 26}
    assert "--generator.hidden 32" in (train_command(changed("quick", small, TEXT), ["quick"]) or "")


def test_what_cannot_be_said_has_no_command(tmp_path: Path) -> None:
    assert train_command(CONFIGS["pairs"], ["no_such_preset"]) is None
