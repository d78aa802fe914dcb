"""A file of events, a JSON object a line: what is written is on the disk, and a line cut off by a crash is dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError
from rlgan.base.files import cannot_write

Event = dict[str, Any]


class Unpickled:
    """What Tune writes into pickles that nobody reads, and that should hold nothing of it."""

    def __getstate__(self) -> dict[str, object]:
        """Nothing: it lies in a file of its own."""
        return {}


class Journal:
    """Events in the order in which they happened; each is applied once, when it is read or appended.

    Args:
        path: is made with the first event.
        apply: takes an event into account.

    Raises:
        CheckpointError: the file is not what a sweep wrote.
    """

    def __init__(self, path: Path, apply: Callable[[Event], None]) -> None:
        self._path, self._apply = path, apply
        if path.exists():
            self._read()

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        if torn:  # the driver died while it wrote this line
            self._path.write_bytes(whole + b"\n" if whole else b"")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{self._path}, line {number}: is not an event of a sweep ({error!r}). Restore the file, or "
                    "start a new sweep.",
                    code="damaged_journal",
                    fields={"path": self._path, "line": number},
                ) from None

    def append(self, **event: Any) -> None:
        """Something happened.

        Raises:
            CheckpointError: the disk is full or cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._apply(event)
