"""What a sweep has done, a line an event: nothing that is finished is lost or done again, whenever the driver dies.

Tune keeps notes of its own, as pickles, which are never read; a sweep is taken up again from this file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlgan.envs.errors import CheckpointError

from .spaces import Point

State = Literal["finished", "stopped", "failed"]


@dataclass
class Entry:
    """One trial.

    Attributes:
        index: its number in the sweep, from 0.
        point: what it varies.
        draws: name of each dimension → value, as the source of proposals knows them.
        results: (adversarial updates done, objective) at each measurement.
        state: how it ended; None while it has not.
        metrics: of its last measurement.
        error: what a failed one raised.
        seconds: that it trained.
    """

    index: int
    point: Point
    draws: dict[str, Any]
    results: list[tuple[int, float]] = field(default_factory=list)
    state: State | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0

    @property
    def value(self) -> float | None:
        """The last objective; None where nothing was measured."""
        return self.results[-1][1] if self.results else None


class Ledger:
    """The file of a sweep.

    Args:
        path: is made with the first event.

    Attributes:
        entries: trials by their number.

    Raises:
        CheckpointError: the file is not what a sweep wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[int, Entry] = {}
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
                    f"{self._path}, line {number}: is no event of a sweep ({error!r}). Restore the file, or start a "
                    "new sweep."
                ) from None

    def _apply(self, event: dict[str, Any]) -> None:
        index = event["index"]
        if event["event"] == "begun":
            self.entries[index] = Entry(index, event["point"], event["draws"])
        elif event["event"] == "result":
            entry, update = self.entries[index], event["update"]
            # A trial that is gone on with from its checkpoint measures again what came after it.
            entry.results = [*(one for one in entry.results if one[0] < update), (update, event["value"])]
            entry.metrics, entry.seconds = event["metrics"], event["seconds"]
        elif event["event"] == "ended":
            self.entries[index].state, self.entries[index].error = event["state"], event["error"]
        else:
            raise ValueError(event["event"])

    def _append(self, **event: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(event)

    def begun(self, index: int, point: Point, draws: dict[str, Any]) -> None:
        """A trial begins."""
        self._append(event="begun", index=index, point=point, draws=draws)

    def result(self, index: int, update: int, value: float, metrics: dict[str, float], seconds: float) -> None:
        """A trial was measured."""
        self._append(event="result", index=index, update=update, value=value, metrics=metrics, seconds=seconds)

    def ended(self, index: int, state: State, error: str | None = None) -> None:
        """A trial is over."""
        self._append(event="ended", index=index, state=state, error=error)

    def unfinished(self) -> list[Entry]:
        """Trials that began and have not ended, in order."""
        return [entry for _, entry in sorted(self.entries.items()) if entry.state is None]

    def ranked(self) -> list[Entry]:
        """Trials that ended with a value, the best first: those that were not stopped before those that were."""
        ended = [entry for entry in self.entries.values() if entry.state in ("finished", "stopped") and entry.results]
        return sorted(ended, key=lambda entry: (entry.state != "finished", entry.value, entry.index))
