"""Maximum-likelihood starts that trials share: trained once, kept under the hash of all that decides them.

A trial then costs only what it varies. The start of a run is a function of its data, its generator, the likelihood part
of its schedule and optimisers, its seed and its threads; two configurations that agree in these begin at the same bits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from pydantic_core import to_jsonable_python
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlgan import __version__
from rlgan.base.files import write_atomically
from rlgan.base.settings import OfTheStart, facts_of, replaced
from rlgan.base.weights import Tensors
from rlgan.config.config import Config, Workers
from rlgan.envs.tasks import Task
from rlgan.presets.quick import mle
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

PROGRESS, DURATION = ".progress.json", ".seconds.json"
"""Ends of the names of what says how far a start is, and what it took."""


class Starts:
    """A folder of starts that several processes may use at once.

    Args:
        folder: is made when the first start is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, config: Config, task: Task) -> Tensors:
        """The generator's weights at the end of a run's pretraining; trained now if nobody has.

        Args:
            config: of the run.
            task: built from `config.task`.

        Returns:
            Parameter name → array.
        """
        what = _what_decides(config, task)
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{key}.safetensors"
        # Who comes second waits for who came first, and finds it done.
        with FileLock(path.with_suffix(".lock")):
            if path.exists():
                try:
                    return load_file(path)
                except SafetensorError:
                    path.unlink()  # damaged: the same bits are trained again
            began, progress = time.monotonic(), path.with_suffix(PROGRESS)
            try:
                tensors = _train(config, task, progress)
            finally:
                progress.unlink(missing_ok=True)
            _write_json(path.with_suffix(DURATION), {"seconds": time.monotonic() - began})
            _write_json(path.with_suffix(".json"), what)
            write_atomically(
                path, lambda to: save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, to)
            )
            return tensors


def _what_decides(config: Config, task: Task) -> dict[str, Any]:
    return {
        "data": task.fingerprint(),
        **{path: to_jsonable_python(value) for path, _, value in facts_of(config, OfTheStart)},
        "versions": [__version__, torch.__version__],
    }


def likelihood_alone(config: Config) -> Config:
    """The maximum-likelihood pretraining of a run, and nothing after it."""
    alone = mle(config.task).model_copy(
        update={"workers": Workers(), "evaluation": config.evaluation, "tracking": config.tracking}
    )
    return replaced(alone, {path: value for path, _, value in facts_of(config, OfTheStart)})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_atomically(path, lambda to: to.write_text(json.dumps(values, indent=2), "utf-8"))


def what_is_read(folder: Path, suffix: str) -> list[dict[str, Any]]:
    """What stands in the folder's files of a kind, as it is now.

    Args:
        folder: of starts; need not be there yet.
        suffix: `PROGRESS` ({epochs, of, seconds}) or `DURATION` ({seconds}).
    """
    found = []
    for path in sorted(folder.glob(f"*{suffix}")):
        try:
            found.append(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            continue  # the start is done by now
    return found


def _train(config: Config, task: Task, progress: Path) -> Tensors:
    alone, began = likelihood_alone(config), time.monotonic()
    with build_parts(alone, task) as parts:
        trainer = Trainer(alone, task, parts)

        def tell() -> None:
            epochs, seconds = trainer.position.mle_epochs, time.monotonic() - began
            _write_json(progress, {"epochs": epochs, "of": alone.schedule.mle_epochs, "seconds": seconds})

        tell()
        while trainer.next_phase is not None:
            trainer.step(measure=False)
            tell()
        assert trainer.mle_start is not None
        return trainer.mle_start
