"""Out of memory: whoever is says which settings to lower; other errors stay as they are."""

from __future__ import annotations

import pickle

import pytest
import torch

from rlgan.base.devices import bfloat16_cost
from rlgan.base.errors import MemoryShortError
from rlgan.base.memory import is_out_of_memory, naming_what_to_lower
from rlgan.generators.lstm import LSTMGenerator
from rlgan.layers.optimizers import SGD
from rlgan.rollouts.collecting import Shard
from rlgan.sampling.records import Experience
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.rollout import RolloutWorker
from tests.support.errors import refused
from tests.support.on_ray import GENERATOR, PLAN, SPACE, learner_role
from tests.support.tiny import FAULTS


def of_the_cpu() -> RuntimeError:
    """As torch raises it."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**14)
    return caught.value


ERRORS = [of_the_cpu(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]


@pytest.mark.parametrize("error", ERRORS, ids=type)
def test_what_is_out_of_memory_says_what_to_lower_and_travels(error: Exception) -> None:
    with (
        refused(MemoryShortError, "out_of_memory: workers.chunk_rows", {"part": "the learner"}) as caught,
        naming_what_to_lower("the learner", "Lower workers.chunk_rows."),
    ):
        raise error
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, MemoryShortError) and str(again) == str(caught.value) and again.code == "out_of_memory"
    # Of several parts the inner one speaks.
    with (
        refused(MemoryShortError, "out_of_memory", {"part": "the learner"}),
        naming_what_to_lower("a worker", "Lower all."),
    ):
        raise caught.value


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory")], ids=type)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as caught, naming_what_to_lower("the learner", "Lower it."):
        raise error
    assert caught.value is error


@pytest.mark.integration
def test_learner_and_rollout_worker_name_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers = {"mle": SGD(lr=0.1), "adversarial": SGD(lr=0.1)}
    group = GeneratorLearners(GENERATOR, SPACE, optimizers, learner_role(0), 1, 0, FAULTS)
    worker, error = RolloutWorker(PLAN, GENERATOR, None), of_the_cpu()

    def too_large(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(LSTMGenerator, "logprobs", too_large)
    rows = Experience(torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 5))
    with refused(MemoryShortError, "out_of_memory: workers.tokens_at_once"):
        group.update("mle", rows, 2)
    monkeypatch.setattr(LSTMGenerator, "stepper", too_large)
    with refused(MemoryShortError, "out_of_memory: workers.chunk_rows"):
        worker.run(Shard(2, 0, 1, None, None), group.weights(), None, None, None)


def test_the_cost_of_bfloat16_is_a_ratio_of_two_probes() -> None:
    assert 0.0 < bfloat16_cost(threads=1, size=64) < 1e4
