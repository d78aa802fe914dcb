"""More adversarial updates for a run that is complete: which runs can have them, and what changes in the folder.

A run that is extended from 200 to 400 updates has the numbers of one that was asked for 400 at once. Where a longer run
would have been another one from its first update, or from before its end, it is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.files import cannot_write
from rlgan.config.config import Config
from rlgan.config.paths import override, to_dict
from rlgan.evaluation.verdict import FILE as VERDICT
from rlgan.report.final_table import SHOWN_SAMPLES, SHOWN_TABLE, TABLE
from rlgan.schedule.model_selection import selecting
from rlgan.schedule.phases import Schedule
from rlgan.storage.checkpoint import load_latest, peek, write_run_config
from rlgan.tracking import drop_end

from .page import PAGE
from .publishing import LAST_FILE, SUMMARY

UPDATES = "schedule.adversarial_updates"
"""Path of the setting that an extension changes."""


def extended(config: Config, run_dir: Path, num_updates: int) -> Config:
    """The configuration of a run with more adversarial updates; nothing is written.

    Args:
        config: of the run, which is complete.
        run_dir: its folder.
        num_updates: how many more.

    Raises:
        ConfigError: there is nothing to extend, or a longer run would have had other numbers so far.
        CheckpointError: the run is not complete.
    """
    before = config.schedule.adversarial_updates
    if isinstance(num_updates, bool) or not isinstance(num_updates, int) or num_updates < 1:
        raise ConfigError(
            f"updates={num_updates!r}: must be a whole number of at least 1, the number of additional iterations.",
            code="extend_updates",
            fields={"updates": num_updates},
        )
    if not before:
        raise ConfigError(
            f"{run_dir}: has no adversarial phase to extend ({UPDATES} is 0). Start a new run with more "
            "schedule.mle_epochs, or with a preset that has an adversarial phase.",
            code="extend_no_phase",
            fields={"path": run_dir},
        )
    after = before + num_updates
    anew = f"Start a new run with {UPDATES}={after}."
    if not (run_dir / LAST_FILE).exists():
        done = load_latest(run_dir).position
        raise CheckpointError(
            f"{run_dir}: is not complete (its last checkpoint has {done} iterations), and only a complete run can "
            f"be extended. Continue it with --resume {run_dir} first. Nothing was changed.",
            code="extend_incomplete",
            fields={"path": run_dir},
        )
    if (reason := peek(run_dir, "stopped")) is not None:
        raise ConfigError(
            f"{run_dir}: was stopped before the end of its {before} iterations, by {reason}. {anew}",
            code="extend_stopped",
            fields={"path": run_dir},
        )
    if selecting(config.schedule.selection) is not None:
        raise ConfigError(
            f"{run_dir}: cannot be extended: schedule.selection={config.schedule.selection.kind!r} replaced the "
            f"last generator with the best one, so the last one is no longer available. {anew}",
            code="extend_selected",
            fields={"schedule.selection": config.schedule.selection.kind, "path": run_dir},
        )
    updates = before * config.schedule.g_steps, after * config.schedule.g_steps
    shorter, longer = ([config.objective.relaxation(one, most) for one in range(updates[0])] for most in updates)
    if shorter != longer:
        raise ConfigError(
            f"{run_dir}: cannot be extended: its objective.temperature depends on all {before} iterations, so a "
            f"longer run differs from the start. {anew}",
            code="extend_temperature",
            fields={"path": run_dir},
        )
    longer_config = override(config, {UPDATES: after})
    for name, rate in (("g_rate_end", Schedule.g_rate), ("d_rate_end", Schedule.d_rate)):
        if any(rate(config.schedule, one) != rate(longer_config.schedule, one) for one in range(before)):
            raise ConfigError(
                f"{run_dir}: cannot be extended: schedule.{name}={getattr(config.schedule, name):g} spreads over all "
                f"{before} iterations, so a longer run differs from the start. {anew}",
                code="extend_rate",
                fields={f"schedule.{name}": getattr(config.schedule, name), "path": run_dir},
            )
    return longer_config


def begin_extension(run_dir: Path, config: Config, before: int) -> None:
    """Make the folder that of a longer run, which has a part of its updates done.

    The tables so far are kept under other names (table-at-200.txt). Whoever is killed in here leaves a run that can be
    gone on with.

    Args:
        run_dir: of the run.
        config: with more updates.
        before: updates that it had.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    drop_end(run_dir)
    # The table's text is what makes a run complete. It goes first: without it the table is measured again.
    for path in (run_dir / name for name in (LAST_FILE, TABLE, SHOWN_TABLE, SHOWN_SAMPLES, VERDICT, SUMMARY, PAGE)):
        if path.exists():
            kept = path.with_name(f"{path.stem}-at-{before}{path.suffix}")
            try:
                os.replace(path, kept)
            except OSError as error:
                raise cannot_write(kept, error) from error
    write_run_config(run_dir, to_dict(config))
