"""How long a run will still take: what is left of it, and what each kind of work has taken so far.

A kind of work that has been measured takes what it took of late. One that has not takes a guess: its size in sequences,
times what sequences have taken elsewhere in this run. Paths are those of `rlgan.base.activity`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rlgan.base.activity import Stage, path_of
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import temperatures_of
from rlgan.presets.controls import control, trained_again
from rlgan.schedule.phases import Position

# Time of a sequence, with that of one learned by maximum likelihood as 1 (measured with the preset `quick`).
_LIKELIHOOD, _SAMPLE, _JUDGE, _TEXT = 0.25, 0.5, 0.6, 1.0
# Stage of building networks and starting actors: with actors it takes seconds, whatever the sizes of batches.
_PARTS = "parts"
_RECENT = 10  # of a kind, how many of the last count
# Below it a share that is done says nothing yet. One of a few seconds must be larger.
_LEAST_SHARE, _SURE_SHARE, _LEAST_S = 0.02, 0.1, 20.0


@dataclass(slots=True)
class Item:
    """Work of one kind.

    Attributes:
        number: how often it is left to do.
        work: guess at its size, in sequences learned.
        like: path of work that takes alike long, for as long as this has not been done; None for work by its size.
        took: seconds of the last times.
        is_cold: that the only one of them is the first of this process, which loads libraries and fills caches.
    """

    number: int
    work: float
    like: str | None = None
    took: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    is_cold: bool = False

    @property
    def seconds(self) -> float | None:
        """What it takes, as measured; None where it has not been done yet."""
        return sum(self.took) / len(self.took) if self.took else None


class Plan:
    """What is left, and how long it takes.

    Args:
        items: path → work; work of other paths is part of theirs, or does not count.
    """

    def __init__(self, items: Mapping[str, Item]) -> None:
        self._items = dict(items)

    def finished(self, path: str, seconds: float) -> None:
        """One piece of work is done; a listener of `Activity.listening`."""
        if (item := self._items.get(path)) is not None:
            item.number = max(0, item.number - 1)
            if item.is_cold:
                item.took.clear()
            item.is_cold = not item.took and not item.is_cold
            item.took.append(seconds)

    def expect(self, smaller: Plan) -> None:
        """Take each kind of work to last as in a smaller run, times how much larger it is here.

        Args:
            smaller: of a run of the same kind, in which some of it was measured.
        """
        for path, item in smaller._items.items():
            mine = self._items.get(path)
            if mine is not None and item.seconds is not None:
                mine.took.append(item.seconds * (mine.work / item.work if item.work else 1.0))

    def paths(self) -> tuple[str, ...]:
        """Of all kinds of work."""
        return tuple(self._items)

    def set_left(self, numbers: Mapping[str, int]) -> None:
        """Correct how much is left, by path; an early end makes it less."""
        for path, number in numbers.items():
            self._items[path].number = number

    def seconds_left(self, stages: Sequence[Stage] = (), now: float = 0.0) -> float | None:
        """Seconds to the end; None while nothing has been measured.

        Args:
            stages: that are open, outermost first.
            now: seconds of their clock.
        """
        left = self._left(stages, now)
        return None if left is None else left[0] + left[1]

    def seconds_measured(self, stages: Sequence[Stage] = (), now: float = 0.0) -> float | None:
        """Of `seconds_left` the part of work whose kind has been done: the rest is a guess by sizes.

        Args:
            stages: as of `seconds_left`.
            now: likewise.
        """
        left = self._left(stages, now)
        return None if left is None else left[0]

    def _left(self, stages: Sequence[Stage], now: float) -> tuple[float, float] | None:
        """Seconds to the end of what has been measured, and of what has not; None while nothing has been."""
        path, elapsed, lasts = self._running(tuple(stages), now)
        expected, usual = lasts or (None, None)
        pace = self._pace(path, usual)
        measured, guessed = 0.0, 0.0
        for name, item in self._items.items():
            if not item.number:
                continue
            seconds = self._seconds_of(item, pace)
            if seconds is None:
                return None
            its_own = item.number * seconds
            if name == path:
                its_own += max(0.0, (expected if item.seconds is None and expected else seconds) - elapsed) - seconds
            is_seen = item.seconds is not None or item.like is not None or (name == path and expected is not None)
            measured += its_own if is_seen else 0.0
            guessed += 0.0 if is_seen else its_own
        return measured, guessed

    def _seconds_of(self, item: Item, pace: float | None) -> float | None:
        """What an item takes each time, as measured, as what is like it, or by its size; None where nothing tells."""
        if item.seconds is not None:
            return item.seconds
        if item.like is not None:
            return self._items[item.like].seconds or 0.0
        return None if pace is None else item.work * pace

    def _running(self, stages: tuple[Stage, ...], now: float) -> tuple[str | None, float, tuple[float, float] | None]:
        """Path of the item that is being done, for how long it has been, and how long it and others take.

        The last are by what it counts (`Stage.lasts`).
        """
        for depth in range(len(stages), 0, -1):
            path = path_of(stages[:depth])
            if path not in self._items:
                continue
            began = stages[depth - 1].began
            for inner in stages[depth - 1 :]:
                share, lasts, is_short = inner.share, inner.lasts(now), now - inner.began < _LEAST_S
                if share is None or lasts is None or share < (_SURE_SHARE if is_short else _LEAST_SHARE):
                    continue
                if is_short and inner.done == inner.first:  # the first one alone
                    continue
                earlier = lasts[0] * (inner.scale - 1.0)  # what a process that was stopped had done
                before = inner.began - began + earlier
                return path, now - began + earlier, (before + lasts[0], before + lasts[1])
            return path, now - began, None
        return None, 0.0, None

    def _pace(self, path: str | None, usual: float | None) -> float | None:
        """Seconds for a sequence learned, over all that has been measured; before that, over what is being done."""
        items = [item for item in self._items.values() if item.work]
        measured = [(item.seconds, item.work) for item in items if item.seconds is not None]
        if not measured and path is not None and usual is not None:
            measured = [(usual, self._items[path].work)]
        work = sum(work for _, work in measured)
        return sum(seconds for seconds, _ in measured) / work if work else None


def plan_of(config: Config, task: Task, position: Position) -> Plan:
    """The plan of a run, its final table and controls included.

    Args:
        config: of the run.
        task: of the run.
        position: where it stands.
    """
    schedule, evaluation, num_train = config.schedule, config.evaluation, len(task.train)
    validated = len(task.valid) if schedule.mle_patience is not None else 0
    works = {
        "mle": num_train + validated * _LIKELIHOOD,
        "discriminator": _round_work(config, task),
        "adversarial": _update_work(config, task),
        "measure": _measurement_work(config, task, evaluation.num_sequences),
    }
    items = {path: Item(number, works[path]) for path, number in training_left(config, position).items()}
    items[_PARTS] = Item(0, 0.0)
    row, num_temperatures = (
        _measurement_work(config, task, evaluation.final_sequences),
        len(temperatures_of(evaluation)),
    )
    num_rows = num_temperatures if config.starts_trained else 1
    items["table/row"] = Item(num_rows + (num_temperatures if schedule.adversarial_updates else 0), row)
    controls, again = list(dict.fromkeys(config.controls)), trained_again(config)
    num_repeats = 0 if again is None else evaluation.equal_trainings
    for name in controls:
        other = control(config, name)
        path, num_trainings = f"table/control {name}", 1 + (num_repeats if name == again else 0)
        number = other.schedule.adversarial_updates * num_trainings
        items[f"{path}/{_PARTS}"] = Item(num_trainings, 0.0, like=_PARTS)
        if other.has_adversary:
            rounds = other.schedule.discriminator_rounds * num_trainings
            items[f"{path}/discriminator"] = Item(rounds, _round_work(other, task))
        items[f"{path}/adversarial"] = Item(number, _update_work(other, task))
        items[f"{path}/row"] = Item(num_temperatures, row)
    if schedule.adversarial_updates:
        num_judged = 1 + len(controls) + config.starts_trained
        items["table/verdict/choice"] = Item(num_judged * num_temperatures, row)
        items["table/verdict/evidence"] = Item(num_judged, row)
        items["table/verdict/training"] = Item(num_repeats, row)
    return Plan(items)


def training_left(config: Config, position: Position) -> dict[str, int]:
    """Units, and measurements between them, that are left before the final table, as far as a position can tell."""
    schedule, evaluation = config.schedule, config.evaluation
    mle_ends = position.mle_epochs if position.mle_finished else schedule.mle_epochs
    rounds_end = position.discriminator_rounds if position.discriminator_finished else schedule.discriminator_rounds
    ends = position.adversarial_updates if position.adversarial_finished else schedule.adversarial_updates
    return {
        "mle": mle_ends - position.mle_epochs,
        "discriminator": rounds_end - position.discriminator_rounds,
        "adversarial": ends - position.adversarial_updates,
        "measure": _multiples(position.mle_epochs, mle_ends, evaluation.mle_every)
        + _multiples(position.adversarial_updates, ends, evaluation.every),
    }


def _multiples(done: int, end: int, every: int) -> int:
    """Steps of done + 1 … end that are multiples of `every`, or the last."""
    return 0 if done >= end else end // every - done // every + (end % every > 0)


def _round_work(config: Config, task: Task) -> float:
    """Of one discriminator round."""
    if config.discriminator is None:
        return 0.0
    number = config.adversary.sequences_per_round
    judged = min(number, len(task.train)) + number
    return number * _SAMPLE + config.schedule.d_epochs * judged * _JUDGE


def _update_work(config: Config, task: Task) -> float:
    """Of one adversarial iteration."""
    schedule, forcing = config.schedule, config.schedule.teacher_forcing
    objective = config.objective
    learned = 1.0 + _SAMPLE if objective.reads_reward or objective.is_differentiated else 0.0
    if objective.learns_reals:
        learned = 1.0
    if objective.contrasts_reals:
        learned = 2.0 * objective.epochs + _SAMPLE + _LIKELIHOOD
    if objective.pairs_groups:
        rows = objective.num_rows(schedule.num_sampled, schedule.g_group)
        learned = 2.0 * objective.epochs * rows / schedule.g_batch + _SAMPLE
    # A prefix of half the length, and half a sequence drawn behind it.
    learned += config.credit.num_continuations * task.space.max_length / 2 * (_SAMPLE + _LIKELIHOOD)
    forced = schedule.mle_batch if forcing.takes_batches else 0
    generator = schedule.g_steps * (schedule.g_batch * learned + forced)
    return generator + schedule.d_steps * _round_work(config, task)


def _measurement_work(config: Config, task: Task, number: int) -> float:
    """Of one measurement by so many samples."""
    work = number * _SAMPLE + len(task.test) * _LIKELIHOOD
    return work + (number * _TEXT if "text" in task.measures else 0.0)
