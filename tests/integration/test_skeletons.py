"""A text in two stages: skeletons, then texts for skeletons that were sampled. From the files to `rlgan sample`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlgan.envs.tasks import PairsTask, Task, TextTask, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LSTM, GeneratorSettings, Seq2SeqLSTM
from rlgan.storage.export import save_run_generator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.integration.test_examples import EXAMPLES, module_of
from tests.support.commands import ask
from tests.support.tiny import finish, tiny_config

BEHIND = {"red": "wine", "green": "tea", "old": "cheese", "hot": "soup", "cold": "milk"}
"""The word that follows each word of a skeleton: a text is known when its skeleton is."""

skeletons = module_of(EXAMPLES / "skeletons.py")


def text_of(short: Sequence[str]) -> str:
    return " ".join(f"{word} {BEHIND.get(word, '?')}" for word in short)


def learned(settings: GeneratorSettings, task: Task, config_task: TextTask | PairsTask, folder: Path) -> None:
    """A generator that learned by likelihood alone, in a folder."""
    schedule = {"mle_epochs": 40, "mle_batch": 16, "discriminator_rounds": 0, "adversarial_updates": 0, "d_steps": 0}
    unmeasured = EvaluationSettings(every=1_000, mle_every=1_000, num_sequences=16, num_bleu=16)
    config = tiny_config(schedule, task=config_task, generator=settings, discriminator=None, evaluation=unmeasured)
    with build_parts(config, task) as parts:
        finish(Trainer(config, task, parts))
        folder.mkdir()
        save_run_generator(folder, settings, task, dict(parts.learners.weights().tensors))


def test_sampled_skeletons_become_texts_that_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorts = [short for number in (1, 2, 3) for short in itertools.permutations(sorted(BEHIND), number)]
    (tmp_path / "texts.txt").write_text("".join(f"{text_of(short)}\n" for short in shorts), "utf-8")
    folder = tmp_path / "skeletons"
    monkeypatch.setattr(sys, "argv", ["skeletons.py", str(tmp_path / "texts.txt"), str(folder)])
    skeletons.main()
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in said] == ["77", "4", "4"]
    files = {split: str(folder / f"{split}.tsv") for split in ("valid", "test")}
    for line in (folder / "train.tsv").read_text("utf-8").splitlines():
        short, _, text = line.partition("\t")
        assert text == text_of(short.split())
    first = TextTask(data=str(folder / "train.tsv"), column=0, **files)
    second = PairsTask(input=Table(data=str(folder / "train.tsv"), **files))
    for name, task, generator in (
        ("first", first, LSTM(embedding=8, hidden=16)),
        ("second", second, Seq2SeqLSTM(embedding=8, hidden=24)),
    ):
        learned(generator, build_task(task), task, tmp_path / name)
    # The commands of docs/algorithms/latents.md, section 40.6.
    sampled = ask(capsys, "sample", "--run", tmp_path / "first", "--num", 40, "--seed", 1).out
    assert all(set(line.split()) <= BEHIND.keys() for line in sampled.splitlines())
    kept = [line for line in sampled.splitlines() if line]
    (tmp_path / "sampled.txt").write_text("".join(f"{line}\n" for line in kept), "utf-8")
    written = ask(capsys, "sample", "--run", tmp_path / "second", "--input", tmp_path / "sampled.txt").out.splitlines()
    assert len(written) == len(kept) > 30
    has_its_own = [text.split()[::2] == short.split() for short, text in zip(kept, written, strict=True)]
    is_right = [text == text_of(short.split()) for short, text in zip(kept, written, strict=True)]
    assert sum(has_its_own) > 0.7 * len(kept) and sum(is_right) > 0.6 * len(kept), list(zip(kept, written, strict=True))


def test_words_that_are_kept() -> None:
    texts = [text.split() for text in ("the cat and the dog", "the dog sleeps", "and the")]
    assert [skeletons.every(2)(words) for words in texts] == [["the", "and", "dog"], ["the", "sleeps"], ["and"]]
    assert skeletons.every(3)(texts[0]) == ["the", "the"]
    # the 4, and 2, dog 2, the others 1: of words that are as common the first that was seen is left out first.
    assert [skeletons.but_common(2, texts)(words) for words in texts] == [["cat", "dog"], ["dog", "sleeps"], ["and"]]


def test_a_text_is_in_one_split_and_too_few_are_refused() -> None:
    splits = skeletons.split_up([f"text {number}" for number in range(50)] + ["text  7", "", " "])
    assert {split: len(rows) for split, rows in splits.items()} == {"valid": 2, "test": 2, "train": 46}
    assert len({tuple(words) for rows in splits.values() for words in rows}) == 50
    with pytest.raises(SystemExit, match="2 different texts"):
        skeletons.split_up(["a", "b", "a"])
