"""Which fields of a task's settings name files."""

from __future__ import annotations

from collections.abc import Mapping

from rlgan.base.settings import Settings

from .pair_files import ParallelFiles

_OF_PARALLEL = ("source", "target", "valid_source", "valid_target", "test_source", "test_target")
_OF_ONE = ("data", "valid", "test", "params")


def task_files(settings: Settings) -> Mapping[str, str]:
    """The files that a task is built of.

    Args:
        settings: of the task.

    Returns:
        Dotted path from the task's settings ("data", "input.source") → the file, as the settings name it; empty for a
        task that reads none.
    """
    inner = getattr(settings, "input", None)
    if isinstance(inner, Settings):
        return {f"input.{name}": path for name, path in task_files(inner).items()}
    names = _OF_PARALLEL if isinstance(settings, ParallelFiles) else _OF_ONE
    return {name: path for name in names if isinstance(path := getattr(settings, name, None), str)}
