"""What came of a sweep, for people: a page with pictures, and the same in words for a terminal; the finding first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import CheckpointError
from rlgan.report.html import Block, Paragraph, Picture, Preformatted, Section, Table, write_html
from rlgan.report.narrow import MOST_COLUMNS, stacked_tables, wrapped
from rlgan.report.samples import Written, sample_tables, sample_text
from rlgan.report.tables import printable, to_markdown

from ..judge.importance import Importance, importances
from ..judge.results import SweepResults, TrialResult, TrialState, in_standing
from ..judge.scales import label
from ..judge.selection import OBJECTIVES
from ..judge.verdict import Verdict, verdict
from ..search.forecast import duration
from .plots import plot_importance, plot_interactions, plot_parallel, plot_plane, plot_race, plot_trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"
"""Name of the page in its folder."""

_NUM_BEST = 5  # trials whose settings are shown
_MOST_LINES = 12  # of an error; its end says most
_NOTED = 10  # rows that a description shows
_RACE = ("entrant", "kind", "τ", "validation", "test", "test, τ=1", "seeds")
_EFFECTS = ("dimension", "loss of R²", "5 %", "95 %", "finding")
_STATES: dict[TrialState, str] = {
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "unfinished": "unfinished",
}


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is computed from results once, and shown in several forms.

    Attributes:
        importances: of the dimensions, after as many updates as all trials made, and at the end where that can be told.
        verdict: on the final race.
    """

    importances: tuple[Importance, ...]
    verdict: Verdict


def analyse(results: SweepResults) -> Analysis:
    """Importance, which takes some seconds, and verdict.

    Raises:
        ConfigError: scikit-learn is not installed.
        ValueError: the finals contradict themselves.
    """
    return Analysis(importances(results), verdict(results))


def write_page(results: SweepResults, folder: Path, analysis: Analysis | None = None) -> Path:
    """Write the page and its pictures.

    Args:
        results: of the sweep.
        folder: that they are written into; made where it is missing.
        analysis: of these results; None computes it.

    Returns:
        Path of the page, which needs no other file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
        ConfigError: scikit-learn is not installed.
        ValueError: the finals contradict themselves.
    """
    analysis = analysis or analyse(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be created ({error.strerror}). Use another folder.",
            code="page_folder",
            fields={"path": folder},
        ) from None
    judged = analysis.verdict
    plane = _drawn(
        plot_plane(results, judged, folder / "plane.png"),
        Picture(
            folder / "plane.png",
            "Scatter plot of all trials and entrants by quality and coverage, with the curve of the maximum "
            "likelihood start by temperature.",
            "Cooling or warming the start moves along its curve. A trial is of interest where it lies off that "
            "curve on the side of both smaller numbers.",
        ),
        "quality and coverage: neither a trial nor an entrant was measured",
    )
    sections = [
        Section("Finding", [Paragraph(results.description), Paragraph(judged.finding, strong=True), *_ran(results)]),
        Section("Again", _again(results, judged)),
        _race_section(results, judged, folder),
        Section("Quality and coverage", [plane]),
        _trials_section(results, judged, folder),
        _importance_section(analysis, folder),
    ]
    if failed := _failed(results):
        sections.append(Section("Failed trials", [Preformatted("\n\n".join(failed))]))
    sections.append(Section("How it was judged", [Paragraph(text) for text in _judged(results, judged)]))
    write_html(f"Sweep {results.name}: {results.study} on {results.task}", sections, folder / REPORT)
    return folder / REPORT


