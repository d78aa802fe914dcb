"""The final comparison: the run beside real data, its own start and itself at several temperatures, and the controls.

Computes the rows and lays them out as a table; where that goes is `publishing`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, get_args

from rlgan.base.activity import stage
from rlgan.base.errors import PluginError
from rlgan.base.seeding import stream_seed
from rlgan.config.config import Config, Control
from rlgan.envs.tasks import Task, TaskMeasure
from rlgan.evaluation.evaluator import Evaluator, Measurement, temperatures_of
from rlgan.evaluation.own_reward import OwnReward, Rewarded
from rlgan.evaluation.quantities import is_users_own, place_of
from rlgan.evaluation.sentence_encoders import EncoderName
from rlgan.evaluation.shown_samples import beside_real
from rlgan.evaluation.verdict import START, Verdict
from rlgan.generators import Generator
from rlgan.metrics import PROBES
from rlgan.metrics.quantity import Quantity
from rlgan.metrics.reward_means import LOGGED, UNSCORED
from rlgan.presets.controls import control, trained_again
from rlgan.report.final_table import OWN
from rlgan.report.tables import format_table
from rlgan.training.measuring import posterior_collapse, shortcut_sentence, shortcuts_in
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

from .compared import DRAWN_BEST, DRAWN_SAMPLES, FEWEST_SAMPLES, Comparison
from .judging import Contender, Contest, judge_run

_CONTINUED: Control = "mle_continued"
_CEILING: Control = "oracle_ratio"  # no control to beat: its reward is what nobody knows

_NUM_BEST, _NUM_DRAWN = 10, 20
"""Samples that are shown by their reward, and drawn as they come."""
_LIKELIHOODS = ("nll_gen", "nll_gen_bound", "nll_div")
_OF_KNOWN_DISTRIBUTION = ("nll_oracle", *_LIKELIHOODS, "kl_forward", "kl_reverse", "kl_sum")
_COLUMNS: Mapping[TaskMeasure, tuple[str, ...]] = {
    "text": (
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "bleu_5",
        "self_bleu_2",
        "self_bleu_4",
        "lm_5gram",
        "rlm_5gram",
        "distinct_2",
    ),
    "references": ("corpus_bleu", "chrf"),
    "summaries": ("rouge_1", "rouge_2", "rouge_l"),
}
_OF_DECODED = ("decoded_length", "decoded_distinct_2", "decoded_repetition_4", "decoded_unfinished")
# A table of its own below the first: beside it they would not fit a line.
_CLOSER_COLUMNS = (
    "lm_5gram",
    "rlm_5gram",
    "lm_lstm",
    "rlm_lstm",
    "lm_5gram_matched",
    "lm_lstm_matched",
    *(f"fed_{name}" for name in get_args(EncoderName)),
    "js_2",
    "js_4",
    "effective_rank",
    "nearest_jaccard",
    "nearest_jaccard_ks",
    "nearest_jaccard_p",
)
_OF_LATENTS = ("latent_kl", "active_units", "latent_rank")
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
    "adversuc: 0.5 = the evaluator cannot distinguish samples from human text, 0 = it always can. Drawn samples\n"
    "have a higher adversuc than decoded ones, on topic or not. So also read machine_vs_random: 1 = samples are\n"
    "distinguished from real sequences that answer something else. The first row is human text; ere is the\n"
    "evaluator's error where the answer is known."
)

_PROBE_READING = (
    "Probes: real beside generated sequences, unseen, in the last round of the discriminator. A discriminator that\n"
    "ranks no better than a probe may be reading that feature alone; auc_length_matched compares sequences of equal\n"
    "length."
)


@dataclass(frozen=True, slots=True)
class _Controls:
    """What became of the controls.

    Attributes:
        rows: of the table, those of one control together.
        selected: which generator of each was selected, in words.
        trained: name → generator at the end of its training.
        repeats: generators of further trainings of one of them, which differ by their seed; see `trained_again`.
        streamed: name → sequences that it drew from the task's stream after the start.
    """

    rows: list[dict[str, Any]]
    selected: list[str]
    trained: dict[str, Generator]
    repeats: list[Generator]
    streamed: dict[str, int]


class _RowOf(Protocol):
    """Makes a row of the table."""

    def __call__(
        self,
        name: str,
        temperature: float | None,
        measurement: Measurement,
        judged: Mapping[str, float] | None = None,
        /,
    ) -> dict[str, Any]: ...


def compare(config: Config, task: Task, trainer: Trainer, say: Callable[[str], None]) -> Comparison:
    """Measure a run that is done, and everything it is compared with; trains the controls.

    Args:
        config: of the run.
        task: of the run.
        trainer: with no iteration left to do.
        say: shows the user a sentence.

    Returns:
        The comparison; nothing is written.
    """
    evaluator = trainer.evaluator
    trainer.release()  # a control works in the places that the run had: a cluster may have no others
    reward = _own_reward(config, task, trainer)
    row = partial(_row, evaluator, reward)
    start, controls = _start_rows(config, trainer, row), _control_rows(config, task, trainer, row, say)
    with stage("row", "this run"):
        final = trainer.measure(config.evaluation.final_sequences)
    is_trained = config.schedule.adversarial_updates > 0
    ours = _own_rows(config, trainer, row, final) if is_trained else []
    rows = [*_real_rows(config, evaluator, row), *start, *controls.rows, *ours]
    verdict = _verdict(config, task, trainer, controls) if is_trained else None
    selected = controls.selected
    if trainer.stopped is not None:
        selected = [*selected, f"{config.preset}{OWN}: training was stopped by {trainer.stopped}"]
    if trainer.selected is not None:
        selected = [*selected, f"{config.preset}{OWN}: {trainer.selected}"]
    sentences = [] if verdict is None else verdict.sentences
    concluded = [*sentences, *_of_real_sequences(task, trainer, controls), *selected]
    read = [shortcut_sentence(probe, trainer.shortcuts) for probe in shortcuts_in(trainer.shortcuts)]
    collapsed = [found for found in [posterior_collapse(final.metrics)] if found is not None]
    warned, at_chance = (_warnings(found) for found in (read, [*collapsed, *trainer.at_chance]))
    probes = _of_probes(trainer.shortcuts, warned)
    best, alike = _best(evaluator, reward, final)
    pictures, undrawn = _pictures(evaluator, task, final, best)
    undrawn = (*alike, *undrawn)
    text = "\n".join([*_tables(task, rows), *probes, *evaluator.notes, *undrawn, *concluded, *at_chance])
    return Comparison(
        rows,
        text,
        verdict,
        final,
        (*concluded, *at_chance, *warned),
        notes=(*evaluator.notes, *undrawn),
        quantities=_quantities(evaluator, rows),
        samples=tuple(beside_real(task, final, max(FEWEST_SAMPLES, config.evaluation.num_shown))),
        best=best,
        pictures=pictures,
        is_text=bool(task.measures) or not task.has_real_sequences,
    )


def _best(
    evaluator: Evaluator, reward: OwnReward | None, final: Measurement
) -> tuple[tuple[Rewarded, ...], tuple[str, ...]]:
    """The best samples by the user's own reward; and why some may be the same thing, where a metric cannot tell."""
    if reward is None:
        return (), ()
    told: list[str] = []

    def identified(texts: Sequence[str]) -> list[str]:
        try:
            return evaluator.identified(texts)
        except PluginError as error:
            told.append(f"warning: the best samples may be the same thing in different words. {error}")
            return list(texts)

    return tuple(reward.best(final, _NUM_BEST, identified)), tuple(told)


