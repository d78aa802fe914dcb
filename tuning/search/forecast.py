"""How long a sweep takes, by what it has done so far: how many trials fit into its time, and whether its race does.

All of it is arithmetic on measured seconds; `rlgan.tuning.search.watch` measures them and says what comes out here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MARGIN = 1.2  # of what a race is thought to take: it is estimated from other runs than its own
_LEAST_SEARCH = 0.25  # of the hours
_MOST = 1e7  # seconds; beyond, nobody reads digits


def duration(seconds: float) -> str:
    """Seconds in two digits of a unit that fits: "0 s", "0.4 s", "42 s", "6.5 min", "1.8 hours", "12 days"."""
    size = abs(seconds)
    for limit, unit, name in ((99.5, 1.0, "s"), (99.5 * 60, 60.0, "min"), (99.5 * 3600, 3600.0, "hours")):
        if size < limit:
            number = seconds / unit
            return f"{number:.0f} {name}" if abs(number) >= 9.95 or number == 0 else f"{number:.2g} {name}"
    return f"{seconds / 86400:.3g} days" if size < _MOST else "months"


@dataclass(frozen=True, slots=True)
class Costs:
    """What parts of runs took.

    Attributes:
        start_s: a maximum-likelihood start.
        trial_s: a trial from its start to its last update, measurements on the way included.
        measure_s: one measurement of those.
    """

    start_s: float
    trial_s: float
    measure_s: float


@dataclass(frozen=True, slots=True)
class RaceSize:
    """What one seed of a race consists of.

    Attributes:
        starts: different starts.
        trained: entrants that go on from one as long as a trial.
        entrants: of all.
        measurements: at the end of each, in the size of those of a trial.
    """

    starts: int
    trained: int
    entrants: int
    measurements: float


def seed_s(costs: Costs, size: RaceSize, at_once: int) -> float:
    """Seconds of one seed of a race, of which `at_once` runs work at a time.

    Not less than its longest run: a start, all updates, and what is measured at the end.
    """
    end_s = size.measurements * costs.measure_s
    work = size.starts * costs.start_s + size.trained * costs.trial_s + size.entrants * end_s
    return max(work / at_once, costs.start_s + costs.trial_s + end_s)


def search_share(whole_s: float, race_s: float | None) -> float:
    """Seconds that the search may take of the whole time.

    What the race is thought to need, and a fifth more, is left for it; at most three quarters of the time, for a search
    that tried nothing has nothing to race. Half as long as nothing is known of the race.

    Args:
        whole_s: for search and race.
        race_s: that the race is thought to take; None while it is not known.
    """
    if race_s is None:
        return whole_s / 2
    return max(whole_s - _MARGIN * race_s, _LEAST_SEARCH * whole_s)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What fits.

    Attributes:
        costs: that it follows from.
        at_once: runs at a time.
        trials: asked for, or that are left of them.
        left_s: for the search; None without a limit.
        race_left_s: for the race, when the search takes all that it may; None without a limit.
        seeds: of the race; 0 where none was asked for.
        seed_s: of one seed of the race.
    """

    costs: Costs
    at_once: int
    trials: int
    left_s: float | None
    race_left_s: float | None
    seeds: int
    seed_s: float

    @property
    def race_s(self) -> float:
        """Seconds of the race."""
        return self.seeds * self.seed_s

    @property
    def trials_that_fit(self) -> int:
        """Trials that may run to their end in the time left, of those that are asked for."""
        if self.left_s is None:
            return self.trials
        rows = math.floor(self.left_s / self.costs.trial_s) if self.costs.trial_s > 0 else self.trials
        return min(self.trials, max(0, rows) * self.at_once)

    @property
    def seeds_that_fit(self) -> int:
        """Whole seeds of the race that fit."""
        if self.race_left_s is None or self.seed_s <= 0:
            return self.seeds
        return min(self.seeds, max(0, math.floor(self.race_left_s / self.seed_s)))

    def __str__(self) -> str:
        costs = self.costs
        each = f"a full trial takes about {duration(costs.trial_s)}, {self.at_once} run at a time"
        if self.left_s is None:
            rows = math.ceil(self.trials / self.at_once)
            text = (
                f"{each}: {self.trials} trials take at most {duration(rows * costs.trial_s)}, less if some are stopped "
                "early."
            )
        else:
            text = (
                f"{each}: in the {duration(max(0.0, self.left_s))} left for the search, {self.trials_that_fit} of "
                f"{self.trials} trials fit, or more if some are stopped early."
            )
        if not self.seeds:
            return text
        race = f" The final race takes about {duration(self.race_s)} ({self.seeds} seeds of {duration(self.seed_s)})"
        if self.race_left_s is None:
            return f"{text}{race}."
        left = f"the {duration(max(0.0, self.race_left_s))} left for it"
        if self.seeds_that_fit == self.seeds:
            return f"{text}{race} and fits into {left}."
        needed = costs.start_s + math.ceil(self.trials / self.at_once) * costs.trial_s + _MARGIN * self.race_s
        return (
            f"{text}{race}: {self.seeds_that_fit} of its seeds fit into {left}"
            + (", so there will be no result" if not self.seeds_that_fit else "")
            + (
                f". Use --hours {_up(needed / 3600)} to fit all, or lower --finalists, --seeds or "
                "--schedule.adversarial-updates."
            )
        )


def _up(hours: float) -> str:
    """A number of hours that is not too small, in two digits."""
    digits = 10 ** (math.floor(math.log10(hours)) - 1) if hours > 0 else 0.1
    return f"{math.ceil(hours / digits) * digits:.2g}"
