"""Runs as a person asks for them: begun, gone on with, tried dry, measured.

Bad input is found here, before anything is written. What one process does in a run is `session`'s, the table at its end
`comparison`'s.

A run folder holds:

    config.json            the resolved configuration
    data.json              which data it was: fingerprint, files and where they lay
    checkpoints/           the last states, safe to resume from
    bases/                 what networks have frozen, which checkpoints name by its hash
    metrics.jsonl          every number, a row an iteration
    samples.txt            what the generator wrote at each measurement
    generator.safetensors, generator.json    the generator alone, for `rlgan sample`
    discriminator.safetensors, discriminator.json    the discriminator alone, for `reward_of_run`
    table.json, final_table.json, table.txt  the final comparison;  *.png  its pictures;  report.html  all on a page
    summary.txt, final_samples.json          what the run said at its end; samples beside real sequences
    plugins/               sources of what the user brought; see rlgan.extensions
    plugin_changes.json    which of them were exchanged, and after how many iterations
    verdict.json           what may be said of the run beside its controls
    mlflow_run.json        which MLflow run this is, and which files it has

A folder has one writer at a time.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlgan.base.activity import stage
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.settings import FreeOnResume, facts_of
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_kept, override, to_dict
from rlgan.envs.tasks import Task
from rlgan.evaluation.adversarial import FreshEvaluator
from rlgan.evaluation.learned_language_model import LearnedLanguageModel
from rlgan.evaluation.verdict import read_verdict
from rlgan.extensions import ACCEPT_CHANGED, admit, plugins_in, require_unchanged
from rlgan.presets.controls import control
from rlgan.presets.own_data import size_notes
from rlgan.report.narrow import wrapped
from rlgan.storage.checkpoint import CONFIG, config_differences, load_latest, read_run_config
from rlgan.storage.export import load_run_generator, require_fitting
from rlgan.storage.places import Mirror, Place, fetch, require_writable
from rlgan.tracking import Tracker, run_tags
from rlgan.training.callbacks import Callback, loaded_callbacks, require_usable
from rlgan.training.real_sequences import require_drawable
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

from .data import config_files, kept_data, located, new_task, rebuilt_task, with_files
from .extending import UPDATES, begin_extension, extended
from .measured import Measured, measured
from .plugin_changes import PluginChange, changes_of, require_objects, with_changes, without_digests
from .progress import Progress
from .publishing import ARTIFACTS, LAST_FILE, SUMMARY, table_tags
from .session import RunResult, Session, send_last

_EXTEND = " To add iterations to a complete run, use `rlgan extend`."


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks for.

    Attributes:
        config: resolved.
        run_dir: folder of the run; None names one under `runs_dir`.
        resume: whether to go on with a run, which lies in the folder or in the storage.
        runs_dir: where a folder is named.
        storage: where the run is kept beside its folder: the run's own place if it is resumed, the place that holds
            runs if it is new; None keeps it in its folder alone.
        trust_code: whether code that came along with a run that is resumed may be executed; see
            `rlgan.extensions.admit`.
        accept_changed_plugins: whether a run that is resumed goes on with plug-ins whose source has changed.
        more_updates: adversarial updates that a complete run makes beyond those of its configuration; None for a run
            that goes on with what it has left.
    """

    config: Config
    run_dir: Path | None
    resume: bool
    runs_dir: Path = Path("runs")
    storage: Place | None = None
    trust_code: bool = False
    accept_changed_plugins: bool = False
    more_updates: int | None = None


def dry_run(request: RunRequest) -> int:
    """Resolve the configuration, read the data, build every part, and stop; nothing is written."""
    for path, value in flatten(to_dict(request.config)).items():
        print(f"{path} = {json.dumps(value, ensure_ascii=False)}")
    if request.resume:
        request, _ = _admitted(request)
    task = _task(request, request.config, print)
    # What was read explains what may be refused of it, and networks of published sizes take a while to build.
    for note in (*task.notes, *size_notes(request.config, task)):
        print(note, flush=True)
    loaded_callbacks(request.config.callbacks)
    _require_enough_for_controls(request.config, task)
    with build_parts(request.config, task) as parts:
        trainer = Trainer(request.config, task, parts)
        for note in (*trainer.evaluator.notes, *parts.notes):
            print(note)
    return 0


