"""A cluster that somebody started: jobs from a checkout, of which nothing is installed, and processes that join it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        importlib.util.find_spec("aiohttp_cors") is None,
        reason="Ray's job server comes with the extra: pip install -c constraints.txt -e '.[cluster]'",
    ),
]


def free_ports(number: int) -> list[int]:
    """Below those that Ray gives to its workers (10002-19999)."""
    found = []
    for port in range(8300, 9900):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == number:
            return found
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a job server, and the environment of whoever uses it.

    Its notes are in a folder of its own, so that no other process of this machine takes it for its cluster.
    """
    head_log = tmp_path_factory.mktemp("head") / "log"
    # The socket's path has little room, and pytest's own folders are long.
    notes = tempfile.mkdtemp(prefix="rlgan.", dir="/tmp")
    environment = {
        **os.environ,
        "RAY_TMPDIR": notes,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    dashboard, agent = free_ports(2)
    command = [
        RAY, "start", "--head", "--block", "--port=0", "--num-cpus=2", "--object-store-memory=100000000",
        "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", "--disable-usage-stats",
    ]  # fmt: skip
    with head_log.open("w") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 120
        for port in (dashboard, agent):
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                assert started.poll() is None and time.monotonic() < end, head_log.read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        started.send_signal(signal.SIGTERM)  # ends what it started; `ray stop` would end every Ray of this machine
        started.wait(60)
        shutil.rmtree(notes, ignore_errors=True)


def test_a_checkout_runs_as_a_job(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    checkout, run_dir = tmp_path / "checkout", tmp_path / "run with a blank"
    subprocess.run(["git", "clone", "-q", PROJECT, checkout], check=True)
    # Tells the checkout's package from the installed one. A worker of another version would be refused.
    version = checkout / "rlgan" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "7'))
    arguments = [
        "quick", "--schedule.mle-epochs", "1", "--schedule.adversarial-updates", "1", "--schedule.discriminator-rounds",
        "1", "--controls", "none", "--evaluation.final-sequences", "50", "--workers.rollout", "1",
        "--workers.cpus-per-rollout", "0.5", "--workers.cpus-discriminator", "0.5", "--tracking.enabled", "false",
    ]  # fmt: skip
    described = subprocess.run(
        [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--",
         "python", "rlgan/train.py", *arguments, "--out", run_dir],
        cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert described.returncode == 0, described.stdout[-3000:] + described.stderr[-3000:]
    assert "MLE start" in described.stdout and (run_dir / "table.txt").exists()
    (state, *_) = (run_dir / "checkpoints").glob("*/state.json")
    assert json.loads(state.read_text())["rlgan"].startswith("7")


def test_another_token_is_refused_before_anything_starts(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    described = subprocess.run(
        [sys.executable, "-m", "rlgan", "train", "--out", tmp_path / "run", "--workers.rollout", "1"],
        env=head[1] | {"RAY_AUTH_TOKEN": "0" * 64}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert described.returncode == 2 and not (tmp_path / "run").exists(), described.stderr
    assert "rlgan: the Ray cluster at 127.0.0.1:" in described.stderr and "RAY_AUTH_TOKEN" in described.stderr
    assert "Traceback" not in described.stderr
