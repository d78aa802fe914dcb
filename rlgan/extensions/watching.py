"""Code of the user's own that runs where rlgan runs, and may never return: it is interrupted, and told by name.

A network is called in the middle of a computation, with gradients and random states that belong to its thread, and a
callback may do whatever it likes with the run: neither can be called in another thread, as `call_in_time` does. So they
stay in theirs, and one thread of the process looks every moment at which calls are open. One that is late is
interrupted by a signal, where it is in the main thread, which ends waiting (for a lock, a socket, a sleep) and loops;
or by an exception that its thread meets at its next line of Python.

What never comes back to Python, such as a loop in C, cannot be interrupted. It is told on standard error with the lines
where it stands, and whoever holds something that could be lost is told, too (`when_stuck`).
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from rlgan.base.errors import PluginError

from .tracebacks import own_lines

_LOOKS_EVERY_S = 0.1
_INTERRUPTS_EVERY_S = 5.0  # again, where the code catches what interrupts it
_STUCK_AFTER_S = 30.0  # since the first interruption


class TimeIsUp(BaseException):  # as KeyboardInterrupt, it is none that code of the user's own handles
    """Meets code that is late, at its next line."""


class in_time:  # read as a function: `with in_time(...)`; it is called for every step of a network
    """A block that calls code of the user's own, and is interrupted where that takes too long.

    Args:
        timeout_s: seconds that it may take.
        late: what to say when they are over.
        path: of the user's file, whose lines are shown.
        error: what is raised.

    Raises:
        PluginError: the block took longer, with the line where it stood.
    """

    __slots__ = (
        "_error", "_fired_at", "_is_reported", "_late", "_path", "_thread", "_timeout_s", "ends_at", "was_thrown_at",
    )  # fmt: skip

    def __init__(
        self, timeout_s: float, late: Callable[[], str], path: str, error: type[PluginError] = PluginError
    ) -> None:
        self._timeout_s, self._late, self._path, self._error = timeout_s, late, path, error
        self._thread = threading.get_ident()
        self._fired_at: float | None = None
        self._is_reported = False
        self.was_thrown_at = False

    def __enter__(self) -> None:
        self.ends_at = time.monotonic() + self._timeout_s
        _WATCHER.open(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        _WATCHER.close(self)
        if self._fired_at is not None:
            # Where it returned at the last moment, too: what interrupts it may be on its way.
            lines = "" if error is None else own_lines(error, self._path)
            raise self._error(
                f"{self._late()}{lines}", code="plugin_interrupted", fields={"timeout_s": self._timeout_s}
            ) from None

    def look(self, now: float) -> None:
        """Interrupt the block where it is late; called by the thread that watches."""
        if now < self.ends_at:
            return
        if self._fired_at is None:
            self._fired_at = now
        elif now - self._fired_at > _STUCK_AFTER_S and not self._is_reported:
            self._is_reported = True
            self._tell()
        self.ends_at = now + _INTERRUPTS_EVERY_S
        _WATCHER.interrupt(self)

    @property
    def is_late(self) -> bool:
        """Whether it was interrupted."""
        return self._fired_at is not None

    @property
    def thread(self) -> int:
        """Of the block."""
        return self._thread

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._thread)
        lines = "".join(traceback.format_stack(frame)[-3:])
        message = f"{self._late()} It cannot be interrupted; end the process. It is executing:\n{lines}"
        print(message, file=sys.stderr, flush=True)
        for listener in list(_WATCHER.listeners):
            listener()


def _throw_at(thread: int) -> None:
    """Let a thread meet `TimeIsUp` at its next line."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeIsUp))


def _catch_what_is_thrown() -> None:
    """Leave nothing on its way to this thread.

    Python can also take back what was thrown. But then it still believes that something is on its way, and goes round
    in circles for ever as soon as functions are traced, by a debugger or for coverage (seen with 3.11).
    """
    try:
        _throw_at(threading.get_ident())
        while True:
            pass
    except TimeIsUp:
        pass


class _Watcher:
    """Calls that are open, and the thread that looks at them."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._open: list[in_time] = []
        self._thread: threading.Thread | None = None
        self._before: Any = None
        self._has_handler = False

    def open(self, call: in_time) -> None:
        self._open.append(call)
        if self._thread is None or not self._thread.is_alive():  # none yet, or another process's, before a fork
            self._thread = threading.Thread(target=self._watch, name="rlgan plug-ins in time", daemon=True)
            self._thread.start()
        if not self._has_handler and call.thread == threading.main_thread().ident:
            before = signal.getsignal(signal.SIGALRM)
            if before is not None:  # else it is of C, and could not be put back
                signal.signal(signal.SIGALRM, self._interrupted)
                self._before, self._has_handler = before, True

    def close(self, call: in_time) -> None:
        self._open.remove(call)
        main = threading.main_thread().ident
        if self._has_handler and call.thread == main and not any(one.thread == main for one in self._open):
            signal.signal(signal.SIGALRM, self._before)
            self._has_handler = False
        if call.was_thrown_at:
            _catch_what_is_thrown()

    def interrupt(self, call: in_time) -> None:
        if self._has_handler and call.thread == threading.main_thread().ident:
            signal.pthread_kill(call.thread, signal.SIGALRM)
        else:
            call.was_thrown_at = True
            _throw_at(call.thread)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        main = threading.main_thread().ident
        if any(call.is_late and call.thread == main for call in self._open):
            raise TimeIsUp

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOKS_EVERY_S)
            now = time.monotonic()
            for call in list(self._open):
                call.look(now)


_WATCHER = _Watcher()


@contextmanager
def when_stuck(listener: Callable[[], None]) -> Iterator[None]:
    """Within it, a function is called where code of the user's own is late and cannot be interrupted.

    Args:
        listener: called in another thread, while that of the code stands still.
    """
    _WATCHER.listeners.append(listener)
    try:
        yield
    finally:
        _WATCHER.listeners.remove(listener)
