"""`rlgan tune STUDY ...`."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError, nearest
from rlgan.base.settings import documented
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.space.ready import READY

from .advice import typeable
from .options import Choices, add_task_options, add_trust, moved_files, task_of
from .verbs import STOPPED, UNJUDGED

if TYPE_CHECKING:
    from rlgan.tuning.sweep import SweepRequest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Exit status: 0 success, also if the time limit was reached and the results so far were analysed; 1 "
        f"failure; 2 bad usage or bad input; {UNJUDGED} no result (no trial finished, or no seed of the final race "
        f"was completed by all); {STOPPED} stopped by Ctrl-C.\n\nStudies:\n"
    ) + "\n".join(f"  {name:<16}{question}" for name, question in READY.items())
    add_task_options(parser)
    of_run = parser.add_argument_group("run")
    settings = parser.add_argument_group("settings")
    of_run.add_argument(
        "study", nargs="?", metavar="STUDY", help="one of these studies, or your own file in .toml or .py"
    )
    for name, field in SweepSettings.model_fields.items():
        text = documented(SweepSettings, name).replace("%", "%%")
        default = "" if field.default is None else f" (default {field.default})"
        words = re.findall(r"'(\w+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
        settings.add_argument(
            f"--{_flag(name)}", metavar="|".join(words) or name.split("_")[-1].upper(), help=text + default
        )
    of_run.add_argument("--out", metavar="DIR", help="folder of the sweep (default runs/tune-STUDY-TIME)")
    of_run.add_argument(
        "--no-training",
        action="store_true",
        help="with --resume: analyse, report, upload and register the existing results without running anything",
    )
    of_run.add_argument("--resume", metavar="DIR", help="continue the sweep in this folder")
    add_trust(of_run)
    of_run.add_argument(
        "--accept-changed-plugins",
        action="store_true",
        help=(
            "with --resume: continue with your plug-ins and your study although their source has changed; the folder "
            "records the change"
        ),
    )
    of_run.add_argument(
        "--dry-run", action="store_true", help="check the study and the data, show what varies, and stop"
    )


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Do a sweep; see `rlgan.cli.verbs.VerbModule`."""
    given = {name: value for name in SweepSettings.model_fields if (value := getattr(options, name)) is not None}
    from rlgan.config.paths import ConfigPathError, merge
    from rlgan.presets.registry import preset
    from rlgan.tuning import sweep as sweeps

    from .hints import tree_with

    request = _resumed(options, overrides, given) if options.resume is not None else _new(options, overrides, given)
    base = preset(request.study.preset, request.task)
    asked_for = merge(request.study.changes, request.changes)
    with typeable(lambda: tree_with(base, asked_for), _own_options()):
        try:
            if options.dry_run:
                for line in sweeps.preview(request, lambda path: f"--{_flag(path)}"):
                    print(line)
                return 0
            result = sweeps.sweep(request, lambda line: print(line, flush=True))
        except ConfigPathError as error:
            option = "" if "." in error.path else nearest(error.path, _own_options())
            error.reword(f"{error}{option if option not in str(error) else ''}")
            raise
    if result.end != "done":
        again = f"rlgan tune --resume {shlex.quote(str(request.folder))}"
        print(
            "the time limit was reached" if result.end == "time" else "stopped", f"; to continue, run: {again}", sep=""
        )
    if result.end == "interrupted":
        return STOPPED
    if not result.is_judged:
        missing = (
            "no seed of the final race was completed by all configurations"
            if result.ledger.ranked()
            else "no trial finished with a value"
        )
        print(f"no result: {missing} (exit status {UNJUDGED})", file=sys.stderr)
        return UNJUDGED
    return 0


def _own_options() -> list[str]:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return [option.removeprefix("--") for option in parser._option_string_actions if option.startswith("--")]


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _new(options: argparse.Namespace, overrides: Mapping[str, str], given: Mapping[str, Any]) -> SweepRequest:
    from rlgan.tuning.requests import new_request, settings_of
    from rlgan.tuning.space.studies import load_study

    from .typed import train_command

    for name in ("trust_code", "accept_changed_plugins"):
        if getattr(options, name):
            raise ConfigError(
                (
                    f"--{_flag(name)}: has no effect without --resume, because a new sweep executes the code that you "
                    "name. Remove it."
                ),
                code="code_option_without_resume",
                fields={"option": name},
            )
    if options.study is None:
        raise ConfigError(
            f"a study is missing. Give one of {', '.join(READY)}, or your own file in .toml or .py.",
            code="study_missing",
        )
    name = load_study(options.study).name
    folder = Path(options.out or Path("runs") / f"tune-{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    request = new_request(
        options.study, task_of(Choices.of(options)), overrides, settings_of(given), folder, train_command
    )
    return dataclasses.replace(request, train=not options.no_training)


def _resumed(options: argparse.Namespace, overrides: Mapping[str, str], given: Mapping[str, Any]) -> SweepRequest:
    from rlgan.runs.data import is_file_path
    from rlgan.tuning.requests import taken_up

    from .typed import train_command

    names = ("out", "tokens")
    other = [f"--{_flag(name)}" for name in names if getattr(options, name) is not None]
    named = {path: file for path, file in overrides.items() if is_file_path(path)}
    other += [f"--{path}" for path in overrides if path not in named]
    other += [] if options.study is None else [options.study]
    free = SweepSettings.free_on_resume()
    other += [f"--{_flag(name)}" for name in given if name not in free]
    if other:
        raise ConfigError(
            f"{', '.join(other)}: cannot be changed with --resume; only "
            f"{', '.join(f'--{_flag(name)}' for name in free)} can. Remove them.",
            code="no_effect_beside_resume",
        )
    files = {**named, **moved_files(Choices.of(options))}
    return taken_up(
        Path(options.resume),
        given,
        not options.no_training,
        files,
        train_command,
        trust_code=options.trust_code,
        accept_changed_plugins=options.accept_changed_plugins,
    )
