"""The lines of a user's own file in what was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

# What interrupts code that is late stands in its traceback, too.
_OURS = str(Path(__file__).parents[1])
_OF_THE_WATCH = (str(Path(__file__).with_name("watching.py")),)


def lines_of(frame: FrameType | None, caller: str) -> str:
    """Where code of the user's own stands: the line of what was called, and the innermost one.

    Args:
        frame: of its thread; None where it has ended.
        caller: file of what calls it.
    """
    frames = traceback.extract_stack(frame) if frame is not None else []
    first = max((index for index, one in enumerate(frames) if one.filename == caller), default=len(frames)) + 1
    called = [one for one in frames[first:] if not one.filename.startswith(_OURS)]
    return _shown([called[0], *called[-1:]] if len(called) > 1 else called)


def own_lines(error: BaseException, path: str | None) -> str:
    """The lines of a user's file in a traceback, on lines of their own; all of them where none is of that file.

    Args:
        error: that was raised.
        path: of the user's file.
    """
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"\n  {path}, line {error.lineno}\n    {(error.text or '').strip()}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename not in _OF_THE_WATCH]
    return _shown([frame for frame in frames if frame.filename == path] or frames[-1:])


def _shown(frames: Iterable[traceback.FrameSummary]) -> str:
    return "".join(f"\n  {one.filename}, line {one.lineno}, in {one.name}\n    {one.line}" for one in frames)
