"""A registered generator that is code of one's own: drawn from with that code, or with what came along if asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgan import extensions
from rlgan.generators import PluginGenerator
from rlgan.storage.export import load_run_generator
from tests.support import plugin_networks
from tests.support.commands import ask
from tests.support.registered import register_toy


@pytest.mark.heavy
def test_a_registered_generator_of_ones_own_is_drawn_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "networks.py"
    file.write_text(Path(plugin_networks.__file__).read_text("utf-8"), "utf-8")
    run_dir = tmp_path / "runs" / "toy"
    run_dir.mkdir(parents=True)
    toy = register_toy(run_dir, PluginGenerator.model_validate({"name": f"{file}:Gru", "options": {"width": 5}}))
    sample = ("sample", "--model", f"models:/toy/{toy.version}", "--tracking-uri", toy.uri, "--num", 4)
    found = ask(capsys, *sample)
    assert found.status == 0 and len(found.out.splitlines()) == 4, found.err
    file.unlink()
    for name in ("sources", "modules"):
        monkeypatch.setattr(extensions.memory, name, {})
    refused = ask(capsys, *sample)
    assert refused.status == 2 and "allow its execution with --trust-code" in refused.err
    assert not extensions.memory.modules, "nothing of it was executed"
    assert ask(capsys, *sample, "--trust-code").out == found.out
    # What a server does, which runs the code of a registry.
    for name in ("sources", "modules"):
        monkeypatch.setattr(extensions.memory, name, {})
    served = load_run_generator(toy.model_dir / "artifacts", trust_code=True)
    assert served.sample(4, 0.5, 0) == found.out.splitlines()
