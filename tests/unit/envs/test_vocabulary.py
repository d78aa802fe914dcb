from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgan.envs import DataError
from rlgan.envs.tokenisers import split_chars, split_words
from rlgan.envs.vocabulary import JOININGS, Vocabulary, as_byte_names, join_tokens, one_line
from tests.support.errors import refused
from tests.support.other_processes import printed_with_two_hash_seeds

LINES = [["b", "a", "c"], ["c", "d"], ["c", "a"]]


def test_ids_follow_falling_count_and_then_the_token():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.names == ("<end>", "<unk>", "c", "a", "b", "d")
    assert len(vocabulary) == 6
    assert Vocabulary.build(reversed(LINES)) == vocabulary


@pytest.mark.heavy
def test_ids_are_the_same_in_a_process_with_another_hash_seed():
    script = (
        "from rlgan.envs.vocabulary import Vocabulary\n"
        "print(Vocabulary.build([{f'w{i}' for i in range(200)}, {'w7', 'w9'}]).to_json())"
    )
    one, other = printed_with_two_hash_seeds(script)
    assert one == other
    assert json.loads(one)["tokens"][:3] == ["w7", "w9", "w0"]


def test_rare_tokens_and_those_beyond_the_size_are_left_out():
    assert Vocabulary.build(LINES, min_count=2).tokens == ("c", "a")
    assert Vocabulary.build(LINES, max_size=5).tokens == ("c", "a", "b")
    assert len(Vocabulary.build(LINES, max_size=5)) == 5


def test_encoding_and_decoding():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.encode(["a", "x", "c"]) == [3, Vocabulary.unknown_id, 2]
    assert vocabulary.decode([3, Vocabulary.unknown_id, 2, Vocabulary.end_id, 4]) == ["a", "<unk>", "c"]


def test_a_vocabulary_says_which_ids_of_its_sequences_are_special():
    space = Vocabulary.build(LINES).space(5, separator_id=3)
    assert (space.vocab_size, space.max_length, space.separator_id) == (len(Vocabulary.build(LINES)), 5, 3)
    # As README and all kept runs have it: the terminator is the start and the padding, too.
    assert (space.end_id, space.start_id, space.pad_id, space.unknown_id) == (0, 0, 0, 1)


def test_the_word_unk_means_the_unknown_token_and_the_word_end_only_itself():
    vocabulary = Vocabulary.build([["<unk>", "<end>", "a", "<unk>"]])
    assert vocabulary.tokens == ("<end>", "a")
    assert vocabulary.encode(["<unk>", "<end>", "a"]) == [Vocabulary.unknown_id, 2, 3]
    assert vocabulary.decode([2, 3]) == ["<end>", "a"]


@pytest.mark.property
@given(st.lists(st.text(min_size=1), unique=True).filter(lambda tokens: "<unk>" not in tokens))
def test_json_gives_the_same_vocabulary_back(tokens):
    vocabulary = Vocabulary(tuple(tokens))
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(tokens)) == tokens


def test_tokenisers_take_text_as_it_stands():
    assert split_words(" a\u3000b\tc  e\u0301 ") == ["a", "b", "c", "e\u0301"]
    assert split_chars("a e\u0301 ") == ["a", " ", "e", "\u0301", " "]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "vocabulary_not_json"),
        ("[]", "vocabulary_form"),
        ('{"tokens": [1]}', "vocabulary_form"),
        ('{"tokens": ["a"], "special": ["<pad>"]}', "vocabulary_special_ids: '<pad>'"),
        ('{"tokens": ["b", "a", "a"], "special": ["<end>", "<unk>"]}', "vocabulary_repeated_token: 'a'"),
        ('{"tokens": ["a", "<unk>"], "special": ["<end>", "<unk>"]}', "vocabulary_special_token: '<unk>'"),
        ('{"tokens": ["a", ""], "special": ["<end>", "<unk>"]}', "vocabulary_special_token: ''"),
    ],
)
def test_damaged_json_is_refused(text, message):
    with refused(DataError, message):
        Vocabulary.from_json(text)


def test_tokens_that_are_always_kept_come_first_and_count_in_the_size():
    assert Vocabulary.build(LINES, always=("d", "x")).tokens == ("d", "x", "c", "a", "b")
    assert Vocabulary.build(LINES, always=("d", "x"), max_size=5).tokens == ("d", "x", "c")


def test_tokens_are_joined_as_they_were_cut():
    assert join_tokens(["a", "b"], "words") == "a b"
    assert join_tokens(["a", " ", "b"], "characters") == "a b"
    assert join_tokens(["\u2581un", "be", "\u2581a"], "word_pieces") == "unbe a"
    # GPT-2's names: a space is \u0120, the two bytes of \u00e9 are \u00c3 and \u00a9.
    assert as_byte_names(" \u00e9") == "\u0120\u00c3\u00a9"
    assert join_tokens(["a\u0120", "\u00c3", "\u00a9"], "byte_pieces") == "a \u00e9"


def test_bytes_that_are_no_text_are_shown_as_such():
    assert join_tokens(["\u00c3", "a"], "byte_pieces") == "\ufffda"
    assert join_tokens(["\u4e2d"], "byte_pieces") == "\u4e2d"


@pytest.mark.parametrize("joining", JOININGS)
def test_no_tokens_are_no_text(joining):
    assert join_tokens([], joining) == ""


@given(st.text())
def test_every_text_has_byte_names_that_spell_it(text):
    names = as_byte_names(text)
    assert names.isprintable() and " " not in names
    assert join_tokens(list(names), "byte_pieces") == one_line(text)
