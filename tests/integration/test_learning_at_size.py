"""Batches that go through the learner in parts: the same step as at once, whatever network and terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, GeneratorSettings, Seq2SeqLSTM
from rlgan.layers.optimizers import SGD
from rlgan.policy.learner_loss import logprob_gap
from rlgan.policy.objectives import PPO
from rlgan.sampling.records import Experience
from rlgan.training.generator_updates import require_one_policy
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.learner import GeneratorLearners
from rlgan.workers.learning import GeneratorModule
from tests.support.errors import refused
from tests.support.on_ray import learner_role
from tests.support.tiny import FAULTS, Recorder, finish, tiny_config

pytestmark = pytest.mark.integration

GIVEN = SequenceSpace(9, 5, end_id=2, condition=SequenceSpace(9, 4, end_id=2))
ALONE = SequenceSpace(9, 5, end_id=2)
ROWS = 12


def language_model(architecture: str, **settings: Any) -> GeneratorSettings:
    from rlgan.generators import CausalLM

    sizes = {"kind": "fresh", "architecture": architecture, "width": 8, "layers": 2, "heads": 2}
    return CausalLM(weights=sizes, **settings)


def rows_of(space: SequenceSpace, seed: int = 0) -> Experience:
    """Every term that a language model may learn from."""
    rng = torch.Generator().manual_seed(seed)
    tokens = random_sequences(space, ROWS, seed)
    mask = sequence_mask(space, tokens).float()

    def noise() -> torch.Tensor:
        return torch.randn(ROWS, 5, generator=rng) * mask / ROWS

    return Experience(
        tokens=tokens,
        weights=noise(),
        clipped_weights=noise(),
        old_logprobs=-2.2 * mask,
        kl_weights=noise().abs(),
        reference_logprobs=-2.3 * mask,
        entropy_weights=noise().abs(),
        conditions=None if space.condition is None else random_sequences(space.condition, ROWS, seed + 1),
    )


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows of each forward pass of the learner."""
    sizes: list[int] = []
    forward = GeneratorModule._forward

    def watched(self: GeneratorModule, batch: dict[str, Any], **more: Any) -> Any:
        sizes.append(len(batch["tokens"]))
        return forward(self, batch, **more)

    with monkeypatch.context() as patch:
        patch.setattr(GeneratorModule, "_forward", watched)
        yield sizes


def stepped(
    network: GeneratorSettings, space: SequenceSpace, experience: Experience, tokens_at_once: int | None
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """What one step reports, and the weights after it."""
    optimizers: Any = {"mle": SGD(lr=1.0), "adversarial": SGD(lr=1.0, clip_norm=10.0)}
    group = GeneratorLearners(
        network, space, optimizers, learner_role(0), 1, 3, FAULTS, objective=PPO(), tokens_at_once=tokens_at_once
    )
    return group.update("adversarial", experience, ROWS), group.weights().complete


NETWORKS = {
    "lstm": (LSTM(embedding=6, hidden=6, init_std=0.5), ALONE),
    "seq2seq": (Seq2SeqLSTM(embedding=6, hidden=6), GIVEN),
    "gpt2": ("gpt2", {}, GIVEN),
    "llama, no prompts": ("llama", {}, ALONE),
    "qwen2, lora": ("qwen2", {"training": {"kind": "lora", "rank": 2}}, GIVEN),
    "llama, checkpointing": ("llama", {"checkpointing": True}, GIVEN),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_parts_add_up_to_that_of_the_whole_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    *network, space = NETWORKS[name]
    if isinstance(network[0], str):
        for library in ("transformers", "peft"):
            pytest.importorskip(library)
        settings = language_model(network[0], **network[1])
    else:
        settings = network[0]
    experience = rows_of(space)
    with counted(monkeypatch) as sizes:
        learned, weights = stepped(settings, space, experience, 30)
    assert sum(sizes) == ROWS and len(sizes) > 1
    whole, expected = stepped(settings, space, experience, None)
    assert learned == pytest.approx(whole, rel=1e-5, abs=1e-6)
    # The learning rate is 1: what a weight moves by is its gradient.
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=0, msg=f"{name}: {key}")
    untouched = stepped(settings, space, experience.times(0.0), None)[1]
    assert max(float((untouched[key] - expected[key]).abs().max()) for key in expected) > 1e-3


def test_a_bound_that_nothing_reaches_changes_no_bit() -> None:
    network, space = NETWORKS["lstm"]
    experience = rows_of(space)
    found = [stepped(network, space, experience, bound) for bound in (None, ROWS * 5)]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], value) for key, value in found[1][1].items())


@pytest.mark.parametrize("training", [{"kind": "whole"}, {"kind": "lora", "rank": 2}])
def test_in_bfloat16_a_batch_in_parts_moves_weights_of_float32_as_far(training: dict[str, Any]) -> None:
    for library in ("transformers", "peft"):
        pytest.importorskip(library)
    experience = rows_of(GIVEN)
    moved = {}
    for dtype in ("float32", "bfloat16"):
        settings = language_model("llama", training=training, dtype=dtype, checkpointing=True)
        start = stepped(settings, GIVEN, experience.times(0.0), None)[1]
        end = stepped(settings, GIVEN, experience, 30)[1]
        trained = [key for key in end if training["kind"] == "whole" or "lora_" in key]
        assert all(end[key].dtype == torch.float32 for key in trained)
        moved[dtype] = torch.cat([(end[key] - start[key]).flatten() for key in trained])
    cosine = torch.nn.functional.cosine_similarity(moved["float32"], moved["bfloat16"], dim=0)
    assert float(cosine) > 0.99


# ---------------------------------------------------------------------- learner and sampler are the same policy


def test_the_gap_between_learner_and_sampler_is_that_of_rounding_and_refused_where_they_part() -> None:
    config = tiny_config({"mle_epochs": 1, "adversarial_updates": 2, "discriminator_rounds": 0})
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        units = [unit.metrics for unit in finish(Trainer(config, task, parts)) if unit.phase == "adversarial"]
    assert all(0.0 < unit["rollouts/logprob_gap_max"] < 1e-5 for unit in units)

    recorder = Recorder()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        trainer.step()

        def moved_meanwhile(phase: str) -> None:
            weights = parts.learners.weights().complete
            parts.learners.load({name: 3.0 * tensor for name, tensor in weights.items()})

        recorder.before_update = moved_meanwhile
        with refused(ConfigError, "policies_differ", {"workers.most_logprob_gap": 1.0}):
            finish(trainer)


def test_the_gap_is_the_greatest_of_the_drawn_tokens() -> None:
    learner, sampler = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]]), torch.tensor([[-1.5, -2.25], [-2.0, 0.0]])
    assert logprob_gap(learner, sampler) == 1.0  # of -0.5, 0.25, 1 and a token that nobody drew
    assert logprob_gap(learner, torch.zeros(2, 2)) == 0.0
    require_one_policy(1.0, most=1.0)
    require_one_policy(9.0, most=None)
    for gap in (1.01, float("nan")):
        with pytest.raises(ConfigError, match="generator.dtype"):
            require_one_policy(gap, most=1.0)
