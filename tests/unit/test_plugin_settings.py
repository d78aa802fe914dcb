"""Settings of plug-ins pass through everything that walks a configuration: their options are a free mapping."""

from __future__ import annotations

import json
import re
import typing
from enum import Enum
from pathlib import Path

import pytest
import torch

from rlgan.api.settings import flat
from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, Uniform
from rlgan.base.settings import FreeOnResume, OfTheStart, facts_of, parts_of
from rlgan.cli.typed import train_command
from rlgan.config.config import Config
from rlgan.config.paths import documentation, flatten, from_dict, merge, override, settable_paths, to_dict
from rlgan.extensions import Plugin
from rlgan.extensions.calling import _types_of
from rlgan.presets.effects import require_effect
from rlgan.presets.quick import quick
from rlgan.tuning import Study
from rlgan.tuning.search.proposals import Proposals, RandomSource
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny import tiny_config

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, space, width=8, slope=0.0):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size + 1, width)
        self.out = nn.Linear(width, space.vocab_size)

    def forward(self, tokens):
        return self.out(self.embedding(tokens))

class Other(Net):
    def __init__(self, space, depth=1):
        super().__init__(space)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


def of(file: Path, **options: object) -> Config:
    named = {f"generator.options.{name}": value for name, value in options.items()}
    return override(quick(), {"generator": f"{file}:Net", **named})


def test_options_are_set_by_path_and_read_back(file: Path) -> None:
    config = of(file, width="16", slope="0.5")
    assert isinstance(config.generator, Plugin) and config.generator.options == {"width": 16, "slope": 0.5}
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    flat = flatten(to_dict(config))
    assert flat["generator.options.width"] == 16 and flat["generator.digest"] == config.generator.digest != ""
    assert override(config, {"generator.options.width": 4}).generator.options == {"width": 4, "slope": 0.5}
    documented = {path: value for path, value, _ in documentation(config)}
    assert documented["generator.options"] == {"width": 16, "slope": 0.5}


@pytest.mark.parametrize("is_there_already", [False, True])
def test_an_option_that_the_plug_in_does_not_take_is_refused(is_there_already: bool, file: Path) -> None:
    with refused(ConfigError, "plugin_option_unknown", match="Did you mean 'width'"):
        override(of(file), {"generator.options.widht": 3}) if is_there_already else of(file, widht=3)


