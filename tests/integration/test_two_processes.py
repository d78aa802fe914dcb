"""Several processes that begin in a fresh folder at the same moment: all of them arrive in its MLflow database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

PROJECT = Path(__file__).resolve().parents[2]
WORK = """
import sys
from pathlib import Path
import mlflow, sqlalchemy  # imported by now, so that all meet at the tables
from rlgan.tracking import Tracker, TrackingSettings
folder = Path(sys.argv[1])
folder.mkdir()
print("ready", flush=True)
sys.stdin.readline()
tracker = Tracker(TrackingSettings(), folder)
tracker.start(folder.name, {"seed": 1}, {"preset": "quick"})
for unit in (1, 2, 3):
    tracker.log_metrics({"mle/nll": float(unit)}, step=unit, phase="mle", iteration=unit)
tracker.finish("FINISHED")
"""


@pytest.mark.parametrize("attempt", range(2))
def test_all_arrive(tmp_path: Path, attempt: int) -> None:
    names = [f"run {number}" for number in range(3)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path / name)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for name in names
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=250) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes), said
        assert said == [("", "")] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "rlgan"]
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == names
    assert all(run.info.status == "FINISHED" and run.data.metrics == {"mle/nll": 3.0} for run in runs)
