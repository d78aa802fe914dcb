"""Presets for a file: what the file is found to be, and how long a run takes by what a probe of it took."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

import rlgan
from rlgan.base.errors import ConfigError, DataError
from rlgan.cli.options import Choices, add_choices, resolve, split_overrides
from rlgan.config.paths import override
from rlgan.envs.tasks import PairsTask, TextTask, build_task
from rlgan.envs.tasks.pieces import Characters
from rlgan.envs.tasks.recognition import kind_of, with_tokens
from rlgan.presets.registry import preset
from rlgan.presets.sizes import summary_of
from rlgan.runs.plan import Item, Plan, plan_of
from rlgan.runs.recommending import MARGIN, described, in_small, part_of, probed, recommended, unknown_share
from rlgan.schedule.phases import Position
from tests.support.commands import ask

LINES = [f"{who} {does} {what}" for who in "abcde" for does in ("saw", "met", "hit", "had") for what in "fghij"]
SMALL = {"evaluation.temperatures": [1.0], "controls": []}


class Clock:
    """A second passes whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES), "utf-8")
    return path


# ------------------------------------------------------------------------------------------------------ what it is


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (LINES, "word"),
        (["anna", "berta", "clara", "New York"], "word"),  # a quarter have a space between
        (["anna", "berta", "clara"], "char"),
        (["今天天气很好", "我们去公园"], "char"),
        (["CC(=O)O", "c1ccccc1", "[NH4+]", "CCO"], "smiles"),
        (["CONS", "BIOS", "SOS"], "char"),  # covered by the pattern, and words without a bond, a ring or a bracket
        ([["how are you", "fine"], ["good", "morning"]], "word"),
        ([], "word"),
    ],
)
def test_kinds_of_tokens(texts: list[object], kind: str) -> None:
    assert kind_of(texts) == kind


def test_tokens_of_each_side_are_looked_at_and_those_that_are_named_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "zh.tsv"
    path.write_text("source\ttarget\n" + "good day\t你好吗\nhow are you\t你好\n" * 3, "utf-8")
    settings = PairsTask.model_validate({"input": {"kind": "file", "data": str(path)}})
    found = with_tokens(settings)
    assert isinstance(found, PairsTask)
    assert (found.source_tokens.kind, found.target_tokens.kind) == ("word", "char")
    assert with_tokens(settings, keeps=True) == settings


def test_unknown_words_are_counted_by_hand_and_what_to_do_is_said(tmp_path: Path) -> None:
    path, held_out = tmp_path / "my.txt", tmp_path / "held.txt"
    path.write_text("".join(f"{line}\n" for line in LINES), "utf-8")
    held_out.write_text("a saw f\nb met stranger\n" * 6, "utf-8")
    settings = TextTask(data=str(path), valid=str(held_out), test=str(held_out))
    task = build_task(settings)
    # Of six words one is not in the training text.
    assert unknown_share(task.space, task.train) == 0.0
    assert unknown_share(task.space, task.test) == pytest.approx(1 / 6)
    told = " ".join(described(summary_of(task), settings, task))
    assert "unknown words: 0.0% of the training split, 16.7% of the test split" in told
    assert "test: 16.7% of the tokens are unknown" in told and "--tokens bpe" in told


# ------------------------------------------------------------------------------------------------------ how long


def test_a_smaller_run_tells_by_size() -> None:
    small = Plan({"mle": Item(1, 10.0), "adversarial": Item(1, 4.0), "parts": Item(1, 0.0), "measure": Item(1, 3.0)})
    for path, seconds in {"mle": 2.0, "adversarial": 6.0, "parts": 5.0}.items():
        small.finished(path, seconds)
    whole = Plan(
        {"mle": Item(3, 100.0), "adversarial": Item(2, 8.0), "parts": Item(0, 0.0), "table/row": Item(1, 216.0)}
    )
    whole.expect(small)
    # Epochs ten times as large, 3 · 20 s; updates twice as large, 2 · 12 s; a row, of which nothing was measured, by
    # the pace of both, 32 s for 108.
    assert whole.seconds_left() == pytest.approx(3 * 20.0 + 2 * 12.0 + 216.0 * 32.0 / 108.0)


def test_each_preset_is_probed_and_forecast_by_the_plan_of_its_run(file: Path) -> None:
    settings = TextTask(data=str(file))
    task = build_task(settings)
    found = {one.preset: one for one in recommended(settings, task, SMALL, 100.0, Clock())}
    assert list(found) == ["quick", "mle", "seqgan-quick"]
    assert set(found["quick"].measured) == {"likelihood", "table", "discriminator", "adversarial"}
    assert set(found["mle"].measured) == {"likelihood", "table"}
    # Of likelihood alone, by hand: each step took a second by this clock. There are 120 epochs at most, as large as the
    # probe's; 12 measurements between them, of 1,000 samples at 1.5 and 10 test sequences at a quarter, 1,502.5, where
    # the probe's is of 512, 770.5; and one row of 5,000, 7,502.5.
    assert found["mle"].seconds == pytest.approx(MARGIN * (120 * 1.0 + (12 * 1_502.5 + 7_502.5) / 770.5))
    assert found["quick"].seconds is not None and found["quick"].seconds > 60.0


