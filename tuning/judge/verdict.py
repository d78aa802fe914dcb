"""The final race: whether what the search found beats what it has to beat, as far as the seeds can tell.

Everything is chosen on validation data, the temperature of each entrant and the best finalist alike, and everything is
reported on test data. Differences are paired by seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgan.evaluation.verdict import best_temperature
from rlgan.metrics import headroom_captured
from rlgan.metrics.intervals import Chance, Interval, Spread, Uncertain, interval, ratio_interval, spread

from .results import FinalResult, Kind, SweepResults

BASELINE, CONTINUED = "MLE", "mle_continued"
"""Names of entrants: the maximum-likelihood start, and the same updates without an adversary."""
TEMPERED, AS_TRAINED = f"tempered {BASELINE}", f"{BASELINE} at τ=1"
"""The start at the temperature that validation data choose, and as it was trained."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entrant.

    Attributes:
        entrant: its name.
        kind: finalist, control or ceiling.
        temperature: chosen on validation data; None where none could be, for want of finite values.
        validation: objective at that temperature.
        test: objective at that temperature.
        test_by_seed: the same, seed → objective.
        missing: seeds that others have and it has not.
        as_trained: objective on test data at temperature 1; None where it was not measured.
        as_trained_by_seed: the same, seed → objective.
    """

    entrant: str
    kind: Kind
    temperature: float | None
    validation: Spread | None
    test: Spread | None
    test_by_seed: Mapping[int, float]
    missing: tuple[int, ...]
    as_trained: Spread | None
    as_trained_by_seed: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """The best finalist against one control, on test data, each at its chosen temperature.

    Attributes:
        control: what it is against.
        interval: objective of the finalist less that of the control, below 0 where the finalist is better; None where
            no seed has both.
        left_out: why seeds were left out, a sentence part for each entrant; empty where none was.
    """

    control: str
    interval: Interval | None
    left_out: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """Words for what the finalist does: "beats" it, "is worse than" it, "shows no significant difference from" it.

        Where a seed is missing nothing beats anything: those that survived may be those that were easy.
        """
        if self.left_out:
            return "shows no significant difference from"
        if self.interval is not None and self.interval.high is not None and self.interval.high < 0:
            return "beats"
        if self.interval is not None and self.interval.low is not None and self.interval.low > 0:
            return "is worse than"
        return "shows no significant difference from"

    def __str__(self) -> str:
        number = "no seed has both results" if self.interval is None else f"difference {self.interval}"
        return "; ".join([number, *self.left_out])


@dataclass(frozen=True, slots=True)
class Headroom:
    """Share of what a perfect discriminator gains that the best finalist gained, on test data at temperature 1.

    Attributes:
        by_seed: seed → share; None where the ceiling did not end below mle_continued: there was nothing to gain.
        interval: mean gain over mean headroom of all seeds, with Fieller's interval; None where the mean headroom is
            not significantly different from 0, for a share of nothing is any number.
        missing: why it is undefined; None where it is not.
        continued: the control that stands for nothing gained.
    """

    by_seed: Mapping[int, float | None]
    interval: Interval | None
    missing: str | None
    continued: str = CONTINUED

    def __str__(self) -> str:
        if self.interval is None:
            return f"undefined: {self.missing}"
        return f"{self.interval} (0 = {self.continued}, 1 = the ceiling)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the final race.

    Attributes:
        entries: of all entrants, the best on validation data first; those without a value last.
        winner: best on validation data of all but the ceiling; None where nothing was measured.
        finalist: best finalist on validation data; None where there is none.
        differences: of the best finalist and each control.
        headroom: that it captured.
        finding: what may be said, in a sentence or two.
        notes: what one has to know to read it: missing seeds, how things were chosen.
    """

    entries: tuple[Entry, ...]
    winner: str | None
    finalist: str | None
    differences: tuple[Difference, ...]
    headroom: Headroom
    finding: str
    notes: tuple[str, ...]


def verdict(results: SweepResults) -> Verdict:
    """Judge the final race.

    Args:
        results: of the sweep; the objective is the sum of its sides.

    Raises:
        ValueError: a final lacks a side of the objective, or an entrant is of two kinds.
    """
    names = dict.fromkeys(final.entrant for final in results.finals)
    entries = sorted((_entry(results, name) for name in names), key=_standing)
    racing = [entry for entry in entries if entry.kind != "ceiling" and entry.temperature is not None]
    finalists = [entry for entry in racing if entry.kind == "finalist"]
    best = finalists[0] if finalists else None
    differences = () if best is None else _differences(best, entries, results)
    return Verdict(
        entries=tuple(entries),
        winner=racing[0].entrant if racing else None,
        finalist=None if best is None else best.entrant,
        differences=differences,
        headroom=_headroom(best, entries, results),
        finding=_finding(results, racing[0] if racing else None, best, differences),
        notes=_notes(results, entries),
    )


