"""What is a fault and what an error, and how often one is tried again; no cluster."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from ray import exceptions

from rlgan.base.errors import ConfigError
from rlgan.workers.faults import Fault, Faults, WorkerLostError, fault_of
from rlgan.workers.processes import require_same_versions, this_process
from tests.support.errors import refused


def task_error(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError("run", "Traceback ...", cause)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.ActorDiedError(), "The actor died unexpectedly before finishing this task"),
        (exceptions.ActorUnavailableError("no answer", None), "no answer"),
        (exceptions.GetTimeoutError("late"), "it did not respond in time"),
        (exceptions.WorkerCrashedError(), "died unexpectedly"),
        (exceptions.OutOfMemoryError("line\n  the node was running low on memory \n"), "running low on memory"),
        (Fault("a peer is gone"), "a peer is gone"),
        (task_error(exceptions.ObjectLostError("ab" * 14, None, "")), "lost"),
    ],
)
def test_losses_are_faults(error: Exception, reason: str) -> None:
    assert reason in (fault_of(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a custom reward"),
        task_error(ValueError("a custom reward")),
        task_error(ValueError("a custom reward")).as_instanceof_cause(),
        exceptions.ActorDiedError(task_error(ValueError("in the constructor"))),
        KeyboardInterrupt(),
    ],
)
def test_what_code_raises_is_no_fault(error: BaseException) -> None:
    assert fault_of(error) is None


class Line:
    """Answers after so many losses."""

    def __init__(self, losses: int, replacement_losses: int = 0) -> None:
        self.losses, self.replacement_losses, self.calls, self.replacements = losses, replacement_losses, 0, 0

    def call(self) -> str:
        self.calls += 1
        if self.calls <= self.losses:
            raise exceptions.ActorDiedError()
        return "answer"

    def replace(self) -> None:
        self.replacements += 1
        if self.replacements <= self.replacement_losses:
            raise exceptions.ActorDiedError()


@pytest.mark.parametrize("losses", [0, 1, 3])
def test_a_call_is_made_again_after_each_loss(losses: int, caplog: pytest.LogCaptureFixture) -> None:
    faults, line = Faults(max_retries=3, call_timeout_s=1.0), Line(losses)
    with caplog.at_level(logging.WARNING):
        assert faults.retry("role", "the actor", line.call, line.replace) == "answer"
    assert (line.calls, line.replacements) == (losses + 1, losses)
    assert faults.lost["role"] == len(caplog.records) == losses
    assert all("the actor was lost" in record.getMessage() for record in caplog.records)


def test_a_loss_while_replacing_counts_and_the_call_waits_for_a_replacement() -> None:
    faults, line = Faults(max_retries=3, call_timeout_s=1.0), Line(1, replacement_losses=2)
    assert faults.retry("role", "the actor", line.call, line.replace) == "answer"
    assert (line.calls, line.replacements, faults.lost["role"]) == (2, 3, 3)


@pytest.mark.parametrize("max_retries", [0, 2])
def test_enough_is_enough_and_the_last_loss_is_told(max_retries: int) -> None:
    faults, line = Faults(max_retries, call_timeout_s=1.0), Line(100)
    with pytest.raises(
        WorkerLostError,
        match=rf"the actor was lost {max_retries + 1} times in a row \(workers.max_retries={max_retries}\)\. "
        r"Last time: The actor died unexpectedly",
    ) as caught:
        faults.retry("role", "the actor", line.call, line.replace)
    assert line.calls == max_retries + 1
    assert isinstance(caught.value.__cause__, exceptions.ActorDiedError)


def test_an_error_ends_the_call_at_once() -> None:
    faults = Faults(max_retries=3, call_timeout_s=1.0)

    def wrong() -> None:
        raise ValueError("a custom reward")

    def never() -> None:
        raise AssertionError("nothing was lost")

    with pytest.raises(ValueError, match="a custom reward"):
        faults.retry("role", "the actor", wrong, never)
    assert not faults.lost and faults.summary() is None


def test_a_lack_of_memory_names_the_settings_to_lower(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(max_retries=1, call_timeout_s=1.0)
    error = exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
    faults.record("role", "the actor", "x", 1, error)
    assert "lower workers.chunk_rows" in caplog.text
    with pytest.raises(WorkerLostError, match=r"lower workers\.chunk_rows"):
        faults.record("role", "the actor", "x", 2, error)


def test_summary_counts_by_role() -> None:
    faults = Faults(max_retries=9, call_timeout_s=1.0)
    for role in ("rollout worker", "discriminator", "rollout worker"):
        faults.record(role, role, "x", 1, None)
    faults.reissued_shards = 5
    assert faults.summary() == ("lost and replaced: 1 × discriminator, 2 × rollout worker; 5 shards recomputed")


def test_another_version_is_refused_with_both_and_the_node() -> None:
    here = this_process()
    require_same_versions("rollout worker 3", dataclasses.replace(here, node="10.0.0.7", pid=1))
    there = dataclasses.replace(here, node="10.0.0.7", pid=99, rlgan="0.0.1", torch="2.0.0")
    with refused(ConfigError, "versions_differ", {"plugin": "rollout worker 3"}, match="99.*10.0.0.7.*0.0.1"):
        require_same_versions("rollout worker 3", there)
