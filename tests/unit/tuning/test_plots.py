"""Pictures of a sweep by what is drawn in them: where, in which colour, and what is said of what is not drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from rlgan.metrics.intervals import interval
from rlgan.tuning.judge.importance import Effect, Estimate, Importance, Interaction
from rlgan.tuning.judge.results import SweepResults, TrialResult
from rlgan.tuning.judge.verdict import verdict
from rlgan.tuning.report.plots import (
    plot_importance,
    plot_interactions,
    plot_parallel,
    plot_plane,
    plot_race,
    plot_trials,
)
from tests.support.sweeps import a_sweep

pytestmark = pytest.mark.heavy

GREY, SKY, BLUE, RED, GREEN = "#a8a8a8", "#56b4e9", "#0072b2", "#d55e00", "#009e73"


def lines(axes: Axes, colour: str | None = None) -> list[Line2D]:
    return [line for line in axes.get_lines() if colour is None or to_hex(str(line.get_color())) == colour]


def points(line: Line2D) -> list[tuple[float, float]]:
    return list(zip(*(np.asarray(values, dtype=float).tolist() for values in line.get_data()), strict=True))


def triangles(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_marker() in ("^", ">") and line.get_markersize() == 7]


def caption(figure: Figure) -> str:
    assert figure.get_supxlabel() is not None
    return figure.get_supxlabel().replace("\n", " ")


def notes(axes: Axes) -> dict[str, Any]:
    return {child.get_text(): child.xy for child in axes.get_children() if isinstance(child, Annotation)}


def draw(name: str, results: SweepResults, path: Path) -> Figure | None:
    drawn: dict[str, Callable[[], Figure]] = {
        "plane": lambda: plot_plane(results, verdict(results), path),
        "trials": lambda: plot_trials(results, verdict(results), path),
        "parallel": lambda: plot_parallel(results, path),
        "race": lambda: plot_race(results, verdict(results), path),
    }
    return drawn[name]()


def trial(index: int, value: float, **changes: Any) -> TrialResult:
    given = {
        "state": "finished",
        "point": {},
        "curve": ((10, value),),
        "metrics": {"kl_forward": 0.25, "kl_reverse": 0.5},
    }
    return TrialResult(index=index, **{**given, **changes})


# ------------------------------------------------------------------------------------------------------- plane


def test_the_plane_has_all_trials_and_the_curve_of_temperature(tmp_path: Path) -> None:
    results = a_sweep()
    axes = plot_plane(results, verdict(results), tmp_path / "plane.png").axes[0]
    for state, colour in (("stopped", GREY), ("finished", SKY)):
        wanted = {
            (trial.metrics["kl_reverse"], trial.metrics["kl_forward"])
            for trial in results.trials
            if trial.state == state and trial.curve and trial.curve[-1][1] < 40
        }
        (line,) = (line for line in lines(axes, colour) if line.get_label() == f"{state} trials")
        assert set(points(line)) == wanted
    (curve,) = (line for line in lines(axes, BLUE) if str(line.get_label()).startswith("MLE start"))
    finals = [final.validation for final in results.finals if (final.entrant, final.temperature) == ("MLE", 0.7)]
    assert points(curve)[0] == pytest.approx(
        tuple(sum(one[side] for one in finals) / 5 for side in ("kl_reverse", "kl_forward"))
    )
    assert len(points(curve)) == 5
    assert axes.get_xlabel().endswith("(validation data)") and axes.get_ylabel().endswith("(validation data)")
    assert "generator‖oracle" in axes.get_xlabel() and "oracle‖generator" in axes.get_ylabel()


def test_entrants_stand_at_their_means_with_their_deviations(tmp_path: Path) -> None:
    results = a_sweep()
    axes = plot_plane(results, verdict(results), tmp_path / "plane.png").axes[0]
    at = notes(axes)["trial 17 (τ=0.9)"]
    finals = [final.validation for final in results.finals if (final.entrant, final.temperature) == ("trial 17", 0.9)]
    across = [one["kl_reverse"] for one in finals]
    assert at[0] == pytest.approx(np.mean(across))
    segments = [segment for bars in axes.collections for segment in bars.get_segments()]  # type: ignore[attr-defined]
    widths = [segment[1][0] - segment[0][0] for segment in segments if segment[0][1] == pytest.approx(at[1])]
    assert pytest.approx(2 * np.std(across, ddof=1)) in widths


def test_a_diverged_trial_is_marked_at_the_edge_and_squashes_nothing(tmp_path: Path) -> None:
    results = a_sweep()
    figure = plot_plane(results, verdict(results), tmp_path / "plane.png")
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 1.5 and axes.get_xlim()[1] < 1.5
    assert len(triangles(axes)) == 2
    assert "2 trials lie beyond the axes or are not finite" in caption(figure)


def test_the_plane_of_text_has_language_models(tmp_path: Path) -> None:
    results = a_sweep(text=True)
    axes = plot_plane(results, verdict(results), tmp_path / "plane.png").axes[0]
    assert axes.get_xlabel().startswith("NLL of samples") and axes.get_ylabel().startswith("NLL of held-out text")


# ------------------------------------------------------------------------------------------------------ curves


def test_curves_end_where_trials_ended(tmp_path: Path) -> None:
    results = a_sweep()
    figure = plot_trials(results, verdict(results), tmp_path / "trials.png")
    axes = figure.axes[0]
    drawn = {tuple(points(line)) for line in axes.get_lines() if len(points(line)) > 1}
    for trial in results.trials:
        if trial.curve and max(value for _, value in trial.curve) < 2:
            assert tuple((float(update), value) for update, value in trial.curve) in drawn, trial.index
    stopped = [line for line in lines(axes, GREY) if line.get_label() == "stopped early"]
    assert len(stopped) == sum(trial.state == "stopped" for trial in results.trials)
    assert axes.get_ylim()[1] < 3 and len(triangles(axes)) == 2
    assert "2 trials lie beyond" in caption(figure) and "4 of 60 trials failed." in caption(figure)
    assert "2 trials were never measured (2 failed)." in caption(figure)


def test_levels_to_come_below_are_those_of_validation_data(tmp_path: Path) -> None:
    results = a_sweep()
    judged = verdict(results)
    axes = plot_trials(results, judged, tmp_path / "trials.png").axes[0]
    levels = {str(line.get_label()): points(line)[0][1] for line in lines(axes, BLUE)}
    wanted = {entry.entrant: entry.validation.mean for entry in judged.entries if entry.validation is not None}
    assert levels == {
        "tempered MLE, mean of fresh seeds": wanted["MLE"],
        "mle_continued, mean of fresh seeds": wanted["mle_continued"],
    }
    alone = replace(results, finals=())
    assert lines(plot_trials(alone, verdict(alone), tmp_path / "trials.png").axes[0], BLUE) == []


def test_the_best_that_finished_stands_out(tmp_path: Path) -> None:
    trials = (trial(0, 2.0), trial(1, 1.0), trial(2, 0.5, state="stopped"), trial(3, math.nan))
    results = replace(a_sweep(), trials=trials, finals=())
    axes = plot_trials(results, verdict(results), tmp_path / "trials.png").axes[0]
    (best,) = lines(axes, RED)
    assert (best.get_label(), points(best)) == ("trial 1, the best that finished", [(10.0, 1.0)])


# ------------------------------------------------------------------------------------------------ parallel axes


def test_lines_run_through_what_was_tried_with_a_gap_for_what_was_not_active(tmp_path: Path) -> None:
    shared = {"lr": 1e-3, "flag": True}
    trials = (
        trial(0, 1.0, point={"lr": 1e-5, "flag": False, "size": None}),
        trial(1, 2.0, point={**shared, "size": 4, "decay": 0.5}),
        trial(2, 3.0, point={**shared, "size": 8, "decay": 0.9}),
        trial(3, math.nan, point={**shared, "size": 8}, state="failed"),
    )
    results = replace(a_sweep(), trials=trials, dimensions=("lr", "flag", "size", "decay"), finals=())
    figure = plot_parallel(results, tmp_path / "parallel.png")
    axes = figure.axes[0]
    drawn = {line.get_gid(): [x for x, _ in points(line)] for line in axes.get_lines() if line.get_gid()}
    best, middle, worst, broken = (drawn[f"trial {index}"] for index in range(4))
    assert (best[0], middle[0], best[-1], middle[-1], worst[-1]) == (0.0, 1.0, 0.0, 0.5, 1.0)
    assert broken[-1] == 1.0
    assert best[1] < 0.5 < middle[1]  # false before true
    assert middle[2] < worst[2] < best[2]  # null beyond the numbers
    assert middle[3] < worst[3] < best[3] and worst[3] < broken[3]  # not active beyond the values
    texts = [child.get_text() for child in axes.get_children() if isinstance(child, Annotation)]
    assert {"1e-05", "0.001", "false", "true", "null", "4", "8", "not active"} <= set(texts)
    # The best are drawn last, and thick.
    order = [line.get_gid() for line in axes.get_lines() if line.get_gid()]
    assert order == ["trial 3", "trial 2", "trial 1", "trial 0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["lr", "flag", "size", "decay", "kl_sum"]


def test_logarithms_where_values_span_decades(tmp_path: Path) -> None:
    trials = tuple(trial(index, 1.0 + index, point={"lr": 10.0 ** -(index + 1), "n": index}) for index in range(4))
    results = replace(a_sweep(), trials=trials, dimensions=("lr", "n"), finals=())
    axes = plot_parallel(results, tmp_path / "parallel.png").axes[0]
    drawn = {line.get_gid(): points(line)[0][0] for line in axes.get_lines() if line.get_gid()}
    assert [drawn[f"trial {index}"] for index in range(4)] == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])


def test_fifteen_dimensions_have_room(tmp_path: Path) -> None:
    results = a_sweep()
    trials = tuple(
        replace(one, point={**one.point, **{f"optimizers.discriminator.extra_{i}": i for i in range(3)}})
        for one in results.trials
    )
    names = (*results.dimensions, *(f"optimizers.discriminator.extra_{i}" for i in range(3)))
    figure = plot_parallel(replace(results, trials=trials, dimensions=names), tmp_path / "parallel.png")
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 16
    for one, other in zip(labels, labels[1:], strict=False):
        assert not one.overlaps(other)
    assert min(label.x0 for label in labels) >= 0
    assert imread(tmp_path / "parallel.png").shape[1] == 900


# -------------------------------------------------------------------------------------------------- importance


def an_importance() -> Importance:
    def about(mean: float) -> Estimate:
        return Estimate(mean, mean - 0.1, mean + 0.1)

    effects = (Effect("a", about(1.0), True), Effect("b.c", about(0.1), False), Effect("d", about(0.0), False))
    pairs = (Interaction("a", "d", about(-0.5), True), Interaction("a", "b.c", about(0.05), False))
    pairs = (*pairs, Interaction("b.c", "d", about(0.0), False))
    return Importance("kl_sum after 20 updates", 20, 40, None, about(0.6), about(0.02), effects, pairs)


def test_bars_have_intervals_and_the_probe_beside_them(tmp_path: Path) -> None:
    figure = plot_importance(an_importance(), tmp_path / "importance.png")
    axes = figure.axes[0]
    bars = [patch for patch in axes.patches if patch.get_height() == pytest.approx(0.6)]  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in bars] == [1.0, 0.1, 0.0]  # type: ignore[attr-defined]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [BLUE, GREY, GREY]
    spans = [points(line) for line in axes.get_lines() if len({y for _, y in points(line)}) == 1]
    assert spans == [[(0.9, 0.0), (1.1, 0.0)], [(0.0, 1.0), (0.2, 1.0)], [(-0.1, 2.0), (0.1, 2.0)]]
    (probe,) = (line for line in axes.get_lines() if "probe" in str(line.get_label()))
    assert points(probe)[0][0] == pytest.approx(0.12)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b.c", "d"]
    assert "Dimensions with a significant effect: a;" in caption(figure)
    assert "n = 40" in axes.get_title(loc="left")


def test_pairs_are_marked_where_they_are_clear(tmp_path: Path) -> None:
    axes = plot_interactions(an_importance(), tmp_path / "interactions.png").axes[0]
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts == {
        "-0.50 ●\n[-0.60, -0.40]": (0, 1), "+0.05\n[-0.05, +0.15]": (0, 0), "+0.00\n[-0.10, +0.10]": (1, 1),
    }  # fmt: skip
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b.\nc"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b.\nc", "d"]
    values = np.asarray(axes.images[0].get_array())
    assert values[1, 0] == -0.5 and values[0, 0] == 0.05
    low, high = axes.images[0].get_clim()
    assert low is not None and high is not None and low == -high


@pytest.mark.parametrize("plot", [plot_importance, plot_interactions])
def test_without_an_estimate_there_is_no_picture(plot: Callable[..., Figure | None], tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"of another time")
    assert plot(Importance("kl_sum", None, 3, "3 trials were measured"), tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


# -------------------------------------------------------------------------------------------------- final race


def test_the_race_has_every_seed_and_the_mean_with_its_interval(tmp_path: Path) -> None:
    results = a_sweep()
    judged = verdict(results)
    figure = plot_race(results, judged, tmp_path / "race.png")
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["oracle_ratio (τ=1)", "trial 17 (τ=0.9)", "mle_continued (τ=0.9)"] and "MLE (τ=1)" in names
    colours = {label.get_text(): to_hex(label.get_color()) for label in axes.get_yticklabels()}
    assert (colours[names[0]], colours[names[1]], colours[names[2]]) == (GREEN, RED, BLUE)
    (entry,) = (entry for entry in judged.entries if entry.entrant == "trial 17")
    row = [line for line in lines(axes, RED) if all(abs(y - 1) < 0.4 for _, y in points(line))]
    seeds = [points(line)[0][0] for line in row if line.get_markersize() == 4]
    assert sorted(seeds) == sorted(entry.test_by_seed.values())
    wanted = interval(list(entry.test_by_seed.values()))
    assert [(wanted.low, 1.0), (wanted.high, 1.0)] in [points(line) for line in row]
    assert [(wanted.mean, 1.0)] in [points(line) for line in row]
    assert axes.get_xlabel() == "kl_sum, nats per token (test data, lower is better)"


def test_a_far_ceiling_is_written_and_squashes_nothing(tmp_path: Path) -> None:
    results = a_sweep()
    axes = plot_race(results, verdict(results), tmp_path / "race.png").axes[0]
    assert axes.get_xlim()[0] > 1.0
    assert any(text.startswith("◀ 0.7") for text in notes(axes))
    near = [
        replace(one, test={side: value + 0.28 for side, value in one.test.items()}) if one.kind == "ceiling" else one
        for one in results.finals
    ]
    close = replace(results, finals=tuple(near))
    axes = plot_race(close, verdict(close), tmp_path / "race.png").axes[0]
    assert notes(axes) == {} and len(lines(axes, GREEN)) == 7


def test_a_broken_seed_takes_the_mean_away(tmp_path: Path) -> None:
    results = a_sweep()
    finals = tuple(
        replace(one, test={**one.test, "kl_forward": math.nan}) if (one.entrant, one.seed) == ("trial 17", 103) else one
        for one in results.finals
    )
    broken = replace(results, finals=finals)
    figure = plot_race(broken, verdict(broken), tmp_path / "race.png")
    row = [line for line in lines(figure.axes[0], RED) if all(abs(y - 1) < 0.4 for _, y in points(line))]
    assert [line.get_markersize() for line in row] == [4] * 4
    assert len(triangles(figure.axes[0])) == 1
    assert "No mean where a seed is not finite." in caption(figure)


# ------------------------------------------------------------------------------------------------------ oddities


@cache
def oddities() -> dict[str, SweepResults]:
    whole = a_sweep()
    failed = tuple(
        replace(one, state="failed", curve=(), metrics={}, error="ValueError: no") for one in whole.trials[:5]
    )
    nothing = replace(whole, trials=(), finals=())
    nans = tuple(trial(index, math.nan, metrics={"kl_forward": math.nan, "kl_reverse": 1.0}) for index in range(3))
    return {
        "nothing": nothing,
        "one trial": replace(nothing, trials=(trial(0, 1.0, point={"reward": "ratio"}),)),
        "all failed": replace(nothing, trials=failed),
        "none finished": replace(nothing, trials=tuple(one for one in whole.trials if one.state == "stopped")),
        "never finite": replace(nothing, trials=nans),
        "only finals": replace(whole, trials=()),
        "one final": replace(nothing, finals=whole.finals[:1]),
        "only the ceiling": replace(nothing, finals=tuple(one for one in whole.finals if one.kind == "ceiling")),
    }


PICTURES = ("plane", "trials", "parallel", "race")
EMPTY = {
    "nothing": PICTURES, "all failed": PICTURES, "never finite": PICTURES, "one trial": ("race",),
    "none finished": ("race",), "only finals": ("parallel",), "one final": ("parallel",),
    "only the ceiling": ("trials", "parallel"),
}  # fmt: skip
"""Case → the pictures that would be empty."""


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("case", list(oddities()))
@pytest.mark.filterwarnings("error")
def test_odd_sweeps_are_drawn_where_there_is_something_to_draw(case: str, picture: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"of another time")
    figure = draw(picture, oddities()[case], tmp_path / "picture.png")
    assert (figure is None) == (picture in EMPTY[case])
    if figure is None:
        assert not (tmp_path / "picture.png").exists()
    else:
        assert imread(tmp_path / "picture.png").shape[1] == 900
        assert any(axes.has_data() for axes in figure.axes)


def test_what_cannot_be_drawn_is_counted(tmp_path: Path) -> None:
    whole = oddities()["one trial"]
    failed = replace(whole, trials=(*whole.trials, *oddities()["all failed"].trials))
    broken = replace(whole, trials=(*whole.trials, *oddities()["never finite"].trials))
    for picture in ("plane", "trials", "parallel"):
        described = caption(draw(picture, failed, tmp_path / "picture.png"))
        assert "5 trials were never measured (5 failed)." in described
        described = caption(draw(picture, broken, tmp_path / "picture.png"))
        assert "3 trials lie beyond the axes or are not finite" in described
