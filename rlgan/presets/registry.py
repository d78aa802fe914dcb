"""Presets by name: those that ship, found by their mark in the modules of this folder, and those of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from rlgan.base.errors import ConfigError, nearest
from rlgan.base.problems import ContradictionError
from rlgan.config.config import Config, drafting
from rlgan.config.paths import described, flatten, from_dict, override, to_dict
from rlgan.envs.tasks import TaskSettings
from rlgan.extensions import is_plugin_name, known, require_no_namesake

from . import comparing, language_models, latents, molecules, pairs, quick, sequences
from .controls import controls_in_mode
from .named import follows_data, name_of
from .plugin import own_preset
from .sizes import DataSummary, sizes_of

DEFAULT = "quick"
"""What a run is where no preset is named."""

_ROOMS = (sequences, comparing, latents, pairs, quick, language_models, molecules)

_FOUND: dict[str, Callable[[TaskSettings | None], Config]] = {
    name: function
    for room in _ROOMS
    for function in vars(room).values()
    if (name := name_of(function)) is not None and function.__module__ == room.__name__
}

PRESETS: Mapping[str, Callable[[TaskSettings | None], Config]] = {DEFAULT: _FOUND[DEFAULT], **_FOUND}
"""Name on the command line → function of the task, of presets that ship: the default, papers, controls."""


def preset(name: str, task: TaskSettings | None = None, data: DataSummary | None = None) -> Config:
    """A preset by name, for `task` or for its own default task.

    Args:
        name: of one that ships, with dashes or underscores; or of one of the user's own, see `rlgan.extensions`.
        task: of the run; None for the preset's own.
        data: what sizes follow, where they follow the data; None gives the preset's own sizes.

    Raises:
        ConfigError: no such preset; names the known ones and the nearest.
    """
    canonical = {one.replace("-", "_"): one for one in PRESETS}
    shipped = canonical.get(name.replace("-", "_"))
    if shipped is None and (is_plugin_name(name) or name in known("preset")):
        return own_preset(name, task, lambda base, its_task: preset(base, its_task, data))
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
    config = from_dict(to_dict(config))
    if data is None or not follows_data(PRESETS[shipped]):
        return config
    return override(config, sizes_of(data, config))


def draft(name: str, task: TaskSettings | None = None) -> Config:
    """A preset that is about to be changed, which need not stand on `task` before it is; see `override_draft`.

    Args:
        name: as for `preset`.
        task: as for `preset`.

    Raises:
        ConfigError: no such preset; or one of the user's own that cannot stand.
    """
    with drafting():
        return preset(name, task)


def override_draft(base: Config, changes: Mapping[str, Any]) -> Config:
    """The same as `override`, of a configuration that may be a draft.

    Controls of a preset follow the mode of its task, where they are not set.

    Args:
        base: what `draft` returned, or any configuration.
        changes: dotted path → value.

    Raises:
        ConfigError: see `override`; where the changes leave what is wrong with the draft itself, it says that the
            preset does not fit its task.
    """
    try:
        config = override(base, changes)
    except ContradictionError as error:
        if error.problem == next(base.problems(), None):
            preset(base.preset, base.task)  # raises
        raise
    is_stream = config.task.is_stream
    if is_stream == base.task.is_stream or "controls" in changes or base.preset not in PRESETS:
        return config
    if base.controls != draft(base.preset, base.task).controls:
        return config
    return config.model_copy(update={"controls": controls_in_mode(base.controls, is_stream)})


def follows(name: str) -> bool:
    """Whether sizes of a preset may follow the data: of one of the user's own what it begins from decides."""
    shipped = {one.replace("-", "_"): function for one, function in PRESETS.items()}.get(name.replace("-", "_"))
    return shipped is None or follows_data(shipped)


def sizes_for(name: str, task: TaskSettings | None, data: DataSummary) -> dict[str, Any]:
    """What the data changes of a preset: dotted path → value, to stand below all that is set.

    Args:
        name: as for `preset`.
        task: as for `preset`.
        data: what sizes follow.
    """
    before, after = (flatten(to_dict(preset(name, task, one))) for one in (None, data))
    return {path: value for path, value in after.items() if before.get(path) != value}
