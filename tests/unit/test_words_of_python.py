"""Messages that name an option say it as it is written in Python: every one that the rooms have."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

import rlgan
from rlgan.api.words import in_python
from rlgan.cli.options import TOKENS
from rlgan.tuning.search.settings import SweepSettings
from tests.support.documents import PROJECT

OPTION = re.compile(r"(?<![\w-])--[a-z]")
# What is typed in a shell, and has no counterpart.
VERBS = "runs list|evaluate|doctor|presets|show-config|compare|register"
COMMANDS = re.compile(rf"`?rlgan (?:{VERBS})\b[^`]*`?|`hf download[^`]*`")
OF_SWEEP = ("tuning/",)
NO_MESSAGES = ("rlgan/cli/", "rlgan/api/", "rlgan/envs/", "rlgan/tuning/", "rlgan/__main__.py", "rlgan/report/html.py")
OF_GIT = ("--no-optional-locks", "--error-unmatch", "--porcelain")


def text_of(node: ast.expr) -> str:
    """What an expression of a message says, with the path of a run for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    said = ""
    for one in node.values:
        if isinstance(one, ast.Constant):
            said += str(one.value)
        else:  # what follows dashes is an option, and a sweep has these two as a run has them
            said += "seed" if said.endswith("--") else "runs/x"
    return said


def messages() -> Iterator[tuple[str, str]]:
    """(file, text) of each string of the rooms below the command line that names an option or a command."""
    for folder in ("rlgan", "envs", "tuning"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            name = path.relative_to(PROJECT).as_posix()
            if name.startswith(NO_MESSAGES) or not path.is_file():
                continue
            tree = ast.parse(path.read_text("utf-8"))
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            passed = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for one in node.values}
            for node in ast.walk(tree):
                if isinstance(node, documented):
                    passed |= {id(one.value) for one in node.body if isinstance(one, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in passed:
                    text = text_of(node)
                    if (OPTION.search(text) or "rlgan train" in text) and text not in OF_GIT:
                        yield name, text


FOUND = sorted(set(messages()))


def test_there_are_messages_that_name_options() -> None:
    assert len(FOUND) > 60 and {name.split("/")[0] for name, _ in FOUND} == {"rlgan", "envs", "tuning"}


@pytest.mark.parametrize(("name", "text"), FOUND, ids=range(len(FOUND)))
def test_no_message_that_names_an_option_names_it_in_python(name: str, text: str) -> None:
    said = in_python(text, of_sweep=name.startswith(OF_SWEEP))
    rest = COMMANDS.sub("", re.sub(r"`rlgan [^`]*--dry-run[^`]*`?", "", said))
    assert not OPTION.search(rest), said
    assert not re.search(r"rlgan (train|tune|sample|extend)\b", rest), said
    assert in_python(said, of_sweep=name.startswith(OF_SWEEP)) == said  # once is enough


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("Go on with it by --resume runs/a.b, or name", "Go on with it by rlgan.load('runs/a.b').resume(), or name"),
        ("Go on by --resume runs/a first.", "Go on by rlgan.load('runs/a').resume() first."),
        ("with: rlgan train --resume a --trust-code", "with: rlgan.load('a', trust_code=True).resume()"),
        ("by: rlgan train --resume a --storage s3://b", "by: rlgan.load('a').resume(storage='s3://b')"),
        ("--out runs/x: already holds", "out='runs/x': already holds"),
        ("write, by --out or --storage.", "write, by out or storage."),
        ("Set --schedule.g-batch lower.", "Set schedule.g_batch lower."),
        ("Set --task.over-long cut.", "Set task.over_long='cut'."),
        ("less of --evaluation.temperatures 0.5,1, --x", "less of evaluation.temperatures=[0.5, 1], --x"),
        ("Choose --task.domain dialogue (turns)", "Choose task.domain='dialogue' (turns)"),
        ("or give them by --data FILE.", "or give them by data=FILE."),
        ("(--pairs, or --source and --target)", "(pairs, or source and target)"),
        ("in pieces (--tokens bpe)", "in pieces (tokens='bpe')"),
        ("then --resume.", "then Run.resume()."),
        ("by --trust-code (trust_code=True in Python).", "by trust_code=True."),
        ("`rlgan sample --model models:/n/1`.", "`rlgan.load('models:/n/1').sample()`."),
        ("--input: is missing.", "sources: is missing."),
        # What is no option of ours is somebody's text.
        ("a text -- with --foo and --bar 3", "a text -- with --foo and --bar 3"),
    ],
)
def test_options_are_said_as_arguments(typed: str, written: str) -> None:
    assert in_python(typed) == written


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("Go on with it by --resume runs/t, or", "Go on with it by rlgan.tune(resume='runs/t'), or"),
        ("with more --hours.", "with more hours."),
        ("fit with --hours 3.5; fewer --finalists", "fit with hours=3.5; fewer finalists"),
        ("(--search random)", "(search='random')"),
        ("--no-training: is for", "train=False: is for"),
    ],
)
def test_options_of_a_sweep_are_said_as_arguments_of_it(typed: str, written: str) -> None:
    assert in_python(typed, of_sweep=True) == written


def test_what_is_named_in_python_is_there() -> None:
    """Names that messages end up with are arguments of the functions that they speak of, or settings."""
    from rlgan.api import words

    takes = [set(inspect.signature(one).parameters) for one in (rlgan.train, rlgan.load, rlgan.recommend)]
    takes += [set(inspect.signature(one).parameters) for one in (rlgan.Run.sample, rlgan.Run.export)]
    known = set().union(*takes, inspect.signature(rlgan.tune).parameters, SweepSettings.model_fields)
    known |= set(inspect.signature(rlgan.Run.extend).parameters)
    known |= set(inspect.signature(rlgan.Run.resume).parameters)
    assert {name.replace("-", "_") for name in words._ARGUMENTS} <= known
    for written in (*words._OTHERS.values(), *words._OTHERS_OF_SWEEP.values()):
        name = written.partition("=")[0]
        if name not in ("task.params", "Run.resume()", "rlgan.load"):
            assert name in known, written
    assert set(words._TOKENS) == set(TOKENS)