def _task(request: RunRequest, config: Config, say: Callable[[str], None]) -> Task:
    """Of a run that begins; or of one that is gone on with, found to be the same."""
    if not request.resume:
        return new_task(config.task)
    assert request.run_dir is not None
    return rebuilt_task(config, kept_data(request.run_dir, f"--resume {request.run_dir}"), say)


def _require_enough_for_controls(config: Config, task: Task) -> None:
    """Controls begin when the run is done: too late to hear that there are too few sequences for them."""
    for name in config.controls:
        require_drawable(control(config, name), task, pretrains=False)


def run(request: RunRequest, callbacks: Sequence[Callback] = (), progress: Progress | None = None) -> RunResult:
    """Do a run, or go on with one.

    Bad input is found before anything is written.

    Args:
        request: what to do.
        callbacks: see each iteration, and may end training, besides those of the configuration; a run that is resumed
            is given them again.
        progress: shows what is going on; None for a terminal's bar, or lines on standard output.

    Returns:
        What became of it.

    Raises:
        RlganError: bad input, or a folder or storage that cannot be used.
        UploadError: the run is complete or stopped, and its folder did not get into its storage.
    """
    config, run_dir, place = request.config, request.run_dir, request.storage
    changes: tuple[PluginChange, ...] = ()
    if request.resume:
        assert run_dir is not None
        _find(run_dir, place, config)
        request, changes = _admitted(request)
        config = request.config
        if request.more_updates is not None:
            config = extended(config, run_dir, request.more_updates)
        elif (run_dir / LAST_FILE).exists():
            if changes:
                raise ConfigError(
                    (
                        f"{ACCEPT_CHANGED}: has no effect on {run_dir}, which is complete. Remove it and restore the "
                        "old source, or start a new run."
                    ),
                    code="accept_changed_of_complete_run",
                    fields={"run": run_dir},
                )
            return _show_finished(run_dir, config, place, progress)
    else:
        if run_dir is not None:
            _require_unused(run_dir, place)
        if place is not None:
            require_writable(place)
        config = config.settled()
    callbacks = (*loaded_callbacks(config.callbacks), *callbacks)
    require_usable(callbacks)
    progress = progress or Progress()
    with ExitStack() as stack:
        stack.callback(progress.close)
        stack.enter_context(progress.showing_log())
        stack.enter_context(progress.watching())
        with stage("data", "reading data"):
            task = _task(request, config, progress.say)
        _require_enough_for_controls(config, task)
        with stage("parts", "building networks and starting actors"):
            parts = stack.enter_context(build_parts(config, task, begins=not request.resume))
            trainer = Trainer(config, task, parts)
        state, tags = None, {}
        if request.resume:
            assert run_dir is not None
            state = load_latest(run_dir)
            if request.more_updates is not None:
                before, after = (one.schedule.adversarial_updates for one in (request.config, config))
                begin_extension(run_dir, config, before)
                tags["extended"] = f"{UPDATES} {before} → {after}"  # the server's parameter stays as it was
                progress.say(f"extended from {before} to {after} adversarial updates")
        else:
            run_dir = new_folder(request)
            place = None if place is None else place.below(run_dir.name)
        mirror = _mirror(place, run_dir)
        notes = (*size_notes(config, task), *parts.notes)
        session = Session(
            config, task, trainer, parts.faults, run_dir, progress, mirror, notes, callbacks, changes, tags
        )
        return session.run(state)


def _admitted(request: RunRequest) -> tuple[RunRequest, tuple[PluginChange, ...]]:
    """Execute nothing that a run to go on with brought along, nor what has changed since, unless the user lets it.

    Returns:
        The request, with the digests of sources that changed and were accepted; and those.
    """
    run_dir = request.run_dir
    assert run_dir is not None
    asked, plugins = f"--resume {run_dir}", plugins_in(request.config)
    changes: tuple[PluginChange, ...] = ()
    if request.accept_changed_plugins:
        changes = changes_of(plugins)
        if not changes:
            raise ConfigError(
                (
                    f"{ACCEPT_CHANGED}: has no effect, because no plug-in of {run_dir} has changed since the run "
                    "began. Remove it."
                ),
                code="accept_changed_without_change",
                fields={"run": run_dir},
            )
        request = replace(request, config=with_changes(request.config, changes))
        plugins = plugins_in(request.config)
    require_unchanged(plugins, asked)
    admit(plugins, run_dir, asked, trust_code=request.trust_code)
    require_objects(request.config, changes)
    return request, changes


