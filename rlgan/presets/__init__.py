"""Points of the one space of settings, by name: papers, first steps, controls.

A preset sets values and computes nothing; sizes of those of the first hour then follow the data (`sizes`). What a value
does stands where the setting lives. `names` lists them, and `get` gives one as a configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlgan.config.config import Config
    from rlgan.envs.tasks import TaskSettings


def names() -> tuple[str, ...]:
    """Names of all presets that ship, the default first."""
    from .registry import PRESETS

    return tuple(PRESETS)


def get(name: str, task: TaskSettings | None = None) -> Config:
    """A preset as a configuration, its sizes chosen by the data where they follow it.

    Args:
        name: of the preset.
        task: of the run, whose files are read; None takes the preset's own.

    Raises:
        ConfigError: no such preset, or it is not for this task.
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    from .own_data import summary_of_data
    from .registry import preset

    config = preset(name, task)
    data = None if task is None else summary_of_data(config.task)
    return config if data is None else preset(name, task, data)
