"""The final comparison: the run beside real data, its own start at several temperatures, and the controls.

Computes the rows, lays them out as a table, and puts them where a person looks: the run's folder and MLflow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgan.envs.tasks import Task

from .checkpoint import write_atomically
from .config import Config
from .evaluation import Measurement
from .metrics import headroom_captured
from .presets import control
from .report import format_table, plot_learning_curves, plot_quality_diversity, write_table
from .tracking import Tracker
from .trainer import Trainer
from .workers.parts import build_parts

LAST_FILE = "table.txt"
"""Name of the file of a run's folder that is written when everything else is done."""
ARTIFACTS = ("config.json", "table.json", LAST_FILE, "samples.txt", "curves.png", "quality_diversity.png")
"""Names of the files of a run's folder that go to MLflow."""

_OURS = " (this run)"  # marks the run's own row of the table

_ORACLE_COLUMNS = ("nll_oracle", "nll_gen", "nll_div", "kl_forward", "kl_reverse", "kl_sum")
_TEXT_COLUMNS = (
    "nll_gen",
    "nll_div",
    "bleu_2",
    "bleu_3",
    "bleu_4",
    "bleu_5",
    "self_bleu_2",
    "self_bleu_4",
    "lm_5gram",
    "rlm_5gram",
    "distinct_2",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a run is compared with, and how it fares.

    Attributes:
        rows: of the table: name, temperature, and name → value of each quantity.
        text: the table for people, with the share of the headroom below it where it is defined.
        headroom: share of the headroom captured; None where it is undefined.
        final: measurement of the run's own generator.
    """

    rows: list[dict[str, Any]]
    text: str
    headroom: float | None
    final: Measurement


def compare(config: Config, task: Task, trainer: Trainer, say: Callable[[str], None]) -> Comparison:
    """Measure a run that is done, and everything it is compared with; trains the controls.

    Args:
        config: of the run.
        task: of the run.
        trainer: with no unit left to do.
        say: shows the user a sentence.

    Returns:
        The comparison; nothing is written.
    """
    rows = [
        _real_row(config, trainer),
        *_temperature_rows(config, trainer),
        *_control_rows(config, task, trainer, say),
    ]
    final = trainer.measure(config.evaluation.final_sequences)
    if config.schedule.adversarial_updates:
        rows.append(_row(f"{config.preset}{_OURS}", 1.0, final))
    columns = _ORACLE_COLUMNS if task.oracle is not None else _TEXT_COLUMNS
    text = format_table(rows, ("name", "temperature", *columns))
    share, sentence = _headroom(config, rows)
    return Comparison(rows, text if sentence is None else f"{text}\n{sentence}", share, final)


def publish(comparison: Comparison, task: Task, run_dir: Path, tracker: Tracker) -> None:
    """Write the comparison into the folder of its run, with its pictures, and send it to MLflow.

    Args:
        comparison: to publish.
        task: of the run.
        run_dir: folder of the run.
        tracker: of the run.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    rows = comparison.rows
    if comparison.headroom is not None:
        tracker.log_metrics({"final/headroom_captured": comparison.headroom}, step=0, phase="final", unit=None)
    write_table(rows, [], run_dir / "table.json")
    plot_learning_curves(tracker.rows(), run_dir / "curves.png")
    x, y = ("kl_reverse", "kl_forward") if task.oracle is not None else ("bleu_4", "nll_gen")
    plot_quality_diversity(rows, x, y, run_dir / "quality_diversity.png")
    for row in rows:
        metrics = {
            f"final/{_slug(row['name'])}/{key}": float(value)
            for key, value in row.items()
            if key not in ("name", "temperature")
        }
        tracker.log_metrics(metrics, step=0, phase="final", unit=None)
    write_atomically(run_dir / LAST_FILE, lambda path: path.write_text(comparison.text + "\n", "utf-8"))
    for name in ARTIFACTS:
        tracker.log_artifact(run_dir / name)


def _real_row(config: Config, trainer: Trainer) -> dict[str, Any]:
    """What real sequences score: a generator beyond it is not better than the data."""
    real = trainer.evaluator.measure_real(config.evaluation.final_sequences)
    return _row(f"real data (n={real.tokens.shape[0]})", None, real)


def _temperature_rows(config: Config, trainer: Trainer) -> list[dict[str, Any]]:
    assert trainer.mle_start is not None
    start = trainer.generator_from(trainer.mle_start)
    rows, num = [], config.evaluation.final_sequences
    # The start as it is stands in every table, and no temperature twice.
    for temperature in dict.fromkeys((1.0, *config.evaluation.temperatures)):
        name = "MLE start" if temperature == 1.0 else f"MLE τ={temperature:g}"
        rows.append(_row(name, temperature, trainer.evaluator.measure(start, temperature, num)))
    return rows


def _control_rows(config: Config, task: Task, trainer: Trainer, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Controls begin at the run's own MLE start and make as many generator updates."""
    rows = []
    for name in dict.fromkeys(config.controls):
        settings = control(config, name)
        started = time.perf_counter()
        with build_parts(settings, task) as parts:
            other = Trainer(settings, task, parts, mle_start=trainer.mle_start)
            while other.next_phase is not None:
                other.step(measure=False)
            rows.append(_row(name, 1.0, other.measure(config.evaluation.final_sequences)))
            lost = parts.faults.summary()
        took = f"control {name}: {time.perf_counter() - started:.0f} s"
        say(took if lost is None else f"{took}; {lost}")
    return rows


def _headroom(config: Config, rows: list[dict[str, Any]]) -> tuple[float | None, str | None]:
    """Share of the headroom captured (specification 16.3), and the same in words."""
    sums = {row["name"]: row.get("kl_sum") for row in rows}
    ours = sums.get(f"{config.preset}{_OURS}")
    continued, ceiling = sums.get("mle_continued"), sums.get("oracle_ratio")
    if ours is None or continued is None or ceiling is None:
        return None, None
    share = headroom_captured(gap_sum_run=ours, gap_sum_mle_continued=continued, gap_sum_oracle_ratio=ceiling)
    if share is None:
        return None, "share of the headroom captured: undefined, oracle_ratio did not end below mle_continued"
    return share, f"share of the headroom captured: {share:+.2f} (0 = mle_continued, 1 = oracle_ratio)"


def _row(name: str, temperature: float | None, measurement: Measurement) -> dict[str, Any]:
    values = {key.removeprefix("eval/"): value for key, value in measurement.metrics.items()}
    return {"name": name, "temperature": temperature, **values}


def _slug(name: str) -> str:
    """A row's name as MLflow allows it in a metric's name; that of the run itself is the same in all runs."""
    if name.endswith(_OURS):
        return "this_run"
    name = re.sub(r" \(n=\d+\)$", "", name)
    return re.sub(r"[^\w.\- /]", "_", name.replace("τ=", "tau ")).replace(" ", "_")
