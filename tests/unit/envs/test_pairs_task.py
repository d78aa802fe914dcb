"""Pairs of a source and a target as people have them: what is read, counted, refused, and given back as text."""

from __future__ import annotations

import gzip
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlgan.envs import ConfigError, DataError, PairsTask, Task, build_task, sequence_mask
from rlgan.envs.tasks import pieces
from rlgan.envs.tasks.pair_files import ParallelFiles, Records, Table
from rlgan.envs.tasks.pairs import SeparateVocabularies, SharedVocabulary
from rlgan.envs.tasks.pieces import BytePairs, Characters, Words, build_alphabet
from rlgan.envs.tasks.sources import Dialogue, Summarization, Translation
from rlgan.envs.testing import check_task
from rlgan.envs.vocabulary import Vocabulary, join_tokens, one_line
from tests.support.errors import refused
from tests.support.other_processes import printed_with_two_hash_seeds
from tests.support.usual import usually

SOURCES = [f"{a} {b}" for a in "abcdefgh" for b in "uvwxyz"]  # 48 different lines
TARGETS = [f"{b} {a} !" for a in "ABCDEFGH" for b in "UVWXYZ"]

needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="the extra `pieces` is not installed")


@pytest.fixture
def write(tmp_path):
    def write_file(content: str | bytes, name: str) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


def parallel(write, source: str | bytes, target: str | bytes, prefix: str = "", **held_out) -> ParallelFiles:
    names = {"source": write(source, f"{prefix}a.txt"), "target": write(target, f"{prefix}b.txt")}
    return ParallelFiles(**names, **held_out)


def table(write, rows, **columns) -> Table:
    return Table(data=write("".join("\t".join(row) + "\n" for row in rows), "pairs.tsv"), **columns)


def records(write, objects, **fields) -> Records:
    return Records(data=write("".join(json.dumps(one) + "\n" for one in objects), "pairs.jsonl"), **fields)


def with_splits(write, files: Table | Records | ParallelFiles, **settings) -> Task:
    """A task whose training split is the given file; two more hold the pair a → b and the pair b → a."""
    if isinstance(files, ParallelFiles):
        held_out = {
            f"{split}_{side}": write(text, f"{split}_{side}")
            for split, texts in (("valid", ("a\n", "b\n")), ("test", ("b\n", "a\n")))
            for side, text in zip(("source", "target"), texts, strict=True)
        }
    else:
        held_out = {}
        for split, (source, target) in {"valid": "ab", "test": "ba"}.items():
            if isinstance(files, Records):
                text = json.dumps({files.source: source, files.target: target})
            elif isinstance(files.source, int):
                row = ["-"] * (max(files.source, files.target) + 1)
                row[files.source], row[files.target] = source, target
                text = "\t".join(row)
            else:
                text = f"{files.source}\t{files.target}\n{source}\t{target}"
            held_out[split] = write(text + "\n", f"{split}.data")
    return build_task(PairsTask(input=files.model_copy(update=held_out), **settings))


def shown(task: Task, split: str = "train") -> list[tuple[str, str]]:
    sources = task.conditions.decode(getattr(task.conditions, split))
    return list(zip(sources, task.decode(getattr(task, split)), strict=True))


def noted(task: Task, text: str) -> bool:
    return any(text in note for note in task.notes)


# What is read.


def test_parallel_lines_become_conditions_and_sequences(write):
    task = with_splits(write, parallel(write, "a b\nb\n", "b\na c d\n"))
    assert task.conditions.token_names == ("<end>", "<unk>", "b", "a")
    assert task.token_names == ("<end>", "<unk>", "a", "b", "c", "d")
    assert task.conditions.train.tolist() == [[3, 2, Vocabulary.end_id], [2, Vocabulary.end_id, Vocabulary.end_id]]
    assert task.train.tolist() == [[3, 0, 0, 0], [2, 4, 5, 0]]
    assert (task.conditions.space.vocab_size, task.conditions.space.max_length) == (4, 3)
    assert (task.space.vocab_size, task.space.max_length) == (6, 4)
    assert shown(task, "valid") == [("a", "b")] and shown(task, "test") == [("b", "a")]
    assert task.oracle is None and task.oracle_of(task.conditions.valid) is None
    check_task(task)


PAIRS = [("a b", "b"), ("b", "a c")]


@pytest.mark.parametrize("compress", [False, True])
def test_every_form_of_file_holds_the_same_pairs(write, compress):
    def pack(text: str) -> bytes:
        return gzip.compress(text.encode()) if compress else text.encode()

    rows = "".join(f"x\t{target}\t{source}\n" for source, target in PAIRS)
    lines = "".join(json.dumps({"q": source, "r": target}) + "\n\n" for source, target in PAIRS)
    forms = [
        parallel(write, pack("a b\nb\n"), pack("b\na c\n")),
        Table(data=write(pack(rows), "rows"), source=2, target=1),
        Table(data=write(pack("id\ten\tde\n" + rows), "named"), source="de", target="en"),
        Records(data=write(pack(lines), "lines"), source="q", target="r"),
    ]
    tasks = [with_splits(write, form) for form in forms]
    assert [shown(task) for task in tasks] == [PAIRS] * 4
    assert len({task.fingerprint() for task in tasks}) == 1
    assert noted(tasks[3], "skipped 2 empty lines, lines 2, 4")


