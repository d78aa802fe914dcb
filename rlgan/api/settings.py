"""What arguments of Python ask for, as a configuration: axes, functions and classes of the user's own, dotted paths."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError
from rlgan.base.settings import Settings
from rlgan.config.config import Config
from rlgan.config.paths import ConfigPathError, axis_path, flatten, merge, override, to_dict, variants_at
from rlgan.config.paths import changed as changed_tree
from rlgan.config.setting_files import read_settings
from rlgan.envs.tasks import TaskSettings
from rlgan.extensions import PluginKind, known, register
from rlgan.presets.effects import require_effect
from rlgan.presets.own_data import sizes_by_data
from rlgan.presets.registry import draft, override_draft
from rlgan.runs.notebook import NotebookProgress, in_notebook
from rlgan.runs.progress import Progress, Silence

from .words import in_python

if TYPE_CHECKING:
    from rlgan.training.callbacks import Callback

_KINDS: dict[str, PluginKind] = {
    "reward": "reward",
    "generator": "generator",
    "discriminator": "discriminator",
    "task": "task",
    "evaluation.metrics": "metric",
    "callbacks": "callback",
}
"""Setting → what a function or class that is given for it stands for."""


def base_of(preset: str | Callable[..., Any] | Config, task: TaskSettings | None) -> Config:
    """The configuration that settings change."""
    if isinstance(preset, Config):
        return preset if task is None else preset.model_copy(update={"task": task})
    name = preset if isinstance(preset, str) else registered("preset", preset)
    return draft(name, task)


def changed(base: Config, changes: Mapping[str, Any], file: str | Path | None = None) -> Config:
    """A configuration with changes, each of which has an effect.

    Args:
        base: before them.
        changes: dotted path → plain value.
        file: of settings in YAML, TOML or JSON, which come before the changes; it may be of a whole configuration, so
            that what it says in vain is let pass.

    Raises:
        ConfigError: anything unknown, contradictory or without effect; says where in the file it stands.
    """
    if file is None:
        config = override_draft(base, changes)
        require_effect(to_dict(base), config, changes)
        return config
    read = read_settings(Path(file))
    below = flatten(read.values)
    try:
        config = override_draft(base, merge(below, changes))
    except ConfigPathError as error:
        error.reword(f"{error}{read.line_of(f'{error.path}:', changes)}")
        raise
    except ConfigError as error:
        error.reword(f"{error}{read.line_of(str(error), changes)}")
        raise
    require_effect(changed_tree(base, below), config, changes)
    return config


def sized(base: Config, asked: Config, changes: Mapping[str, Any], file: str | Path | None, quiet: bool) -> Config:
    """The configuration with sizes by its data, where those of its preset follow the data and are not set.

    Args:
        base: the preset.
        asked: the preset with the changes.
        changes: dotted path → value.
        file: of settings, as for `changed`.
        quiet: whether nothing is shown while data is read.

    Raises:
        DataError: a file is missing, unreadable or holds nothing to train on.
    """
    progress = progress_of(quiet)
    with closing(progress), progress.watching():
        sizes = sizes_by_data(base.preset, asked.task)
    if not sizes:
        return asked
    below = {} if file is None else flatten(read_settings(Path(file)).values)
    # Its task is that of the data as it is read now, wherever it was written.
    whole = override(base.model_copy(update={"task": asked.task}), merge(sizes, merge(below, changes)))
    return whole.model_copy(update={"task": asked.task})


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings as dotted paths to plain values; functions and classes are registered, and their names stand there."""
    found: dict[str, Any] = {}
    for name, given in values.items():
        path = f"{above}{name}"
        kind = _KINDS.get(path)
        value = to_dict(given) if isinstance(given, Settings) else given
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        elif kind is not None and callable(value):
            found[path] = registered(kind, value)
        elif kind is not None and isinstance(value, list | tuple):
            found[path] = [registered(kind, one) if callable(one) else one for one in value]
        else:
            found[path] = str(value) if isinstance(value, Path) else value
    return {axis_path(path): value for path, value in found.items()}


def registered(kind: PluginKind, plugin: Any) -> str:
    """The name under which a function, class or instance of the user's own stands in a configuration."""
    if isinstance(plugin, functools.partial):
        named: Any = plugin.func
    else:
        named = plugin if inspect.isroutine(plugin) or inspect.isclass(plugin) else type(plugin)
    name = re.sub(r"\W", "", named.__name__) or "function"
    if kind in ("reward", "generator", "discriminator", "task") and name in variants_at(kind):
        name = f"own_{name}"  # a name that ships means what ships
    register(kind, name, plugin)
    return name


def own_task(changes: Mapping[str, Any]) -> TaskSettings | None:
    """The task of the user's own that is asked for, with its options: a preset is chosen for it, as for data."""
    name = changes.get("task")
    if not isinstance(name, str) or (name not in known("task") and ":" not in name):
        return None
    above = "task.options."
    options = {path.removeprefix(above): value for path, value in changes.items() if path.startswith(above)}
    return as_task({"kind": "plugin", "name": name, "options": options})


def require_numbers(**named: Any) -> None:
    """Refuse true and false where a number is meant; Python takes True for 1.

    Args:
        named: arguments by their names; None is let pass.

    Raises:
        ConfigError: one is a truth value.
    """
    for name, value in named.items():
        if isinstance(value, bool):
            raise ConfigError(
                f"{name}={value}: expected a number, not true or false. Give a number, or remove it.",
                code="number_expected",
                fields={name: value},
            )


def as_task(values: Mapping[str, Any]) -> TaskSettings:
    """Settings of a task from plain values.

    Raises:
        ConfigError: they are not such.
    """
    from pydantic import TypeAdapter, ValidationError

    from rlgan.config.paths import refused

    try:
        task: TaskSettings = TypeAdapter(TaskSettings).validate_python(dict(values))
    except ValidationError as error:
        raise refused(error) from None
    return task


def built_callbacks(callbacks: Sequence[Callback | type[Callback]]) -> tuple[Callback, ...]:
    """Callbacks, of which classes are built without arguments."""
    return tuple(one() if inspect.isclass(one) else one for one in callbacks)


def progress_of(quiet: bool) -> Progress:
    """What shows a person what is going on."""
    if quiet:
        return Silence()
    return NotebookProgress(words=in_python) if in_notebook() else Progress(words=in_python)
