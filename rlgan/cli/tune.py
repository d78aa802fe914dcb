"""`rlgan tune STUDY ...`."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError, ConfigError, nearest
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.space.ready import READY

from .advice import typeable
from .options import add_task_options, moved_files, task_of
from .verbs import STOPPED, UNJUDGED


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
        text = " ".join((field.description or "").split()).replace("%", "%%")
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
    of_run.add_argument(
        "--dry-run", action="store_true", help="check the study and the data, show what varies, and stop"
    )


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Do a sweep; see `rlgan.cli.verbs.VerbModule`."""
    given = {name: value for name in SweepSettings.model_fields if (value := getattr(options, name)) is not None}
    from rlgan.config.paths import ConfigPathError, merge, to_dict
    from rlgan.presets.registry import preset
    from rlgan.tuning import sweep as sweeps
    from rlgan.tuning.space.studies import load_study

    from .hints import tree_with
    from .typed import train_command

    asked = _resumed(options, overrides, given) if options.resume is not None else _new(options, overrides, given)

    request = sweeps.SweepRequest(
        study=load_study(asked["study"]),
        task=asked["task"],
        changes=asked["changes"],
        settings=asked["settings"],
        folder=asked["folder"],
        resume=options.resume is not None,
        train=not options.no_training,
        files=asked.get("files", {}),
        words={
            "study": asked["study"],
            "task": None if asked["task"] is None else to_dict(asked["task"]),
            "changes": asked["changes"],
            "settings": asked["settings"].model_dump(mode="json", exclude_unset=True),
        },
        command_of=train_command,
    )
    base = preset(request.study.preset, request.task)
    asked_for = merge(request.study.changes, request.changes)
    with typeable(lambda: tree_with(base, asked_for), _own_options()):
        try:
            if options.dry_run:
                for line in sweeps.preview(request):
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


def _settings(values: Mapping[str, Any]) -> SweepSettings:
    from pydantic import ValidationError

    try:
        return SweepSettings.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(map(str, problem["loc"][:1]))
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(
            f"--{_flag(name)} {problem['input']}: {message}.", code="sweep_setting", fields={name: problem["input"]}
        ) from None


def _new(options: argparse.Namespace, overrides: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    from rlgan.tuning.space.studies import load_study

    if options.study is None:
        raise ConfigError(
            f"a study is missing. Give one of {', '.join(READY)}, or your own file in .toml or .py.",
            code="study_missing",
        )
    study = load_study(options.study)
    folder = Path(options.out or Path("runs") / f"tune-{study.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    return {
        "study": options.study if options.study in READY else str(Path(options.study).resolve()),
        "task": task_of(options),
        "changes": dict(overrides),
        "settings": _settings(given),
        "folder": folder,
    }


def _resumed(options: argparse.Namespace, overrides: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    from rlgan.envs.tasks import TaskSettings
    from rlgan.runs.data import is_file_path
    from rlgan.tuning.sweep import read_request

    names = ("out", "tokens")
    other = [f"--{_flag(name)}" for name in names if getattr(options, name) is not None]
    named = {path: file for path, file in overrides.items() if is_file_path(path)}
    other += [f"--{path}" for path in overrides if path not in named]
    other += [] if options.study is None else [options.study]
    free = SweepSettings.free_on_resume()
    other += [f"--{_flag(name)}" for name in given if name not in free]
    if other:
        raise ConfigError(
            (
                f"{', '.join(other)}: cannot be changed with --resume; only "
                f"{', '.join((f'--{_flag(name)}' for name in free))} can. Remove them."
            ),
            code="no_effect_beside_resume",
        )
    folder = Path(options.resume)
    words = read_request(folder)["words"]
    try:
        return {
            "study": words["study"],
            "task": None if words["task"] is None else TypeAdapter(TaskSettings).validate_python(words["task"]),
            "changes": words["changes"],
            "settings": _settings({**words["settings"], **given}),
            "folder": folder,
            "files": {**named, **moved_files(options)},
        }
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"--resume {folder}: its sweep.json is damaged ({error!r}). Restore it, or start a new sweep.",
            code="sweep_json_damaged",
            fields={"resume": folder},
        ) from None
