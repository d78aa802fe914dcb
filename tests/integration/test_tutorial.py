"""docs/tutorial.md, from top to bottom, as its reader goes through it; only smaller and shorter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan.__main__ import run
from tests.support import documents
from tests.support.documents import PROJECT

PAGE = "docs/tutorial.md"
SMALLER = (
    *("--generator.hidden", "8", "--generator.embedding", "8", "--discriminator.embedding", "4"),
    *("--discriminator.windows", "1,2", "--discriminator.filters", "4"),
    *("--schedule.mle-epochs", "1", "--schedule.discriminator-rounds", "1", "--schedule.adversarial-updates", "1"),
    *("--schedule.g-batch", "8", "--schedule.d-steps", "1", "--adversary.sequences-per-round", "32"),
    *("--evaluation.num-sequences", "20", "--evaluation.final-sequences", "20", "--evaluation.temperatures", "1"),
    *("--controls", "none", "--tracking.enabled", "false"),
)


@pytest.mark.heavy
def test_every_step_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    text = (PROJECT / PAGE).read_text("utf-8")
    names: dict[str, Any] = {}
    done: list[list[str]] = []
    for block in documents.blocks(text):
        if block.language == "python":
            (piece,) = documents.python_blocks(PAGE, f"```python\n{block.text}```\n")
            files = documents.python_files(PAGE, f"```python\n{block.text}```\n")
            for name, content in files.items():
                Path(name).write_text(content, "utf-8")
            if not files:
                exec(compile(piece.text, f"{PAGE}:{block.first}", "exec"), names)
            continue
        for command in documents.commands(PAGE, "\n" + "".join(f"    {line}\n" for line in block.text.splitlines())):
            program, *typed = documents.words(command.text)
            assert program == "rlgan", command
            status = run([*typed, *(SMALLER if typed[0] == "train" else ())])
            assert status == 0, f"{command.text}: {capsys.readouterr().err}"
            done.append(typed)
    assert [typed[0] for typed in done] == ["train", "train", "sample", "sample", "sample", "train", "sample"]
    assert not (tmp_path / "runs/first/mlruns.db").exists() and (tmp_path / "runs/night/verdict.json").exists()
    assert "at night" in (tmp_path / "my.txt").read_text("utf-8")
