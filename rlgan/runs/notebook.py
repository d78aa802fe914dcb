"""What a notebook shows while a run is going: one line that moves, and the lines that are said below it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rlgan.base.activity import PROCESS, Activity

from .progress import Progress


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class NotebookProgress(Progress):
    """One line of the cell's output, which says what is being done and how long it will take, and is written over.

    Args:
        activity: what is looked at.
        words: as of `Progress`.
    """

    def __init__(self, activity: Activity = PROCESS, words: Callable[[str], str] = str) -> None:
        super().__init__(activity, words=words)
        self._is_terminal = True  # something moves
        self._line: Any = None  # on the page
        self._written = ""

    def _move_bar(self, doing: str) -> None:
        to_go, left = self.to_go()
        elapsed = self._activity.clock() - self._started
        share = "" if left is None else f"{elapsed / max(elapsed + left, 1.0):4.0%}"
        self._write("  ".join(filter(None, (share, f"{elapsed:.0f} s", to_go, self._shown_figures, doing))))

    def _write(self, text: str) -> None:
        from IPython.display import display

        if text == self._written:
            return
        self._written = text
        shown = {"text/plain": text}
        if self._line is None:
            self._line = display(shown, raw=True, display_id=True)
        else:
            self._line.update(shown, raw=True)

    def _clear_bar(self) -> None:
        """Lines come below; the line that moves stays where it is."""

    def close(self) -> None:
        """Leave the line as that of a run that has ended."""
        with self._lock:
            if self._line is not None:
                self._write(f"{self._activity.clock() - self._started:.0f} s  {self._shown_figures}".rstrip())
                self._line = None
