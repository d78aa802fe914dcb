"""Runs whose actors take every CPU of their cluster, with default reservations, end by the numbers of a run alone.

Each size of cluster is a process of its own. A run that asks for more room at its end than it has waits for ever.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from rlgan.config.config import Config, Control
from rlgan.config.paths import override, to_dict
from rlgan.runs.run import RunRequest, run
from tests.support.small_presets import small

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(900)]

PROJECT = Path(__file__).parents[2]
PRESETS = {"seqgan": "with Monte Carlo", "scratchgan": "without"}
WITHIN_S = 840.0  # of a hang; a process takes a fraction of it, and 325 s were seen at a load of 10 on two cores


def config_of(preset: str, **workers: Any) -> Config:
    """A small run with every control."""
    return override(
        small(preset, **workers),
        {
            "controls": ",".join(get_args(Control)),
            "task.mode": "stream",  # which the control with as many real sequences needs
            "evaluation.final_sequences": 32,
            "evaluation.temperatures": "1.0,0.8",
            "schedule.mle_epochs": 1,
            "schedule.discriminator_rounds": 1,  # which the control of a frozen discriminator needs
            "schedule.adversarial_updates": 1,
            "tracking.enabled": "false",
        },
    )


def on_a_cluster(num_cpus: int, folder: Path, configs: dict[str, Config]) -> dict[str, list[dict[str, Any]]]:
    """Final tables of runs on a cluster with so many CPUs, by name."""
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-m", "tests.support.full_cluster", str(num_cpus), str(folder)]
    ended = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=WITHIN_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    names = [name.removesuffix(".trial") for name in configs]
    return {name: json.loads((folder / name / "table.json").read_text()) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Final tables of the same runs in this process, by preset."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: run(RunRequest(config_of(name), folder / name, resume=False)).table for name in PRESETS}


@pytest.mark.parametrize(
    ("rollout", "learners", "presets"),
    [
        (1, 0, ("seqgan", "scratchgan")),
        (2, 0, ("scratchgan",)),
        (1, 2, ("scratchgan",)),
        (2, 2, ("seqgan",)),
    ],
)
def test_a_run_that_fills_its_cluster_ends_with_all_controls(
    rollout: int, learners: int, presets: tuple[str, ...], tmp_path: Path, alone: dict[str, list[dict[str, Any]]]
) -> None:
    configs = {name: config_of(name, rollout=rollout, learners=learners) for name in presets}
    # The discriminator has a place of its own beside them.
    tables = on_a_cluster(1 + rollout + learners, tmp_path, configs)
    for name, rows in tables.items():
        assert [row["name"] for row in rows] == [row["name"] for row in alone[name]]
        assert set(get_args(Control)) <= {row["name"] for row in rows}
        for row, expected in zip(rows, alone[name], strict=True):
            if not learners:
                assert row == expected
                continue
            # Gradients of several learners are summed in another order, and a token may be drawn otherwise for it.
            assert row.keys() == expected.keys()
            likelihood = {name: value for name, value in expected.items() if name == "nll_gen"}
            assert {name: row[name] for name in likelihood} == pytest.approx(likelihood, rel=1e-3)


def test_a_trial_makes_its_table_in_its_own_places(tmp_path: Path, alone: dict[str, list[dict[str, Any]]]) -> None:
    # The trial's own process, the discriminator and one rollout worker.
    (rows,) = on_a_cluster(3, tmp_path, {"seqgan.trial": config_of("seqgan", rollout=1)}).values()
    assert rows == alone["seqgan"]
