"""A sweep that is taken up again executes what it began with: nothing else, and nothing of a stranger's unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlgan import extensions
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.runs.plugin_changes import recorded_changes
from rlgan.tuning import sweep as sweeps
from rlgan.tuning.requests import new_request, taken_up
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.space.code import named_in
from rlgan.tuning.sweep import preview, sweep
from tests.support.errors import refused
from tests.support.tiny_sweep import TASK

REWARD = "def brevity(completions):\n    return [-float(len(text)) for text in completions]\n"
STUDY = """from rlgan.tuning import Study

STUDY = Study(name="own", description="of a test", preset="seqgan", axes={"optimizers.generator.lr": None})
"""
SETTINGS = SweepSettings(search="random", scheduler="none", trials=2, finalists=0)


def forget() -> None:
    """As if this process had just begun."""
    for part in (extensions.memory.sources, extensions.memory.modules, extensions.memory.built, extensions.memory.own):
        part.clear()


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of no trial yet, with a study and a reward of its user's."""
    monkeypatch.setattr(sweeps, "_work", lambda *_: "interrupted")
    (tmp_path / "mine.py").write_text(REWARD)
    (tmp_path / "study.py").write_text(STUDY)
    changes = {"reward": f"{tmp_path / 'mine.py'}:brevity", "tracking.enabled": False}
    folder = tmp_path / "sweep"
    sweep(new_request(str(tmp_path / "study.py"), TASK, changes, SETTINGS, folder), lambda _: None)
    forget()
    return folder


def again(folder: Path, **allowed: Any) -> list[str]:
    said: list[str] = []
    request = taken_up(folder, {}, **allowed)
    preview(request)
    sweep(request, said.append)
    return said


def test_what_a_sweep_executes_is_listed_and_kept(begun: Path) -> None:
    listed = json.loads((begun / "sweep.json").read_text())["code"]
    names = {one["name"]: one["digest"] for one in listed}
    study, reward = (begun.parent / name for name in ("study.py", "mine.py"))
    assert names == {
        f"{study}:STUDY": extensions.digest_of(STUDY),
        f"{reward}:brevity": extensions.digest_of(REWARD),
    }
    assert {path.read_text() for path in (begun / "plugins").iterdir()} == {STUDY, REWARD}
    again(begun)


@pytest.mark.parametrize(("name", "old"), [("mine.py", REWARD), ("study.py", STUDY)])
def test_a_source_that_changed_is_refused_before_it_is_executed_or_accepted_and_written_down(
    begun: Path, name: str, old: str
) -> None:
    file, marker = begun.parent / name, begun.parent / "executed"
    new = f"open({str(marker)!r}, 'w')\n{old}"
    file.write_text(new)
    with refused(ConfigError, "plugin_changed", match="--accept-changed-plugins"):
        taken_up(begun, {})
    assert not marker.exists() and recorded_changes(begun) == []
    said = again(begun, accept_changed_plugins=True)
    assert marker.exists() and any("continues with a new source" in line for line in said)
    (row,) = recorded_changes(begun)
    assert (row["after_trials"], row["before"], row["now"]) == (0, extensions.digest_of(old), extensions.digest_of(new))
    forget()
    again(begun)  # from now on it is one of the new source
    with refused(ConfigError, "accept_changed_without_source"):
        taken_up(begun, {}, accept_changed_plugins=True)


@pytest.mark.parametrize("what", ["study", "reward", "without a digest", "toml", "stdlib"])
def test_code_of_a_strangers_folder_is_not_executed_unasked(begun: Path, what: str) -> None:
    marker = begun / "executed"
    evil = begun / "evil.py"
    evil.write_text(f"open({str(marker)!r}, 'w')\n{STUDY}{REWARD}")
    path = begun / "sweep.json"
    kept = json.loads(path.read_text())
    digest = extensions.digest_of(evil.read_text())
    if what == "study":
        kept["words"]["study"] = str(evil)
        kept["code"].append({"kind": "preset", "name": f"{evil}:STUDY", "digest": digest})
    elif what == "reward":
        kept["words"]["changes"]["reward"] = f"{evil}:brevity"
        kept["code"].append({"kind": "reward", "name": f"{evil}:brevity", "digest": digest})
    elif what == "without a digest":
        kept["words"]["task"] = {"kind": "plugin", "name": f"{evil}:brevity"}
    elif what == "toml":
        toml = begun / "study.toml"
        toml.write_text(f'preset = "{evil}:brevity"\n[axes]\n"optimizers.generator.lr" = [0.001, 0.01]\n')
        kept["words"]["study"] = str(toml)
    else:
        kept["words"]["study"] = str(Path(json.__file__).with_name("tool.py"))
    path.write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match="--trust-code"):
        taken_up(begun, {})
    assert not marker.exists()


def test_a_sweep_that_kept_no_list_asks_for_trust(begun: Path) -> None:
    path = begun / "sweep.json"
    kept = json.loads(path.read_text())
    del kept["code"]
    path.write_text(json.dumps(kept))
    with refused(CheckpointError, "study_plugin_not_listed", match="--trust-code"):
        taken_up(begun, {})
    again(begun, trust_code=True)
    assert len(json.loads(path.read_text())["code"]) == 2


def test_names_of_code_are_found_at_any_depth() -> None:
    tree = {"a": ["x.py:f,package.module:g", {"b": "plain"}], "c": "studies/mine.py", "d": 3, "e": None}
    assert list(named_in(tree)) == ["x.py:f", "package.module:g", "studies/mine.py:STUDY"]
