"""What is a fault and what is an error, how often a call is tried again, and what is said of it.

A *fault* is the loss of an actor: its process was killed, its node left, it ran out of memory, it did not answer in
time. A new actor takes its place and the same call is made again; calls are functions of what they are given and of a
state that the driver holds, so the numbers are those of a run in which nothing was lost. An *error* is an exception of
the code that an actor ran: it ends the run as it is, for it would only be raised again.

The driver's own death is no fault in this sense: the run is gone on with from its last checkpoint.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from ray import exceptions

from rlgan.base.errors import RlganError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_MEMORY_HINT = (
    " A node ran out of memory: lower workers.chunk_rows or workers.shard_fakes, use fewer actors per node "
    "(workers.rollout, or a higher workers.cpus_per_rollout), or lower schedule.g_batch."
)

_START_S = 60.0  # a loaded machine takes as long to start a process that imports torch and Ray


class Fault(Exception):
    """A loss that was noticed otherwise than by an error of Ray's."""


class WorkerLostError(RuntimeError):
    """An actor was lost more often in a row than the settings allow."""


def fault_of(error: BaseException) -> str | None:
    """Why an actor was lost, in a line; None for an error of the code that it ran."""
    if isinstance(error, Fault):
        return str(error)
    if isinstance(error, exceptions.RayTaskError):
        # What an actor could not fetch is the loss of another process, met while the call began.
        return fault_of(error.cause) if isinstance(error.cause, exceptions.ObjectLostError) else None
    if isinstance(error, exceptions.RayActorError):
        # An exception of the constructor is an error of its code like any other.
        return None if error.actor_init_failed else _one_line(error)
    if isinstance(error, exceptions.GetTimeoutError):
        return "it did not respond in time"
    lost = (
        exceptions.NodeDiedError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
        exceptions.ActorUnschedulableError,
    )
    return _one_line(error) if isinstance(error, lost) else None


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line only says that the actor died; how it did comes last, before guesses at why.
    return lines[-1].partition(" Some common causes include")[0].rstrip(".") if lines else type(error).__name__


def as_raised(error: Exception) -> Exception:
    """An error of the code that an actor ran, as that code raised it where it is the user's to mend.

    Ray wraps it into one whose message is a traceback through Ray and rlgan.
    """
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else None
    return cause if isinstance(cause, RlganError) else error


class Faults:
    """What a run does about faults, and its memory of them.

    Args:
        max_retries: times that one call is tried again before the run stops.
        call_timeout_s: seconds after which an actor that has not answered counts as lost.

    Attributes:
        lost: actors lost so far, by role.
        reissued_shards: shards that were computed again.
    """

    def __init__(self, max_retries: int, call_timeout_s: float) -> None:
        self.max_retries, self.call_timeout_s = max_retries, call_timeout_s
        self.lost: Counter[str] = Counter()
        self.reissued_shards = 0

    @property
    def start_timeout_s(self) -> float:
        """Seconds after which an actor that has not started counts as lost."""
        return max(self.call_timeout_s, _START_S)

    def record(self, role: str, who: str, reason: str, losses_in_a_row: int, error: BaseException | None) -> None:
        """Note the loss of an actor whose call will be made again.

        Args:
            role: what kind of actor.
            who: which one, for people.
            reason: from `fault_of`.
            losses_in_a_row: how often this call or this place has failed without a success in between.
            error: the loss itself.

        Raises:
            WorkerLostError: that was once too often.
        """
        self.lost[role] += 1
        hint = _MEMORY_HINT if "running low on memory" in f"{error}" else ""
        if losses_in_a_row > self.max_retries:
            raise WorkerLostError(
                f"{who} was lost {losses_in_a_row} times in a row (workers.max_retries={self.max_retries}). Last "
                f"time: {reason}.{hint}"
            ) from error
        logger.warning("%s was lost (%s). A new one replaces it and repeats the same call.%s", who, reason, hint)

    def retry(self, role: str, who: str, call: Callable[[], Result], replace: Callable[[], None]) -> Result:
        """Make a call until it succeeds, replacing the actor after each fault.

        Args:
            role: what kind of actor.
            who: which one, for people.
            call: blocks until the actor has answered.
            replace: makes a new actor in the state that the call begins from; may itself meet a fault.

        Returns:
            The call's result.

        Raises:
            WorkerLostError: too many faults in a row.
        """
        losses = 0
        is_ready = True
        while True:
            try:
                if not is_ready:
                    replace()
                    is_ready = True
                return call()
            except Exception as error:
                reason = fault_of(error)
                if reason is None:
                    raise as_raised(error) from error
                losses += 1
                is_ready = False
                self.record(role, who, reason, losses, error)

    def summary(self) -> str | None:
        """What was lost in the whole run, in a sentence; None where nothing was."""
        if not self.lost:
            return None
        parts = ", ".join(f"{number} × {role}" for role, number in sorted(self.lost.items()))
        return f"lost and replaced: {parts}; {self.reissued_shards} shards recomputed"