def test_what_the_first_step_of_a_process_takes_longer_does_not_count(file: Path) -> None:
    class SlowFirst(Clock):
        """The first step takes a minute more: it is the time from the fourth look to the fifth."""

        def __call__(self) -> float:
            self.now += 60.0 if self.now == 4.0 else 0.0
            return super().__call__()

    settings = TextTask(data=str(file))
    task, config = build_task(settings), override(preset("mle", TextTask(data=str(file))), SMALL)
    data = summary_of(task)
    (slow, measured), (even, _) = (probed(config, task, data, 100.0, clock) for clock in (SlowFirst(), Clock()))
    assert slow.seconds_left() == even.seconds_left() and measured == ("likelihood", "table")
    assert slow._items["mle"].seconds == even._items["mle"].seconds == 1.0


def test_more_updates_take_longer_by_what_an_update_took(file: Path) -> None:
    settings = TextTask(data=str(file))
    task = build_task(settings)

    def seconds(updates: int) -> float:
        changes = SMALL | {"schedule.adversarial_updates": updates, "evaluation.every": 1_000}
        found = next(iter(recommended(settings, task, changes, 100.0, Clock())))
        assert found.seconds is not None
        return found.seconds

    # An update of 256 sequences is as large in the probe, but for its round of 512 fakes in the place of 1,000.
    config = override(preset("quick", settings), SMALL)
    small, part = in_small(config, task, summary_of(task))
    works = [plan_of(*both, Position())._items["adversarial"].work for both in ((config, task), (small, part))]
    assert seconds(13) - seconds(3) == pytest.approx(MARGIN * 10 * works[0] / works[1])


def test_a_probe_whose_time_is_over_measures_one_step_of_each(file: Path) -> None:
    settings = TextTask(data=str(file))
    for one in recommended(settings, build_task(settings), SMALL, 0.5, Clock()):
        assert one.measured == ("likelihood",) and one.seconds is not None and one.seconds > 0.0


def test_what_is_not_for_the_data_says_why(file: Path) -> None:
    settings = TextTask(data=str(file))
    found = {one.preset: one for one in recommended(settings, build_task(settings), {"credit": "prefix"}, 1.0, Clock())}
    assert found["quick"].refusal and found["quick"].config is None and found["quick"].seconds is None


