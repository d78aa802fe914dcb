"""A run from its first unit to its report: folder, checkpoints, tracking, progress, controls, final table.

The trainer does units and knows nothing of this; here is everything around it that a person sees.

A run folder holds:

    config.json            the resolved configuration
    checkpoints/           the last states, safe to resume from
    metrics.jsonl          every number, a row a unit
    samples.txt            what the generator wrote at each measurement
    generator.safetensors, generator.json    the generator alone, for `rlgan sample`
    table.json, table.txt  the final comparison;  *.png  its pictures
    mlflow_run.json        which MLflow run this is

A folder has one writer at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rlgan.envs.errors import CheckpointError
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.threads import torch_threads

from .checkpoint import (
    LoadedCheckpoint,
    cannot_write,
    config_differences,
    load_latest,
    read_run_config,
    save_checkpoint,
    write_atomically,
    write_run_config,
)
from .config import Config
from .evaluation import Measurement
from .export import load_run_generator, save_run_generator
from .metrics import headroom_captured
from .overrides import flatten, from_dict, to_dict
from .presets import control
from .progress import Progress
from .report import format_table, plot_learning_curves, plot_quality_diversity, write_table
from .tracking import Tracker, run_tags
from .trainer import Trainer, Unit
from .workers.faults import Faults
from .workers.parts import build_parts

# Who computes, where numbers go and how often states are kept never change a number, so a resumed run may differ there.
_FREE_TO_CHANGE = (
    "workers.rollout",
    "workers.learners",
    "workers.cpus_",
    "workers.gpus_",
    "workers.start_timeout_s",
    "workers.max_retries",
    "workers.call_timeout_s",
    "tracking.",
    "checkpoint_every_s",
    "preset",
)

_LAST_FILE = "table.txt"  # is written when everything else is done
_ARTIFACTS = ("config.json", "table.json", _LAST_FILE, "samples.txt", "curves.png", "quality_diversity.png")
_DATA = "data_sha256"
_OURS = " (this run)"  # marks the run's own row of the table
_INTERRUPTED_WAIT_S = 3.0  # who presses Ctrl-C does not want to wait for a server

_ORACLE_COLUMNS = ("nll_oracle", "nll_gen", "nll_div", "kl_forward", "kl_reverse", "kl_sum")
_TEXT_COLUMNS = (
    "nll_gen",
    "nll_div",
    "bleu_2",
    "bleu_3",
    "bleu_4",
    "bleu_5",
    "self_bleu_2",
    "self_bleu_4",
    "distinct_2",
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks for.

    Attributes:
        config: resolved.
        run_dir: folder of the run; None names one under runs/.
        resume: whether the folder holds a run to go on with.
    """

    config: Config
    run_dir: Path | None
    resume: bool


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run.

    Attributes:
        run_dir: its folder.
        stopped: whether it was stopped before its end, after a checkpoint.
        table: rows of the final comparison; empty if stopped.
    """

    run_dir: Path
    stopped: bool
    table: list[dict[str, Any]] = field(default_factory=list)


def resumable_config(run_dir: Path) -> Config:
    """Configuration of the run in a folder.

    Raises:
        CheckpointError: the folder holds no run.
    """
    return from_dict(read_run_config(run_dir))


def dry_run(request: RunRequest) -> int:
    """Resolve the configuration, read the data, build every part, and stop; nothing is written."""
    task = build_task(request.config.task)
    with build_parts(request.config, task) as parts:
        Trainer(request.config, task, parts)
    for path, value in flatten(to_dict(request.config)).items():
        print(f"{path} = {json.dumps(value, ensure_ascii=False)}")
    for note in task.notes:
        print(note)
    return 0


def run(request: RunRequest) -> RunResult:
    """Do a run, or go on with one.

    Bad input is found before anything is written.

    Args:
        request: what to do.

    Returns:
        What became of it.

    Raises:
        RlganError: bad input, or a folder that cannot be used.
    """
    config = request.config
    if request.resume:
        assert request.run_dir is not None
        _require_same_run(request.run_dir, config)
        if (request.run_dir / _LAST_FILE).exists():
            return _show_finished(request.run_dir, config)
    elif request.run_dir is not None and (request.run_dir / "config.json").exists():
        raise CheckpointError(
            f"--out {request.run_dir}: already holds a run. Go on with it by --resume {request.run_dir}, or name "
            "another folder."
        )
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        if request.resume:
            run_dir = request.run_dir
            assert run_dir is not None
            state = load_latest(run_dir)
            _require_same_data(run_dir, state.state, task)
            return _Session(config, task, trainer, parts.faults, run_dir).run(state)
        run_dir = _new_folder(config, request.run_dir)
        return _Session(config, task, trainer, parts.faults, run_dir).run(None)


def _show_finished(run_dir: Path, config: Config) -> RunResult:
    """A run with nothing left to do: its table again, and to MLflow what did not arrive."""
    progress = Progress()
    progress.say(f"run {run_dir} is complete\n{(run_dir / _LAST_FILE).read_text('utf-8').rstrip()}")
    tracker = Tracker(config.tracking, run_dir, progress.say)
    tracker.start(run_dir.name, flatten(to_dict(config)), run_tags(config.preset, config.seed))
    for name in _ARTIFACTS:
        tracker.log_artifact(run_dir / name)
    tracker.finish("FINISHED")
    return RunResult(run_dir, stopped=False, table=json.loads((run_dir / "table.json").read_text("utf-8")))


def evaluate_run(run_dir: Path, temperature: float, num_sequences: int | None) -> dict[str, float]:
    """Measure the generator of a run on the test split of its task.

    Args:
        run_dir: folder of the run.
        temperature: divides the logits.
        num_sequences: sequences to sample; None takes as many as the run's final table.

    Returns:
        Name → value.
    """
    from .evaluation import Evaluator

    config = resumable_config(run_dir)
    exported = load_run_generator(run_dir)
    evaluator = Evaluator(build_task(config.task), config.evaluation, config.seed)
    number = num_sequences or config.evaluation.final_sequences
    with torch_threads(config.workers.threads):
        return evaluator.measure(exported.generator, temperature, number).metrics


class _Session:
    """One process working on one run."""

    def __init__(self, config: Config, task: Task, trainer: Trainer, faults: Faults, run_dir: Path) -> None:
        self._config, self._task, self._trainer, self._run_dir = config, task, trainer, run_dir
        self._faults = faults
        self._progress = Progress()
        self._tracker = Tracker(config.tracking, run_dir, self._progress.say)
        self._last_checkpoint = time.monotonic()
        self._stop_asked = False
        self._kept_position: int | None = None

    def run(self, resumed_from: LoadedCheckpoint | None) -> RunResult:
        self._progress.say(f"run {self._run_dir}")
        for note in self._task.notes:
            self._progress.say(note)
        if resumed_from is not None:
            self._restore(resumed_from)
        else:
            # The configuration makes the folder a run, and comes when there is something to go on with.
            self._checkpoint()
            write_run_config(self._run_dir, to_dict(self._config))
        name = self._run_dir.name
        self._tracker.start(name, flatten(to_dict(self._config)), run_tags(self._config.preset, self._config.seed))
        status = "FAILED"
        wait_s: float | None = None
        try:
            with self._progress.showing_log(), self._stop_on_signals():
                self._train()
            if self._stop_asked:
                status = "KILLED"
                return self._stopped()
            with self._progress.showing_log(), torch_threads(self._config.workers.threads):
                table = self._report()
            status = "FINISHED"
            return RunResult(self._run_dir, stopped=False, table=table)
        except KeyboardInterrupt:
            status, wait_s = "KILLED", _INTERRUPTED_WAIT_S
            return self._stopped()
        finally:
            if lost := self._faults.summary():
                self._progress.say(lost)
            self._progress.close()
            self._tracker.finish(status, wait_s)

    def _stopped(self) -> RunResult:
        where = f"rlgan train --resume {shlex.quote(str(self._run_dir))}"
        self._progress.say(f"stopped after {self._kept_position} units; go on with: {where}")
        return RunResult(self._run_dir, stopped=True)

    # ------------------------------------------------------------------ training

    def _train(self) -> None:
        trainer = self._trainer
        while trainer.next_phase is not None and not self._stop_asked:
            unit = trainer.step()
            self._log(unit)
            if time.monotonic() - self._last_checkpoint > self._config.checkpoint_every_s:
                self._checkpoint()
        if self._kept_position != trainer.position.units:
            self._checkpoint()

    def _log(self, unit: Unit) -> None:
        self._tracker.log_metrics(
            _named_for_phase(unit), step=unit.step, phase=unit.phase, unit=self._trainer.position.units
        )
        self._progress.unit(self._config.schedule, self._trainer.position, unit)
        if unit.measurement is not None:
            self._write_samples(f"{unit.phase} {unit.step}", unit.measurement)

    def _write_samples(self, title: str, measurement: Measurement) -> None:
        shown = self._task.decode(measurement.tokens[: self._config.evaluation.num_shown])
        path = self._run_dir / "samples.txt"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"=== {title}\n" + "".join(f"{line}\n" for line in shown))
        except OSError as error:
            raise cannot_write(path, error) from error

    def _checkpoint(self) -> None:
        position = self._trainer.position.units
        save_checkpoint(self._run_dir, {**self._trainer.state(), _DATA: _fingerprint(self._task)}, position)
        self._kept_position = position
        weights = self._trainer.current_weights()
        save_run_generator(self._run_dir, self._config.generator, self._task, weights)
        self._last_checkpoint = time.monotonic()

    def _restore(self, loaded: LoadedCheckpoint) -> None:
        for reason in loaded.skipped:
            self._progress.say(f"warning: {reason}; going on from {loaded.path.name}, the last good one")
        self._trainer.restore({name: part for name, part in loaded.state.items() if name != _DATA})
        self._kept_position = loaded.position
        self._tracker.truncate_after(loaded.position)
        _truncate_samples(self._run_dir / "samples.txt", self._trainer)
        self._progress.say(f"resumed after {loaded.position} units")

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C finishes the unit and keeps a checkpoint; the second ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self._stop_asked:
                raise KeyboardInterrupt
            self._stop_asked = True
            self._progress.say("stopping after this unit (again: at once, losing what is not in the last checkpoint)")

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may ask for signals
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ------------------------------------------------------------------ controls and report

    def _report(self) -> list[dict[str, Any]]:
        rows = [self._real_row(), *self._temperature_rows(), *self._control_rows()]
        final = self._trainer.measure(self._config.evaluation.final_sequences)
        if self._config.schedule.adversarial_updates:
            rows.append(_row(f"{self._config.preset}{_OURS}", 1.0, final))
        self._write_samples("final", final)
        captured = self._headroom(rows)
        columns = _ORACLE_COLUMNS if self._task.oracle is not None else _TEXT_COLUMNS
        text = format_table(rows, ("name", "temperature", *columns))
        if captured is not None:
            text += f"\n{captured}"
        self._progress.say(text)
        self._publish_report(rows, text)
        return rows

    def _real_row(self) -> dict[str, Any]:
        """What real sequences score: a generator beyond it is not better than the data."""
        real = self._trainer.evaluator.measure_real(self._config.evaluation.final_sequences)
        return _row(f"real data (n={real.tokens.shape[0]})", None, real)

    def _temperature_rows(self) -> list[dict[str, Any]]:
        trainer = self._trainer
        assert trainer.mle_start is not None
        start = trainer.generator_from(trainer.mle_start)
        rows, num = [], self._config.evaluation.final_sequences
        # The start as it is stands in every table, and no temperature twice.
        for temperature in dict.fromkeys((1.0, *self._config.evaluation.temperatures)):
            name = "MLE start" if temperature == 1.0 else f"MLE τ={temperature:g}"
            rows.append(_row(name, temperature, trainer.evaluator.measure(start, temperature, num)))
        return rows

    def _control_rows(self) -> list[dict[str, Any]]:
        """Controls begin at the run's own MLE start and make as many generator updates."""
        rows = []
        for name in dict.fromkeys(self._config.controls):
            config = control(self._config, name)
            started = time.perf_counter()
            with build_parts(config, self._task) as parts:
                trainer = Trainer(config, self._task, parts, mle_start=self._trainer.mle_start)
                while trainer.next_phase is not None:
                    trainer.step(measure=False)
                rows.append(_row(name, 1.0, trainer.measure(self._config.evaluation.final_sequences)))
                lost = parts.faults.summary()
            took = f"control {name}: {time.perf_counter() - started:.0f} s"
            self._progress.say(took if lost is None else f"{took}; {lost}")
        return rows

    def _headroom(self, rows: list[dict[str, Any]]) -> str | None:
        """Share of the headroom captured, in words (specification 16.3)."""
        sums = {row["name"]: row.get("kl_sum") for row in rows}
        ours = sums.get(f"{self._config.preset}{_OURS}")
        continued, ceiling = sums.get("mle_continued"), sums.get("oracle_ratio")
        if ours is None or continued is None or ceiling is None:
            return None
        share = headroom_captured(gap_sum_run=ours, gap_sum_mle_continued=continued, gap_sum_oracle_ratio=ceiling)
        if share is None:
            return "share of the headroom captured: undefined, oracle_ratio did not end below mle_continued"
        self._tracker.log_metrics({"final/headroom_captured": share}, step=0, phase="final", unit=None)
        return f"share of the headroom captured: {share:+.2f} (0 = mle_continued, 1 = oracle_ratio)"

    def _publish_report(self, rows: list[dict[str, Any]], text: str) -> None:
        run_dir = self._run_dir
        write_table(rows, [], run_dir / "table.json")
        plot_learning_curves(self._tracker.rows(), run_dir / "curves.png")
        x, y = ("kl_reverse", "kl_forward") if self._task.oracle is not None else ("bleu_4", "nll_gen")
        plot_quality_diversity(rows, x, y, run_dir / "quality_diversity.png")
        for row in rows:
            metrics = {
                f"final/{_slug(row['name'])}/{key}": float(value)
                for key, value in row.items()
                if key not in ("name", "temperature")
            }
            self._tracker.log_metrics(metrics, step=0, phase="final", unit=None)
        write_atomically(run_dir / _LAST_FILE, lambda path: path.write_text(text + "\n", "utf-8"))
        for name in _ARTIFACTS:
            self._tracker.log_artifact(run_dir / name)


