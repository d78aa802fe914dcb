"""Text files as people have them: what is read, what is counted as left out, and what is refused with which words."""

from __future__ import annotations

import gzip
import os
import time

import pytest
from pydantic import ValidationError

from rlgan.envs import DataError, TextTask, build_task, sequence_mask
from rlgan.envs.testing import check_task
from rlgan.envs.vocabulary import Vocabulary
from tests.support.errors import refused

POEM = "\n".join(f"{a} {b}" for a in "abcdefgh" for b in "uvwxyz") + "\n"  # 48 different lines


@pytest.fixture
def write(tmp_path):
    def write_file(content: str | bytes, name: str = "data.txt") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


def with_splits(write, data: str | bytes, **settings):
    """A task whose three splits are the given file, a line "a b" and a line "b a"."""
    files = {"valid": write("a b\n", "valid.txt"), "test": write("b a\n", "test.txt")}
    return build_task(TextTask(data=write(data), **(files | settings)))


def lines(task, split: str) -> list[str]:
    return task.decode(getattr(task, split))


def test_lines_become_padded_sequences_with_a_terminator(write):
    task = with_splits(write, "a b c\nb\n")
    assert task.token_names == ("<end>", "<unk>", "b", "a", "c")
    assert task.train.tolist() == [[3, 2, 4, 0], [2, 0, 0, 0]]
    assert task.valid.tolist() == [[3, 2, 0, 0]]
    assert (task.space.vocab_size, task.space.max_length, task.space.end_id) == (5, 4, Vocabulary.end_id)
    assert sequence_mask(task.space, task.train).sum(1).tolist() == [4, 2]
    assert lines(task, "train") == ["a b c", "b"]
    check_task(task)


def test_characters_keep_their_spaces(write):
    task = with_splits(write, "ab  c\nba \n", tokens="char")
    assert lines(task, "train") == ["ab  c", "ba "]
    assert task.space.max_length == 6
    check_task(task)


def test_splitting_one_file_shares_out_every_line_once(write):
    task = build_task(TextTask(data=write(POEM), valid_fraction=0.25, test_fraction=0.125))
    assert [len(task.train), len(task.valid), len(task.test)] == [30, 12, 6]
    shown = lines(task, "train") + lines(task, "valid") + lines(task, "test")
    assert sorted(shown) == sorted(POEM.splitlines())
    check_task(task)


def test_the_split_repeats_with_its_seed_and_changes_with_another(write):
    path = write(POEM)
    first, again, other = (build_task(TextTask(data=path, split_seed=seed)) for seed in (None, 0, 1))
    assert lines(first, "test") == lines(again, "test") != lines(other, "test")


def test_no_held_out_line_is_also_a_training_line(write):
    task = build_task(TextTask(data=write(POEM * 3)))
    assert len(task.train) + len(task.valid) + len(task.test) == 48
    assert not set(lines(task, "train")) & set(lines(task, "test"))
    assert any("dropped 96 repeated lines" in note for note in task.notes)


def test_repeated_lines_stay_where_nothing_is_split_unless_asked(write):
    assert len(with_splits(write, "a b\na b\nb\n").train) == 3
    assert len(with_splits(write, "a b\na b\nb\n", deduplicate=True).train) == 2
    assert len(build_task(TextTask(data=write(POEM * 2), deduplicate=False)).train) == 96 - 10 - 10


def test_held_out_lines_that_are_training_lines_are_counted(write):
    task = with_splits(write, "a b\nb c\n", valid=write("a b\nc c\nb c\n", "v.txt"))
    assert "valid: 2 of 3 lines are also training lines" in task.notes
    assert not any(note.startswith("test: ") and "also training" in note for note in task.notes)


def test_the_vocabulary_is_that_of_the_training_lines(write):
    task = with_splits(write, "a b\n", valid=write("a z z\n", "v.txt"), max_length=5)
    assert task.token_names == ("<end>", "<unk>", "a", "b")
    assert task.valid.tolist() == [[2, Vocabulary.unknown_id, Vocabulary.unknown_id, 0, 0]]
    assert "valid: 1 sequence, 3 tokens, 2 unknown (66.67%)" in task.notes


def test_training_lines_with_unknown_tokens_are_kept_or_dropped(write):
    text = "a b\na b\nc a\n<unk> b\n"
    assert lines(with_splits(write, text, min_count=2), "train") == ["a b", "a b", "<unk> a", "<unk> b"]
    dropped = with_splits(write, text, min_count=2, unknown="drop")
    assert lines(dropped, "train") == ["a b", "a b"]
    assert "train: dropped 2 lines with unknown tokens" in dropped.notes


def test_the_largest_vocabulary_holds_the_most_frequent(write):
    assert with_splits(write, "a b c\na b\na\n", max_size=4).token_names == ("<end>", "<unk>", "a", "b")