def test_the_first_pair_is_shown_and_the_columns_that_are_read(write):
    rows = [("english", "german", "id"), ("a" * 70, "b", "1"), ("c", "d", "2")]
    by_number = with_splits(write, table(write, rows, source=1, target=0))
    assert noted(by_number, "pairs.tsv: line 1 has 3 columns; counted from 0, the source is column 1, the target is co")
    assert noted(by_number, "pairs.tsv: first pair, line 1: source 'german', target 'english'")
    by_name = with_splits(write, table(write, rows, source="english", target="id"))
    assert noted(
        by_name, "line 1 names 3 columns; counted from 0, the source is column 0 ('english'), the target is colu"
    )
    assert noted(by_name, f"first pair, line 2: source '{'a' * 57}...', target '1'")
    two_files = with_splits(write, parallel(write, "a\nb\n", "b c\na\n"))
    assert noted(two_files, "b.txt: first pair, line 1: source 'a', target 'b c'")
    turns = records(write, [{"source": ["a", "b"], "target": ["x", "y"]}])
    described = "first pair, line 1: source ['a', 'b'], target 'x'"
    assert noted(with_splits(write, turns, domain=Dialogue()), f"pairs.jsonl: {described}")


def test_a_column_may_be_typed_as_text(write):
    assert Table(data="d", source="1", target="0") == Table(data="d", source=1, target=0)


def test_one_file_is_shared_out_and_its_pairs_stay_together(write):
    files = parallel(write, "\n".join(SOURCES), "\n".join(TARGETS))
    task = build_task(PairsTask(input=files, valid_fraction=0.25, test_fraction=0.125))
    assert [len(task.train), len(task.valid), len(task.test)] == [30, 12, 6]
    everything = shown(task) + shown(task, "valid") + shown(task, "test")
    words = dict(zip(SOURCES, TARGETS, strict=True))
    assert {source for source, _ in everything} == set(SOURCES)
    assert all("<unk>" in target or words[source] == target for source, target in everything)
    check_task(task)
    again, other = (build_task(PairsTask(input=files, valid_fraction=0.25, split_seed=seed)) for seed in (0, 1))
    assert shown(again, "test") != shown(other, "test")


def test_pairs_of_one_source_are_never_split(write):
    rows = [(source, f"{target} {number}") for source, target in zip(SOURCES, TARGETS, strict=True) for number in "12"]
    task = build_task(PairsTask(input=table(write, rows)))
    assert [len(task.train), len(task.valid), len(task.test)] == [76, 10, 10]
    splits = [{source for source, _ in shown(task, split)} for split in ("train", "valid", "test")]
    assert not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]
    assert "train: 38 sources with several targets, 76 in all" in task.notes


def test_repeated_pairs_go_where_files_are_split_and_else_if_asked(write):
    rows = list(zip(SOURCES, TARGETS, strict=True))
    split = build_task(PairsTask(input=table(write, rows * 2)))
    assert len(split.train) + len(split.valid) + len(split.test) == 48
    assert noted(split, "dropped 48 repeated pairs")
    assert len(with_splits(write, table(write, PAIRS * 2)).train) == 4
    assert len(with_splits(write, table(write, PAIRS * 2), deduplicate=True).train) == 2
    assert len(build_task(PairsTask(input=table(write, rows * 2), deduplicate=False)).train) == 76


def test_held_out_sources_that_are_training_sources_are_counted(write):
    task = with_splits(write, table(write, [("a", "x"), ("c", "y z")]))
    assert "valid: 1 of 1 sources are also training sources" in task.notes
    assert not noted(task, "test: 1 of 1 sources")


def test_pairs_with_an_empty_side_are_skipped_and_their_lines_told(write):
    task = with_splits(write, parallel(write, "a\n\n \nb\nc\n", "b c\nx\ny\n\na\n"))
    assert shown(task) == [("a", "b c"), ("c", "a")]
    assert noted(task, "skipped 2 pairs with an empty source, lines 2, 3")
    assert noted(task, "skipped 1 pair with an empty target, line 4")


def test_what_files_bring_along_is_taken_off_and_counted(write):
    task = with_splits(write, parallel(write, "\ufeffa\x00b\r\n" + 20 * "c " + "\r\n", "x\ny z\n"))
    assert shown(task)[0] == ("a b", "x")
    assert noted(task, "replaced 1 control character with a space in") and noted(task, "removed 1 byte order mark in")
    lines = with_splits(write, records(write, [{"source": "a\nb\x00", "target": "x y"}]))
    assert shown(lines) == [("a b", "x y")]
    assert noted(lines, "replaced 2 control characters within strings with a space")


