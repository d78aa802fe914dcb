"""A cluster that the caller joined is used as it is, and what does not go together with it is told."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import ray

from rlgan.base.errors import ConfigError
from rlgan.workers.assembly import cluster


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had joined the cluster at 10.0.0.1:6379; nothing of it may be begun or ended."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the caller's cluster is not ours to begin or to end")

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "shutdown", refuse)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize("named", ["", "auto", "local", "10.0.0.1:6379"])
def test_it_is_used_without_a_word(
    joined: None, named: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    with caplog.at_level(logging.WARNING, "rlgan"), cluster():
        pass
    assert not caplog.records


def test_another_address_is_told_and_the_callers_is_used(
    joined: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.9.9.9:6379")
    with caplog.at_level(logging.WARNING, "rlgan"), cluster():
        pass
    (record,) = caplog.records
    assert "10.0.0.1:6379" in record.getMessage() and "RAY_ADDRESS=10.9.9.9:6379" in record.getMessage()


def test_a_client_is_refused_with_what_to_do(joined: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util.client.ray, "is_connected", lambda: True)
    with pytest.raises(ConfigError, match=r"ray job submit.*workers\.rollout=0"), cluster():
        pass
