"""The lines of a user's own file in what was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

# What interrupts code that is late stands in its traceback, too.
_OF_THE_WATCH = (str(Path(__file__).with_name("watching.py")),)


def own_lines(error: BaseException, path: str | None) -> str:
    """The lines of a user's file in a traceback, on lines of their own; all of them where none is of that file.

    Args:
        error: that was raised.
        path: of the user's file.
    """
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"\n  {path}, line {error.lineno}\n    {(error.text or '').strip()}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename not in _OF_THE_WATCH]
    own = [frame for frame in frames if frame.filename == path] or frames[-1:]
    return "".join(f"\n  {one.filename}, line {one.lineno}, in {one.name}\n    {one.line}" for one in own)
