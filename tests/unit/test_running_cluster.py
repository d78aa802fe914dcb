"""Which cluster a run joins, and what is said when it cannot; the integration test of this name has a real one."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest
import ray

from rlgan.base.errors import ConfigError
from rlgan.workers import assembly as parts
from rlgan.workers.environment import running_cluster
from tests.support.errors import refused


def test_the_cluster_is_the_named_one_or_that_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert running_cluster() is None
    (tmp_path / "ray").mkdir()
    note = tmp_path / "ray" / "ray_current_cluster"
    with socket.socket() as cluster:
        cluster.bind(("127.0.0.1", 0))
        cluster.listen()
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        note.write_text(f"{address}\n")
        assert running_cluster() == address
    # It crashed, and its note is still there.
    assert running_cluster() is None
    note.write_text("nonsense")
    assert running_cluster() is None
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.2:6379")
    assert running_cluster() == "192.0.2.2:6379"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert running_cluster() is None


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Failed to connect to Ray cluster at 192.0.2.1:6379"),  # gone, or a token that it refuses
        ray.exceptions.AuthenticationError("Token authentication is enabled but no authentication token was found. E"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(parts.ray, "init", init)
    with refused(ConfigError, "cannot_join_cluster", match="192.*6379"):
        parts._join("192.0.2.1:6379")