def summary_text(results: SweepResults, analysis: Analysis | None = None, columns: int = MOST_COLUMNS) -> str:
    """The page in words, for a terminal.

    Args:
        results: of the sweep.
        analysis: of these results; None computes it.
        columns: of a line; only the command that trains the winner again may be longer.

    Returns:
        Lines without a final newline, without any character that a terminal obeys.

    Raises:
        ConfigError: scikit-learn is not installed.
        ValueError: the finals contradict themselves.
    """
    analysis = analysis or analyse(results)
    judged = analysis.verdict
    parts = [
        f"sweep {results.name}: {results.study} on {results.task}\n{wrapped(results.description, columns, hang='')}",
        wrapped(judged.finding, columns, hang=""),
    ]
    parts.append("\n".join(wrapped(paragraph.text, columns, hang="") for paragraph in _ran(results)))
    if judged.entries:
        parts.append(
            f"final race, {results.objective} (lower is better)\n"
            + stacked_tables(_race_rows(judged), _RACE, most=columns)
        )
        parts.append(wrapped(f"share of the headroom captured: {judged.headroom}", columns, hang=""))
        if samples := _samples(results, judged):
            parts.append("samples of each entrant\n" + sample_text(samples, columns))
    if results.again is not None:
        said = wrapped(results.again.text, columns, hang="")
        parts.append("\n".join([said, *filter(None, [results.again.command])]))
    for importance in analysis.importances:
        text = f"importance: {importance.target}\n{wrapped(importance.verdict, columns, hang='')}"
        table = [stacked_tables(_effect_rows(importance), _EFFECTS, most=columns)] if importance.effects else []
        parts.append("\n".join([text, *table]))
    if best := _best(results):
        notes = [wrapped(note, columns, hang="") for note in _standing_notes(best)]
        shown = stacked_tables(*_best_table(results, best), most=columns)
        parts.append("\n".join(["best trials, one seed each", shown, *notes]))
    if failed := _failed(results):
        parts.append("failed trials\n" + "\n".join(failed))
    how = [wrapped(f"- {text}", columns) for text in _judged(results, judged)]
    parts.append("\n".join(["how it was judged", *how]))
    text = "\n\n".join(parts)
    return printable(text)


def sweep_tags(results: SweepResults, analysis: Analysis) -> dict[str, str]:
    """What a sweep's page in MLflow says of it: its finding, its winner, the head of its table, where its report is.

    Args:
        results: of the sweep.
        analysis: of these results.
    """
    judged = analysis.verdict
    parts = [judged.finding]
    if judged.entries:
        parts.append(to_markdown(_race_rows(judged)[:_NOTED], _RACE))
    elif best := _best(results):
        rows, columns = _best_table(results, best)
        parts.append(to_markdown(rows[:_NOTED], columns))
    if results.again is not None:
        parts += [results.again.text, *([f"    {results.again.command}"] if results.again.command else [])]
    parts.append(f"The report with its pictures: artifact `{REPORT}`.")
    tags = {"mlflow.note.content": "\n\n".join(parts), "finding": judged.finding}
    return tags if judged.winner is None else {**tags, "winner": judged.winner}


# ---------------------------------------------------------------------------------------------------- sections


def _drawn(figure: Figure | None, picture: Picture, missing: str) -> Block:
    """The picture, or what is missing for it."""
    return picture if figure is not None else Paragraph(f"There is no picture of {missing}.")


def _again(results: SweepResults, judged: Verdict) -> list[Block]:
    """How the winner is trained again."""
    if judged.winner is None:
        return [Paragraph("Nobody won, so there is no command that trains the winner again.")]
    if results.again is None:  # an older sweep, read from a server
        return [Paragraph("The sweep did not keep the command that trains the winner again.")]
    found: list[Block] = [Paragraph(results.again.text)]
    if results.again.command is not None:
        found.append(Preformatted(results.again.command))
    return found


def _samples(results: SweepResults, judged: Verdict) -> list[Written]:
    """What each entrant wrote, in the order of validation data: at its temperature, of its first seed."""
    found = []
    for entry in judged.entries:
        finals = [one for one in results.finals if (one.entrant, one.temperature) == (entry.entrant, entry.temperature)]
        shown = next((one for one in sorted(finals, key=lambda one: one.seed) if one.samples), None)
        if shown is not None:
            name = f"{entry.entrant} (τ={shown.temperature:g}, seed {shown.seed})"
            sources = tuple(source for source, _ in shown.beside if source is not None)
            found.append(Written(name, shown.samples, tuple(real for _, real in shown.beside), sources))
    return found


