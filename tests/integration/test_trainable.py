"""A run inside Ray Tune: stepped to its end, and taken up again from Tune's own checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from rlgan.config.config import Config
from rlgan.config.paths import override, to_dict
from rlgan.envs.tasks import OracleTask
from rlgan.generators import LSTM
from rlgan.presets.quick import mle
from rlgan.runs.ray_tune import VARIED, SequenceGAN
from rlgan.training.callbacks import Callback, RunView, Stop
from rlgan.training.iteration import Iteration
from tests.support.on_ray import config_of

TASK = OracleTask(vocab_size=20, embedding=8, hidden=8, max_length=6, num_train=128, num_valid=64, num_test=64)


def small_run() -> dict:
    config = mle(TASK).model_copy(update={"generator": LSTM(embedding=8, hidden=8)})
    return to_dict(override(config, {"schedule.mle_epochs": 3, "evaluation.num_sequences": 50, "workers.threads": 1}))


def test_saved_and_restored_trainable_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    undisturbed = SequenceGAN(small_run())
    results = [undisturbed.train() for _ in range(3)]
    assert [result["done"] for result in results] == [False, False, True]

    first = SequenceGAN(small_run())
    first.train()
    first.save(str(tmp_path))
    second = SequenceGAN(small_run())
    second.restore(str(tmp_path))
    resumed = [second.train() for _ in range(2)]
    for name in ("mle/train_nll", "mle/valid_nll", "eval/nll_gen", "eval/kl_sum"):
        assert resumed[-1][name] == results[-1][name]
    for one in (undisturbed, first, second):
        one.stop()


class StopsAtTheSecond(Callback):
    """Counts iterations, and stops at the second."""

    def __init__(self) -> None:
        self.seen, self.calls = 0, list[str]()

    def on_start(self, run: RunView) -> None:
        self.calls.append("start")

    def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
        self.seen += 1
        run.log({"own/seen": self.seen})
        return Stop("that will do") if self.seen == 2 else None

    def on_end(self, run: RunView) -> None:
        self.calls.append("end")

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Watched(SequenceGAN):
    """A trial with a callback."""

    def callbacks(self, config: Config) -> Sequence[Callback]:
        self.watcher = StopsAtTheSecond()
        return (self.watcher,)


def test_a_callback_sees_the_iterations_of_a_trial_and_ends_it_wherever_it_goes_on(tmp_path: Path) -> None:
    first = Watched(small_run())
    result = first.train()
    assert result["own/seen"] == 1 and not result["done"]
    first.save(str(tmp_path))
    second = Watched(small_run())
    second.restore(str(tmp_path))
    result = second.train()
    assert result["own/seen"] == 2 and result["done"] and result["phase_step"] == 2
    assert second.trainer.stopped == "callback StopsAtTheSecond: that will do"
    assert first.watcher.calls == ["start"] and second.watcher.calls == ["start", "end"]
    for one in (first, second):
        one.stop()


@pytest.mark.ray
def test_tuner_varies_dotted_paths(ray_session: None, tmp_path: Path) -> None:
    space = {**small_run(), VARIED + "optimizers.mle.lr": tune.grid_search([1e-3, 1e-2])}
    tuner = tune.Tuner(
        tune.with_resources(SequenceGAN, {"cpu": 1}),
        param_space=space,
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="two", verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    losses = {result.config[VARIED + "optimizers.mle.lr"]: result.metrics["mle/train_nll"] for result in results}
    assert set(losses) == {1e-3, 1e-2}
    assert losses[1e-2] < losses[1e-3]


def test_a_trial_asks_for_room_for_its_actors() -> None:
    alone = SequenceGAN.default_resource_request(small_run())
    assert alone.bundles == [{"CPU": 1.0}]
    wide = to_dict(override(config_of(2, learners=1), {"workers.threads": 3, "workers.gpus_per_rollout": 0.5}))
    assert SequenceGAN.default_resource_request(wide).bundles == [
        {"CPU": 3.0},
        {"CPU": 0.2},
        {"CPU": 1.0},
        {"CPU": 0.2, "GPU": 0.5},
        {"CPU": 0.2, "GPU": 0.5},
    ]
    shared = override(config_of(0), {"workers.gpus_per_rollout": 0.25, "workers.gpus_discriminator": 0.5})
    assert SequenceGAN.default_resource_request(to_dict(shared)).bundles == [{"CPU": 1.0, "GPU": 0.75}]


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_has_its_actors_in_its_own_room(ray_session: None, tmp_path: Path) -> None:
    space = to_dict(override(config_of(1), {"schedule.adversarial_updates": 1}))
    tuner = tune.Tuner(
        SequenceGAN,
        param_space=space,
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="one", verbose=0),
    )
    (result,) = tuner.fit()
    assert result.error is None
    alone = SequenceGAN(to_dict(override(config_of(0), {"schedule.adversarial_updates": 1})))
    last = {}
    while not last.get("done"):
        last = alone.train()
    alone.stop()
    for name in ("generator/loss", "discriminator/loss", "eval/kl_sum"):
        assert result.metrics[name] == last[name]
