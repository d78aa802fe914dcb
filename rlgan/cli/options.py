"""Options that several verbs have, and the configuration and the task that they ask for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError, nearest

SHORT = (
    "data", "pairs", "source", "target", "demonstrations", "model", "tokens", "oracle-params", "seed", "seeds",
    "config", "out", "resume", "storage", "dry-run", "plugin-timeout",
)  # fmt: skip
"""Options that `rlgan train` has beside its settings, without dashes."""

TOKENS = ("word", "char", "bpe", "smiles", "regex")
"""What --tokens takes."""
DEFAULT = "quick"
"""The preset of who names none."""

if TYPE_CHECKING:
    from rlgan.config.config import Config
    from rlgan.envs.tasks import DemonstrationsTask, OracleTask, PairsTask, PluginTask, TextTask


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Options for `resolve`."""
    add_task_options(parser)
    settings = parser.add_argument_group("settings")
    settings.add_argument("preset", nargs="?", metavar="PRESET", help="see `rlgan presets` (default quick)")
    settings.add_argument("--seed", type=int, metavar="N", help="seed of the run (default 0)")
    settings.add_argument(
        "--config", type=Path, metavar="FILE", help="settings in YAML, TOML or JSON, between preset and options"
    )


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Options for `task_of`."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="FILE",
        help="a text task from this file, one sequence a line, row or record: text, CSV, TSV, JSON, parquet, FASTA",
    )
    data.add_argument(
        "--pairs",
        metavar="FILE",
        help="a task of sources and targets from this file, a pair each row or record: CSV, TSV, JSON, parquet",
    )
    data.add_argument("--source", metavar="FILE", help="the same from two files: sources, one a line")
    data.add_argument("--target", metavar="FILE", help="and their targets, line by line")
    data.add_argument(
        "--demonstrations",
        metavar="FILE",
        help="a task of prompts and completions for a language model, from a file or a folder of the library datasets",
    )
    data.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="with --demonstrations: the language model, a folder or its name on the Hugging Face hub",
    )
    data.add_argument(
        "--tokens",
        choices=TOKENS,
        metavar="KIND",
        help="what a token of --data or of pairs is: word (default), char, bpe, smiles, regex; bpe are pieces of "
        "words, smiles atoms and bonds of molecules, regex matches of --task.tokens.pattern (of pairs "
        "--task.vocabulary.source.pattern, target.pattern)",
    )
    data.add_argument("--oracle-params", metavar="FILE.npz", help="an oracle task from these LSTM parameters")


def task_of(options: argparse.Namespace) -> OracleTask | PairsTask | TextTask | DemonstrationsTask | None:
    """The task that --data, --pairs, --source, --demonstrations or --oracle-params asks for; None if none does.

    Raises:
        ConfigError: they contradict each other.
    """
    from rlgan.base.pretrained import model_source
    from rlgan.envs.tasks import DemonstrationsTask, OracleTask, TextTask

    asked = {
        "--data": options.data,
        "--pairs": options.pairs,
        "--source and --target": options.source or options.target,
        "--demonstrations": options.demonstrations,
        "--oracle-params": options.oracle_params,
    }
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: a run has one task. Leave out all but one.")
    if bool(options.source) != bool(options.target):
        alone, other = ("--source", "--target") if options.source else ("--target", "--source")
        raise ConfigError(
            f"{alone}: has no {other} beside it. Line i of one belongs to line i of the other: give both. One file "
            "of sources and targets is --pairs."
        )
    if bool(options.demonstrations) != bool(options.model):
        alone, other = ("--demonstrations", "--model") if options.demonstrations else ("--model", "--demonstrations")
        raise ConfigError(
            f"{alone}: has no {other} beside it. Give both: the file of what to learn, and the language model whose "
            "tokens it is cut into (a folder, or a name on the hub)."
        )
    if options.tokens and (options.demonstrations or not given or options.oracle_params):
        raise ConfigError("--tokens: says how --data is cut, and there is no --data. The same goes for pairs.")
    if options.data:
        return TextTask.model_validate({"data": options.data, "tokens": options.tokens or "word"})
    if options.pairs or options.source:
        return _pairs_task(options)
    if options.demonstrations:
        return DemonstrationsTask(demonstrations=options.demonstrations, model=model_source(options.model))
    return OracleTask(params=options.oracle_params) if options.oracle_params else None


