"""Tasks: what real sequences are, their splits, and the exact distribution where there is one. Settings in, `Task` out.

Files are read in `rlgan.envs.reading`; what is measured of a task's sequences is decided in `rlgan.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from rlgan.base.settings import Settings

from .demonstrations import DemonstrationsTask, build_demonstrations_task, demonstrations_task
from .oracle import LSTMOracle, OracleTask, build_oracle_task
from .pairs import PairsTask, build_pairs_task
from .plugin import PluginTask, build_plugin_task, text_task
from .task import Conditions, Oracle, Task, TaskMeasure
from .text import TextTask, build_text_task
from .toy import TabularOracle, ToyTask, build_toy_task
from .transduction import TransductionTask, build_transduction_task

TaskSettings = Annotated[
    OracleTask | TextTask | PairsTask | DemonstrationsTask | ToyTask | TransductionTask | PluginTask,
    Field(discriminator="kind"),
]
"""Settings of any task, distinguished by `kind`."""

TASK_BUILDERS: Mapping[type[Settings], Callable[[Any], Task]] = {
    OracleTask: build_oracle_task,
    TextTask: build_text_task,
    PairsTask: build_pairs_task,
    DemonstrationsTask: build_demonstrations_task,
    ToyTask: build_toy_task,
    TransductionTask: build_transduction_task,
    PluginTask: build_plugin_task,
}
"""What builds each task from its settings."""


def build_task(settings: TaskSettings) -> Task:
    """Build the task that the settings describe.

    Raises:
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    return TASK_BUILDERS[type(settings)](settings)


__all__ = [
    "TASK_BUILDERS",
    "Conditions",
    "DemonstrationsTask",
    "LSTMOracle",
    "Oracle",
    "OracleTask",
    "PairsTask",
    "PluginTask",
    "TabularOracle",
    "Task",
    "TaskMeasure",
    "TaskSettings",
    "TextTask",
    "ToyTask",
    "TransductionTask",
    "build_demonstrations_task",
    "build_oracle_task",
    "build_pairs_task",
    "build_task",
    "build_text_task",
    "build_toy_task",
    "build_transduction_task",
    "demonstrations_task",
    "text_task",
]
