"""Trials on Ray Tune: what the search and the final race have in common."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from rlgan.workers.environment import environment
from rlgan.workers.placement import Role

from .journal import Unpickled
from .trial import NAME, OBJECTIVE, Trial

# Tune is told by environment variables alone to leave out its own table, which knows a trial by noise; its advice on
# how often to save what is never read; and its habit of sending trials to work in a folder of their own, where a path
# that the user gave means something else.
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_RAISED = re.compile(r"(?:\w+\.)+[A-Z]\w*(?:: |$)|[A-Z]\w*(?:Error|Exception|Exit|Interrupt)(?:: |$)")
"""Begins the line of a traceback that says what was raised."""
_ALL_AT_ONCE = "TUNE_MAX_PENDING_TRIALS_PG"


class Deadline:
    """When to stop.

    Args:
        seconds: from now; None for never.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """Seconds left, below 0 once it is past; None for no end."""
        return None if self._end is None else self._end - time.monotonic()

    @property
    def is_past(self) -> bool:
        """Whether it is time."""
        return self._end is not None and time.monotonic() >= self._end


class _Until(tune.Stopper, Unpickled):
    """Stops all trials when it is time; the deadline may move until then."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial."""
        return False

    def stop_all(self) -> bool:
        """Called by Tune all the time."""
        return self._deadline.is_past


def runs_at_once(roles: Sequence[Role], concurrent: int | None) -> int:
    """Runs that the cluster has room for at a time; at least 1.

    Args:
        roles: that one of them asks for.
        concurrent: at most so many; None for no bound.
    """
    there = ray.cluster_resources()
    counts = [concurrent] if concurrent is not None else []
    for name, asked in (
        ("CPU", sum(role.cpus * role.number for role in roles)),
        ("GPU", sum(role.gpus * role.number for role in roles)),
    ):
        if asked > 0:
            counts.append(int(there.get(name, 0.0) / asked + 1e-9))
    return max(1, min(counts, default=1))


def run_trials(
    folder: Path,
    searcher: Searcher,
    scheduler: TrialScheduler,
    recorder: tune.Callback,
    *,
    concurrent: int | None,
    deadline: Deadline,
    population: int | None = None,
) -> None:
    """Let Tune run what a searcher hands out.

    Args:
        folder: Tune's own; a folder in it is made for this session.
        searcher: hands out configurations of `rlgan.tuning.search.trial.Trial`.
        scheduler: interferes.
        recorder: is told what happens.
        concurrent: trials at a time; None for as many as the cluster has room for.
        deadline: when trials under way are stopped where they are.
        population: trials that must all be known from the beginning.
    """
    session = len(list(folder.glob("session_*")))
    # Others may want to go on from a state a while after it was written.
    kept = 1 if population is None else 3
    with (
        warnings.catch_warnings(),
        environment({**_QUIET, **({} if population is None else {_ALL_AT_ONCE: str(population)})}),
    ):
        # PB2's Gaussian process has seen a handful of points, and says so at each of them.
        warnings.filterwarnings("ignore", module="sklearn.gaussian_process")
        tune.Tuner(
            Trial,
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="min",
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=concurrent,
                # A trial costs what it trains, and not what a fresh process spends on imports.
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=f"session_{session}",
                storage_path=str(folder.resolve()),
                callbacks=[recorder],
                stop=_Until(deadline),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=kept, checkpoint_frequency=1),
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        ).fit()


def _name(trial: TuneTrial) -> str:
    return str(trial.config[NAME])


def checkpoints(folder: Path, name: str) -> list[str]:
    """Checkpoints of a trial, the newest first: not always the farthest, for it may have taken over from another.

    Args:
        folder: as given to `run_trials`.
        name: of the trial.

    Returns:
        Folders; the first may have been cut off by a crash.
    """
    found = folder.glob(f"session_*/{name}/checkpoint_*/checkpoints/[0-9]*")
    newest_first = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    return list(dict.fromkeys(str(path.parent.parent) for path in newest_first))


def error_of(trial: TuneTrial) -> str:
    """What a trial raised, in the line that says it: behind it there may be lines of a user's own file."""
    if not trial.error_file:
        return "unknown"
    lines = Path(trial.error_file).read_text("utf-8").strip().splitlines()
    return next((line for line in reversed(lines) if _RAISED.match(line)), lines[-1])
