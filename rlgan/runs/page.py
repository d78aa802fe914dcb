"""The page of a run: the finding, the rows that matter, samples beside real sequences, pictures, the whole table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlgan.metrics.quantity import legend_of
from rlgan.report.final_table import in_order, shown_order
from rlgan.report.html import Block, Paragraph, Picture, Section, Table, write_html
from rlgan.report.samples import sample_tables

from .compared import DRAWN_BEST, DRAWN_SAMPLES, Comparison
from .ending import key_columns, rows_that_matter, written

PAGE = "report.html"
"""Name of the page in the run's folder."""


def write_run_page(
    comparison: Comparison, run_dir: Path, curves: Path, plane: Path | None, pictures: Sequence[Path] = ()
) -> None:
    """Write the page of a run that has ended.

    Args:
        comparison: of the run.
        run_dir: its folder, where the page goes.
        curves: picture of what was logged.
        plane: picture of quality and coverage; None where there is none.
        pictures: of samples, and of real sequences, where a task draws them.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    sections = [Section("Finding", [*_finding(comparison), _short_table(comparison)])]
    if comparison.samples:
        shown = [written("this run at τ=1", comparison.samples)]
        tables = sample_tables(shown, "Beside sequences of the test split" if shown[0].real else "")
        sections.append(Section("Samples", [*tables, *_picture(comparison, DRAWN_SAMPLES, "Samples, drawn.", run_dir)]))
    if comparison.best:
        rows = [{"reward": one.reward, "text": one.text} for one in comparison.best]
        table = Table(rows, ("reward", "text"), "The samples with the largest rewards", is_text=True)
        drawn = _picture(comparison, DRAWN_BEST, "The samples with the largest rewards, drawn.", run_dir)
        sections.append(Section("Best by your reward", [table, *drawn]))
    if pictures:
        alts = ("Samples of the generator, drawn.", "Sequences of the test split, drawn.")
        captions = ("This run at τ=1", "Test split; where sequences are given something, each was given the same")
        grids = [Picture(*one) for one in zip(pictures, alts, captions, strict=True)]
        sections.append(Section("Pictures", grids))
    if plane is not None:
        alt = "Scatter plot of the rows of the table by quality and coverage."
        caption = (
            "The curve of the start is what maximum likelihood reaches by its temperature alone. A generator is of "
            "interest where it lies off that curve, on the side that is better by both axes."
        )
        sections.append(Section("Quality and coverage", [Picture(plane, alt, caption)]))
    sections.append(Section("Curves", [Picture(curves, "Curves of what was logged, a panel each.")]))
    sections.append(Section("The whole table", _whole_table(comparison)))
    write_html(f"Run {run_dir.name}", sections, run_dir / PAGE)


def _picture(comparison: Comparison, name: str, alt: str, run_dir: Path) -> list[Block]:
    return [Picture(run_dir / name, alt)] if name in comparison.pictures else []


def _finding(comparison: Comparison) -> list[Block]:
    first, *others = comparison.sentences or ("Nothing was trained after the start, so there is nothing to judge.",)
    return [Paragraph(first, strong=True), *map(Paragraph, others)]


def _short_table(comparison: Comparison) -> Table:
    shown = rows_that_matter(comparison.rows, comparison.verdict)
    rows = [{**row.values, "row": row.label, "τ": row.temperature} for row in shown]
    names = [name for name in key_columns(comparison) if any(name in row for row in rows)]
    signs = {name: name + comparison.quantities[name].arrow for name in names}
    caption = legend_of([comparison.quantities[name] for name in names])
    return Table([_renamed(row, signs) for row in rows], ("row", "τ", *signs.values()), caption)


def _renamed(row: dict[str, Any], signs: dict[str, str]) -> dict[str, Any]:
    return {signs.get(name, name): value for name, value in row.items()}


def _whole_table(comparison: Comparison) -> list[Block]:
    rows = [{**row, "row": row["name"], "τ": row["temperature"]} for row in shown_order(comparison.rows)]
    names = in_order([name for name in comparison.quantities if any(name in row for row in rows)])
    signs = {name: name + comparison.quantities[name].arrow for name in names}
    meanings = [
        {
            "quantity": name,
            "meaning": comparison.quantities[name].meaning,
            "unit": comparison.quantities[name].unit,
            "better": comparison.quantities[name].direction,
        }
        for name in names
    ]
    return [
        Table([_renamed(row, signs) for row in rows], ("row", "τ", *signs.values()), "All rows and quantities"),
        Table(meanings, ("quantity", "meaning", "unit", "better"), "What the columns are", is_text=True),
    ]
