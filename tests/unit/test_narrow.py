"""Text in the lines of a terminal: nothing is wider than it may be, whoever wrote it."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import width

from rlgan.report import narrow
from rlgan.report.narrow import (
    columns_of,
    fitting_table,
    in_columns,
    in_one_line,
    shortened,
    stacked_tables,
    wrapped,
)

TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("中文字符 한국어 ｆｕｌｌ 👩‍🚀 é́ \u200d\u200c\x1b[31m\t\n… abc def"),
    ),
    max_size=80,
)
ROWS = [
    {"name": "real data (n=2000)", "kl_sum": None, "nll": 3.855},
    {"name": "a run with a name that is long", "kl_sum": 2.3061, "nll": 6.174},
]


def test_a_table_that_fits_is_the_one_of_old() -> None:
    table, left_out = fitting_table(ROWS, ("name", "kl_sum", "nll"), headers={"kl_sum": "kl_sum ↓"})
    assert left_out == ()
    assert table.splitlines() == [
        "name                            kl_sum ↓    nll",
        "-----------------------------------------------",
        "real data (n=2000)                     –  3.855",
        "a run with a name that is long     2.306  6.174",
    ]


def test_columns_without_room_are_told_and_names_are_cut() -> None:
    table, left_out = fitting_table(ROWS, ("name", "kl_sum", "nll"), 30)
    assert left_out == ("nll",)
    assert table.splitlines()[-1] == "a run with a name tha…   2.306"
    assert fitting_table(ROWS, ("name", "kl_sum", "nll"), 36)[1] == ()  # the name gives way first


def test_stacked_tables_have_every_column_once_and_the_names_each_time() -> None:
    rows = [{"run": "one", "row": "this run", **{f"quantity_{number}": float(number) for number in range(7)}}]
    text = stacked_tables(rows, ("run", "row", *(f"quantity_{number}" for number in range(7))), 2, 50)
    blocks = text.split("\n\n")
    assert [block.splitlines()[0].split() for block in blocks] == [
        ["run", "row", "quantity_0", "quantity_1", "quantity_2"],
        ["run", "row", "quantity_3", "quantity_4", "quantity_5"],
        ["run", "row", "quantity_6"],
    ]
    assert blocks[1].splitlines()[2] == "one  this run       3.000       4.000       5.000"
    assert stacked_tables([], ("name", "x")).splitlines() == ["name  x", "-------"]


def test_a_chinese_character_takes_two_columns() -> None:
    assert (
        shortened("中文字符", 8) == "中文字符"
        and shortened("中文字符", 7) == "中文字…"
        and shortened("中文字符", 6) == "中文…"
    )
    assert in_columns(["中文", "ab"], 12) == ["中文   ab"]  # 5 and 5 columns, 2 between


def test_sentences_are_wrapped_and_a_path_is_left_whole() -> None:
    path = "/a/folder" * 8
    assert wrapped(f"the table is in {path} now", 40) == f"the table is in\n  {path}\n  now"
    assert wrapped("one two three", 7, hang="") == "one two\nthree"
    assert wrapped("self-critical", 5) == "self-critical"  # a hyphen belongs to the word


def test_what_a_terminal_obeys_is_no_part_of_a_line() -> None:
    assert in_one_line("a\x1b[31mred\x07\n b\u202e") == "a�[31mred� b�"
    assert in_one_line("می\u200cخواهم") == "می\u200cخواهم"  # Persian is spelled with it


def test_what_is_no_terminal_has_a_hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def of(columns: int) -> int:
        monkeypatch.setattr(narrow.shutil, "get_terminal_size", lambda fallback: os.terminal_size((columns, 24)))
        return columns_of(Terminal())

    assert (of(200), of(100), of(72), of(7), of(0)) == (100, 100, 72, 40, 40)
    assert columns_of(io.StringIO()) == 100


@pytest.mark.property
@settings(max_examples=50)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 12), st.integers(40, 120))
def test_no_table_is_wider_than_it_may_be(names: list[str], number: int, most: int) -> None:
    columns = [f"a_rather_long_quantity_{index}" for index in range(number)]
    rows: list[dict[str, Any]] = [
        {"name": name, "other": name[::-1], **dict.fromkeys(columns, 1234.5678)} for name in names
    ]
    table, left_out = fitting_table(rows, ("name", *columns), most)
    stacked = stacked_tables(rows, ("name", "other", *columns), 2, most)
    for line in (*table.split("\n"), *stacked.split("\n")):
        assert width(line) <= most, line
    assert len(left_out) < max(number, 1)
    if most >= 60:
        assert all(stacked.count(column) == 1 for column in columns if not column.endswith("_1") or number < 11)


@pytest.mark.property
@settings(max_examples=50)
@given(TEXTS, TEXTS, st.integers(20, 100), st.integers(1, 3))
def test_texts_beside_each_other_fit(left: str, right: str, columns: int, most: int) -> None:
    lines = in_columns([left, right, left], columns, most)
    assert 1 <= len(lines) <= most
    assert all(width(line) <= columns and line.isprintable() or "\u200c" in line or "\u200d" in line for line in lines)
    assert all(width(line) <= columns for line in lines)
