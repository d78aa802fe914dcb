"""Populations: which dimensions change while a trial trains, and how they are written for Tune."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from rlgan.base.search_priors import Choice, LogUniform, Uniform
from rlgan.config.paths import to_dict
from rlgan.runs.ray_tune import VARIED, VARIED_LOG10, SequenceGAN, _resolved
from rlgan.tuning import Study
from rlgan.tuning.search.ledger import Ledger
from rlgan.tuning.search.schedulers import _Within, build_scheduler, mutable_axes, tune_keys
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.search.trial import INDEX, NAME, OBJECTIVE, RESUME, UPDATE
from tests.support.tiny_sweep import CHANGES, TASK

LR = "optimizers.generator.lr"

STUDY = Study(
    "many",
    "a question",
    "quick",
    {
        "optimizers.generator.lr": None,
        "schedule.teacher_forcing.weight": None,
        "discriminator.dropout": None,
        "baseline": None,
        "baseline.*": None,
        "schedule.d_steps": Choice((1, 2)),
    },
    CHANGES,
)


def test_numbers_that_all_trials_have_and_that_shape_nothing_may_change() -> None:
    space = STUDY.space(TASK, {})
    # Not the dropout, which is of a network; not the decay of a baseline that some trials have not; not a choice.
    assert [axis.path for axis in mutable_axes(space)] == ["schedule.teacher_forcing.weight", "optimizers.generator.lr"]


def test_a_variant_that_is_fixed_brings_its_numbers() -> None:
    study = Study("ema", "a question", "quick", {"baseline.decay": None}, CHANGES | {"baseline": "ema"})
    assert [axis.path for axis in mutable_axes(study.space(TASK, {}))] == ["baseline.decay"]


def test_pb2_is_handed_logarithms_and_the_trial_has_the_number() -> None:
    space, pb2 = STUDY.space(TASK, {}), SweepSettings(scheduler="pb2")
    changes = {"optimizers.generator.lr": 3e-4, "schedule.teacher_forcing.weight": 0.1, "baseline": "ema"}
    keys = tune_keys(changes, pb2, space)
    assert keys == {
        VARIED_LOG10 + "optimizers.generator.lr": pytest.approx(math.log10(3e-4)),
        VARIED + "schedule.teacher_forcing.weight": 0.1,
        VARIED + "baseline": "ema",
    }
    config = _resolved({**to_dict(space.base), **keys}, SequenceGAN.own_keys)
    assert config.optimizers.generator.lr == pytest.approx(3e-4, rel=1e-12)
    assert config.schedule.teacher_forcing.weight == 0.1 and config.baseline.kind == "ema"
    assert set(tune_keys(changes, SweepSettings(scheduler="pbt"), space)) == {VARIED + path for path in changes}


@pytest.mark.parametrize("on_log_scale", [False, True])
def test_a_perturbation_stays_within_its_prior(on_log_scale: bool) -> None:
    axes = mutable_axes(STUDY.space(TASK, {}))
    weight, lr = (axis.prior for axis in axes)
    assert isinstance(weight, Uniform) and isinstance(lr, LogUniform)
    key = (VARIED_LOG10 if on_log_scale else VARIED) + "optimizers.generator.lr"
    low, high = (math.log10(lr.low), math.log10(lr.high)) if on_log_scale else (lr.low, lr.high)
    within = _Within(axes, on_log_scale)
    other = VARIED + "schedule.teacher_forcing.weight"
    assert within({key: high * 1.2 + 9, other: -1.0, "name": "x"}) == {key: high, other: weight.low, "name": "x"}
    assert within({key: low - 9, other: 0.5}) == {key: low, other: 0.5}


# ------------------------------------------------------------------------------------------------ the clock


class Member:
    """What PBT asks of a trial, without Ray: trained so many updates, with an objective that tells who it is."""

    def __init__(self, index: int, done: int = 0) -> None:
        self.config = {INDEX: index, NAME: f"trial_{index:04d}", RESUME: [], VARIED + LR: 10.0 ** -(2 + index / 4)}
        self.index, self.done, self.status = index, done, TuneTrial.PENDING
        self.trial_id = self.experiment_tag = f"m{index}"
        self.temporary_state = SimpleNamespace(saving_to=None)
        self.checkpoint = SimpleNamespace(path=f"/kept/{index}")
        manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=3), _latest_checkpoint_result=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)
        self.last_result: dict[str, Any] = {}

    def is_finished(self) -> bool:
        return self.status in (TuneTrial.TERMINATED, TuneTrial.ERROR)

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


class Stage:
    """Plays Tune: two members at a time, until nobody can go on."""

    def __init__(self, members: list[Member], ledger: Ledger, settings: SweepSettings, most: int, every: int) -> None:
        study = Study("lr", "?", "quick", {LR: None}, CHANGES)
        changes = {"schedule.adversarial_updates": most, "evaluation.every": every}
        self.scheduler, self.tell = build_scheduler(settings, study.space(TASK, changes), ledger)
        self.members, self.ledger, self.most, self.every = members, ledger, most, every
        self.compared: list[dict[int, int]] = []  # at each exploitation: member → its updates
        self.scheduler.set_search_properties("objective", "min")
        for member in members:
            self.scheduler.on_trial_add(self, member)

    def get_trials(self) -> list[Member]:
        return self.members

    def get_live_trials(self) -> list[Member]:
        return [member for member in self.members if not member.is_finished()]

    def pause_trial(self, trial: Member, should_checkpoint: bool) -> None:
        trial.status = TuneTrial.PAUSED

    def _schedule_trial_save(self, trial: Member, result: object) -> object:
        return trial.checkpoint

    def play(self, failing: dict[int, int]) -> None:
        """Go on until all have ended, or until nobody can.

        Args:
            failing: member → updates after which it fails.
        """
        for _ in range(1000):
            running = [member for member in self.members if member.status == TuneTrial.RUNNING]
            while len(running) < 2 and (chosen := self.scheduler.choose_trial_to_run(self)) is not None:
                chosen.status = TuneTrial.RUNNING
                running.append(chosen)
            if not running:
                return
            for member in running:
                self._step(member, failing)

    def _step(self, member: Member, failing: dict[int, int]) -> None:
        if failing.get(member.index) == member.done:
            member.status = TuneTrial.ERROR
            self.scheduler.on_trial_error(self, member)
            return
        member.done += self.every
        value = 1.0 + member.index
        result = {UPDATE: member.done, OBJECTIVE: value, "training_iteration": 1}
        if member.done == self.most:
            member.status = TuneTrial.TERMINATED
            self.ledger.result(member.index, member.done, value, {}, 1.0)
            self.ledger.ended(member.index, "finished")
            self.scheduler.on_trial_complete(self, member, result)
            return
        before = {other.index: other.done for other in self.get_live_trials()}
        decision = self.scheduler.on_trial_result(self, member, result)
        self.ledger.result(member.index, member.done, value, {}, 1.0)
        waiting = list(self.scheduler._unreported)
        if waiting:
            self.compared.append(before)
        self.tell()
        if decision == TrialScheduler.PAUSE:
            member.status = TuneTrial.PAUSED


def stage(folder: Path, most: int, every: int, done: tuple[int, ...] = (0,) * 5, **settings: Any) -> Stage:
    ledger = Ledger(folder / "trials.jsonl")
    for index, updates in enumerate(done):
        ledger.begun(index, {LR: 1e-3}, {LR: 1e-3})
        for update in range(every, updates + 1, every):
            ledger.result(index, update, 1.0 + index, {}, 1.0)
    members = [Member(index, updates) for index, updates in enumerate(done)]
    return Stage(members, ledger, SweepSettings(**{"scheduler": "pbt", "trials": 5, **settings}), most, every)


@pytest.mark.parametrize(
    ("most", "every", "interval"), [(60, 10, None), (60, 10, 0.25), (300, 10, None), (60, 7, None), (8, 2, 0.25)]
)
def test_a_population_is_compared_at_equal_updates_and_comes_to_its_end(
    most: int, every: int, interval: float | None, tmp_path: Path
) -> None:
    played = stage(tmp_path, most - most % every, every, interval=interval)
    played.play({})
    assert [member.status for member in played.members] == [TuneTrial.TERMINATED] * 5
    assert len(played.compared) >= 2
    assert all(len(set(updates.values())) == 1 for updates in played.compared)


@pytest.mark.parametrize("done", [(20,) * 5, (10, 20, 20, 30, 10), (40, 20, 20, 30, 10), (50,) * 5])
def test_a_population_that_was_interrupted_goes_on_and_waits_for_who_is_behind(
    done: tuple[int, ...], tmp_path: Path
) -> None:
    played = stage(tmp_path, 100, 10, done)
    played.play({})
    assert [member.status for member in played.members] == [TuneTrial.TERMINATED] * 5
    assert played.compared and all(len(set(updates.values())) == 1 for updates in played.compared)


@pytest.mark.parametrize("failing", [{2: 10}, {0: 10, 4: 20}, {0: 0}, {0: 10, 1: 10, 2: 10, 3: 10}])
def test_a_member_that_fails_stops_nobody_else(failing: dict[int, int], tmp_path: Path) -> None:
    played = stage(tmp_path, 60, 10)
    played.play(failing)
    ended = {member.index: member.status for member in played.members}
    assert ended == {index: TuneTrial.ERROR if index in failing else TuneTrial.TERMINATED for index in range(5)}


def test_trials_that_were_under_way_count_once_at_each_halving(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    for index, value in enumerate((1.0, 2.0)):
        ledger.begun(index, {LR: 1e-3}, {LR: 1e-3})
        for update in (10, 20, 30):
            ledger.result(index, update, value - update / 100, {}, 1.0)
    ledger.ended(0, "finished")
    study = Study("lr", "?", "quick", {LR: None}, CHANGES)
    space = study.space(TASK, {"schedule.adversarial_updates": 60, "evaluation.every": 10})
    scheduler, _ = build_scheduler(SweepSettings(), space, ledger)
    scheduler.set_search_properties(OBJECTIVE, "min")
    scheduler.on_trial_add(None, Member(1))
    rung = scheduler._inner._brackets[0]._rungs[-1][1]  # the first, at a fifth of the updates
    # ASHA maximises what it is to minimise, negated; both stand there with their value at update 20.
    assert rung == {"past_0": pytest.approx(-0.8), "m1": pytest.approx(-1.8)}
