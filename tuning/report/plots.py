"""Pictures of a sweep: where its trials lie, how they learned, what they tried, what matters, and the final race.

Colours can be distinguished by the colour-blind (Okabe & Ito 2008). A diverged trial does not squash the others: an
axis ends at Tukey's outer fence (third quartile + 3 interquartile ranges; 1977), what lies beyond is marked at the
edge, and the caption says how many there are. Everything drawn is better when lower, so the good end is never cut.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlgan.evaluation.quantities import axis_name
from rlgan.metrics.intervals import interval, spread
from rlgan.report.tables import label_points, new_figure, printable, save_figure

from ..judge.importance import MOST_PAIRED, Importance
from ..judge.results import FinalResult, Kind, SweepResults, TrialResult, in_standing
from ..judge.scales import Scale, label, scale
from ..judge.verdict import BASELINE, CONTINUED, TEMPERED, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.5  # inches: 900 pixels
_GREY, _DARK, _BLUE, _SKY, _ORANGE, _RED, _GREEN = (
    "#a8a8a8", "#444444", "#0072b2", "#56b4e9", "#e69f00", "#d55e00", "#009e73",
)  # fmt: skip
_KINDS: Mapping[Kind, tuple[str, str]] = {"finalist": (_RED, "o"), "control": (_BLUE, "s"), "ceiling": (_GREEN, "*")}
"""Kind of an entrant → colour and marker."""
_NUM_BEST = 5  # trials that stand out among the lines

# ------------------------------------------------------------------------------------------------------- plane


def plot_plane(results: SweepResults, verdict: Verdict, path: Path) -> Figure | None:
    """Quality and coverage of all trials and entrants, on validation data, with the curve that temperature draws.

    A trial is of interest where it lies off that curve on the side of both smaller numbers, not where it lies along it.

    Args:
        results: of the sweep.
        verdict: on its final race; says at which temperature an entrant stands.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    x, y = _quality_and_coverage(results.sides)
    measured = [trial for trial in results.trials if trial.curve and {x, y} <= trial.metrics.keys()]
    entrants = [(entry, _of(results, entry)) for entry in verdict.entries]
    entrants = [(entry, finals) for entry, finals in entrants if finals and entry.entrant != BASELINE]
    start = {}
    for temperature in sorted({final.temperature for final in results.finals if final.entrant == BASELINE}):
        finals = [final for final in results.finals if (final.entrant, final.temperature) == (BASELINE, temperature)]
        start[temperature] = _mean_point(finals, x, y)
    drawn = [(trial.metrics[x], trial.metrics[y]) for trial in measured]
    all_points = [*drawn, *start.values(), *(_mean_point(finals, x, y) for _, finals in entrants)]
    if not any(math.isfinite(one) and math.isfinite(other) for one, other in all_points):
        _remove(path)
        return None
    across, up = _Range.of(one for one, _ in all_points), _Range.of(one for _, one in all_points)
    figure = new_figure(_WIDTH, 6.0)
    axes = figure.add_subplot()
    for state, marker, colour in (("stopped", "o", _GREY), ("finished", "o", _SKY), ("other", "x", _GREY)):
        known = ("stopped", "finished")
        of_state = [trial for trial in measured if (trial.state if trial.state in known else "other") == state]
        inside = [p for p in ((t.metrics[x], t.metrics[y]) for t in of_state) if across.holds(p[0]) and up.holds(p[1])]
        if inside:
            shown = {"other": "trials that failed or are under way"}.get(state, f"{state} trials")
            axes.plot(*zip(*inside, strict=True), marker, color=colour, markersize=5, alpha=0.8, label=shown)
    beyond = [point for point in drawn if not (across.holds(point[0]) and up.holds(point[1]))]
    for point in beyond:
        if all(map(math.isfinite, point)):
            mark = "^" if not up.holds(point[1]) else ">"
            axes.plot([across.clip(point[0])], [up.clip(point[1])], mark, color=_DARK, markersize=7, clip_on=False)
    labels: list[tuple[str, float, float, str]] = []
    bars: list[tuple[float, float]] = []
    if start:
        curve = list(start.values())
        axes.plot(
            *zip(*curve, strict=True), "-o", color=_BLUE, markersize=4, label=f"{BASELINE} start, by temperature τ"
        )
        labels += [(f"τ={temperature:g}", *point, _BLUE) for temperature, point in start.items()]
    for entry, finals in entrants:
        colour, marker = _KINDS[entry.kind]
        point = _mean_point(finals, x, y)
        wide, high = (spread([final.validation[side] for final in finals]).sd or 0.0 for side in (x, y))
        axes.errorbar(
            *point, xerr=wide, yerr=high, fmt=marker, color=colour, markersize=12 if marker == "*" else 7,
            markeredgecolor="white", elinewidth=1.0, zorder=4,
        )  # fmt: skip
        labels.append((_at_temperature(entry), *point, colour))
        bars += [(point[0] + share * wide, point[1]) for share in np.linspace(-1, 1, 9)]
        bars += [(point[0], point[1] + share * high) for share in np.linspace(-1, 1, 9)]
    axes.set_xlim(across.limits)
    axes.set_ylim(up.limits)
    axes.set_xlabel(f"{axis_name(x).replace(': ', chr(10), 1)} (validation data)", fontsize=9)
    axes.set_ylabel(f"{axis_name(y).replace(': ', chr(10), 1)} (validation data)", fontsize=9)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", fontsize=8.5, frameon=False, ncols=2)
    _caption(
        figure,
        "Trials at their last measurement, with one seed. " + _beyond(len(beyond)),
        "" if not entrants else "Entrants of the final race: mean ± standard deviation over fresh seeds.",
        _not_shown(results, len(results.trials) - len(measured)),
    )
    label_points(axes, labels, list(start.values()), [*bars, *((across.clip(one), up.clip(two)) for one, two in drawn)])
    save_figure(figure, path)
    return figure


