"""The help of each verb: grouped, fits 80 columns, and its example is one that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from rlgan.__main__ import VERBS as ABOVE
from rlgan.__main__ import run
from rlgan.cli import main
from rlgan.cli.options import TOKENS, Choices, resolve, task_of
from rlgan.cli.verbs import Verb

VERBS = {one.name: one for one in (*main.VERBS, *ABOVE)}
WAYS = [("runs", "list"), ("oracle", "convert"), ("oracle", "generate")]


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            run([*words, "--help"])
        assert end.value.code == 0
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize("words", [(), *((name,) for name in VERBS), *WAYS])
def test_help_fits_eighty_columns(help_of, words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    assert [line for line in help_of(*words).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("verb", "groups"),
    [
        ("train", ["options", "data", "settings", "run", "code of your own"]),
        ("sample", ["options", "run", "data", "settings", "code of your own"]),
        ("evaluate", ["options", "run", "settings", "data", "code of your own"]),
        ("tune", ["options", "data", "run", "settings", "code of your own"]),
        ("compare", ["options", "run"]),
        ("show-config", ["options", "data", "settings", "output", "code of your own"]),
    ],
)
def test_options_stand_in_groups(help_of, verb: str, groups: list[str]) -> None:  # type: ignore[no-untyped-def]
    text = help_of(verb)
    assert re.findall(r"^([a-z][\w ]*):$", text, re.MULTILINE) == groups
    # Everything has its group: what stands under no other is the help alone.
    alone = text.split("\noptions:\n")[1].split("\n\n")[0]
    assert alone.split() == ["-h,", "--help", "show", "this", "help", "message", "and", "exit"]


@pytest.mark.parametrize("name", VERBS)
def test_the_example_is_shown_and_parses(
    help_of,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    verb: Verb = VERBS[name]
    assert f"Example:\n  rlgan {verb.example}\n" in help_of(name)
    monkeypatch.chdir(tmp_path)
    asked: list[Any] = []

    def instead(*arguments: Any) -> int:
        asked.append(arguments)
        return 0

    monkeypatch.setattr(verb.load(), "run", instead)
    words = shlex.split(verb.example)
    assert words[0] == name and run(words) == 0
    options, overrides = asked[0]
    if name in ("train", "show-config"):
        resolve(Choices.of(options), overrides)
    if name == "tune":
        assert not overrides and task_of(Choices.of(options)) is not None


def test_kinds_of_tokens_are_those_of_the_text_task() -> None:
    from rlgan.envs.tasks import TextTask

    for kind in TOKENS:
        values = {"kind": kind, "pattern": "."} if kind == "regex" else kind
        assert TextTask.model_validate({"data": "a.txt", "tokens": values})
