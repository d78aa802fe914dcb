"""What a run says at its end: the rows that matter, samples beside real sequences, the verdict, where the rest lies.

It fits a terminal. The whole table is in the run's folder (`publishing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgan.evaluation.quantities import is_users_own
from rlgan.evaluation.shown_samples import Beside
from rlgan.evaluation.verdict import START, Verdict
from rlgan.metrics.quantity import legend_of
from rlgan.report.final_table import CEILINGS, OWN, TABLE, best_control, is_start, main_row
from rlgan.report.narrow import MOST_COLUMNS, fitting_table, wrapped
from rlgan.report.samples import Written, sample_text

from .compared import FEWEST_SAMPLES, Comparison

_MOST_ROWS = 5
_LINES_OF_TEXT = 3  # of a sample; tokens without meaning have one
_NAMES = ("row", "τ")
_WHERE = 13  # columns of what is named before where it lies


@dataclass(frozen=True, slots=True)
class Row:
    """A row that matters.

    Attributes:
        label: what it is of, in words.
        values: the row of the table.
    """

    label: str
    values: Mapping[str, Any]

    @property
    def temperature(self) -> str | None:
        """As it is shown; None of real data."""
        value = self.values["temperature"]
        return None if value is None else f"{value:g}"


def rows_that_matter(rows: Sequence[Mapping[str, Any]], verdict: Verdict | None) -> list[Row]:
    """Real data, the start and the best control at their best temperatures, the run as it is and at its best one.

    Temperatures and the best control are the verdict's, which chose them on validation data. Where the start is the
    best control, the next one stands below it. Without a verdict all stand at temperature 1; of a run that was not
    trained after its start, the start stands there at the first temperatures.

    Args:
        rows: of the table.
        verdict: on the run; None where there is none.

    Returns:
        At most five.
    """
    real = [Row(row["name"], row) for row in rows if row["temperature"] is None][:1]
    own = main_row(rows)
    if own is None or is_start(own):
        return [*real, *(Row(row["name"], row) for row in rows if is_start(row))][:_MOST_ROWS]
    if verdict is None or not verdict.comparisons:
        return [*real, *_not_judged(rows, own), Row("this run", own)]
    cooled = [] if verdict.temperature in (None, 1.0) else [Row("this run", row_of(rows, OWN, verdict.temperature))]
    return [*real, *_judged(rows, verdict), Row("this run", own), *cooled]


def _not_judged(rows: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> list[Row]:
    """Start and controls at temperature 1, where nothing says at which other one they are best."""
    at_one = [row for row in rows if row["temperature"] == 1.0 and row is not own and row["name"] not in CEILINGS]
    starts, controls = [row for row in at_one if is_start(row)], [row for row in at_one if not is_start(row)]
    best = best_control(rows)
    return [Row(row["name"], row) for row in (*starts, *(controls[:2] if best is None else [best]))]


def _judged(rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> list[Row]:
    """Start and best control at the temperatures of the verdict, which names the best first."""
    found = []
    for one in verdict.comparisons:
        if one.control == START:
            label = "MLE start (best control)" if one is verdict.comparisons[0] else "MLE start"
            found.append(Row(label, row_of(rows, START, one.temperature)))
    controls = [one for one in verdict.comparisons if one.control != START]
    for one in controls[:1]:
        kind = "best control" if one is verdict.comparisons[0] else "next control"
        found.append(Row(f"{kind}: {one.control}", row_of(rows, one.control, one.temperature)))
    return found


def row_of(rows: Sequence[Mapping[str, Any]], name: str, temperature: float | None) -> Mapping[str, Any]:
    """The row of a control, the start (`START`) or the run (`OWN`) at a temperature."""

    def is_wanted(row: Mapping[str, Any]) -> bool:
        if row["temperature"] != temperature:
            return False
        if name == START:
            return is_start(row)
        if name == OWN:
            return bool(row["name"].endswith(OWN))
        return bool(row["name"] == (name if temperature == 1.0 else f"{name} τ={temperature:g}"))

    return next(row for row in rows if is_wanted(row))


def key_columns(comparison: Comparison) -> list[str]:
    """Names of the quantities of the short table, those first that the verdict is of, then the user's own.

    Every quantity that some row has, and whose metric calls it a key.
    """
    quantities = comparison.quantities
    keys = [name for name, one in quantities.items() if one.is_key]
    verdict = comparison.verdict
    judged = [] if verdict is None else [verdict.measure, verdict.quality, verdict.coverage]
    first = [name for name in judged if name is not None and name in keys]
    mine = [name for name in keys if is_users_own(name)]
    return list(dict.fromkeys([*first, *mine, *keys]))


def ending(comparison: Comparison, run_dir: Path, columns: int = MOST_COLUMNS, is_tracked: bool = False) -> str:
    """What a run says at its end.

    Args:
        comparison: of the run.
        run_dir: its folder.
        columns: of a line; only the path of the folder may be longer.
        is_tracked: whether its files are in MLflow, too.

    Returns:
        Lines without a final newline.
    """
    parts = [_table(comparison, columns)]
    if comparison.samples:
        parts.append(_samples(comparison, columns))
    if comparison.sentences:
        parts.append("\n".join(wrapped(sentence, columns) for sentence in comparison.sentences))
    where = {
        "whole table": f"table.txt: {len(comparison.rows)} rows; to the last digit {TABLE}",
        "page": f"report.html{', an artifact in MLflow as the table' if is_tracked else ''}",
        "folder": str(run_dir),
    }
    parts.append(
        "\n".join(wrapped(f"{name:<{_WHERE}}{text}", columns, hang=" " * _WHERE) for name, text in where.items())
    )
    return "\n\n".join(parts)


def _table(comparison: Comparison, columns: int) -> str:
    shown = rows_that_matter(comparison.rows, comparison.verdict)
    rows = [{**row.values, "row": row.label, "τ": row.temperature} for row in shown]
    names = [name for name in key_columns(comparison) if any(name in row for row in rows)]
    headers = {name: name + comparison.quantities[name].arrow for name in names}
    table, left_out = fitting_table(rows, [*_NAMES, *names], columns, headers=headers)
    kept = names[: len(names) - len(left_out)]
    legend = legend_of([comparison.quantities[name] for name in kept])
    if comparison.verdict is not None and comparison.verdict.comparisons:
        legend += " τ is the temperature: chosen on validation data, but for this run at 1."
    return "\n".join([table, *(wrapped(text, columns, hang="") for text in (legend, *comparison.notes))])


def _samples(comparison: Comparison, columns: int) -> str:
    # Tokens of an oracle say nothing, however many there are.
    most_lines = _LINES_OF_TEXT if comparison.is_text else 1
    return sample_text([written("this run at τ=1", comparison.samples)], columns, FEWEST_SAMPLES, most_lines)


def written(name: str, samples: Sequence[Beside]) -> Written:
    """Samples of a run as they are shown."""
    sources = tuple(one.source for one in samples if one.source is not None)
    real = tuple(one.real for one in samples if one.real is not None)
    return Written(name, tuple(one.generated for one in samples), real, sources)
