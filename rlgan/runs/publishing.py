"""Where a comparison goes: the folder of its run, with its pictures, and MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlgan.base.files import write_atomically
from rlgan.envs.tasks import Task
from rlgan.evaluation.quantities import axis_name
from rlgan.evaluation.verdict import FILE as VERDICT
from rlgan.evaluation.verdict import write_verdict
from rlgan.extensions import FOLDER
from rlgan.report.final_table import (
    OWN,
    SHOWN_SAMPLES,
    SHOWN_TABLE,
    TABLE,
    best_control,
    in_order,
    main_row,
    plain_table,
    plane_of,
    shown_order,
    shown_table,
    summary_metrics,
)
from rlgan.report.picture_grid import write_grid
from rlgan.report.tables import plot_learning_curves, plot_quality_diversity, to_markdown, write_table
from rlgan.tracking import Tracker

from .compared import DRAWN_BEST, DRAWN_SAMPLES
from .ending import ending, row_of
from .page import PAGE, write_run_page

if TYPE_CHECKING:
    from .compared import Comparison

LAST_FILE = "table.txt"
"""Name of the file of a run's folder that is written when everything else is done."""
SUMMARY = "summary.txt"
"""Name of the file that holds what the run said at its end."""
SHOWN_BEST = "best.json"
"""Name of the table of the samples with the largest rewards."""
CURVES, PLANE = "curves.png", "quality_diversity.png"
"""Names of its pictures."""
GENERATED, REAL = "pictures.png", "pictures_real.png"
"""Names of what the generator drew, and of real sequences beside it, where a task draws sequences."""
_NUM_DRAWN = 40
ARTIFACTS = (
    "config.json", "data.json", TABLE, SHOWN_TABLE, SHOWN_SAMPLES, VERDICT, LAST_FILE, SUMMARY, "samples.txt", CURVES,
    PLANE, SHOWN_BEST, DRAWN_SAMPLES, DRAWN_BEST, GENERATED, REAL, PAGE,
)  # fmt: skip
"""Names of the files of a run's folder that go to MLflow."""


def table_tags(run_dir: Path) -> dict[str, str]:
    """By these MLflow's page knows tables for such: those that there are."""
    there = [
        {"path": name, "type": "table"}
        for name in (SHOWN_TABLE, SHOWN_SAMPLES, SHOWN_BEST)
        if (run_dir / name).exists()
    ]
    return {"mlflow.loggedArtifacts": json.dumps(there)} if there else {}


_NOTE_COLUMNS = 8