def add_trust(parser: argparse._ArgumentGroup) -> None:
    """Add --trust-code, of verbs that read a folder or a model which may be a stranger's."""
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help="execute code that came along with what is read, of somebody's own plug-ins: read it first",
    )


def add_accept_changed(parser: argparse._ArgumentGroup, when: str = "") -> None:
    """Add --accept-changed-plugins, of verbs that go on with a run."""
    parser.add_argument(
        "--accept-changed-plugins",
        action="store_true",
        help=f"{when}go on with plug-ins of yours whose source has changed; the run's folder says so",
    )


def add_plugin_timeout(parser: argparse.ArgumentParser) -> None:
    """Add --plugin-timeout, of verbs for which code of the user's own may be imported."""
    parser.add_argument_group("code of your own").add_argument(
        "--plugin-timeout",
        type=positive_float,
        metavar="SECONDS",
        help="how long importing a plug-in may take, and a preset of yours (default RLGAN_PLUGIN_TIMEOUT, else 600)",
    )


@contextmanager
def plugins_in_time(seconds: float | None) -> Iterator[None]:
    """Within it, imports of plug-ins may take so long, in processes that begin meanwhile too; None changes nothing."""
    if seconds is None:
        yield
        return
    from rlgan.extensions import PLUGIN_TIMEOUT

    before = os.environ.get(PLUGIN_TIMEOUT)
    os.environ[PLUGIN_TIMEOUT] = f"{seconds!r}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PLUGIN_TIMEOUT]
        else:
            os.environ[PLUGIN_TIMEOUT] = before


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Options for `moved_files`: where files of a run that exists lie now."""
    data = parser.add_argument_group("data")
    also = "the same content as the run began with, where it lies now"
    data.add_argument("--data", metavar="FILE", help=f"the run's text: {also}")
    data.add_argument("--pairs", metavar="FILE", help="the run's pairs, likewise")
    data.add_argument("--source", metavar="FILE", help="the run's sources, likewise")
    data.add_argument("--target", metavar="FILE", help="the run's targets, likewise")
    data.add_argument("--demonstrations", metavar="FILE", help="the run's demonstrations, likewise")
    data.add_argument("--oracle-params", metavar="FILE.npz", help="the run's LSTM parameters, likewise")


def moved_files(options: argparse.Namespace) -> dict[str, str]:
    """Files of a run that exists, as the options of `add_file_options` name them: dotted path → file."""
    from rlgan.runs.data import file_options

    return {path: file for name, path in file_options().items() if (file := getattr(options, name)) is not None}


def _pairs_task(options: argparse.Namespace) -> PairsTask:
    from pydantic import ValidationError

    from rlgan.envs.tasks import PairsTask

    if options.source:
        files = {"kind": "parallel", "source": options.source, "target": options.target}
    else:
        files = {"kind": "file", "data": options.pairs}
    settings: dict[str, Any] = {"input": files}
    if options.tokens:
        tokens = {"kind": options.tokens}
        settings["vocabulary"] = {"kind": "separate", "source": tokens, "target": tokens}
    try:
        return PairsTask.model_validate(settings)
    except ValidationError as error:
        from rlgan.config.paths import described

        raise ConfigError(described(error)) from None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a command line asks for, and who chose it.

    Attributes:
        config: all of it.
        preset: what it began from.
        sizes: dotted path → value that the data chose in its place, where nobody set another.
    """

    config: Config
    preset: Config
    sizes: Mapping[str, Any]


def resolve(options: argparse.Namespace, overrides: Mapping[str, Any], base: Config | None = None) -> Config:
    """The configuration that the command line asks for: preset, then sizes by the data, then file, then options.

    Args:
        options: parsed short options.
        overrides: dotted path → text.
        base: takes the place of the preset (a run that is resumed).

    Raises:
        ConfigError: anything unknown, contradictory or without effect.
        DataError: data that sizes follow is missing, unreadable or holds nothing to train on.
    """
    return resolved(options, overrides, base).config


