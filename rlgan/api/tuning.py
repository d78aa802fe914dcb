"""`rlgan.tune`: a sweep."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.config.paths import merge, to_dict

from .data import task_of, write_rows
from .settings import as_task, flat
from .words import in_words_of_python

if TYPE_CHECKING:
    from rlgan.tuning.sweep import SweepResult


def tune(
    study: str | Path,
    *,
    data: str | Path | Iterable[Any] | None = None,
    tokens: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **search: Any,
) -> SweepResult:
    """Search which settings matter, and whether any of it beats likelihood; docs/sweeps.md.

    Args:
        study: name of one that ships, or a file of one's own in .toml or .py.
        data: as for `train`; None takes the study's own task.
        tokens: as for `train`.
        out: folder of the sweep; None names one below `runs`.
        settings: of the base configuration: dotted path → value, or mappings.
        quiet: whether nothing is shown.
        search: how it is searched: trials=20, search="tpe", and what else `rlgan tune --help` lists.

    Returns:
        What came of it; the folder's report/ has the page.

    Raises:
        RlganError: bad input, with what to do.
    """
    from pydantic import ValidationError

    from rlgan.cli.typed import train_command
    from rlgan.config.paths import refused
    from rlgan.tuning.search.settings import SweepSettings
    from rlgan.tuning.space.ready import READY
    from rlgan.tuning.space.studies import load_study
    from rlgan.tuning.sweep import SweepRequest, sweep

    with in_words_of_python():
        try:
            how = SweepSettings.model_validate(search)
        except ValidationError as error:
            raise refused(error) from None
        found = load_study(str(study))
        values, rows = task_of(data, tokens)
        folder = Path(out or Path("runs") / f"tune-{found.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        if rows is not None:
            assert values is not None
            path = write_rows(rows, folder)
            values["input" if "input" in values else "data"] = (
                {"kind": "file", "data": str(path)} if "input" in values else str(path)
            )
        task = None if values is None else as_task(values)
        changes = merge({}, flat(settings or {}))
        request = SweepRequest(
            study=found,
            task=task,
            changes=changes,
            settings=how,
            folder=folder,
            resume=False,
            words={
                "study": str(study) if study in READY else str(Path(study).resolve()),
                "task": None if task is None else to_dict(task),
                "changes": changes,
                "settings": how.model_dump(mode="json", exclude_unset=True),
            },
            command_of=train_command,
        )
        return sweep(request, (lambda _: None) if quiet else _say)


def _say(line: str) -> None:
    print(line, flush=True)