def test_lines_too_long_are_dropped_and_counted(write):
    # Three tokens and the terminator do not fit into 3; two and the terminator do.
    task = with_splits(write, "a b\na b c\nb a c d\n", max_length=3)
    assert lines(task, "train") == ["a b"]
    assert any("data.txt: dropped 2 lines longer than 2 tokens, lines 2, 3" in note for note in task.notes)
    check_task(task)


def test_lines_too_long_are_cut_without_a_terminator(write):
    task = with_splits(write, "a b\na b c\nb a c d\n", max_length=3, over_long="cut")
    assert lines(task, "train") == ["a b", "a b c", "b a c"]
    assert (task.train == Vocabulary.end_id).sum(1).tolist() == [1, 0, 0]
    assert any("cut 2 lines to 3 tokens, without a terminator, lines 2, 3" in note for note in task.notes)
    check_task(task)


def test_held_out_lines_too_long_are_treated_alike(write):
    task = with_splits(write, "a b\n", test=write("a\na b a\n", "t.txt"))
    assert task.space.max_length == 3
    assert lines(task, "test") == ["a"]


@pytest.mark.parametrize(("tokens", "length", "cap"), [("word", 70, 64), ("char", 200, 128)])
def test_the_length_chosen_by_itself_has_a_limit(write, tokens, length, cap):
    separator = " " if tokens == "word" else ""
    task = with_splits(
        write, separator.join("ab" * (length // 2)) + "\na b\nb a\n", tokens=tokens, valid=write("a\n", "v")
    )
    assert task.space.max_length == cap
    assert lines(task, "train") == ["a b", "b a"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"a b\r\nb c\r\n", "read 2 lines"),
        (b"a b\rb c\r", "read 2 lines"),
        (b"a b\nb c", "read 2 lines"),
        (b"\xef\xbb\xbfa b\nb c\n", "removed 1 byte order mark"),
        (b"a b\n\xef\xbb\xbfb c\n", "removed 1 byte order mark"),
        (b"\n  \na b\n\t\nb c\n\n", "skipped 4 empty lines"),
        ("a b\n\u3000\nb c\n".encode(), "skipped 1 empty line, line 2"),
        (b"a\x00b\nb\x0cc\x1b\n" + b"\n" * 50, "replaced 3 control characters with a space"),
        ("a\x85b\nb c\n".encode(), "replaced 1 control character with a space"),
        (b"a\tb\nb  c \n", "read 2 lines"),
        ("a\u2028b\nb c\n".encode(), "read 2 lines"),
        (gzip.compress(b"a b\nb c\n", mtime=0), "read 2 lines"),
        ("a b\nb c\n".encode("utf-16"), "removed 1 byte order mark, which says utf-16-le"),
    ],
)
def test_what_text_files_bring_along_is_taken_off_and_counted(write, content, note):
    task = with_splits(write, content)
    assert lines(task, "train") == ["a b", "b c"]
    assert any(note in line for line in task.notes)


def test_text_is_not_normalised(write):
    task = with_splits(write, "e\u0301 \u00e9 A a\n")
    assert task.token_names[2:] == ("A", "a", "e\u0301", "\u00e9")
    assert "E" not in "".join(with_splits(write, "E e\u0301 A a\n", lowercase=True).token_names)


def test_other_encodings_are_read_when_named(write):
    assert lines(with_splits(write, "caf\u00e9 b\nb a\n".encode("latin-1"), encoding="latin-1"), "train") == [
        "caf\u00e9 b",
        "b a",
    ]
    paths = {name: write("a b\n".encode("utf-16"), name) for name in ("valid", "test")}
    assert lines(with_splits(write, "a \u96ea\n".encode("utf-16"), encoding="utf-16", **paths), "train") == ["a \u96ea"]


def test_the_notes_tell_the_vocabulary_and_the_splits(write):
    notes = build_task(TextTask(data=write(POEM))).notes
    assert "vocabulary: 16 word ids, 2 of them special; sequences of at most 3 tokens including the terminator" in notes
    assert "train: 38 sequences, 76 tokens, 0 unknown (0.00%)" in notes


def test_very_long_lines_are_quick(write):
    path = write("ab" * 50_000 + "\n" + "a b\n" + "c " * 50_000 + "\n" + POEM)
    begin = time.perf_counter()
    for tokens in ("word", "char"):
        build_task(TextTask(data=path, tokens=tokens, over_long="cut"))
    assert time.perf_counter() - begin < 10  # a fraction of a second; quadratic work on such a line takes minutes