def resolved(options: argparse.Namespace, overrides: Mapping[str, Any], base: Config | None = None) -> Resolved:
    """The same as `resolve`, with who chose what."""
    from rlgan.config.paths import ConfigPathError, changed, flatten, merge, override
    from rlgan.config.setting_files import read_settings
    from rlgan.presets.effects import require_effect
    from rlgan.presets.registry import PRESETS, preset

    from .advice import typeable
    from .hints import tree_with, where_it_belongs

    task = task_of(options) or _own_task(overrides)
    label, named = overrides.get("preset"), options.preset or (DEFAULT if base is None else base.preset)
    if label in PRESETS and label != named:
        raise ConfigError(
            f"--preset {label}: is a label, and the run would be {named!r}. Name the preset without --preset: rlgan "
            f"{options.verb} {label}."
        )
    config = base if base is not None and options.preset is None else preset(options.preset or DEFAULT, task)
    if base is not None and options.preset is None and task is not None:
        config = config.model_copy(update={"task": task})
    file = None if options.config is None else read_settings(options.config)
    changes: dict[str, Any] = {} if file is None else flatten(file.values)
    if options.seed is not None:
        overrides = {**overrides, "seed": options.seed}
    asked_for = merge(changes, overrides)
    set_here = merge({}, overrides).keys()
    with typeable(lambda: tree_with(config, asked_for), SHORT):
        try:
            asked = override(config, asked_for)
        except ConfigPathError as error:
            option = _nearest_option(error.path) if "." not in error.path else ""
            belongs = where_it_belongs(error, config, asked_for)
            # One suggestion is advice, two are a riddle.
            option = "" if "Did you mean" in str(error) or belongs else option
            at = "" if file is None else file.line_of(f"{error.path}:", set_here)
            raise ConfigError(f"{error}{option}{belongs}{at}") from None
        except ConfigError as error:
            at = "" if file is None else file.line_of(str(error), set_here)
            raise ConfigError(f"{error}{at}") from None
        # A file may be of a whole configuration, what it does not need included; and need not stand by itself.
        require_effect(changed(config, changes), asked, merge({}, overrides))
        if base is not None and options.preset is None:
            return Resolved(asked, config, {})
        sizes = _sizes(options.preset or DEFAULT, asked, base)
        return Resolved(override(config, merge(sizes, asked_for)) if sizes else asked, config, sizes)


def _sizes(name: str, asked: Config, kept: Config | None) -> dict[str, Any]:
    """Sizes by the data, which is read while a person sees how long that takes."""
    from contextlib import closing

    from rlgan.presets.own_data import sizes_by_data
    from rlgan.runs.progress import Progress

    progress = Progress(lines=sys.stderr)
    with closing(progress), progress.watching():
        return sizes_by_data(name, asked.task, kept)


def _own_task(overrides: Mapping[str, Any]) -> PluginTask | None:
    """The task of the user's own that --task names, with its options: a preset is chosen for it, as for --data."""
    from pydantic import ValidationError

    from rlgan.config.paths import described, merge, plain
    from rlgan.envs.tasks import PluginTask
    from rlgan.extensions import is_plugin_name, known

    asked = merge({}, overrides)
    name = asked.get("task")
    if not isinstance(name, str) or not (is_plugin_name(name) or name in known("task")):
        return None
    above = "task.options."
    values = {path.removeprefix(above): plain(value) for path, value in asked.items() if path.startswith(above)}
    try:
        return PluginTask.model_validate({"name": name, "options": values})
    except ValidationError as error:
        raise ConfigError(described(error)) from None


def split_overrides(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], dict[str, str]]:
    """Take `--path VALUE` and `--path=VALUE` out of the arguments: every option that the verb itself does not have."""
    own, overrides = [], {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, has_value, value = word.partition("=")
        if not name.startswith("--") or name == "--" or name in parser._option_string_actions:
            own.append(word)
            # The value of an own option is not to be looked at: it may begin with dashes or be the name of a preset.
            action = parser._option_string_actions.get(name)
            if action is not None and action.nargs != 0 and not has_value and words:
                own.append(words.pop(0))
            continue
        path = name[2:]
        if not has_value:
            if not words or words[0].startswith("--"):
                raise ConfigError(f"{name}: needs a value.{_nearest_option(path)}")
            value = words.pop(0)
        overrides[path] = value
    return own, overrides


def _nearest_option(path: str) -> str:
    return nearest(path, SHORT)


def column(text: str) -> int | str:
    """An option's type."""
    return int(text) if text.isdecimal() else text


def positive_int(text: str) -> int:
    """An option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def positive_float(text: str) -> float:
    """An option's type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive number")
    return value


def share(text: str) -> float:
    """An option's type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0 and at most 1")
    return value


def not_negative_float(text: str) -> float:
    """An option's type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be 0 or a positive number")
    return value
