"""Kinds of tokens, the same for text and pairs: what is one token, what is refused or counted, and text given back."""

from __future__ import annotations

import json
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rlgan.base.errors import RlganError
from rlgan.config.paths import override
from rlgan.envs import ConfigError, DataError, PairsTask, Task, TextTask, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies, SharedVocabulary
from rlgan.envs.tasks.pieces import (
    BytePairs,
    Characters,
    Cleaning,
    Cutting,
    Pattern,
    Smiles,
    TokenSettings,
    Words,
    learn_cutting,
)
from rlgan.envs.tasks.sources import Reading
from rlgan.envs.testing import check_task
from rlgan.envs.vocabulary import JOININGS, UNK_NAME, join_tokens, one_line
from rlgan.presets.registry import preset
from tests.support.errors import refused

needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="the extra `pieces` is not installed")
needs_regex = pytest.mark.skipif(find_spec("regex") is None, reason="the extra `pieces` is not installed")

MOLECULES = ["CCO", "ClCCBr", "c1cc[nH]c1", "C[C@@H](N)C(=O)O", "C%10CCCC%10", "[Na+].[Cl-]", "CC>>C=C", "F/C=C\\F"]


def cutting(tokens: Any, texts: list[str] | None = None, marks: tuple[str, ...] = ()) -> Cutting:
    return learn_cutting(tokens, texts or [], marks, "texts")


def text_task(tmp_path: Path, lines: list[str], **chosen: Any) -> Task:
    path = tmp_path / "data.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return build_task(TextTask(data=str(path), **chosen))


def pairs_task(tmp_path: Path, rows: list[tuple[str, str]], **chosen: Any) -> Task:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return build_task(PairsTask(input=Table(data=str(path)), **chosen))


def noted(task: Task, *parts: str) -> bool:
    return any(all(part in note for part in parts) for note in task.notes)


# What is one token.


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ClCCBr", ["Cl", "C", "C", "Br"]),
        ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]),
        ("C[C@@H](N)O", ["C", "[C@@H]", "(", "N", ")", "O"]),
        ("C%10CC%10", ["C", "%10", "C", "C", "%10"]),
        ("C%(123)C", ["C", "%(123)", "C"]),
        ("A@@"[1:], ["@@"]),
        ("CC>>C=C", ["C", "C", ">>", "C", "=", "C"]),
        ("BrB", ["Br", "B"]),
        ("[13CH4].[Na+]", ["[13CH4]", ".", "[Na+]"]),
        ("F/C=C\\F", ["F", "/", "C", "=", "C", "\\", "F"]),
    ],
)
def test_atoms_are_whole(text, tokens):
    assert list(cutting(Smiles()).tokenise(text)) == tokens


smiles_tokens = st.sampled_from(
    [
        "C",
        "Cl",
        "Br",
        "B",
        "N",
        "O",
        "[nH]",
        "[C@@H]",
        "c",
        "n",
        "(",
        ")",
        "=",
        "#",
        "1",
        "%10",
        ".",
        "/",
        "\\",
        "@@",
        ">>",
    ]
)


@given(st.lists(smiles_tokens, max_size=20).map("".join))
def test_smiles_join_back_exactly(text):
    assert join_tokens(cutting(Smiles()).tokenise(text), "characters") == text


def test_what_is_no_smiles_is_refused_by_its_line_or_counted(tmp_path):
    with refused(DataError, "text_not_covered", {"character": 2, "text": "Xx"}, match="data.txt.*'CXxO'"):
        text_task(tmp_path, ["CCO", "", "CXxO", "CCN"] * 3, tokens="smiles")
    lines = [f"C{'C' * number}O" for number in range(30)] + ["CXxO"]
    task = text_task(tmp_path, lines, tokens=Smiles(uncovered="unknown"))
    assert noted(task, "read as unknown tokens 2 characters of ", "that no token covers")
    assert "C<unk>O" in [*task.decode(task.train), *task.decode(task.valid), *task.decode(task.test)]


@given(st.text(max_size=20))
def test_code_points_and_words_give_the_text_back(text):
    line = one_line(text)
    assert join_tokens(cutting(Characters()).tokenise(line), "characters") == line
    assert join_tokens(cutting(Words()).tokenise(line), "words") == " ".join(line.split())