def test_several_targets_of_a_record_make_a_pair_each(write):
    task = with_splits(write, records(write, [{"source": "a", "target": ["x", "y z"]}, {"source": "b", "target": []}]))
    assert shown(task) == [("a", "x"), ("a", "y z")]
    assert noted(task, "1 record with several targets; each target makes a pair")
    assert noted(task, "skipped 1 pair with an empty target, line 2")
    assert "train: 1 source with several targets, 2 in all" in task.notes


def test_what_is_advised_about_a_field_that_lacks_helps(write):
    objects = [{"source": "a", "reply": "x y"}, {"source": "b", "reply": "y"}, {"source": "c"}]
    with refused(DataError, "record_lacks_field", match="'target'.*--task.input.target"):
        with_splits(write, records(write, objects))
    with refused(DataError, "record_lacks_field", match="'reply'.*'reply'"):
        with_splits(write, records(write, objects, target="reply"))
    assert shown(with_splits(write, records(write, objects[:2], target="reply"))) == [("a", "x y"), ("b", "y")]
    objects[2]["reply"] = "x"
    assert shown(with_splits(write, records(write, objects, target="reply")))[2] == ("c", "x")


# Domains.


def test_of_a_dialogue_the_last_turns_are_kept(write):
    objects = [
        {"source": ["a", " b c ", "", "d"], "target": "x"},
        {"source": "e", "target": "y"},
        {"source": "f <turn> g<turn>h", "target": "y"},
    ]
    task = with_splits(write, records(write, objects), domain=Dialogue(max_turns=2))
    assert [source for source, _ in shown(task)] == ["b c <turn> d", "e", "g <turn> h"]
    assert task.conditions.token_names[:3] == ("<end>", "<unk>", "<turn>")
    assert task.space.condition.separator_id == 2
    assert noted(task, "removed 2 turns before the last 2 of a source")
    check_task(task)


def test_turns_are_told_apart_by_the_token_that_is_named(write):
    task = with_splits(
        write,
        parallel(write, "A b__EOU__c\nd\n", "X\ny\n"),
        domain=Dialogue(turn_token="__EOU__"),
        lowercase=True,
        vocabulary=SharedVocabulary(tokens=Characters()),
    )
    assert shown(task)[0] == ("a b__EOU__c", "x")
    assert task.conditions.token_names[2] == "__EOU__"
    assert task.conditions.train.shape[1] == 6


def test_a_dialogue_that_is_cut_keeps_its_end(write):
    domain = Dialogue(max_source_length=3, over_long_source="cut")
    task = with_splits(write, parallel(write, "a b c d\na\n", "x\ny\n"), domain=domain)
    assert [source for source, _ in shown(task)] == ["b c d", "a"]
    assert "train: cut 1 source to the last 3 tokens, without a terminator, line 1" in task.notes
    check_task(task)


def test_a_document_is_cut_to_its_beginning_and_its_sentences_told_apart(write):
    objects = [{"source": ["a b", "c d"], "target": "x"}, {"source": "e", "target": "y"}]
    task = with_splits(write, records(write, objects), domain=Summarization(max_source_length=4))
    assert [source for source, _ in shown(task)] == ["a b <s> c", "e"]
    assert sequence_mask(task.conditions.space, task.conditions.train).sum(1).tolist() == [4, 2]
    assert "train: cut 1 source to 4 tokens, without a terminator, line 1" in task.notes
    assert task.conditions.space.max_length == 4


def test_numbers_become_one_token_on_both_sides(write):
    objects = [{"source": "In 2017, 1,234.5km", "target": "12% NUM"}, {"source": "a", "target": "b"}]
    domain = Summarization(number_token="NUM")
    words = with_splits(write, records(write, objects), domain=domain, lowercase=True)
    assert shown(words)[0] == ("in NUM , NUM km", "NUM % NUM")
    letters = SeparateVocabularies(source=Characters(), target=Characters())
    characters = with_splits(write, records(write, objects), domain=domain, vocabulary=letters)
    assert shown(characters)[0] == ("In NUM, NUMkm", "NUM% NUM")
    assert characters.token_names[2] == "NUM"
    assert int(sequence_mask(characters.space, characters.train)[0].sum()) == 5
    plain = with_splits(write, records(write, objects), domain=Summarization())
    assert shown(plain)[0] == ("In 2017, 1,234.5km", "12% NUM")


def test_of_two_marks_the_longer_one_is_read():
    assert list(pieces.split_at(("N", "NN"), "aNNb")) == [("a", False), ("NN", True), ("b", False)]
    assert list(pieces.split_at((), "")) == list(pieces.split_at(("N",), "")) == []


