"""A finished run measured again: each figure with its unit, direction and size, beside the row that its end stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError
from rlgan.evaluation.evaluator import Evaluator
from rlgan.metrics.quantity import SIZES, Quantity, Size
from rlgan.report.final_table import OWN, TABLE, is_start
from rlgan.report.narrow import MOST_COLUMNS, fitting_table, stacked_tables, wrapped


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a run's generator.

    Attributes:
        metrics: name, with `eval/` → value.
        quantities: name, without it → what is known of the figure.
        temperature: of the samples.
        num_sequences: that were sampled.
        sizes: what a figure may depend on the number of → that number here.
        stored: the row of the run's final table at this temperature; None where it has none.
        real: the row of real data in that table; None likewise.
        stored_sequences: samples of each row of that table.
        stored_sizes: as `sizes`, of that table.
    """

    metrics: Mapping[str, float]
    quantities: Mapping[str, Quantity]
    temperature: float
    num_sequences: int
    sizes: Mapping[Size, int]
    stored: Mapping[str, Any] | None
    real: Mapping[str, Any] | None
    stored_sequences: int
    stored_sizes: Mapping[Size, int]

    def is_comparable(self, name: str) -> bool:
        """Whether a figure was measured of as much as the stored one, where that makes a difference.

        Args:
            name: without `eval/`.
        """
        size = self.quantities[name].size
        return size is None or self.sizes[size] == self.stored_sizes[size]


def measured(
    evaluator: Evaluator,
    metrics: Mapping[str, float],
    run_dir: Path,
    temperature: float,
    num_sequences: int,
    stored_sequences: int,
) -> Measured:
    """Put figures beside what is known of them.

    Args:
        evaluator: that measured them.
        metrics: name, with `eval/` → value.
        run_dir: folder of the run.
        temperature: of the samples.
        num_sequences: that were sampled.
        stored_sequences: that the run's table has sampled for each row.

    Raises:
        CheckpointError: the run's table is damaged.
    """
    names = [name.removeprefix("eval/") for name in metrics]
    stored, real = _stored_rows(run_dir / TABLE, temperature)
    return Measured(
        metrics=metrics,
        quantities={name: evaluator.quantity(name) for name in names},
        temperature=temperature,
        num_sequences=num_sequences,
        sizes=evaluator.sizes(num_sequences),
        stored=stored,
        real=real,
        stored_sequences=stored_sequences,
        stored_sizes=evaluator.sizes(stored_sequences),
    )


_Row = Mapping[str, Any] | None


def _stored_rows(path: Path, temperature: float) -> tuple[_Row, _Row]:
    """The run's own row at a temperature (not trained after its start, the start's), and that of real data."""
    if not path.exists():
        return None, None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        own = [row for row in rows if row["name"].endswith(OWN)] or [row for row in rows if is_start(row)]
        wanted = next((row for row in own if row["temperature"] == temperature), None)
        return wanted, next((row for row in rows if row["temperature"] is None), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path}: is damaged. Remove it to measure the run without its stored table.",
            code="damaged_stored_table",
            fields={"path": path},
        ) from None


def measured_text(found: Measured, columns: int = MOST_COLUMNS) -> str:
    """A line a figure, and how the lines are read.

    Args:
        found: what was measured.
        columns: of a line.
    """
    rows = []
    for name, value in ((name.removeprefix("eval/"), value) for name, value in found.metrics.items()):
        one, stored = found.quantities[name], None if found.stored is None else found.stored.get(name)
        mark = "" if stored is None or found.is_comparable(name) else " *"
        rows.append(
            {
                "metric": name,
                "value": value,
                "stored": None if stored is None else f"{stored:.4f}{mark}",
                "real data": None if found.real is None else found.real.get(name),
                "unit": one.unit,
                "better": "–" if one.is_beside else one.better or "as real",
                "depends on": "–" if one.size is None else f"{found.sizes[one.size]} {SIZES[one.size]}",
            }
        )
    there = [name for name in ("stored", "real data") if any(row[name] is not None for row in rows)]
    order = ("metric", "value", *there, "unit", "better", "depends on")
    table, left_out = fitting_table(rows, order, columns, decimals=4)
    if left_out:  # real data are the first to be missed, for they are in the table; what is left stands below
        order = tuple(name for name in order if name != "real data")
        table = stacked_tables(rows, order, most=columns, decimals=4)
    return "\n".join([table, "", *(wrapped(note, columns) for note in notes_of(found))])


def notes_of(found: Measured) -> list[str]:
    """How measured figures are read beside the stored ones, a sentence each."""
    notes = [
        f"Measured at τ={found.temperature:g} of {found.num_sequences} samples. A figure that depends on no number "
        "varies by chance alone. Better as real: neither lower nor higher, but near what real data have."
    ]
    if found.stored is None:
        notes.append(
            f"Nothing is stored beside it: the run has no table yet, or no row at τ={found.temperature:g} in it."
        )
        return notes
    notes.append(f"Stored is the row {found.stored['name']!r} of the run's table, of {found.stored_sequences} samples.")
    if found.real is not None:
        notes.append(
            f"Real data is its row {found.real['name']!r}: what depends on the number of samples compares with it at "
            "that number alone."
        )
    differing = [
        name for name in found.quantities if found.stored.get(name) is not None and not found.is_comparable(name)
    ]
    if differing:
        notes.append(
            f"* depends on the number of sequences, which was {found.stored_sequences:,} for the stored value. To "
            "compare the two, measure with the same number."
        )
    elif found.num_sequences != found.stored_sequences:
        notes.append("None of these depends on that number, so they differ by chance alone.")
    missing = [name for name in found.quantities if name not in found.stored]
    if missing:
        notes.append(f"Not stored: {', '.join(missing)}.")
    return notes


def measured_json(found: Measured) -> dict[str, Any]:
    """What is known of the figures, for `--json`."""
    return {
        "temperature": found.temperature,
        "num_sequences": found.num_sequences,
        "quantities": {
            f"eval/{name}": {
                "unit": one.unit,
                "better": one.better,
                "depends_on": None if one.size is None else one.size.replace(" ", "_"),
                "size": None if one.size is None else found.sizes[one.size],
            }
            for name, one in found.quantities.items()
        },
        "stored": None
        if found.stored is None
        else {
            "row": found.stored["name"],
            "num_sequences": found.stored_sequences,
            "values": {f"eval/{name}": found.stored[name] for name in found.quantities if name in found.stored},
            "not_comparable": [f"eval/{name}" for name in found.quantities if not found.is_comparable(name)],
        },
    }
