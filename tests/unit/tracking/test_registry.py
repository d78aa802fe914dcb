"""The registry: what is logged stands on its own and holds no pickle; what is fetched is data, and never run."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import rlgan
from rlgan import extensions
from rlgan.base.errors import CheckpointError, ConfigError, TrackingError
from rlgan.generators import PluginGenerator
from rlgan.storage.export import load_run_generator
from rlgan.tracking import fetch, find_generator, register
from rlgan.tracking.registry import REQUIREMENTS, REQUIREMENTS_OF_LANGUAGE_MODELS
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.mlflow_server import Server
from tests.support.registered import TEMPERATURE, Registered, register_toy, save_generator

pytestmark = pytest.mark.heavy

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Registered:
    run_dir = tmp_path_factory.mktemp("runs") / "toy"
    run_dir.mkdir()
    shutil.copy(empty_database, run_dir.parent)
    return register_toy(run_dir)


@pytest.fixture
def own(run_dir: Path) -> Registered:
    """One that may be changed."""
    return register_toy(run_dir)


# ------------------------------------------------------------------------------------------------------ what is logged


def test_what_is_logged_is_plain_files(registered: Registered) -> None:
    files = [path for path in registered.model_dir.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {"", ".py", ".typed", ".json", ".safetensors", ".yaml", ".txt"}
    assert not any(path.is_symlink() for path in registered.model_dir.rglob("*"))
    assert not any("__pycache__" in path.parts for path in files)
    assert [path for path in files if path.read_bytes()[:1] == b"\x80"] == [], "a pickle, whatever its name"
    for name in ("generator.json", "generator.safetensors"):
        logged = registered.model_dir / "artifacts" / name
        assert logged.read_bytes() == (registered.run_dir / name).read_bytes()


def test_the_code_is_all_of_the_package(registered: Registered) -> None:
    logged = registered.model_dir / "code" / "rlgan"
    folders = {"envs": PROJECT / "envs", "tuning": PROJECT / "tuning", "": PROJECT / "rlgan"}
    for name, source in folders.items():
        for path in source.rglob("*.py"):
            assert (logged / name / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_the_model_says_what_it_takes_and_gives(registered: Registered) -> None:
    described = yaml.safe_load((registered.model_dir / "MLmodel").read_text())
    signature = {part: json.loads(text) for part, text in described["signature"].items()}
    assert [(one["name"], one["type"]) for one in signature["inputs"]] == [("num_sequences", "long")]
    assert [(one["name"], one["type"]) for one in signature["outputs"]] == [("text", "string")]
    assert [(one["name"], one["type"], one["default"]) for one in signature["params"]] == [
        ("temperature", "double", TEMPERATURE),
        ("top_k", "long", None),
        ("top_p", "double", None),
        ("seed", "long", None),
    ]
    example = json.loads((registered.model_dir / "serving_input_example.json").read_text())
    assert example["params"] == {"temperature": TEMPERATURE, "seed": 0}
    pinned = (registered.model_dir / "requirements.txt").read_text().split()
    assert pinned == [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def test_requirements_are_what_the_code_imports(registered: Registered) -> None:
    code = """
import sys, rlgan.storage.export
print([module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'rlgan'])
"""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported: set[str] = set()
    for path in [*ast.literal_eval(done.stdout), registered.model_dir / "served_model.py"]:
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").split(".")[0])
    # Files are read and sources cut into pieces with these, and a served model is asked for neither.
    not_served = {"pyarrow", "regex", "tokenizers"}
    not_served |= {"scipy"}  # intervals are of what is measured
    not_served |= {"pydantic_core"}  # a part of pydantic, which pins it
    assert imported - set(sys.stdlib_module_names) - {"rlgan"} - not_served == {
        *REQUIREMENTS,
        *REQUIREMENTS_OF_LANGUAGE_MODELS,
    } - {"tokenizers"}


def test_a_version_belongs_to_its_run(registered: Registered) -> None:
    found = find_generator(registered.uri, "models:/toy/1")
    assert (found.name, found.version, found.run_id) == ("toy", registered.version, registered.run_id)
    assert (found.temperature, found.address) == (TEMPERATURE, "models:/toy/1")
    assert found.tags == {"preset": "tiny", "run": "toy run", "temperature": f"{TEMPERATURE:g}"}
    assert "sqlite" not in repr(found)
    client = Server(registered.run_dir).client
    (output,) = client.get_run(registered.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status)) == ("generator", "READY") and model.source_run_id == registered.run_id


def test_registering_again_makes_the_next_version(own: Registered) -> None:
    assert register(own.uri, own.run_id, own.run_dir, "toy", 1, {}) == 2
    assert find_generator(own.uri, "models:/toy/2").temperature == 1.0
    assert find_generator(own.uri, "models:/toy/1").temperature == TEMPERATURE


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_cannot_be_is_refused(registered: Registered, temperature: float) -> None:
    with refused(ConfigError, "registry_temperature"):
        register(registered.uri, registered.run_id, registered.run_dir, "toy", temperature, {})


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "a@b"])
def test_a_name_that_cannot_be_addressed_is_refused(registered: Registered, name: str) -> None:
    with refused(ConfigError, "registry_name"):
        register(registered.uri, registered.run_id, registered.run_dir, name, 1.0, {})


def test_what_cannot_be_served_is_not_registered(registered: Registered, tmp_path: Path) -> None:
    with refused(CheckpointError, "no_trained_generator"):
        register(registered.uri, registered.run_id, tmp_path, "other", 1.0, {})
    with refused(TrackingError, "registry_no_run", match="'absent'"):
        register(registered.uri, "absent", registered.run_dir, "other", 1.0, {})
    assert [model.name for model in Server(registered.run_dir).client.search_registered_models()] == ["toy"]


# ------------------------------------------------------------------------------------------------------ loading


LOAD = """
import importlib.util, json, sys
{preparation}
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/toy/1")
rows = pandas.DataFrame({{"num_sequences": [3, 2]}})
def ask(**params):
    return model.predict(rows, params=params)["text"].tolist()
