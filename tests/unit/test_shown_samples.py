"""Samples of several generators side by side: on a page and in a terminal."""

from __future__ import annotations

from wcwidth import width

from rlgan.report.html import Section, render
from rlgan.report.samples import EMPTY, REAL, Written, sample_tables, sample_text

REALS = ("r0", "r1", "r2", "r3")


def wrote(name: str, number: int = 4, real: tuple[str, ...] = REALS, **more: tuple[str, ...]) -> Written:
    return Written(name, tuple(f"{name} {at}" for at in range(number)), real[:number], **more)


def test_runs_of_the_same_data_share_a_table_and_the_real_sequences() -> None:
    (table,) = sample_tables([wrote("a"), wrote("b", 3)], "caption")
    assert table.columns == ["a", "b", REAL] and table.is_text and table.caption == "caption"
    assert table.rows[2] == {"a": "a 2", "b": "b 2", REAL: "r2"} and len(table.rows) == 3
    assert len(sample_tables([wrote("a")], most=2)[0].rows) == 2


def test_runs_of_other_data_stand_apart() -> None:
    first, second = sample_tables([wrote("a"), wrote("b", real=("x", "y", "z", "w")), wrote("c")])
    assert (first.columns, second.columns) == (["a", "c", REAL], ["b", REAL])
    given = wrote("d", sources=("s0", "s1", "s2", "s3"))
    assert [table.columns for table in sample_tables([wrote("a"), given])] == [["a", REAL], ["source", "d", REAL]]
    assert sample_tables([Written("nothing", ())]) == [] and sample_text([]) == ""


def test_a_run_may_have_any_name() -> None:
    (table,) = sample_tables([wrote(REAL), wrote("source", sources=())])
    assert table.columns == [f"{REAL} (run)", "source (run)", REAL]
    page = render("title", [Section("s", sample_tables([Written("<b>", ("<script>", ""), ("&", "r"))]))])
    assert "&lt;script&gt;" in page and "<script" not in page and EMPTY in page


def test_two_runs_fit_beside_real_sequences_and_more_stand_below() -> None:
    text = sample_text([wrote("a"), wrote("b"), wrote("c")], 100, most=2)
    assert text.splitlines() == [
        f"{'a':34}{'b':34}{REAL}",
        "  ".join(["-" * 32] * 3),
        f"{'a 0':34}{'b 0':34}r0",
        f"{'a 1':34}{'b 1':34}r1",
        "",
        f"{'c':51}{REAL}",
        "  ".join(["-" * 49] * 2),
        f"{'c 0':51}r0",
        f"{'c 1':51}r1",
    ]
    narrow = sample_text([wrote("a"), wrote("b")], 40, most=1)
    assert narrow.count(REAL) == 2 and max(map(width, narrow.splitlines())) <= 40


def test_what_was_given_stands_above() -> None:
    text = sample_text([wrote("a", sources=("s0", "s1", "s2", "s3"))], 60, most=1)
    assert text.splitlines()[2:] == ["source: s0", f"{'a 0':31}r0"]
