"""Sizes follow the data where the preset's are no paper's, and never what is set."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import rlgan
from rlgan.base.settings import following
from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_dict, override, to_dict
from rlgan.envs.tasks import OracleTask, PairsTask, TextTask, build_task
from rlgan.presets import own_data
from rlgan.presets.own_data import read_task, size_notes, sizes_by_data, summary_of_data
from rlgan.presets.registry import PRESETS, follows, preset
from rlgan.presets.sizes import DataSummary, batch, cost, epochs, measured, sizes_of, summary_of, units
from tests.support.commands import ask

CAPTIONS = DataSummary(8_000, 1_000, 1_000, vocab_size=5_000, mean_length=13.0, max_length=30)
TEXT = TextTask(data="a.txt")
SIZED = {
    "generator.embedding",
    "generator.hidden",
    "schedule.mle_epochs",
    "schedule.mle_batch",
    "evaluation.num_sequences",
    "evaluation.final_sequences",
}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """400 different lines of 8 words: 320 to learn from, with 2,880 tokens."""
    rng = random.Random(1)
    path = tmp_path / "lines.txt"
    path.write_text("".join(" ".join(rng.choices("abcdefghijklmnopqrst", k=8)) + "\n" for _ in range(400)), "utf-8")
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """40 lines of 2 words."""
    path = tmp_path / "few.txt"
    path.write_text("".join(f"{first} {second}\n" for first in "abcde" for second in "fghijklm"), "utf-8")
    return path


def test_the_rule_by_hand() -> None:
    # A token of 128 units: 8 · 128² = 131,072 for the gates, and 5,000 · (128 + 64) = 960,000 for the output layer.
    assert cost(CAPTIONS, 128) == 1_091_072.0
    # 104,000 tokens: 1.135e11 an epoch, of which 26 fit into 3e12.
    assert (units(CAPTIONS, 32), epochs(CAPTIONS, 128, 60), batch(CAPTIONS, 64)) == (128, 26, 64)
    # 13 · 1,091,072 a sequence: 705 fit into 1e10, and fewer than 1,000 mean little.
    assert (measured(CAPTIONS, 128, 5_000), measured(CAPTIONS, 128, 1_000), measured(CAPTIONS, 128, 300)) == (
        1_000, 1_000, 300
    )  # fmt: skip


def test_units_are_the_most_of_which_five_epochs_fit() -> None:
    many = replace(CAPTIONS, num_train=30_000, vocab_size=10_000, mean_length=10.0)
    # At 128 units 300,000 tokens of 2,051,072 are 3.08e12 in five epochs; at 64 units of 1,312,768 they are 1.97e12.
    assert units(many, 32) == 64 and epochs(many, 64, 60) == 7
    # At 32 units of 1,928,192 fifteen million tokens are 2.9e13 an epoch: it is learned once.
    millions = replace(CAPTIONS, num_train=1_000_000, vocab_size=20_000, mean_length=15.0)
    assert units(millions, 32) == 32 and epochs(millions, 32, 60) == 1


def test_an_encoder_costs_what_its_source_is_long() -> None:
    pairs = replace(CAPTIONS, source_vocab_size=3_000, source_mean_length=26.0, source_max_length=40)
    # Two directions over twice as many tokens, 4 · 131,072, and attention to 26 positions, 2 · 128 · 26.
    assert cost(pairs, 128) == 1_091_072 + 524_288 + 6_656


def test_measurements_are_round_numbers_between_a_thousand_and_the_preset_s() -> None:
    short = replace(CAPTIONS, vocab_size=50, mean_length=20.0)
    # 140,672 a token of 128 units, 2,813,440 a sequence: 3,554 fit.
    assert measured(short, 128, 5_000) == 2_000
    assert measured(replace(short, mean_length=2.0), 128, 5_000) == 5_000


@pytest.mark.parametrize(("num_train", "expected"), [(1, 1), (2, 1), (5, 2), (31, 8), (40, 16), (63, 16), (64, 64)])
def test_a_batch_leaves_two_updates_an_epoch(num_train: int, expected: int) -> None:
    assert batch(replace(CAPTIONS, num_train=num_train), 64) == expected


@pytest.mark.parametrize("name", [name for name in PRESETS if follows(name)])
def test_little_data_has_the_preset_s_own_sizes(name: str) -> None:
    little = DataSummary(100, 10, 10, vocab_size=30, mean_length=10.0, max_length=20)
    assert preset(name, TEXT, little) == preset(name, TEXT)
    assert preset(name, TEXT, CAPTIONS) != preset(name, TEXT)


@pytest.mark.parametrize("name", [name for name in PRESETS if not follows(name)])
def test_published_sizes_and_ceilings_follow_nothing(name: str) -> None:
    task = preset(name).task
    assert preset(name, task, CAPTIONS) == preset(name, task)


def test_what_says_that_it_follows_the_data_is_what_the_rule_gives() -> None:
    config = preset("quick", TEXT)
    assert sizes_of(CAPTIONS, config).keys() == following(config).keys() == SIZED
    # A network of the same class elsewhere follows nothing.
    learned = override(config, {"evaluation.language_model": "learned_language_model"})
    assert sizes_of(CAPTIONS, learned).keys() == SIZED
    # And of networks with sizes of their own, only the rest.
    other = override(config, {"generator": "transformer"})
    assert sizes_of(CAPTIONS, other).keys() == SIZED - {"generator.embedding", "generator.hidden"}
    pairs = preset("quick", PairsTask.model_validate({"input": {"kind": "file", "data": "a.tsv"}}))
    assert sizes_of(CAPTIONS, pairs).keys() == SIZED - {"generator.embedding", "generator.hidden"}


def test_the_rule_of_what_it_gave_is_the_same() -> None:
    config = preset("quick", TEXT, CAPTIONS)
    assert sizes_of(CAPTIONS, config) == {path: flatten(to_dict(config))[path] for path in SIZED}


def test_a_summary_counts_tokens_with_their_ends(tmp_path: Path) -> None:
    train, held_out = tmp_path / "train.txt", tmp_path / "held.txt"
    train.write_text("a b c\nb\n", "utf-8")
    held_out.write_text("a\nb\nc\n", "utf-8")
    task = build_task(TextTask(data=str(train), valid=str(held_out), test=str(held_out)))
    # Three letters, the end and the unknown; 4 and 2 tokens.
    assert summary_of(task) == DataSummary(2, 3, 3, vocab_size=5, mean_length=3.0, max_length=4)


def test_a_summary_has_both_sides_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{one} x\t{one} y z\n" for one in "abcdefghij"), "utf-8")
    data = summary_of(build_task(PairsTask.model_validate({"input": {"kind": "file", "data": str(path)}})))
    assert (data.num_train, data.num_valid, data.num_test) == (8, 1, 1)
    assert (data.mean_length, data.source_mean_length, data.source_max_length) == (4.0, 3.0, 3)
    assert (data.vocab_size, data.source_vocab_size) == (12, 11)


def test_data_is_read_once_for_its_sizes_and_for_the_run(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = 0

    def counted(settings: TextTask) -> object:
        nonlocal times
        times += 1
        return build_task(settings)

    monkeypatch.setattr(own_data, "build_task", counted)
    settings = TextTask(data=str(lines))
    first = summary_of_data(settings)
    task = read_task(settings)
    assert first == summary_of(task) == summary_of_data(settings) and times == 1
    read_task(settings)  # of another run, which has a task of its own
    assert times == 2
    with lines.open("a", encoding="utf-8") as file:
        file.write("one more line\n")
    assert summary_of_data(settings) != first and times == 3


def test_a_known_distribution_is_not_read() -> None:
    assert summary_of_data(OracleTask(params="nowhere.npz")) is None
    assert sizes_by_data("quick", OracleTask(params="nowhere.npz")) == {}
    assert sizes_by_data("seqgan", TextTask(data="nowhere.txt")) == {}


# ------------------------------------------------------------------------------------------------------ who asks


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> Config:
    answer = ask(capsys, "show-config", *words, "--json")
    assert (answer.status, answer.err) == (0, "")
    return from_dict(json.loads(answer.out))


def test_a_command_line_shows_the_sizes_and_who_chose_them(capsys: pytest.CaptureFixture[str], lines: Path) -> None:
    config = shown(capsys, "quick", "--data", lines)
    assert (config.generator.hidden, config.generator.embedding) == (128, 128)  # type: ignore[union-attr]
    text = ask(capsys, "show-config", "quick", "--data", lines, "--generator.embedding", 48, "--changed").out
    by = {line.split(" = ")[0]: line.rpartition("# ")[2] for line in text.splitlines()}
    assert (by["generator.hidden"], by["generator.embedding"]) == ("data", "you")
    assert by["schedule.adversarial_updates"] == "preset quick"
    assert "depends on your data" in ask(capsys, "show-config", "quick").out


def test_what_is_set_wins(capsys: pytest.CaptureFixture[str], lines: Path, tmp_path: Path) -> None:
    assert shown(capsys, "quick", "--data", lines, "--generator.hidden", 32).generator.hidden == 32  # type: ignore[union-attr]
    file = tmp_path / "mine.yaml"
    file.write_text("generator: {hidden: 32}\nevaluation.final_sequences: 4000\n", "utf-8")
    config = shown(capsys, "mle", "--data", lines, "--config", file)
    assert (config.generator.hidden, config.evaluation.final_sequences) == (32, 4_000)  # type: ignore[union-attr]
    other = shown(capsys, "quick", "--data", lines, "--generator", "transformer")
    assert other.generator == override(preset("quick"), {"generator": "transformer"}).generator
    # A whole configuration says every number.
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(to_dict(preset("quick", TextTask(data=str(lines))))), "utf-8")
    assert shown(capsys, "quick", "--data", lines, "--config", whole).generator.hidden == 32  # type: ignore[union-attr]


def test_settings_of_the_task_decide_what_sizes_follow(capsys: pytest.CaptureFixture[str], lines: Path) -> None:
    # 320 sequences of 3 tokens are too few for more units.
    config = shown(capsys, "quick", "--data", lines, "--task.max-length", 3, "--task.over-long", "cut")
    assert config.generator.hidden == 32  # type: ignore[union-attr]


def test_a_preset_of_ones_own_is_sized_and_what_it_says_wins(
    capsys: pytest.CaptureFixture[str], lines: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def small(task=None):\n    return {'preset': 'quick', 'generator.hidden': 16}\n", "utf-8")
    config = shown(capsys, f"{file}:small", "--data", lines)
    assert (config.generator.hidden, config.generator.embedding) == (16, 128)  # type: ignore[union-attr]


def test_python_has_the_same_configuration(lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_name = rlgan.presets.get("quick", TextTask(data=str(lines)))
    assert by_name == shown(capsys, "quick", "--data", lines)
    assert rlgan.presets.get("seqgan", TextTask(data=str(lines))).generator == preset("seqgan").generator
    assert rlgan.presets.get("quick") == preset("quick")


def test_data_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = ask(capsys, "show-config", "quick", "--data", tmp_path / "nowhere.txt")
    assert answer.status == 2 and "nowhere.txt: no such file" in answer.err


# ------------------------------------------------------------------------------------------------------ what is said


def test_the_log_says_what_was_chosen_and_why(lines: Path) -> None:
    settings = TextTask(data=str(lines))
    task = build_task(settings)
    config = preset("quick", settings, summary_of(task))
    assert size_notes(config, task) == (
        "sizes chosen for 320 sequences of about 9 words, vocabulary 22; to change one, set it:",
        "  generator.embedding 128, generator.hidden 128",
    )
    own = override(config, {"generator.hidden": 48})
    assert size_notes(own, task)[1:] == (
        "  generator.embedding 128",
        "set by you:",
        "  generator.hidden 48 (from the data: 128)",
    )
    both = override(config, {"generator.hidden": 48, "generator.embedding": 16})
    assert size_notes(both, task)[:2] == (
        "sizes for 320 sequences of about 9 words, vocabulary 22: those of quick",
        "set by you:",
    )
    assert size_notes(preset("seqgan", settings), task) == (
        "seqgan keeps its published sizes. For 320 sequences of about 9 words, vocabulary 22, quick would choose:",
        "  generator.embedding 128 (here 32), generator.hidden 128 (here 32)",
    )
    assert all(len(line) <= 100 for line in size_notes(own, task))
    assert size_notes(config.model_copy(update={"preset": "custom"}), task) == ()


def test_little_data_says_that_the_preset_s_sizes_are_taken(few: Path) -> None:
    settings = TextTask(data=str(few))
    task = build_task(settings)
    # 32 sequences to learn from would not fill a batch of 64.
    assert size_notes(preset("quick", settings, summary_of(task)), task)[1] == "  schedule.mle_batch 16"


def test_an_oracle_has_no_sizes_to_tell_of() -> None:
    config = override(
        preset("quick"), {"task.vocab_size": 10, "task.num_train": 20, "task.num_valid": 4, "task.num_test": 4}
    )
    assert size_notes(config, build_task(config.task)) == ()