@needs_regex
@given(
    st.text(st.sampled_from("ae\u0301\u0308\u200d\U0001f469\U0001f467\U0001f1e9\U0001f1ea \uac00\u11a8"), max_size=12)
)
def test_clusters_give_the_text_back(text):
    assert join_tokens(cutting(Characters(unit="grapheme")).tokenise(text), "characters") == text


@needs_regex
def test_a_cluster_is_one_token():
    family, flag = "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea"
    assert list(cutting(Characters(unit="grapheme")).tokenise(f"e\u0301{family}{flag}x")) == [
        "e\u0301",
        family,
        flag,
        "x",
    ]
    assert len(cutting(Characters()).tokenise("e\u0301")) == 2


@given(st.text(max_size=30))
def test_the_pattern_as_it_stands_covers_every_text(text):
    line = one_line(text)
    tokens = cutting(Pattern()).tokenise(line)
    assert UNK_NAME not in tokens and join_tokens(tokens, "characters") == line


def test_a_pattern_of_ones_own_cuts_from_left_to_right():
    assert list(cutting(Pattern(pattern="ab|a|b(c)?")).tokenise("abcaba"[:2] + "a")) == ["ab", "a"]
    assert list(cutting(Pattern(pattern="(?:x*|y)")).tokenise("xxx")) == ["xxx"]  # empty matches are no tokens


def test_what_a_pattern_does_not_cover_is_refused_unknown_or_left_out(tmp_path):
    lines = [f"a{number} b{number}" for number in range(20)]
    with refused(DataError, "text_not_covered", {"character": 3, "text": " "}, match="data.txt"):
        text_task(tmp_path, lines, tokens=Pattern(pattern=r"\w"))
    task = text_task(tmp_path, lines, tokens=Pattern(pattern=r"\w", uncovered="drop"))
    # 20 lines of 10 times 5 and 10 times 7 characters, each with a space.
    assert noted(task, "left out 20 characters of 120 (16.67%) that no token covers")
    assert sorted(task.decode(task.train))[0] == "a0b0" or "a1b1" in task.decode(task.train)
    unknown = text_task(tmp_path, lines, tokens=Pattern(pattern=r"\w+", uncovered="unknown"))
    assert noted(unknown, "train: ", "33.3%", "are unknown")


def test_lines_of_which_nothing_is_left_are_skipped_and_counted(tmp_path):
    lines = [f"a b{number}" for number in range(20)] + ["---", "..."]
    task = text_task(tmp_path, lines, tokens=Pattern(pattern=r"\w", uncovered="drop"))
    assert noted(task, "skipped 2 lines without any token, lines 21, 22")
    with refused(DataError, "no_line_has_tokens"):
        text_task(tmp_path, ["--", ".."], tokens=Pattern(pattern=r"\w", uncovered="drop"))
    rows = [(f"a{number}", f"b{number}") for number in range(20)] + [("..", "b"), ("a", "--")]
    shared = SharedVocabulary(tokens=Pattern(pattern=r"\w", uncovered="drop"))
    task = pairs_task(tmp_path, rows, vocabulary=shared)
    assert noted(task, "skipped ", "without any token on one side, line")
    assert len(task.train) + len(task.valid) + len(task.test) == 20


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x"])
def test_a_pattern_that_is_none_is_refused(pattern):
    with refused(ValidationError, "bad_pattern"):
        Pattern(pattern=pattern)


def test_small_letters_are_refused_for_molecules():
    for wanted in (
        lambda: TextTask(data="d", tokens="smiles", lowercase=True),
        lambda: PairsTask(input=Table(data="d.tsv"), lowercase=True, vocabulary=SharedVocabulary(tokens=Smiles())),
    ):
        with refused(ValidationError, "smiles_lowercase"):
            wanted()


# The same for text and pairs.

KINDS = [
    Words(),
    Characters(),
    pytest.param(Characters(unit="grapheme"), marks=needs_regex),
    Pattern(),
    pytest.param(BytePairs(size=300), marks=needs_tokenizers),
    pytest.param(BytePairs(unit="character", size=80), marks=needs_tokenizers),
]
LINES = [f"caf\u00e9 {a}a na\u00efve {b}" for a in "abcdefgh" for b in "uvwxyz"]


