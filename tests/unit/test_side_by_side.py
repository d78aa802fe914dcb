"""Runs beside each other: what is drawn of their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from rlgan.runs import side_by_side
from rlgan.runs.side_by_side import SideBySide, table_text, write_side_by_side
from rlgan.tracking import LoggedRun

ROWS = (
    {"run": "one", "row": "real data", "lm_5gram": 2.5},
    {"run": "one", "row": "MLE start", "lm_5gram": 3.0, "rlm_5gram": 4.0},
    {"run": "one", "row": "MLE tau 0.8", "lm_5gram": 2.0, "rlm_5gram": 5.0},
    {"run": "one", "row": "MLE tau 0.9", "lm_5gram": 2.4, "rlm_5gram": 4.4},
    {"run": "one", "row": "mle continued", "lm_5gram": 2.9, "rlm_5gram": 3.9},
    {"run": "one", "row": "this run tau 0.8", "lm_5gram": 1.9, "rlm_5gram": 4.8},
    {"run": "one", "row": "this run", "lm_5gram": 2.8, "rlm_5gram": 3.8},
)


def test_a_run_and_its_start_are_curves_by_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = side_by_side.save_figure

    def kept(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(side_by_side, "save_figure", kept)
    run = LoggedRun("id", "one", "FINISHED", "experiment", None, {}, {}, {}, 0, "uri")
    shown = SideBySide(("one",), (run,), {}, ROWS, ("lm_5gram", "rlm_5gram"), {})
    write_side_by_side(shown, tmp_path / "page.html")
    (axes,) = figures[0].axes
    start, own, *points = axes.get_lines()
    assert list(zip(*start.get_data(), strict=True)) == [(3.0, 4.0), (2.4, 4.4), (2.0, 5.0)]
    assert list(zip(*own.get_data(), strict=True)) == [(2.8, 3.8), (1.9, 4.8)]
    assert own.get_linestyle() == "--" and own.get_color() == start.get_color()
    assert [(point.get_marker(), *point.get_data()[0]) for point in points] == [("s", 2.9), ("*", 2.8)]
    named = [child.get_text() for child in axes.get_children() if isinstance(child, Annotation)]
    assert named == ["mle continued"]


def test_controls_at_other_temperatures_are_dots_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(side_by_side, "save_figure", lambda figure, path: figures.append(figure) or path.touch())
    monkeypatch.setattr(side_by_side, "write_html", lambda *_: None)
    cooled = {"run": "one", "row": "mle continued tau 0.8", "lm_5gram": 2.1, "rlm_5gram": 4.9}
    run = LoggedRun("id", "one", "FINISHED", "experiment", None, {}, {}, {}, 0, "uri")
    write_side_by_side(SideBySide(("one",), (run,), {}, (*ROWS, cooled), (), {}), tmp_path / "page.html")
    (axes,) = figures[0].axes
    _, _, *points = axes.get_lines()
    assert [(point.get_marker(), *point.get_data()[0]) for point in points] == [("s", 2.9), ("*", 2.8), (".", 2.1)]
    assert [child.get_text() for child in axes.get_children() if isinstance(child, Annotation)] == ["mle continued"]


def test_metrics_of_ones_own_have_their_direction_where_runs_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "history", lambda run, names: {})
    monkeypatch.setattr(side_by_side, "read_table", lambda run, name: None)

    def of(name: str, params: dict[str, str]) -> LoggedRun:
        values = {"final/this_run/own_f_good": 1.0}
        return LoggedRun(name, name, "FINISHED", "experiment", None, params, {}, values, 0, "uri")

    def metric(direction: str) -> dict[str, str]:
        one = {"kind": "plugin", "name": "f.py:f", "digest": "d", "directions": {"good": direction}}
        return {"evaluation.metrics": json.dumps([one])}

    def shown(*runs: LoggedRun) -> str:
        return table_text(side_by_side.side_by_side(runs))

    one, same, other = of("a", metric("max")), of("b", metric("max")), of("c", metric("min"))
    assert "own_f_good ↑" in shown(one, same) and "↑ higher is better" in shown(one, same)
    assert "own_f_good ↑" not in shown(one, other) and "own_f_good ↓" not in shown(one, other)
    cut = {"evaluation.metrics": metric("max")["evaluation.metrics"][:-9] + "…"}
    assert "own_f_good ↑" not in shown(of("d", cut))  # as a server cuts what is long
    nobody = {"evaluation.metrics": '[{"kind": "plugin", "name": "f.py:f"}]'}
    assert "own_f_good ↑" not in shown(of("e", nobody))


def test_what_each_run_says_of_itself_stands_in_the_table_and_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "history", lambda run, names: {})
    monkeypatch.setattr(side_by_side, "read_table", lambda run, name: None)
    tags = {"verdict": "kl_sum: no significant difference. One seed: no evidence about the method."}
    judged = LoggedRun(
        "a", "judged", "FINISHED", "experiment", None, {}, tags, {"final/this_run/kl_sum": 2.0}, 0, "uri"
    )
    other = LoggedRun("b", "other", "FINISHED", "experiment", None, {}, {}, {"final/this_run/kl_sum": 3.0}, 0, "uri")
    shown = side_by_side.side_by_side([judged, other])
    assert shown.verdicts == {"judged": tags["verdict"]}
    assert table_text(shown).endswith(f"\n\njudged: {tags['verdict']}")
    write_side_by_side(shown, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Verdict of each run" in page and f"judged: {tags['verdict']}" in page
