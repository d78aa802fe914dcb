"""Tables to the letter; pictures by what is drawn in them: panels, curves, labels that can be read."""

from __future__ import annotations

import csv
import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation

from rlgan.base.errors import CheckpointError
from rlgan.evaluation.quantities import axis_name
from rlgan.report.tables import format_table, plot_learning_curves, plot_quality_diversity, to_markdown, write_table
from tests.support.errors import refused

COLUMNS = ("name", "temperature", "kl_sum", "num")
ROWS: list[dict[str, Any]] = [
    {"name": "MLE start", "temperature": 1.0, "kl_sum": 2.48442, "num": 5000},
    {"name": "MLE τ=0.9", "temperature": 0.9, "kl_sum": 12.5, "num": 5000},
    {"name": "a|b", "temperature": 1.0, "kl_sum": math.nan, "extra": 0.1},
]


def png_size(path: Path) -> tuple[int, int]:
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    height, width = imread(path).shape[:2]
    return width, height


# ------------------------------------------------------------------------------------------------------ tables


def test_a_table_is_aligned_and_shows_what_is_missing() -> None:
    assert format_table(ROWS, COLUMNS).splitlines() == [
        "name       temperature  kl_sum   num",
        "------------------------------------",
        "MLE start        1.000   2.484  5000",
        "MLE τ=0.9        0.900  12.500  5000",
        "a|b              1.000     nan     –",
    ]
    assert format_table(ROWS[:1], COLUMNS[:3], decimals=1).splitlines()[2] == "MLE start          1.0     2.5"
    assert format_table([], ("name", "x")).splitlines() == ["name  x", "-------"]


def test_a_table_in_markdown() -> None:
    assert to_markdown(ROWS, COLUMNS, decimals=2).splitlines() == [
        "| name | temperature | kl_sum | num |",
        "| --- | ---: | ---: | ---: |",
        "| MLE start | 1.00 | 2.48 | 5000 |",
        "| MLE τ=0.9 | 0.90 | 12.50 | 5000 |",
        "| a\\|b | 1.00 | nan | – |",
    ]


def test_a_table_is_written_in_the_form_of_the_suffix(tmp_path: Path) -> None:
    for suffix in ("txt", "md", "csv", "json"):
        write_table(ROWS, COLUMNS, tmp_path / f"table.{suffix}")
    assert (tmp_path / "table.txt").read_text("utf-8") == format_table(ROWS, COLUMNS) + "\n"
    assert (tmp_path / "table.md").read_text("utf-8") == to_markdown(ROWS, COLUMNS) + "\n"
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"name": "MLE start", "temperature": "1.0", "kl_sum": "2.48442", "num": "5000"},
            {"name": "MLE τ=0.9", "temperature": "0.9", "kl_sum": "12.5", "num": "5000"},
            {"name": "a|b", "temperature": "1.0", "kl_sum": "", "num": ""},
        ]
    assert json.loads((tmp_path / "table.json").read_text("utf-8")) == [*ROWS[:2], {**ROWS[2], "kl_sum": None}]
    with pytest.raises(KeyError):
        write_table(ROWS, COLUMNS, tmp_path / "table.xls")


def test_a_table_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with refused(CheckpointError, "cannot_write", match="none/table.csv"):
        write_table(ROWS, COLUMNS, tmp_path / "none" / "table.csv")


# ------------------------------------------------------------------------------------------------------ curves


def row(unit: int | None, phase: str, **metrics: float | None) -> dict[str, Any]:
    return {"iteration": unit, "phase": phase, "metrics": {name.replace("__", "/"): v for name, v in metrics.items()}}


RUN = [
    row(1, "mle", mle__train_nll=5.0, mle__nll_gen=5.2),
    row(2, "mle", mle__train_nll=4.5, mle__nll_gen=4.9),
    row(3, "discriminator", discriminator_pretraining__loss=1.4, discriminator_pretraining__accuracy_heldout=0.5),
    row(4, "adversarial", discriminator__loss=1.2, discriminator__accuracy_heldout=0.6, eval__nll_gen=4.8),
    row(5, "adversarial", discriminator__loss=None, discriminator__accuracy_heldout=0.7, eval__nll_gen=4.7),
    row(None, "final", final__x__nll_gen=1.0, eval__nll_gen=99.0),
]


