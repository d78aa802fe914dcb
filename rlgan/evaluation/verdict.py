"""What may be said of a run beside its controls: the closing line, as a record and in words.

A run is compared with *every* control, each at the temperature that validation data chose for it, and the best of them
by validation data is named first. What is compared is one measure that quality and coverage both enter. A claim is made
only where an interval of the difference excludes 0, and the interval knows four kinds of chance: which sequences are
held out, which ones either generator drew, how much two trainings that differ by nothing but the seed differ, and that
there are several controls.

Why choosing does not spoil it: temperatures and the best control are chosen on validation sequences, the differences
are of test sequences. That a training was lucky is in the interval, and since the best of k controls is partly the
luckiest, each interval has a confidence of 1 - 0.05/k (Bonferroni). The run is "better" only if it is better than each
control, and "worse" if it is worse than the best; either is false in at most 5 % of cases.

One run is one seed of its method. So whatever is said is said of this run's generator.

Nothing here measures or trains; `rlgan.runs.judging` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from rlgan.base.errors import CheckpointError
from rlgan.base.files import write_atomically
from rlgan.metrics import headroom_captured
from rlgan.metrics.intervals import CONFIDENCE, Chance, Uncertain, ratio_interval

from .evidence import Evidence, Floats, Measure, Side, combined

FILE = "verdict.json"
"""Name of the file of a run's folder that holds its verdict."""

START = "the MLE start"
"""Name of the maximum-likelihood start among the controls."""

NO_DIFFERENCE: Final = "no significant difference"
"""What is said where an interval contains 0, here and in sweeps."""

_Outcomes = Literal["better", "worse", "no significant difference", "not judged"]
_OF_OLD_RUNS = {"not told apart": NO_DIFFERENCE}
"""Outcomes that files of earlier versions have → what they are called now."""

Outcome = Annotated[_Outcomes, BeforeValidator(lambda value: _OF_OLD_RUNS.get(value, value))]

_SAMPLES_DO_NOT_TELL = "oracle_ratio knows the exact distribution. Training on a fixed data set cannot gain as much."
_A_STREAM_TELLS = (
    "Real sequences were drawn anew each time, so it is not for lack of data if the run gains less than oracle_ratio."
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """One generator at the temperature that validation data chose.

    Attributes:
        name: of the run or the control.
        temperature: chosen.
        validation: the measure on validation data there.
        evidence: of test data there.
        is_trained: whether it was trained after the common start, and so has the chance of a training of its own.
    """

    name: str
    temperature: float
    validation: float
    evidence: Evidence
    is_trained: bool


@dataclass(frozen=True, slots=True)
class Ends:
    """Generators at temperature 1, between which the share of the headroom is measured.

    Attributes:
        run: the run.
        continued: as many likelihood updates without an adversary.
        ceiling: rewarded by the exact ratio.
        of_stream: whether real sequences were drawn anew each time, so that data never ran out.
    """

    run: Evidence
    continued: Evidence
    ceiling: Evidence
    of_stream: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """The run's figure less a control's, on test data; below 0 the run is better.

    Attributes:
        value: of the difference.
        low: end of its interval.
        high: end of its interval.
        draw_error: standard error by the sequences that are held out and drawn.
        training_error: standard error by the chance of training; None where it is not known.
    """

    value: float
    low: float
    high: float
    draw_error: float
    training_error: float | None

    @property
    def excludes_zero(self) -> Literal["below", "above"] | None:
        """On which side of 0 the whole interval lies."""
        return "below" if self.high < 0 else "above" if self.low > 0 else None

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, slots=True)
class Against:
    """The run against one control.

    Attributes:
        control: its name.
        temperature: of the control, chosen on validation data.
        total: difference of the measure.
        quality: difference of its first side.
        coverage: difference of its second side.
    """

    control: str
    temperature: float
    total: Difference
    quality: Difference
    coverage: Difference


