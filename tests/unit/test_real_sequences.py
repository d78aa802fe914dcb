"""Which training sequences are drawn: each as often as it should be, in no two roles at once, and weighed alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config
from rlgan.config.paths import override, variants_of
from rlgan.envs.tasks import Task, TransductionTask, build_task
from rlgan.envs.tasks.transduction import Copy
from rlgan.envs.transition import sequence_mask
from rlgan.presets.registry import preset
from rlgan.schedule.example_weights import tf_idf_weights
from rlgan.training.real_sequences import RealSequences, require_drawable
from tests.support.errors import refused
from tests.support.small_presets import small

PAIRS = TransductionTask(vocab_size=9, max_length=4, rule=Copy(noise=0.0), num_train=40)
SIZES = {"schedule.g_batch": 10, "schedule.mle_batch": 16, "schedule.teacher_forcing.fraction": 0.4}


def drawn(**changes: Any) -> tuple[Config, Task, RealSequences]:
    config = override(preset("adversarial_nmt", PAIRS), SIZES | changes)
    task = build_task(config.task)
    return config, task, RealSequences(config, task)


def test_an_epoch_sees_each_sequence_at_most_once_in_whole_batches_and_another_order_each_time() -> None:
    _, task, real = drawn()
    known = sorted(map(tuple, task.train.tolist()))
    first, second = (sorted(map(tuple, real.epoch(epoch).tokens.tolist())) for epoch in (0, 1))
    assert len(first) == len(second) == 32  # of 40, in batches of 16
    assert all(first.count(row) <= known.count(row) for row in first)
    assert not torch.equal(real.epoch(0).tokens, real.epoch(1).tokens)
    assert torch.equal(real.epoch(1).tokens, real.epoch(1).tokens)


def test_each_minibatch_weighs_its_tokens_evenly() -> None:
    _, task, real = drawn()
    epoch = real.epoch(0)
    for tokens, weights in zip(epoch.tokens.split(16), epoch.weights.split(16), strict=True):
        mask = sequence_mask(task.space, tokens)
        torch.testing.assert_close(weights, mask / mask.sum())


@pytest.mark.parametrize("update", [0, 3])
def test_what_is_learned_by_example_is_not_sampled_too(update: int) -> None:
    config, task, real = drawn()
    assert task.conditions is not None
    (examples,) = real.beside(None, update, advantage=1.0)
    begun = real.rollouts(update, iteration=0)
    assert examples.conditions is not None and begun.conditions is not None
    assert len(examples.tokens) == 4 and len(begun.conditions) == config.schedule.num_sampled == 6
    assert begun.targets is None  # nobody compares
    # Together ten different rows of the training set: as often as they stand in it, at most.
    together = torch.cat([examples.conditions, begun.conditions]).tolist()
    known = task.conditions.train.tolist()
    assert all(together.count(row) <= known.count(row) for row in together)


def test_examples_weigh_by_their_tokens_beside_what_is_sampled() -> None:
    _, task, plain = drawn()
    _, _, real = drawn(**{"schedule.example_weights": "tf_idf"})
    weighs = tf_idf_weights(task.space, task.train)
    places = {tuple(row): place for place, row in enumerate(task.train.tolist())}
    (one,), (other,) = plain.beside(None, 0, 1.0), real.beside(None, 0, 1.0)
    assert torch.equal(one.tokens, other.tokens)
    expected = torch.stack([weighs[places[tuple(row)]] for row in one.tokens.tolist()]).unsqueeze(1)
    assert expected.unique().numel() > 1
    torch.testing.assert_close(other.weights, one.weights * expected)
    (half,) = plain.beside(None, 0, 0.5)
    torch.testing.assert_close(half.weights, one.weights / 2)


@pytest.mark.parametrize(
    ("name", "path", "most", "code"),
    [
        ("leakgan", "generator.horizon", 5, "longer_than_sequences"),
        ("window_gan", "discriminator.window", 5, "longer_than_sequences"),
        ("rankgan", "discriminator.references", 24, "more_than_the_reals"),  # of a round; 70 in the training split
        ("rankgan", "discriminator.comparisons", 24, "more_than_the_reals"),
    ],
)
def test_networks_look_at_no_more_than_there_is(name: str, path: str, most: int, code: str) -> None:
    config = override(small(name), {"adversary.batch": 64})
    task = build_task(config.task)
    require_drawable(override(config, {path: most}), task)
    with refused(ConfigError, f"{code}: {most}", {path: most + 1}):
        require_drawable(override(config, {path: most + 1}), task)


def test_settings_of_all_networks_say_what_counts_tokens() -> None:
    for axis in ("generator", "discriminator"):
        for settings in variants_of(Config.model_fields[axis]).values():
            assert set(settings.within_sequences) <= set(settings.model_fields)
            if axis == "discriminator":
                assert set(settings.within_reals) <= set(settings.model_fields)
