"""Stock Ray and RLlib in the same process as rlgan, whichever is imported and whichever starts a cluster first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]

STOCK = """
def stock():
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, logging_level="ERROR")
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=1)
    algorithm = config.training(train_batch_size=64, minibatch_size=32, num_epochs=1).build_algo()
    assert algorithm.train()["num_env_steps_sampled_lifetime"] >= 64
    algorithm.stop()
    ray.shutdown()
    print("stock", flush=True)
"""

OURS = """
def ours():
    before = dict(os.environ)
    home = pathlib.Path.home() / ".ray"
    tokens = home.exists()
    config = config_of(1)
    with build_parts(config, build_task(config.task)) as parts:
        print(ray._private.worker._global_node.node_ip_address, len(parts.rollouts.processes()))
        mode = os.environ["RAY_AUTH_MODE"]
    # Ray sets the debugger, and torch its compiler's folder, whoever uses them.
    others = {"PYTHONBREAKPOINT", "TORCHINDUCTOR_CACHE_DIR"}
    changed = {name for name, _ in before.items() ^ dict(os.environ).items()} - others
    assert mode == "token" and not changed and home.exists() == tokens, changed
    print("ours", flush=True)
"""

RLGAN_IMPORTS = """
from tests.support.on_ray import config_of
from rlgan.envs.tasks import build_task
from rlgan.workers.assembly import build_parts
"""

RAY_IMPORTS = """
import ray
from ray.rllib.algorithms.ppo import PPOConfig
"""

BEGIN = "import os, pathlib\n"
ORDERS = {
    "ray first": [BEGIN, RAY_IMPORTS, RLGAN_IMPORTS, STOCK, OURS, "stock()\nours()\n"],
    "rlgan first": [BEGIN, RLGAN_IMPORTS, RAY_IMPORTS, STOCK, OURS, "ours()\nstock()\n"],
}


@pytest.mark.parametrize("order", ORDERS)
def test_both_work_in_one_process(order: str, tmp_path: Path) -> None:
    notes = tempfile.mkdtemp(prefix="rlgan.", dir="/tmp")  # the socket's path has little room
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        described = subprocess.run(
            [sys.executable, "-c", "".join(ORDERS[order])],
            env=inherited | {"HOME": str(tmp_path), "RAY_TMPDIR": notes, "RAY_worker_niceness": "0"},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(notes, ignore_errors=True)
    assert described.returncode == 0, described.stderr[-4000:]
    words = [line for line in described.stdout.splitlines() if line in ("stock", "ours", "127.0.0.1 1")]
    of_ours = ["127.0.0.1 1", "ours"]
    assert words == (["stock", *of_ours] if order == "ray first" else [*of_ours, "stock"]), described.stdout