REFUSED = {
    "missing": (None, {}, r"data.txt: no such file"),
    "empty": (b"", {}, r"data.txt: is empty"),
    "only_empty_lines": (b"\n \n\r\n", {}, r"all 3 lines are empty"),
    "latin1": (b"a b\nc\nna\xefve b\n", {}, r"data.txt, line 3: byte 0xef at offset 8 is not utf-8"),
    "utf16_without_mark": (
        "a b\nb c\n".encode("utf-16-le"),
        {},
        r"looks like a binary file, or like UTF-16 read as utf-8",
    ),
    "binary": (bytes(range(256)) * 4, {}, r"line 2: byte 0x80 at offset 128 is not utf-8 .* contains zero bytes"),
    "zeros": (bytes(1000), {}, r"1000 of 1000 bytes are NUL"),
    "odd_utf16": (b"\xff\xfea", {"encoding": "utf-16"}, r"is not utf-16"),
    "cut_gzip": (gzip.compress(POEM.encode())[:-10], {}, r"damaged or truncated gzip data"),
    "damaged_gzip": (gzip.compress(POEM.encode())[:20] + b"\xff" * 40, {}, r"damaged or truncated gzip data"),
    "too_long": (
        b"a b c d\na b c\n",
        {"max_length": 3},
        r"every line is too long: the shortest has 3 tokens, .*at least 4",
    ),
    "one_too_long": (
        b"a b\n\na b c\na b c\n",
        {"max_length": 3, "over_long": "error"},
        r"data.txt, line 3: the line has 3 tokens; max_length=3 allows 2 tokens and the terminator \(2 such lines\)",
    ),
    "one_word": (b"a\na a\na a a\na a a a\n", {}, r"fewer than 2 distinct tokens .* \('a'\)"),
    "no_frequent_word": (b"a b\nc d\ne f\ng h\n", {"min_count": 2}, r"min_count=2 times \(none\)"),
    "too_few_lines": (b"a b\nb a\n", {}, r"2 usable lines; too few to split off 1 for valid and 1 for test"),
    "too_few_different_lines": (b"a b\nb a\n" * 50, {}, r"2 usable lines; too few"),
    "all_unknown": (
        b"a b x\na b y\na b z\na b w\n",
        {"min_count": 2, "unknown": "drop"},
        r"every training line contains a token outside the vocabulary",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_learnt_from_are_refused(name, write, tmp_path):
    content, settings, message = REFUSED[name]
    path = write(content) if content is not None else str(tmp_path / "data.txt")
    with pytest.raises(DataError, match=message) as caught:
        build_task(TextTask(data=path, **settings))
    assert str(caught.value).startswith(path)


def test_a_directory_is_refused(tmp_path):
    with refused(DataError, "is_directory"):
        build_task(TextTask(data=str(tmp_path)))


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with refused(DataError, "not_regular_file"):
        build_task(TextTask(data=str(tmp_path / "pipe")))


def test_a_name_that_says_gzip_of_a_file_that_is_not_is_refused(write):
    with refused(DataError, "not_compressed"):
        build_task(TextTask(data=write(POEM, "data.gz")))


def test_a_misspelt_name_is_answered_with_the_nearest(write, tmp_path):
    write(POEM, "captions.txt")
    with refused(DataError, "no_such_file", match=r"Did you mean '.*/captions\.txt'"):
        build_task(TextTask(data=str(tmp_path / "caption.txt")))


def test_the_file_at_fault_is_the_one_named(write):
    with refused(DataError, "all_too_long", match=r"v\.txt"):
        with_splits(write, "a b\n", valid=write("a b c\n", "v.txt"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"valid": "v", "valid_fraction": 0.1}, "split_without_effect: valid_fraction=0.1.*valid='v'"),
        ({"test": "t", "test_fraction": 0.1}, "split_without_effect: test_fraction=0.1.*test='t'"),
        ({"valid": "v", "test": "t", "split_seed": 0}, "split_without_effect: split_seed=0"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "nothing_to_train_on"),
        ({"valid_fraction": 0.95}, "nothing_to_train_on"),
        ({"encoding": "utf8x"}, "unknown_encoding: encoding='utf8x'.*Did you mean 'utf-8'"),
        ({"encoding": "hex"}, "unknown_encoding"),
        ({"max_length": 1}, "setting_value"),
        ({"max_size": 3}, "setting_value"),
        ({"tokens": "byte"}, "setting_variant: 'word'.*'char'.*'bpe'"),
        ({"vocab": 7}, "setting_not_known"),
        ({"data": ""}, "setting_value"),
    ],
)
def test_settings_that_contradict_or_do_nothing_are_refused(settings, message):
    with refused(ValidationError, message):
        TextTask(**({"data": "d"} | settings))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("folder", "settings", "num_different"),
    [
        ("image_coco", {"data": "gfs_tok_train.txt"}, 9_945),
        ("wordnet_examples", {"data": "train.txt", "tokens": "char"}, 31_622),
    ],
)
def test_public_files_build_tasks_that_keep_their_contract(data_dir, folder, settings, num_different):
    path = data_dir / folder / settings["data"]
    if not path.is_file():
        pytest.skip(f"no {path}")
    task = build_task(TextTask(**(settings | {"data": str(path), "max_length": 200})))
    check_task(task)
    # Different lines, as the data set's description counts them.
    assert len(task.train) + len(task.valid) + len(task.test) == num_different