def _quality_and_coverage(sides: Sequence[str]) -> tuple[str, str]:
    for pair in (("kl_reverse", "kl_forward"), ("lm_5gram", "rlm_5gram")):
        if set(pair) == set(sides):
            return pair
    return sides[0], sides[-1]


def _of(results: SweepResults, entry: Entry) -> list[FinalResult]:
    """Finals of an entrant at its chosen temperature."""
    return [one for one in results.finals if (one.entrant, one.temperature) == (entry.entrant, entry.temperature)]


def _mean_point(finals: Sequence[FinalResult], x: str, y: str) -> tuple[float, float]:
    return spread([one.validation[x] for one in finals]).mean, spread([one.validation[y] for one in finals]).mean


# ------------------------------------------------------------------------------------------------------ curves


def plot_trials(results: SweepResults, verdict: Verdict, path: Path) -> Figure | None:
    """The objective of each trial over its updates, on validation data, with the levels that it has to come below.

    Args:
        results: of the sweep.
        verdict: on its final race, for the levels.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    measured = [trial for trial in results.trials if trial.curve]
    levels = {
        TEMPERED if entry.entrant == BASELINE else entry.entrant: entry.validation.mean
        for entry in verdict.entries
        if entry.entrant in (BASELINE, CONTINUED) and entry.validation is not None
    }
    values = [*(value for trial in measured for _, value in trial.curve), *levels.values()]
    if not any(map(math.isfinite, values)):
        _remove(path)
        return None
    up = _Range.of(values)
    figure = new_figure(_WIDTH, 4.8)
    axes = figure.add_subplot()
    best = {trial.index for trial in in_standing(trial for trial in measured if trial.state == "finished")[:1]}
    for trial in sorted(measured, key=lambda one: (one.state == "finished", one.index in best)):
        name, style = _curve_style(trial, trial.index in best)
        updates, its_values = zip(*trial.curve, strict=True)
        axes.plot(updates, [up.clip(value) for value in its_values], label=name, **style)
        for update, value in trial.curve:
            if not up.holds(value):
                axes.plot([update], [up.clip(value)], "^", color=_DARK, markersize=7, clip_on=False, zorder=5)
    for (name, value), line in zip(levels.items(), ("--", ":"), strict=False):
        axes.axhline(value, color=_BLUE, linestyle=line, linewidth=1.8, zorder=4, label=f"{name}, mean of fresh seeds")
    axes.set_ylim(up.limits)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("adversarial updates", fontsize=9)
    axes.set_ylabel(_objective_label(results, "validation data").replace(" (", "\n("), fontsize=9)
    axes.grid(alpha=0.3)
    if measured or levels:
        named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(named.values(), named.keys(), loc="outside upper center", fontsize=8.5, frameon=False, ncols=3)
    diverged = sum(any(not up.holds(value) for _, value in trial.curve) for trial in measured)
    failed = sum(trial.state == "failed" for trial in results.trials)
    _caption(
        figure,
        _beyond(diverged),
        f"{failed} of {len(results.trials)} trials failed." if failed else "",
        _not_shown(results, len(results.trials) - len(measured)),
    )
    save_figure(figure, path)
    return figure


def _curve_style(trial: TrialResult, best: bool) -> tuple[str, dict[str, Any]]:
    end = {"markevery": [-1], "markersize": 4}
    if best:
        return f"trial {trial.index}, the best that finished", {
            "color": _RED,
            "linewidth": 2.4,
            "zorder": 3,
            "marker": ".",
            **end,
        }
    if trial.state == "finished":
        return "finished", {"color": _SKY, "linewidth": 1.2, "alpha": 0.9, "marker": ".", **end}
    if trial.state == "stopped":
        return "stopped early", {"color": _GREY, "linewidth": 0.9, "alpha": 0.8, "marker": ".", **end}
    if trial.state == "failed":
        return "failed", {"color": _ORANGE, "linewidth": 0.9, "marker": "x", **end, "markersize": 6}
    return "under way", {"color": _GREY, "linewidth": 0.9, "linestyle": "--", "marker": ".", **end}


# ------------------------------------------------------------------------------------------------ parallel axes

_SLOT = 0.15  # width of the place of a level beside numbers, and of that of trials in which it is not active


def plot_parallel(results: SweepResults, path: Path) -> Figure | None:
    """What each trial tried, a line over one scale a dimension, coloured by its objective; the best lie on top.

    Args:
        results: of the sweep.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    from matplotlib import colormaps

    ranked = in_standing(results.trials)
    if not any(math.isfinite(trial.value) for trial in ranked if trial.value is not None):
        _remove(path)
        return None
    values = _Range.of(trial.value for trial in ranked if trial.value is not None)
    rows = [_Row.of(name, results.trials) for name in results.dimensions]
    figure = new_figure(_WIDTH, 1.3 + 0.46 * (len(rows) + 1))
    axes = figure.add_subplot()
    colours = colormaps["viridis"]
    for row_index, row in enumerate(rows):
        _draw_row(axes, row_index, row)
    last = len(rows)
    axes.imshow(
        np.linspace(0, 1, 256)[None], extent=(0.0, 1.0, last + 0.05, last - 0.05), aspect="auto", cmap=colours, zorder=1
    )
    for share in (0.0, 0.5, 1.0):
        _tick(axes, share, last, f"{values.at(share):.3g}")
    beyond = 0
    for place, trial in reversed(list(enumerate(ranked))):
        assert trial.value is not None
        objective = values.share(trial.value)
        beyond += not values.holds(trial.value)
        across = [row.place(trial) for row in rows] + [objective]
        best = place < _NUM_BEST
        axes.plot(
            across, range(last + 1), color=colours(objective), linewidth=2.2 if best else 0.9,
            alpha=1.0 if best else 0.45, zorder=3 if best else 2, solid_joinstyle="round",
            marker="o" if best else None, markersize=3.5, gid=f"trial {trial.index}",
        )  # fmt: skip
        if not values.holds(trial.value):
            axes.plot([1.0], [last], ">", color=_DARK, markersize=7, clip_on=False, zorder=4)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(last + 0.5, -0.5)
    axes.set_aspect("auto")
    axes.set_xticks([])
    axes.set_yticks(range(last + 1), [*map(_plain, results.dimensions), results.objective], fontsize=8.5)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(
        f"What trials tried, coloured by {results.objective} (validation data, lower is better)",
        fontsize=10,
        loc="left",
    )
    _caption(
        figure,
        f"The thick lines are the best {min(_NUM_BEST, len(ranked))}, those that finished before the others. The "
        "objective is that of the last measurement, which for trials that were stopped came earlier. "
        + _beyond(beyond),
        _not_shown(results, len(results.trials) - len(ranked)),
    )
    save_figure(figure, path)
    return figure