def publish(comparison: Comparison, task: Task, run_dir: Path, tracker: Tracker, is_tracked: bool = False) -> None:
    """Write the comparison into the folder of its run, with its pictures, and send it to MLflow.

    Args:
        comparison: to publish.
        task: of the run.
        run_dir: folder of the run.
        tracker: of the run.
        is_tracked: whether it sends to MLflow.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    rows = comparison.rows
    metrics = summary_metrics(rows, _best_row(comparison))
    if comparison.verdict is not None:
        metrics |= comparison.verdict.figures()
        write_verdict(comparison.verdict, run_dir)
    tracker.log_metrics(metrics, step=0, phase="final", iteration=None)
    write_table(rows, [], run_dir / TABLE)
    text = shown_table(rows)
    write_atomically(run_dir / SHOWN_TABLE, lambda path: path.write_text(text + "\n", "utf-8"))
    if comparison.samples:
        columns = ("generated", "real") if task.has_real_sequences else ("generated",)
        columns = columns if task.conditions is None else ("source", *columns)
        shown = plain_table([asdict(one) for one in comparison.samples], columns)
        write_atomically(run_dir / SHOWN_SAMPLES, lambda path: path.write_text(shown + "\n", "utf-8"))
    if comparison.best:
        shown = plain_table([asdict(one) for one in comparison.best], ("text", "reward"))
        write_atomically(run_dir / SHOWN_BEST, lambda path: path.write_text(shown + "\n", "utf-8"))
    for name, picture in comparison.pictures.items():
        write_atomically(run_dir / name, lambda path, text=picture: path.write_text(text, "utf-8"))  # type: ignore[misc]
    plot_learning_curves(tracker.rows(), run_dir / CURVES)
    if (plane := plane_of(points := _plane_rows(rows))) is not None:
        plot_quality_diversity(points, *plane, run_dir / PLANE, OWN, axis_name)
    pictures = _drawn(comparison, task, run_dir)
    write_run_page(comparison, run_dir, run_dir / CURVES, run_dir / PLANE if plane is not None else None, pictures)
    said = ending(comparison, run_dir, is_tracked=is_tracked)
    write_atomically(run_dir / SUMMARY, lambda path: path.write_text(said + "\n", "utf-8"))
    write_atomically(run_dir / LAST_FILE, lambda path: path.write_text(comparison.text + "\n", "utf-8"))
    tracker.tag_at_end({**table_tags(run_dir), **_tags(comparison)})
    for name in ARTIFACTS:
        if (run_dir / name).exists():
            tracker.log_artifact(run_dir / name)
    for path in sorted((run_dir / FOLDER).glob("*.py")):
        tracker.log_artifact(path, FOLDER)


def _drawn(comparison: Comparison, task: Task, run_dir: Path) -> list[Path]:
    """Files of the first samples, and of sequences of the test split, as pictures; none where a task draws none."""
    if task.drawing is None:
        return []
    samples = comparison.final.tokens[:_NUM_DRAWN]
    real = real_beside(task, len(samples))
    for name, tokens in ((GENERATED, samples), (REAL, real)):
        write_grid(task.drawing.pictures(task.decode(tokens)), run_dir / name)
    return [run_dir / GENERATED, run_dir / REAL]


def real_beside(task: Task, number: int) -> Tensor:
    """Sequences of the test split to be shown beside samples.

    Args:
        task: of the run.
        number: of samples.

    Returns:
        (number, T) int64: where sequences are given something, those at the same place were given the same, which is
        the next of the test split, from the first on again behind its last. Elsewhere none is there twice, so that
        there may be fewer.
    """
    if task.conditions is None:
        return task.test[:number]
    return task.test[[index % len(task.test) for index in range(number)]]


def _best_row(comparison: Comparison) -> Mapping[str, Any] | None:
    """The row of the control that the verdict names first; without a verdict on any, the table's."""
    verdict = comparison.verdict
    if verdict is None or not verdict.comparisons:
        return best_control(comparison.rows)
    best = verdict.comparisons[0]
    return row_of(comparison.rows, best.control, best.temperature)


def _tags(comparison: Comparison) -> dict[str, str]:
    """What the run's page says in words."""
    tags = {"mlflow.note.content": note(comparison)}
    if (best := _best_row(comparison)) is not None:
        tags["best_control"] = best["name"]
    if comparison.verdict is not None:
        tags["verdict"] = comparison.verdict.statement
    return tags


def note(comparison: Comparison) -> str:
    """The description of a run, in Markdown: what follows from the table, and its rows at temperature 1."""
    rows = [row for row in shown_order(comparison.rows) if row["temperature"] in (1.0, None)]
    main = main_row(comparison.rows) or {}
    names = in_order([name for name in main if name not in ("name", "temperature")])
    shown = [{**row, "row": row["name"]} for row in rows]
    parts = [
        *comparison.sentences,
        to_markdown(shown, ("row", *names[:_NOTE_COLUMNS])),
        f"All rows and quantities: artifact `{SHOWN_TABLE}`; to the last digit: `{TABLE}`.",
    ]
    return "\n\n".join(parts)


def _plane_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A model of fewer sequences predicts worse, so that a few real ones are no point of the plane but an upright."""
    return [
        {key: value for key, value in row.items() if row["temperature"] is not None or key != "rlm_5gram"}
        for row in rows
    ]