def _ran(results: SweepResults) -> list[Paragraph]:
    states = Counter(trial.state for trial in results.trials)
    counts = ", ".join(f"{states[state]} {words}" for state, words in _STATES.items() if states[state])
    trained = duration(sum(trial.seconds for trial in results.trials))
    text = f"{len(results.trials)} trials over {len(results.dimensions)} dimensions, {trained} of training"
    found = [Paragraph(f"{text}: {counts}." if counts else f"{text}.")]
    if results.contradictions:
        dropped = "; ".join(f"{count} × {reason}" for reason, count in sorted(results.contradictions.items()))
        found.append(
            Paragraph(f"{sum(results.contradictions.values())} points were dropped as contradictory: {dropped}.")
        )
    return found


def _race_section(results: SweepResults, judged: Verdict, folder: Path) -> Section:
    blocks: list[Block] = []
    if judged.entries:
        caption = f"{results.objective}, mean ± standard deviation over seeds, lower is better; in validation order"
        blocks.append(Table(_race_rows(judged), _RACE, caption))
    blocks.append(
        _drawn(
            plot_race(results, judged, folder / "race.png"),
            Picture(
                folder / "race.png",
                "Each entrant of the final race on test data: the seeds, their mean and its interval.",
                "Finalists are to be compared with the controls; the ceiling knows the oracle and is not to be beaten.",
            ),
            "the final race: no entrant was measured with a seed that all have run",
        )
    )
    if judged.differences:
        rows = [
            {"control": one.control, "finding": f"{judged.finalist} {one.outcome} it", "difference": str(one)}
            for one in judged.differences
        ]
        caption = f"{judged.finalist} less each control on test data, paired by seed, with 95 % intervals"
        blocks.append(Table(rows, ("control", "finding", "difference"), caption))
    if judged.entries:
        blocks.append(Paragraph(f"Share of the headroom captured: {judged.headroom}."))
        if samples := _samples(results, judged):
            blocks += sample_tables(samples, "What the entrants write, beside sequences of the test split")
    return Section("Final race", blocks)


def _trials_section(results: SweepResults, judged: Verdict, folder: Path) -> Section:
    blocks: list[Block] = [
        _drawn(
            plot_trials(results, judged, folder / "trials.png"),
            Picture(
                folder / "trials.png",
                f"Curves of {results.objective} over adversarial updates for all trials.",
                "Each line is a trial with one seed; the levels are means over the fresh seeds of the final race.",
            ),
            "the trials' curves: no trial was measured",
        ),
        _drawn(
            plot_parallel(results, folder / "parallel.png"),
            Picture(
                folder / "parallel.png",
                "Parallel coordinates: what each trial tried in each dimension, coloured by its objective.",
            ),
            "what trials tried: no trial was measured",
        ),
    ]
    if best := _best(results):
        caption = (
            f"The best {len(best)} trials. The best of many looks better than it is, for it was chosen by its luck as "
            "well; only the final race tells how good it is"
        )
        caption = ". ".join([caption, *_standing_notes(best)]).rstrip(".")
        rows, columns = _best_table(results, best)
        blocks.append(Table(rows, columns, caption))
    return Section("Trials", blocks)


def _importance_section(analysis: Analysis, folder: Path) -> Section:
    blocks: list[Block] = []
    for index, importance in enumerate(analysis.importances):
        end = "" if index == 0 else "_end"
        drawn = plot_importance(importance, folder / f"importance{end}.png")
        paired = plot_interactions(importance, folder / f"interactions{end}.png")
        blocks.append(Paragraph(importance.verdict, strong=True))  # says why where there is no picture
        if drawn is not None:
            bars = f"Bars of the importance of each dimension for {importance.target}."
            blocks.append(Picture(folder / f"importance{end}.png", bars))
        if importance.effects:
            blocks.append(
                Table(_effect_rows(importance), _EFFECTS, f"{importance.target}, n = {importance.num_trials}")
            )
        if paired is not None:
            blocks.append(
                Picture(
                    folder / f"interactions{end}.png",
                    f"Heat map of the interactions of the most important dimensions for {importance.target}.",
                )
            )
    return Section("Which dimensions matter", blocks)