@pytest.mark.parametrize("tokens", KINDS, ids=lambda tokens: f"{tokens.kind}-{getattr(tokens, 'unit', '')}")
def test_text_and_pairs_come_back_as_they_were(tmp_path, tokens):
    task = text_task(tmp_path, LINES, tokens=tokens)
    check_task(task)
    assert sorted([*task.decode(task.train), *task.decode(task.valid), *task.decode(task.test)]) == sorted(LINES)
    rows = [(line, line[::-1]) for line in LINES]
    pairs = pairs_task(tmp_path, rows, vocabulary=SharedVocabulary(tokens=tokens))
    check_task(pairs)
    assert pairs.conditions is not None and len(pairs.train) == 38
    shown = zip(pairs.conditions.decode(pairs.conditions.train), pairs.decode(pairs.train), strict=True)
    assert set(shown) <= set(rows)


def test_molecules_are_read_as_text_and_as_pairs(tmp_path):
    mixtures = [f"{one}.{other}" for one in MOLECULES for other in MOLECULES]
    task = text_task(tmp_path, mixtures, tokens="smiles")
    shown = [*task.decode(task.train), *task.decode(task.valid), *task.decode(task.test)]
    assert sorted(shown) == sorted(mixtures)
    pairs = pairs_task(tmp_path, [(one, one) for one in mixtures], vocabulary=SharedVocabulary(tokens=Smiles()))
    assert pairs.decode(pairs.train) == pairs.conditions.decode(pairs.conditions.train)


