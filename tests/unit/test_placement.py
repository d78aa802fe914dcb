"""What a cluster lacks is said before anything starts; who gives way; tests/cluster/nodes.py has real nodes."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from rlgan.base.errors import ConfigError
from rlgan.config.config import Workers
from rlgan.workers import placement
from rlgan.workers.faults import WorkerLostError
from rlgan.workers.placement import Role, Room, reporting_wait, require_room, roles_of
from tests.support.errors import refused

WORKERS = Workers(rollout=8, learners=2, gpus_per_rollout=0.25, gpus_per_learner=1.0, gpus_discriminator=0.5)


def on_nodes(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    monkeypatch.setattr(placement.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])


def test_every_role_reserves_what_its_settings_say() -> None:
    roles = roles_of(WORKERS, has_discriminator=True)
    assert [(role.number, role.bundle) for role in roles] == [
        (1, {"CPU": 1.0, "GPU": 0.5}),
        (2, {"GPU": 1.0}),
        (8, {"CPU": 1.0, "GPU": 0.25}),
    ]
    assert roles_of(WORKERS, has_discriminator=False).discriminator.number == 0
    # Without rollout workers the discriminator stays in the driver's process.
    assert roles_of(Workers(learners=2), has_discriminator=True).discriminator.number == 0


def test_a_cluster_that_just_holds_it_is_accepted_and_one_with_less_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = roles_of(WORKERS, has_discriminator=True)
    on_nodes(monkeypatch, {"CPU": 5.0, "GPU": 2.5}, {"CPU": 4.0, "GPU": 2.0})
    assert placement._missing(roles) is None
    require_room(roles, wait_s=0.0)
    for less in ({"CPU": 3.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.75}):
        on_nodes(monkeypatch, {"CPU": 5.0, "GPU": 2.5}, less)
        assert placement._missing(roles) is not None


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"CPU": 4.0, "GPU": 4.0}] * 2, "cluster_too_small"),
        ([{"CPU": 16.0, "GPU": 2.0}] * 2, "cluster_too_small: 32"),
        ([{"CPU": 16.0}], "cluster_too_small: 16"),
        # Enough in all, and no node with both.
        ([{"CPU": 16.0}, {"GPU": 8.0}], "cluster_too_small"),
    ],
)
def test_what_is_missing_is_said(nodes: list[dict[str, float]], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_nodes(monkeypatch, *nodes)
    with refused(ConfigError, message):
        require_room(roles_of(WORKERS, has_discriminator=True), wait_s=0.0)


def test_nodes_that_are_dead_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.ray, "nodes", lambda: [{"Alive": False, "Resources": {"CPU": 64.0}}])
    with refused(ConfigError, "cluster_too_small"):
        require_room([Role("learner", 1, cpus=1.0, gpus=0.0)], wait_s=0.0)


@pytest.mark.parametrize("comes", [True, False])
def test_an_autoscaler_is_asked_and_waited_for(comes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(placement, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(placement, "request_resources", lambda *, bundles: asked.append(bundles))
    looks = iter([0, 0, 3 if comes else 0])
    number = 0

    def nodes() -> list[dict[str, Any]]:
        nonlocal number
        number = next(looks, number)
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * number

    monkeypatch.setattr(placement.ray, "nodes", nodes)
    roles = [Role("discriminator", 0, 1.0, 0.0), Role("rollout worker", 3, 1.0, 0.0)]
    if comes:
        require_room(roles, wait_s=60.0)
    else:
        with refused(ConfigError, "cluster_too_small"):
            require_room(roles, wait_s=0.2)
    # Afterwards nothing is asked for any more: what is asked for keeps nodes that nobody uses.
    assert asked == [[{"CPU": 1.0}] * 3, []]


class Group:
    """A placement group that is ready when so many have given way."""

    needed = 0
    removed = 0

    def wait(self, seconds: float) -> bool:
        return Group.needed <= 0


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(placement, "get_current_placement_group", lambda: None)
    monkeypatch.setattr(placement, "placement_group", lambda bundles, strategy: Group())
    monkeypatch.setattr(placement, "remove_placement_group", lambda group: setattr(Group, "removed", Group.removed + 1))
    monkeypatch.setattr(placement.ray, "available_resources", lambda: {"CPU": 0.25})
    Group.needed = Group.removed = 0
    return Room(timeout_s=0.3)


def test_others_give_way_until_there_is_room(room: Room) -> None:
    left: list[str] = []

    def give_way(to: str) -> None:
        left.append(to)
        Group.needed -= 1

    Group.needed = 2
    room.yielded_by(give_way)
    room.reserve(Role("discriminator", 1, 1.0, 0.0)).release()
    assert left == ["discriminator", "discriminator"] and Group.removed == 1


def test_no_room_in_time_ends_the_run(room: Room) -> None:
    Group.needed = 1
    with pytest.raises(
        WorkerLostError, match=r"no node had free resources for 0\.3 seconds .*: 1 × learner: .*: 0\.25 CPUs\. Add"
    ):
        room.reserve(Role("learner", 1, 1.0, 0.0))
    assert Group.removed == 1


def test_in_a_tune_trial_everything_stands_in_the_trials_own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "get_current_placement_group", object)
    monkeypatch.setattr(placement, "placement_group", lambda *_, **__: pytest.fail("made a group of its own"))
    room = Room(timeout_s=1.0)
    place = room.reserve(Role("discriminator", 1, 1.0, 0.0))
    assert place.group is None and place.options == {} and room.spread == {}
    place.release()


class Heard(logging.Handler):
    """Keeps what is logged, and knows when so much has been."""

    def __init__(self, enough: int) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.is_enough = threading.Event()
        self._enough = enough

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if len(self.lines) == self._enough:
            self.is_enough.set()


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_says_what_for_and_what_is_free(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_REPORT_AFTER_S", 0.01)
    monkeypatch.setattr(placement, "_REPORT_EVERY_S", 0.01)
    monkeypatch.setattr(placement.ray, "available_resources", lambda: {"memory": 5.0, "GPU": 1.0})
    heard, logger = Heard(enough=2), logging.getLogger("rlgan.workers.placement")
    logger.addHandler(heard)
    try:
        with reporting_wait(Role("rollout worker", 2, 1.0, 0.0)):
            assert heard.is_enough.wait(30.0)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    finally:
        logger.removeHandler(heard)
    assert heard.lines[0].startswith(
        "waiting for 2 × rollout worker: 1 CPUs each (for 0 s so far); free on the cluster: "
    )
    assert ": 0 CPUs and 1 GPUs. An actor starts" in heard.lines[1]


def test_a_wait_is_first_reported_within_half_a_minute_and_then_as_often() -> None:
    assert placement._REPORT_AFTER_S < 30 and placement._REPORT_EVERY_S <= 30


def test_a_short_wait_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(placement.ray, "available_resources", lambda: asked.append(True) or {})
    with reporting_wait(Role("learner", 1, 1.0, 0.0)):
        pass
    assert asked == []
