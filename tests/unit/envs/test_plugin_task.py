"""Tasks of the user's own: what they have is looked up on them, and what they lack is told by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import ConfigError, DataError, PluginError
from rlgan.envs.tasks import PluginTask, build_task, text_task
from rlgan.envs.testing import check_task
from tests.support.errors import refused

TEXT = '''
"""Tasks of one's own."""
from dataclasses import replace

from rlgan.envs import SequenceSpace, Task
from rlgan.envs.tasks import text_task
from rlgan.envs.tasks.toy import TabularOracle

built = []


def verses(copies=2, first="a"):
    built.append(copies)
    lines = [f"{first} {one} {two}" for one in "bcd" for two in "efg"] * copies
    return text_task("verses", lines, lines[:4], lines[4:9])


def exact(seed=0):
    space = SequenceSpace(4, 3, end_id=1)
    oracle = TabularOracle.random(space, seed)
    splits = {split: oracle.sample(30, index) for index, split in enumerate(("train", "valid", "test"))}
    return Task(name="exact", space=space, token_names=tuple("abcd"), oracle=oracle, **splits)


def unpadded():
    task = exact()
    return replace(task, test=task.test * 0 + 1 - (task.test * 0 + 1).cumsum(1) % 2)


def short_of_names():
    return replace(exact(), token_names=("a",))


def without_references():
    return replace(exact(), oracle=None, measures=frozenset({"references"}))


def invented():
    return replace(exact(), measures=frozenset({"beauty"}))


def impossible():
    task = exact()
    return replace(task, oracle=TabularOracle.random(SequenceSpace(5, 3, end_id=1), 0))


def raising():
    raise OSError("the disk is full")  # the line that is shown


def none():
    return None


number = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.py"
    path.write_text(TEXT)
    return path


def own(file: Path, name: str, **options: Any) -> PluginTask:
    return PluginTask.model_validate({"name": f"{file}:{name}", "options": options})


def test_what_a_task_has_is_noted(file: Path) -> None:
    verses, exact = own(file, "verses"), own(file, "exact")
    assert (verses.measures, verses.knows_distribution, verses.gives_conditions) == (frozenset({"text"}), False, False)
    assert (exact.measures, exact.knows_distribution, exact.gives_conditions) == (frozenset(), True, False)


def test_the_task_is_that_of_the_options(file: Path) -> None:
    task = build_task(own(file, "verses", copies=3, first="x"))
    check_task(task)
    assert len(task.train) == 27 and task.decode(task.train[:1]) == ["x b e"]
    assert task.name == "verses" and task.columns == ("text",)


def test_it_is_built_once_for_a_configuration_and_its_run(file: Path) -> None:
    settings = own(file, "verses")
    built = settings.load().object.__globals__["built"]
    assert built == [2]
    first = build_task(settings)
    assert built == [2]
    again = build_task(settings)
    assert built == [2, 2] and again.fingerprint() == first.fingerprint()


def test_reading_a_configuration_again_executes_nothing(file: Path) -> None:
    values = own(file, "exact").model_dump(mode="json")
    file.write_text("raise RuntimeError('executed')")
    again = PluginTask.model_validate(values)
    assert again.knows_distribution


def test_options_and_facts_are_checked(file: Path) -> None:
    with refused(ValidationError, "plugin_option_unknown", match="'copies'"):
        own(file, "verses", copy=3)
    with refused(ValidationError, "plugin_fact_contradicted", {"knows_distribution": True}):
        PluginTask.model_validate({"name": f"{file}:verses", "knows_distribution": True})


WRONG: dict[str, tuple[type[Exception], str]] = {
    "unpadded": (ValidationError, "test is not padded after the terminator"),
    "short_of_names": (ValidationError, "1 token names for V=4"),
    "without_references": (ValidationError, "'references' needs conditions"),
    "invented": (ValidationError, r"measures: \['beauty'\] is unknown; known are text, references, summaries"),
    "raising": (PluginError, r"(?s)raised OSError: the disk is full. Fix .*the line that is shown"),
    "none": (ValidationError, "returned None .NoneType.. Name a function"),
    "number": (ValidationError, "is 3 .int.. Name a function"),
    "missing": (ValidationError, "has no 'missing'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_task_is_told_by_name(file: Path, name: str) -> None:
    error, message = WRONG[name]
    with pytest.raises(error, match=message) as caught:
        own(file, name)
    assert f"task plug-in '{file}:{name}'" in str(caught.value)


def test_texts_become_words_or_characters_of_the_training_split() -> None:
    task = text_task("mine", ["a b", "b c c", "d"], ["a x"], ["b"])
    check_task(task)
    assert task.space.max_length == 4 and task.space.end_id == 0 and task.space.unknown_id == 1
    assert task.decode(task.train) == ["a b", "b c c", "d"]
    assert task.decode(task.valid) == ["a <unk>"]
    letters = text_task("mine", ["ab", "c d"], ["ab"], ["dc"], tokens="characters")
    assert letters.decode(letters.train) == ["ab", "c d"] and letters.space.max_length == 4
    assert torch.equal(text_task("mine", ["a b c", "a b"], ["a"], ["b"], max_length=3).train, torch.tensor([[2, 3, 0]]))


def test_texts_that_are_none_are_refused() -> None:
    with refused(DataError, "task_texts_length", {"task": "mine"}):
        text_task("mine", ["a b"], ["a b c"], ["a"])
    with refused(DataError, "task_too_few_tokens"):
        text_task("mine", ["a a"], ["a"], ["a"])


@pytest.mark.parametrize(
    ("train", "code"),
    [("a b\nb a", "task_texts_one_string"), ([], "task_texts_empty"), (["a b", 3], "task_texts_type")],
)
def test_a_split_that_is_no_list_of_texts_is_refused(train: Any, code: str) -> None:
    with refused(DataError, code, {"task": "mine"}, match="task 'mine', train"):
        text_task("mine", train, ["a"], ["b"])


def test_a_task_that_is_registered_is_found_by_its_name() -> None:
    from rlgan import extensions

    def mine() -> Any:
        return text_task("mine", ["a b"], ["a"], ["b"])

    extensions.register("task", "mine_of_a_test", mine)
    try:
        assert PluginTask(name="mine_of_a_test").measures == {"text"}
        with refused((ConfigError, ValidationError), "plugin_not_registered"):
            PluginTask(name="mine_of_a_tset")
    finally:
        del extensions.memory.registered["task", "mine_of_a_test"]


def test_held_out_texts_with_tokens_of_no_training_text_are_told_or_left_out() -> None:
    train, valid, test = ["a b", "b a"], ["a b", "c a"], ["d e", "a a", "b d"]
    task = text_task("mine", train, valid, test)
    assert task.decode(task.test) == ["<unk> <unk>", "a a", "b <unk>"]
    assert task.notes[-2:] == (
        "mine: valid: 1 text with tokens that no training text has ('c'), which are read as <unk>",
        "mine: test: 2 texts with tokens that no training text has ('d', 'e'), which are read as <unk>",
    )
    task = text_task("mine", train, valid, test, keep_unseen=False)
    assert (task.decode(task.valid), task.decode(task.test)) == (["a b"], ["a a"])
    assert task.notes[-1].endswith("left out") and "test: 1 texts" in task.notes[2]
    with refused(DataError, "task_texts_unseen", {"task": "mine"}):
        text_task("mine", train, ["c"], test, keep_unseen=False)
    assert not any("no training text" in note for note in text_task("mine", train, train, train).notes)
