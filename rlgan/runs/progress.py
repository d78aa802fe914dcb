"""What a person sees while a run is going: a bar on a terminal, plain lines elsewhere.

Neither is silent for long, whatever is being done: a thread looks at `rlgan.base.activity`, moves the bar, and says a
line where nothing has been said for a while. The time to go is one estimate of the whole run, by `rlgan.runs.plan`.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from rlgan.base.activity import PROCESS, Activity, path_of
from rlgan.report.narrow import columns_of
from rlgan.schedule.phases import Phase

if TYPE_CHECKING:
    from rlgan.training.iteration import Iteration

    from .plan import Plan

_PHASE_NAMES: dict[Phase, str] = {"mle": "MLE epoch", "discriminator": "D round", "adversarial": "adversarial"}
_SHOWN = {
    "mle/train_nll": "train NLL",
    "mle/valid_nll": "valid NLL",
    "eval/nll_oracle": "NLL_oracle",
    "eval/nll_gen": "NLL_gen",
    "eval/nll_gen_bound": "NLL_gen ≤",
    "eval/latent_kl": "latent KL",
    "eval/kl_forward": "KL fwd",
    "eval/kl_reverse": "KL rev",
    "eval/bleu_2": "BLEU-2",
    "eval/self_bleu_2": "Self-BLEU-2",
    "eval/corpus_bleu": "BLEU",
    "eval/chrf": "chrF",
    "discriminator/accuracy_heldout": "D held-out",
    "discriminator/nll_heldout": "D NLL",
    "generator/mean_value": "value",
}


_LOOK_EVERY_S = 1.0
_FIRST_LINE_AFTER_S = 5.0  # of a kind of work that is new
# A terminal that does not know its size says 0, which tqdm would take for no room at all.
_COLUMNS, _LEAST_COLUMNS, _ROWS = 80, 20, 24
_LEAST_TOLD_S = 30.0  # to go at least, before the whole time is known
_QUIET_S = 20.0  # after which a line is said; a look that comes late must still make it half a minute at most
# The line is cut at the terminal's width, so what matters most comes first.
_BAR = "{percentage:3.0f}%|{bar:10}| {elapsed}{postfix} {desc}"


class Progress:
    """A bar with the time to go and the moving metrics on a terminal; a line a measurement, and between, elsewhere.

    Args:
        activity: what is looked at.
        lines: where lines go; None for standard output.
        words: says a line as its reader names what it speaks of: options, or arguments of Python.
    """

    def __init__(
        self,
        activity: Activity = PROCESS,
        lines: TextIO | None = None,
        words: Callable[[str], str] = str,
    ) -> None:
        self._activity, self._lines, self._words = activity, lines, words
        self._plan: Plan | None = None
        self._bar: tqdm | None = None
        self._heard: list[tuple[str, float]] = []  # before there was a plan
        self._shown_figures = ""
        self._is_terminal = sys.stderr.isatty()
        self._started = self._last_line = activity.clock()
        self._shown_kinds: set[str] = set()
        # Lines come from the thread that works and from the one that looks; a signal's handler may interrupt the first.
        self._lock = threading.RLock()

    @property
    def columns(self) -> int:
        """Columns of the lines that it says."""
        return columns_of(sys.stdout if self._lines is None else self._lines)

    def follow(self, plan: Plan) -> None:
        """Show the time to go by a plan, which hears of what is done while `watching`, and of what was done before."""
        self._plan = plan
        for path, seconds in self._heard:
            plan.finished(path, seconds)
        self._heard.clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look every second at what is being done, for as long as the block lasts."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK_EVERY_S):
                self.look()

        def heard(path: str, seconds: float) -> None:
            if self._plan is None:
                self._heard.append((path, seconds))
            else:
                self._plan.finished(path, seconds)

        thread = threading.Thread(target=watch, name="progress", daemon=True)
        with self._activity.listening(heard):
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()

    def look(self) -> None:
        """Move the bar, or say what is being done where nothing was said for a while."""
        with self._lock:
            stages = self._activity.stages
            if not stages:
                return
            if self._is_terminal:
                self._move_bar(": ".join(filter(None, map(str, stages))))
                return
            # The table is many kinds of work.
            kind, quiet = path_of(stages[:2] if stages[0].kind == "table" else stages[:1]), self._quiet_s()
            if quiet >= _QUIET_S or (kind not in self._shown_kinds and quiet >= _FIRST_LINE_AFTER_S):
                self._shown_kinds.add(kind)
                self._print(f"{self._when()} {': '.join(filter(None, map(str, stages)))}")

    def _quiet_s(self) -> float:
        return self._activity.clock() - self._last_line

    def seconds_left(self) -> float | None:
        """Time to the end of the run; None where there is no plan, or nothing has been measured."""
        return None if self._plan is None else self._plan.seconds_left(self._activity.stages, self._activity.clock())

    def to_go(self) -> tuple[str, float | None]:
        """The time to go in words, and its seconds where they are known.

        They are known once most of them are of kinds of work that were measured. Before that the words have what these
        kinds will take at least, and nothing where that is little.
        """
        left = self.seconds_left()
        if left is None or self._plan is None:
            return "", left
        measured = self._plan.seconds_measured(self._activity.stages, self._activity.clock())
        if measured is None or measured >= left / 2:
            return f"{in_words(left)} left", left
        return (f"at least {in_words(measured)} left" if measured >= _LEAST_TOLD_S else ""), None

    def _when(self) -> str:
        """Time that has passed, and the time to go where it is known."""
        to_go, _ = self.to_go()
        return f"[{self._activity.clock() - self._started:6.0f} s{', ' if to_go else ''}{to_go}]"

    def _move_bar(self, doing: str) -> None:
        elapsed, (to_go, left) = self._activity.clock() - self._started, self.to_go()
        if self._bar is None:
            self._bar = tqdm(bar_format=_BAR, ncols=_columns(), nrows=_ROWS)
        self._bar.ncols = _columns()
        self._bar.total = None if left is None else elapsed + left
        self._bar.n = elapsed
        self._bar.set_description_str(doing, refresh=False)
        self._bar.set_postfix_str(", ".join(filter(None, (to_go, self._shown_figures))), refresh=False)
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Print lines, clear of the bar."""
        with self._lock:
            self._clear_bar()
            self._print(self._words(text))

    def _clear_bar(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def _print(self, text: str) -> None:
        self._last_line = self._activity.clock()
        print(text, file=self._lines, flush=True)

    def iteration(self, done: Iteration, left: dict[str, int] | None = None) -> None:
        """Show that an iteration is done.

        Args:
            done: that is done.
            left: path of the plan → how much of it is left.
        """
        with self._lock:
            if self._plan is not None and left is not None:
                self._plan.set_left(left)
            figures = {label: done.metrics[name] for name, label in _SHOWN.items() if name in done.metrics}
            if self._is_terminal:
                self._shown_figures = ", ".join(f"{label}={value:.3f}" for label, value in figures.items())
                self._move_bar(f"{_PHASE_NAMES[done.phase]} {done.step}")
            elif done.measurement is not None or self._quiet_s() >= _QUIET_S:
                self._shown_kinds.add(done.phase)
                described = "  ".join(f"{label} {value:.3f}" for label, value in figures.items())
                self._print(f"{self._when()} {_PHASE_NAMES[done.phase]} {done.step:<4} {described}")

    @contextmanager
    def showing_log(self) -> Iterator[None]:
        """Show what rlgan logs meanwhile, such as the loss of a worker, as lines of our own."""
        logger, handler = logging.getLogger("rlgan"), _Said(self)
        propagates = logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagates

    def close(self) -> None:
        """End the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


class Silence(Progress):
    """Shows nothing; what is logged goes where the process sends its log."""

    def look(self) -> None:
        """Show nothing."""

    def iteration(self, done: Iteration, left: dict[str, int] | None = None) -> None:
        """See `Progress.iteration`; the plan hears of it."""
        if self._plan is not None and left is not None:
            self._plan.set_left(left)

    def _print(self, text: str) -> None:
        self._last_line = self._activity.clock()

    @contextmanager
    def showing_log(self) -> Iterator[None]:
        """Leave the log as it is."""
        yield


class _Said(logging.Handler):
    """Log records as lines among the others."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; called by logging."""
        self._progress.say(f"{record.levelname.lower()}: {record.getMessage()}")


def _columns() -> int:
    return max(_LEAST_COLUMNS, shutil.get_terminal_size((_COLUMNS, _ROWS)).columns - 1)


def in_words(seconds: float) -> str:
    """A time to go, no more exact than it is known."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
