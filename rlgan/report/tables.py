"""Tables and pictures from plain data; nothing here trains, measures or tracks."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rlgan.base.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MISSING = "–"
_DOTS_PER_INCH = 120

# ------------------------------------------------------------------------------------------------------ tables


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int = 3) -> str:
    """An aligned text table.

    Args:
        rows: values by column; numbers are right-aligned with fixed decimals, what is missing is shown as "–".
        columns: in order; the first is left-aligned.
        decimals: of floats.

    Returns:
        Lines without a final newline: header, rule, rows.
    """
    texts = cells(rows, columns, decimals)
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in texts]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def to_markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int = 3) -> str:
    """The same table as `format_table`, for a Markdown document."""
    header, *body = ([cell.replace("|", "\\|") for cell in line] for line in cells(rows, columns, decimals))
    alignment = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, alignment, *body))


def write_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write a table to a file, in the form that its suffix names.

    `.txt` and `.md` are for reading. `.csv` holds the columns, and `.json` everything in the rows, to the last digit;
    what is missing is empty in the one and null in the other, and NaN likewise.

    Args:
        rows: values by column.
        columns: in order.
        path: ends in one of the four.

    Raises:
        CheckpointError: the disk is full or cannot be written.
        KeyError: another suffix.
    """
    text = {".txt": format_table, ".md": to_markdown, ".csv": _csv, ".json": _json}[path.suffix](rows, columns)
    write_atomically(path, lambda beside: beside.write_text(text.rstrip("\n") + "\n", encoding="utf-8"))


def cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int) -> list[list[str]]:
    """The header and each row as texts: floats with fixed decimals, "–" for what is missing."""

    def cell(value: Any) -> str:
        if value is None:
            return _MISSING
        return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

    return [list(columns), *([cell(row.get(column)) for column in columns] for row in rows)]