print(json.dumps({{
    "seed 1": ask(seed=1), "again": ask(seed=1), "seed 2": ask(seed=2), "cold": ask(seed=1, temperature=1e-4),
    "fresh": [ask() for _ in range(2)], "code": sys.modules["rlgan"].__file__,
}}))
"""
WITHOUT = f"""
sys.path.append({sysconfig.get_paths()["purelib"]!r})
assert importlib.util.find_spec("rlgan") is None
"""
WITH = 'assert importlib.util.find_spec("rlgan") is not None and "rlgan" not in sys.modules'


@pytest.mark.parametrize(
    "installed",
    [
        pytest.param(False, id="without rlgan"),
        pytest.param(True, id="beside another rlgan", marks=pytest.mark.slow),
    ],
)
def test_a_model_is_loaded_with_the_code_that_was_logged(
    registered: Registered, tmp_path: Path, installed: bool
) -> None:
    """Without: `-S` leaves out the .pth files, by which an editable installation is found, and `-I` all else."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registered.uri, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(PROJECT)
    command = [sys.executable, *([] if installed else ["-I", "-S"]), "-c"]
    command += [LOAD.format(preparation=WITH if installed else WITHOUT)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert Path(answer["code"]).is_relative_to(registered.model_dir)

    exported = load_run_generator(registered.run_dir)
    assert answer["seed 1"] == answer["again"] == exported.sample(5, TEMPERATURE, seed=1)
    assert answer["seed 2"] == exported.sample(5, TEMPERATURE, seed=2) != answer["seed 1"]
    assert len(set(answer["cold"])) == 1
    assert answer["fresh"][0] != answer["fresh"][1], "nobody wants the same text for ever"


NETWORK = """
import scipy.sparse
from torch import nn

from helpers_of_a_test.sizes import width


class Own(nn.Module):
    def __init__(self, space):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, width())
        self.output = nn.Linear(width(), space.vocab_size)

    def forward(self, tokens):
        return self.output(self.embedding(tokens))
"""


def test_a_network_of_ones_own_is_served_where_neither_its_file_nor_what_it_imports_is(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "path"
    (path / "helpers_of_a_test").mkdir(parents=True)
    (path / "helpers_of_a_test" / "__init__.py").touch()
    (path / "helpers_of_a_test" / "sizes.py").write_text("import pyarrow\n\ndef width():\n    return 3\n")
    file = tmp_path / "network.py"
    file.write_text(NETWORK)
    monkeypatch.syspath_prepend(path)
    own = register_toy(run_dir, PluginGenerator.model_validate(f"{file}:Own"))
    expected = load_run_generator(own.run_dir).sample(5, TEMPERATURE, seed=1)
    pinned = (own.model_dir / "requirements.txt").read_text().split()
    more = [f"{name}=={version(name)}" for name in ("scipy", "pyarrow")]
    assert pinned == [*(f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS), *more]
    assert sorted(one.name for one in (own.model_dir / "code").iterdir()) == ["helpers_of_a_test", "rlgan"]

    file.unlink()
    shutil.rmtree(path)
    command = [sys.executable, "-c", LOAD.format(preparation=WITH)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": own.uri, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["seed 1"] == expected

    # Whoever samples from it here is asked whether its code may be executed.
    monkeypatch.setattr(extensions.memory, "sources", {})
    sample = ("sample", "--model", "models:/toy/1", "--tracking-uri", own.uri, "--num", 5, "--seed", 1)
    answer = ask(capsys, *sample)
    assert answer.status == 2 and "--trust-code (trust_code=True in Python)" in answer.err
    with refused(CheckpointError, "plugin_not_at_hand", match=r"^models:/toy/1: .*models:/toy/1/generator.json.*"):
        rlgan.load("models:/toy/1", tracking_uri=own.uri).sample(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(own.model_dir / "code")
        assert ask(capsys, *sample, "--trust-code").out.splitlines() == expected


# ------------------------------------------------------------------------------------------------------ fetching


@pytest.mark.parametrize("address", ["models:/toy/1", "models:/toy@best"])
def test_what_is_fetched_are_the_two_files_and_then_they_are_gone(own: Registered, address: str) -> None:
    Server(own.run_dir).client.set_registered_model_alias("toy", "best", "1")
    with fetch(own.uri, address) as folder:
        assert sorted(path.name for path in folder.parent.rglob("*") if path.is_file()) == [
            "generator.json",
            "generator.safetensors",
        ]
        assert load_run_generator(folder).sample(3, 1.0, 4) == load_run_generator(own.run_dir).sample(3, 1.0, 4)
    assert not folder.exists()
    assert (own.model_dir / "artifacts" / "generator.json").exists()


def test_code_of_the_registry_is_never_run(
    own: Registered, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    trap = own.run_dir / "trap"
    for path in own.model_dir.rglob("*.py"):
        path.write_text(f"from __future__ import annotations\nopen({str(trap)!r}, 'w').close()\n")
    answer = ask(capsys, "sample", "--model", "models:/toy/1", "--tracking-uri", own.uri)
    assert answer.status == 0, answer.err
    assert not trap.exists()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("mlflow.models.model.__mlflow_model__", None)
    with pytest.raises(mlflow.exceptions.MlflowException):
        mlflow.pyfunc.load_model(str(own.model_dir))
    assert trap.exists(), "the trap works: this is what loading the model would have done"


def test_a_damaged_generator_is_named_by_its_address(own: Registered) -> None:
    (own.model_dir / "artifacts" / "generator.json").write_text("{}")
    with (
        refused(CheckpointError, "damaged_generator", match="^models:/toy/1: "),
        fetch(own.uri, "models:/toy/1") as folder,
    ):
        load_run_generator(folder)
    (own.model_dir / "artifacts" / "generator.safetensors").unlink()
    with (
        pytest.raises(
            CheckpointError, match=r"^models:/toy/1: its file artifacts/generator.safetensors cannot be downloaded"
        ),
        fetch(own.uri, "models:/toy/1"),
    ):
        pass


def test_a_model_of_somebody_else_is_refused(own: Registered) -> None:
    described = own.model_dir / "MLmodel"
    before = yaml.safe_load(described.read_text())
    for signature in (None, {**before["signature"], "params": "[]"}):
        described.write_text(yaml.safe_dump({**before, "signature": signature}))
        with refused(CheckpointError, "not_our_model"):
            find_generator(own.uri, "models:/toy/1")
    described.unlink()
    with refused(CheckpointError, "model_file_missing", match="MLmodel"):
        find_generator(own.uri, "models:/toy/1")


# ------------------------------------------------------------------------------------------------------ the command


def test_a_registered_generator_samples_at_its_temperature(
    registered: Registered, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = load_run_generator(registered.run_dir)

    def lines(*arguments: Any) -> list[str]:
        answer = ask(capsys, "sample", "--model", "models:/toy/1", *arguments)
        assert answer.status == 0 and re.fullmatch(r"models:/toy/1: temperature [\d.]+, seed \d+\n", answer.err)
        return answer.out.splitlines()

    assert lines("--tracking-uri", registered.uri) == exported.sample(10, TEMPERATURE, 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.uri)
    assert lines("--num", 3, "--temperature", 2, "--seed", 7) == exported.sample(3, 2.0, 7)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (registered.run_dir.parent / "elsewhere").mkdir()
    monkeypatch.chdir(registered.run_dir.parent / "elsewhere")
    Path("runs").symlink_to("..")
    assert lines("--num", 2) == exported.sample(2, TEMPERATURE, 0)


def test_a_run_still_samples_at_temperature_one(registered: Registered, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "sample", "--run", registered.run_dir)
    assert answer.out.splitlines() == load_run_generator(registered.run_dir).sample(10, 1.0, 0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models:/toi/1", "has no registered model 'toi'. Did you mean 'toy'? It has toy."),
        ("models:/toy/7", "has no such version of 'toy'. Existing versions are /1."),
        ("models:/toy@best", "has no such version of 'toy'. Existing versions are /1."),
        ("runs:/abc/generator", "is not the address of a registered model"),
        ("models:/../1", "has no registered model"),
    ],
)
def test_what_is_not_registered_is_named_with_what_is(
    registered: Registered, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    answer = ask(capsys, "sample", "--model", model, "--tracking-uri", registered.uri)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err and answer.err.count("\n") == 1


def test_aliases_are_among_what_there_is(own: Registered) -> None:
    Server(own.run_dir).client.set_registered_model_alias("toy", "best", "1")
    with refused(TrackingError, "no_model_version", match=r"/1, @best\."):
        find_generator(own.uri, "models:/toy@worst")


def test_a_registry_that_cannot_be_reached_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "sample", "--model", "models:/toy/1", "--tracking-uri", "http://me:secret@127.0.0.1:9")
    assert answer.status == 2 and "MLflow at http://…@127.0.0.1:9 does not respond" in answer.err
    assert "secret" not in answer.err


def test_a_second_generator_is_another(own: Registered, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    save_generator(folder)
    assert register(own.uri, own.run_id, folder, "other", 1.0, {}) == 1
    with fetch(own.uri, "models:/other/1") as fetched:
        assert load_run_generator(fetched).sample(5) == load_run_generator(folder).sample(5)