def curves(figure: Figure, title: str) -> dict[str, list[tuple[float, float]]]:
    """Label → points of the curves in a panel."""
    (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
    return {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_panels_are_those_with_data_and_curves_run_through_all_phases(tmp_path: Path) -> None:
    figure = plot_learning_curves(RUN, tmp_path / "curves.png")
    assert titles(figure) == ["Likelihood", "Discriminator accuracy", "Discriminator loss"]
    assert curves(figure, "Likelihood") == {
        "MLE, train": [(1, 5.0), (2, 4.5)],
        "NLL_gen": [(1, 5.2), (2, 4.9), (4, 4.8), (5, 4.7)],
    }
    assert curves(figure, "Discriminator accuracy") == {
        "held-out": [(3, 0.5), (4, 0.6), (5, 0.7)],
        "chance": [(0, 0.5), (1, 0.5)],
    }
    assert curves(figure, "Discriminator loss") == {"training": [(3, 1.4), (4, 1.2)]}
    assert png_size(tmp_path / "curves.png") == (1560, 792)


def test_a_bound_on_the_likelihood_is_a_curve_too(tmp_path: Path) -> None:
    rows = [row(1, "mle", mle__nll_gen_bound=5.2), row(2, "adversarial", eval__nll_gen_bound=4.8)]
    figure = plot_learning_curves(rows, tmp_path / "curves.png")
    assert curves(figure, "Likelihood") == {"NLL_gen, upper bound": [(1, 5.2), (2, 4.8)]}


def test_every_panel_has_units_and_a_legend_of_its_curves(tmp_path: Path) -> None:
    figure = plot_learning_curves(RUN, tmp_path / "curves.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats per token", "share", "units of its loss"]
    # The lowest panel of each column carries the name of the axis.
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, True, True]
    for axes in figure.axes:
        shown = [text.get_text() for text in axes.get_legend().get_texts()]
        assert shown == list(curves(figure, axes.get_title(loc="left")))


def test_phases_are_shaded_from_where_the_last_one_ended_and_named(tmp_path: Path) -> None:
    figure = plot_learning_curves(RUN, tmp_path / "curves.png")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["MLE", "discriminator pretraining", "adversarial"]
    for axes in figure.axes:
        spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
        assert spans == [(0, 2), (2, 3), (3, 5)]
        assert len({patch.get_facecolor() for patch in axes.patches}) == 3
        assert axes.get_xlim() == (0, 5)


def test_curves_of_a_text_task_and_of_the_generator_have_their_panels(tmp_path: Path) -> None:
    rows = [
        row(1, "adversarial", eval__bleu_2=0.5, eval__bleu_4=0.2, eval__self_bleu_4=0.3, eval__self_bleu_2=0.6),
        row(2, "adversarial", generator__mean_value=0.4, generator__advantage_std=0.1, generator__entropy=4.0),
        row(3, "adversarial", eval__kl_forward=1.0, eval__kl_reverse=2.0, eval__nll_oracle=6.0),
    ]
    figure = plot_learning_curves(rows, tmp_path / "curves.png")
    assert {title: list(curves(figure, title)) for title in titles(figure)} == {
        "Likelihood": ["NLL_oracle"],
        "KL gaps to the oracle": ["forward: coverage", "reverse: quality"],
        "BLEU": ["BLEU-2", "BLEU-4", "Self-BLEU-2", "Self-BLEU-4"],
        "Value of a token": ["mean", "standard deviation of advantages"],
        "Entropy of the generator": ["on its rollouts"],
    }
    assert curves(figure, "BLEU")["Self-BLEU-4"] == [(1, 0.3)]
    assert curves(figure, "KL gaps to the oracle")["reverse: quality"] == [(3, 2.0)]


def test_a_run_without_curves_is_a_picture_that_says_so(tmp_path: Path) -> None:
    figure = plot_learning_curves([row(1, "mle", timing__unit_s=1.0)], tmp_path / "curves.png")
    assert titles(figure) == []
    assert [text.get_text() for text in figure.texts] == ["this run logged none of the curves that are drawn here"]
    png_size(tmp_path / "curves.png")


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with refused(CheckpointError, "cannot_write", match="none/curves.png"):
        plot_learning_curves(RUN, tmp_path / "none" / "curves.png")


# ------------------------------------------------------------------------------------------------------ plane

TABLE = [
    {"name": "MLE τ=0.9", "temperature": 0.9, "x": 1.33, "y": 1.15},
    {"name": "MLE start", "temperature": 1.0, "x": 1.37, "y": 1.11},
    {"name": "MLE τ=0.7", "temperature": 0.7, "x": 1.36, "y": 1.42},
    {"name": "mle_continued", "temperature": 1.0, "x": 1.369, "y": 1.112},
    {"name": "constant_reward", "temperature": 1.0, "x": 1.368, "y": 1.111},
    {"name": "random_reward", "temperature": 1.0, "x": 1.368, "y": 1.11},
    {"name": "quick (this run)", "temperature": 1.0, "x": 1.2, "y": 1.11},
    {"name": "broke down", "temperature": 1.0, "x": math.nan, "y": 1.11},
    {"name": "not measured", "temperature": 1.0, "y": 1.11},
]


def labels(figure: Figure) -> dict[str, Annotation]:
    """Text → label, without the lines that lead to labels."""
    found = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
    return {label.get_text(): label for label in found if label.get_text()}


def test_the_plane_shows_the_curve_by_temperature_and_each_point_by_its_name(tmp_path: Path) -> None:
    figure = plot_quality_diversity(TABLE, "x", "y", tmp_path / "plane.png")
    curve, *points = figure.axes[0].get_lines()
    assert list(zip(*curve.get_data(), strict=True)) == [(1.37, 1.11), (1.33, 1.15), (1.36, 1.42)]
    assert len(points) == 4
    assert {name: label.xy for name, label in labels(figure).items()} == {
        "τ=1": (1.37, 1.11),
        "τ=0.9": (1.33, 1.15),
        "τ=0.7": (1.36, 1.42),
        **{row["name"]: (row["x"], row["y"]) for row in TABLE[3:7]},
    }
    for point, row in zip(points, TABLE[3:7], strict=True):
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (row["x"], row["y"])
        assert labels(figure)[row["name"]].get_color() == point.get_color()
    assert len({point.get_color() for point in points}) == len({point.get_marker() for point in points}) == 4
    assert png_size(tmp_path / "plane.png") == (900, 660)


def test_the_run_itself_is_a_curve_by_temperature_too(tmp_path: Path) -> None:
    cold = {"name": "quick τ=0.7 (this run)", "temperature": 0.7, "x": 1.1, "y": 1.3}
    figure = plot_quality_diversity([cold, *TABLE], "x", "y", tmp_path / "plane.png", own=" (this run)")
    curve, *points, star, own = figure.axes[0].get_lines()
    assert list(zip(*own.get_data(), strict=True)) == [(1.2, 1.11), (1.1, 1.3)]
    assert own.get_color() == star.get_color() and own.get_linestyle() == "--"
    assert len(curve.get_xdata()) == len(points) == 3
    names = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation) and child.get_text()]
    assert (1.1, 1.3) in [label.xy for label in names if label.get_text() == "τ=0.7"]
    assert "quick (this run)" in labels(figure) and "quick τ=0.7 (this run)" not in labels(figure)
    (legend,) = figure.legends
    wanted = ["MLE start, by temperature τ", "this run, by temperature τ"]
    assert [text.get_text() for text in legend.get_texts()] == wanted
    # With nothing at another temperature it is a point as ever.
    alone = plot_quality_diversity(TABLE, "x", "y", tmp_path / "plane.png", own=" (this run)")
    assert len(alone.axes[0].get_lines()) == 5