def printable(text: str) -> str:
    """A text without characters that a terminal obeys or a font lacks; line ends stay."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_finite(row.get(column)) for column in columns] for row in rows)
    return file.getvalue()


def _json(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    plain = [{name: _finite(value) for name, value in row.items()} for row in rows]
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------------------------------------------------ curves


@dataclass(frozen=True)
class _Panel:
    """A small multiple: what is drawn in it, in which unit, and the value that a guess would have."""

    title: str
    unit: str
    curves: Mapping[str, tuple[str, ...]]  # label → its name in each phase
    chance: float | None = None


def _measured(*names: str) -> tuple[str, ...]:
    return tuple(f"{phase}/{name}" for name in names for phase in ("mle", "eval"))


def _discriminator(name: str) -> tuple[str, ...]:
    return (f"discriminator_pretraining/{name}", f"discriminator/{name}")


_PANELS = (
    _Panel(
        "Likelihood",
        "nats per token",
        {
            "MLE, train": ("mle/train_nll",),
            "MLE, valid": ("mle/valid_nll",),
            "NLL_gen": _measured("nll_gen"),
            "NLL_gen, upper bound": _measured("nll_gen_bound"),
            "NLL_oracle": _measured("nll_oracle"),
        },
    ),
    _Panel(
        "KL gaps to the oracle",
        "nats per token",
        {"forward: coverage": _measured("kl_forward"), "reverse: quality": _measured("kl_reverse")},
    ),
    _Panel(
        "BLEU",
        "share",
        {
            "BLEU-2": _measured("bleu_2"),
            "BLEU-4": _measured("bleu_4"),
            "Self-BLEU-2": _measured("self_bleu_2"),
            "Self-BLEU-4": _measured("self_bleu_4"),
        },
    ),
    _Panel(
        "Discriminator accuracy",
        "share",
        {
            "held-out": _discriminator("accuracy_heldout"),
            "training, fakes": _discriminator("accuracy_fake"),
            "training, reals": _discriminator("accuracy_real"),
        },
        chance=0.5,
    ),
    _Panel(
        "Discriminator loss",
        "units of its loss",
        {"training": _discriminator("loss"), "held-out reals, of a language model": _discriminator("nll_heldout")},
    ),
    _Panel(
        "Value of a token",
        "reward units",
        {"mean": ("generator/mean_value",), "standard deviation of advantages": ("generator/advantage_std",)},
    ),
    _Panel("Entropy of the generator", "nats per token", {"on its rollouts": ("generator/entropy",)}),
)
_PHASES = {
    "mle": ("MLE", "#dbe9f6"),
    "discriminator": ("discriminator pretraining", "#fde6cd"),
    "adversarial": ("adversarial", "#eef3ea"),
}


def plot_learning_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> Figure:
    """Write `learning_curves` to a file.

    Args:
        rows: of metrics.jsonl: "iteration", "phase", "metrics".
        path: PNG to write.

    Returns:
        The figure, already saved.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    figure = learning_curves(rows)
    save_figure(figure, path)
    return figure


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Small multiples over the iterations of a run, its phases shaded; a panel for whatever was logged.

    Args:
        rows: of metrics.jsonl: "iteration", "phase", "metrics".
    """
    rows = [row for row in rows if row["iteration"] is not None]
    logged = {name for row in rows for name, value in row["metrics"].items() if value is not None}
    panels = [panel for panel in _PANELS if logged & {name for names in panel.curves.values() for name in names}]
    num_columns = min(2, max(1, len(panels)))
    num_lines = max(1, -(-len(panels) // num_columns))
    figure = new_figure(6.5 * num_columns, 3.1 * num_lines + 0.4)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(num_lines, num_columns, index + 1)
        _shade_phases(axes, rows)
        _draw_curves(axes, panel, rows)
        axes.set_title(panel.title, fontsize=10, loc="left")
        axes.set_ylabel(panel.unit, fontsize=8)
        if index >= len(panels) - num_columns:
            axes.set_xlabel("iterations: epochs, discriminator rounds, adversarial iterations", fontsize=8)
    if panels:
        phases, names = figure.axes[0].get_legend_handles_labels()
        known = [name for name, _ in _PHASES.values()]
        shown = [(phase, name) for phase, name in zip(phases, names, strict=True) if name in known]
        figure.legend(*zip(*shown, strict=True), loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    else:
        figure.text(0.5, 0.5, "this run logged none of the curves that are drawn here", ha="center", va="center")
    return figure


def _shade_phases(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    start = 0
    for phase, (name, colour) in _PHASES.items():
        done = [row["iteration"] for row in rows if row["phase"] == phase]
        if done:
            axes.axvspan(start, max(done), color=colour, zorder=0, linewidth=0, label=name)
            start = max(done)
    axes.set_xlim(0, max(start, 1))


def _draw_curves(axes: Axes, panel: _Panel, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    lines = []
    for label, names in panel.curves.items():
        points = [
            (row["iteration"], row["metrics"][name])
            for row in rows
            for name in names
            if row["metrics"].get(name) is not None
        ]
        if points:
            marker = "." if len(points) < 40 else None
            lines += axes.plot(*zip(*points, strict=True), label=label, linewidth=1.4, marker=marker, clip_on=False)
    if panel.chance is not None:
        lines.append(axes.axhline(panel.chance, color="#888888", linewidth=1.0, linestyle=":", label="chance"))
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(handles=lines, fontsize=8)


# ------------------------------------------------------------------------------------------------------ plane

PLANES = (("kl_reverse", "kl_forward"), ("chrf", "nll_gen"), ("lm_lstm", "rlm_lstm"), ("lm_5gram", "rlm_5gram"))
"""Pairs of quality and coverage, lower is better in all but chrF; the first that was measured is looked at.

