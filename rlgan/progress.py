"""What a person sees while a run is going: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from .schedule import Phase, Position, Schedule, num_units

if TYPE_CHECKING:
    from .trainer import Unit

_PHASE_NAMES: dict[Phase, str] = {"mle": "MLE epoch", "discriminator": "D round", "adversarial": "adversarial"}
_SHOWN = {
    "mle/train_nll": "train NLL",
    "mle/valid_nll": "valid NLL",
    "eval/nll_oracle": "NLL_oracle",
    "eval/nll_gen": "NLL_gen",
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


class Progress:
    """A bar with rate, time to go and the moving metrics on a terminal; a line a measurement elsewhere."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._is_terminal = sys.stderr.isatty()
        self._last_line = 0.0
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print lines to standard output, clear of the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)

    def unit(self, schedule: Schedule, position: Position, unit: Unit) -> None:
        """Show that a unit is done."""
        shown = {label: unit.metrics[name] for name, label in _SHOWN.items() if name in unit.metrics}
        total = num_units(schedule, position)
        if self._is_terminal:
            if self._bar is None:
                self._bar = tqdm(total=total, unit="unit", dynamic_ncols=True, initial=position.units - 1)
            self._bar.total = total
            self._bar.set_description_str(f"{_PHASE_NAMES[unit.phase]} {unit.step}", refresh=False)
            self._bar.set_postfix({label: f"{value:.3f}" for label, value in shown.items()}, refresh=False)
            self._bar.update(position.units - self._bar.n)
        elif unit.measurement is not None or time.monotonic() - self._last_line > 30.0:
            self._last_line = time.monotonic()
            figures = "  ".join(f"{label} {value:.3f}" for label, value in shown.items())
            elapsed = time.monotonic() - self._started
            print(f"[{elapsed:6.0f} s] {_PHASE_NAMES[unit.phase]} {unit.step:<4} {figures}", flush=True)

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
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Said(logging.Handler):
    """Log records as lines among the others."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; called by logging."""
        self._progress.say(f"{record.levelname.lower()}: {record.getMessage()}")