def test_a_control_is_a_curve_by_temperature_with_one_name(tmp_path: Path) -> None:
    cold = {"name": "mle_continued τ=0.7", "temperature": 0.7, "x": 1.3, "y": 1.4}
    figure = plot_quality_diversity([cold, *TABLE], "x", "y", tmp_path / "plane.png")
    curve, continued, dotted, *others = figure.axes[0].get_lines()
    assert list(zip(*dotted.get_data(), strict=True)) == [(1.369, 1.112), (1.3, 1.4)]
    assert dotted.get_linestyle() == ":" and dotted.get_color() == continued.get_color()
    assert len(curve.get_xdata()) == len(others) == 3
    assert "mle_continued" in labels(figure) and "mle_continued τ=0.7" not in labels(figure)


def test_labels_cover_neither_each_other_nor_points_and_stay_inside(tmp_path: Path) -> None:
    figure = plot_quality_diversity(TABLE, "x", "y", tmp_path / "plane.png")
    axes = figure.axes[0]
    boxes = {name: label.get_window_extent() for name, label in labels(figure).items()}
    for (name, box), (other_name, other) in combinations(boxes.items(), 2):
        assert not box.padded(-0.5).overlaps(other.padded(-0.5)), (name, other_name)
    points = axes.transData.transform([label.xy for label in labels(figure).values()])
    inside = axes.get_window_extent()
    for name, box in boxes.items():
        assert box.count_contains(points) == 0, name
        assert inside.fully_contains(box.x0, box.y0) and inside.fully_contains(box.x1, box.y1), name


def test_axes_say_which_way_is_better(tmp_path: Path) -> None:
    rows = [{"name": "MLE start", "temperature": 1.0, "kl_reverse": 1.0, "kl_forward": 2.0}]
    figure = plot_quality_diversity(rows, "kl_reverse", "kl_forward", tmp_path / "plane.png", axis_name=axis_name)
    assert figure.axes[0].get_xlabel() == "KL(generator‖oracle), nats/token: quality, lower is better"
    assert figure.axes[0].get_ylabel() == "KL(oracle‖generator), nats/token: coverage, lower is better"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["MLE start, by temperature τ"]


@pytest.mark.parametrize("rows", [[], TABLE[3:5]])
def test_a_table_without_the_curve_can_be_drawn(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    figure = plot_quality_diversity(rows, "x", "y", tmp_path / "plane.png")
    assert list(labels(figure)) == [row["name"] for row in rows]
    assert figure.legends == []