def test_a_part_of_a_task_is_even_and_keeps_what_belongs_together(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{number} x\t{number} y\n" for number in range(100)), "utf-8")
    task = build_task(PairsTask.model_validate({"input": {"kind": "file", "data": str(path)}}))
    part = part_of(task, 9)
    assert [len(rows) for rows in (part.train, part.valid, part.test)] == [9, 9, 9]
    assert part.conditions is not None and part.test_words is not None
    assert part.train[0].equal(task.train[0]) and part.train[-1].equal(task.train[-1])
    for source, target in zip(part.conditions.decode(part.conditions.train), part.decode(part.train), strict=True):
        assert source.split()[0] == target.split()[0]
    assert len(part.conditions.test) == len(part.test_words) == 9
    assert part_of(task, 1_000).fingerprint() == task.fingerprint()


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command_line_says_what_the_file_is_and_what_to_type(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask(capsys, "presets", "--for", file, "--seconds", 0.01, "--task.lowercase", "true", "--json")
    assert answer.status == 0
    found = json.loads(answer.out)
    assert found["task"] == "text" and found["data"]["num_train"] == 80
    names = [one["preset"] for one in found["presets"]]
    assert names == ["quick", "mle", "seqgan-quick"]
    for one in found["presets"]:
        first, second, *words = shlex.split(one["command"])
        parser = argparse.ArgumentParser()
        add_choices(parser)
        own, overrides = split_overrides(words, parser)
        config = resolve(Choices.of(parser.parse_args(own)), overrides)
        assert (first, second, config.preset) == ("rlgan", "train", one["preset"])
        assert config.task == TextTask(data=str(file), lowercase=True)
        assert one["seconds"] > 0.0 and one["measured"][0] == "likelihood"
    text = ask(capsys, "presets", "--for", file, "--seconds", 0.01).out
    assert "100 texts: 80 for training, 10 for validation and 10 for testing" in text
    assert f"rlgan train quick --data {shlex.quote(str(file))}" in text
    assert "unknown words: 0.0% of the training split, 0.0% of the test split" in text
    assert "add --reward FILE.py:NAME to the command of seqgan-quick" in " ".join(text.split())
    assert "estimated from the size" in text
    assert all(len(line) <= 100 for line in text.splitlines() if "rlgan train" not in line)


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        (b"one line\n", (), "too few to split off"),
        (b"", (), "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\xff\xfe", (), ""),
        (b"a b\nc d\n", ("--pairs", "other.tsv"), "--for and --pairs: a run has one task"),
        (b"a b\nc d\n", ("--task.colum", "1"), "Did you mean"),
    ],
)
def test_bad_input_is_told(
    content: bytes, words: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    answer = ask(capsys, "presets", "--for", path, *words)
    assert answer.status == 2 and answer.out == "" and told in answer.err and "Traceback" not in answer.err
    assert answer.err.startswith("rlgan: ")


def test_options_of_a_file_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--tokens", "char"), ("--seconds", "3"), ("--task.lowercase", "true")):
        answer = ask(capsys, "presets", *words)
        assert answer.status == 2 and "--for" in answer.err


# ------------------------------------------------------------------------------------------------------ from Python


@pytest.mark.heavy
def test_python_is_told_the_same_as_the_command_line(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    told = json.loads(ask(capsys, "presets", "--for", file.name, "--seconds", 0.01, "--json").out)
    found = rlgan.recommend(file.name, seconds=0.01, quiet=True)
    assert (found.task, asdict(found.data)) == (told["task"], told["data"])
    assert [(one.preset, one.purpose, list(one.measured)) for one in found] == [
        (one["preset"], one["purpose"], one["measured"]) for one in told["presets"]
    ]
    assert found[0].arguments == {"preset": "quick", "data": file.name}
    assert found[0].sizes["generator.hidden"] == 32 and len(found) == 3
    assert f"rlgan.train('quick', data={file.name!r})" in str(found) and "--" not in str(found)
    assert capsys.readouterr() == ("", "") and os.listdir() == [file.name]


@pytest.mark.heavy
def test_what_python_is_recommended_can_be_trained(tmp_path: Path) -> None:
    """A generator of names is handed over once, is found to be of characters, and goes to `train` as it is."""
    names = [first + last for first in "bdfgjkl" for last in ("anna", "erta", "ora", "ilo", "une")]
    small = {"generator.hidden": 4, "schedule.mle_epochs": 1, "evaluation.temperatures": [1.0]}
    found = rlgan.recommend(iter(names), settings=small, seconds=0.01, quiet=True)
    (one,) = (one for one in found if one.preset == "mle")
    assert one.arguments == {"preset": "mle", "data": names, "tokens": "char", "settings": small}
    assert one.seconds is not None and one.seconds > 0.0
    assert "rlgan.train('mle', data=data, tokens='char', settings={'generator.hidden': 4," in found.text
    less = {"evaluation": {"num_sequences": 10, "final_sequences": 10}, "tracking": {"enabled": False}}
    run = rlgan.train(**one.arguments, **less, out=tmp_path / "run", quiet=True)
    assert run.config.task == TextTask(data=str(tmp_path / "run" / "data.jsonl"), tokens=Characters())
    assert run.config.generator.hidden == 4 and run.is_finished


@pytest.mark.heavy
def test_python_is_recommended_for_pairs_and_tokens_of_each_side(tmp_path: Path) -> None:
    pairs = [(f"good day {number}", word) for number, word in enumerate(("你好吗", "你好", "再见", "早上好") * 10)]
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
    small = {"generator.hidden": 4, "generator.embedding": 4, "workers.threads": 1}
    found = rlgan.recommend(path, settings=small, seconds=0.01, quiet=True)
    assert found.task == "pairs" and [one.preset for one in found] == ["quick", "mle", "cgan_seq"]
    assert found.data.num_train == 32 and found.data.max_length == 4
    for one in found:
        settings = {"task.vocabulary.target": "char"} | small
        assert one.arguments == {"preset": one.preset, "pairs": path, "settings": settings} and not one.refusal


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, ConfigError),
        ({"data": ["a b"], "pairs": [("a", "b")]}, ConfigError),
        ({"data": ["a b"] * 30, "seconds": 0}, ConfigError),
        ({"data": ["a b"] * 30, "seconds": float("nan")}, ConfigError),
        ({"data": ["a b"] * 30, "settings": {"task.colum": 1}}, ConfigError),
        ({"data": ["a b"]}, DataError),
        ({"data": "nowhere.txt"}, DataError),
    ],
)
def test_python_is_told_what_is_wrong(arguments: dict[str, object], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        rlgan.recommend(**arguments, quiet=True)  # type: ignore[arg-type]
