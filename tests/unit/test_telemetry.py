"""Which figures reach Ray's gauges; tests/integration/test_workers_ray.py reads them from Ray itself."""

from __future__ import annotations

import pytest

from rlgan.workers import telemetry
from rlgan.workers.faults import Faults

shown: dict[tuple[str, str], float] = {}


class Noted:
    """A gauge that notes what it was set to."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> None:
        assert description.endswith(".")
        self._name, self._tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        assert set(tags or {}) == set(self._tag_keys)
        shown[self._name, ",".join((tags or {}).values())] = value


def test_newest_values_and_losses_by_role_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown.clear()
    monkeypatch.setattr(telemetry, "Gauge", Noted)
    faults = Faults(max_retries=3, call_timeout_s=1.0)
    figures = telemetry.Dashboard(faults)
    figures.record({"timing/tokens_per_s": 5.0, "discriminator/buffer_real": 7.0, "generator/loss": 1.0})
    faults.record("learner", "a learner", "killed", 1, None)
    faults.reissued_shards = 4
    figures.record({"timing/tokens_per_s": 6.0, "timing/sequences_per_s": 2.0, "generator/staleness": 0.0})
    assert shown == {
        ("rlgan_sequences_per_s", ""): 2.0,
        ("rlgan_tokens_per_s", ""): 6.0,
        ("rlgan_buffer_real", ""): 7.0,
        ("rlgan_staleness", ""): 0.0,
        ("rlgan_actors_lost", "learner"): 1,
        ("rlgan_shards_computed_again", ""): 4,
    }
