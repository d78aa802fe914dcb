"""A preset of the user's own: a function that gives a configuration, or what it changes of a preset that ships.

    def small(task=None):
        return {"preset": "seqgan", "generator.hidden": 16, "schedule.adversarial_updates": 20}

What it gives is written out in the run's configuration, value by value: the run does not need the function again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from rlgan.base.errors import ConfigError, PluginError, RlganError
from rlgan.config.config import Config
from rlgan.config.paths import described, from_dict, override, to_dict
from rlgan.envs.tasks import TaskSettings
from rlgan.extensions import Loaded, brief, import_timeout_s, in_time, load, own_lines, too_slow

_FORM = (
    "a function with the parameter `task` or without parameters that returns a rlgan Config, or a dictionary of "
    "dotted paths with the preset that it changes under the key 'preset'"
)


def own_preset(name: str, task: TaskSettings | None, shipped: Callable[[str, TaskSettings | None], Config]) -> Config:
    """The configuration of a preset of the user's own.

    Args:
        name: see `rlgan.extensions.load`.
        task: of the run; None for the preset's own.
        shipped: gives the preset that is changed, by its name.

    Raises:
        ConfigError: there is none, or it gives no configuration, or one that cannot stand.
        PluginError: the function raises.
    """
    loaded = load(name, "preset")
    found = _called(name, loaded, task)
    if isinstance(found, Mapping):
        changes = {str(path): value for path, value in found.items()}
        base = changes.pop("preset", "quick")
        if not isinstance(base, str) or base == name:
            raise ConfigError(
                f"preset plug-in {name!r}: 'preset' is {brief(base)}. Name a built-in preset.",
                code="preset_plugin_base",
                fields={"plugin": name},
            )
        try:
            config = override(shipped(base, task), changes) if changes else shipped(base, task)
        except ConfigError as error:
            error.reword(f"preset plug-in {name!r}: {error}")
            raise
    elif isinstance(found, Config):
        config = found if task is None else found.model_copy(update={"task": task})
    else:
        raise ConfigError(
            f"preset plug-in {name!r}: returned {brief(found)}. Name {_FORM}.",
            code="preset_plugin_returned",
            fields={"plugin": name},
        )
    return from_dict(to_dict(config.model_copy(update={"preset": loaded.name})))


def _called(name: str, loaded: Loaded, task: TaskSettings | None) -> Any:
    if not callable(loaded.object):
        raise ConfigError(
            f"preset plug-in {name!r}: is {brief(loaded.object)}. Name {_FORM}.",
            code="preset_plugin_form",
            fields={"plugin": name},
        )
    parameters = inspect.signature(loaded.object).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.name != "task"]
    if needed:
        raise ConfigError(
            f"preset plug-in {name!r}: has the parameter {needed[0]!r}. Name {_FORM}.",
            code="preset_plugin_parameter",
            fields={"plugin": name},
        )
    given = {"task": task} if any(one.name == "task" for one in parameters) else {}
    limit_s = import_timeout_s()
    try:
        with in_time(limit_s, partial(too_slow, f"preset plug-in {name!r}: has not returned", limit_s), loaded.path):
            return loaded.object(**given)
    except PluginError:
        raise
    except ValidationError as error:
        raise ConfigError(
            f"preset plug-in {name!r}: {described(error)}{own_lines(error, loaded.path)}",
            code="preset_plugin_invalid",
            fields={"plugin": name},
        ) from None
    except RlganError as error:
        raise ConfigError(
            f"preset plug-in {name!r}: {error}{own_lines(error, loaded.path)}",
            code="preset_plugin_error",
            fields={"plugin": name},
        ) from None
    except Exception as error:  # a user's own code may raise anything
        raise PluginError(
            f"preset plug-in {name!r}: raised {type(error).__name__}: {error}. Fix it.{own_lines(error, loaded.path)}",
            code="preset_plugin_raised",
            fields={"plugin": name},
        ) from error
