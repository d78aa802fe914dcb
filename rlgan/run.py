"""Runs as a person asks for them: begun, gone on with, tried dry, measured.

Bad input is found here, before anything is written. What one process does in a run is `session`'s, the table at its end
`comparison`'s.

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

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgan.envs.errors import CheckpointError
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.threads import torch_threads

from .checkpoint import config_differences, load_latest, read_run_config
from .comparison import ARTIFACTS, LAST_FILE
from .config import Config
from .export import load_run_generator
from .overrides import flatten, from_dict, to_dict
from .progress import Progress
from .session import DATA, RunResult, Session, fingerprint
from .tracking import Tracker, run_tags
from .trainer import Trainer
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
        if (request.run_dir / LAST_FILE).exists():
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
            return Session(config, task, trainer, parts.faults, run_dir).run(state)
        run_dir = _new_folder(config, request.run_dir)
        return Session(config, task, trainer, parts.faults, run_dir).run(None)


def _show_finished(run_dir: Path, config: Config) -> RunResult:
    """A run with nothing left to do: its table again, and to MLflow what did not arrive."""
    progress = Progress()
    progress.say(f"run {run_dir} is complete\n{(run_dir / LAST_FILE).read_text('utf-8').rstrip()}")
    tracker = Tracker(config.tracking, run_dir, progress.say)
    tracker.start(run_dir.name, flatten(to_dict(config)), run_tags(config.preset, config.seed))
    for name in ARTIFACTS:
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


def _require_same_data(run_dir: Path, state: Mapping[str, Any], task: Task) -> None:
    if state.get(DATA, fingerprint(task)) != fingerprint(task):
        raise CheckpointError(
            f"--resume {run_dir}: its data has changed: the task {task.name!r} now gives other sequences than the ones "
            "the run began with. Bring the file back as it was, or start a new run."
        )