@dataclass(frozen=True, slots=True)
class _Row:
    """One dimension on a scale from 0 to 1: numbers, then levels, then the place of trials where it is not active.

    Attributes:
        scale: of its values.
        ticks: place → text.
        width: that the numbers take; 0 where there are none.
        places: label of a level → its place.
        inactive: place of trials where it is not active; None where it is active in all.
    """

    scale: Scale
    ticks: tuple[tuple[float, str], ...]
    width: float
    places: Mapping[str, float]
    inactive: float | None

    @staticmethod
    def of(name: str, trials: Sequence[TrialResult]) -> _Row:
        its = scale(name, [trial.point for trial in trials])
        gap = any(name not in trial.point for trial in trials)
        room = 1.0 - _SLOT * gap
        width, places = 0.0, {}
        if its.has_numbers:
            width = room - _SLOT * len(its.levels)
            places = {level: width + _SLOT * (index + 0.6) for index, level in enumerate(its.levels)}
        elif its.levels:
            places = {level: room * (index + 0.5) / len(its.levels) for index, level in enumerate(its.levels)}
        row = _Row(its, (), width, places, 1.0 - 0.4 * _SLOT if gap else None)
        ticks = [(place, level) for level, place in places.items()]
        if its.has_numbers:
            ticks += [(row.place_of(value), label(value)) for value in _tick_values(its, name, trials)]
        if row.inactive is not None:
            ticks.append((row.inactive, "not active"))
        return _Row(its, tuple(sorted(ticks)), width, places, row.inactive)

    def place_of(self, value: Any) -> float:
        number = self.scale.number(value)
        if number is None:
            return self.places[label(value)]
        low, high = self.scale.number(self.scale.low), self.scale.number(self.scale.high)
        assert low is not None and high is not None
        return self.width * ((number - low) / (high - low) if high > low else 0.5)

    def place(self, trial: TrialResult) -> float:
        # Lines through the same level are spread a little, always alike, so that they can be distinguished.
        spreading = ((trial.index * 0.618) % 1.0 - 0.5) * 0.05
        name = self.scale.dimension
        if name not in trial.point:
            assert self.inactive is not None
            return self.inactive + spreading
        value = trial.point[name]
        return self.place_of(value) + (spreading if self.scale.number(value) is None else 0.0)


