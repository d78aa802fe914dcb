"""Presets by name: those that ship, found by their mark in the modules of this folder, and those of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import ValidationError

from rlgan.base.errors import ConfigError, nearest
from rlgan.config.config import Config
from rlgan.config.paths import described, from_dict, to_dict
from rlgan.envs.tasks import TaskSettings
from rlgan.extensions import is_plugin_name, known, require_no_namesake

from . import pairs, quick, sequences
from .named import name_of
from .plugin import own_preset

DEFAULT = "quick"
"""What a run is where no preset is named."""

_ROOMS = (sequences, pairs, quick)

_FOUND: dict[str, Callable[[TaskSettings | None], Config]] = {
    name: function
    for room in _ROOMS
    for function in vars(room).values()
    if (name := name_of(function)) is not None and function.__module__ == room.__name__
}

PRESETS: Mapping[str, Callable[[TaskSettings | None], Config]] = {DEFAULT: _FOUND[DEFAULT], **_FOUND}
"""Name on the command line → function of the task, of presets that ship: the default, papers, controls."""


def preset(name: str, task: TaskSettings | None = None) -> Config:
    """A preset by name, for `task` or for its own default task.

    Args:
        name: of one that ships, with dashes or underscores; or of one of the user's own, see `rlgan.extensions`.
        task: of the run; None for the preset's own.

    Raises:
        ConfigError: no such preset; names the known ones and the nearest.
    """
    canonical = {one.replace("-", "_"): one for one in PRESETS}
    shipped = canonical.get(name.replace("-", "_"))
    if shipped is None and (is_plugin_name(name) or name in known("preset")):
        return own_preset(name, task, preset)
    if shipped is None:
        there = [*PRESETS, *known("preset")]
        raise ConfigError(
            f"preset {name!r}: is unknown.{nearest(name, there)} Presets are {', '.join(there)}.",
            code="unknown_preset",
            fields={"preset": name},
        )
    require_no_namesake("preset", shipped, "preset")
    try:
        config = PRESETS[shipped](task)
    except ValidationError as error:
        # A recipe that cannot be followed on this task: the same sentence as of any other contradiction.
        raise ConfigError(
            f"preset {shipped!r} does not fit this task. {described(error)}",
            code="preset_not_for_task",
            fields={"preset": shipped},
        ) from None
    return from_dict(to_dict(config))
