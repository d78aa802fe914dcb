"""Sources that somebody brings later become what the same sources became in training."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgan.envs import DataError, PairsTask, Task, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pieces import BytePairs, Characters, Words
from rlgan.envs.tasks.sources import Dialogue, Reading, Summarization, Translation
from tests.support.errors import refused

needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="the extra `pieces` is not installed")
SOURCES = [
    "Was ist das ?",
    "a <turn> b  c <turn> was <turn> 12 ist 3,5",
    "das <unk> ist",
    "Größe 7 und Ü",
    "viele Wörter , mehr als sonst irgendwo in diesem Text hier stehen",
]
DOMAINS: list[Any] = [
    Translation(max_source_length=9, over_long_source="cut"),
    Dialogue(max_turns=2, max_source_length=6, over_long_source="cut"),
    Summarization(max_source_length=7, number_token="<num>"),
]
TOKENS: list[Any] = [
    Words(),
    Words(min_count=2),
    Characters(),
    pytest.param(BytePairs(size=300), marks=needs_tokenizers),
    pytest.param(BytePairs(unit="character", size=60), marks=needs_tokenizers),
]


def task_of(folder: Path, domain: Any, tokens: Any, lowercase: bool) -> Task:
    text = "".join(f"{source}\ttarget {number % 3}\n" for number, source in enumerate(SOURCES))
    for name in ("train", "valid", "test"):
        (folder / f"{name}.tsv").write_text(text, "utf-8")
    files = {name: str(folder / f"{name}.tsv") for name in ("valid", "test")}
    return build_task(
        PairsTask(
            input=Table(data=str(folder / "train.tsv"), **files),
            domain=domain,
            vocabulary={"kind": "separate", "source": tokens},  # type: ignore[arg-type]
            lowercase=lowercase,
            deduplicate=False,
        )
    )


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokens", TOKENS, ids=lambda tokens: f"{tokens.kind}")
@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.kind)
def test_a_source_that_is_brought_is_read_as_in_training(
    tmp_path: Path, domain: Any, tokens: Any, lowercase: bool
) -> None:
    task = task_of(tmp_path, domain, tokens, lowercase)
    assert task.conditions is not None and task.conditions.reading is not None
    # Through JSON, as it is kept with a generator.
    reading = Reading.model_validate(json.loads(json.dumps(task.conditions.reading.model_dump(mode="json"))))
    read = reading.read(SOURCES, "in.txt")
    assert torch.equal(read.conditions, task.conditions.train)
    # Of these files the test split is the training split.
    assert read.words == task.conditions.test_words
    assert len(set(map(tuple, read.conditions.tolist()))) > 3


def test_what_is_cut_or_unknown_is_told_and_nothing_is_left_out(tmp_path: Path) -> None:
    task = task_of(tmp_path, Translation(max_source_length=4, over_long_source="cut"), Words(), False)
    assert task.conditions is not None and task.conditions.reading is not None
    read = task.conditions.reading.read(["das ist neu", "Was ist das ? und mehr"], "in.txt")
    assert read.conditions.shape == (2, 4)
    assert read.words == (("das", "ist", "neu"), ("Was", "ist", "das", "?"))
    assert any("cut 1 source to 4 tokens" in note for note in read.notes)
    assert any("1 of 7 tokens unknown" in note for note in read.notes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [([], "no_source_lines: in.txt"), (["a", " \t"], "empty_source_line: in.txt.*2")],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    task = task_of(tmp_path, Translation(), Words(), False)
    assert task.conditions is not None and task.conditions.reading is not None
    with refused(DataError, message):
        task.conditions.reading.read(lines, "in.txt")