def _row(name: str, temperature: float | None, measurement: Measurement) -> dict[str, Any]:
    values = {key.removeprefix("eval/"): value for key, value in measurement.metrics.items()}
    return {"name": name, "temperature": temperature, **values}


def _slug(name: str) -> str:
    """A row's name as MLflow allows it in a metric's name; that of the run itself is the same in all runs."""
    if name.endswith(_OURS):
        return "this_run"
    name = re.sub(r" \(n=\d+\)$", "", name)
    return re.sub(r"[^\w.\- /]", "_", name.replace("τ=", "tau ")).replace(" ", "_")


def _named_for_phase(unit: Unit) -> dict[str, float]:
    """Name apart what several phases have, for each counts its own steps.

    eval/* and discriminator/* belong to the adversarial phase, mle/* and discriminator_pretraining/* to the others.
    """
    if unit.phase == "mle":
        return {name.replace("eval/", "mle/").replace("timing/", "mle/timing/"): v for name, v in unit.metrics.items()}
    if unit.phase == "discriminator":
        return {
            name.replace("discriminator/", "discriminator_pretraining/").replace(
                "timing/", "discriminator_pretraining/timing/"
            ): value
            for name, value in unit.metrics.items()
        }
    return unit.metrics


def _new_folder(config: Config, wanted: Path | None) -> Path:
    """Make the folder of a new run: the one that was asked for, or the first free name under runs/."""
    base = wanted or Path("runs") / f"{config.preset}-{config.task.kind}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = base, 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=wanted is not None)
            return folder
        except FileExistsError as error:
            if wanted is None and folder.is_dir():
                number += 1
                folder = base.with_name(f"{base.name}-{number}")
                continue
            raise _cannot_make(folder, error) from None
        except OSError as error:
            raise _cannot_make(folder, error) from None


