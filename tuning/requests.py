"""What the command line and Python ask of a sweep, as a request: a sweep that begins, or one that is taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rlgan.base.errors import CheckpointError, ConfigError, nearest
from rlgan.config.config import Config
from rlgan.config.paths import to_dict
from rlgan.envs.tasks import TaskSettings
from rlgan.extensions import reading_a_folder
from rlgan.runs.plugin_changes import with_new_digests

from .search.settings import SweepSettings
from .space.code import admitted, require_listed
from .space.ready import READY
from .space.studies import load_study
from .sweep import SweepRequest, read_request

CommandOf = Callable[[Config, Sequence[str]], str | None]
"""The command that asks for a configuration; see `SweepRequest`."""


def new_request(
    study: str,
    task: TaskSettings | None,
    changes: Mapping[str, Any],
    settings: SweepSettings,
    folder: Path,
    command_of: CommandOf | None = None,
) -> SweepRequest:
    """A sweep that begins.

    Args:
        study: name of one that ships, or its file.
        task: on what; None takes the study's own.
        changes: of the base configuration.
        settings: how it is searched.
        folder: of the sweep.
        command_of: see `SweepRequest`.

    Raises:
        ConfigError: there is no such study.
    """
    words = {
        "study": study if study in READY else str(Path(study).resolve()),
        "task": None if task is None else to_dict(task),
        "changes": dict(changes),
        "settings": settings.model_dump(mode="json", exclude_unset=True),
    }
    return SweepRequest(load_study(study), task, changes, settings, folder, False, words=words, command_of=command_of)


def taken_up(
    folder: Path,
    given: Mapping[str, Any],
    train: bool = True,
    files: Mapping[str, str] | None = None,
    command_of: CommandOf | None = None,
    *,
    trust_code: bool = False,
    accept_changed_plugins: bool = False,
) -> SweepRequest:
    """A sweep that goes on in its folder.

    Args:
        folder: of the sweep.
        given: how it is searched from now on; those that may be others (`SweepSettings.free_on_resume`).
        train: whether anything is run.
        files: dotted path in the configuration → file, for what lies elsewhere now.
        command_of: see `SweepRequest`.
        trust_code: whether code that the folder brought along may be executed; see `rlgan.extensions.admit`.
        accept_changed_plugins: whether it goes on with code whose source has changed.

    Raises:
        CheckpointError: the folder holds no sweep, or it is damaged; or it names code that may not be executed.
        ConfigError: a value is out of range, or the source of code that it executes has changed.
    """
    kept, asked = read_request(folder), f"--resume {folder}"
    words = kept["words"]
    if not isinstance(words, dict):
        raise CheckpointError(
            f"{asked}: its sweep.json is damaged. Restore it, or start a new sweep.",
            code="sweep_file_damaged",
            fields={"path": asked},
        )
    changed = admitted(asked, folder, kept, trust_code=trust_code, accept_changed=accept_changed_plugins)
    words = with_new_digests(words, changed)
    try:
        with reading_a_folder():
            task = None if words["task"] is None else TypeAdapter(TaskSettings).validate_python(words["task"])
        begun = SweepSettings.model_validate(words["settings"])
        study, changes = str(words["study"]), dict(words["changes"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"--resume {folder}: its sweep.json is damaged ({error!r}). Restore it, or start a new sweep.",
            code="sweep_json_damaged",
            fields={"resume": folder},
        ) from None
    settings = settings_of({**begun.model_dump(exclude_unset=True), **given})
    again = {**words, "settings": settings.model_dump(mode="json", exclude_unset=True)}
    known = load_study(study)
    require_listed(asked, kept, known, trust_code=trust_code)
    return SweepRequest(
        known, task, changes, settings, folder, True, train, again, dict(files or {}), command_of, changed
    )


def settings_of(values: Mapping[str, Any]) -> SweepSettings:
    """How a study is searched, from what was given.

    Raises:
        ConfigError: a value is out of range, or without effect beside another.
    """
    try:
        return SweepSettings.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if not problem["loc"]:
            cause = problem.get("ctx", {}).get("error")
            code, fields = (cause.code, cause.fields) if isinstance(cause, ConfigError) else ("sweep_settings", {})
            raise ConfigError(problem["msg"].removeprefix("Value error, "), code=code, fields=fields) from None
        if problem["type"] == "extra_forbidden":
            unknown, known = str(problem["loc"][0]), SweepSettings.model_fields
            raise ConfigError(
                f"{unknown}: is not a setting of sweeps; these are {', '.join(known)}.{nearest(unknown, known)} "
                "Give settings of the runs by their paths.",
                code="sweep_setting_unknown",
                fields={"name": unknown},
            ) from None
        name = str(problem["loc"][0]).replace("_", "-")
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(
            f"--{name} {problem['input']}: {message}.", code="sweep_setting", fields={name: problem["input"]}
        ) from None
