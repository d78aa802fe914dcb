"""Points of the one space of settings, by name: papers, first steps, controls.

A preset sets values and computes nothing. What a value does stands where the setting lives. `names` lists them, and
`get` gives one as a configuration.
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
    """A preset as a configuration.

    Args:
        name: of the preset.
        task: of the run; None takes the preset's own.

    Raises:
        ConfigError: no such preset, or it is not for this task.
    """
    from .registry import preset

    return preset(name, task)
