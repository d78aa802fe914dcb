"""A sweep: a study is searched, the best of it race against what they have to beat, and a report says what was found.

A sweep's folder holds:

    sweep.json     what was asked for
    data.json      which data it was: fingerprint, files and where they lay
    trials.jsonl   what the search did (`rlgan.tuning.search.ledger`)
    finals.jsonl   what the final race did
    starts/        maximum-likelihood starts that runs share
    tune/          Tune's own folder: checkpoints of trials, errors; its pickles are never read
    report/        what was found: report.html, its pictures, summary.txt
    trials/, entrants/  metrics.jsonl of each, and which MLflow run it is

A sweep that was interrupted is taken up again from these files: what is finished stays, what was under way goes on from
its last checkpoint, and what is proposed next follows from what was told before. A folder has one process at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rlgan.base.errors import CheckpointError, ConfigError, TrackingError
from rlgan.base.files import write_atomically
from rlgan.base.settings import following
from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_kept, merge, override, to_dict
from rlgan.envs.tasks import Task, TaskSettings
from rlgan.evaluation.evaluator import Evaluator
from rlgan.extensions import NamedCode, keep_sources
from rlgan.generators import LSTM, Seq2SeqLSTM, build_generator
from rlgan.presets.own_data import size_notes
from rlgan.presets.registry import follows, preset, sizes_for
from rlgan.presets.sizes import summary_of
from rlgan.runs.data import (
    absolute,
    config_files,
    data_inputs,
    kept_data,
    located,
    new_task,
    rebuilt_task,
    require_same_files,
    with_files,
    write_run_data,
)
from rlgan.runs.plugin_changes import PLUGIN_CHANGES, PluginChange, record_changes, with_new_digests
from rlgan.runs.ray_tune import roles_of_trial
from rlgan.tracking import TrackingSettings, require_model_name
from rlgan.training.own_networks import require_sound_networks
from rlgan.workers.assembly import cluster
from rlgan.workers.placement import require_room

from .judge.results import Again, SweepResults
from .judge.selection import Objective, objective_for, require_one_budget
from .judge.verdict import Verdict, verdict
from .report.champion import champion, register_champion
from .report.page import Analysis, analyse, summary_text, sweep_tags, write_page
from .report.tracked import SweepTracking
from .search.ledger import Chosen, FinalLedger, Ledger, Model
from .search.proposals import Proposals, RandomSource
from .search.race import entrants, race
from .search.schedulers import require_something_to_change
from .search.search import End, Folders, search, source_of_proposals
from .search.settings import SweepSettings
from .search.tuner import Deadline, runs_at_once
from .search.watch import SearchDeadline, Voice, Watch
from .space.code import CODE, code_of
from .space.spaces import Space
from .space.studies import Study

_REQUEST, _LEDGER, _FINALS, _STARTS, _TUNE = "sweep.json", "trials.jsonl", "finals.jsonl", "starts", "tune"
_REPORT, _SEARCH, _RACE = "report", "search", "finals"
_WAIT_S = 600.0  # hundreds of runs may be waiting for a slow server; one that is dead is noticed within seconds
_INTERRUPTED_WAIT_S = 3.0  # who presses Ctrl-C does not want to wait for a server
_REASONS = 8  # why points are dropped, how many of the commonest are shown
_CHECKED = 200  # random points that a preview tries


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What is asked for.

    Attributes:
        study: what is varied.
        task: on what; None takes the study's own.
        changes: of the base configuration, by the user.
        settings: how it is searched.
        folder: of the sweep.
        resume: whether it goes on with the sweep there.
        train: whether anything is run; if not, what there is is judged, reported, uploaded and registered.
        words: the same as JSON values, for whoever takes it up again.
        files: dotted path in the configuration → file, for what lies elsewhere than it did when the sweep began.
        command_of: the command that asks for a configuration, given the presets that it may begin from; the command
            line hands in its own. Without it, a report names no command.
        changed: code that it goes on with in another version, which was accepted.
    """

    study: Study
    task: TaskSettings | None
    changes: Mapping[str, Any]
    settings: SweepSettings
    folder: Path
    resume: bool
    train: bool = True
    words: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    command_of: Callable[[Config, Sequence[str]], str | None] | None = None
    changed: tuple[PluginChange, ...] = ()


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What came of it.

    Attributes:
        space: that was searched.
        ledger: of all trials.
        finals: of the final race.
        results: the same, as it is reported.
        end: all was done; the time was spent; or somebody stopped it.
        is_judged: whether a final race has a winner, or, where none was asked for, a trial that ended.
    """

    space: Space
    ledger: Ledger
    finals: FinalLedger
    results: SweepResults
    end: End
    is_judged: bool


def sweep(request: SweepRequest, say: Callable[[str], None]) -> SweepResult:
    """Do a sweep, or go on with one.

    Args:
        request: what is asked for.
        say: is told what happens, a line at a time.

    Raises:
        ConfigError: the study does not fit, or a setting has no effect.
        CheckpointError: the folder holds another sweep, or none to go on with, or another process is at it.
        DataError: the data cannot be read.
    """
    settings = request.settings
    space, task, objective = _checked(request, say)
    asked = _asked(request, space, task, objective)
    code = code_of(str(request.words.get("study", "")), request.study, space)
    with _opened(request, asked, config_files(space.base), code):
        write_run_data(request.folder, space.base, task, _space(request).base)
        ledger, finals = Ledger(request.folder / _LEDGER), FinalLedger(request.folder / _FINALS)
        _write_changes(request, len(ledger.entries), say)

        def results() -> SweepResults:
            return _results(request, space, task, objective, ledger, finals)

        for note in (*task.notes, *size_notes(space.base, task)):
            say(note)
        done = sum(entry.state is not None for entry in ledger.entries.values())
        say(f"sweep {request.folder}: study {request.study.name}, {done} of {settings.trials} trials done")
        tracking = SweepTracking(
            _tracking_settings(request),
            request.folder,
            space,
            ledger,
            finals,
            results(),
            _params(request),
            say,
            data_inputs(space.base, task, task.fingerprint()),
        )
        status, files, wait_s = "FAILED", [], _WAIT_S
        tags: dict[str, str] = {}
        try:
            end = _work(request, space, task, objective, ledger, finals, say) if request.train else "done"
            status = "KILLED" if end == "interrupted" else "FINISHED"
            if end == "interrupted":
                wait_s = _INTERRUPTED_WAIT_S
            else:
                analysis = analyse(results())
                files = _report(request.folder, results(), analysis, say)
                tags = sweep_tags(results(), analysis)
                status = "FINISHED" if _is_judged(settings, ledger, results()) else "FAILED"
        finally:
            tracking.finish(status, results(), [request.folder / _REQUEST, *files], wait_s, tags)
        if end != "interrupted":
            _register(request, results(), analysis.verdict, finals, say)
        is_judged = _is_judged(settings, ledger, results())
        return SweepResult(space, ledger, finals, results(), end, is_judged)


def _is_judged(settings: SweepSettings, ledger: Ledger, results: SweepResults) -> bool:
    return bool(ledger.ranked()) if not settings.finalists else verdict(results).winner is not None


def _results(
    request: SweepRequest, space: Space, task: Task, objective: Objective, ledger: Ledger, finals: FinalLedger
) -> SweepResults:
    found = SweepResults(
        name=request.folder.name,
        study=request.study.name,
        description=request.study.description,
        task=_described(space, task),
        objective=objective.name,
        sides=tuple(side.removeprefix("eval/") for side in objective.sides),
        dimensions=tuple(
            dict.fromkeys([*(bundle.name for bundle in space.bundles), *(axis.path for axis in space.axes)])
        ),
        trials=tuple(entry.result() for _, entry in sorted(ledger.entries.items())),
        finals=finals.results(),
        beside={} if finals.chosen is None else finals.chosen.beside,
        contradictions=dict(ledger.contradictions),
    )
    return replace(found, again=_again(request, space, task, ledger, finals, found))


def _again(
    request: SweepRequest, space: Space, task: Task, ledger: Ledger, finals: FinalLedger, results: SweepResults
) -> Again | None:
    """How the winner of the final race is trained again."""
    best = champion(results, verdict(results))
    if best is None or finals.chosen is None:
        return None
    indices = [int(name.removeprefix("trial ")) for name in finals.chosen.entrants if name.startswith("trial ")]
    who = entrants(space, [ledger.entries[index] for index in indices], task)
    winner = next((one for one in who if one.name == best.entrant), None)
    if winner is None:  # it raced before the finalists changed
        return None
    described = f"{best.entrant} with seed {best.seed}, of the final race, at temperature {best.temperature:g}"
    if winner.schedule:
        steps = "; ".join(
            f"after {update} updates {', '.join(f'{path}={value}' for path, value in changes.items())}"
            for update, changes in winner.schedule
        )
        return Again(
            f"{described}: its settings change during training, which no single command can do: {steps}.", None
        )
    if request.command_of is None:
        return None
    command = request.command_of(
        winner.config.model_copy(update={"seed": best.seed}), [request.study.preset, winner.config.preset, "mle"]
    )
    if command is None:
        return Again(f"{described}: no command can set all of its settings.", None)
    return Again(f"Command that trains {described} again and measures it at all temperatures:", command)


def _registry_name(request: SweepRequest) -> str:
    return request.settings.registry_name or f"rlgan-{re.sub(r'[/@:]', '-', request.study.name)}"


def _register(
    request: SweepRequest, results: SweepResults, judged: Verdict, finals: FinalLedger, say: Callable[[str], None]
) -> None:
    """Register the winner, once."""
    tracking, best = _tracking_settings(request), champion(results, judged)
    name = _registry_name(request)
    if not tracking.enabled or best is None:
        return
    before = finals.model
    if before is not None and (before.name, before.entrant, before.seed, before.temperature) == (
        name, best.entrant, best.seed, best.temperature
    ):  # fmt: skip
        return  # it is there already; a sweep that went on may have another winner now
    try:
        version = register_champion(
            best, results, request.folder, request.folder / _TUNE / _RACE, tracking.uri, name, judged.finding
        )
    except (TrackingError, CheckpointError) as error:  # the second where the run never reached a server
        say(
            f"warning: {error} The generator is not registered yet. Run rlgan tune --resume {request.folder} to try "
            "again."
        )
        return
    finals.registered(Model(name, version, best.entrant, best.seed, best.temperature))
    say(
        f"{best.entrant}, seed {best.seed}, at temperature {best.temperature:g} is registered: models:/{name}/{version}"
    )


def _report(folder: Path, results: SweepResults, analysis: Analysis, say: Callable[[str], None]) -> list[Path]:
    """Say what was found, and write it with its pictures into the folder."""
    report = folder / _REPORT
    report.mkdir(exist_ok=True)
    say("")
    text = summary_text(results, analysis)
    say(text)
    write_atomically(report / "summary.txt", lambda to: to.write_text(text + "\n", "utf-8"))
    page = write_page(results, report, analysis)
    say(f"\nreport with pictures: {page}")
    return sorted(path for path in report.iterdir() if path.suffix in (".html", ".png", ".txt"))


def _tracking_settings(request: SweepRequest) -> TrackingSettings:
    asked = {**request.study.changes, **request.changes}
    changes = {path: value for path, value in asked.items() if path.startswith("tracking.")}
    return override(preset(request.study.preset), changes).tracking


def _params(request: SweepRequest) -> dict[str, Any]:
    """What tells sweeps apart in MLflow."""
    settings = request.settings
    return {
        "study": request.study.name,
        "search": settings.searcher,
        "scheduler": settings.scheduler,
        "preset": request.study.preset,
        "seed": settings.seed,
    }


def preview(request: SweepRequest, written: Callable[[str], str] = str) -> list[str]:
    """What a sweep would do; nothing is written, and Ray is not started.

    Args:
        request: of the sweep.
        written: how the path of a setting is written: as it is, or as an option.

    Returns:
        Lines: the data, the dimensions with what may be tried of each, and how many random points are contradictory.

    Raises:
        ConfigError: the study does not fit, or a setting has no effect.
        DataError: the data cannot be read.
    """
    found: list[str] = []
    space, task, objective = _checked(request, found.append)
    proposals = Proposals(space, RandomSource(request.settings.seed))
    for _ in range(_CHECKED):
        proposals.next()
    lines = [
        *found,
        *task.notes,
        *size_notes(space.base, task),
        f"objective {objective.name}: {' + '.join(objective.sides)}, lower is better",
        "dimensions:",
    ]
    lines += [f"  {line}" for bundle in space.bundles for line in bundle.described(written)]
    varied = {axis.path for axis in space.axes}
    lines += [f"  {axis.described(written, varied)}" for axis in space.axes]
    dropped = sum(proposals.contradictions.values())
    lines.append(f"{dropped} of {_CHECKED + dropped} random points are contradictory and will never be tried:")
    reasons = proposals.contradictions.most_common()
    lines += [f"  {number} × {reason}" for reason, number in reasons[:_REASONS]]
    return lines + ([f"  and {len(reasons) - _REASONS} less frequent reasons"] if len(reasons) > _REASONS else [])


def _work(
    request: SweepRequest,
    space: Space,
    task: Task,
    objective: Objective,
    ledger: Ledger,
    finals: FinalLedger,
    say: Callable[[str], None],
) -> End:
    """Search, then race."""
    settings, folder = request.settings, request.folder
    seconds = None if settings.hours is None else settings.hours * 3600.0
    whole = Deadline(seconds)
    until = SearchDeadline(whole, seconds, bool(settings.finalists), lambda: bool(ledger.ranked()))
    data = task.fingerprint()
    folders = Folders(folder / _TUNE / _SEARCH, folder / _STARTS, folder / _LEDGER, data)
    voice = Voice(say)
    watch = Watch(space, task, settings, ledger, folders.starts, whole, until, voice.say)
    with cluster():
        roles = roles_of_trial(space.base)
        require_room(roles, space.base.workers.start_timeout_s)
        watch.at_once = runs_at_once(roles, settings.concurrent)
        with voice.standing(watch.search_status):
            end = search(space, objective, settings, ledger, folders, until, watch.search_moved, voice.say)
        best = ledger.ranked()[: settings.finalists]
        if end == "interrupted" or not best:
            return end
        who = entrants(space, best, task)
        beside = {one.name: (one.floor, one.ceiling) for one in who if one.kind == "finalist"}
        finals.choose(Chosen(tuple(one.name for one in who), beside))

        @contextmanager
        def watched(runs: int, stands: Callable[[], tuple[int, list[str]]]) -> Iterator[None]:
            watch.race_begins(who, runs)
            with voice.standing(lambda: watch.race_status(runs, *stands())):
                yield

        complete = race(who, settings, finals, folder / _TUNE / _RACE, folders.starts, data, whole, watched, voice.say)
    if complete:
        return end
    return "time" if whole.is_past else "interrupted"


def _checked(request: SweepRequest, say: Callable[[str], None]) -> tuple[Space, Task, Objective]:
    """What is asked for, found to make sense; its files are named by absolute paths."""
    settings, folder = request.settings, request.folder
    settings.require_effect()
    if not request.train and not request.resume:
        raise ConfigError(
            "--no-training: needs an existing sweep. Give it with --resume.", code="no_training_without_resume"
        )
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(
            f"--out {folder}: is a file. Give a folder.", code="sweep_out_is_file", fields={"out": folder}
        )
    require_model_name(_registry_name(request))
    space = _space(request)
    if request.resume:
        space = _as_begun(request, space)
    require_something_to_change(request.settings, space)
    require_one_budget(space.base)
    base, task = _data(request, space.base, say)
    if sizes := _sizes(request, space.base, task):
        base = override(_space(request, sizes).base, config_files(base))
    space = replace(space, base=base)
    objective = _objective(space, task, request.settings.objective)
    source_of_proposals(request.settings, objective)  # says now if a library is missing
    if not request.resume:
        Proposals(space, RandomSource(settings.seed)).next()  # or if there is nothing to try
    return space, task, objective


def _sizes(request: SweepRequest, base: Config, task: Task) -> Mapping[str, Any]:
    """Sizes that all trials share: by the data when a sweep begins, and what they were when it goes on."""
    name = request.study.preset
    if not follows(name) or base.task.knows_distribution:
        return {}
    if not request.resume:
        return sizes_for(name, request.task, summary_of(task))
    kept = read_request(request.folder).get("base")
    return {path: kept[path] for path in following(base) if path in kept} if isinstance(kept, dict) else {}


def _space(request: SweepRequest, sizes: Mapping[str, Any] | None = None) -> Space:
    for path in (*request.study.changes, *request.changes):
        plain = path.replace("-", "_")
        if plain.startswith("controls"):
            raise ConfigError(
                "controls: cannot be set for a sweep, which has its own. Remove them.", code="sweep_controls"
            )
        if plain == "seed":
            raise ConfigError(
                "seed: cannot be changed by a setting; use --seed, which holds for all trials. Remove it.",
                code="sweep_seed",
            )
    changes = {path: value for path, value in merge({}, request.changes).items() if not path.startswith("tracking.")}
    changes = {"workers.threads": 1, **changes, "tracking.enabled": False, "seed": request.settings.seed}
    return request.study.space(request.task, changes, sizes)


def _as_begun(request: SweepRequest, space: Space) -> Space:
    """The space that the sweep began with, whatever variants were added to this package since."""
    begun = read_request(request.folder).get("dimensions")
    if not isinstance(begun, dict):
        return space  # a damaged file, which is told when it is compared
    bundles = {bundle.name for bundle in space.bundles}
    try:
        return request.study.as_begun(space, {name: text for name, text in begun.items() if name not in bundles})
    except ConfigError as error:
        raise ConfigError(
            f"--resume {request.folder}: {error}", code="sweep_resume_request", fields={"resume": request.folder}
        ) from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{request.folder / _REQUEST}: is damaged ({error}). Restore it, or start a new sweep.",
            code="damaged_sweep_request",
        ) from None


def _data(request: SweepRequest, base: Config, say: Callable[[str], None]) -> tuple[Config, Task]:
    """The base with its files by absolute paths, for trials may work in another folder; and the task."""
    if not request.resume:
        base = absolute(base)
        task = new_task(base.task)
        require_sound_networks(base, task.space)
        return base, task
    known = read_request(request.folder).get("data")
    kept = kept_data(request.folder, f"--resume {request.folder}", known if isinstance(known, str) else None)
    base = absolute(with_files(located(base, kept), request.files, kept.asked))
    require_same_files(base, kept)
    return base, rebuilt_task(base, kept, say)


def _objective(space: Space, task: Task, name: str | None) -> Objective:
    if name is None:
        return objective_for(task, None)
    # What is measured is asked of the measuring itself, on a handful of sequences of an untrained generator.
    settings = space.base.evaluation.model_copy(update={"num_bleu": 2})
    generator = build_generator(LSTM() if task.conditions is None else Seq2SeqLSTM(), task.space)
    return objective_for(task, name, Evaluator(task, settings, 0).measure(generator, num_sequences=2).metrics)


def _asked(request: SweepRequest, space: Space, task: Task, objective: Objective) -> dict[str, Any]:
    """Everything that decides what trials are; a sweep that is taken up again must agree in it."""
    settings, free = to_dict(request.settings), SweepSettings.free_on_resume()
    # Where a file lies may change; what is in it may not.
    files = config_files(space.base)
    base = {path: value for path, value in flatten(to_dict(space.base)).items() if path not in files}
    return {
        "study": request.study.name,
        "settings": {name: value for name, value in settings.items() if name not in free},
        "objective": objective.name,
        "base": base,
        "dimensions": {axis.name: repr(axis.prior) for axis in space.axes}
        | {bundle.name: json.dumps(bundle.options, sort_keys=True) for bundle in space.bundles},
        "data": task.fingerprint(),
    }


def _described(space: Space, task: Task) -> str:
    data = getattr(space.base.task, "data", None)
    what = task.name if data is None else f"{task.name} {Path(data).name}"
    return f"{what}, {task.train.shape[0]} training sequences over {task.space.vocab_size} tokens"


@contextmanager
def _opened(
    request: SweepRequest, asked: dict[str, Any], files: Collection[str], code: Sequence[NamedCode]
) -> Iterator[None]:
    """The folder of the sweep, which is this process's alone."""
    path = request.folder / _REQUEST
    if request.resume:
        _require_same(request, asked, files)
    elif path.exists():
        raise CheckpointError(
            f"--out {request.folder}: already contains a sweep. Continue it with --resume {request.folder}, or use "
            "another folder.",
            code="sweep_exists",
            fields={"out": request.folder},
        )
    try:
        request.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"--out {request.folder}: cannot be created ({error.strerror}). Use another folder.",
            code="sweep_cannot_make_folder",
            fields={"out": request.folder},
        ) from None
    lock = FileLock(request.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"{request.folder}: another process is running this sweep. Wait for it, or use another folder with --out.",
            code="sweep_is_running",
        ) from None
    try:
        keep_sources(request.folder, code)
        listed = [{"kind": one.plugin_kind, "name": one.name, "digest": one.digest} for one in code]
        values = json.dumps({**asked, "words": request.words, CODE: listed}, indent=2, ensure_ascii=False)
        write_atomically(path, lambda to: to.write_text(values, "utf-8"))
        yield
    finally:
        lock.release()


