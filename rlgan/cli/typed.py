"""A configuration as the command that asks for it: found by taking options from it, and kept where it reads back.

What a run does not read, and what changes no number (labels, tracking, checkpoints, controls), is not compared.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import PydanticUndefined

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import IsFile, NeverMovesNumbers, Settings, facts_below, facts_of, is_within
from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict, typed
from rlgan.envs.tasks import TaskSettings
from rlgan.presets.effects import unread

from .options import Choices, add_choices, resolve, split_overrides, task_of


def train_command(config: Config, presets: Sequence[str]) -> str | None:
    """The shortest `rlgan train` that asks for a configuration.

    Args:
        config: of a run.
        presets: names of those that it may begin from.

    Returns:
        As it is typed in a shell; None where no option can say what the configuration holds.
    """
    commands = []
    for name in dict.fromkeys(presets):
        for short in (_short_options(config.task), []):
            try:
                words = [name, *short, *_options(config, _parsed([name, *short]))]
                reads_back = _compared(_parsed(words), config) == _compared(config, config)
            except (ConfigError, DataError):
                continue  # not for this task, not to be said by options, or its data is gone: another may be
            if reads_back:
                commands.append(words)
    if not commands:
        return None
    return shlex.join(["rlgan", "train", *min(commands, key=lambda words: (len(words), words))])


def _parsed(words: Sequence[str]) -> Config:
    parser = _Refusing(allow_abbrev=False)
    add_choices(parser)
    own, overrides = split_overrides(words, parser)
    return resolve(Choices.of(parser.parse_args(own)), overrides)


class _Refusing(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(message, code="command_not_typeable")


def _compared(config: Config, of: Config) -> dict[str, Any]:
    """What of a configuration has to be the same as in another."""
    idle = _idle(of)
    return {
        path: value for path, value in flatten(to_dict(config)).items() if not any(is_within(path, one) for one in idle)
    }


def _idle(config: Config) -> list[str]:
    """What no number of a run depends on."""
    return [*(path for path, _ in facts_below(Config, NeverMovesNumbers)), *(path for path, _ in unread(config))]


def _options(config: Config, base: Config) -> Iterator[str]:
    idle = _idle(config)
    for path, value in differences(base, config):
        text = typed(value)
        if any(is_within(path, one) for one in idle):
            continue
        name = "--" + path.replace("_", "-")
        yield from [f"{name}={text}"] if text.startswith("-") else [name, text]


def differences(base: Settings | None, target: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths at which settings differ from others.

    Args:
        base: to differ from; None stands for the defaults.
        target: of the same class.
        prefix: stands before each path.

    Yields:
        Path and value; of an axis the name of its variant, then what differs from that one's defaults.
    """
    for name, field in type(target).model_fields.items():
        value = getattr(target, name)
        before = field.get_default(call_default_factory=True) if base is None else getattr(base, name)
        if name == "kind" or (before is not PydanticUndefined and before == value):
            continue
        path = prefix + name
        if not isinstance(value, Settings):
            yield path, value
        elif type(before) is type(value):
            yield from differences(before, value, f"{path}.")
        elif "kind" in type(value).model_fields:
            yield path, str(value.kind)  # type: ignore[attr-defined]
            yield from differences(None, value, f"{path}.")
        else:
            yield path, to_dict(value)


def _short_options(task: TaskSettings) -> list[str]:
    """The options that people type for a task; none where there are none for it."""
    files = [(fact.option, name) for _, fact, name in facts_of(task, IsFile) if fact.option and name is not None]
    words = [word for option, name in files for word in (f"--{option.replace('_', '-')}", str(name))]
    if not words:
        return []
    if "tokens" in type(task).model_fields:
        words += ["--tokens", str(getattr(task, "tokens").kind)]  # noqa: B009
    parser = _Refusing(allow_abbrev=False)
    add_choices(parser)
    try:
        task_of(Choices.of(parser.parse_args(words)))
    except ConfigError:
        return []  # a file of another name, or tokens that the options do not know
    return words