def _mirror(place: Place | None, run_dir: Path) -> Mirror | None:
    return None if place is None else Mirror(place, run_dir, last=(CONFIG, LAST_FILE))


def _find(run_dir: Path, place: Place | None, config: Config) -> None:
    """See to it that a run to go on with lies in its folder, fetching it where it lies in its storage alone."""
    if place is None or (run_dir / CONFIG).exists():
        _require_same_run(f"--resume {run_dir}", read_run_config(run_dir), config)
        if place is not None:
            _require_not_behind(run_dir, place)
            require_writable(place)
        return
    _require_same_run(f"--resume {place.uri}", place.config(), config)
    require_writable(place)
    fetch(place, run_dir)


def _require_not_behind(run_dir: Path, place: Place) -> None:
    """A folder may be sent over what is in the storage only if it is the same run, and as far."""
    if not place.holds_run():
        return
    ours, theirs = (without_digests(_without(one, {UPDATES})) for one in (read_run_config(run_dir), place.config()))
    # Who was stopped right after a changed plug-in was accepted has not sent its digest.
    if ours != theirs:
        raise CheckpointError(
            f"{run_dir}: contains another run than {place.uri}. Use another folder with --out, or another storage.",
            code="folder_of_other_run",
            fields={"path": run_dir},
        )
    # One that was extended here, and has not been sent since, is the same run.
    here, there = load_latest(run_dir).position, place.newest_checkpoint()
    if there is not None and there > here:
        raise CheckpointError(
            f"{run_dir}: is an outdated copy: it has {here} iterations, but {place.uri} has {there}. Remove this "
            f"folder and continue with --resume {place.uri}, or download the run into another folder with --out.",
            code="outdated_copy",
            fields={"path": run_dir},
        )


def _require_unused(run_dir: Path, storage: Place | None) -> None:
    if (run_dir / CONFIG).exists():
        raise CheckpointError(
            f"--out {run_dir}: already contains a run. Continue it with --resume {run_dir}, or use another folder.",
            code="out_exists",
            fields={"out": run_dir},
        )
    if storage is not None and (place := storage.below(run_dir.resolve().name)).holds_run():
        raise CheckpointError(
            f"--out {run_dir}: {place.uri} already contains a run. Continue it with --resume {place.uri}, or use "
            "another folder.",
            code="out_exists_in_storage",
            fields={"out": run_dir},
        )


def _show_finished(run_dir: Path, config: Config, place: Place | None, progress: Progress | None) -> RunResult:
    """A run with nothing left to do: what it said again, and to MLflow and its storage what did not arrive."""
    progress = progress or Progress()
    # Older versions kept the whole table alone.
    said = run_dir / (SUMMARY if (run_dir / SUMMARY).exists() else LAST_FILE)
    complete = (
        f"run {run_dir} is complete; this is its stored result. The data was not read again; to check whether it has "
        f"changed, use `rlgan train --resume {shlex.quote(str(run_dir))} --dry-run`."
    )
    progress.say(f"{wrapped(complete, progress.columns)}\n\n{said.read_text('utf-8').rstrip()}")
    tracker = Tracker(config.tracking, run_dir, progress.say)
    tracker.start(run_dir.name, flatten(to_dict(config)), run_tags(config.preset, config.seed))
    for name in ARTIFACTS:
        if (run_dir / name).exists():  # older versions wrote fewer
            tracker.log_artifact(run_dir / name)
    verdict = read_verdict(run_dir)
    tags = {} if verdict is None else {"verdict": verdict.statement}
    tracker.finish("FINISHED", tags=tags | table_tags(run_dir))
    if (mirror := _mirror(place, run_dir)) is not None:
        send_last(mirror, run_dir)
    return RunResult(run_dir, stopped=False, table=json.loads((run_dir / "table.json").read_text("utf-8")))