def test_spaces_around_turns_are_no_part_of_them(write):
    objects = [{"source": [" a b ", "c "], "target": "x y"}, {"source": "a b <turn> c", "target": "y"}]
    letters = SharedVocabulary(tokens=Characters())
    task = with_splits(write, records(write, objects), domain=Dialogue(), vocabulary=letters)
    assert [source for source, _ in shown(task)] == ["a b<turn>c"] * 2


def test_spaces_that_no_token_holds_make_no_other_pair(write):
    rows = [("a  b", "x"), (" a b", "x "), ("b", "y")]
    assert len(with_splits(write, table(write, rows), deduplicate=True).train) == 2
    letters = SharedVocabulary(tokens=Characters())
    assert len(with_splits(write, table(write, rows), deduplicate=True, vocabulary=letters).train) == 3


# Alphabets and limits.


def test_shared_vocabularies_have_the_same_ids(write):
    task = with_splits(write, parallel(write, "a b\nc\n", "b x\nc\n"), vocabulary=SharedVocabulary())
    assert task.token_names == task.conditions.token_names
    assert set(task.token_names) == {"<end>", "<unk>", "a", "b", "c", "x"}


def test_each_side_has_its_own_limits_of_the_vocabulary(write):
    vocabulary = SeparateVocabularies(source=Words(min_count=2), target=Words(max_size=4))
    task = with_splits(write, parallel(write, "a b\na\n", "x y z\nx y\n"), vocabulary=vocabulary)
    assert task.conditions.token_names == ("<end>", "<unk>", "a")
    assert task.token_names == ("<end>", "<unk>", "x", "y")
    assert "train: 2 pairs; sources 3 tokens, 1 unknown (33.33%); targets 5 tokens, 1 unknown (20.00%)" in task.notes
    assert noted(task, "train: 33.3% of the tokens of sources are unknown, which is more than 5%")
    assert task.conditions.train[0].tolist() == [2, Vocabulary.unknown_id, Vocabulary.end_id]


def test_few_unknown_tokens_are_counted_without_a_warning(write):
    text = "\n".join(["a b"] * 40 + ["z"])
    vocabulary = SeparateVocabularies(source=Words(min_count=2))
    task = with_splits(write, parallel(write, text, text), vocabulary=vocabulary)
    assert noted(task, "train: 41 pairs; sources 81 tokens, 1 unknown (1.23%)")
    assert not noted(task, "train: 1.2%")


def test_pairs_too_long_on_either_side_are_dropped_and_counted(write):
    files = parallel(write, "a b c\na\na b\n", "x\nx y z\nx y\n")
    task = with_splits(write, files, domain=Translation(max_source_length=3), max_length=3)
    assert shown(task) == [("a b", "x y")]
    assert "train: dropped 1 source longer than 2 tokens, line 1" in task.notes
    assert "train: dropped 1 target longer than 2 tokens, line 2" in task.notes


def test_of_what_is_left_out_five_lines_are_told(write):
    long, short = "x y z\n", "y\n"
    # Behind a line that is skipped and one whose source is too long, so that no line has the number of its place.
    sources, targets = "\na b c\n" + "a\n" * 10, short * 2 + long * 2 + short + "x y\n" + (long + short) * 2 + long * 2
    settings = {"domain": Translation(max_source_length=3), "max_length": 3, "min_length": 2}
    task = with_splits(write, parallel(write, sources, targets), **settings)
    assert shown(task) == [("a", "x y")]
    assert "train: dropped 1 source longer than 2 tokens, line 2" in task.notes
    assert "train: dropped 6 targets longer than 2 tokens, lines 3, 4, 7, 9, 11, ..." in task.notes
    assert "train: dropped 3 targets shorter than 2 tokens, lines 5, 8, 10" in task.notes


def test_lines_of_pairs_that_were_shared_out_are_those_of_the_file(write):
    rows = list(zip(SOURCES, TARGETS, strict=True))
    for place in (3, 30):
        rows[place] = (SOURCES[place], "x y z !")
    task = build_task(PairsTask(input=table(write, rows), max_length=4, deduplicate=False))
    described = [note.partition(", line")[2] for note in task.notes if "longer than 3 tokens" in note]
    found = {int(number) for numbers in described for number in re.findall(r"\d+", numbers)}
    assert found == {4, 31}