# ------------------------------------------------------------------------------------------------------- tables


def _race_rows(judged: Verdict) -> list[dict[str, Any]]:
    return [
        {
            "entrant": entry.entrant,
            "kind": entry.kind,
            "τ": None if entry.temperature is None else f"{entry.temperature:g}",
            "validation": entry.validation,
            "test": entry.test,
            "test, τ=1": entry.as_trained,
            "seeds": None if entry.test is None else entry.test.num,
        }
        for entry in judged.entries
    ]


def _effect_rows(importance: Importance) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "dimension": effect.dimension,
            "loss of R²": effect.loss.mean,
            "5 %": effect.loss.low,
            "95 %": effect.loss.high,
            "finding": "matters" if effect.clear else "not distinguishable from nothing",
        }
        for effect in importance.effects
    ]
    if importance.probe is not None:
        probe = importance.probe
        name = {"dimension": "(probe: does nothing)", "finding": "for comparison"}
        rows.append({**name, "loss of R²": probe.mean, "5 %": probe.low, "95 %": probe.high})
    return rows


def _best(results: SweepResults) -> list[TrialResult]:
    return [one for one in in_standing(results.trials) if one.value is not None and math.isfinite(one.value)][
        :_NUM_BEST
    ]


def _standing_notes(best: Sequence[TrialResult]) -> list[str]:
    """What the mark of a trial means, where one has it."""
    if all(trial.state == "finished" for trial in best):
        return []
    return [
        "* did not finish: it was measured after fewer updates, so its objective does not compare with the others, and "
        "it stands behind those that finished."
    ]


def _best_table(results: SweepResults, best: Sequence[TrialResult]) -> tuple[list[dict[str, Any]], list[str]]:
    """A column a trial, so that many dimensions fit on a screen."""
    names = {one.index: f"trial {one.index}{'' if one.state == 'finished' else ' *'}" for one in best}

    def row(what: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"": what, **values}

    rows = [
        row(results.objective, {names[trial.index]: trial.value for trial in best}),
        *(row(f"  {side}", {names[trial.index]: trial.metrics.get(side) for trial in best}) for side in results.sides),
        row("state", {names[trial.index]: trial.state for trial in best}),
        row("updates", {names[trial.index]: trial.curve[-1][0] for trial in best}),
    ]
    for name in results.dimensions:
        rows.append(row(name, {names[one.index]: label(one.point[name]) for one in best if name in one.point}))
    return rows, ["", *names.values()]


def _failed(results: SweepResults) -> list[str]:
    """What failed trials raised, those alike together."""
    alike: dict[str, list[str]] = {}
    for trial in results.trials:
        if trial.state == "failed":
            lines = (trial.error or "").strip().splitlines() or ["no error was recorded"]
            cut = [f"({len(lines) - _MOST_LINES} lines before)"] if len(lines) > _MOST_LINES else []
            alike.setdefault("\n  ".join([*cut, *lines[-_MOST_LINES:]]), []).append(str(trial.index))
    return [f"trial {', '.join(indices)}: {error}" for error, indices in alike.items()]


def _judged(results: SweepResults, judged: Verdict) -> list[str]:
    known = OBJECTIVES.get(results.objective)
    reason = f": {known.reason}" if known is not None else ""
    return [
        f"The objective {results.objective} = {' + '.join(results.sides)} is two-sided{reason}. Neither side can be "
        "gained for free by losing the other, which a lower temperature or collapse would do.",
        "Trials are compared on validation data, each with one seed. Test data are used only in the final race, and "
        "nothing is chosen by them.",
        *judged.notes,
        "Importance is of the trials that the search chose to try, compared by rank at equal numbers of updates; "
        "what is not distinguishable from nothing may matter still, and these trials do not show it.",
    ]
