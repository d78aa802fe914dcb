"""MLflow as tests see it: the runs of a database, and a client between that fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlgan.tracking import Tracker


class Server:
    """The only run beside a folder, as MLflow has it."""

    def __init__(self, run_dir: Path) -> None:
        from mlflow.tracking import MlflowClient  # `flaky` changes the name in `mlflow` only

        self.client = MlflowClient(f"sqlite:///{run_dir.parent / 'mlruns.db'}")

    @property
    def runs(self) -> list[Any]:
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    @property
    def run(self) -> Any:
        (run,) = self.runs
        return run

    def history(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric, in order."""
        found = self.client.get_metric_history(self.run.info.run_id, name)
        return sorted((metric.step, metric.value) for metric in found)

    def artifacts(self, folder: str | None = None) -> list[str]:
        return [file.path for file in self.client.list_artifacts(self.run.info.run_id, folder)]


def log_units(tracker: Tracker, *units: int) -> None:
    for unit in units:
        tracker.log_metrics({"mle/nll": float(unit), "timing/iteration_s": 0.5}, step=unit, phase="mle", iteration=unit)


class Flaky:
    """Stands between a tracker and MLflow's client, and fails as it is told.

    Attributes:
        failure: raised by every call while it is set.
        forgets: whether a failing call does nothing; if not, it does its work first, as when only the answer is lost.
        failed: set by a call that failed.
        calls: names of the calls that went through.
        arrived: steps of the rows that reached the server, in order.
        sizes: how many parameters, metrics and tags each call of `log_batch` brought.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.forgets = True
        self.failed = threading.Event()
        self.calls: list[str] = []
        self.arrived: list[int] = []
        self.sizes: list[int] = []
        self.before: Callable[[str], None] = lambda name: None

    def around(self, client: Any) -> Any:
        flaky = self

        class Client:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(*arguments: Any, **named: Any) -> Any:
                    flaky.before(name)
                    if name == "log_batch":
                        flaky.sizes.append(sum(map(len, named.values())))
                    failure = flaky.failure
                    if failure is None or not flaky.forgets:
                        result = getattr(client, name)(*arguments, **named)
                        flaky.arrived += [metric.step for metric in named.get("metrics", ()) if metric.key == "mle/nll"]
                    if failure is not None:
                        flaky.failed.set()
                        raise failure
                    flaky.calls.append(name)
                    return result

                return call

        return Client()
