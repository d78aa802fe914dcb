"""Plug-ins: found by file, module, entry point and registration; the same code everywhere, or an error that says so."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field, ValidationError

from rlgan import extensions
from rlgan.base.errors import CheckpointError, ConfigError, PluginError, RlganError
from rlgan.base.settings import Settings
from rlgan.base.threads import torch_threads
from rlgan.config.config import CallbackPlugin
from rlgan.config.paths import refused as refused_config
from rlgan.envs.tasks import PluginTask, build_task
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.own_metrics import OwnMetrics
from rlgan.extensions import (
    Plugin,
    PluginKind,
    admit,
    call_in_time,
    check_options,
    is_plugin_name,
    keep_sources,
    known,
    load,
    plugins_in,
    register,
    require_unchanged,
)
from rlgan.extensions.sources import SHIPPED
from rlgan.generators.plugin import PluginGenerator
from rlgan.layers.plugin_modules import build_module
from rlgan.training.callbacks import loaded_callbacks
from tests.support.errors import refused
from tests.support.tiny import TASK

TEXT = '''"""A reward."""


def brevity(completions, weight=1.0):
    return [-weight * len(text) for text in completions]
'''


class Reward(Plugin):
    plugin_kind: ClassVar[PluginKind] = "reward"


class Two(Settings):
    first: Reward
    others: tuple[Reward, ...] = ()
    none: Reward | None = None


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("registered", "sources", "modules", "built"):
        monkeypatch.setattr(extensions.memory, name, {})
    monkeypatch.setattr(extensions.memory, "own", set())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def registered_function(completions: list[str]) -> list[float]:
    return [0.0 for _ in completions]


# Loading


def test_object_of_a_file_has_the_digest_of_the_text(file: Path) -> None:
    loaded = load(f"{file}:brevity", "reward")
    assert loaded.object(["ab", ""], weight=2.0) == [-4.0, -0.0]
    assert (loaded.name, loaded.digest) == ("brevity", hashlib.sha256(TEXT.encode()).hexdigest())
    # Once a process, whoever asks: state of the module is one.
    assert load(f"{file}:brevity", "reward").object is loaded.object


def test_object_of_a_module_has_the_digest_of_its_file() -> None:
    loaded = load("rlgan.envs.transition:pad_after_end", "reward")
    from rlgan.envs import transition

    assert loaded.object is transition.pad_after_end
    assert loaded.digest == hashlib.sha256(inspect.getsource(transition).encode()).hexdigest()


def test_registered_object_has_the_digest_of_its_source() -> None:
    register("reward", "zero", registered_function)
    loaded = load("zero", "reward")
    assert loaded.object is registered_function and loaded.name == "zero"
    assert loaded.digest == hashlib.sha256(inspect.getsource(registered_function).encode()).hexdigest()
    assert set(known("reward")) - set(SHIPPED["reward"]) == {"zero"} and known("generator") == ()


def test_object_without_source_is_known_by_its_qualified_name() -> None:
    register("reward", "length", len)
    assert load("length", "reward").digest == "qualified-name:builtins.len"


def make(factor: float, words: tuple[str, ...] = ()) -> Any:
    def scaled(completions: list[str]) -> list[float]:
        return [factor * len(text) + len(words) for text in completions]

    return scaled


def make_class(factor: float) -> Any:
    class Scaled:
        scale = factor

        def __call__(self, completions: list[str]) -> list[float]:
            return [self.scale * len(text) for text in completions]

    return Scaled


def with_default(factor: float) -> Any:
    def scaled(completions: list[str], factor: float = factor) -> list[float]:
        return [factor * len(text) for text in completions]

    return scaled


def linear(value: float) -> torch.nn.Module:
    network = torch.nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.fill_(value)
        network.bias.fill_(0.0)
    return network


def digest_of(plugin: Any) -> str:
    register("reward", "one", plugin)
    return load("one", "reward").digest


@pytest.mark.parametrize(
    "built",
    [
        make,
        make_class,
        with_default,
        linear,
        lambda value: make_class(value)(),
        lambda value: Instance((value,)),
        lambda value: Instance([{"a": (value, None)}, {"b"}]),
        lambda value: Instance(torch.tensor([1.0, value])),
        lambda value: Instance(np.array([1.0, value])),
        lambda value: Instance(Instance(value)),
        lambda value: Instance(make(value)),
        lambda value: Instance(linear(value)),
        lambda value: Instance(value).called,
        lambda value: functools.partial(with_default(0.0), factor=value),
        lambda value: functools.partial(registered_function, factor=value),
        lambda value: lambda completions: [value for _ in completions],
    ],
)
def test_digest_is_of_what_an_object_holds_too(built: Callable[[float], Any]) -> None:
    assert digest_of(built(1.0)) == digest_of(built(1.0)) != digest_of(built(-5.0))


def test_two_lambdas_of_one_line_have_two_digests() -> None:
    one, other = lambda completions: [1.0], lambda completions: [2.0]
    assert digest_of(one) != digest_of(other)


def test_digest_of_what_an_object_holds_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "registers.py"
    path.write_text(
        "from rlgan.extensions import load, register\n"
        "class Words:\n    def __init__(self, words):\n        self.words, self.me = words, self\n"
        "    def __call__(self, completions):\n        return [0.0 for _ in completions]\n"
        "register('reward', 'words', Words({'a', 'b', 'c', 'd', 'e'}))\nprint(load('words', 'reward').digest)\n"
    )
    found = {
        subprocess.run(
            [sys.executable, str(path)], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_object_that_cannot_be_compared_is_refused() -> None:
    with refused(
        ConfigError, "plugin_not_describable", {"plugin": "register('reward', 'locked')"}, match="'reward'.*'locked'"
    ):
        held = Instance(0)
        held.deep = threading.Lock()  # type: ignore[attr-defined]
        register("reward", "locked", Instance(held))


def test_run_does_not_go_on_with_another_closure() -> None:
    register("reward", "made", make(1.0))
    plugin = Reward(name="made")
    register("reward", "made", make(-5.0))
    with refused(ConfigError, "plugin_changed"):
        require_unchanged([plugin], "--resume run")
    register("reward", "made", make(1.0))
    require_unchanged([plugin], "--resume run")


def test_two_instances_of_a_class_stay_apart() -> None:
    register("reward", "a", Instance(1))
    register("reward", "b", Instance(2))
    first, second = (pickle.loads(pickle.dumps(Reward(name=name))) for name in "ab")
    assert (first.load().object.number, second.load().object.number) == (1, 2)


class Instance:
    def __init__(self, number: Any) -> None:
        self.number = number

    def called(self, completions: list[str]) -> list[float]:
        return [self.number for _ in completions]


def test_a_package_that_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number in (1, 2):
        info = tmp_path / f"own{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{extensions.ENTRY_POINTS}]\ngenerator.own{number} = a:b\n")
        os.utime(tmp_path, ns=(number, number))  # as time goes by: a test may be faster than a clock's tick
        offered = {name for name in known("generator") if name.startswith("own")}
        assert offered == {f"own{one}" for one in range(1, number + 1)}


def test_entry_points_are_found_by_kind_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(
        "reward.padded", "rlgan.envs.transition:pad_after_end", extensions.ENTRY_POINTS
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    assert set(known("reward")) - set(SHIPPED["reward"]) == {"padded"} and known("generator") == ()
    loaded = load("padded", "reward")
    assert loaded.name == "padded" and loaded.object.__name__ == "pad_after_end"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a/b.py:f", True),
        ("a.b:f", True),
        ("a:f", True),
        ("logit", False),
        ("a.py", False),
        ("a.py:", False),
        ("a b:f", False),
        (":f", False),
        ("http://x:80", False),
    ],
)
def test_which_names_say_that_they_are_plugins(name: str, is_one: bool) -> None:
    assert is_plugin_name(name) is is_one


# What can be wrong


def complaint(name: str, kind: PluginKind = "reward") -> str:
    with pytest.raises(ConfigError) as raised:
        load(name, kind)
    return str(raised.value)


def test_missing_file_names_the_nearest_beside_it(file: Path) -> None:
    assert "there is no file" in (message := complaint(f"{file.parent}/mime.py:brevity"))
    assert "Did you mean 'mine.py'?" in message


def test_missing_name_names_the_nearest(file: Path) -> None:
    assert "Did you mean 'brevity'?" in complaint(f"{file}:brevety")


def test_missing_module_and_missing_attribute() -> None:
    assert "there is no module 'rlgam'" in complaint("rlgam.mine:f")
    assert "Did you mean 'pad_after_end'?" in complaint("rlgan.envs.transition:pad_after_ends")


def test_unknown_name_names_the_registered_ones() -> None:
    register("reward", "brevity", registered_function)
    assert "Did you mean 'brevity'?" in complaint("brevety")
    assert "registered are none" in complaint("brevity", "generator")


def test_names_that_cannot_be(file: Path) -> None:
    assert "is not a valid name of a plug-in" in complaint(str(file))
    with refused(ConfigError, "plugin_kind"):
        register("rewards", "a", len)  # type: ignore[arg-type]
    with refused(ConfigError, "register_name"):
        register("reward", "a:b", len)


def test_error_of_import_shows_the_users_own_lines(file: Path) -> None:
    file.write_text("import json\n\ndef helper():\n    return json.loads('{')\n\nVALUE = helper()\n")
    message = complaint(f"{file}:brevity")
    assert "JSONDecodeError" in message
    assert f"{file}, line 6, in <module>\n    VALUE = helper()" in message
    assert f"{file}, line 4, in helper\n    return json.loads('{{')" in message
    assert "decoder.py" not in message  # of the library, which the user cannot mend


def test_syntax_error_shows_its_line(file: Path) -> None:
    file.write_text("def brevity(:\n    pass\n")
    assert f"{file}, line 1\n    def brevity(:" in complaint(f"{file}:brevity")


def test_file_that_imports_its_neighbour_is_told_that_it_stands_alone(file: Path) -> None:
    file.write_text("import neighbour_of_mine\n")
    assert "cannot import files beside it" in complaint(f"{file}:brevity")


def test_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in complaint(f"{file}:brevity")


# Options


@pytest.mark.parametrize(
    ("options", "described"),
    [
        (
            {"weigth": 1},
            "options.weigth: there is no such parameter; parameters are scale, weight. Did you mean 'weight'?",
        ),
        ({}, "the parameter 'weight' has no default. Set options.weight."),
        ({"completions": 1, "weight": 1}, "options.completions: is provided by rlgan."),
    ],
)
def test_options_must_be_parameters(file: Path, options: dict[str, Any], described: str) -> None:
    def function(completions, weight, scale=1.0):  # type: ignore[no-untyped-def]
        ...

    plugin = Reward(name=f"{file}:brevity", options=options)
    with pytest.raises(ConfigError) as raised:
        check_options(plugin, inspect.signature(function), ("completions",))
    assert described in str(raised.value)


def test_keyword_arguments_take_every_option(file: Path) -> None:
    plugin = Reward(name=f"{file}:brevity", options={"anything": 1})
    check_options(plugin, inspect.signature(lambda completions, **rest: None), ("completions",))


# Settings


def test_settings_fill_in_the_digest_and_read_their_own_json(file: Path) -> None:
    plugin = Reward(name=f"{file}:brevity", options={"weight": 2, "names": ["a", "b"], "is_on": True})
    assert plugin.digest == hashlib.sha256(TEXT.encode()).hexdigest()
    assert Reward.model_validate(plugin.model_dump(mode="json")) == plugin
    assert plugin.options == {"weight": 2, "names": ("a", "b"), "is_on": True}
    assert Reward.model_validate(f"{file}:brevity").short_name == "brevity"


def test_reading_settings_with_a_digest_executes_nothing(file: Path) -> None:
    file.write_text("raise RuntimeError('executed')\n")
    with refused(ValidationError, "plugin_import_raised"):
        Reward(name=f"{file}:brevity")
    Reward(name=f"{file}:brevity", digest="0" * 64)


def test_another_source_is_refused_with_both_digests(file: Path) -> None:
    plugin = Reward(name=f"{file}:brevity")
    extensions.memory.sources.clear()
    file.write_text(TEXT + "\n")
    changed = hashlib.sha256((TEXT + "\n").encode()).hexdigest()
    with pytest.raises(ConfigError) as raised:
        plugin.load()
    assert plugin.digest in str(raised.value) and changed in str(raised.value)


def test_all_plugins_of_settings_in_order(file: Path) -> None:
    names = [f"{file}:brevity", "rlgan.envs.transition:pad_after_end", "rlgan.envs.transition:is_terminal"]
    first, *others = (Reward(name=name) for name in names)
    assert [one.name for one in plugins_in(Two(first=first, others=tuple(others)))] == names


# Travelling


def test_source_travels_to_another_process_by_pickle(file: Path) -> None:
    packed = pickle.dumps(Reward(name=f"{file}:brevity"))
    file.unlink()
    extensions.memory.sources.clear()
    extensions.memory.modules.clear()
    plugin = pickle.loads(packed)
    assert plugin.load().object(["abc"]) == [-3.0]
    # Tracebacks show the user's lines, though the file is not there.
    with pytest.raises(TypeError) as raised:
        plugin.load().object([1])
    assert f"{file}, line 5" in extensions.own_lines(raised.value, str(file))
    assert "len(text)" in extensions.own_lines(raised.value, str(file))


def test_source_is_found_in_the_runs_folder(file: Path, tmp_path: Path) -> None:
    plugin = Reward(name=f"{file}:brevity")
    (kept,) = keep_sources(tmp_path / "run", [plugin, plugin])
    assert kept.read_text() == TEXT
    file.unlink()
    extensions.memory.sources.clear()
    extensions.memory.modules.clear()
    again = Reward.model_validate(plugin.model_dump(mode="json"))
    with refused(ConfigError, "plugin_no_file"):
        again.load()
    admit([again], tmp_path / "run", "run", trust_code=True)
    assert again.load().object(["abc"]) == [-3.0]
    require_unchanged([again], "--resume run")


def test_changed_source_is_no_reason_to_read_another_run_but_to_go_on_with_it(file: Path, tmp_path: Path) -> None:
    plugin = Reward(name=f"{file}:brevity")
    keep_sources(tmp_path / "run", [plugin])
    extensions.memory.sources.clear()
    file.write_text("def brevity(completions):\n    return [1.0] * len(completions)\n")
    admit([plugin], tmp_path / "run", "run", trust_code=True)
    assert plugin.load().object(["abc"]) == [-3.0]
    with pytest.raises(ConfigError) as raised:
        require_unchanged([plugin], "--resume run")
    assert "has changed since the run began" in str(raised.value) and plugin.digest in str(raised.value)


def test_registered_plugin_of_a_run_must_be_registered_again(tmp_path: Path) -> None:
    register("reward", "zero", registered_function)
    plugin = Reward(name="zero")
    keep_sources(tmp_path, [plugin])
    extensions.memory.registered.clear()
    with refused(CheckpointError, "plugin_not_at_hand"):
        admit([plugin], tmp_path, "run", trust_code=True)
    register("reward", "zero", registered_function)
    assert plugin.load().object is registered_function
    register("reward", "zero", load)
    with refused(ConfigError, "plugin_changed"):
        require_unchanged([plugin], "--resume run")


# Modules of which there are two versions


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Folders with another version each of the package `versioned`, whose import leaves a file behind."""
    folders = tmp_path / "a", tmp_path / "b"
    for number, folder in enumerate(folders):
        (folder / "versioned").mkdir(parents=True)
        leaves = f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n"
        (folder / "versioned" / "__init__.py").write_text(leaves)
        (folder / "versioned" / "reward.py").write_text(f"def brevity(completions):\n    return [{number}.0]\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folders
    for name in [name for name in sys.modules if name.partition(".")[0] == "versioned"]:
        del sys.modules[name]


def test_source_of_a_module_is_read_without_importing_it(two: tuple[Path, Path]) -> None:
    sys.path.insert(0, str(two[0]))
    found = extensions.source_of("versioned.reward:brevity", "reward")
    assert found.text == (two[0] / "versioned" / "reward.py").read_text()
    assert not (two[0] / "ran").exists() and "versioned" not in sys.modules
    assert load("versioned.reward:brevity", "reward").object([""]) == [0.0] and (two[0] / "ran").exists()
    assert load("versioned.reward:brevity", "reward").digest == found.digest
    assert hashlib.sha256(inspect.getsource(sys.modules["versioned.reward"]).encode()).hexdigest() == found.digest


@pytest.mark.parametrize("is_remembered", [True, False])
def test_another_version_of_a_module_is_refused_and_not_imported(two: tuple[Path, Path], is_remembered: bool) -> None:
    sys.path.insert(0, str(two[0]))
    packed = pickle.dumps(Reward(name="versioned.reward:brevity", digest=version_of(two[0])))
    if not is_remembered:
        extensions.memory.sources.clear()
    sys.path[0] = str(two[1])
    plugin = (
        pickle.loads(packed) if is_remembered else Reward(name="versioned.reward:brevity", digest=version_of(two[0]))
    )
    with refused(ConfigError, "plugin_source_changed") as raised:
        plugin.load()
    assert version_of(two[0]) in str(raised.value) and version_of(two[1]) in str(raised.value)
    assert not (two[1] / "ran").exists() and "versioned" not in sys.modules


def test_another_version_of_a_module_that_is_imported_already_is_refused(two: tuple[Path, Path]) -> None:
    sys.path.insert(0, str(two[1]))
    assert load("versioned.reward:brevity", "reward").object([""]) == [1.0]
    text = (two[0] / "versioned" / "reward.py").read_text()
    extensions.unpack([{"text": text, "path": "elsewhere"}])
    with refused(ConfigError, "plugin_source_changed"):
        load("versioned.reward:brevity", "reward", version_of(two[0]))


def version_of(folder: Path) -> str:
    return hashlib.sha256((folder / "versioned" / "reward.py").read_bytes()).hexdigest()


def test_line_ends_of_the_file_do_not_matter(file: Path) -> None:
    file.write_bytes(TEXT.replace("\n", "\r\n").encode())
    plugin = Reward(name=f"{file}:brevity")
    assert plugin.digest == hashlib.sha256(TEXT.encode()).hexdigest()


def test_dataclasses_and_pickles_of_a_file_work(file: Path) -> None:
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Reward:\n    weight: float = 1.0\n\nINSTANCE = Reward(2.0)\n"
    )
    loaded = load(f"{file}:INSTANCE", "reward")
    assert pickle.loads(pickle.dumps(loaded.object)) == loaded.object


