"""The rooms that know Ray: rollout actors, the discriminator actor, the learner group, and the cluster they live on.

Ray reads its environment when it is imported, so what a cluster of our own needs is said here, before any module of
this room imports it. Whatever the user has set stays.
"""

import os
import secrets
import socket
import sys
from pathlib import Path

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
    return address if _listens(address) else None


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S):
            return True
    except (OSError, ValueError):
        return False


if running_cluster() is None:
    # Left to itself Ray 2.60 writes a token file into the user's home. A token that lives as long as this process keeps
    # other users of the machine out just as well, and leaves nothing behind.
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Keeps every port on loopback, on Linux too; asking `ray.init` for 127.0.0.1 does not.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # Ray remembers 100,000 tasks for its dashboard, some 300 MB; an iteration of a long run is several.
    os.environ.setdefault("RAY_task_events_max_num_task_in_gcs", "2000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
