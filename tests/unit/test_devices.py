"""Every role on a GPU computes there and hands over CPU tensors; without one it says so."""

from __future__ import annotations

import platform

import pytest
import torch

from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Round
from rlgan.base.devices import CPU, device_of
from rlgan.base.errors import ConfigError
from rlgan.envs.tasks import build_task
from rlgan.layers.optimizers import SGD
from rlgan.workers.discriminator import DiscriminatorWorker
from rlgan.workers.rollout import LocalRollouts, RolloutWorker
from tests.support.errors import refused
from tests.support.on_ray import GENERATOR, JUDGE, PLAN, assert_same_rollouts, collected, config_of
from tests.support.pretend_gpu import PRETENDED, is_on_gpu, pretend_gpu


def test_no_gpu_is_asked_for_by_0_and_missed_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("workers.gpus_discriminator", 0.0) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused(ConfigError, "no_gpu", {"workers.gpus_discriminator": 0.5}, match=platform.node()):
        device_of("workers.gpus_discriminator", 0.5)


def test_the_pretended_gpu_refuses_tensors_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_gpu(monkeypatch):
        there = torch.arange(3, device=PRETENDED)
        assert is_on_gpu(there) and is_on_gpu(there + 1) and not is_on_gpu(there.to("cpu"))
        with pytest.raises(RuntimeError, match="are on the CPU, others are not"):
            there + torch.ones(3)


def test_rollouts_on_a_gpu_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    here = collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE)))
    with pretend_gpu(monkeypatch):
        there = collected(LocalRollouts(RolloutWorker(PLAN, GENERATOR, JUDGE, gpus=0.5)))
    assert not any(is_on_gpu(part.tokens) or is_on_gpu(part.logprobs) for part in there)
    assert_same_rollouts(there, here)


def test_a_discriminator_on_a_gpu_learns_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(0)
    task = build_task(config.task)
    assert JUDGE is not None
    fakes = task.test

    def rounds(gpus: float) -> tuple[list[dict[str, float]], dict[str, object]]:
        worker = DiscriminatorWorker(
            threads=1,
            gpus=gpus,
            network=JUDGE,
            settings=AdversarySettings(batch=8, sequences_per_round=16),
            optimizer=SGD(lr=0.3, clip_norm=1.0),  # torch refuses its fused Adam on a device that it does not know
            space=task.space,
            reals=Pairs(task.train),
            heldout_reals=Pairs(task.valid),
            seed=0,
        )
        learned = [worker.train_round(Round(index, fakes, epochs=2)) for index in range(2)]
        state = worker.state()
        worker.restore(state)
        return [*learned, worker.train_round(Round(2, fakes, epochs=1))], worker.weights().complete

    here, weights = rounds(0.0)
    with pretend_gpu(monkeypatch):
        there, their_weights = rounds(1.0)
    # The convolutions' gradient is summed in another order on a GPU, by another formula.
    for one, other in zip(there, here, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    for name, array in weights.items():
        assert their_weights[name] == pytest.approx(array, abs=1e-4), name