@dataclass(frozen=True, slots=True)
class Share:
    """Share of what the exact ratio gains that the run gained, at temperature 1.

    Attributes:
        value: 0 is mle_continued, 1 is oracle_ratio; None where it is not defined.
        low: end of its interval; None likewise.
        high: end of its interval; None likewise.
        sentence: the same in words, with the reason where there is none.
    """

    value: float | None
    low: float | None
    high: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run beside its controls.

    Attributes:
        outcome: of the run's generator: "better" than each control's, "worse" than the best one's, "no
            significant difference", or "not judged" where there is nothing to compare.
        measure: name of what is compared; None where nothing is.
        quality: name of its first side; None likewise.
        coverage: name of its second side; None likewise.
        temperature: of the run, chosen on validation data; None likewise.
        comparisons: with each control, the best one by validation data first.
        confidence: of each interval.
        num_seeds: of the run.
        num_trainings: equal ones by which the chance of training is known; below 2 it is not.
        trained_again: the control that these are of; None where there are none.
        share: of the headroom; None where the run has no such controls.
        sentences: all of that in words, one a line.
    """

    outcome: Outcome
    measure: str | None
    quality: str | None
    coverage: str | None
    temperature: float | None
    comparisons: tuple[Against, ...]
    confidence: float
    num_seeds: int
    num_trainings: int
    trained_again: str | None
    share: Share | None
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        """The sentences, a line each."""
        return "\n".join(self.sentences)

    @property
    def statement(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)

    def figures(self) -> dict[str, float]:
        """What is logged of it, by name; those of a share that is not defined are missing."""
        found: dict[str, float] = {}
        if self.comparisons:
            best = self.comparisons[0].total
            found |= {"final/difference": best.value, "final/difference_low": best.low}
            found |= {"final/difference_high": best.high}
        if self.share is not None and self.share.value is not None:
            assert self.share.low is not None and self.share.high is not None
            found |= {"final/headroom_captured": self.share.value, "final/headroom_captured_low": self.share.low}
            found |= {"final/headroom_captured_high": self.share.high}
        return found


def best_temperature(values: Mapping[float, float]) -> tuple[float, float]:
    """The temperature of the least value of validation data, and that value.

    Of equal ones the nearest to 1: a temperature has to earn its place.

    Args:
        values: temperature → value; those that are not finite are not chosen.

    Returns:
        Both; 1 and infinity where no value is finite.
    """
    finite = {temperature: value for temperature, value in values.items() if math.isfinite(value)}
    if not finite:
        return 1.0, math.inf
    best = min(finite, key=lambda one: (finite[one], abs(math.log(one)), one))
    return best, finite[best]


def judge(
    measure: Measure,
    run: Entrant,
    controls: Sequence[Entrant],
    trainings: Floats,
    trained_again: str | None = None,
    ends: Ends | None = None,
) -> Verdict:
    """Compare a run with its controls.

    Args:
        measure: what is compared.
        run: the run.
        controls: at least one; all with evidence of the same held-out sequences as the run's.
        trainings: (r, 2) sides of the measure of r equal trainings from the common start, which differ by their seed
            alone; with fewer than two the chance of training is not known, and nothing is claimed.
        trained_again: the control that they are of.
        ends: what the share of the headroom is measured between; None for none.

    Returns:
        The verdict.
    """
    confidence = 1 - (1 - CONFIDENCE) / len(controls)
    standing = sorted(controls, key=lambda one: one.validation)
    comparisons = tuple(_compared(run, one, trainings, confidence) for one in standing)
    is_known = len(trainings) > 1
    share = None if ends is None else _share(measure, ends, trainings)
    outcome: Outcome = NO_DIFFERENCE
    if is_known and all(one.total.excludes_zero == "below" for one in comparisons):
        outcome = "better"
    elif is_known and comparisons[0].total.excludes_zero == "above":
        outcome = "worse"
    sentences = (
        *_of_the_difference(measure, run.temperature, comparisons, outcome, is_known),
        "One seed: no evidence about the method.",
        _of_chance(len(trainings), trained_again, len(comparisons), confidence),
        *([] if ends is None or share is None else [share.sentence, _of_data(ends)]),
    )
    return Verdict(
        outcome=outcome,
        measure=measure.name,
        quality=measure.quality,
        coverage=measure.coverage,
        temperature=run.temperature,
        comparisons=comparisons,
        confidence=confidence,
        num_seeds=1,
        num_trainings=len(trainings),
        trained_again=trained_again,
        share=share,
        sentences=sentences,
    )


def not_judged(reason: str) -> Verdict:
    """The verdict on a run that cannot be compared.

    Args:
        reason: why, as the end of a sentence.
    """
    sentence = f"This run is not judged: {reason}."
    return Verdict("not judged", None, None, None, None, (), CONFIDENCE, 1, 0, None, None, (sentence,))


def write_verdict(verdict: Verdict, folder: Path) -> None:
    """Write it into the folder of its run.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    content = _ADAPTER.dump_json(verdict, indent=2) + b"\n"
    write_atomically(folder / FILE, lambda path: path.write_bytes(content))


