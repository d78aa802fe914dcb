"""Runs of an MLflow server side by side: a table, curves, and one page that holds both. Runs of strangers too.

A run of ours tells at its end what it is to be compared with: real data, its own start at several temperatures, and its
controls (`rlgan.runs.comparison`). Those rows come along, for a run alone shows nothing. Of any other run the last
value of each metric is shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

from rlgan.base.errors import CheckpointError
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.quantities import axis_name, known_quantity, sign_of
from rlgan.extensions import reading_a_folder
from rlgan.metrics.quantity import legend_of
from rlgan.report.final_table import FIRST, SHOWN_SAMPLES, TABLE, in_order, slug
from rlgan.report.html import Block, Paragraph, Picture, Section, Table, write_html
from rlgan.report.narrow import MOST_COLUMNS, fitting_table, stacked_tables, wrapped
from rlgan.report.samples import Written, sample_tables, sample_text
from rlgan.report.tables import PLANES, UPRIGHT_LETTERS, new_figure, printable, save_figure
from rlgan.tracking import LoggedRun, history, read_table

OURS = "this run"
_FINAL = re.compile(r"final/([^/]+)/(.+)")
_TEMPERATURE = re.compile(r"MLE_tau_([0-9.]+)")
_OWN_TEMPERATURE = re.compile(r"this_run_tau_([0-9.]+)")
_ANY_TEMPERATURE = re.compile(r"(.+)_tau_([0-9.]+)")
_PLANES = (*PLANES, ("bleu_4", "nll_gen"))
_OWN_METRICS = "evaluation.metrics"
_MOST_CURVES = 12
_MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Runs, as they are shown.

    Attributes:
        names: of the runs, each different.
        runs: as the server has them, in the same order.
        differing: parameter → what each run has, None where it has none; those that two runs have and differ in.
        rows: of the table: "run", "row", and name → value.
        columns: of the table, in order; not all of a stranger's many.
        curves: metric → name of run → (step, value).
        verdicts: name of run → what it says of itself beside its controls; runs that say nothing are missing.
        samples: of the runs that have some, beside real sequences.
    """

    names: tuple[str, ...]
    runs: tuple[LoggedRun, ...]
    differing: Mapping[str, tuple[str | None, ...]]
    rows: tuple[Mapping[str, Any], ...]
    columns: tuple[str, ...]
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
    verdicts: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[Written, ...] = ()


def side_by_side(runs: Sequence[LoggedRun]) -> SideBySide:
    """Put runs beside each other.

    Args:
        runs: at least one.

    Raises:
        TrackingError: the server cannot be reached, or no longer has a run.
    """
    names = _distinct_names(runs)
    rows = [row for name, run in zip(names, runs, strict=True) for row in _rows(name, run)]
    found = {name for row in rows for name in row if name not in ("run", "row")}
    columns = in_order(list(found))
    return SideBySide(
        names=tuple(names),
        runs=tuple(runs),
        differing=_differing(runs),
        rows=tuple(rows),
        columns=tuple(columns[:_MOST_COLUMNS]),
        curves=_curves(names, runs),
        verdicts={name: run.tags["verdict"] for name, run in zip(names, runs, strict=True) if "verdict" in run.tags},
        samples=tuple(filter(None, map(_samples, names, runs))),
    )


def table_text(shown: SideBySide, columns: int = MOST_COLUMNS) -> str:
    """For a terminal: what the runs differ in, as much of the table as fits, what they say of themselves, samples.

    Args:
        shown: what it shows.
        columns: of a line.
    """
    blocks = []
    if shown.differing:
        rows = [
            {"parameter": name, **dict(zip(shown.names, values, strict=True))}
            for name, values in shown.differing.items()
        ]
        blocks.append(stacked_tables(rows, ("parameter", *shown.names), most=columns))
    own = _own_metrics(shown.runs)
    headers = {name: name + sign_of(name, own) for name in shown.columns}
    table, left_out = fitting_table(shown.rows, ("run", "row", *shown.columns), columns, headers=headers, num_names=2)
    if left_out:
        table += "\n" + wrapped(f"Also measured, on the page: {', '.join(left_out)}.", columns)
    known = [one for name in shown.columns if name not in left_out and (one := known_quantity(name, own)) is not None]
    blocks.append("\n".join(filter(None, [table, wrapped(legend_of(known), columns)])))
    blocks += [wrapped(printable(f"{name}: {verdict}"), columns) for name, verdict in shown.verdicts.items()]
    if shown.samples:
        blocks.append(sample_text(shown.samples, columns))
    return "\n\n".join(blocks)