def test_held_out_pairs_are_cut_and_never_dropped(write):
    train, long = "a b\tx y\n", "a b c d\tx y z x\na\tx\n"
    task = build_task(
        PairsTask(
            input=Table(data=write(train + "b\tz\n", "t.tsv"), valid=write(long, "v.tsv"), test=write(long, "u.tsv"))
        )
    )
    assert task.space.max_length == 3
    for split in ("valid", "test"):
        assert shown(task, split) == [("a b <unk>", "x y z"), ("a", "x")]
        assert f"{split}: cut 1 source to 3 tokens, without a terminator, line 1" in task.notes
        assert f"{split}: cut 1 target to 3 tokens, without a terminator, line 1" in task.notes
    # What it is compared with is whole.
    assert task.valid_words == task.test_words == (("x", "y", "z", "x"), ("x",))
    with refused(DataError, "too_long", match="u.tsv"):
        settings = {"valid": write(train, "v2.tsv"), "test": write(long, "u.tsv")}
        build_task(PairsTask(input=Table(data=write(train + "b\tz\n", "t.tsv"), **settings), over_long="error"))


def test_targets_too_long_are_cut_where_that_is_asked_for(write):
    task = with_splits(write, parallel(write, "a\nb\n", "x y z\ny\n"), max_length=2, over_long="cut")
    assert shown(task) == [("a", "x y"), ("b", "y")]
    assert (task.train == Vocabulary.end_id).sum(1).tolist() == [0, 1]
    check_task(task)


def test_training_targets_that_are_too_short_are_dropped_and_counted(write):
    files = parallel(write, "a\nb\nc\nd\n", "b a b\na\nb b\na b\n")
    task = with_splits(write, files, min_length=2)
    assert shown(task) == [("a", "b a b"), ("c", "b b"), ("d", "a b")]
    assert noted(task, "train: dropped 1 target shorter than 2 tokens")
    # What is measured on stays: its targets have one token.
    assert shown(task, "valid") == [("a", "b")] and not noted(task, "valid: dropped")
    assert not noted(with_splits(write, files, min_length=1), "shorter")


def test_targets_that_are_all_too_short_are_refused(write):
    files = parallel(write, "a\nb\n", "b a\na\n")
    with refused(DataError, "all_targets_too_short", {"min_length": 3}):
        with_splits(write, files, min_length=3)


def test_lengths_chosen_by_themselves_have_a_limit(write):
    files = parallel(write, "a " * 70 + "\na b\n", "x\nx y\n")
    assert with_splits(write, files).conditions.space.max_length == 64


@pytest.mark.parametrize("change", ["source", "target", "pairing", "name"])
def test_the_fingerprint_tells_conditions_apart(write, change):
    pairs = {
        "source": [("a c", "b"), ("b", "a c")],
        "target": [("a b", "c"), ("b", "a c")],
        "pairing": [("a b", "a c"), ("b", "b")],
        "name": [("a d", "b"), ("d", "a c")],
    }[change]
    first, again, other = (with_splits(write, table(write, rows)) for rows in (PAIRS, PAIRS, pairs))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


# Pieces of words.

TEXTS = ["hello world", "hello there <unk> , who are you ?", "how do  you do", "na\u00efve caf\u00e9 \u96ea"] * 3


@needs_tokenizers
@pytest.mark.parametrize("unit", ["byte", "character"])
def test_pieces_spell_the_text_they_were_cut_from(unit):
    alphabet = build_alphabet(BytePairs(unit=unit, size=300), TEXTS, [], "texts")
    for text in TEXTS:
        tokens = alphabet.tokenise(text)
        assert alphabet.vocabulary.decode(alphabet.vocabulary.encode(tokens)) == list(tokens)
        assert join_tokens(tokens, alphabet.joining) == text
    assert len(alphabet.tokenise("hello")) == 1
    assert alphabet.vocabulary.encode(alphabet.tokenise("a <unk>")).count(Vocabulary.unknown_id) == 1


@needs_tokenizers
@given(st.text(max_size=30))
def test_bytes_spell_every_text(text):
    alphabet = byte_pieces()
    tokens = alphabet.tokenise(text)
    assert Vocabulary.unknown_id not in alphabet.vocabulary.encode(tokens) or "<unk>" in text
    assert join_tokens(tokens, alphabet.joining) == one_line(text)


def byte_pieces(cache=[]):  # noqa: B006  # learnt once
    if not cache:
        cache.append(build_alphabet(BytePairs(size=300), TEXTS, [], "texts"))
    return cache[0]


@needs_tokenizers
def test_unknown_characters_are_unknown_where_pieces_are_of_characters():
    alphabet = build_alphabet(BytePairs(unit="character", size=60), TEXTS, [], "texts")
    assert alphabet.vocabulary.encode(alphabet.tokenise("\u5c71")).count(Vocabulary.unknown_id) == 1


@needs_tokenizers
@pytest.mark.parametrize("unit", ["byte", "character"])
def test_marks_are_tokens_of_their_own_among_pieces(write, unit):
    objects = [{"source": ["hello you", "hello there"], "target": "hello world"}] * 4
    vocabulary = SharedVocabulary(tokens=BytePairs(unit=unit, size=300))
    files = records(write, objects)
    task = with_splits(write, files, domain=Dialogue(turn_token="<t\u00fcrn>"), vocabulary=vocabulary)
    between = "<t\u00fcrn>" if unit == "byte" else " <t\u00fcrn> "
    assert shown(task)[0] == (f"hello you{between}hello there", "hello world")
    assert int((task.conditions.train[0] == 2).sum()) == 1
    check_task(task)


