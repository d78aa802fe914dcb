"""Code that never returns is interrupted in its own thread, and told by name and line."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlgan.base.errors import CallbackError, PluginError
from rlgan.extensions import in_time, watching, when_stuck
from rlgan.extensions.watching import TimeIsUp


def late() -> str:
    return "mine: is late."


def spins() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(1000.0)


def waits_for_a_lock() -> None:
    threading.Event().wait()


def swallows() -> None:
    while True:
        with contextlib.suppress(Exception):  # what interrupts it is no Exception
            time.sleep(1000.0)


def computes() -> None:
    while True:
        torch.randn(10, 10) @ torch.randn(10, 10)


@pytest.mark.parametrize("hang", [spins, sleeps, waits_for_a_lock, swallows, computes])
def test_code_that_hangs_is_interrupted_where_it_stands(hang: Callable[[], None]) -> None:
    with pytest.raises(PluginError, match="mine: is late") as raised, in_time(0.05, late, __file__):
        hang()
    assert f"{__file__}, line" in str(raised.value) and f"in {hang.__name__}" in str(raised.value)


def test_code_that_returns_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    for number in range(1000):
        with in_time(0.5, late, ""):
            assert number >= 0
    time.sleep(3 * watching._LOOKS_EVERY_S)
    assert signal.getsignal(signal.SIGALRM) is before and not watching._WATCHER._open


def test_its_own_errors_pass_through() -> None:
    with pytest.raises(KeyError), in_time(10.0, late, ""):
        raise KeyError("own")


def test_the_late_one_is_told_where_calls_are_inside_each_other() -> None:
    def of(name: str) -> Callable[[], str]:
        return lambda: f"{name} is late"

    with (
        pytest.raises(PluginError, match="^outer is late"),
        in_time(0.05, of("outer"), ""),
        in_time(100.0, of("inner"), ""),
    ):
        sleeps()
    with (
        pytest.raises(PluginError, match="^inner is late"),
        in_time(100.0, of("outer"), ""),
        in_time(0.05, of("inner"), ""),
    ):
        sleeps()


def test_another_thread_is_interrupted_at_its_next_line() -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with in_time(0.05, late, __file__):
                spins()
        except PluginError as error:
            raised.append(error)
        sum(range(100_000))  # nothing that interrupts it comes afterwards

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60.0)
    assert not thread.is_alive() and "in spins" in str(raised[0])


def test_code_that_catches_everything_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_INTERRUPTS_EVERY_S", 0.05)
    caught = 0
    with pytest.raises(PluginError, match="is late"), in_time(0.05, late, ""):
        while True:
            try:
                time.sleep(1000.0)
            except TimeIsUp:
                caught += 1
                if caught == 3:
                    raise


def test_what_cannot_be_interrupted_is_told_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "_STUCK_AFTER_S", 0.05)
    monkeypatch.setattr(watching, "_INTERRUPTS_EVERY_S", 0.05)
    kept = threading.Event()

    def never_at_a_line() -> None:
        while not kept.is_set():
            try:
                kept.wait()
            except TimeIsUp:  # as a loop in C, which knows of no interruption
                continue

    with pytest.raises(PluginError, match="is late"), when_stuck(kept.set), in_time(0.05, late, ""):
        never_at_a_line()
    said = capsys.readouterr().err
    assert "mine: is late. It cannot be interrupted; end the process." in said and "in never_at_a_line" in said


def test_the_error_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CallbackError), in_time(0.05, late, str(tmp_path), CallbackError):
        sleeps()


INTERRUPTED_AND_TRACED = """
import faulthandler, sys, threading
from rlgan.base.errors import PluginError
from rlgan.extensions import in_time

def hang():
    while True:
        pass

def call():
    try:
        with in_time(0.05, lambda: "mine: is late.", ""):
            hang()
    except PluginError:
        print("interrupted")

def traced():
    return 1

call()
other = threading.Thread(target=call)
other.start()
other.join()
faulthandler.dump_traceback_later(10, exit=True)  # else it would go round for ever
sys.settrace(lambda *_: None)
traced()
sys.settrace(None)
print("traced")
"""


def test_a_process_can_be_traced_after_something_was_interrupted() -> None:
    found = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AND_TRACED], check=False, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.split() == ["interrupted", "interrupted", "traced"], found.stderr
