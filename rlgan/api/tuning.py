"""`rlgan.tune`: a sweep."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

from rlgan.base.errors import ConfigError
from rlgan.config.paths import merge

from .data import Given, located_at, task_of, written
from .settings import as_task, flat
from .words import in_python, in_words_of_python

if TYPE_CHECKING:
    from rlgan.tuning.sweep import SweepRequest, SweepResult

_REQUEST = "sweep.json"  # by which a folder is that of a sweep


@overload
def tune(study: str | Path | None = None, *, dry_run: Literal[True], **asked: Any) -> list[str]: ...


@overload
def tune(
    study: str | Path | None = None,
    *,
    data: str | Path | Iterable[Any] | None = None,
    pairs: str | Path | Iterable[Any] | None = None,
    source: str | Path | Iterable[str] | None = None,
    target: str | Path | Iterable[str] | None = None,
    tokens: str | None = None,
    demonstrations: str | Path | Iterable[Any] | None = None,
    model: str | Path | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    trust_code: bool = False,
    accept_changed_plugins: bool = False,
    train: bool = True,
    dry_run: Literal[False] = False,
    quiet: bool = False,
    **search: Any,
) -> SweepResult: ...


def tune(
    study: str | Path | None = None,
    *,
    data: str | Path | Iterable[Any] | None = None,
    pairs: str | Path | Iterable[Any] | None = None,
    source: str | Path | Iterable[str] | None = None,
    target: str | Path | Iterable[str] | None = None,
    tokens: str | None = None,
    demonstrations: str | Path | Iterable[Any] | None = None,
    model: str | Path | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    trust_code: bool = False,
    accept_changed_plugins: bool = False,
    train: bool = True,
    dry_run: bool = False,
    quiet: bool = False,
    **search: Any,
) -> SweepResult | list[str]:
    """Search which settings matter, and whether any of it beats likelihood; docs/sweeps.md.

    Ctrl-C ends it after what is under way was kept; `result.end` is then "interrupted", and `resume` goes on with it.

    Args:
        study: name of one that ships, or a file of your own in .toml or .py.
        data: as for `train`; None takes the study's own task.
        pairs: as for `train`.
        source: as for `train`.
        target: as for `train`.
        tokens: as for `train`.
        demonstrations: as for `train`.
        model: as for `train`.
        out: folder of the sweep; None names one below `runs`.
        settings: of the base configuration, as for `train`.
        resume: folder of a sweep to go on with, which keeps its study, data and settings; of how it is searched,
            `trials`, `hours`, `concurrent` and `finalists`, among others, may be given anew.
        trust_code: of a sweep that goes on: whether code that its folder brought along may be executed.
        accept_changed_plugins: of a sweep that goes on: whether it does so with functions, classes and a study of one's
            own whose source has changed; its folder says so.
        train: of a sweep that goes on: whether anything is run; if not, what there is is judged, reported, uploaded
            and registered.
        dry_run: whether to check the study and the data and show what varies, and stop; nothing is written.
        quiet: whether nothing is shown.
        search: how it is searched: trials=20, search="tpe", and what else `rlgan tune --help` lists.

    Returns:
        What came of it; the folder's report/ has the page. Of a dry run, the lines that it shows.

    Raises:
        RlganError: bad input, with what to do.
    """
    given = Given(data, pairs, source, target, tokens, demonstrations, model)
    with in_words_of_python(of_sweep=True), ExitStack() as stack:
        changes = merge({}, flat(settings or {}))
        if resume is not None:
            others = {"study": study, "out": out, **_given(given)}
            request = _taken_up(Path(resume), others, changes, search, train, trust_code, accept_changed_plugins)
        else:
            for name, value in (("trust_code", trust_code), ("accept_changed_plugins", accept_changed_plugins)):
                if value:
                    raise ConfigError(
                        f"{name}: has no effect without resume. Remove it.",
                        code="no_effect_without_resume",
                        fields={"name": name},
                    )
            request = _new(study, given, changes, out, search, train, dry_run, stack)
        from rlgan.tuning.sweep import preview, sweep

        if dry_run:
            lines = [in_python(line, of_sweep=True) for line in preview(request)]
            if not quiet:
                print("\n".join(lines), flush=True)
            return lines
        result = sweep(request, (lambda _: None) if quiet else _say)
        if result.end != "done" and not quiet:
            why = "the time limit was reached" if result.end == "time" else "stopped"
            _say(f"{why}; to continue: rlgan.tune(resume={str(request.folder)!r})")
        return result


def _say(line: str) -> None:
    print(in_python(line, of_sweep=True), flush=True)


def _given(given: Given) -> dict[str, Any]:
    """What was given of data, by its names."""
    return {name: getattr(given, name) for name in given.__slots__}


def _new(
    study: str | Path | None,
    given: Given,
    changes: Mapping[str, Any],
    out: str | Path | None,
    search: Mapping[str, Any],
    train: bool,
    dry_run: bool,
    stack: ExitStack,
) -> SweepRequest:
    """A sweep that begins; what the stack holds removes data that was written for it where none comes of it."""
    from rlgan.cli.typed import train_command
    from rlgan.tuning.requests import new_request, settings_of
    from rlgan.tuning.space.ready import READY
    from rlgan.tuning.space.studies import load_study

    if study is None:
        raise ConfigError(
            f"study: is missing. Give one of {', '.join(READY)}, or your own file in .toml or .py.",
            code="api_study_missing",
        )
    if not train:
        raise ConfigError(
            "train=False: needs an existing sweep. Give it as resume.",
            code="train_false_without_resume",
            fields={"train": False},
        )
    how, found, asked = settings_of(search), load_study(str(study)), task_of(given)
    folder = Path(out or Path("runs") / f"tune-{found.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    values = asked.task
    if asked.rows is not None:
        assert values is not None
        place = Path(stack.enter_context(TemporaryDirectory(prefix="rlgan-"))) if dry_run else folder
        values = located_at(values, stack.enter_context(written(asked.rows, place, _REQUEST)))
    task = None if values is None else as_task(values)
    return new_request(str(study), task, changes, how, folder, train_command)


def _taken_up(
    folder: Path,
    others: Mapping[str, Any],
    changes: Mapping[str, Any],
    search: Mapping[str, Any],
    train: bool,
    trust_code: bool,
    accept_changed_plugins: bool,
) -> SweepRequest:
    """A sweep that goes on."""
    from rlgan.cli.typed import train_command
    from rlgan.tuning.requests import taken_up
    from rlgan.tuning.search.settings import SweepSettings

    free = SweepSettings.free_on_resume()
    in_vain = [name for name, value in others.items() if value is not None]
    in_vain += [*changes, *(name for name in search if name not in free)]
    if in_vain:
        raise ConfigError(
            f"{', '.join(in_vain)}: cannot be changed with resume; only {', '.join(free)} can. Remove them.",
            code="no_effect_beside_api_resume",
        )
    return taken_up(
        folder,
        search,
        train,
        command_of=train_command,
        trust_code=trust_code,
        accept_changed_plugins=accept_changed_plugins,
    )