def evaluate_run(
    run_dir: Path,
    temperature: float,
    num_sequences: int | None,
    adversarial: bool = False,
    language_model: bool = False,
    *,
    files: Mapping[str, str] | None = None,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Measure the generator of a run on the test split of its task.

    Args:
        run_dir: folder of the run.
        temperature: divides the logits.
        num_sequences: sequences to sample; None takes as many as the run's final table.
        adversarial: judge it by a fresh evaluator, too: the run's own, or the default where it has none.
        language_model: score it by language models that are trained for it, too; those of the run, or the default.
        files: dotted path in the configuration → file, for what lies elsewhere now.
        trust_code: whether code that came along with the run may be executed; see `rlgan.extensions.admit`.
        say: shows the user how figures are taken, and what cannot be checked.

    Returns:
        Figures with what is known of them, and the row of the run's table that they stand beside.

    Raises:
        CheckpointError: the folder holds no run or generator, its data is not what the run began with, or it is
            measured by code that is not at hand, or may not be executed unasked.
        ConfigError: there is nothing that an evaluator could judge, or too little; or no text to model.
        DataError: the data cannot be read.
    """
    from rlgan.evaluation.evaluator import Evaluator

    kept = kept_data(run_dir, f"--run {run_dir}")
    config = with_files(located(from_kept(read_run_config(run_dir)), kept), files or {}, kept.asked)
    # What is not needed here, such as its rewards, need not be there.
    needed = [plugin for part in (config.task, config.evaluation) for plugin in plugins_in(part)]
    admit(needed, run_dir, f"--run {run_dir}", trust_code=trust_code)
    if adversarial and config.evaluation.adversarial is None:
        config = override(config, {"evaluation.adversarial": FreshEvaluator().kind})
    if language_model and config.evaluation.language_model is None:
        config = override(config, {"evaluation.language_model": LearnedLanguageModel().kind})
    exported = load_run_generator(run_dir, trust_code=trust_code)
    number = num_sequences or config.evaluation.final_sequences
    progress = Progress(lines=sys.stderr)
    with closing(progress), progress.watching(), torch_threads(config.workers.threads), stage("evaluate"):
        with stage("data", "reading data"):
            task = rebuilt_task(config, kept, say)
            require_fitting(exported, task, f"--run {run_dir}")
            evaluator = Evaluator(task, config.evaluation, config.seed)
        for note in evaluator.notes:
            say(note)
        measurement = evaluator.measure(exported.generator, temperature, number)
        judged = evaluator.measure_adversarially(exported.generator, temperature)
        metrics = measurement.metrics | evaluator.measure_closely(measurement) | judged
        return measured(evaluator, metrics, run_dir, temperature, number, config.evaluation.final_sequences)


def new_folder(request: RunRequest) -> Path:
    """Make the folder of a new run: the one that was asked for, or the first whose name is free here and there.

    Args:
        request: for a new run.

    Raises:
        CheckpointError: no folder can be made there.
    """
    config, wanted, storage = request.config, request.run_dir, request.storage
    name = f"{config.preset}-{config.task.kind}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = wanted or request.runs_dir / name, 1
    while True:
        try:
            if wanted is not None or storage is None or not storage.below(folder.name).is_taken():
                folder.mkdir(parents=True, exist_ok=wanted is not None)
                return folder
        except FileExistsError as error:
            if wanted is not None or not folder.is_dir():
                raise _cannot_make(folder, error) from None
        except OSError as error:
            raise _cannot_make(folder, error) from None
        number += 1
        folder = request.runs_dir / f"{name}-{number}"


def _cannot_make(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{folder}: cannot be created ({error.strerror}). Use a folder where this user has write permission, with "
        "--out or --storage.",
        code="cannot_make_folder",
        fields={"path": folder},
    )


def _without(tree: Any, paths: Collection[str], prefix: str = "") -> Any:
    """JSON values without those at some dotted paths; elements of a list go by their number."""
    if isinstance(tree, Mapping):
        kept = {name: value for name, value in tree.items() if prefix + name not in paths}
        return {name: _without(value, paths, f"{prefix}{name}.") for name, value in kept.items()}
    if isinstance(tree, list):
        return [_without(value, paths, f"{prefix}{index}.") for index, value in enumerate(tree)]
    return tree


def _require_same_run(asked: str, values: Mapping[str, Any], config: Config) -> None:
    # Where a file lies may change; what is in it may not, which is found when it is read.
    before = from_kept(values)
    files = config_files(before).keys() & config_files(config).keys()
    # Both as they are read today: settings that came later have their defaults.
    saved, wanted = (
        flatten(_without(to_dict(one), {*files, *(path for path, *_ in facts_of(one, FreeOnResume))}))
        for one in (before, config)
    )
    if differences := config_differences(saved, wanted):
        longer = any(one.startswith(f"{UPDATES}:") for one in differences)
        raise CheckpointError(
            f"{asked}: is a run with another configuration: {'; '.join(differences)}. Remove the options to "
            f"continue it as it was, or start a new run.{_EXTEND if longer else ''}",
            code="run_differs",
        )