TYPED = """{future}
from typing import Literal, Optional
from torch import nn

class Net(nn.Module):
    def __init__(self, space, width: int = 8, slope: float = 0.0, deep: bool = False, name: str = "",
                 form: Literal["a", "b"] = "a", seed: int | None = None, rate: Optional[float] = None,
                 late: int = None, other: "Unknown" = 0):
        super().__init__()
        self.out = nn.Linear(width, space.vocab_size)

    def forward(self, tokens):
        return self.out(tokens)
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_an_option_of_another_type_than_its_parameter_is_refused(future: str, tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(TYPED.replace("{future}", future))
    good = [("width", 3), ("slope", 1), ("slope", 0.5), ("deep", True), ("name", '"16"'), ("form", "b"), ("seed", None)]
    good += [("seed", 3), ("rate", 0.5), ("late", None), ("other", "anything")]
    for name, value in good:
        of(file, **{name: value if isinstance(value, str) else json.dumps(value)})
    for name, value, message in (
        ("width", "0.5", "options.width=0.5: must be a whole number"),
        ("width", "true", "options.width=True: must be a whole number"),
        ("slope", "steep", "options.slope='steep': must be a number"),
        ("deep", "maybe", "options.deep='maybe': must be true or false"),
        ("deep", "1", "options.deep=1: must be true or false"),
        ("name", "16", "options.name=16: must be text. Put it in quotes twice: '\"16\"'"),
        ("form", "c", "options.form='c': must be one of a, b"),
        ("seed", "0.5", "options.seed=0.5: must be a whole number or null"),
        ("rate", "fast", "options.rate='fast': must be a number or null"),
    ):
        with refused(ConfigError, "plugin_option_type", match=re.escape(message)):
            of(file, **{name: value})


@pytest.mark.parametrize(
    "written",
    [
        "int", "None", "float | None", "Optional[int]", "typing.Optional[str]", "Union[int, str, None]", "'int'",
        "Literal['a', 2, None]", "Literal[-1, True]", "int | Literal['auto']", "Optional['int']", "Literal['a'] | None",
        "Color", "list[int]", "int | Color", "Optional[Color]", "torch.Tensor", "Literal[Color.RED]",
        "Annotated[int, 3]", "dict[str, int] | None",
    ],
)  # fmt: skip
def test_an_annotation_says_the_same_as_text(written: str) -> None:
    class Color(Enum):
        RED = 1

    names = {name: getattr(typing, name) for name in ("Optional", "Union", "Literal", "Annotated")}
    evaluated = eval(written, {"typing": typing, "torch": torch, "Color": Color, **names})
    if not isinstance(evaluated, str):
        assert set(map(repr, _types_of(written) or ())) == set(map(repr, _types_of(evaluated) or ()))
    is_checked = not re.search("Color|list|torch|Annotated|dict", written)
    assert (_types_of(written) is not None) == is_checked


@pytest.mark.parametrize(
    "written", ["a remark", "int |", "", "open('touched', 'w') and int", "lambda: 0", "3", "x[0][1]"]
)
def test_an_annotation_that_is_no_type_is_not_checked_and_not_executed(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _types_of(written) is None
    assert not list(tmp_path.iterdir())


def test_another_name_is_another_plug_in(file: Path) -> None:
    config = of(file)
    other = override(config, {"generator.name": f"{file}:Other", "generator.options.depth": 2})
    assert other.generator.options == {"depth": 2}  # type: ignore[union-attr]
    with refused(ConfigError, "plugin_no_attribute", match="'Nobody'"):
        override(config, {"generator.name": f"{file}:Nobody"})
    changed = file.with_name("changed.py")
    changed.write_text(NETWORK + "\nx = 1\n")
    moved = override(config, {"generator.name": f"{changed}:Net"})
    assert moved.generator.digest != config.generator.digest  # type: ignore[union-attr]


def test_facts_and_parts_see_the_plug_in_as_a_whole(file: Path) -> None:
    config = of(file, width=16)
    assert config.generator in list(parts_of(config))
    assert {path: value for path, _, value in facts_of(config, OfTheStart)}["generator"] == config.generator
    assert [path for path, *_ in facts_of(config, FreeOnResume) if path.startswith("generator")] == [
        "generator.timeout_s"
    ]


def test_an_option_of_what_a_run_reads_has_an_effect(file: Path) -> None:
    base = of(file)
    require_effect(to_dict(base), override(base, {"generator.options.width": 4}), ["generator.options.width"])


def test_a_command_says_them(file: Path) -> None:
    config = of(file, width=16)
    command = train_command(config, ["quick"])
    assert command is not None and f"--generator.name {file}:Net" in command and '{"width": 16}' in command


def test_a_study_varies_them(file: Path) -> None:
    changes = {"generator": f"{file}:Net", "generator.options.slope": 0.5}
    axes = {"generator.options.width": Choice((4, 8)), "generator.options.slope": Uniform(0.0, 1.0)}
    study = Study("mine", "a question", "quick", axes, changes)
    whole = study.space(None, {})
    assert [(axis.name, axis.only_if) for axis in whole.axes] == [
        (f"generator[plugin].options.{name}", (("generator", "plugin"),)) for name in ("width", "slope")
    ]
    proposals = Proposals(whole, RandomSource(3))
    drawn = [proposed for _ in range(6) if (proposed := proposals.next()) is not None]
    assert {proposed.point["generator.options.width"] for proposed in drawn} == {4, 8}
    for proposed in drawn:
        options = proposed.config.generator.options  # type: ignore[union-attr]
        assert {f"generator.options.{name}": value for name, value in options.items()} == proposed.point
    assert study.as_begun(whole, {axis.name: repr(axis.prior) for axis in whole.axes}) == whole
    with refused(ConfigError, "study_plugin_option"):
        Study("mine", "a question", "quick", {"generator.options.width": None}, changes).space(None, {})
    with refused(ConfigError, "study_setting", {"study": "mine"}):
        Study("mine", "a question", "quick", {"generator.options.height": Choice((1, 2))}, changes).space(None, {})


def test_an_option_may_be_named_as_the_choice_of_an_axis_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(NETWORK + '\nclass Kinds(Net):\n    def __init__(self, space, width=4, kind="a"):\n        pass\n')
    changes = {"generator": f"{file}:Kinds", "generator.options.kind": "b"}
    config = override(quick(), changes)
    assert isinstance(config.generator, Plugin) and config.generator.options == {"kind": "b"}
    assert override(quick(), {**changes, "optimizers.generator.kind": "sgd"}).optimizers.generator.kind == "sgd"
    assert merge({"generator.options.kind": "a"}, {"generator-options": 1, "credit.kind": "terminal"}) == {
        "generator.options.kind": "a", "generator_options": 1, "credit": "terminal",
    }  # fmt: skip
    asked = ("show-config", "quick", "--generator", f"{file}:Kinds", "--generator.options.kind", "b", "--json")
    shown = ask(capsys, *asked)
    assert shown.status == 0 and json.loads(shown.out)["generator"]["options"] == {"kind": "b"}
    assert flat({"generator": to_dict(config.generator)})["generator.options.kind"] == "b"
    paths = settable_paths(to_dict(config))
    assert "generator.options.kind" in paths and not {"generator.options", "generator.kind"} & set(paths)
    axes = {"generator.options.kind": Choice(("a", "b")), "generator.options.width": Choice((4, 8))}
    study = Study("mine", "a question", "quick", axes, {"generator": changes["generator"]})
    assert [axis.path for axis in study.space(None, {}).axes] == list(axes)
    assert [axis.path for axis in study.space(None, {"generator.options.kind": "a"}).axes] == [
        "generator.options.width"
    ]


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("task.mode", "It belongs to task='oracle'.* Set task.options.mode instead"),
        ("task.nonsense", "Set task.options.nonsense instead"),
        ("generator.hidden", "It belongs to generator='lstm'.* Set generator.options.hidden instead"),
        ("evaluation.metrics.0.scale", r"timeout_s\. The options .* Set evaluation.metrics.0.options.scale instead"),
        ("evaluation.metrics.0.directon", "Did you mean 'evaluation.metrics.0.direction'"),
        ("reward.functions.0.scale", "Set reward.functions.0.options.scale instead"),
    ],
)
def test_what_a_plugin_does_not_have_may_be_an_option_of_it(file: Path, path: str, advice: str) -> None:
    file.write_text(
        NETWORK
        + "\ndef f(texts):\n    return 1.0\n\ndef r(completions, **kwargs):\n    return [1.0] * len(completions)\n"
    )
    config = override(tiny_config(), {"evaluation.metrics": f"{file}:f", "reward": f"{file}:r", "credit": "terminal"})
    config = override(config, {"generator": f"{file}:Net"})
    with refused(ConfigError, "setting_unknown", {"path": path}) as raised:
        override(config, {"task": "molecules", path: 3})
    assert re.search(advice, str(raised.value)), str(raised.value)


def test_show_config_shows_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("show-config", "quick", "--generator", f"{file}:Net", "--generator.options.width", "16")
    shown = ask(capsys, *asked, "--json")
    assert shown.status == 0 and json.loads(shown.out)["generator"]["options"] == {"width": 16}
    described = ask(capsys, *asked[:-2], "--generator.options.widht", "3")
    assert described.status == 2 and "Did you mean 'width'" in described.err