def test_nothing_of_a_run_is_loaded_by_importing_the_loader() -> None:
    script = "import sys, rlgan.extensions; print([name for name in ('ray', 'mlflow') if name in sys.modules])"
    described = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert described.stdout.strip() == "[]"


def rule_of_pydantic() -> type[BaseModel]:
    """Each time another class, at another address, as another process has it."""

    class Rule(BaseModel):
        weight: float = 1.0
        name: str = Field("a", min_length=1)

        def __call__(self, completions: list[str]) -> list[float]:
            return [self.weight] * len(completions)

    return Rule


def registered_digest(plugin: Any) -> str:
    extensions.register("reward", "of a test", plugin)
    return extensions.source_of("of a test", "reward").digest


def test_classes_and_instances_of_pydantic_are_registered_by_their_fields() -> None:
    one, other = rule_of_pydantic(), rule_of_pydantic()
    assert registered_digest(one) == registered_digest(other)
    assert registered_digest(one()) == registered_digest(other())
    digests = {registered_digest(plugin) for plugin in (one, one(), one(weight=2.0), one(weight=2.0, name="b"))}
    assert len(digests) == 4

    def around(rule: BaseModel) -> Any:
        return lambda completions: [rule.weight] * len(completions)  # type: ignore[attr-defined]

    assert registered_digest(around(one(weight=2.0))) == registered_digest(around(other(weight=2.0)))
    assert registered_digest(around(one(weight=2.0))) != registered_digest(around(one(weight=3.0)))


