"""`show-config --changed`: what is no default, who chose it, and that it reads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgan.presets.registry import PRESETS
from tests.support.commands import ask


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Setting → who chose it."""
    answer = ask(capsys, "show-config", "--changed", *arguments)
    assert (answer.status, answer.err) == (0, "")
    lines = (line.split("  # ") for line in answer.out.splitlines())
    return {setting.rstrip(): by for setting, by in lines}


def test_each_is_said_with_who_chose_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "seqgan", "--seed", "4", "--generator.hidden", "8", "--controls", "none")
    assert found == {
        'preset = "seqgan"': "preset seqgan",
        "seed = 4": "you",
        'task = "oracle"': "preset seqgan",
        "generator.hidden = 8": "you",
        "controls = []": "you",  # the default, which the preset had changed
    }


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_is_shown_makes_the_same_configuration_of_the_preset(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """And of quick, whatever that chose: nothing is missing that the preset did."""
    data = tmp_path / "data.tsv"
    data.write_text("a b\tc d\n" * 30)
    needs = {"text": ["--data", str(data)], "pairs": ["--pairs", str(data)]}
    for words in ([], *needs.values()):
        answer = ask(capsys, "show-config", name, *words, "--seed", "7", "--changed", "--json")
        if answer.status == 0:
            break
    assert answer.status == 0, answer.err
    whole = ask(capsys, "show-config", name, *words, "--seed", "7", "--json").out
    (tmp_path / "mine.json").write_text(answer.out)
    again = ask(capsys, "show-config", name, *words, "--config", str(tmp_path / "mine.json"), "--json")
    assert again.err == "" and json.loads(again.out) == json.loads(whole)