def _write_changes(request: SweepRequest, num_trials: int, say: Callable[[str], None]) -> None:
    """From here on the sweep is one of the new sources; those before stay in its folder."""
    if request.changed:
        record_changes(request.folder, request.changed, num_trials, "trials")
    for change in request.changed:
        say(
            f"warning: continues with a new source of {change}; the {num_trials} trials so far used the old one. "
            f"This is recorded in {PLUGIN_CHANGES}."
        )


def _require_same(request: SweepRequest, asked: dict[str, Any], files: Collection[str]) -> None:
    before = with_new_digests(read_request(request.folder), request.changed)
    if isinstance(before.get("base"), dict):
        before["base"] = _read_today(before["base"], asked["base"], files)
    different = [name for name, value in asked.items() if before.get(name) != value]
    if different:
        raise CheckpointError(
            f"--resume {request.folder}: is a sweep with another {', '.join(different)}. Remove the options to "
            "continue it as it was, or start a new sweep.",
            code="sweep_differs",
            fields={"resume": request.folder},
        )


def _read_today(before: Mapping[str, Any], now: Mapping[str, Any], files: Collection[str]) -> dict[str, Any]:
    """A base that was kept, as it is read today: settings that came later have their defaults.

    Args:
        before: dotted path → value; older versions kept where some files lay.
        now: the base of today, likewise.
        files: paths of files.
    """
    nested: dict[str, Any] = {}
    for path, value in {**dict.fromkeys(files, "file"), **before}.items():
        *above, leaf = path.split(".")
        node = nested
        for name in above:
            node = node.setdefault(name, {})
        node[leaf] = value
    try:
        read = flatten(to_dict(from_kept(nested)))
    except ConfigError:
        read = dict(before)  # another configuration in any case
    return {path: value for path, value in read.items() if path not in files}


def read_request(folder: Path) -> dict[str, Any]:
    """What a sweep was asked for.

    Raises:
        CheckpointError: the folder holds none, or it is damaged.
    """
    path = folder / _REQUEST
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict) or "words" not in values:
            raise ValueError("contains no request")
        return values
    except OSError as error:
        raise CheckpointError(
            f"--resume {folder}: is not the folder of a sweep ({error.strerror}).",
            code="not_a_sweep",
            fields={"resume": folder},
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}). Restore it, or start a new sweep.",
            code="damaged_sweep_file",
            fields={"path": path},
        ) from None
