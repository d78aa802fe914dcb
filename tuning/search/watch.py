"""What a person hears of a sweep that is under way: what it will take, and a line at least every half minute.

It reads the two ledgers and the folder of starts, and knows of Ray only how many runs have room at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rlgan.envs.tasks import Task

from ..space.spaces import Space
from .forecast import Costs, Forecast, RaceSize, duration, search_share, seed_s
from .journal import Unpickled
from .ledger import Entry, Ledger
from .race import Entrant, entrants
from .settings import SweepSettings
from .starts import DURATION, PROGRESS, what_is_read
from .tuner import Deadline

SILENCE_S = 25.0
"""After so many seconds without a line there is one."""
_LISTED = 4  # runs under way that a line names


class Voice(Unpickled):
    """Lines for a person, by whoever has something to say; a thread says how things stand when nobody has.

    Args:
        say: shows a line.
        silence_s: after how much of it the thread speaks.
    """

    def __init__(self, say: Callable[[str], None], silence_s: float = SILENCE_S) -> None:
        self._say, self._silence_s = say, silence_s
        self._lock, self._last = threading.Lock(), time.monotonic()

    def say(self, text: str) -> None:
        """Show a line."""
        with self._lock:
            self._last = time.monotonic()
            self._say(text)

    @contextmanager
    def standing(self, status: Callable[[], str]) -> Iterator[None]:
        """While the block runs, nobody waits longer than the silence for a line.

        Args:
            status: how things stand, in a line.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(max(0.05, self._last + self._silence_s - time.monotonic())):
                if time.monotonic() - self._last >= self._silence_s:
                    self.say(status())

        thread = threading.Thread(target=watch, name="sweep status", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class SearchDeadline(Deadline, Unpickled):
    """When the search stops: when the time left is what the race needs and a trial has ended; or when all is over.

    Args:
        whole: of the sweep.
        whole_s: seconds of it; None for never.
        has_race: whether anything follows.
        has_ended: whether a trial has ended.
    """

    def __init__(self, whole: Deadline, whole_s: float | None, has_race: bool, has_ended: Callable[[], bool]) -> None:
        super().__init__(None)
        self._whole, self._whole_s, self._has_race, self._has_ended = whole, whole_s, has_race, has_ended
        self._race_s: float | None = None
        self._stopped = False

    def race_takes(self, seconds: float) -> None:
        """The race is thought to take so long."""
        self._race_s = seconds

    @property
    def reserved_s(self) -> float:
        """Seconds of the whole that are kept for the race."""
        if self._whole_s is None or not self._has_race:
            return 0.0
        return self._whole_s - search_share(self._whole_s, self._race_s)

    @property
    def left_s(self) -> float | None:
        """Seconds that the search has left; None for no end."""
        left = self._whole.left_s
        return None if left is None else left - self.reserved_s

    @property
    def is_past(self) -> bool:
        """Whether it is time; once it is, it stays so."""
        left = self.left_s
        if left is not None and not self._stopped:
            self._stopped = self._whole.is_past or (left <= 0 and self._has_ended())
        return self._stopped


class Watch(Unpickled):
    """What a sweep costs, as far as it has been seen.

    Args:
        space: that is searched.
        task: of the sweep.
        settings: of the sweep.
        ledger: of the search.
        starts: folder of the starts.
        whole: when all is over.
        search: when the search is over; it learns here what the race needs.
        say: shows a line.
    """

    def __init__(
        self,
        space: Space,
        task: Task,
        settings: SweepSettings,
        ledger: Ledger,
        starts: Path,
        whole: Deadline,
        search: SearchDeadline,
        say: Callable[[str], None],
    ) -> None:
        self._space, self._task, self._settings, self._ledger = space, task, settings, ledger
        self._starts, self._whole, self._search, self._say = starts, whole, search, say
        self.at_once = settings.concurrent or 1
        self._measured, self._ended = False, False

    def costs(self) -> Costs | None:
        """What parts of runs took so far; None before a trial was measured."""
        updates = self._space.base.schedule.adversarial_updates
        known = [entry for entry in self._ledger.entries.values() if entry.results]
        if not known:
            return None
        # The first measurement of a trial has the start of its actors and the discriminator's pretraining in it.
        paced = [entry for entry in known if _has_pace(entry, updates)]
        trials = [_seconds_of(entry, updates) for entry in paced or known]
        measures = [entry.measure_s for entry in known if entry.measure_s is not None]
        starts = what_is_read(self._starts, DURATION)
        return Costs(
            start_s=max((float(one["seconds"]) for one in starts), default=0.0),
            trial_s=sum(trials) / len(trials),
            measure_s=sum(measures) / len(measures) if measures else 0.0,
        )

    def race_size(self) -> RaceSize:
        """One seed of the race, with the trials that stand best now as its finalists."""
        settings, evaluation = self._settings, self._space.base.evaluation
        best = self._ledger.ranked() or list(self._ledger.entries.values())
        chosen = best[: settings.finalists]
        who = entrants(self._space, chosen, self._task)
        measurements = 2 * len(dict.fromkeys((1.0, *evaluation.temperatures)))
        scale = evaluation.final_sequences / evaluation.num_sequences
        # Of those that are not known yet each brings as much as those that are.
        base = len(entrants(self._space, [], self._task))
        missing = settings.finalists - len(chosen)
        more = round(missing * (len(who) - base) / len(chosen)) if chosen else missing
        trained = sum(one.config.schedule.adversarial_updates > 0 for one in who) + more
        starts = len({str(one.config.generator) for one in who})
        return RaceSize(starts, trained, len(who) + more, measurements * scale)

    def forecast(self) -> Forecast | None:
        """What fits, by what is known; None before a trial was measured."""
        costs = self.costs()
        if costs is None:
            return None
        has_race = bool(self._settings.finalists)
        size = self.race_size() if has_race else None
        of_seed = 0.0 if size is None else seed_s(costs, size, self.at_once)
        seeds = self._settings.seeds if has_race else 0
        self._search.race_takes(seeds * of_seed)
        ended = sum(entry.state is not None for entry in self._ledger.entries.values())
        left, search_left = self._whole.left_s, self._search.left_s
        return Forecast(
            costs=costs,
            at_once=self.at_once,
            trials=max(0, self._settings.trials - ended),
            left_s=search_left,
            race_left_s=None if left is None else min(left, self._search.reserved_s),
            seeds=seeds,
            seed_s=of_seed,
        )

    def search_moved(self) -> None:
        """A trial was measured or ended: say what follows from the first that is known, and from the first end."""
        ended = any(entry.state in ("finished", "stopped") for entry in self._ledger.entries.values())
        if self._measured and (self._ended or not ended):
            self.forecast()  # the search learns what the race needs
            return
        updates = self._space.base.schedule.adversarial_updates
        described = self.forecast()
        if described is not None and any(_has_pace(entry, updates) for entry in self._ledger.entries.values()):
            self._measured, self._ended = True, ended
            self._say(f"forecast: {described}")

    def search_status(self) -> str:
        """How the search stands, in a line."""
        entries = list(self._ledger.entries.values())
        ended = sum(entry.state is not None for entry in entries)
        updates = self._space.base.schedule.adversarial_updates
        words = [f"search: {ended} of {self._settings.trials} trials finished"]
        under_way = [entry for entry in entries if entry.state is None]
        if under_way:
            words.append("under way: " + _listed([_stands(entry, updates) for entry in under_way]))
        left, whole = self._search.left_s, self._whole.left_s
        if left is not None and whole is not None and left <= 0 < whole:
            remains = [f"the race should start, but waits until a trial has finished; {duration(whole)} left for both"]
        else:
            remains = _left(left, "the search")
        return "; ".join([*words, *self._starts_under_way(), *remains])

    def race_status(self, runs: int, over: int, under_way: list[str]) -> str:
        """How the race stands, in a line.

        Args:
            runs: of it.
            over: how many are.
            under_way: a few words on each of the others that was measured.
        """
        words = [f"final race: {over} of {runs} runs done"]
        if under_way:
            words.append("under way: " + _listed(under_way))
        return "; ".join([*words, *self._starts_under_way(), *_left(self._whole.left_s, "the race")])

    def race_begins(self, who: Sequence[Entrant], runs: int) -> None:
        """Say what the race will take, and whether that is there.

        Args:
            who: runs.
            runs: that are still to be made, of all seeds.
        """
        costs = self.costs()
        if costs is None or not runs:
            return
        seeds = self._settings.seeds
        of_seed = seed_s(costs, self.race_size(), self.at_once)
        takes = of_seed * runs / len(who)
        left = self._whole.left_s
        if left is None or takes <= left:
            self._say(f"final race: about {duration(takes)}")
            return
        fit = min(seeds, int(left / of_seed))
        self._say(
            f"final race: about {duration(takes)}, but {duration(left)} are left: {fit} of {seeds} seeds fit. To "
            "run the missing ones later, use --resume with more --hours."
        )

    def _starts_under_way(self) -> list[str]:
        found = []
        for one in what_is_read(self._starts, PROGRESS):
            done, of, seconds = int(one["epochs"]), int(one["of"]), float(one["seconds"])
            more = f", at most {duration(seconds / done * (of - done))} more" if done else ""
            found.append(f"a shared start: epoch {done} of at most {of} after {duration(seconds)}{more}")
        return found


def _has_pace(entry: Entry, updates: int) -> bool:
    """Whether it is known how long updates of a trial take, apart from its beginning."""
    if not entry.results:
        return False
    return len(entry.times) > 1 or entry.state is not None or entry.results[-1][0] >= updates


def _seconds_of(entry: Entry, updates: int) -> float:
    """Seconds of a trial of so many updates, by what it has done; its beginning has more to do than updates."""
    (first, first_s), *later = entry.times or [(entry.results[-1][0], entry.seconds)]
    if not later:
        return first_s * max(1.0, updates / first) if first else first_s
    pace = sum(seconds for _, seconds in later) / max(1, later[-1][0] - first)
    return first_s + pace * max(0, updates - first)


def _stands(entry: Entry, updates: int) -> str:
    done = entry.results[-1][0] if entry.results else 0
    return f"trial {entry.index} ({done} of {updates} updates)"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _left(seconds: float | None, what: str) -> list[str]:
    if seconds is None:
        return []
    return [f"{duration(seconds)} left for {what}" if seconds > 0 else f"the time limit of {what} was reached"]