def _pictures(
    evaluator: Evaluator, task: Task, final: Measurement, best: Sequence[Rewarded]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Pictures of samples by names of files, where a metric draws any; and why one is not there, where it raises.

    The table is made by then, and is not to be lost for a picture.
    """
    wanted: list[tuple[str, list[str], list[str] | None]] = [
        (DRAWN_SAMPLES, task.decode(final.tokens[:_NUM_DRAWN]), None)
    ]
    if best:
        wanted.append(
            (DRAWN_BEST, [one.text for one in best], [f"{one.reward:.3f}  {one.text}" for one in best]),
        )
    drawn, undrawn = dict[str, str](), list[str]()
    for name, texts, legends in wanted:
        try:
            picture = evaluator.drawn(texts, legends)
        except PluginError as error:
            undrawn.append(f"warning: {name} is not drawn. {error}")
        else:
            drawn |= {} if picture is None else {name: picture}
    return drawn, tuple(undrawn)


def _warnings(found: Sequence[str]) -> list[str]:
    """What the log has in the middle of a line, as sentences."""
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found]


def _own_reward(config: Config, task: Task, trainer: Trainer) -> OwnReward | None:
    """What measures the rows by the user's own reward; None where nothing was trained by one."""
    number = config.evaluation.num_rewarded
    if not config.schedule.adversarial_updates or not number:
        return None
    figures = config.reward.figures(task)
    return None if figures is None else OwnReward(figures, task, number, config.seed, trainer.reward_state)


def _quantities(evaluator: Evaluator, rows: list[dict[str, Any]]) -> dict[str, Quantity]:
    """Of what stands in the rows, those of the user first, then in the order in which all that ships is listed."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("name", "temperature"))
    found = {name: evaluator.quantity(name) for name in names}
    return dict(sorted(found.items(), key=lambda item: place_of(item[0])))


def _verdict(config: Config, task: Task, trainer: Trainer, controls: _Controls) -> Verdict:
    """The run against its controls. The start is one, by temperature, where it has learned anything."""
    others = [Contender(name, generator) for name, generator in controls.trained.items() if name != _CEILING]
    if config.starts_trained:
        assert trainer.mle_start is not None
        others.insert(0, Contender(START, trainer.generator_from(trainer.mle_start), is_trained=False))
    again = trained_again(config)
    equal = [] if again is None else [controls.trained[again], *controls.repeats]
    contest = Contest(
        run=Contender("this run", trainer.current_generator()),
        controls=tuple(others),
        equal=() if again is None else tuple(Contender(again, generator) for generator in equal),
        continued=_contender(_CONTINUED, controls),
        ceiling=_contender(_CEILING, controls),
    )
    with stage("verdict", "verdict"):
        return judge_run(config, task, trainer.evaluator, contest, temperatures_of(config.evaluation))


def _contender(name: str, controls: _Controls) -> Contender | None:
    return Contender(name, controls.trained[name]) if name in controls.trained else None


def _of_real_sequences(task: Task, trainer: Trainer, controls: _Controls) -> list[str]:
    """Whether they were new each time, and how many each generator was given; where they can be drawn without end."""
    if not task.has_known_distribution:
        return []
    if task.stream is None:
        return [f"Real sequences (mode fixed): the same {len(task.train):,} training sequences throughout."]
    at_start = trainer.num_streamed_at_start
    numbers = {
        "this run": trainer.num_streamed,
        **{name: at_start + number for name, number in controls.streamed.items()},
    }
    given = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
    return [f"Real sequences (mode stream), new each time; learned from or shown to a discriminator: {given}."]


def _tables(task: Task, rows: list[dict[str, Any]]) -> list[str]:
    there = {name for row in rows for name in row}
    first = [name for name in _columns(task) if name in there]
    tables = [format_table(rows, ("name", "temperature", *first))]
    if latents := [name for name in _OF_LATENTS if name in there]:
        of_latents = [row for row in rows if any(name in row for name in latents)]
        tables += ["", format_table(of_latents, ("name", "temperature", *latents)), ""]
    closer = [name for name in _CLOSER_COLUMNS if name in there and name not in first]
    if closer and (task.measures or not task.has_known_distribution):
        tables += ["", format_table(rows, ("name", "temperature", *closer)), ""]
    if own := [name for name in dict.fromkeys(name for row in rows for name in row) if _is_own(name)]:
        tables += ["", format_table(rows, ("name", "temperature", *own)), ""]
    if judged := [row for row in rows if "adversuc" in row]:
        tables += ["", format_table(judged, ("name", *_ADVERSARIAL_COLUMNS)), _ADVERSARIAL_READING, ""]
    return tables


def _is_own(name: str) -> bool:
    return is_users_own(name) or name == UNSCORED or name.startswith(LOGGED)


def _of_probes(figures: Mapping[str, float], warned: list[str]) -> list[str]:
    """The discriminator of the last round beside what can be told without reading; nothing where nothing is probed."""
    areas = {name: figures[f"probe/auc_{name}"] for name in PROBES if f"probe/auc_{name}" in figures}
    if not areas:
        return []
    rows = [{"by": f"{name.replace('_', ' ')} alone", "auc": area} for name, area in areas.items()]
    judge = {"by": "discriminator", "auc": figures["discriminator/auc_heldout"]}
    if (matched := figures.get("discriminator/auc_length_matched")) is not None:
        judge["auc_length_matched"] = matched
    lines = [format_table([judge, *rows], ("by", "auc", "auc_length_matched")), _PROBE_READING]
    lengths = f"length, mean: real {figures['discriminator/length_real']:.1f}"
    lengths += f", generated {figures['discriminator/length_fake']:.1f}"
    if (correlation := figures.get("discriminator/length_correlation")) is not None:
        lengths += f"; rank correlation with the logit of generated ones {correlation:.2f}"
    return ["", *lines, lengths, *warned, ""]


def _columns(task: Task) -> tuple[str, ...]:
    """Of the first table, by what can be measured of the task."""
    likelihoods: tuple[str, ...] = _OF_KNOWN_DISTRIBUTION if task.has_known_distribution else _LIKELIHOODS
    if not task.has_real_sequences:
        likelihoods = ("nll_div",)
    measured = [name for measure, names in _COLUMNS.items() if measure in task.measures for name in names]
    return (*likelihoods, *measured, *(_OF_DECODED if "references" in task.measures else ()))


def _real_rows(config: Config, evaluator: Evaluator, row: _RowOf) -> list[dict[str, Any]]:
    """What real sequences score: a generator beyond it is not better than the data. None where there are none."""
    with stage("real", "real data"):
        real = evaluator.measure_real(config.evaluation.final_sequences)
        if real is None:
            return []
        return [row(f"real data (n={real.tokens.shape[0]})", None, real, evaluator.measure_people())]


def _start_rows(config: Config, trainer: Trainer, row: _RowOf) -> list[dict[str, Any]]:
    assert trainer.mle_start is not None
    start = trainer.generator_from(trainer.mle_start)
    rows, num = [], config.evaluation.final_sequences
    if not config.starts_trained:
        with stage("row", "untrained start"):
            measurement = trainer.evaluator.measure(start, 1.0, num)
            untrained = _judged(config, trainer.evaluator, start)
        return [row("untrained start", 1.0, measurement, untrained)]
    for temperature in temperatures_of(config.evaluation):
        name = "MLE start" if temperature == 1.0 else f"MLE τ={temperature:g}"
        with stage("row", name):
            measurement = trainer.evaluator.measure(start, temperature, num)
            judged = _judged(config, trainer.evaluator, start) if temperature == 1.0 else {}
            rows.append(row(name, temperature, measurement, judged))
    return rows


def _own_rows(config: Config, trainer: Trainer, row: _RowOf, final: Measurement) -> list[dict[str, Any]]:
    """The run at the temperatures of its start, last as it is."""
    generator, evaluator = trainer.current_generator(), trainer.evaluator
    rows = _rows_by_temperature(config, evaluator, row, generator, config.preset, OWN)
    judged = _judged(config, evaluator, generator, is_own=True)
    return [*rows, row(f"{config.preset}{OWN}", 1.0, final, judged)]


def _rows_by_temperature(
    config: Config, evaluator: Evaluator, row: _RowOf, generator: Generator, name: str, mark: str = ""
) -> list[dict[str, Any]]:
    """A generator at all temperatures of the table but 1."""
    rows = []
    for temperature in temperatures_of(config.evaluation):
        if temperature != 1.0:
            with stage("row", f"{name} τ={temperature:g}"):
                measurement = evaluator.measure(generator, temperature, config.evaluation.final_sequences)
                rows.append(row(f"{name} τ={temperature:g}{mark}", temperature, measurement))
    return rows


def _judged(config: Config, evaluator: Evaluator, generator: Generator, is_own: bool = False) -> dict[str, float]:
    """What a fresh evaluator makes of a start or of the run itself; the last of them is the machine it is rated by."""
    is_last = is_own or not config.schedule.adversarial_updates
    return evaluator.measure_adversarially(generator, rates_evaluator=is_last)


def _control_rows(config: Config, task: Task, trainer: Trainer, row: _RowOf, say: Callable[[str], None]) -> _Controls:
    """Controls begin at the run's own MLE start, make as many generator updates, and are selected alike.

    By further trainings of one of them the verdict knows how much two equal trainings differ.
    """
    found, evaluator, repeats_s = _Controls([], [], {}, [], {}), trainer.evaluator, 0.0
    for name, repeat in _trainings(config):
        settings = control(config, name, trainer.num_streamed - trainer.num_streamed_at_start)
        if repeat:
            settings = settings.model_copy(update={"seed": stream_seed(config.seed, "equal training", repeat)})
        again = f" again, {repeat} of {config.evaluation.equal_trainings}" if repeat else ""
        started = time.perf_counter()
        with stage(f"control {name}", f"control {name}{again}"):
            with ExitStack() as stack:
                with stage("parts", "building networks and starting actors"):
                    parts = stack.enter_context(build_parts(settings, task, begins=False, judge_begins=True))
                other = Trainer(settings, task, parts, mle_start=trainer.mle_start)
                while other.next_phase is not None:
                    other.step(measure=False)
                generator, lost = other.current_generator(), parts.faults.summary()
            if repeat:
                found.repeats.append(generator)
                repeats_s += time.perf_counter() - started
                if lost is not None:
                    say(lost)
                continue
            with stage("row", f"{name} τ=1"):
                measurement = other.evaluator.measure(generator, 1.0, config.evaluation.final_sequences)
                judged = evaluator.measure_adversarially(generator, decodes=False, rates_evaluator=False)
                found.rows.append(row(name, 1.0, measurement, judged))
            found.rows.extend(_rows_by_temperature(config, evaluator, row, generator, name))
        if other.selected is not None:
            found.selected.append(f"{name}: {other.selected}")
        found.trained[name] = generator
        found.streamed[name] = other.num_streamed
        took = f"control {name}: {time.perf_counter() - started:.0f} s"
        say(took if lost is None else f"{took}; {lost}")
    if found.repeats:
        say(f"control {trained_again(config)}: {len(found.repeats)} repeated trainings: {repeats_s:.0f} s")
    return found


def _trainings(config: Config) -> list[tuple[Control, int]]:
    """Controls in their order, and one of them again at the end: (name, how many of it were before)."""
    again = trained_again(config)
    repeats = [] if again is None else [(again, index) for index in range(1, config.evaluation.equal_trainings + 1)]
    return [*((name, 0) for name in dict.fromkeys(config.controls)), *repeats]


def _row(
    evaluator: Evaluator,
    reward: OwnReward | None,
    name: str,
    temperature: float | None,
    measurement: Measurement,
    judged: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    rewarded = {} if reward is None else reward.measure(measurement)
    metrics = {**measurement.metrics, **evaluator.measure_closely(measurement), **rewarded, **(judged or {})}
    values = {key.removeprefix("eval/"): value for key, value in metrics.items()}
    return {"name": name, "temperature": temperature, **values}
