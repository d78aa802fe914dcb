"""Sequences as numbers: the same tasks as those made with a tuple of strings a line, and each part by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlgan.envs import DataError, PairsTask, SequenceSpace, Task, TextTask, build_task
from rlgan.envs.tasks import numbering as room
from rlgan.envs.tasks.numbering import Numbering, Rows, equal_rows, equal_texts, filled, first_of_each, groups_of
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.testing import check_task
from rlgan.envs.vocabulary import Vocabulary
from tests.support import slow_numbering as slow

few_tokens = st.sampled_from(["a", "b", "c", "d", "<unk>", "<end>", "e\u0301"])
sequence = st.lists(few_tokens, min_size=0, max_size=6)
sequences = st.lists(sequence, min_size=1, max_size=20)


@pytest.fixture(params=[3, 1 << 20], ids=["a few tokens at once", "all at once"])
def _chunk(request, monkeypatch):
    monkeypatch.setattr(room, "_CHUNK", request.param)


def numbered(found: list[list[str]]) -> tuple[Numbering, Rows]:
    numbering = Numbering()
    return numbering, numbering.rows(found)


within_a_test = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("_chunk")
@within_a_test
@given(sequences)
def test_sequences_come_back_as_they_were_numbered(found):
    numbering, rows = numbered(found)
    assert numbering.words(rows) == tuple(map(tuple, found))
    counts = numbering.counted(rows.counts(len(numbering)))
    assert counts == {token: sum(row.count(token) for row in found) for row in found for token in row}
    wanted = np.array([token == "a" for token in numbering.tokens], dtype=bool)
    assert rows.any_of(wanted).tolist() == ["a" in row for row in found]


@pytest.mark.usefixtures("_chunk")
@within_a_test
@given(sequences, st.data())
def test_sequences_are_taken_and_cut_at_either_end(found, data):
    numbering, rows = numbered(found)
    places = data.draw(st.lists(st.integers(0, len(found) - 1), max_size=8))
    length = data.draw(st.integers(1, 4))
    taken = rows.take(np.array(places, dtype=np.int64))
    for keeps_end in (False, True):
        cut = numbering.words(taken.cut(length, keeps_end=keeps_end))
        expected = [found[place][-length:] if keeps_end else found[place][:length] for place in places]
        assert cut == tuple(map(tuple, expected))
        assert taken.cut(length, keeps_end=keeps_end).counts(len(numbering)).sum() == sum(map(len, expected))


@pytest.mark.usefixtures("_chunk")
@within_a_test
@given(sequences, sequences)
def test_equal_sequences_are_found_across_files(one, other):
    numbering = Numbering()
    first, second = equal_rows(numbering.rows(one), numbering.rows(other))
    known: dict[tuple[str, ...], int] = {}
    expected = [known.setdefault(tuple(row), len(known)) for row in [*one, *other]]
    assert [*first.tolist(), *second.tolist()] == expected


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 4))
def test_hashes_that_are_equal_by_chance_do_not_make_items_equal(items, num_hashes):
    hashes = np.array([item % num_hashes for item in items], dtype=np.uint64)
    known: dict[int, int] = {}
    expected = [known.setdefault(item, len(known)) for item in items]
    groups = groups_of(hashes, lambda place: items[place])
    assert groups.tolist() == expected
    assert [items[place] for place in first_of_each(groups)] == list(dict.fromkeys(items))


def test_hashes_differ_where_tokens_change_places():
    _, rows = numbered([["a", "b"], ["b", "a"], ["a"], ["a", "b", "b"], []])
    assert len(set(rows.hashes().tolist())) == 5


def test_texts_are_equal_by_all_their_columns():
    assert equal_texts(["a", "a", "b", "a"], ["x", "y", "x", "x"]).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2**15, torch.int16), (2**15 + 1, torch.int32)], ids=["fits", "does not fit"]
)
def test_sequences_are_kept_in_the_narrowest_type_that_holds_their_ids(vocab_size, dtype):
    rows = Rows(np.array([0, 1, 0], dtype=np.uint8), np.array([0, 2]), np.array([2, 1]))
    table = np.array([2, vocab_size - 1], dtype=np.int32)
    tokens = filled(rows, table, SequenceSpace(vocab_size, 3, end_id=0))
    assert tokens.dtype == dtype and tokens.tolist() == [[2, vocab_size - 1, 0], [2, 0, 0]]


@pytest.mark.parametrize("number", [255, 256, 257, 65_535, 65_536, 65_537])
def test_ids_are_held_in_as_many_bytes_as_they_need(number):
    _, rows = numbered([[str(token)] for token in range(number)] + [["0"]])
    assert rows.ids.dtype == (np.uint8 if number <= 256 else np.uint16 if number <= 65_536 else np.int32)
    assert rows.ids.tolist() == [*range(number), 0]


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 4)), st.integers(1, 3))
def test_a_vocabulary_of_counts_is_that_of_the_tokens_counted(counts, min_count):
    spelled = [[token] * number for token, number in counts.items()]
    expected = Vocabulary.build(spelled, min_count=min_count, max_size=5, always=("b", "z"))
    assert Vocabulary.of_counts(counts, min_count=min_count, max_size=5, always=("b", "z")) == expected


# The slow twin.

word = st.text(st.sampled_from("ab\u00e9\u96ea"), min_size=1, max_size=2) | st.just("<unk>")
space = st.sampled_from([" ", "  ", "\t", "\u3000"])
line = st.builds(lambda words, gap: gap.join(words), st.lists(word, min_size=1, max_size=5), space)


def padded(rows: list[list[int]], length: int) -> list[list[int]]:
    return [row + [0] * (length - len(row)) for row in rows]


def assert_is(task: Any, expected: slow.Slow) -> None:
    assert (task.token_names, task.space.max_length) == (expected.names, expected.max_length)
    for split, rows in expected.ids.items():
        assert getattr(task, split).tolist() == padded(rows, expected.max_length)


def built_or_none(wanted: Any) -> Task | None:
    try:
        return build_task(wanted)
    except DataError:
        return None


@pytest.mark.heavy
@pytest.mark.parametrize("tokens", ["word", "char"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(found=st.lists(line, min_size=8, max_size=40), data=st.data())
def test_a_text_task_is_that_of_its_slow_twin(tmp_path: Path, tokens: str, found: list[str], data: Any) -> None:
    chosen: dict[str, Any] = {
        "min_count": data.draw(st.sampled_from([1, 2])),
        "max_size": data.draw(st.sampled_from([None, 5])),
        "max_length": data.draw(st.sampled_from([None, 4])),
        "over_long": data.draw(st.sampled_from(["drop", "cut"])),
        "unknown": data.draw(st.sampled_from(["keep", "drop"])),
        "deduplicate": data.draw(st.booleans()),
        "split_seed": data.draw(st.integers(0, 3)),
    }
    path = tmp_path / "data.txt"
    path.write_text("\n".join(found) + "\n", encoding="utf-8")
    task = built_or_none(TextTask(data=str(path), tokens=tokens, **chosen))
    if task is None:  # what is refused is tested elsewhere
        return
    cut = str.split if tokens == "word" else list
    expected = slow.text(found, cut, longest={"word": 64, "char": 128}[tokens], **chosen)
    assert_is(task, expected)
    check_task(task)
    for note in expected.notes:
        assert any(note in described for described in task.notes), (note, task.notes)


@pytest.mark.heavy
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(found=st.lists(st.tuples(line, line), min_size=8, max_size=40), seed=st.integers(0, 3))
def test_a_task_of_pairs_is_that_of_its_slow_twin(tmp_path: Path, found: list[tuple[str, str]], seed: int) -> None:
    written = [(source.replace("\t", " "), target.replace("\t", " ")) for source, target in found]
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in written), encoding="utf-8")
    task = built_or_none(PairsTask(input=Table(data=str(path)), split_seed=seed))
    if task is None:
        return
    sources, targets = slow.pairs(written, split_seed=seed)
    assert_is(task, targets)
    assert_is(task.conditions, sources)
    check_task(task)


def test_a_fingerprint_is_what_it_has_always_been(tmp_path: Path) -> None:
    # Digests of the version that held a tuple of strings a line and int64 alone.
    (tmp_path / "a.txt").write_text("".join(f"w{i % 7} w{i % 5} w{i % 3} w{i * i % 11}\n" for i in range(200)))
    text = build_task(TextTask(data=str(tmp_path / "a.txt"), min_count=2))
    assert text.train.dtype == torch.int16
    assert text.fingerprint() == "95935d99c571d5d7b58489f76e4f7def7bf6d1c1d88b46f8a3132d6c49b56d11"
    rows = [f"s{i % 17} x{i % 5}\tt{i % 7} y{i % 3} z{i * i % 11}\n" for i in range(200)]
    (tmp_path / "a.tsv").write_text("".join(rows))
    pairs = build_task(PairsTask(input=Table(data=str(tmp_path / "a.tsv"))))
    assert pairs.fingerprint() == "5cc76507461b75ddfd305ba0e5e38d475cb2f7bf6b45c9e3074859a163a9fc40"


def test_what_is_held_out_may_be_unknown_and_has_no_id_of_its_own(tmp_path: Path) -> None:
    for name, content in (("d.txt", "a b\nb a\n"), ("v.txt", "a z z\n"), ("t.txt", "z b b\n")):
        (tmp_path / name).write_text(content)
    files = {name: str(tmp_path / f"{name[0]}.txt") for name in ("data", "valid", "test")}
    task = build_task(TextTask(**files, max_length=5))
    assert task.token_names == ("<end>", "<unk>", "a", "b")
    assert task.valid.tolist() == [[2, Vocabulary.unknown_id, Vocabulary.unknown_id, 0, 0]] and task.test.tolist() == [
        [Vocabulary.unknown_id, 3, 3, 0, 0]
    ]
