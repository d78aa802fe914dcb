"""The completion script, asked by a shell as a shell asks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ask

ASKS = """
source {script}
function=$(complete -p rlgan | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$function rlgan "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_presets_settings_and_variants(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    answer = ask(capsys, "completion", "bash")
    assert (answer.status, answer.err) == (0, "")
    script = tmp_path / "script"
    script.write_text(answer.out)
    (tmp_path / "lines.txt").touch()
    for words, completed in {
        "rlgan ev": "evaluate",
        "rlgan runs l": "list",
        "rlgan train seqgan_g": "seqgan_grpo",
        "rlgan train --generator.hid": "--generator.hidden",
        "rlgan train --credit term": "terminal",
        "rlgan tune from_": "from_scratch",
        "rlgan train --data lin": "lines.txt",
    }.items():
        shown = subprocess.run(
            ["bash", "-c", ASKS.format(script=script, words=words)],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout.split() == [completed], words


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_with_each_verb(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    pytest.importorskip("shtab")
    answer = ask(capsys, "completion", shell)
    assert answer.status == 0
    assert all(verb in answer.out for verb in ("train", "tune", "doctor", "register", "generator.hidden"))


def test_without_shtab_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    answer = ask(capsys, "completion", "bash")
    assert answer.status == 2 and "Install the extra `completion`" in answer.err and "[completion]" in answer.err
    assert ask(capsys, "completion", "fish").status == 2