@needs_tokenizers
def test_pieces_of_text_know_nothing_of_lines_held_out(tmp_path):
    for name, content in (("d.txt", LINES), ("v.txt", ["zebra zebra"] * 9), ("t.txt", ["quagga quagga"] * 9)):
        (tmp_path / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    files = {name: str(tmp_path / f"{name[0]}.txt") for name in ("data", "valid", "test")}
    task = build_task(TextTask(**files, tokens=BytePairs(size=400), max_length=20))
    assert not any("zeb" in name or "qua" in name for name in task.token_names)
    assert task.decode(task.valid)[0] == "zebra zebra"  # bytes spell what was never seen
    parted = text_task(tmp_path, LINES * 3, tokens=BytePairs(size=300))
    assert noted(parted, f"dropped {2 * len(LINES)} repeated lines")
    assert len(parted.train) + len(parted.valid) + len(parted.test) == len(LINES)
    assert not set(parted.decode(parted.train)) & set(parted.decode(parted.test))


def test_long_lines_in_pieces_are_dropped_in_their_splits(tmp_path):
    if find_spec("tokenizers") is None:
        pytest.skip("the extra `pieces` is not installed")
    task = text_task(tmp_path, [*LINES, " ".join(LINES)], tokens=BytePairs(size=300), max_length=20)
    assert noted(task, ": dropped 1 line longer than 19 tokens, line 49")


# Unicode forms.


@given(st.text(max_size=12), st.sampled_from(["nfc", "nfkc"]), st.booleans())
def test_text_is_in_the_form_that_was_asked_for(text, form, lowercase):
    clean = Cleaning(Words(), lowercase, form)
    assert unicodedata.is_normalized(form.upper(), clean(text))
    assert not clean.changes_nothing and Cleaning(Words(), False, "none").changes_nothing


def test_text_and_pairs_are_brought_into_a_form(tmp_path):
    lines = [f"e\u0301 \u00e9 \uff21 {number}" for number in range(12)]
    names = {form: text_task(tmp_path, lines, normalisation=form).token_names for form in ("none", "nfc", "nfkc")}
    assert {"e\u0301", "\u00e9", "\uff21"} <= set(names["none"])
    assert "e\u0301" not in names["nfc"] and {"\u00e9", "\uff21"} <= set(names["nfc"])
    assert "\uff21" not in names["nfkc"] and {"\u00e9", "A"} <= set(names["nfkc"])
    pairs = pairs_task(tmp_path, [(line, line) for line in lines], normalisation="nfkc")
    assert pairs.conditions is not None and pairs.conditions.reading is not None
    assert set(pairs.token_names) == set(names["nfkc"]) == set(pairs.conditions.token_names)
    reading = Reading.model_validate(json.loads(pairs.conditions.reading.model_dump_json()))
    assert reading.read(["e\u0301 \uff21"], "in.txt").words == (("\u00e9", "A"),)


# Configurations and generators of older versions.


def test_tokens_by_the_name_of_their_kind_are_read():
    adapter: TypeAdapter[Any] = TypeAdapter(TokenSettings)
    assert adapter.validate_python("char") == Characters() and adapter.validate_python({"kind": "bpe"}) == BytePairs()
    old = {"data": "d", "tokens": "char", "min_count": 2, "max_size": 30}
    assert TextTask.model_validate(old).tokens == Characters(min_count=2, max_size=30)
    assert TextTask(data="d", min_count=3).tokens == Words(min_count=3)
    assert TextTask(data="d", tokens=Characters(), max_size=9).tokens == Characters(max_size=9)
    with refused(ValidationError, "set_twice_in_tokens", {"min_count": 2}):
        TextTask(data="d", tokens=Words(min_count=3), min_count=2)


def test_options_of_older_versions_are_read():
    config = preset("quick", TextTask(data="d"))
    new = override(config, {"task.tokens": "char", "task.min-count": "100", "task.max-size": "12"})
    assert isinstance(new.task, TextTask) and new.task.tokens == Characters(min_count=100, max_size=12)
    assert override(config, {"task.tokens.max_size": "7"}).task.tokens == Words(max_size=7)  # type: ignore[union-attr]
    with refused(RlganError, "renamed_setting_twice"):
        override(config, {"task.max_size": "7", "task.tokens.max_size": "8"})
    with refused(RlganError, "setting_unknown", {"path": "task.tokens.max_size"}):
        override(config, {"task.tokens": "bpe", "task.max_size": "7"})


def test_how_a_generator_of_an_older_version_reads_sources():
    # As version 0.1 wrote it.
    kept = {
        "domain": {"max_source_length": 5, "over_long_source": "drop", "kind": "translation"},
        "tokens": {"min_count": 1, "max_size": None, "kind": "char"},
        "lowercase": True,
        "names": ["<end>", "<unk>", "a", "b"],
        "pieces": None,
        "max_length": 5,
        "encoding": "utf-8",
    }
    assert Reading.model_validate(kept).read(["Ab!"], "in.txt").conditions.tolist() == [[2, 3, 1, 0, 0]]


@pytest.mark.skipif(find_spec("regex") is not None, reason="for Pythons without the library")
def test_clusters_without_their_library_are_refused():
    with refused(ConfigError, "grapheme_needs_regex"):
        cutting(Characters(unit="grapheme"))


def test_clusters_without_their_library_are_refused_with_what_to_do(monkeypatch):
    from rlgan.envs import tokenisers

    monkeypatch.setattr(tokenisers, "find_spec", lambda name: None)
    with refused(ConfigError, "grapheme_needs_regex", match="'grapheme'"):
        cutting(Characters(unit="grapheme"))


# What is probably not as it was meant.


def test_many_unknown_tokens_are_told_with_what_can_be_typed(tmp_path):
    lines = [f"a b c{number}" for number in range(40)]
    task = text_task(tmp_path, lines, tokens=Words(max_size=6, min_count=1))
    # 32 training lines of 96 tokens: a, b and two of the others have ids, 30 are unknown.
    assert noted(
        task,
        "train: 31.2% of the tokens are unknown, which is more than 5%. Try more training text, a larger "
        "--task.tokens.max-size or pieces of words (--tokens bpe)",
    )
    assert noted(task, "valid: 33.3% of the tokens are unknown") and noted(task, "test: 33.3% of the tokens")
    few = text_task(tmp_path, [f"a b c{number % 2}" for number in range(40)], deduplicate=False)
    assert not any("are unknown, which is more" in note for note in few.notes)
    rows = [(line, f"a b d{number}") for number, line in enumerate(lines)]
    pairs = pairs_task(tmp_path, rows, vocabulary=SeparateVocabularies(source=Words(min_count=2)))
    assert noted(pairs, "train: 33.3% of the tokens of sources", "a lower --task.vocabulary.source.min-count")
    assert noted(pairs, "test: 33.3% of the tokens of targets are unknown", "more training text or pieces of words")


def test_rare_names_are_told(tmp_path, data_dir):
    path = data_dir / "cases" / "rare_names.txt"
    task = build_task(TextTask(data=str(path), max_size=15))
    assert noted(task, "test: 40.6% ", "of the tokens are unknown", "--task.tokens.max-size")


def test_one_word_a_line_is_told(tmp_path):
    names = [f"name{number}" for number in range(30)]
    task = text_task(tmp_path, names, deduplicate=False)
    assert noted(task, "data.txt: every line (30 of 30) is a single word", "--tokens char", "--tokens smiles")
    assert not noted(text_task(tmp_path, names, tokens="char"), "is a single word")
    assert not noted(text_task(tmp_path, [*names, "two words"]), "is a single word")
    pairs = pairs_task(tmp_path, [(name, f"{name} x") for name in names])
    assert noted(pairs, "every source of train (24 of 24) is a single word") and not noted(pairs, "every target")


def test_many_lines_too_long_are_told_with_the_length_that_keeps_them(tmp_path):
    lines = ["a b"] * 9 + [" ".join("c" * length) for length in range(4, 15)]
    task = text_task(tmp_path, lines, max_length=4, deduplicate=False)
    assert noted(task, "warning: that is 11 of 20", "--task.max-length 14", "--task.over-long cut")
    half = text_task(tmp_path, ["a b"] * 10 + ["a b c d e"] * 10, max_length=4, deduplicate=False)
    assert noted(half, "dropped 10 lines longer than 3 tokens") and not noted(half, "warning: that is")
    pairs = pairs_task(
        tmp_path, [(f"s{n}", "a b" if n < 8 else "a b c d e") for n in range(30)], max_length=4, deduplicate=False
    )
    assert noted(pairs, "warning: that is", "--task.max-length 6")


def test_what_is_left_of_lines_too_long_is_too_little_to_split(tmp_path):
    with refused(DataError, "too_few_to_split", match=r"--task\.over-long"):
        text_task(tmp_path, ["a b", "b a", *["a b c d e"] * 6], max_length=4)


def test_a_handful_of_held_out_sequences_is_told(tmp_path):
    task = text_task(tmp_path, LINES)
    assert noted(
        task, "test: only 5 sequences; metrics on so few are unreliable", "--task.test-fraction", "(--task.test FILE)"
    )
    assert not noted(text_task(tmp_path, LINES, valid_fraction=0.3, test_fraction=0.3), "unreliable")
    pairs = pairs_task(tmp_path, [(line, line) for line in LINES])
    assert noted(pairs, "valid: only 5 pairs", "(--task.input.valid FILE)")


def test_targets_of_one_source_cannot_be_split_and_more_of_them_do_not_help(data_dir):
    path = data_dir / "cases" / "one_source.tsv"
    with refused(DataError, "too_few_to_split", match=r"--task\.input\.valid") as described:
        build_task(PairsTask(input=Table(data=str(path)), deduplicate=False))
    assert "--task.input.test" in str(described.value) and f"--data {path} --task.column 1)" in str(described.value)
    assert "more lines" not in str(described.value)


# One line out for one line in.

names = st.text(max_size=4) | st.sampled_from(
    ["\n", "\r\n", "\u2028", "\x85", "\x0b", "\x0c", "\x1e", "\u010a", "\u00e2"]
)


@pytest.mark.parametrize("joining", JOININGS)
@given(st.lists(names, max_size=8))
def test_whatever_is_drawn_is_one_line(joining, drawn):
    text = join_tokens(drawn, joining)
    assert len(f"{text}\n".splitlines()) == 1


@given(st.lists(st.integers(0, 255), max_size=12))
def test_bytes_that_are_drawn_make_one_line(drawn):
    from rlgan.envs.vocabulary import _BYTE_NAMES

    text = join_tokens([_BYTE_NAMES[byte] for byte in drawn], "byte_pieces")
    assert len(f"{text}\n".splitlines()) == 1
    expected = bytes(32 if byte < 32 and byte != 9 else byte for byte in drawn).decode("utf-8", "replace")
    assert text == one_line(expected)


def test_each_break_is_a_space_and_a_tab_stays():
    assert one_line("a\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h\x1ci\tj\x00k") == "a b c d e f g h i\tj k"