def write_side_by_side(shown: SideBySide, path: Path) -> None:
    """Write the page.

    Args:
        shown: what it shows.
        path: of the file; it needs no other.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    with TemporaryDirectory(prefix="rlgan-") as temporary:
        sections = [
            Section("Runs", [_runs_table(shown), *_differences(shown)]),
            *([Section("Verdict of each run", _verdicts(shown))] if shown.verdicts else []),
            *([Section("Samples", _samples_shown(shown))] if shown.samples else []),
            Section("Last measurements", [*_reading(), _table(shown)]),
        ]
        for x, y in _PLANES:
            if _plot_plane(shown, x, y, Path(temporary) / f"{x}.png"):
                alt = f"Scatter plot of all rows of the table: {x} and {y}."
                caption = (
                    "Points of one run have the same colour. The solid line is its maximum-likelihood start at "
                    "several temperatures, the dashed line the run itself."
                )
                sections.append(Section("Quality and coverage", [Picture(Path(temporary) / f"{x}.png", alt, caption)]))
        if _plot_curves(shown, Path(temporary) / "curves.png"):
            alt = f"Curves of {', '.join(shown.curves)} by step, a line for each run."
            sections.append(Section("Curves", [Picture(Path(temporary) / "curves.png", alt)]))
        write_html(f"{len(shown.runs)} runs side by side: {', '.join(shown.names)}", sections, path)


# ------------------------------------------------------------------------------------------------------- reading


def _distinct_names(runs: Sequence[LoggedRun]) -> list[str]:
    """The runs' names, with their ids where two are alike."""
    names = [run.name or run.run_id for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.run_id[:8]})" for name, run in zip(names, runs, strict=True)
    ]