def _cannot_make(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"--out {folder}: no folder can be made there ({error.strerror}). Name a folder where this user may write."
    )


def _require_same_run(run_dir: Path, config: Config) -> None:
    saved = flatten(read_run_config(run_dir))
    differences = [
        line for line in config_differences(saved, flatten(to_dict(config))) if not line.startswith(_FREE_TO_CHANGE)
    ]
    if differences:
        raise CheckpointError(
            f"--resume {run_dir}: is a run of another configuration: {'; '.join(differences)}. Leave the options out "
            "to go on with it as it was, or start a new run."
        )


def _fingerprint(task: Task) -> str:
    """Tells whether a task is built of the same sequences and tokens as another."""
    digest = hashlib.sha256("\n".join(task.token_names).encode())
    for split in (task.train, task.valid, task.test):
        digest.update(str(tuple(split.shape)).encode())
        digest.update(split.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _require_same_data(run_dir: Path, state: Mapping[str, Any], task: Task) -> None:
    if state.get(_DATA, _fingerprint(task)) != _fingerprint(task):
        raise CheckpointError(
            f"--resume {run_dir}: its data has changed: the task {task.name!r} now gives other sequences than the ones "
            "the run began with. Bring the file back as it was, or start a new run."
        )


def _truncate_samples(path: Path, trainer: Trainer) -> None:
    """Drop samples of units that will be done again."""
    if not path.exists():
        return
    done = {
        "mle": trainer.position.mle_epochs,
        "discriminator": trainer.position.discriminator_rounds,
        "adversarial": trainer.position.adversarial_updates,
    }
    kept = []
    # A sample may hold the mark too, so it counts only with the rest of its line.
    for block in re.split(
        r"^(?==== (?:mle \d+|discriminator \d+|adversarial \d+|final)$)", path.read_text("utf-8"), flags=re.M
    ):
        _, _, title = block.partition("\n")[0].partition(" ")
        phase, _, step = title.partition(" ")
        if step and int(step) <= done[phase]:
            kept.append(block)
    write_atomically(path, lambda target: target.write_text("".join(kept), "utf-8"))