def objective_value(metrics: Mapping[str, float], sides: Sequence[str]) -> float:
    """The objective of one measurement; not finite where a side is not.

    Raises:
        ValueError: a side is missing.
    """
    for side in sides:
        if side not in metrics:
            raise ValueError(
                f"{side}: is a side of the objective but was not measured; measured were {', '.join(metrics)}"
            )
    return sum(metrics[side] for side in sides)


# ----------------------------------------------------------------------------------------------------- entries


def _entry(results: SweepResults, entrant: str) -> Entry:
    finals = [final for final in results.finals if final.entrant == entrant]
    kinds = {final.kind for final in finals}
    if len(kinds) > 1:
        raise ValueError(f"{entrant}: has two kinds, {' and '.join(sorted(kinds))}; it must have one")
    validation = _by_temperature(finals, results.sides, "validation")
    test = _by_temperature(finals, results.sides, "test")
    # A temperature that was measured with fewer seeds than another is no match for it: seeds differ.
    most = max(map(len, validation.values()))
    means = {
        temperature: spread(list(seeds.values())).mean
        for temperature, seeds in validation.items()
        if len(seeds) == most
    }
    best, value = best_temperature(means)
    chosen = best if math.isfinite(value) else None
    at_one = test.get(1.0, {})
    return Entry(
        entrant=entrant,
        kind=finals[0].kind,
        temperature=chosen,
        validation=None if chosen is None else spread(list(validation[chosen].values())),
        test=None if chosen is None else spread(list(test[chosen].values())),
        test_by_seed={} if chosen is None else test[chosen],
        missing=tuple(sorted({final.seed for final in results.finals} - {final.seed for final in finals})),
        as_trained=spread(list(at_one.values())) if at_one else None,
        as_trained_by_seed=at_one,
    )


def _by_temperature(finals: Sequence[FinalResult], sides: Sequence[str], split: str) -> dict[float, dict[int, float]]:
    found: dict[float, dict[int, float]] = {}
    for final in sorted(finals, key=lambda one: (one.temperature, one.seed)):
        value = objective_value(getattr(final, split), sides)
        found.setdefault(final.temperature, {})[final.seed] = value
    return found


def _standing(entry: Entry) -> tuple[bool, float, bool, str]:
    # Who failed with a seed stands below all who did not: the mean of the survivors is no fair one. Of equal ones a
    # control comes first: a finalist has to earn its place.
    mean = math.inf if entry.validation is None else entry.validation.mean
    return bool(entry.missing), mean, entry.kind == "finalist", entry.entrant


# ------------------------------------------------------------------------------------------------- differences


def _differences(best: Entry, entries: Sequence[Entry], results: SweepResults) -> tuple[Difference, ...]:
    seeds = {final.seed for final in results.finals}
    found = []
    for control in entries:
        if control.kind != "control":
            continue
        if control.entrant == BASELINE:
            found.append(_difference(best, TEMPERED, control.test_by_seed, seeds))
            found.append(_difference(best, AS_TRAINED, control.as_trained_by_seed, seeds))
        else:
            found.append(_difference(best, control.entrant, control.test_by_seed, seeds))
    # First what an adversary has to beat before anything else.
    order = (TEMPERED, AS_TRAINED, CONTINUED)
    return tuple(sorted(found, key=lambda one: order.index(one.control) if one.control in order else len(order)))


def _difference(best: Entry, name: str, control: Mapping[int, float], seeds: set[int]) -> Difference:
    left_out = [*_left_out(best.entrant, best.test_by_seed, seeds), *_left_out(name, control, seeds)]
    pairs = {
        seed: best.test_by_seed[seed] - control[seed] for seed in sorted(best.test_by_seed.keys() & control.keys())
    }
    finite = [difference for difference in pairs.values() if math.isfinite(difference)]
    return Difference(name, interval(finite) if finite else None, tuple(left_out))


def _left_out(entrant: str, by_seed: Mapping[int, float], seeds: set[int]) -> list[str]:
    missing = sorted(seeds - by_seed.keys())
    broken = sorted(seed for seed, value in by_seed.items() if not math.isfinite(value))
    words = []
    for found, what in ((missing, "has no result"), (broken, "is not finite")):
        if found:
            words.append(f"{entrant} {what} for seed {', '.join(map(str, found))}")
    return words


