"""docs/tutorial-chat.md, from top to bottom, as its reader goes through it; only shorter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgan.__main__ import run
from tests.support import documents
from tests.support.documents import PROJECT
from tests.support.language_models import require

PAGE = "docs/tutorial-chat.md"
SMALLER = (
    *("--evaluation.num-sequences", "8", "--evaluation.final-sequences", "8", "--evaluation.temperatures", "1"),
    *("--workers.threads", "1"),
)
SHORTER = {
    "sft": ("--schedule.mle-epochs", "1"),
    "gad": ("--schedule.discriminator-rounds", "1", "--schedule.adversarial-updates", "1"),
}


@pytest.mark.heavy
def test_every_step_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    require()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    done = []
    for block in documents.blocks((PROJECT / PAGE).read_text("utf-8")):
        if block.language == "python":
            exec(compile(block.text, f"{PAGE}:{block.first}", "exec"), names)
            continue
        for command in documents.commands(PAGE, "\n" + "".join(f"    {line}\n" for line in block.text.splitlines())):
            if documents.program(command.text) in ("mlflow", "curl"):
                continue  # a server, which examples/chat_end_to_end.py starts
            program, *typed = documents.words(command.text)
            assert program == "rlgan", command
            status = run([*typed, *((*SMALLER, *SHORTER[typed[1]]) if typed[0] == "train" else ())])
            assert status == 0, f"{command.text}: {capsys.readouterr().err}"
            done.append(typed[0])
    assert done == ["train", "train", "sample", "export", "train", "register", "sample"]
    assert "`sft`" in (tmp_path / "my-chat-model/README.md").read_text("utf-8")