class Weighted(Settings):
    weight: float = 1.0

    def __call__(self, completions: list[str]) -> list[float]:
        return [self.weight] * len(completions)


def test_settings_are_registered_by_their_fields() -> None:
    assert registered_digest(Weighted(weight=2.0)) == registered_digest(Weighted(weight=2.0))
    assert registered_digest(Weighted(weight=2.0)) != registered_digest(Weighted(weight=3.0))


def test_a_cache_around_a_function_that_workers_cannot_find_is_refused() -> None:
    @functools.lru_cache
    def cached(completions: tuple[str, ...]) -> list[float]:
        return [1.0]

    with refused(ConfigError, "plugin_is_cache", match="cached"):
        extensions.register("reward", "of a test", cached)


def test_code_in_time_has_no_gradients_and_as_many_threads_as_its_caller() -> None:
    def seen() -> tuple[bool, int]:
        return torch.is_grad_enabled(), torch.get_num_threads()

    with torch_threads(3):
        assert torch.is_grad_enabled()
        assert call_in_time(seen, 60.0, lambda: "late") == (False, 3)


# ---------------------------------------------------------------------------- refusals

REFUSES = """
from torch import nn

from rlgan.base.errors import DataError
from rlgan.training.callbacks import Callback


def no(*arguments, **options):
    raise DataError("options.size: is 3. Set it to 4.", code="size_of_mine", fields={"size": 3})


class Network(nn.Module):
    def __init__(self, space):
        no()

    def forward(self, tokens):
        return tokens


class Metric:
    def __init__(self):
        no()

    def __call__(self, texts):
        return 1.0


class Called:
    def __call__(self, texts):
        no()


class Watcher(Callback):
    def __init__(self):
        no()
"""


