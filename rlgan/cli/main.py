"""The command line: verbs, the few short options that people type, and every setting by its dotted path.

Exit status: 0 done, 1 a run that failed or could not be sent into its storage, 2 bad usage or bad input (one paragraph,
no traceback, nothing written), 130 stopped by Ctrl-C after a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, cast

from rlgan import __version__
from rlgan.base.errors import (
    ConfigError,
    MemoryShortError,
    PluginError,
    RlganError,
    UploadError,
    nearest,
)

from .advice import typeable
from .options import add_plugin_timeout, plugins_in_time, split_overrides
from .verbs import STOPPED, Verb, VerbModule

_EPILOG = (
    "Every setting is an option by its path: --generator.hidden 64,\n--schedule.g-batch 128, --workers.rollout 4. Some "
    "settings choose a\nvariant: --credit terminal, --baseline leave_one_out, --discriminator none.\n`rlgan "
    "show-config PRESET` lists all paths with their values and meaning;\n`rlgan presets` lists the presets.\n"
)
_FILES_EPILOG = (
    "For files of the run that have no option here, use their path:\n--task.test FILE, --task.input.valid-source "
    "FILE.\n"
)
_COLUMNS = 79


def _module(name: str) -> Callable[[], VerbModule]:
    return lambda: cast(VerbModule, import_module(f"rlgan.cli.{name}"))


VERBS = (
    Verb(
        "train",
        "train a generator (default preset: quick)",
        "train seqgan --data lines.txt --generator.hidden 64 --out runs/mine",
        _module("train"),
        has_paths=True,
        has_plugins=True,
    ),
    Verb(
        "extend",
        "make more adversarial updates in a run that is complete",
        "extend --run runs/mine --updates 200",
        _module("extend"),
        has_files=True,
        has_plugins=True,
    ),
    Verb(
        "sample",
        "print sequences from a trained generator",
        "sample --run latest --num 5 --temperature 0.9 --seed 1",
        _module("sample"),
        has_plugins=True,
    ),
    Verb(
        "evaluate",
        "evaluate a trained generator on the test split",
        "evaluate --run runs/mine --num-sequences 2000",
        _module("evaluate"),
        has_files=True,
        has_plugins=True,
    ),
    Verb(
        "register",
        "add a run's generator to MLflow's model registry",
        "register --run latest --name poems --temperature 0.9",
        _module("register"),
        has_plugins=True,
    ),
    Verb(
        "export",
        "write a run's language model as a folder that transformers loads",
        "export --run latest --to my-model --merge",
        _module("export"),
    ),
    Verb("runs", "list the runs in a folder", "runs list", _module("runs")),
    Verb(
        "doctor",
        "check whether this machine has what a run needs",
        "doctor --storage s3://bucket/runs",
        _module("doctor"),
    ),
    Verb(
        "presets",
        "list the presets, or recommend presets for a file, with training times",
        "presets --for lines.txt",
        _module("list_presets"),
        has_paths=True,
        has_plugins=True,
    ),
    Verb(
        "oracle",
        "write a file of oracle parameters for --oracle-params: convert, generate",
        "oracle generate oracle.npz --vocab-size 500 --seed 1",
        _module("oracle"),
    ),
    Verb(
        "show-config",
        "print every setting of a preset",
        "show-config seqgan --generator.hidden 64 --changed",
        _module("show_config"),
        has_paths=True,
        has_plugins=True,
    ),
)


class _Parser(argparse.ArgumentParser):
    """Usage errors as ours: one paragraph, status 2, nearest spelling."""

    def error(self, message: str) -> NoReturn:
        if re.fullmatch(r"unrecognized arguments: [^-].*", message):
            message += ": no option takes it, for an option takes one value"
        raise ConfigError(f"{message}. See `{self.prog} --help`.", code="usage")


def main(arguments: Sequence[str] | None = None, more: Sequence[Verb] = ()) -> int:
    """Run a verb.

    Args:
        arguments: as typed, without the program's name; None reads the command line.
        more: verbs beyond those of this package.

    Returns:
        The exit status.
    """
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments), (*VERBS, *more))
    except (PluginError, UploadError, MemoryShortError) as error:
        print(f"rlgan: {_with_code(error)}", file=sys.stderr)
        return 1
    except RlganError as error:
        print(f"rlgan: {_with_code(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rlgan: interrupted", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # Nobody reads on (`rlgan presets | head -1`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _with_code(error: RlganError) -> str:
    """A message with its code in brackets behind the first line: lines of a user's file may follow."""
    first, line_end, others = str(error).partition("\n")
    return f"{first} [{error.code}]{line_end}{others}" if error.code else str(error)


def _require_values(arguments: Sequence[str], own: Sequence[str]) -> None:
    """An empty value is a mistake of a script (`--data "$FILE"`), and not the same as no option.

    Raises:
        ConfigError: an option of the verb's own is ''.
    """
    for word, follows in zip(arguments, [*arguments[1:], None], strict=True):
        name, has_value, value = word.partition("=")
        if name.startswith("--") and name[2:] in own and (value if has_value else follows) == "":
            raise ConfigError(
                f"{name}: is empty. Give a value, or remove the option.", code="empty_option", fields={"name": name}
            )


def _wrapped(text: str) -> str:
    """A description in lines of a terminal; what stands in two columns keeps them."""
    lines = []
    for line in text.splitlines():
        columns = re.match(r"  \S+\s+", line)
        lines.append(textwrap.fill(line, _COLUMNS, subsequent_indent=" " * len(columns[0]) if columns else ""))
    return "\n".join(lines)


def parser_of(all_verbs: Sequence[Verb]) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of all verbs, none of which has its options yet, and that of each."""
    parser = _Parser(
        prog="rlgan", description="Adversarial training of discrete-sequence generators.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rlgan {__version__}")
    parsers: Any = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb in all_verbs:
        more = _EPILOG if verb.has_paths else _FILES_EPILOG if verb.has_files else ""
        epilog = f"Example:\n  rlgan {verb.example}\n\n{more}"
        form = argparse.RawDescriptionHelpFormatter
        parsers.add_parser(verb.name, help=verb.help, epilog=epilog, formatter_class=form, allow_abbrev=False)
    return parser, parsers.choices


def _dispatch(arguments: list[str], all_verbs: Sequence[Verb]) -> int:
    parser, parsers = parser_of(all_verbs)
    named = {verb.name: verb for verb in all_verbs}
    typed = arguments[0] if arguments else ""
    if not typed or typed.startswith("-"):
        parser.parse_args(arguments)  # ends with the help where that was asked for
        parser.print_help()
        return 2
    if typed not in named:
        raise ConfigError(
            f"{typed!r}: is not a verb. Verbs are {', '.join(named)}.{nearest(typed, named)}",
            code="unknown_verb",
            fields={"name": typed},
        )
    verb = named[typed]
    module = verb.load()
    overrides: dict[str, str] = {}
    module.add_options(parsers[typed])
    if verb.has_plugins:
        add_plugin_timeout(parsers[typed])
    parsers[typed].description = _wrapped(parsers[typed].description or "")
    own = [option.removeprefix("--") for option in parsers[typed]._option_string_actions]
    with typeable(lambda: None, own):
        if verb.has_paths or verb.has_files:
            arguments, overrides = split_overrides(arguments, parsers[typed])
        _require_values(arguments, own)
        options = parser.parse_args(arguments)
        with plugins_in_time(getattr(options, "plugin_timeout", None)):
            return module.run(options, overrides)
