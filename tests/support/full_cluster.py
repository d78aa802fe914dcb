"""A process of its own with a cluster of exactly the CPUs that runs ask for.

    python -m tests.support.full_cluster CPUS FOLDER

Does every run of FOLDER/NAME.json into FOLDER/NAME, and every one of FOLDER/NAME.trial.json as a trial of Ray Tune that
makes its final table inside its own placement group.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import rlgan.workers  # noqa: F401  # isort: skip  # before Ray, whose environment it settles

import ray
from ray import tune

from rlgan.config.config import Config
from rlgan.config.paths import from_dict
from rlgan.envs.tasks import Task
from rlgan.runs.comparison import compare
from rlgan.runs.ray_tune import SequenceGAN
from rlgan.runs.run import RunRequest, run
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer


class WithTable(SequenceGAN):
    """A trial that ends with a final table, as a run does."""

    def build(self, config: Config, task: Task, parts: Parts) -> Trainer:
        """See `SequenceGAN.build`."""
        self.run, self.task = config, task
        return super().build(config, task, parts)

    def step(self) -> dict[str, Any]:
        """One unit, and behind the last one the table."""
        result = super().step()
        if result["done"]:
            result["rows"] = compare(self.run, self.task, self.trainer, lambda text: None).rows
        return result


def main() -> None:
    """Do what the folder asks for."""
    num_cpus, folder = int(sys.argv[1]), Path(sys.argv[2])
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text())
        if not path.name.endswith(".trial.json"):
            run(RunRequest(from_dict(values), folder / path.stem, resume=False))
            continue
        name = path.name.removesuffix(".trial.json")
        kept = tune.RunConfig(storage_path=str(folder / "tune"), name=name, verbose=0)
        (result,) = tune.Tuner(WithTable, param_space=values, run_config=kept).fit()
        assert result.metrics is not None, result.error
        (folder / name).mkdir()
        (folder / name / "table.json").write_text(json.dumps(result.metrics["rows"]))
    ray.shutdown()


if __name__ == "__main__":
    main()