def test_what_code_of_ones_own_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    """An error of rlgan keeps its code and fields wherever such code is built or called, and names the plug-in."""
    file = tmp_path / "refuses.py"
    file.write_text(REFUSES)
    task = build_task(TASK)
    places: list[tuple[str, type[RlganError], Callable[[], object]]] = [
        ("Network", ConfigError, lambda: build_module(PluginGenerator(name=f"{file}:Network"), task.space)),
        ("no", ConfigError, lambda: PluginTask(name=f"{file}:no")),
        ("Metric", ConfigError, lambda: OwnMetrics([OwnMetric(name=f"{file}:Metric")], task)),
        ("Called", PluginError, lambda: OwnMetrics([OwnMetric(name=f"{file}:Called")], task)),
        ("Watcher", ConfigError, lambda: loaded_callbacks([CallbackPlugin(name=f"{file}:Watcher")])),
    ]
    for name, kind, call in places:
        with pytest.raises((RlganError, ValidationError)) as raised:
            call()
        error = raised.value if isinstance(raised.value, RlganError) else refused_config(raised.value)
        assert (type(error), error.code, error.fields["size"]) == (kind, "size_of_mine", 3), name
        assert f"refuses.py:{name}" in str(error) and str(error).endswith("options.size: is 3. Set it to 4."), name
