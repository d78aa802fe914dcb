"""A generator of seconds in a registry beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlgan.envs.tasks import build_task
from rlgan.generators import LSTM, GeneratorSettings, build_generator
from rlgan.storage.export import save_run_generator
from rlgan.tracking import Tracker, TrackingSettings, read_run, register
from tests.support.tiny import TASK

TEMPERATURE = 0.5


@dataclass(frozen=True)
class Registered:
    """Version 1 of the model "toy".

    Attributes:
        run_dir: folder of its run.
        uri: of the database that has run and model.
        run_id: of its MLflow run.
        version: of the model.
    """

    run_dir: Path
    uri: str
    run_id: str
    version: int

    @property
    def model_dir(self) -> Path:
        """Where MLflow keeps the model."""
        (path,) = self.run_dir.parent.glob("mlartifacts/models/*/artifacts")
        return path


def save_generator(folder: Path, settings: GeneratorSettings | None = None) -> None:
    """Write a generator that nobody trained."""
    task = build_task(TASK)
    settings = LSTM(embedding=3, hidden=4) if settings is None else settings
    weights = build_generator(settings, task.space).state_dict()
    save_run_generator(folder, settings, task, dict(weights))


def register_toy(run_dir: Path, settings: GeneratorSettings | None = None) -> Registered:
    """Track a run in a folder, and register its generator."""
    save_generator(run_dir, settings)
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("toy run", {}, {})
    tracker.finish("FINISHED")
    uri = f"sqlite:///{run_dir.parent / 'mlruns.db'}"
    run_id = read_run(uri, run_dir).run_id
    version = register(uri, run_id, run_dir, "toy", TEMPERATURE, {"preset": "tiny"})
    return Registered(run_dir, uri, run_id, version)