def _headroom(best: Entry | None, entries: Sequence[Entry], results: SweepResults) -> Headroom:
    by_name = {entry.entrant: entry for entry in entries}
    # The finalist's own: of as many updates, with its likelihood's learning rate.
    floor, its_ceiling = (None, None) if best is None else results.beside.get(best.entrant, (None, None))
    continued, ceiling = by_name.get(floor or ""), by_name.get(its_ceiling or "")
    if best is None or ceiling is None or continued is None:
        lacking = "no finalist" if best is None else "no ceiling" if ceiling is None else f"no {CONTINUED}"
        return Headroom({}, None, f"there is {lacking}")
    common = (entry.as_trained_by_seed.keys() for entry in (continued, ceiling))
    seeds = sorted(set(best.as_trained_by_seed).intersection(*common))
    ends = [[entry.as_trained_by_seed[seed] for entry in (best, continued, ceiling)] for seed in seeds]
    shares = {
        seed: headroom_captured(gap_sum_run=run, gap_sum_mle_continued=floor_, gap_sum_oracle_ratio=top)
        for seed, (run, floor_, top) in zip(seeds, ends, strict=True)
    }
    if not seeds:
        lacking = f"no seed has results for {best.entrant}, {continued.entrant} and {ceiling.entrant} at temperature 1"
        return Headroom({}, None, lacking, continued.entrant)
    if not np.isfinite(ends).all():
        return Headroom(shares, None, "a value is not finite", continued.entrant)
    # Not the mean of shares: with a headroom near 0 one seed's share is any number.
    runs, floors, tops = np.array(ends).T
    gained, headroom, missing = (_mean(values) for values in (floors - runs, floors - tops, tops - runs))
    gain = f"{ceiling.entrant} gained {interval([*map(float, floors - tops)])} over {continued.entrant}"
    if len(seeds) < 2 or headroom.interval()[0] <= 0:
        return Headroom(shares, None, f"{gain}, which is not significantly different from 0", continued.entrant)
    limits = ratio_interval(gained, headroom, missing)
    assert limits is not None, "Fieller's interval exists only if the denominator is significantly different from 0"
    share = Interval(gained.value / headroom.value, *limits, len(seeds))
    return Headroom(shares, share, None, continued.entrant)


def _mean(values: NDArray[np.float64]) -> Uncertain:
    """Mean of values, one a seed."""
    number = len(values)
    chance = () if number < 2 else (Chance(float(values.var(ddof=1)) / number, number - 1),)
    return Uncertain(float(values.mean()), chance)


# ------------------------------------------------------------------------------------------------------- words


def _finding(results: SweepResults, winner: Entry | None, best: Entry | None, differences: Sequence[Difference]) -> str:
    if not results.finals:
        return "There was no final race, so it is unknown whether any trial is better than maximum likelihood."
    if best is None:
        return "No finalist could be measured."
    if not differences:
        return f"{best.entrant} is the best finalist on validation data; there was no control to compare with."
    beaten = [one for one in differences if one.outcome == "beats"]
    if len(beaten) == len(differences):
        text = f"{best.entrant} is significantly better than every control: {_listed(beaten)}."
    else:
        # "No finalist": the others were worse on validation data, and nothing is chosen on test data.
        first, *rest = [one for one in differences if one.outcome != "beats"]
        text = (
            f"No finalist is significantly better than {first.control}: {best.entrant}, the best finalist on "
            f"validation data, {first.outcome} it ({first})."
        )
        if rest:
            text += "".join(f" It {one.outcome} {one.control} ({one})." for one in rest)
        if beaten:
            text += f" It is significantly better than {_listed(beaten)}."
    if winner is not None and winner.kind != "finalist":
        text += f" On validation data {winner.entrant}, which is not a finalist, was the best of all but a ceiling."
    return text


def _listed(differences: Sequence[Difference]) -> str:
    return ", ".join(f"{one.control} ({one})" for one in differences)


def _notes(results: SweepResults, entries: Sequence[Entry]) -> tuple[str, ...]:
    if not results.finals:
        return ()
    notes = [
        (
            "The temperature of each entrant and the best finalist were chosen on validation data, by the mean over "
            "seeds. Differences are on test data, paired by seed; negative means that the finalist is better."
        ),
        (
            "Finalists are the best trials of the search, trained again with new seeds, so a lucky seed in the search "
            "does not count here. Choosing the best of several finalists still favours luck."
        ),
        (
            "Intervals are 95 % t intervals for each difference separately, without correction for the number of "
            "controls."
        ),
    ]
    seeds = {final.seed for final in results.finals}
    if len(seeds) == 1:
        notes.append("With one seed, chance and real differences cannot be separated.")
    for entry in entries:
        with_any = {final.seed for final in results.finals if final.entrant == entry.entrant}
        if seeds - with_any:
            missing = ", ".join(map(str, sorted(seeds - with_any)))
            notes.append(f"{entry.entrant} has no result for seed {missing}: its means are over fewer seeds.")
        if entry.temperature is None:
            notes.append(f"{entry.entrant} is not ranked: there is no temperature at which all its seeds are finite.")
    return tuple(notes)