def read_verdict(folder: Path) -> Verdict | None:
    """Verdict of the run in a folder; None where it has none, as long as it has not ended or if it is an old one.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: is damaged ({reason}). Remove it; its sentences are also in table.txt.",
            code="damaged_verdict",
            fields={"path": path},
        ) from None


_ADAPTER = TypeAdapter(Verdict)

# ------------------------------------------------------------------------------------------------------ numbers


def _chance_of_training(trainings: Floats, weight: float, side: Side = None) -> Chance | None:
    """Chance of a sum of independent trainings, the squares of whose weights add up to `weight`."""
    if len(trainings) < 2:
        return None
    values = trainings.sum(1) if side is None else trainings[:, side]
    return Chance(weight * float(values.var(ddof=1)), len(values) - 1)


def _compared(run: Entrant, control: Entrant, trainings: Floats, confidence: float) -> Against:
    def difference(side: Side) -> Difference:
        pair, weights = (run.evidence, control.evidence), (1.0, -1.0)
        training = _chance_of_training(trainings, float(run.is_trained) + float(control.is_trained), side)
        by_draw = combined(pair, weights, None, side)
        whole = combined(pair, weights, training, side)
        low, high = whole.interval(confidence)
        error = None if training is None else math.sqrt(training.variance)
        return Difference(whole.value, low, high, math.sqrt(by_draw.variance), error)

    return Against(control.name, control.temperature, difference(None), difference(0), difference(1))


def _share(measure: Measure, ends: Ends, trainings: Floats) -> Share:
    training = _chance_of_training(trainings, 2.0)
    pairs = ((ends.continued, ends.run), (ends.continued, ends.ceiling), (ends.ceiling, ends.run))
    gained, headroom, missing = (combined(pair, (1.0, -1.0), training) for pair in pairs)
    limits = ratio_interval(gained, headroom, missing)
    value = headroom_captured(
        gap_sum_run=ends.run.total,
        gap_sum_mle_continued=ends.continued.total,
        gap_sum_oracle_ratio=ends.ceiling.total,
    )
    if training is None:
        return _undefined("the variance between trainings is not known, and so not whether there is any headroom")
    if value is None or limits is None or headroom.interval()[0] <= 0:
        return _undefined(
            f"oracle_ratio gains {_with_interval(headroom)} of {measure.name} over mle_continued at τ=1, which is not "
            "significantly different from 0"
        )
    low, high = limits
    return Share(
        value,
        low,
        high,
        f"Share of the headroom captured: {value:+.2f} [{low:+.2f}, {high:+.2f}] (0 = mle_continued, 1 = oracle_ratio, "
        "at τ=1).",
    )


def _of_data(ends: Ends) -> str:
    return _A_STREAM_TELLS if ends.of_stream else _SAMPLES_DO_NOT_TELL


def _undefined(reason: str) -> Share:
    sentence = f"Share of the headroom captured: not defined, because {reason}."
    return Share(None, None, None, sentence)


def _with_interval(figure: Uncertain) -> str:
    low, high = figure.interval()
    return f"{figure.value:+.3f} [{low:+.3f}, {high:+.3f}]"


# ------------------------------------------------------------------------------------------------------- words

_UNKNOWN = "not of training (evaluation.equal_trainings is 0, or no control trains like the run)"


def _of_the_difference(
    measure: Measure, temperature: float, comparisons: Sequence[Against], outcome: Outcome, is_known: bool
) -> list[str]:
    best, *others = comparisons
    name = "control" if not others else "best control"
    ends = {
        "better": "this run's generator is better",
        "worse": "this run's generator is worse",
    }
    excludes, end = best.total.excludes_zero, ends.get(outcome, outcome)
    if outcome == NO_DIFFERENCE and not is_known and excludes is not None:
        end = "no claim, because the variance between trainings is not known"
    sentences = [
        f"{measure.name} ({measure.meaning}; lower is better): this run at τ={temperature:g} minus its {name}, "
        f"{best.control} at τ={best.temperature:g}: {best.total}: {end}.",
        _of_the_sides(measure, best, outcome),
    ]
    if outcome == "better" and others:
        sentences.append(f"It is also better than each other control: {_listed(others)}.")
    if outcome == NO_DIFFERENCE and is_known and excludes == "below":
        unbeaten = [one for one in others if one.total.excludes_zero != "below"]
        sentences.append(f"No claim is made, because there is no significant difference from {_listed(unbeaten)}.")
    return sentences


def _of_the_sides(measure: Measure, best: Against, outcome: Outcome) -> str:
    text = f"By sides: {measure.quality} {best.quality}, {measure.coverage} {best.coverage}"
    wanted = {"better": "below", "worse": "above"}.get(outcome)
    if wanted is not None and best.quality.excludes_zero == wanted == best.coverage.excludes_zero:
        text += f": {outcome} in both at once"
    return f"{text}."


def _of_chance(num_trainings: int, trained_again: str | None, num_controls: int, confidence: float) -> str:
    controls = "1 control" if num_controls == 1 else f"{num_controls} controls"
    if num_trainings > 1:
        of = f"of samples, and of training (estimated from {num_trainings} trainings of {trained_again})"
    else:
        of = f"and samples, {_UNKNOWN}"
    comma = "," if num_trainings > 1 else ""
    return f"Intervals: {100 * confidence:.3g} % ({controls}). They include the variance of test sequences{comma} {of}."


def _listed(comparisons: Sequence[Against]) -> str:
    return ", ".join(f"{one.control} at τ={one.temperature:g} ({one.total})" for one in comparisons)


def no_trainings() -> Floats:
    """What `judge` takes where equal trainings were not made."""
    return np.empty((0, 2))