@needs_tokenizers
def test_a_character_that_marks_words_is_read_as_a_space(write):
    vocabulary = SharedVocabulary(tokens=BytePairs(unit="character", size=60))
    task = with_splits(write, parallel(write, "a\u2581b\nb a\n", "b a\na b\n"), vocabulary=vocabulary)
    assert shown(task)[0] == ("a b", "b a")
    assert noted(task, "read 1 character \u2581, which marks words in byte-pair tokens, as a space")


@pytest.mark.heavy
@needs_tokenizers
@pytest.mark.parametrize("unit", usually(["byte"], ["byte", "character"]))
def test_pieces_are_the_same_in_every_process(unit):
    script = (
        "from rlgan.envs.tasks.pieces import BytePairs, build_alphabet\n"
        "texts = [f'{a}{b}{c} {c}{a}' for a in 'abcdef' for b in 'uvwxyz' for c in 'klmn']\n"
        f"print(build_alphabet(BytePairs(unit={unit!r}, size=320), texts, [], 'texts').vocabulary.to_json())"
    )
    one, other = printed_with_two_hash_seeds(script)
    assert one == other


@needs_tokenizers
def test_more_characters_than_tokens_are_refused():
    with refused(DataError, "bpe_size_below_characters", {"name": "texts", "size": 12}):
        build_alphabet(BytePairs(unit="character", size=12), TEXTS, [], "texts")


def test_pieces_without_the_library_say_what_to_install(monkeypatch):
    monkeypatch.setattr(pieces, "find_spec", lambda name: None)
    with refused(ConfigError, "bpe_needs_tokenizers"):
        build_alphabet(BytePairs(), TEXTS, [], "texts")


# What is refused.

UNREADABLE = {
    "uneven": (
        lambda write: parallel(write, "a\nb\nlast one\n", "x\ny\n"),
        r"a.txt has 3 lines and .*b.txt has 2; .* first line without a partner is line 3 of .*a.txt: 'last one'",
    ),
    "uneven_the_other_way": (
        lambda write: parallel(write, "a\n", "x\ny\n"),
        r"a.txt has 1 line and .*b.txt has 2; .* is line 2 of .*b.txt: 'y'",
    ),
    "uneven_by_an_empty_line": (
        lambda write: parallel(write, "a\nb\n", "x\ny\n \n"),
        r"b.txt has 3 lines and .*a.txt has 2; .* The last line of .*b.txt is empty\. Delete it\.$",
    ),
    "uneven_by_more_than_an_empty_line": (
        lambda write: parallel(write, "a\n", "x\ny\n\n"),
        r"first line without a partner is line 2 of .*b.txt: 'y'",
    ),
    "no_pair": (
        lambda write: parallel(write, "a\n\n", "\nx\n"),
        r"contains no pair with text on both sides \(1 with an empty source and 1 with an empty target\)",
    ),
    "only_a_header": (lambda write: table(write, [("en", "de")], source="en", target="de"), r"\(none at all\)"),
    "missing": (
        lambda write: ParallelFiles(source=write("a\n", "corpus.en"), target=write("a\n", "corpus.de") + "x"),
        r"corpus.dex: no such file.*Did you mean '.*/corpus.de'",
    ),
    "one_column": (
        lambda write: table(write, [("a", "b"), ("only this",)]),
        r"pairs.tsv, line 2: has 1 column \('only this'\), but the target is column 1, counted from 0",
    ),
    "wrong_name": (
        lambda write: table(write, [("english", "german"), ("a", "b")], source="englsh", target="german"),
        r"line 1: --task.input.source='englsh' is not among .* 'english', 'german'.*Did you mean 'english'",
    ),
    "twice_the_name": (
        lambda write: table(write, [("en", "de", "en"), ("a", "b", "c")], source="en", target="de"),
        r"--task.input.source='en' appears 2 times among",
    ),
    "not_json": (
        lambda write: Records(data=write('{"source": "a", "target": "b"}\n\n{"source": a}\n', "p")),
        r"p, line 3: not JSON \(Expecting value at character 12\): '\{\"source\": a\}'",
    ),
    "deep_json": (lambda write: Records(data=write("[" * 100_000 + "\n", "p")), r"p, line 1: not JSON"),
    "no_object": (lambda write: records(write, [["a", "b"]]), r"line 1: is a list .*; expected an object"),
    "wrong_field": (
        lambda write: records(write, [{"sorce": "a", "target": "b"}]),
        r"has no field 'source'; its fields are 'sorce', 'target'. Set --task.input.source .*Did you mean 'sorce'",
    ),
    "no_target": (
        lambda write: records(write, [{"source": "a", "target": "b"}, {"source": "a"}]),
        r"line 2: has no field 'target'; its fields are 'source'. .* Add the field 'target' to this record",
    ),
    "a_number": (lambda write: records(write, [{"source": 5, "target": "b"}]), r"'source' is a number \(5\)"),
    "null": (lambda write: records(write, [{"source": "a", "target": None}]), r"'target' is null \(null\)"),
    "list_of_lists": (
        lambda write: records(write, [{"source": ["a", ["b"]], "target": "b"}]),
        r"field 'source' is a list with a list \(\[\"b\"\]\)",
    ),
    "half_a_character": (
        lambda write: Records(data=write('{"source": "a\\ud800", "target": "b"}\n', "p")),
        r"p, line 1: field 'source' contains half of a surrogate pair \('\\ud800'\)",
    ),
    "turns_in_a_translation": (
        lambda write: records(write, [{"source": ["a", "b"], "target": "b"}]),
        r"line 1: the source is a list of 2 strings, but with domain=translation",
    ),
    "too_few": (lambda write: table(write, PAIRS), r"2 distinct sources; too few to split off 1 for valid and 1"),
}


