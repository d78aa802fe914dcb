"""Nodes join and leave while a run goes on. `tests/integration/test_nodes.py` runs this in a process of its own.

Several raylets on this machine make the nodes; one is killed as a machine would vanish.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config, Workers
from rlgan.envs.tasks import Task, build_task
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.discriminator import RayDiscriminator
from rlgan.workers.processes import ProcessInfo
from tests.support.on_ray import all_there, assert_same, config_of
from tests.support.tiny import finish, numbers


def with_workers(config: Config, **changes: Any) -> Config:
    return config.model_copy(update={"workers": Workers(**(config.workers.model_dump() | changes))})


def raylet_of(process: ProcessInfo) -> int:
    """Process id of the node that an actor stands on: its parent."""
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def raylet_id(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def discriminator_of(parts: Parts) -> ProcessInfo:
    assert isinstance(parts.discriminator, RayDiscriminator)
    return parts.discriminator.process


def refused(config: Config, task: Task, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), build_parts(config, task):
        pass


def main() -> None:
    # The head holds the driver and nothing else.
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False},
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)]
    cluster.wait_for_nodes()

    task = build_task(config_of(0).task)
    with build_parts(config_of(0), task) as parts:
        alone = Trainer(config_of(0), task, parts)
        metrics = [numbers(unit) for unit in finish(alone)]
        state = alone.state()

    # Half a CPU for each of four rollout workers and a whole one for the discriminator: three, on nodes of two.
    config = with_workers(
        config_of(4), cpus_per_rollout=0.5, cpus_discriminator=1.0, call_timeout_s=40.0, start_timeout_s=0.0
    )
    refused(config, task, ConfigError, r"need 3 CPUs \(1 × discriminator: 1 CPUs each; 4 × .* has 2 CPUs")
    print("too small a cluster is refused", flush=True)

    done: list[dict[str, float]] = []
    with ExitStack() as stack, ThreadPoolExecutor(1) as other_thread:
        # Nodes can only be added by the main thread.
        beginning = other_thread.submit(
            stack.enter_context, build_parts(with_workers(config, start_timeout_s=60.0), task)
        )
        time.sleep(3.0)
        nodes.append(cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20))
        parts = beginning.result()
        print("a node joined, and the run began", flush=True)
        trainer = Trainer(config, task, parts)
        done += [numbers(trainer.step()) for _ in range(2)]
        assert len({raylet_of(process) for process in all_there(parts.rollouts, 4)}) == 2, "all workers are on one node"

        left = next(node for node in nodes if raylet_id(node) == raylet_of(discriminator_of(parts)))
        cluster.remove_node(left, allow_graceful=False)
        done += [numbers(trainer.step()) for _ in range(2)]
        assert parts.faults.lost["discriminator"] == 1 and parts.faults.lost["rollout worker"] >= 1, parts.faults.lost
        print("the discriminator's node left; lost:", dict(parts.faults.lost), flush=True)

        cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        done += [numbers(unit) for unit in finish(trainer)]
        assert len({raylet_of(process) for process in all_there(parts.rollouts, 4)}) == 2, "the new node is not used"
        print("the node that joined is used", flush=True)
        assert_same(done, metrics)
        assert_same(trainer.state(), state)
    print("the numbers are those of a run alone", flush=True)

    cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 * 2**20)  # it says so; torch will see none
    cluster.wait_for_nodes()
    for role in ("gpus_per_rollout", "gpus_discriminator"):
        blind = with_workers(config_of(1), **{role: 0.5})
        refused(blind, task, ray.exceptions.ActorDiedError, rf"workers\.{role}=0\.5: torch .* finds no GPU")
    greedy = with_workers(config_of(1), gpus_per_rollout=1.0, gpus_discriminator=1.0)
    refused(greedy, task, ConfigError, r"need 0\.4 CPUs and 2 GPUs .* has \d+ CPUs and 1 GPUs")
    wide = with_workers(config_of(1), cpus_discriminator=3.0)
    refused(wide, task, ConfigError, r"no node of the cluster has 3 CPUs")
    print("GPUs that are not there are missed", flush=True)
    ray.shutdown()
    cluster.shutdown()
    print("done", flush=True)


if __name__ == "__main__":
    main()
