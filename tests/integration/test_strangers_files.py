"""Files from strangers: pickles are never loaded and code is never executed unasked, whichever verb reads them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgan import extensions
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.config.config import Config
from rlgan.discriminators import PluginDiscriminator
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.generators import PluginGenerator
from rlgan.policy.reward_functions import PluginReward
from rlgan.runs.reward_function import reward_of_run
from tests.support import plugin_networks
from tests.support.commands import Answer, ask, copy_of, write_config
from tests.support.runs import small
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.integration


class Payload:
    """Makes a folder when it is unpickled, whoever does it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def as_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark)))


def as_torch_archive(path: Path, mark: Path) -> None:
    torch.save({"output.bias": Payload(mark)}, path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a stranger: complete, and without its last file so that --resume has work to do."""
    from rlgan.cli.main import main

    folder = tmp_path_factory.mktemp("stranger")
    config = write_config(folder / "c.json", tiny_config())
    assert main(["train", "--config", str(config), "--out", str(folder / "run")]) == 0
    (folder / "run" / "table.txt").unlink()
    return folder / "run"


VERBS = {
    "train --resume": ["train", "--resume"],
    "sample": ["sample", "--num", "2", "--run"],
    "evaluate": ["evaluate", "--run"],
}
FILES = [
    "config.json",
    "data.json",
    "generator.json",
    "generator.safetensors",
    "checkpoints/*/state.json",
    "checkpoints/*/*.safetensors",
]
READ_BY = {  # what a verb does not read cannot harm it either
    "train --resume": {"config.json", "data.json", "checkpoints/*/state.json", "checkpoints/*/*.safetensors"},
    "sample": {"generator.json", "generator.safetensors"},
    "evaluate": {"config.json", "data.json", "generator.json", "generator.safetensors"},
}


@pytest.mark.heavy
@pytest.mark.parametrize("disguise", [as_pickle, pytest.param(as_torch_archive, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_pickle_under_our_name_is_refused_and_not_loaded(
    verb: str,
    file: str,
    disguise: Callable[[Path, Path], None],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, mark = copy_of(finished, tmp_path / "run"), tmp_path / "was-unpickled"
    replaced = sorted(run_dir.glob(file))
    assert replaced, f"a run has no {file} any more"
    for path in replaced:
        disguise(path, mark)
    answer = ask(capsys, *VERBS[verb], run_dir)
    assert not mark.exists(), "a stranger's code was run"
    if file in READ_BY[verb]:
        assert answer.status == 2 and answer.err.startswith("rlgan: ") and answer.err.count("\n") == 1, answer
    else:
        assert answer.status == 0, answer


@pytest.mark.parametrize("disguise", [as_pickle, as_torch_archive])
def test_the_disguises_would_act_if_they_were_loaded(disguise: Callable[[Path, Path], None], tmp_path: Path) -> None:
    disguise(tmp_path / "file", tmp_path / "mark")
    torch.load(tmp_path / "file", weights_only=False) if disguise is as_torch_archive else pickle.loads(
        (tmp_path / "file").read_bytes()
    )
    assert (tmp_path / "mark").exists()
    shutil.rmtree(tmp_path / "mark")


# ------------------------------------------------------------------------------------------------------------- code


EVIL = f"""import os, pathlib
pathlib.Path(os.environ["RLGAN_MARK"]).touch()
{Path(plugin_networks.__file__).read_text("utf-8").replace("from __future__ import annotations", "")}

def brevity(completions):
    return [-float(len(text)) for text in completions]


def length(texts):
    return float(len(texts))
"""


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had just begun."""
    for name in ("sources", "modules", "built"):
        monkeypatch.setattr(extensions.memory, name, {})
    monkeypatch.setattr(extensions.memory, "own", set())


def coded(folder: Path) -> Config:
    """A run of seconds whose networks, reward and metric are a stranger's."""
    (folder / "work").mkdir(parents=True)
    file = folder / "work" / "evil.py"
    file.write_text(EVIL, "utf-8")
    base = small(
        generator=PluginGenerator.model_validate({"name": f"{file}:Gru"}),
        discriminator=PluginDiscriminator.model_validate({"name": f"{file}:Bag"}),
        reward=PluginReward.model_validate({"functions": [{"name": f"{file}:brevity"}]}),
        controls=(),
    )
    metrics = (OwnMetric.model_validate({"name": f"{file}:length"}),)
    return base.model_copy(update={"evaluation": base.evaluation.model_copy(update={"metrics": metrics})})


@pytest.fixture(scope="module")
def with_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with code, whose file is gone; sent to a storage, too. Its last local file is gone, likewise."""
    from rlgan.cli.main import main

    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLGAN_MARK", str(folder / "mark"))
        config = write_config(folder / "c.json", coded(folder))
        to = ["--out", str(folder / "run"), "--storage", (folder / "shared").as_uri()]
        assert main(["train", "--config", str(config), *to]) == 0
    (folder / "run" / "table.txt").unlink()
    (folder / "shared" / "run" / "table.txt").unlink()
    (folder / "work" / "evil.py").unlink()
    return folder


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Is made whenever the stranger's code is executed."""
    monkeypatch.setenv("RLGAN_MARK", str(tmp_path / "mark"))
    forget(monkeypatch)
    return tmp_path / "mark"


def refused(answer: Answer, mark: Path) -> None:
    assert not mark.exists(), "a stranger's code was run"
    assert answer.status == 2 and answer.err.startswith("rlgan: ") and answer.err.count("\n") == 1, answer
    assert "--trust-code" in answer.err or "has no digest" in answer.err, answer.err


@pytest.mark.heavy
@pytest.mark.parametrize("verb", VERBS)
def test_code_that_a_run_keeps_is_executed_only_if_asked(
    verb: str, with_code: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copy_of(with_code / "run", tmp_path / "run")
    refused(ask(capsys, *VERBS[verb], run_dir), mark)
    assert "--trust-code" in ask(capsys, *VERBS[verb], run_dir).err
    trusted = ask(capsys, *VERBS[verb], run_dir, "--trust-code")
    assert trusted.status == 0 and mark.exists(), trusted.err


@pytest.mark.heavy
@pytest.mark.parametrize("verb", VERBS)
def test_code_of_a_run_in_a_storage_is_fetched_and_executed_only_if_asked(
    verb: str,
    with_code: Path,
    mark: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = copy_of(with_code / "shared", tmp_path / "shared").as_uri() + "/run"
    assert (tmp_path / "shared" / "run" / "plugins").is_dir()
    refused(ask(capsys, *VERBS[verb], uri), mark)
    trusted = ask(capsys, *VERBS[verb], uri, "--trust-code")
    assert trusted.status == 0 and mark.exists(), trusted.err


@pytest.mark.heavy
@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_lies_where_it_lay_needs_no_flag(
    verb: str, with_code: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = with_code / "work" / "evil.py"
    file.write_text(EVIL, "utf-8")
    try:
        found = ask(capsys, *VERBS[verb], copy_of(with_code / "run", tmp_path / "run"))
        assert found.status == 0 and mark.exists(), found.err
    finally:
        file.unlink()


def named(value: Any, name: Callable[[str], str], digest: str | None) -> Any:
    """A configuration whose plug-ins have another name, and another digest unless that is None."""
    if isinstance(value, list):
        return [named(one, name, digest) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: named(one, name, digest) for key, one in value.items()}
    if "digest" in changed and "options" in changed:
        changed["name"] = name(changed["name"].rpartition(":")[2])
        if digest is not None:
            changed["digest"] = digest
    return changed


def rename(run_dir: Path, name: Callable[[str], str], digest: str | None = None) -> None:
    """Change every plug-in of a folder; what the folder keeps of their sources is gone."""
    shutil.rmtree(run_dir / "plugins")
    for file in ("config.json", "generator.json", "discriminator.json"):
        values = named(json.loads((run_dir / file).read_text("utf-8")), name, digest)
        values.pop("source", None)
        (run_dir / file).write_text(json.dumps(values), "utf-8")


@pytest.mark.heavy
@pytest.mark.parametrize("digest", ["", None], ids=["none", "its own"])
@pytest.mark.parametrize("place", ["file", "module", "elsewhere"])
@pytest.mark.parametrize("verb", [*VERBS, "reward_of_run"])
def test_a_digest_of_the_same_stranger_is_no_leave(
    verb: str,
    place: str,
    digest: str | None,
    with_code: Path,
    mark: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_dir = copy_of(with_code / "run", tmp_path / "s" / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m rlgan` has it
    # Elsewhere: among the packages of another Python, which a stranger knows by heart.
    file = tmp_path / "site-packages" / "evil.py" if place == "elsewhere" else run_dir / "evil.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(EVIL, "utf-8")
    prefix = "s.run.evil" if place == "module" else str(file.relative_to(tmp_path))
    rename(run_dir, lambda name: f"{prefix}:{name}", digest)
    if verb == "reward_of_run":
        with pytest.raises((CheckpointError, ConfigError), match="--trust-code|has no digest"):
            reward_of_run(run_dir)
        assert not mark.exists()
    else:
        refused(ask(capsys, *VERBS[verb], run_dir), mark)


@pytest.mark.heavy
def test_an_installed_function_that_runs_commands_is_not_called(
    with_code: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its source is in every Python, so the right digest of it makes nothing one's own."""
    source = Path(subprocess.__file__)
    for name in ("subprocess:getoutput", f"{source}:getoutput"):
        run_dir = copy_of(with_code / "run", tmp_path / f"run-{len(name)}")
        config = json.loads((run_dir / "config.json").read_text("utf-8"))
        digest = extensions.digest_of(source.read_text("utf-8"))
        options = {"cmd": f"touch {mark}"}
        config["task"] = {"kind": "plugin", "name": name, "options": options, "digest": digest}
        (run_dir / "config.json").write_text(json.dumps(config), "utf-8")
        for verb in ("evaluate", "train --resume"):
            refused(ask(capsys, *VERBS[verb], run_dir), mark)


@pytest.mark.heavy
def test_a_discriminator_of_somebodys_own_is_a_reward_if_asked(
    with_code: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = copy_of(with_code / "run", tmp_path / "run")
    sources = [run_dir, max((run_dir / "checkpoints").iterdir())]
    tokens = torch.randint(0, 20, (5, 6), generator=torch.Generator().manual_seed(1))
    found = []
    for source in sources:
        forget(monkeypatch)
        with pytest.raises(CheckpointError, match="--trust-code") as raised:
            reward_of_run(source, "logit")
        assert "Give one of the run's checkpoints" not in str(raised.value) and not mark.exists()
        reward = reward_of_run(source, "logit", trust_code=True)
        assert mark.exists()
        mark.unlink()
        found.append(reward(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    assert torch.equal(*found)
