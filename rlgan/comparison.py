"""The final comparison: the run beside real data, its own start and itself at several temperatures, and the controls.

Computes the rows and lays them out as a table; where that goes is `publishing`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from rlgan.envs.tasks import Task

from .activity import stage
from .config import Config
from .evaluation import Evaluator, Measurement
from .final_table import OWN, plane_of
from .generators import Generator
from .metrics import Lead, greatest_lead, headroom_captured
from .presets import control
from .report import format_table
from .sentence_encoders import EncoderName
from .trainer import Trainer
from .workers.parts import build_parts

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
_PAIR_COLUMNS = (
    "nll_gen",
    "nll_div",
    "corpus_bleu",
    "chrf",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "decoded_length",
    "decoded_distinct_2",
    "decoded_repetition_4",
    "decoded_unfinished",
)
# A table of its own below the first: beside it they would not fit a line.
_CLOSER_COLUMNS = (
    "lm_lstm",
    "rlm_lstm",
    *(f"fed_{name}" for name in get_args(EncoderName)),
    "js_2",
    "js_4",
    "effective_rank",
    "nearest_jaccard",
    "nearest_jaccard_ks",
    "nearest_jaccard_p",
)
_ADVERSARIAL_COLUMNS = (
    "adversuc",
    "adversuc_se",
    "machine_vs_random",
    "machine_vs_random_se",
    "decoded_adversuc",
    "decoded_machine_vs_random",
    "ere",
)
_ADVERSARIAL_READING = (
    "adversuc: 0.5 = not told from what people wrote, 0 = always told; what is drawn has more of it than what is "
    "decoded, on topic\nor not. So read machine_vs_random beside it: 1 = told from real sequences that answer "
    "something else. The first row is of people;\nere is how far the evaluator was off where the answer is known."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a run is compared with, and how it fares.

    Attributes:
        rows: of the table: name, temperature, and name → value of each quantity.
        text: the table for people, with what follows from it in sentences below it.
        headroom: share of the headroom captured; None where it is undefined.
        ahead: where the run is better than its start in both measures of the plane; None where it nowhere is.
        behind: where the start is better than the run; None where it nowhere is.
        final: measurement of the run's own generator.
        sentences: what follows from the table, as they stand below it.
    """

    rows: list[dict[str, Any]]
    text: str
    headroom: float | None
    ahead: Lead | None
    behind: Lead | None
    final: Measurement
    sentences: tuple[str, ...] = ()


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
    evaluator = trainer.evaluator
    trainer.release()  # a control works in the places that the run had: a cluster may have no others
    start, (controls, selected) = _start_rows(config, trainer), _control_rows(config, task, trainer, say)
    with stage("row", "this run"):
        final = trainer.measure(config.evaluation.final_sequences)
    ours = _own_rows(config, trainer, final) if config.schedule.adversarial_updates else []
    rows = [_real_row(config, evaluator), *start, *controls, *ours]
    # To be ahead of a start that has learned nothing is no news.
    plane = plane_of(rows)
    our_points, start_points = _points(plane, ours), _points(plane, start if config.schedule.mle_epochs else [])
    ahead, behind = greatest_lead(our_points, start_points), greatest_lead(start_points, our_points)
    share, headroom = _headroom(config, rows)
    if trainer.selected is not None:
        selected = [*selected, f"{config.preset}{OWN}: {trainer.selected}"]
    standing = _standing(plane, ahead, behind) if our_points and start_points else None
    sentences = tuple(filter(None, [standing, headroom, *selected]))
    text = "\n".join([*_tables(task, rows), *evaluator.notes, *sentences])
    return Comparison(rows, text, share, ahead, behind, final, sentences)


def _points(plane: tuple[str, str], rows: list[dict[str, Any]]) -> dict[float, tuple[float, float]]:
    """Temperature → measures of the plane, of one generator's rows; none where they are not measured."""
    x, y = plane
    return {row["temperature"]: (row[x], row[y]) for row in rows if x in row and y in row}


def _tables(task: Task, rows: list[dict[str, Any]]) -> list[str]:
    columns = _ORACLE_COLUMNS if task.has_known_law else _PAIR_COLUMNS if task.name == "pairs" else _TEXT_COLUMNS
    there = [name for name in columns if not name.startswith("rouge_") or any(name in row for row in rows)]
    tables = [format_table(rows, ("name", "temperature", *there))]
    if not task.has_known_law and (closer := [name for name in _CLOSER_COLUMNS if any(name in row for row in rows)]):
        tables += ["", format_table(rows, ("name", "temperature", *closer)), ""]
    if judged := [row for row in rows if "adversuc" in row]:
        tables += ["", format_table(judged, ("name", *_ADVERSARIAL_COLUMNS)), _ADVERSARIAL_READING, ""]
    return tables


def _real_row(config: Config, evaluator: Evaluator) -> dict[str, Any]:
    """What real sequences score: a generator beyond it is not better than the data."""
    with stage("real", "real data"):
        real = evaluator.measure_real(config.evaluation.final_sequences)
        return _row(f"real data (n={real.tokens.shape[0]})", None, real, evaluator, evaluator.measure_people())