Of pairs a language model scores the answers alone, so chrF comes first."""
UPRIGHT_LETTERS = 70
"""That fit beside the vertical axis of a plane in a line."""
_LABEL_DISTANCES = (9.0, 17.0, 29.0, 44.0)  # points
_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))


def plot_quality_diversity(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    path: Path,
    own: str | None = None,
    axis_name: Callable[[str], str] = str,
) -> Figure:
    """The final table as a plane, with the curve that maximum likelihood draws by its temperature alone.

    A generator is of interest where it lies off that curve on the better side, not where it lies along it.

    Args:
        rows: of the final table; those whose name begins with "MLE" make the curve, ordered by temperature. A row with
            a finite number for the horizontal axis alone is an upright line, any other without both is left out.
        x: column of the horizontal axis.
        y: column of the vertical axis.
        path: PNG to write.
        own: how the names of the run's own rows end, which make a curve by temperature too; None draws points alone.
        axis_name: column → what its axis is named.

    Returns:
        The figure, already saved.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    rows = [row for row in rows if _finite(row.get(x)) is not None]
    uprights = [row for row in rows if _finite(row.get(y)) is None]
    rows = [row for row in rows if row not in uprights]
    curve = sorted((row for row in rows if str(row["name"]).startswith("MLE")), key=lambda row: -row["temperature"])
    ours = [row for row in rows if own is not None and str(row["name"]).endswith(own)]
    cooled = [row for row in ours if row["temperature"] != 1.0]
    others = [row for row in rows if row not in curve and row not in cooled and row.get("temperature") in (None, 1.0)]
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    axes.plot(
        [row[x] for row in curve], [row[y] for row in curve], "o-", color="#888888", label="MLE start, by temperature τ"
    )
    labels = [(f"τ={row['temperature']:g}", row[x], row[y], "#666666") for row in curve]
    markers = "sD^vP*X"
    for index, row in enumerate(others):
        marker, colour = markers[index % len(markers)], f"C{index % 10}"
        axes.plot([row[x]], [row[y]], marker, markersize=9, color=colour, zorder=3)
        labels.append((str(row["name"]), row[x], row[y], colour))
        own_curve = [one for one in rows if one["name"] == f"{row['name']} τ={one['temperature'] or 0:g}"]
        if own_curve:
            own_curve = sorted([*own_curve, row], key=lambda one: -one["temperature"])
            axes.plot([one[x] for one in own_curve], [one[y] for one in own_curve], ":", color=colour, linewidth=1.0)
        if cooled and row in ours:
            whole = sorted(ours, key=lambda one: -one["temperature"])
            xs, ys = [one[x] for one in whole], [one[y] for one in whole]
            axes.plot(xs, ys, ".--", color=colour, label="this run, by temperature τ")
            labels += [(f"τ={one['temperature']:g}", one[x], one[y], colour) for one in cooled]
    for row in uprights:
        axes.axvline(row[x], color="#888888", linestyle=":", label=str(row["name"]))
    axes.set_xlabel(axis_name(x))
    axes.set_ylabel(fill(axis_name(y), UPRIGHT_LETTERS))
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    if curve:
        figure.legend(loc="outside upper center", fontsize=9, frameon=False, ncols=2 if cooled else 1 + len(uprights))
    label_points(axes, labels, [(row[x], row[y]) for row in curve])
    save_figure(figure, path)
    return figure


def label_points(
    axes: Axes,
    labels: Sequence[tuple[str, float, float, str]],
    curve: Sequence[tuple[float, float]],
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a name beside each point, where it covers neither text, point nor curve if there is room.

    Args:
        axes: with its limits and whatever is drawn beside it, for the layout is fixed here.
        labels: (text, x, y, colour) of each point.
        curve: that is avoided.
        others: points without a name that are avoided.
    """
    import numpy as np
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # fixes the layout, and with it where a point is in pixels
    pixels_a_point = figure.dpi / 72.0
    to_pixels = axes.transData.transform
    points = to_pixels([(px, py) for _, px, py, _ in labels]) if labels else np.empty((0, 2))
    corners = to_pixels(curve) if curve else np.empty((0, 2))
    # A curve is avoided as the dots that would draw it.
    dots = [start + (end - start) * share for start, end in pairwise(corners) for share in np.linspace(0, 1, 60)]
    unnamed = to_pixels(others) if others else np.empty((0, 2))
    obstacles = np.array([*points, *dots, *unnamed]).reshape(-1, 2)
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    for (text, px, py, colour), at in zip(labels, points, strict=True):
        label = axes.annotate(
            text, (px, py), xytext=(0, 0), textcoords="offset points", fontsize=8.5, color=colour, zorder=4,
        )  # fmt: skip
        size = label.get_window_extent()
        choices = []
        for distance in _LABEL_DISTANCES:
            for right, up in _DIRECTIONS:
                reach = distance / math.hypot(right, up)
                left = at[0] + right * reach * pixels_a_point - (1 - right) / 2 * size.width
                bottom = at[1] + up * reach * pixels_a_point - (1 - up) / 2 * size.height
                box = Bbox.from_bounds(left, bottom, size.width, size.height)
                covered = sum(_overlap(box, other) for other in taken)
                beyond = size.width * size.height - _overlap(box, inside)
                hidden = box.padded(2.0).count_contains(obstacles)
                choices.append((covered + beyond + 30.0 * hidden + distance, left, bottom, distance, box))
        _, left, bottom, distance, box = min(choices, key=lambda choice: choice[0])
        taken.append(box)
        label.xyann = ((left - at[0]) / pixels_a_point, (bottom - at[1]) / pixels_a_point)
        if distance > _LABEL_DISTANCES[1]:
            axes.annotate(
                "", (px, py), xytext=((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), textcoords="figure pixels",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 4, "alpha": 0.6},
            )  # fmt: skip


def _overlap(one: Any, other: Any) -> float:
    """Area that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, apart from pyplot, which would keep it and choose a window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from .picture import Picture

    figure = Picture(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Args:
        figure: of `new_figure`.
        path: of the file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    write_atomically(path, lambda beside: figure.savefig(beside, format="png"))