def _rows(name: str, run: LoggedRun) -> list[dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for metric, value in run.metrics.items():
        if (parts := _FINAL.fullmatch(metric)) is not None:
            row, column = parts.groups()
            table.setdefault(row, {"run": name, "row": row.replace("_", " ")})[column] = value
    # Metrics are a summary of the table; of runs of older versions they are all of it.
    if table and "real_data" not in table and (whole := read_table(run, TABLE)) is not None:
        table = {slug(row): _named(name, row) for row in whole}
    if not table:  # a run that has not ended, or a stranger's
        last = {metric.removeprefix("eval/"): value for metric, value in run.metrics.items()}
        return [{"run": name, "row": "last values", **last}]
    own = table.pop("this_run", None)
    return [*table.values(), *([] if own is None else [own])]


def _named(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the whole table, without what JSON could not hold."""
    values = {
        key: float(value) for key, value in row.items() if key not in ("name", "temperature") and value is not None
    }
    return {"run": name, "row": slug(row).replace("_", " "), **values}


def _samples(name: str, run: LoggedRun) -> Written | None:
    """What a run wrote at its end; None of a stranger's, or of one that kept none."""
    if not any(_FINAL.fullmatch(metric) for metric in run.metrics):
        return None
    rows = read_table(run, SHOWN_SAMPLES)
    if not rows:
        return None
    texts = tuple(str(row["generated"]) for row in rows)
    real = tuple(str(row["real"]) for row in rows if "real" in row)
    return Written(name, texts, real, tuple(str(row["source"]) for row in rows if "source" in row))


def _differing(runs: Sequence[LoggedRun]) -> dict[str, tuple[str | None, ...]]:
    if len(runs) == 1:
        return {}
    params = dict.fromkeys(name for run in runs for name in run.params)
    found = {name: tuple(run.params.get(name) for run in runs) for name in params}
    # What one run alone has tells them apart by a hundred lines and no insight, if the runs are of two kinds.
    return {name: values for name, values in found.items() if len(set(values) - {None}) > 1}


def _curves(names: Sequence[str], runs: Sequence[LoggedRun]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Metrics with more than one step; those of most runs first, and of those the ones that decide."""
    wanted = {metric for run in runs for metric in run.metrics if not metric.startswith(("final/", "timing/"))}
    wanted = {metric for metric in wanted if "timing/" not in metric}

    def rank(metric: str) -> tuple[int, int, str]:
        plain = metric.removeprefix("eval/")
        first = FIRST.index(plain) if metric.startswith("eval/") and plain in FIRST else len(FIRST)
        return -sum(metric in run.metrics for run in runs), first, metric

    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    chosen = sorted(wanted, key=rank)[: 2 * _MOST_CURVES]
    found = [history(run, [metric for metric in chosen if metric in run.metrics]) for run in runs]
    for metric in chosen:
        points_of = {name: curve.get(metric, []) for name, curve in zip(names, found, strict=True)}
        lines = {name: points for name, points in points_of.items() if len({step for step, _ in points}) > 1}
        if lines and len(curves) < _MOST_CURVES:
            curves[metric] = lines
    return curves


def _own_metrics(runs: Sequence[LoggedRun]) -> list[OwnMetric]:
    """Metrics of one's own that runs measured, as far as their parameters tell; none that two runs read differently."""
    found: dict[str, list[OwnMetric]] = {}
    for run in runs:
        try:
            with reading_a_folder():  # nothing of a stranger's run is executed
                for one in json.loads(run.params.get(_OWN_METRICS, "[]")):
                    metric = OwnMetric.model_validate(one)
                    found.setdefault(metric.figure, []).append(metric)
        except (ValueError, TypeError, CheckpointError):  # cut by the server, or of another program
            continue
    return [
        metrics[0]
        for metrics in found.values()
        if len({(one.direction, tuple(sorted(one.directions.items())), one.unit) for one in metrics}) == 1
    ]


# ------------------------------------------------------------------------------------------------------- showing


def _runs_table(shown: SideBySide) -> Table:
    rows = [
        {
            "run": name,
            "experiment": run.experiment,
            "status": run.status.lower(),
            "preset": run.tags.get("preset"),
            "seed": run.tags.get("seed"),
            "commit": (run.tags.get("git_commit") or "")[:10] or None,
            "id": run.run_id,
        }
        for name, run in zip(shown.names, shown.runs, strict=True)
    ]
    return Table(rows, ("run", "experiment", "status", "preset", "seed", "commit", "id"), "As stored on the server.")


def _differences(shown: SideBySide) -> list[Block]:
    if len(shown.runs) == 1:
        return []
    if not shown.differing:
        return [Paragraph("All parameters are equal in all runs.")]
    rows = [
        {"parameter": parameter, **dict(zip(shown.names, values, strict=True))}
        for parameter, values in shown.differing.items()
    ]
    return [Table(rows, ("parameter", *shown.names), "Parameters that differ.")]


def _verdicts(shown: SideBySide) -> list[Block]:
    return [Paragraph(f"{name}: {verdict}") for name, verdict in shown.verdicts.items()]


def _samples_shown(shown: SideBySide) -> list[Block]:
    caption = "Samples of each run at τ=1, of its own end; beside sequences of the test split"
    return [*sample_tables(shown.samples, caption)]


def _table(shown: SideBySide) -> Table:
    own = _own_metrics(shown.runs)
    signs = {name: name + sign_of(name, own) for name in shown.columns}
    known = [one for name in shown.columns if (one := known_quantity(name, own)) is not None]
    rows = [{signs.get(name, name): value for name, value in row.items()} for row in shown.rows]
    return Table(rows, ("run", "row", *signs.values()), legend_of(known), num_names=2)


def _reading() -> list[Block]:
    return [
        Paragraph(
            "Compare each run with its own rows: real data, its maximum-likelihood start and its controls, each at "
            "several temperatures. Each row is one run with one seed, so a difference between two rows may be "
            "chance."
        )
    ]


def _plot_plane(shown: SideBySide, x: str, y: str, path: Path) -> bool:
    """A plane of all rows that have both numbers; False, and no file, where less than two have."""
    rows = [row for row in shown.rows if _is_finite(row.get(x)) and _is_finite(row.get(y))]
    if len(rows) < 2:
        return False
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    for index, name in enumerate(shown.names):
        colour, own = f"C{index % 10}", [row for row in rows if row["run"] == name]
        for temperature, style in ((_temperature, ".-"), (_own_temperature, ".--")):
            curve = sorted(
                (row for row in own if temperature(row) is not None), key=lambda row: -(temperature(row) or 0)
            )
            axes.plot(
                [row[x] for row in curve], [row[y] for row in curve], style, color=colour, alpha=0.5, linewidth=1.0
            )
        for row in own:
            if row["row"] == OURS or row["row"] == "last values":
                axes.plot([row[x]], [row[y]], "*", markersize=14, color=colour, label=name, zorder=3)
            elif _temperature(row) is not None or _own_temperature(row) is not None:
                continue
            elif _ANY_TEMPERATURE.fullmatch(str(row["row"]).replace(" ", "_")) is not None:
                axes.plot([row[x]], [row[y]], ".", markersize=3, color=colour, alpha=0.5)
            else:
                axes.plot([row[x]], [row[y]], "s", markersize=5, color=colour)
                axes.annotate(row["row"], (row[x], row[y]), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel(axis_name(x))
    axes.set_ylabel(fill(axis_name(y), UPRIGHT_LETTERS))
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", fontsize=8, frameon=False, ncols=2)
    save_figure(figure, path)
    return True


def _temperature(row: Mapping[str, Any]) -> float | None:
    """Of a row of the maximum-likelihood start."""
    return _temperature_in(row, "MLE start", _TEMPERATURE)


def _own_temperature(row: Mapping[str, Any]) -> float | None:
    """Of a row of the run itself."""
    return _temperature_in(row, OURS, _OWN_TEMPERATURE)


def _temperature_in(row: Mapping[str, Any], name_at_1: str, pattern: re.Pattern[str]) -> float | None:
    if row["row"] == name_at_1:
        return 1.0
    found = pattern.fullmatch(str(row["row"]).replace(" ", "_"))
    return None if found is None else float(found.group(1))


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _plot_curves(shown: SideBySide, path: Path) -> bool:
    """A panel for each metric, a line for each run; False, and no file, where nothing has a curve."""
    if not shown.curves:
        return False
    lines = -(-len(shown.curves) // 2)
    figure = new_figure(13.0 if len(shown.curves) > 1 else 6.5, 2.8 * lines + 0.5)
    for index, (metric, runs) in enumerate(shown.curves.items()):
        axes = figure.add_subplot(lines, min(2, len(shown.curves)), index + 1)
        for name, points in runs.items():
            colour = f"C{shown.names.index(name) % 10}"
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, label=name)
        axes.set_title(metric, fontsize=10, loc="left")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if index >= len(shown.curves) - 2:
            axes.set_xlabel("step", fontsize=8)
    handles = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    save_figure(figure, path)
    return True