def _start_rows(config: Config, trainer: Trainer) -> list[dict[str, Any]]:
    assert trainer.mle_start is not None
    start = trainer.generator_from(trainer.mle_start)
    rows, num = [], config.evaluation.final_sequences
    if not config.schedule.mle_epochs:
        with stage("row", "untrained start"):
            measurement = trainer.evaluator.measure(start, 1.0, num)
            untrained = _judged(config, trainer.evaluator, start)
        return [_row("untrained start", 1.0, measurement, trainer.evaluator, untrained)]
    for temperature in _temperatures(config):
        name = "MLE start" if temperature == 1.0 else f"MLE τ={temperature:g}"
        with stage("row", name):
            measurement = trainer.evaluator.measure(start, temperature, num)
            judged = _judged(config, trainer.evaluator, start) if temperature == 1.0 else {}
            rows.append(_row(name, temperature, measurement, trainer.evaluator, judged))
    return rows


def _own_rows(config: Config, trainer: Trainer, final: Measurement) -> list[dict[str, Any]]:
    """The run at the temperatures of its start, last as it is."""
    generator, evaluator, rows = trainer.current_generator(), trainer.evaluator, []
    for temperature in _temperatures(config):
        if temperature != 1.0:
            with stage("row", f"this run τ={temperature:g}"):
                measurement = evaluator.measure(generator, temperature, config.evaluation.final_sequences)
                rows.append(_row(f"{config.preset} τ={temperature:g}{OWN}", temperature, measurement, evaluator))
    judged = _judged(config, evaluator, generator, is_own=True)
    return [*rows, _row(f"{config.preset}{OWN}", 1.0, final, evaluator, judged)]


def _judged(config: Config, evaluator: Evaluator, generator: Generator, is_own: bool = False) -> dict[str, float]:
    """What a fresh evaluator makes of a start or of the run itself; the last of them is the machine it is rated by."""
    is_last = is_own or not config.schedule.adversarial_updates
    return evaluator.measure_adversarially(generator, rates_evaluator=is_last)


def _temperatures(config: Config) -> list[float]:
    """A generator as it is stands in every table, and no temperature twice."""
    return list(dict.fromkeys((1.0, *config.evaluation.temperatures)))


def _control_rows(
    config: Config, task: Task, trainer: Trainer, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Controls begin at the run's own MLE start, make as many generator updates, and are selected alike.

    With their rows come sentences of which generator was selected.
    """
    rows, selected = [], []
    for name in dict.fromkeys(config.controls):
        settings = control(config, name)
        started = time.perf_counter()
        with stage(f"control {name}", f"control {name}"), build_parts(settings, task, begins=False) as parts:
            other = Trainer(settings, task, parts, mle_start=trainer.mle_start)
            while other.next_phase is not None:
                other.step(measure=False)
            with stage("row", "its row"):
                measurement = other.measure(config.evaluation.final_sequences)
                judged = trainer.evaluator.measure_adversarially(
                    other.current_generator(), decodes=False, rates_evaluator=False
                )
                rows.append(_row(name, 1.0, measurement, trainer.evaluator, judged))
            if other.selected is not None:
                selected.append(f"{name}: {other.selected}")
            lost = parts.faults.summary()
        took = f"control {name}: {time.perf_counter() - started:.0f} s"
        say(took if lost is None else f"{took}; {lost}")
    return rows, selected


def _standing(plane: tuple[str, str], ahead: Lead | None, behind: Lead | None) -> str:
    """Whether the run is more than its start at another temperature, in words (specification 17.5)."""
    x, y = plane

    def told(better: str, worse: str, lead: Lead) -> str:
        by = " and ".join(f"{gain:.3f}" for gain in lead.gains)
        return f"{better} at τ={lead.temperature:g} is better than {worse} at τ={lead.other_temperature:g}, by {by}"

    found = [
        *([] if ahead is None else [told("this run", "the MLE start", ahead)]),
        *([] if behind is None else [told("the MLE start", "this run", behind)]),
    ]
    return f"{x} and {y} at once: {'; '.join(found) or 'neither the run nor its MLE start is better at any τ'}"


def _headroom(config: Config, rows: list[dict[str, Any]]) -> tuple[float | None, str | None]:
    """Share of the headroom captured (specification 16.3), and the same in words."""
    sums = {row["name"]: row.get("kl_sum") for row in rows}
    ours = sums.get(f"{config.preset}{OWN}")
    continued, ceiling = sums.get("mle_continued"), sums.get("oracle_ratio")
    if ours is None or continued is None or ceiling is None:
        return None, None
    share = headroom_captured(gap_sum_run=ours, gap_sum_mle_continued=continued, gap_sum_oracle_ratio=ceiling)
    if share is None:
        return None, "share of the headroom captured: undefined, oracle_ratio did not end below mle_continued"
    return share, f"share of the headroom captured: {share:+.2f} (0 = mle_continued, 1 = oracle_ratio)"


def _row(
    name: str,
    temperature: float | None,
    measurement: Measurement,
    evaluator: Evaluator,
    judged: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    metrics = {**measurement.metrics, **evaluator.measure_closely(measurement), **(judged or {})}
    values = {key.removeprefix("eval/"): value for key, value in metrics.items()}
    return {"name": name, "temperature": temperature, **values}
