from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgan.envs import START_ID, DataError, Vocabulary
from rlgan.envs.vocabulary import END_ID, UNK_ID, split_chars, split_words

LINES = [["b", "a", "c"], ["c", "d"], ["c", "a"]]


def test_ids_follow_falling_count_and_then_the_token():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.names == ("<end>", "<unk>", "c", "a", "b", "d")
    assert len(vocabulary) == 6
    assert Vocabulary.build(reversed(LINES)) == vocabulary


def test_ids_are_the_same_in_a_process_with_another_hash_seed():
    script = (
        "from rlgan.envs.vocabulary import Vocabulary\n"
        "print(Vocabulary.build([{f'w{i}' for i in range(200)}, {'w7', 'w9'}]).to_json())"
    )
    names = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert names[0] == names[1]
    assert json.loads(names[0])["tokens"][:3] == ["w7", "w9", "w0"]


def test_rare_tokens_and_those_beyond_the_size_are_left_out():
    assert Vocabulary.build(LINES, min_count=2).tokens == ("c", "a")
    assert Vocabulary.build(LINES, max_size=5).tokens == ("c", "a", "b")
    assert len(Vocabulary.build(LINES, max_size=5)) == 5


def test_encoding_and_decoding():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.encode(["a", "x", "c"]) == [3, UNK_ID, 2]
    assert vocabulary.decode([3, UNK_ID, 2, END_ID, 4]) == ["a", "<unk>", "c"]


def test_the_terminator_is_also_the_start():
    assert END_ID == START_ID == 0


def test_the_word_unk_means_the_unknown_token_and_the_word_end_only_itself():
    vocabulary = Vocabulary.build([["<unk>", "<end>", "a", "<unk>"]])
    assert vocabulary.tokens == ("<end>", "a")
    assert vocabulary.encode(["<unk>", "<end>", "a"]) == [UNK_ID, 2, 3]
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
        ("{", "not JSON"),
        ("[]", "expected"),
        ('{"tokens": [1]}', "expected"),
        ('{"tokens": ["a"], "special": ["<pad>"]}', r"special ids are \['<pad>'\]"),
        ('{"tokens": ["b", "a", "a"], "special": ["<end>", "<unk>"]}', "token 'a' stands there twice"),
        ('{"tokens": ["a", "<unk>"], "special": ["<end>", "<unk>"]}', "'<unk>' cannot be an ordinary token"),
        ('{"tokens": ["a", ""], "special": ["<end>", "<unk>"]}', "'' cannot be an ordinary token"),
    ],
)
def test_damaged_json_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.from_json(text)
