"""A run goes on with a plug-in whose source has changed: only where the user says so, and its folder tells of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgan import extensions
from rlgan.cli.main import main
from rlgan.config.paths import to_dict
from rlgan.generators.plugin import PluginGenerator
from rlgan.policy.reward_functions import PluginReward
from rlgan.runs.plugin_changes import (
    PluginChange,
    change_tags,
    changes_of,
    record_changes,
    recorded_changes,
    with_changes,
    without_digests,
)
from rlgan.runs.run import RunRequest, run
from tests.support import plugin_networks
from tests.support.commands import rows_of, write_config
from tests.support.runs import assert_ends_alike, small, stop_after

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

TEXT = """def even(completion_ids, completions):
    return [sum(token % 2 == 0 for token in row) / max(1, len(row)) for row in completion_ids]
"""
MENDED = f"# The same numbers by other lines.\n{TEXT}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def forget() -> None:
    """As if this process had just begun."""
    for part in (extensions.memory.sources, extensions.memory.modules, extensions.memory.built, extensions.memory.own):
        part.clear()


def stopped(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "even") -> Path:
    """A run of that function that stopped after four iterations."""
    config = small(reward=PluginReward(functions=({"name": f"{file}:{name}"},)), controls=())
    path = write_config(folder.parent / f"{folder.name}.json", config)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert main(["train", "--config", str(path), "--out", str(folder)]) == 130
    return folder


def test_a_mended_function_is_accepted_and_written_down(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(reward=PluginReward(functions=({"name": f"{file}:even"},)), controls=())
    path = write_config(tmp_path / "whole.json", config)
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "whole")]) == 0
    folder = stopped(file, tmp_path / "run", monkeypatch)
    file.write_text(MENDED)
    forget()
    capsys.readouterr()
    assert main(["train", "--resume", str(folder)]) == 2
    assert "[plugin_changed]" in capsys.readouterr().err
    before = (folder / "config.json").read_bytes()
    accept = ["train", "--resume", str(folder), "--accept-changed-plugins"]
    assert main([*accept, "--dry-run"]) == 0
    assert (folder / "config.json").read_bytes() == before and recorded_changes(folder) == []
    forget()
    assert main(accept) == 0
    assert "continues with a new source of reward plug-in" in capsys.readouterr().out
    old, new = (extensions.digest_of(text) for text in (TEXT, MENDED))
    assert recorded_changes(folder) == [
        {"after_iterations": 4, "kind": "reward", "name": f"{file}:even", "before": old, "now": new}
    ]
    assert change_tags(folder) == {"changed_plugins": f"reward {file}:even after 4 iterations"}
    (function,) = json.loads((folder / "config.json").read_text())["reward"]["functions"]
    assert function["digest"] == new
    assert {path.name for path in (folder / "plugins").iterdir()} == {f"{old[:16]}.py", f"{new[:16]}.py"}
    # Other lines and the same numbers: what the option changes is the digest alone.
    assert_ends_alike(tmp_path / "whole", folder)
    # From now on the run is one of the new source.
    forget()
    assert main(["train", "--resume", str(folder)]) == 0
    assert main(accept) == 2 and "[accept_changed_without_change]" in capsys.readouterr().err


def test_the_option_without_effect_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "quick", "--accept-changed-plugins"]) == 2
    assert "[accept_changed_without_resume]" in capsys.readouterr().err
    folder = stopped(file, tmp_path / "run", monkeypatch)
    assert main(["train", "--resume", str(folder), "--accept-changed-plugins"]) == 2
    assert "[accept_changed_without_change]" in capsys.readouterr().err


def test_what_changed_may_be_a_strangers(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To accept another source is no leave to execute what lies in the folder itself."""
    folder = tmp_path / "run"
    folder.mkdir()
    inside = folder / "mine.py"
    inside.write_text(TEXT)
    stopped(inside, folder, monkeypatch)
    marker = tmp_path / "executed"
    inside.write_text(f"open({str(marker)!r}, 'w')\n{TEXT}")
    forget()
    accept = ["train", "--resume", str(folder), "--accept-changed-plugins"]
    assert main(accept) == 2
    assert "--trust-code" in capsys.readouterr().err and not marker.exists()
    assert main([*accept, "--trust-code"]) == 0 and marker.exists()


def test_a_new_source_that_is_no_reward_leaves_the_run_as_it_was(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped(file, tmp_path / "run", monkeypatch)
    rows, config = rows_of(folder), (folder / "config.json").read_bytes()
    for text in ("even = 3\n", "def even(what):\n    return 1\n", "def odd(completions):\n    return 1\n"):
        file.write_text(text)
        forget()
        assert main(["train", "--resume", str(folder), "--accept-changed-plugins"]) == 2
        assert "even" in capsys.readouterr().err
        assert rows_of(folder) == rows and (folder / "config.json").read_bytes() == config
        assert recorded_changes(folder) == []


def test_weights_that_do_not_fit_the_new_network_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "networks.py"
    text = Path(plugin_networks.__file__).read_text("utf-8")
    file.write_text(text)
    generator = PluginGenerator.model_validate({"name": f"{file}:Gru", "options": {"width": 5}})
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert run(RunRequest(small(generator=generator, controls=()), folder, resume=False)).stopped
    assert "nn.Embedding(space.vocab_size, width)" in text and "nn.GRU(width, width" in text
    file.write_text(
        text.replace("nn.GRU(width, width", "nn.GRU(width, 2 * width").replace(
            "nn.Linear(width, space", "nn.Linear(2 * width, space"
        )
    )
    forget()
    before = (folder / "config.json").read_bytes()
    assert main(["train", "--resume", str(folder), "--accept-changed-plugins"]) == 2
    assert "[state_does_not_fit_plugin]" in capsys.readouterr().err
    assert (folder / "config.json").read_bytes() == before and recorded_changes(folder) == []
    file.write_text(text)
    forget()
    assert main(["train", "--resume", str(folder)]) == 0


def test_a_change_is_of_one_name_and_digest(file: Path, tmp_path: Path) -> None:
    config = small(reward=PluginReward(functions=({"name": f"{file}:even", "weight": 2.0},)), controls=())
    assert changes_of(config.reward.functions) == ()  # type: ignore[union-attr]
    change = PluginChange("reward", f"{file}:even", extensions.digest_of(TEXT), "f" * 64)
    other = PluginChange("reward", f"{file}:odd", extensions.digest_of(TEXT), "e" * 64)
    changed = to_dict(with_changes(config, (change, other)))
    assert changed["reward"]["functions"][0]["digest"] == "f" * 64
    # The source of another plug-in was equal and has changed alone: this one stays.
    assert to_dict(with_changes(config, (other,))) == to_dict(config)
    assert without_digests(changed) == without_digests(to_dict(config)) != to_dict(config)
    record_changes(tmp_path, (change,), 3)
    record_changes(tmp_path, (other,), 5)
    assert [row["after_iterations"] for row in recorded_changes(tmp_path)] == [3, 5]
