"""Options that several verbs have, and the configuration and the task that they ask for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a command says of a configuration in short options; None for what it does not say.

    Attributes:
        verb: of the command.
        preset: name.
        seed: of the run.
        config: file of settings.
        data: file of texts.
        pairs: file of pairs.
        source: file of sources.
        target: file of targets.
        demonstrations: file of prompts and completions.
        model: language model of the demonstrations.
        tokens: kind of tokens, one of `TOKENS`.
        oracle_params: file of LSTM parameters.
    """

    verb: str = "train"
    preset: str | None = None
    seed: int | None = None
    config: Path | None = None
    data: str | None = None
    pairs: str | None = None
    source: str | None = None
    target: str | None = None
    demonstrations: str | None = None
    model: str | None = None
    tokens: str | None = None
    oracle_params: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Choices:
        """What was parsed, of a verb that may have fewer of these options."""
        names = [one.name for one in fields(cls)]
        return cls(**{name: value for name in names if (value := getattr(options, name, None)) is not None})


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Options for `resolve`."""
    add_task_options(parser)
    settings = parser.add_argument_group("settings")
    settings.add_argument("preset", nargs="?", metavar="PRESET", help="preset, see `rlgan presets` (default quick)")
    settings.add_argument("--seed", type=int, metavar="N", help="seed of the run (default 0)")
    settings.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="file of settings in YAML, TOML or JSON; overrides the preset, is overridden by options",
    )


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Options for `task_of`."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="FILE",
        help="train on this text file: one sequence per line, row or record (text, CSV, TSV, JSON, parquet, FASTA)",
    )
    data.add_argument(
        "--pairs",
        metavar="FILE",
        help="train on source-target pairs from this file: one pair per row or record (CSV, TSV, JSON, parquet)",
    )
    data.add_argument(
        "--source", metavar="FILE", help="train on pairs from two files: this one has one source per line"
    )
    data.add_argument("--target", metavar="FILE", help="and this one their targets, line by line")
    data.add_argument(
        "--demonstrations",
        metavar="FILE",
        help=(
            "train a language model on prompts and completions from this file, or from a folder of the library datasets"
        ),
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
        help=(
            "tokens of --data or of pairs: word (default), char, bpe (pieces of words), smiles (atoms and bonds of "
            "molecules), or regex (matches of --task.tokens.pattern; for pairs --task.vocabulary.source.pattern, "
            "target.pattern)"
        ),
    )
    data.add_argument(
        "--oracle-params", metavar="FILE.npz", help="train on sequences from an oracle LSTM with these parameters"
    )


def task_of(choices: Choices) -> OracleTask | PairsTask | TextTask | DemonstrationsTask | None:
    """The task that --data, --pairs, --source, --demonstrations or --oracle-params asks for; None if none does.

    Raises:
        ConfigError: they contradict each other.
    """
    from rlgan.base.pretrained import model_source
    from rlgan.envs.tasks import DemonstrationsTask, OracleTask, TextTask

    asked = {
        "--data": choices.data,
        "--pairs": choices.pairs,
        "--source and --target": choices.source or choices.target,
        "--demonstrations": choices.demonstrations,
        "--oracle-params": choices.oracle_params,
    }
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: a run has only one task. Remove all but one.", code="two_tasks")
    if bool(choices.source) != bool(choices.target):
        alone, other = ("--source", "--target") if choices.source else ("--target", "--source")
        raise ConfigError(
            f"{alone}: {other} is missing. Line i of one belongs to line i of the other. Give both. To read "
            "sources and targets from one file, use --pairs.",
            code="lacks_other_side",
        )
    if bool(choices.demonstrations) != bool(choices.model):
        alone, other = ("--demonstrations", "--model") if choices.demonstrations else ("--model", "--demonstrations")
        raise ConfigError(
            (
                f"{alone}: {other} is missing. Give both: the training file, and the language model that provides the "
                "tokenizer (a folder, or a name on the hub)."
            ),
            code="lacks_model",
            fields={"option": alone},
        )
    if choices.tokens and (choices.demonstrations or not given or choices.oracle_params):
        raise ConfigError(
            (
                "--tokens: has no effect without --data, --pairs, or --source and --target. Give one of them, or "
                "remove --tokens."
            ),
            code="tokens_without_data",
        )
    if choices.data:
        return TextTask.model_validate({"data": choices.data, "tokens": choices.tokens or "word"})
    if choices.pairs or choices.source:
        return _pairs_task(choices)
    if choices.demonstrations and choices.model:
        return DemonstrationsTask(demonstrations=choices.demonstrations, model=model_source(choices.model))
    return OracleTask(params=choices.oracle_params) if choices.oracle_params else None


def add_trust(parser: argparse._ArgumentGroup) -> None:
    """Add --trust-code, of verbs that read a folder or a model which may be a stranger's."""
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help="allow the execution of plug-in code that was stored with the files to be read; inspect the code first",
    )


