"""The Ray cluster that a run uses, and the environment of one of our own: set while it is used, then undone.

Importing this, or anything that imports it, sets nothing: whoever uses Ray beside rlgan, before or after it, finds Ray
as it is. Whatever the user has set stays.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray._raylet import Config as RayConfig  # type: ignore[attr-defined]

from rlgan.base.errors import ConfigError
from rlgan.base.threads_wait import SPINS, for_workers
from rlgan.extensions import PLUGIN_TIMEOUT

logger = logging.getLogger(__name__)

_ANSWERS_WITHIN_S = 3.0  # it is on this machine


def running_cluster() -> str | None:
    """Address of the cluster that a run joins: RAY_ADDRESS, or the one that `ray start` began on this machine.

    These are Ray's own rules. A script that `ray submit` runs on a cluster's head finds that cluster by the second.
    None where there is none, or where RAY_ADDRESS says "local". `ray start` notes its address in a file, which outlives
    a cluster that crashed: where nobody listens any more there is no cluster.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return None if address == "local" else address
    temporary = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None)
    note = Path(temporary or "/tmp") / "ray" / "ray_current_cluster"
    if not note.is_file():
        return None
    address = note.read_text(encoding="utf-8").strip()
    return address if listens(address) else None


def use_as_it_is() -> None:
    """See to it that the cluster which the caller joined can be used; its settings stay what they are.

    Where RAY_ADDRESS names another cluster, the caller's is used, and that is said.

    Raises:
        ConfigError: it was joined as a Ray client, from outside of the cluster.
    """
    if ray.util.client.ray.is_connected():
        raise ConfigError(
            "Ray is initialised in this process by a client address (ray://…), so the driver is outside of the "
            "cluster: weights and rollouts would go through one server, and lost actors could not be identified. Start "
            "the run on a node of the cluster: submit this script with `ray job submit`, or call "
            "ray.init(address='auto') there; or set workers.rollout=0, which needs no cluster.",
            code="ray_client",
        )
    joined, named = ray.get_runtime_context().gcs_address, os.environ.get("RAY_ADDRESS", "")
    if named not in ("", "auto", "local", joined):
        logger.warning(
            "Ray is initialised in this process, with the cluster at %s, which is used; RAY_ADDRESS=%s is not.",
            joined,
            named,
        )


def listens(address: str) -> bool:
    """Whether somebody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that are set while the block runs, where the user has not set them.

    Args:
        values: name → value.
    """
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def own_cluster(**options: Any) -> Iterator[None]:
    """A Ray cluster on this machine alone, whatever else runs here; it ends with the block, and so does what it set.

    Args:
        options: further ones of `ray.init`.
    """
    values = {
        # Keeps every port on loopback, on Linux too; asking `ray.init` for 127.0.0.1 does not.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray remembers 100,000 tasks for its dashboard, some 300 MB; an iteration of a long run is several.
        "RAY_task_events_max_num_task_in_gcs": "2000",
        "RAY_USAGE_STATS_ENABLED": "0",
        **for_workers(),
    }
    if "RAY_AUTH_MODE" not in os.environ:
        # Left to itself Ray 2.60 writes a token file into the user's home. A token that lives as long as this cluster
        # keeps other users of the machine out just as well, and leaves nothing behind.
        values |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    outer = ray_constants.ENABLE_RAY_CLUSTER
    try:
        with environment(values):
            # Ray read its environment when it was imported, perhaps by somebody else.
            ray_constants.ENABLE_RAY_CLUSTER = ray_constants.env_bool(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, outer)
            _read_authentication()
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **options)
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = outer
        _read_authentication()


def _read_authentication() -> None:
    """Let Ray read from the environment, as it now is, whether there are tokens, and which."""
    RayConfig.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def worker_environment() -> dict[str, Any]:
    """Ray's runtime environment for workers on a cluster that somebody else started; empty where nothing is to be set.

    A job says what its workers have, and Ray refuses to be told twice.
    """
    values = for_workers()
    if PLUGIN_TIMEOUT in os.environ:
        values[PLUGIN_TIMEOUT] = os.environ[PLUGIN_TIMEOUT]
    if values and SPINS not in os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", ""):
        return {"runtime_env": {"env_vars": values}}
    return {}
