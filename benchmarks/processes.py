"""The processes of a run on Ray and what each holds, read from /proc: Linux only.

Memory is told in four ways, for processes share pages: `uss` is what a process alone maps, `anon` its own heap and
stacks without files and without the object store, `pss` its share of everything it maps, `rss` everything it maps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")

# Part of a command line → what people call that process. Ray names its Python workers by what they run.
_NAMES = (
    ("gcs/gcs_server", "gcs"),
    ("raylet/raylet ", "raylet"),
    ("_private/monitor.py", "autoscaler monitor"),
    ("dashboard/dashboard.py", "state head"),
    ("_private/log_monitor.py", "log monitor"),
    ("ray::DashboardAgent", "dashboard agent"),
    ("ray::RuntimeEnvAgent", "runtime environment agent"),
    ("ray::RolloutActor", "rollout actor"),
    ("ray::DiscriminatorActor", "discriminator actor"),
    ("ray::_WrappedExecutable", "learner actor"),
    ("ray::GeneratorLearner", "learner actor"),
    ("ray::IDLE", "idle worker"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds at a moment; sizes in bytes.

    Attributes:
        rss: pages that it maps.
        pss: the same, shared ones divided by those who share them.
        uss: pages that nobody else maps.
        anon: heap and stacks, its share.
        shmem: shared memory, its share: what it touched of the object store.
        num_fds: open file descriptors.
        num_threads: threads.
    """

    rss: int
    pss: int
    uss: int
    anon: int
    shmem: int
    num_fds: int
    num_threads: int


def role(command: str) -> str:
    """What a process is, from its command line; the program's name for one that is not known."""
    for part, name in _NAMES:
        if part in command:
            return name
    words = command.split()
    return Path(words[0]).name if words else "unnamed"


def parse_rollup(text: str) -> dict[str, int]:
    """Bytes by name, from the text of /proc/PID/smaps_rollup."""
    found = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024
    return found


def usage(pid: int) -> Usage | None:
    """What a process holds now; None once it has ended."""
    folder = _PROC / str(pid)
    try:
        rollup = parse_rollup((folder / "smaps_rollup").read_text("ascii"))
        return Usage(
            rss=rollup["Rss"],
            pss=rollup["Pss"],
            uss=rollup["Private_Clean"] + rollup["Private_Dirty"],
            anon=rollup["Pss_Anon"],
            shmem=rollup["Pss_Shmem"],
            num_fds=len(os.listdir(folder / "fd")),
            num_threads=len(os.listdir(folder / "task")),
        )
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return None  # a process that is ending has an empty roll-up


def command_line(pid: int) -> str:
    """With blanks between the words; empty once it has ended."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() + " "
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid: int) -> Iterator[int]:
    """A process, its children, theirs, and so on."""
    yield pid
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text("ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from family(child)


class Census:
    """The processes below this one under names that stay: `rollout actor`, `rollout actor 2`, and so on.

    Attributes:
        names: pid → name, of everything seen so far.
    """

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SystemExit("Processes are read from /proc; run this benchmark on Linux.")
        self.names: dict[int, str] = {os.getpid(): "driver"}
        self._roles: dict[int, str] = {os.getpid(): "driver"}

    def name(self, pid: int, command: str) -> str:
        """A worker that was idle and is an actor now gets a new name, everything else keeps its own."""
        kind = self._roles[pid] if pid == os.getpid() else role(command)
        if self._roles.get(pid) != kind:
            self._roles[pid] = kind
            # Numbered from 1 in the order met, also after one of them ended: a number is never given twice.
            taken = sum(known == kind for known in self._roles.values())
            self.names[pid] = kind if taken == 1 else f"{kind} {taken}"
        return self.names[pid]

    def take(self) -> dict[str, Usage]:
        """What each process holds now."""
        taken = {}
        for pid in sorted(family(os.getpid())):
            command = command_line(pid)
            held = usage(pid)
            if held is not None and (command or pid in self.names):
                taken[self.name(pid, command)] = held
        return taken
