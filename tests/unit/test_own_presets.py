"""Presets: listed by their mark, their names typed once, and those of the user's own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlgan import extensions
from rlgan.base.errors import ConfigError, PluginError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import PluginTask, ToyTask
from rlgan.generators import Seq2SeqLSTM
from rlgan.presets import comparing, language_models, latents, molecules, pairs, quick, sequences
from rlgan.presets.registry import PRESETS, preset
from tests.support.commands import ask
from tests.support.errors import refused

TEXT = '''
from rlgan.presets.sequences import seqgan


def smaller(task=None):
    """SeqGAN, but small."""
    return {"preset": "seqgan", "generator.hidden": 16, "credit.num-rollouts": 4}


def whole(task=None):
    return seqgan(task).model_copy(update={"seed": 7})


def of_nothing():
    return {"seed": 3}


def impossible(task=None):
    return {"preset": "seqgan", "schedule.adversarial_updates": 5, "reward": "log_ratio"}


def misspelt(task=None):
    return {"generator.hiden": 3}


def unknown(task=None):
    return {"preset": "seqgun"}


def raising(task=None):
    raise OSError("no disk")  # the line that is shown


def number(task=None):
    return 3


def greedy(task, size):
    return {}


constant = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "presets.py"
    path.write_text(TEXT)
    return path


@pytest.fixture
def registered() -> Iterator[str]:
    def mine(task: object = None) -> dict[str, object]:
        """One that was registered."""
        return {"preset": "mle", "seed": 11}

    extensions.register("preset", "mine_of_a_test", mine)
    yield "mine_of_a_test"
    del extensions.memory.registered["preset", "mine_of_a_test"]


@pytest.mark.parametrize(("name", "shipped"), [("quick", "quick"), ("mle", "mle"), ("seqgan_quick", "seqgan-quick")])
def test_name_of_a_preset_that_ships_is_refused(name: str, shipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions.memory, "registered", {})
    extensions.register("preset", name, lambda task=None: {"seed": 5})
    with refused(ConfigError, "plugin_name_taken", {"preset": shipped}):
        preset(shipped)
    assert preset("seqgan").preset == "seqgan"  # others are what they were


@pytest.mark.parametrize(
    ("kind", "path", "shipped"),
    [
        ("reward", "reward", "logit"),
        ("task", "task", "toy"),
        ("generator", "generator", "lstm"),
        ("discriminator", "discriminator", "lstm"),
        ("reward", "reward", "plugin"),
    ],
)
def test_name_of_a_variant_that_ships_is_refused(
    kind: extensions.PluginKind, path: str, shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions.memory, "registered", {})
    extensions.register(kind, shipped, lambda *values: values)
    with refused(ConfigError, "plugin_name_taken", {path: shipped}, match=kind):
        override(preset("quick"), {path: shipped})


def test_every_preset_says_its_name() -> None:
    assert {name: preset(name).preset for name in PRESETS} == {name: name for name in PRESETS}
    assert next(iter(PRESETS)) == "quick"


def test_every_public_function_of_the_task_is_listed_and_types_no_name() -> None:
    listed = set()
    for room in (quick, sequences, comparing, latents, pairs, language_models, molecules):
        tree = ast.parse(Path(room.__file__).read_text("utf-8"))
        listed |= {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.args.args[0].arg == "task"
        }
        keys = [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)]
        values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        assert "preset" not in keys + values, room.__name__
    assert listed == {name.replace("-", "_") for name in PRESETS}


def test_what_a_preset_of_ones_own_changes_and_whose_name_it_has(file: Path) -> None:
    config = preset(f"{file}:smaller", ToyTask())
    expected = preset("seqgan", ToyTask())
    assert config.generator.hidden == 16 and config.credit.num_rollouts == 4  # type: ignore[union-attr]
    assert config.preset == "smaller" and config.schedule == expected.schedule and config.task == ToyTask()


def test_it_may_give_a_whole_configuration(file: Path) -> None:
    assert preset(f"{file}:whole", ToyTask()) == preset("seqgan", ToyTask()).model_copy(
        update={"seed": 7, "preset": "whole"}
    )


def test_one_that_does_not_ask_for_the_task_gets_the_run_s(file: Path) -> None:
    config = preset(f"{file}:of_nothing", ToyTask())
    assert (config.seed, config.task, config.preset) == (3, ToyTask(), "of_nothing")


WRONG: dict[str, tuple[type[Exception], str]] = {
    "impossible": (ConfigError, "preset plug-in '.*:impossible': reward='log_ratio'"),
    "misspelt": (ConfigError, "preset plug-in '.*:misspelt': generator.hiden: no such setting.*'generator.hidden'"),
    "unknown": (ConfigError, "preset plug-in '.*:unknown': preset 'seqgun': is unknown. Did you mean 'seqgan'"),
    "raising": (PluginError, r"(?s)raised OSError: no disk. Fix it.*the line that is shown"),
    "number": (ConfigError, "returned 3 .int.. Name a function with the parameter `task`"),
    "greedy": (ConfigError, "has the parameter 'size'"),
    "constant": (ConfigError, "is 3 .int.. Name a function"),
    "missing": (ConfigError, "has no 'missing'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_told(file: Path, name: str) -> None:
    error, message = WRONG[name]
    with pytest.raises(error, match=message):
        preset(f"{file}:{name}")


def test_verbs_know_it(file: Path, registered: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "show-config", f"{file}:smaller", "--generator.layers", 2)
    assert answer.status == 0
    assert 'preset = "smaller"' in answer.out and "generator.hidden = 16" in answer.out
    listed = ask(capsys, "presets").out.splitlines()
    assert listed[-1].split(maxsplit=1) == [registered, "One that was registered."]
    assert ask(capsys, "show-config", registered).status == 0
    assert preset(registered).seed == 11
    assert ask(capsys, "show-config", "mine_of_a_tset").status == 2


def test_a_task_of_ones_own_gets_a_preset_s_networks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(
        """
from rlgan.envs.tasks import TransductionTask, build_task


def copies(number=50):
    return build_task(TransductionTask(num_train=number, num_valid=20, num_test=20))
"""
    )
    answer = ask(capsys, "show-config", "seqgan", "--task", f"{path}:copies", "--task.options.number", 40, "--json")
    assert answer.status == 0, answer.err
    config = Config.model_validate_json(answer.out)
    assert isinstance(config.task, PluginTask) and config.task.options == {"number": 40}
    assert config.task.gives_conditions and isinstance(config.generator, Seq2SeqLSTM)
