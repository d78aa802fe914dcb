"""The process that drives a run is killed without warning, again and again; `--resume` ends with the same numbers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlgan.cli.main import main
from tests.support.commands import rows_of, write_config
from tests.support.tiny import tiny_config

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

PROJECT = Path(__file__).resolve().parents[2]
NUM_UNITS = 12


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_config({"mle_epochs": 4, "discriminator_rounds": 2, "adversarial_updates": 6}, checkpoint_every_s=0.0)
    evaluation = config.evaluation.model_copy(update={"final_sequences": 32, "temperatures": (0.8,), "num_shown": 3})
    config = config.model_copy(update={"controls": ("mle_continued",), "evaluation": evaluation, "preset": "tiny"})
    return write_config(tmp_path_factory.mktemp("settings") / "config.json", config, tracked=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, config_file: Path) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    assert main(["train", "--config", str(config_file), "--out", str(run_dir)]) == 0
    return run_dir


def num_rows(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("rollout_workers", [0, pytest.param(1, marks=[pytest.mark.ray, pytest.mark.slow])])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_a_driver_killed_at_any_moment_loses_nothing(
    seed: int, rollout_workers: int, config_file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    rng, run_dir = random.Random(seed), tmp_path / "run"
    # A run that starts on Ray may end in one process and the other way round; only `threads` is part of the result.
    workers = ["--workers.rollout", str(rollout_workers), "--workers.cpus-per-rollout", "0.5"]
    workers += ["--workers.cpus-discriminator", "0.5"]
    begin = ["--config", str(config_file), "--out", str(run_dir), *workers]
    arguments, kills = begin, 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-m", "rlgan", "train", *arguments],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if kills < 3:
            wait_for_rows(process, run_dir, min(num_rows(run_dir) + rng.randrange(4), NUM_UNITS))
            time.sleep(rng.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            kills += 1
        output, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, output
        arguments = ["--resume", str(run_dir), *workers] if (run_dir / "config.json").exists() else begin
    assert rows_of(run_dir) == rows_of(undisturbed)
    for name in ("table.txt", "samples.txt", "generator.safetensors"):
        assert (run_dir / name).read_bytes() == (undisturbed / name).read_bytes(), name


def wait_for_rows(process: subprocess.Popen[str], run_dir: Path, wanted: int) -> None:
    """Until the run has written so many rows, or has ended."""
    while process.poll() is None and num_rows(run_dir) < wanted:
        time.sleep(0.02)
    # Before it writes anything, a process is only importing.
    while process.poll() is None and not run_dir.exists():
        time.sleep(0.02)