def add_accept_changed(parser: argparse._ArgumentGroup, when: str = "") -> None:
    """Add --accept-changed-plugins, of verbs that go on with a run."""
    parser.add_argument(
        "--accept-changed-plugins",
        action="store_true",
        help=(
            f"{when}continue with your plug-ins although their source has changed; the run's folder records the change"
        ),
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
    also = "its path on this machine; the content must be the same as when the run began"
    data.add_argument("--data", metavar="FILE", help=f"the run's text file: {also}")
    data.add_argument("--pairs", metavar="FILE", help="the run's file of pairs, likewise")
    data.add_argument("--source", metavar="FILE", help="the run's file of sources, likewise")
    data.add_argument("--target", metavar="FILE", help="the run's file of targets, likewise")
    data.add_argument("--demonstrations", metavar="FILE", help="the run's file of demonstrations, likewise")
    data.add_argument("--oracle-params", metavar="FILE.npz", help="the run's LSTM parameters, likewise")


def moved_files(choices: Choices) -> dict[str, str]:
    """Files of a run that exists, as the options of `add_file_options` name them: dotted path → file."""
    from rlgan.runs.data import file_options

    return {path: file for name, path in file_options().items() if (file := getattr(choices, name)) is not None}


def _pairs_task(choices: Choices) -> PairsTask:
    from pydantic import ValidationError

    from rlgan.envs.tasks import PairsTask

    if choices.source:
        files = {"kind": "parallel", "source": choices.source, "target": choices.target}
    else:
        files = {"kind": "file", "data": choices.pairs}
    settings: dict[str, Any] = {"input": files}
    if choices.tokens:
        tokens = {"kind": choices.tokens}
        settings["vocabulary"] = {"kind": "separate", "source": tokens, "target": tokens}
    try:
        return PairsTask.model_validate(settings)
    except ValidationError as error:
        from rlgan.config.paths import refused

        raise refused(error) from None


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


def resolve(choices: Choices, overrides: Mapping[str, Any], base: Config | None = None) -> Config:
    """The configuration that the command line asks for: preset, then sizes by the data, then file, then options.

    Args:
        choices: its short options.
        overrides: dotted path → text.
        base: takes the place of the preset (a run that is resumed).

    Raises:
        ConfigError: anything unknown, contradictory or without effect.
        DataError: data that sizes follow is missing, unreadable or holds nothing to train on.
    """
    return resolved(choices, overrides, base).config


def resolved(choices: Choices, overrides: Mapping[str, Any], base: Config | None = None) -> Resolved:
    """The same as `resolve`, with who chose what."""
    from rlgan.config.paths import ConfigPathError, changed, flatten, merge, override
    from rlgan.config.setting_files import read_settings
    from rlgan.presets.effects import require_effect
    from rlgan.presets.registry import PRESETS, draft, override_draft

    from .advice import typeable
    from .hints import tree_with, where_it_belongs

    given = task_of(choices)
    if given is not None and (other := merge({}, overrides).get("task")) is not None:
        raise ConfigError(
            f"--task {other}: a run has only one task, and the data that you give is that of task={given.kind!r}. "
            "Remove --task, or the option with the data.",
            code="task_beside_data",
            fields={"task": other},
        )
    task = given or _own_task(overrides)
    label, named = overrides.get("preset"), choices.preset or (DEFAULT if base is None else base.preset)
    if label in PRESETS and label != named:
        raise ConfigError(
            f"--preset {label}: only sets a label; the run would use {named!r}. Give the preset without --preset: "
            f"rlgan {choices.verb} {label}.",
            code="preset_is_label",
            fields={"preset": label},
        )
    config = base if base is not None and choices.preset is None else draft(choices.preset or DEFAULT, task)
    if base is not None and choices.preset is None and task is not None:
        config = config.model_copy(update={"task": task})
    file = None if choices.config is None else read_settings(choices.config)
    changes: dict[str, Any] = {} if file is None else flatten(file.values)
    if choices.seed is not None:
        overrides = {**overrides, "seed": choices.seed}
    asked_for = merge(changes, overrides)
    set_here = merge({}, overrides).keys()
    with typeable(lambda: tree_with(config, asked_for), SHORT):
        try:
            asked = override_draft(config, asked_for)
        except ConfigPathError as error:
            option = _nearest_option(error.path) if "." not in error.path else ""
            belongs = where_it_belongs(error, config, asked_for)
            # One suggestion is advice, two are a riddle.
            option = "" if "Did you mean" in str(error) or belongs else option
            at = "" if file is None else file.line_of(f"{error.path}:", set_here)
            error.reword(f"{error}{option}{belongs}{at}")
            raise
        except ConfigError as error:
            at = "" if file is None else file.line_of(str(error), set_here)
            error.reword(f"{error}{at}")
            raise
        # A file may be of a whole configuration, what it does not need included; and need not stand by itself.
        require_effect(changed(config, changes), asked, merge({}, overrides))
        if base is not None and choices.preset is None:
            return Resolved(asked, config, {})
        sizes = _sizes(choices.preset or DEFAULT, asked, base)
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

    from rlgan.config.paths import merge, plain, refused
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
        raise refused(error) from None


def split_overrides(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], dict[str, str]]:
    """Take `--path VALUE` and `--path=VALUE` out of the arguments: every option that the verb itself does not have.

    `--reward` may be there several times, and is then a list, as JSON.
    """
    own, overrides = [], {}
    rewards: list[str] = []
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
                raise ConfigError(
                    f"{name}: needs a value.{_nearest_option(path)}", code="option_needs_value", fields={"name": name}
                )
            value = words.pop(0)
        overrides[path] = value
        rewards += [value] if path == "reward" else []
    if len(rewards) > 1:
        overrides["reward"] = json.dumps(rewards)
    return own, overrides


def _nearest_option(path: str) -> str:
    return nearest(path, SHORT)


def column(text: str) -> int | str:
    """An option's type."""
    return int(text) if text.isdecimal() else text


def truth(text: str) -> bool:
    """An option's type."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be true or false")
    return text == "true"


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