def test_each_of_two_files_has_its_own_number_of_lines(write):
    a, b = write("text\na\nb\nc\nd\n", "a.csv"), write("".join(f'{{"text": "{x}"}}\n' for x in "wxyz"), "b.jsonl")
    notes = build_task(PairsTask(input=ParallelFiles(source=a, target=b))).notes
    assert any(f"read 5 lines in {a}" in note for note in notes) and any(
        f"read 4 lines in {b}" in note for note in notes
    )
    alike = build_task(PairsTask(input=parallel(write, "a\nb\nc\nd\n", "w\nx\ny\nz\n"))).notes
    assert [note for note in alike if "read 4 lines" in note][0].endswith("read 4 lines of each")
    assert sum("read 4 lines" in note for note in alike) == 1


@pytest.mark.parametrize("name", UNREADABLE)
def test_files_that_cannot_be_learnt_from_are_refused(name, write):
    files, message = UNREADABLE[name]
    with pytest.raises(DataError, match=message):
        build_task(PairsTask(input=files(write)))


@pytest.mark.parametrize(
    ("sources", "targets", "settings", "message"),
    [
        (
            "a b c\na b c d\n",
            "x\ny\n",
            {"domain": Translation(max_source_length=3)},
            "all_too_long: domain.max_source_length=3",
        ),
        ("a\nb\n", "x y\ny x\n", {"max_length": 2}, "all_too_long: max_length=2"),
        (
            "a\n\nb\n",
            "x\nx\nx y\n",
            {"max_length": 2, "over_long": "error"},
            "too_long: 3.*max_length=2.*'drop'.*'cut'",
        ),
        (
            "a\na b\n",
            "x\ny\n",
            {"domain": Dialogue(max_source_length=2, over_long_source="error")},
            "too_long: 2.*domain.max_source_length=2",
        ),
        ("a\nb\n", "x\nx\n", {}, "too_few_target_tokens: 'x'"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(write, sources, targets, settings, message):
    with refused(DataError, message):
        with_splits(write, parallel(write, sources, targets), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"valid_fraction": 0.1, "input": Table(data="d", valid="v")}, "split_without_effect: input.valid='v'"),
        (
            {
                "test_fraction": 0.1,
                "input": ParallelFiles(source="s", target="t", test_source="v", test_target="w"),
            },
            "split_without_effect: test_fraction=0.1.*input.test_source='v'",
        ),
        ({"split_seed": 1, "input": Table(data="d", valid="v", test="t")}, "split_without_effect: split_seed=1"),
        ({"domain": {"kind": "translation", "max_turns": 2}}, "setting_not_known"),
        ({"domain": {"kind": "summarization", "over_long_source": "drop"}}, "setting_not_known"),
        ({"domain": {"kind": "dialogue", "number_token": "N"}}, "setting_not_known"),
        ({"domain": {"kind": "dialogue", "turn_token": "a b"}}, "bad_special_token: 'a b'"),
        ({"domain": {"kind": "dialogue", "turn_token": "<unk>"}}, "bad_special_token: '<unk>'"),
        ({"domain": {"kind": "summarization", "number_token": "<s>"}}, "number_is_sentence_token: number_token='<s>'"),
        (
            {"vocabulary": {"kind": "shared", "tokens": {"kind": "bpe", "size": 200}}},
            "bpe_size_too_small: size=200.*258",
        ),
        ({"vocabulary": {"kind": "shared", "source": {"kind": "word"}}}, "setting_not_known"),
        ({"input": {"kind": "parallel", "source": "a", "target": "b", "valid_source": "c"}}, "split_lacks_side"),
        (
            {"input": {"kind": "parallel", "source": "d/a", "target": "./d/x/../a"}},
            "same_file_twice: source='d/a'",
        ),
        (
            {"input": {"kind": "parallel", "source": "a", "target": "b", "test_source": "c", "test_target": "c"}},
            "same_file_twice: test_source='c'",
        ),
        ({"input": {"kind": "tsv", "data": "a", "source": "en"}}, "mixed_columns"),
        ({"input": {"kind": "tsv", "data": "a", "source": 1}}, "source_is_target_in_table: source=1"),
        ({"input": {"kind": "tsv", "data": "a", "source": -1}}, "bad_column"),
        ({"input": {"kind": "jsonl", "data": "a", "source": "target"}}, "source_is_target_field"),
        ({"min_length": 5, "max_length": 5}, "min_above_max_length: min_length=5.*max_length=5"),
        ({"min_length": 6, "max_length": 5, "over_long": "cut"}, "min_above_max_length: min_length=6.*max_length=5"),
    ],
)
def test_settings_that_contradict_or_do_nothing_are_refused(settings, message):
    with refused(ValidationError, message):
        PairsTask.model_validate({"input": {"kind": "tsv", "data": "d"}} | settings)


word = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=3)
line = st.lists(word.filter(lambda w: w != "<unk>" and "\u2581" not in w), min_size=1, max_size=4).map(" ".join)


@pytest.mark.property
@given(st.lists(st.tuples(line, line), min_size=3, max_size=12, unique_by=lambda pair: pair[0]))
def test_pairs_come_back_as_they_were(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in pairs))
    vocabulary = SharedVocabulary(tokens=Characters())
    files = Records(data=str(path), valid=str(path), test=str(path))
    if len({character for _, target in pairs for character in target}) > 1:
        task = build_task(PairsTask(input=files, vocabulary=vocabulary))
        check_task(task)
        assert shown(task) == shown(task, "valid") == pairs


# Public data.


def public(data_dir: Path, folder: str, *names: str) -> list[str]:
    paths = [data_dir / folder / name for name in names]
    for path in paths:
        if not path.is_file():
            pytest.skip(f"no {path}")
    return list(map(str, paths))


@pytest.mark.integration
def test_multi30k_is_read_whole(data_dir):
    names = [f"{split}.lc.norm.tok.{side}" for split in ("val", "test_2016_flickr") for side in ("en", "de")]
    valid_source, valid_target, test_source, test_target = public(data_dir, "multi30k_en_de", *names)
    source, target = public(data_dir, "multi30k_en_de", "train.lc.norm.tok.en", "train.lc.norm.tok.de")
    files = ParallelFiles(
        source=source,
        target=target,
        valid_source=valid_source,
        valid_target=valid_target,
        test_source=test_source,
        test_target=test_target,
    )
    task = build_task(PairsTask(input=files))
    check_task(task)
    # As the data set's description counts them.
    assert [len(task.train), len(task.valid), len(task.test)] == [29_000, 1_014, 1_000]
    assert (task.conditions.space.vocab_size, task.space.vocab_size) == (10_210 + 2, 18_722 + 2)
    assert (task.conditions.space.max_length, task.space.max_length) == (40 + 1, 44 + 1)
    assert shown(task, "test")[0][0] == Path(test_source).read_text().splitlines()[0]


@pytest.mark.integration
def test_scitldr_is_read_with_its_several_summaries(data_dir):
    train, valid, test = public(data_dir, "scitldr_a", "train.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz")
    files = Records(data=train, valid=valid, test=test)
    task = build_task(PairsTask(input=files, domain=Summarization(number_token="TAGNUM"), max_length=200))
    check_task(task)
    assert [len(task.train), len(task.valid), len(task.test)] == [1_992, 1_453, 1_967]
    assert "TAGNUM" in task.token_names and not any(name.isdecimal() for name in task.token_names)


@pytest.mark.integration
def test_small_dialogues_are_shared_out_by_their_sources(data_dir):
    (path,) = public(data_dir, "dialogue_chatterbot", "english_pairs.tsv")
    task = build_task(
        PairsTask(input=Table(data=path, source=1, target=2), domain=Dialogue(), max_length=200, lowercase=True)
    )
    check_task(task)
    assert noted(task, "read 1224 lines")
    sources = [set(map(tuple, getattr(task.conditions, split).tolist())) for split in ("train", "valid", "test")]
    assert len(task.train) + len(task.valid) + len(task.test) == 1_223  # one differs from another by case alone
    assert not sources[0] & sources[2]


@pytest.mark.integration
def test_dialogues_by_ids_are_read_as_words(data_dir, write):
    (path,) = public(data_dir, "dialogue_opensub_sample", "t_given_s_train.txt")
    text = Path(path).read_text().replace("|", "\t")
    task = build_task(PairsTask(input=Table(data=write(text, "pairs.tsv")), vocabulary=SharedVocabulary()))
    check_task(task)
    assert noted(task, "read 256 lines")