def _tick_values(its: Scale, name: str, trials: Sequence[TrialResult]) -> list[float]:
    """All values where there are few, else both ends, and the decades or the middle between them."""
    different = sorted({t.point[name] for t in trials if name in t.point and its.number(t.point[name]) is not None})
    if len(different) <= 5:
        return different
    if its.log:
        decades = range(math.ceil(math.log10(its.low)), math.floor(math.log10(its.high)) + 1)
        return sorted({its.low, *(10.0**decade for decade in decades), its.high})
    return [its.low, (its.low + its.high) / 2, its.high]


def _draw_row(axes: Axes, index: int, row: _Row) -> None:
    ends = [row.width, *(place + 0.4 * _SLOT for place in row.places.values())] if row.scale.has_numbers else []
    ends = ends or ([1.0 - _SLOT * (row.inactive is not None)] if row.places else [])
    if ends:
        axes.plot([0.0, max(ends)], [index, index], color="#cccccc", linewidth=1.0, zorder=1)
    last = -1.0
    for place, text in row.ticks:
        if place - last > 0.07 or text == "not active":
            _tick(axes, place, index, text)
            last = place


def _tick(axes: Axes, place: float, row: int, text: str) -> None:
    axes.plot([place, place], [row - 0.07, row + 0.07], color="#888888", linewidth=1.0, zorder=1)
    axes.annotate(
        _plain(textwrap.shorten(text, 24, placeholder="…")), (place, row), xytext=(0, -6), textcoords="offset points",
        ha="center", va="top", fontsize=7.5, color=_DARK, zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- importance


def plot_importance(importance: Importance, path: Path) -> Figure | None:
    """Loss of R² for each dimension, with its interval, beside that of a dimension that does nothing.

    Args:
        importance: of the dimensions.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    effects = importance.effects
    if importance.probe is None or importance.fit is None:
        _remove(path)
        return None
    figure = new_figure(_WIDTH, 1.7 + 0.3 * max(3, len(effects)))
    axes = figure.add_subplot()
    for row, effect in enumerate(effects):
        colour = _BLUE if effect.clear else _GREY
        axes.barh([row], [effect.loss.mean], color=colour, height=0.6, zorder=2)
        axes.plot([effect.loss.low, effect.loss.high], [row, row], color=_DARK, linewidth=1.6, zorder=3)
    probe = importance.probe
    axes.axvspan(probe.low, probe.high, color=_ORANGE, alpha=0.25, linewidth=0, zorder=1)
    axes.axvline(
        probe.high,
        color=_ORANGE,
        linestyle="--",
        zorder=4,
        label="the probe's upper end: a dimension that does nothing",
    )
    axes.set_yticks(range(len(effects)), [_plain(effect.dimension) for effect in effects], fontsize=8.5)
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.set_xlabel("loss of R² when the dimension is shuffled (bars: mean; lines: 5 – 95 %)", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper left", fontsize=8.5, frameon=False)
    axes.set_title(f"{importance.target} (n = {importance.num_trials})", fontsize=10, loc="left")
    _caption(figure, importance.verdict, "Grey: not distinguishable from nothing.")
    save_figure(figure, path)
    return figure


def plot_interactions(importance: Importance, path: Path) -> Figure | None:
    """Excess of shuffling two dimensions together, for pairs of the most important ones.

    Args:
        importance: of the dimensions.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    if not importance.interactions:
        _remove(path)
        return None
    names = [effect.dimension for effect in importance.effects[:MOST_PAIRED]]
    place = {name: index for index, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    for pair in importance.interactions:
        values[max(place[pair.one], place[pair.other]), min(place[pair.one], place[pair.other])] = pair.excess.mean
    # What is small stays pale, whatever the largest is.
    reach = max(0.2, float(np.nanmax(np.abs(values))))
    figure = new_figure(_WIDTH, 1.9 + 0.55 * len(names))
    axes = figure.add_subplot()
    shown = axes.imshow(values[1:, :-1], cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    for pair in importance.interactions:
        row, column = sorted((place[pair.one], place[pair.other]), reverse=True)
        excess = pair.excess
        axes.text(
            column, row - 1, f"{excess.mean:+.2f}{' ●' if pair.clear else ''}\n[{excess.low:+.2f}, {excess.high:+.2f}]",
            ha="center", va="center", fontsize=8, fontweight="bold" if pair.clear else "normal",
            color="white" if abs(excess.mean) > 0.7 * reach else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(names) - 1), [_broken(name) for name in names[:-1]], fontsize=8)
    axes.set_yticks(range(len(names) - 1), [_broken(name) for name in names[1:]], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(shown, ax=axes, label="excess loss of R²", fraction=0.05)
    axes.set_title(f"Pairs shuffled together less one by one: {importance.target}", fontsize=10, loc="left")
    _caption(
        figure,
        "Below 0: the effect of one depends on the other. 0: both add up. Above 0: one can stand in for the other. "
        "● the interval (5 – 95 %) excludes 0 and what a dimension that does nothing has.",
        "" if any(pair.clear for pair in importance.interactions) else "No pair does.",
    )
    save_figure(figure, path)
    return figure


# -------------------------------------------------------------------------------------------------- final race


def plot_race(results: SweepResults, verdict: Verdict, path: Path) -> Figure | None:
    """Each entrant of the final race on test data: every seed, mean and 95 % t interval.

    Args:
        results: of the sweep.
        verdict: on its final race.
        path: PNG to write.

    Returns:
        The figure, already saved; None where there is nothing to draw, and then there is no file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    rows: list[tuple[str, Kind, Mapping[int, float]]] = []
    for entry in verdict.entries:
        if entry.temperature is not None:
            rows.append((_at_temperature(entry), entry.kind, entry.test_by_seed))
        if entry.entrant == BASELINE and entry.temperature not in (None, 1.0) and entry.as_trained_by_seed:
            rows.append((f"{BASELINE} (τ=1)", entry.kind, entry.as_trained_by_seed))
    if not rows:
        _remove(path)
        return None
    across = _race_range(rows)
    figure = new_figure(_WIDTH, 1.9 + 0.42 * len(rows))
    axes = figure.add_subplot()
    axes.set_xlim(across.limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    seeds = sorted({final.seed for final in results.finals})
    for row, (_, kind, by_seed) in enumerate(rows):
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
        _draw_entrant(axes, row, kind, by_seed, across, seeds)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=9)
    for tick, (_, kind, _) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(_KINDS[kind][0])
    axes.set_xlabel(_objective_label(results, "test data"), fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if named:
        names = [f"{kind}: mean and 95 % interval" for kind in named]
        figure.legend(named.values(), names, loc="outside upper center", fontsize=8.5, frameon=False, ncols=3)
    values = [value for _, _, by_seed in rows for value in by_seed.values() if not value < across.low]
    _caption(
        figure,
        "In the order of validation data, by which τ was chosen too. Small dots: seeds, each at its own height. What "
        "seeds have in common widens these intervals and not those of the differences, which are paired.",
        _beyond(sum(not across.holds(value) for value in values), "results"),
        "No mean where a seed is not finite." if not all(map(math.isfinite, values)) else "",
    )
    save_figure(figure, path)
    return figure


def _race_range(rows: Sequence[tuple[str, Kind, Mapping[int, float]]]) -> _Range:
    """Of all but ceilings: one that is farther below than the others are wide would squash what is to be compared."""
    ceiling = [value for _, kind, by_seed in rows if kind == "ceiling" for value in by_seed.values()]
    others = [value for _, kind, by_seed in rows if kind != "ceiling" for value in by_seed.values()]
    its = _Range.of(others or ceiling)
    near = [value for value in ceiling if value >= its.low - its.size]
    return _Range(min([its.low, *near]), its.high, its.cut) if len(near) == len(ceiling) else its


def _draw_entrant(
    axes: Axes, row: int, kind: Kind, by_seed: Mapping[int, float], across: _Range, seeds: Sequence[int]
) -> None:
    colour, marker = _KINDS[kind]
    left, right = across.limits
    finite = [value for value in by_seed.values() if math.isfinite(value)]
    if finite and min(finite) < across.low:
        axes.annotate(
            f"◀ {spread(finite)}, left of this axis", (left, row), xytext=(6, 0), textcoords="offset points",
            color=colour, va="center", fontsize=9,
        )  # fmt: skip
        return
    for seed, value in by_seed.items():
        # A seed has the same height in each row.
        height = row + 0.5 * ((seeds.index(seed) + 0.5) / len(seeds) - 0.5)
        outside = not across.holds(value)
        axes.plot(
            [across.clip(value)], [height], ">" if outside else "o", color=_DARK if outside else colour,
            markersize=7 if outside else 4, alpha=1.0 if outside else 0.55, clip_on=False, zorder=2,
        )  # fmt: skip
    # A mean of the seeds that did not break would flatter.
    if not finite or len(finite) < len(by_seed):
        return
    its = interval(finite)
    if its.low is not None and its.high is not None:
        axes.plot([max(its.low, left), min(its.high, right)], [row, row], color=colour, linewidth=2.2, zorder=3)
    axes.plot(
        [across.clip(its.mean)], [row], marker, color=colour, markersize=15 if marker == "*" else 9,
        markeredgecolor="white", zorder=4, linestyle="none", label=kind,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ helpers


@dataclass(frozen=True, slots=True)
class _Range:
    """What an axis shows: all values, or those up to Tukey's outer fence where some lie beyond.

    Attributes:
        low: least value.
        high: greatest that is shown.
        cut: whether some lie above; what is not finite counts as above.
    """

    low: float
    high: float
    cut: bool

    @staticmethod
    def of(values: Iterable[float]) -> _Range:
        given = list(values)
        finite = [value for value in given if math.isfinite(value)]
        if not finite:
            return _Range(0.0, 1.0, bool(given))
        first, third = np.percentile(finite, (25, 75))
        inside = [value for value in finite if value <= third + 3 * (third - first)]
        return _Range(min(finite), max(inside), len(inside) < len(given))

    @property
    def size(self) -> float:
        return self.high - self.low or 1.0

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def clip(self, value: float) -> float:
        """The value where it is shown: what lies above, or is not finite, a little above the end."""
        return value if self.holds(value) else self.high + 0.06 * self.size

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end and above, for what is not finite too."""
        if not self.holds(value):
            return 1.0
        return (value - self.low) / self.size if self.high > self.low else 0.5

    def at(self, share: float) -> float:
        return self.low + share * (self.high - self.low)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the axis: at the marks of what lies above, if there are any, else with some room."""
        room = 0.08 * self.size
        return self.low - room, self.clip(math.inf) if self.cut else self.high + room


def _at_temperature(entry: Entry) -> str:
    name = _plain(entry.entrant)
    return name if entry.temperature is None else f"{name} (τ={entry.temperature:g})"


def _objective_label(results: SweepResults, split: str) -> str:
    return f"{results.objective}, nats per token ({split}, lower is better)"


def _beyond(number: int, what: str = "trials") -> str:
    return f"{number} {what} lie beyond the axes or are not finite: dark triangles." if number else ""


def _not_shown(results: SweepResults, number: int) -> str:
    states = Counter(trial.state for trial in results.trials if not trial.curve)
    if not number:
        return "" if results.trials else "There were no trials."
    return f"{number} trials were never measured ({', '.join(f'{count} {state}' for state, count in states.items())})."


def _caption(figure: Figure, *sentences: str) -> None:
    text = _plain(" ".join(sentence.strip() for sentence in sentences if sentence.strip()))
    if text:
        figure.supxlabel(textwrap.fill(text, 126), x=0.01, ha="left", fontsize=8, color=_DARK)


def _remove(path: Path) -> None:
    """A picture that was drawn when there was something to draw is of another time."""
    path.unlink(missing_ok=True)


def _broken(name: str) -> str:
    """A dotted name over several lines."""
    return _plain(name).replace(".", ".\n")


def _plain(text: str) -> str:
    """Somebody's text as it is: a pair of dollar signs would be read as mathematics."""
    return printable(text).replace("$", r"\$")
