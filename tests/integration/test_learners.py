"""The learner in this process against a plain torch loop."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from typing import Any

import pytest
import torch

from rlgan.adversary.losses import Hinge
from rlgan.base.weights import Weights, load_weights, packed, unpacked, weights_of
from rlgan.discriminators import CnnHighway, Discriminator, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, AutoregressiveGenerator, GeneratorSettings, LatentConv, build_generator
from rlgan.layers.optimizers import SGD, Adam, OptimizerSettings, RMSProp
from rlgan.layers.relaxation import Relaxation, gumbel_noise, uniform_of_rows
from rlgan.policy.objectives import PPO, Gumbel, ObjectiveSettings, Soft
from rlgan.sampling.records import Experience, stacked
from rlgan.sampling.sampler import mixed_inputs
from rlgan.workers.learner import GeneratorLearners, _Begun
from tests.support.on_ray import assert_same, learner_role
from tests.support.tiny import FAULTS

pytestmark = pytest.mark.integration

SPACE = SequenceSpace(9, 5, end_id=2)
NETWORK = LSTM(embedding=6, hidden=6, init_std=0.5)


def learners(
    mle: OptimizerSettings | None = None,
    adversarial: OptimizerSettings | None = None,
    network: LSTM = NETWORK,
    objective: ObjectiveSettings | None = None,
) -> GeneratorLearners:
    optimizers = {"mle": mle or Adam(lr=0.05), "adversarial": adversarial or SGD(lr=0.3)}
    return GeneratorLearners(
        network, SPACE, optimizers, learner_role(0), threads=1, seed=3, faults=FAULTS, objective=objective
    )


def test_a_learner_is_built_without_a_look_at_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    # RLlib's connectors each ask for it, which goes through all modules of the process: up to seconds.
    def stack() -> None:
        raise AssertionError("asked for the stack")

    monkeypatch.setattr(inspect, "stack", stack)
    learners()


def experience(number: int, seed: int = 0) -> Experience:
    weights = torch.randn(number, 5, generator=torch.Generator().manual_seed(seed)) / number
    return Experience(tokens=random_sequences(SPACE, number, seed), weights=weights)


def generator_of(group: GeneratorLearners, network: LSTM = NETWORK) -> AutoregressiveGenerator:
    return load_weights(build_generator(network, SPACE), group.weights().complete)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        (Adam(lr=0.05), lambda net: torch.optim.Adam(net.parameters(), lr=0.05)),
        (RMSProp(lr=0.01), lambda net: torch.optim.RMSprop(net.parameters(), lr=0.01)),
        (SGD(lr=0.5, momentum=0.9), lambda net: torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)),
    ],
    ids=["adam", "rmsprop", "sgd"],
)
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_an_update_is_one_step_for_each_minibatch_in_order(settings, plain, clip_norm) -> None:  # type: ignore[no-untyped-def]
    group = learners(mle=settings.model_copy(update={"clip_norm": clip_norm}))
    twin = generator_of(group)
    optimizer = plain(twin)
    for call in range(2):
        rows = experience(12, seed=call)
        losses, norms = [], []
        for first in range(0, 12, 4):
            part = slice(first, first + 4)
            loss = -(rows.weights[part] * twin.logprobs(rows.tokens[part])).sum()
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(twin.parameters(), clip_norm or 1e9)))
            optimizer.step()
            losses.append(float(loss.detach()))
        learned = group.update("mle", rows, minibatch=4)
        assert learned == pytest.approx({"loss": sum(losses) / 3, "grad_norm": sum(norms) / 3}, rel=1e-4, abs=1e-6)
    assert clip_norm is None or max(norms) > clip_norm
    found = generator_of(group)
    for one, other in zip(found.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_each_phase_has_an_optimiser_and_a_memory_of_its_own() -> None:
    # Momentum gathered in one phase would show in the first step of the other.
    group = learners(mle=SGD(lr=0.1, momentum=0.9), adversarial=SGD(lr=0.2, momentum=0.9))
    for call in range(3):
        group.update("mle", experience(4, seed=call), minibatch=4)
    twin, rows = generator_of(group), experience(4, seed=9)
    (-(rows.weights * twin.logprobs(rows.tokens)).sum()).backward()
    group.update("adversarial", rows, minibatch=4)
    for one, before in zip(generator_of(group).parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), before.detach() - 0.2 * before.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_in_pretraining_and_never_in_a_policy_gradient(layers: int) -> None:
    # The sampler has no dropout, so a policy gradient with dropout would be that of another distribution.
    network = NETWORK.model_copy(update={"dropout": 0.5, "layers": layers})
    rows = experience(8)
    for phase, acts in (("adversarial", False), ("mle", True), ("adversarial", False)):
        group = learners(mle=SGD(lr=0.3), adversarial=SGD(lr=0.3), network=network)
        group.update("mle", experience(8, seed=1), minibatch=8)
        twin = generator_of(group, network).eval()
        (-(rows.weights * twin.logprobs(rows.tokens)).sum()).backward()
        group.update(phase, rows, minibatch=8)
        same = all(
            torch.allclose(one.detach(), before.detach() - 0.3 * before.grad, atol=1e-6)
            for one, before in zip(generator_of(group, network).parameters(), twin.parameters(), strict=True)
        )
        assert same != acts, phase


def test_dropout_differs_between_updates_and_is_the_same_again_after_restoring() -> None:
    network = NETWORK.model_copy(update={"dropout": 0.5})
    group, rows = learners(mle=SGD(lr=1e-9), network=network), experience(8)
    state = group.state()
    losses = [group.update("mle", rows, minibatch=8)["loss"] for _ in range(3)]
    assert len(set(losses)) == 3
    group.restore(state)
    assert [group.update("mle", rows, minibatch=8)["loss"] for _ in range(3)] == losses


def test_an_update_that_is_broken_off_goes_on_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GeneratorLearners, "_FIRST_AT_ONCE", 1)
    monkeypatch.setattr(GeneratorLearners, "_BETWEEN_S", {False: 0.0})
    network, batches = NETWORK.model_copy(update={"dropout": 0.5, "layers": 2}), [experience(12), experience(8, 1)]

    def whole() -> tuple[list[dict[str, float]], dict[str, Any]]:
        group = learners(network=network)
        return [group.update("mle", rows, minibatch=2, rate=0.5) for rows in batches], group.state()

    group, learned, places = learners(network=network), [], []

    class StopError(Exception):
        pass

    def stop() -> None:
        places.append(group.num_begun)
        raise StopError

    for rows in batches:
        while True:
            try:
                learned.append(group.update("mle", rows, minibatch=2, rate=0.5, between=stop))
                break
            except StopError:
                kept = unpacked(packed(group.state()))
                group = learners(network=network)
                group.restore(kept)
    assert places == [1, 2, 3, 4, 5, 1, 2, 3] and group.num_begun == 0
    expected, state = whole()
    assert learned == expected
    assert_same(group.state(), state)
    # Nobody stops: parts of any number leave the same.
    group = learners(network=network)
    assert [group.update("mle", rows, minibatch=2, rate=0.5, between=lambda: None) for rows in batches] == expected
    assert_same(group.state(), state)


def test_what_other_numbers_of_learners_had_begun_is_taken_over_whole() -> None:
    two = [{"loss": [1.0, 2.0], "grad_norm": [0.5, 0.7], "pairs": [(1.0, 2.0, 1, 3)]},
           {"loss": [10.0, 20.0], "grad_norm": [0.5, 0.7], "pairs": []}]  # fmt: skip
    state = _Begun(2, tuple(two), ({"cpu": torch.zeros(1)},) * 2).state()
    one = _Begun.of(state, 1)
    assert one.rngs is None and one.batches == 2
    assert one.taken == ({"loss": [11.0, 22.0], "grad_norm": [0.5, 0.7], "pairs": [[1.0, 2.0, 1.0, 3.0]]},)
    three = _Begun.of(state, 3)
    assert three.taken == (*one.taken, *({"loss": [], "grad_norm": [], "pairs": []},) * 2)
    again = _Begun.of(state, 2)
    assert again.rngs is not None and [one["loss"] for one in again.taken] == [[1.0, 2.0], [10.0, 20.0]]


def test_an_update_leaves_threads_and_the_global_generator_alone() -> None:
    group = learners(network=NETWORK.model_copy(update={"dropout": 0.5}))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        group.update("mle", experience(4), minibatch=4)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.rand(3), expected)


def test_versions_rise_with_every_change_and_weights_are_copies() -> None:
    group = learners()
    before = group.weights()
    kept = copy.deepcopy(before.tensors)
    group.update("mle", experience(4), minibatch=4)
    after = group.weights()
    assert after.version > before.version
    assert all((before.tensors[name] == kept[name]).all() for name in kept)
    assert any((after.tensors[name] != kept[name]).any() for name in kept)
    group.load(kept)
    assert group.weights().version > after.version


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_step() -> None:
    group, rows = learners(), experience(4)
    kept = group.weights().complete
    bad = Experience(tokens=rows.tokens, weights=rows.weights * float("nan"))
    with pytest.raises(FloatingPointError, match="not applied"):
        group.update("mle", bad, minibatch=4)
    assert all((group.weights().complete[name] == kept[name]).all() for name in kept)


def test_the_initial_generator_is_that_of_its_seed() -> None:
    one, again = learners().weights().complete, learners().weights().complete
    assert all((one[name] == again[name]).all() for name in one)
    other = (
        GeneratorLearners(
            NETWORK, SPACE, {"mle": Adam(), "adversarial": Adam()}, learner_role(0), 1, seed=4, faults=FAULTS
        )
        .weights()
        .tensors
    )
    assert any((one[name] != other[name]).any() for name in one)


def test_scheduled_sampling_predicts_real_tokens_after_what_was_read() -> None:
    group = learners(mle=SGD(lr=0.5))
    twin, rows = generator_of(group), experience(6)
    draws = torch.rand(6, 5, generator=torch.Generator().manual_seed(1))
    draws[draws < 0.5] = -1.0
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    # Two steps: the second reads what the generator says after the first.
    for _ in range(2):
        read = mixed_inputs(twin.stepper(), rows.tokens, draws)
        assert not torch.equal(read, rows.tokens)
        loss = -(rows.weights * twin.logprobs(rows.tokens, read=read)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    twice = dataclasses.replace(rows, input_draws=draws).map(lambda tensor: torch.cat([tensor, tensor]))
    group.update("mle", twice, minibatch=6)
    for name, value in generator_of(group).state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], atol=1e-6, rtol=1e-4)


def test_a_clipped_batch_reports_what_the_clip_held() -> None:
    group = learners(adversarial=SGD(lr=0.0001), objective=PPO())
    rows = experience(6)
    generator = generator_of(group)
    with torch.no_grad():
        now = generator.logprobs(rows.tokens)
    # All were half as likely when they were drawn: a ratio of 2, which holds those with a positive weight.
    clipped = dataclasses.replace(
        rows, weights=torch.zeros(6, 5), clipped_weights=rows.weights, old_logprobs=now - math.log(2)
    )
    learned = group.update("adversarial", clipped, minibatch=6)
    assert learned["clipped_share"] == pytest.approx(float((rows.weights > 0).float().mean()))


# -------------------------------------------------------------------------- differentiated through a discriminator


def through(
    objective: Gumbel | Soft, generator: GeneratorSettings = NETWORK
) -> tuple[GeneratorLearners, Discriminator, Weights]:
    """A learner, and the discriminator that it is differentiated through."""
    judge = CnnHighway(embedding=3, windows=(1, 2), filters=(4, 4))
    torch.manual_seed(5)
    network = build_discriminator(judge, SPACE).eval()
    optimizers = {"mle": Adam(lr=0.05), "adversarial": SGD(lr=1.0)}
    group = GeneratorLearners(
        generator, SPACE, optimizers, learner_role(0), threads=1, seed=3, faults=FAULTS,
        objective=objective, through=(judge, Hinge()),
    )  # fmt: skip
    return group, network, weights_of(network, 1)


@pytest.mark.parametrize("straight_through", [False, True])
def test_relaxed_rows_are_one_step_down_the_generator_s_loss(straight_through: bool) -> None:
    group, judge, weights = through(Gumbel(straight_through=straight_through))
    twin, seeds, real = generator_of(group), torch.arange(6), experience(3)
    rows, tokens = twin.relaxed(gumbel_noise(uniform_of_rows(seeds, 5, 9)), 0.7, straight_through)
    mask = sequence_mask(SPACE, tokens)
    loss = -judge(rows, mask).mean() - (real.weights * twin.logprobs(real.tokens)).sum()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-4

    relaxed = Experience(
        tokens=torch.zeros(6, 5, dtype=torch.int64),
        weights=torch.zeros(6, 5),
        row_weights=torch.full((6,), 1 / 6),
        row_seeds=seeds,
    )
    relaxation = Relaxation(0.7, straight_through)
    learned = group.update("adversarial", stacked([relaxed, real]), 9, judge=weights, relaxation=relaxation)
    assert learned["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    # The generator alone has moved: the discriminator is no part of what is learned.
    assert set(group.weights().complete) == set(twin.state_dict())
    for (name, value), gradient in zip(twin.named_parameters(), gradients, strict=True):
        moved = group.weights().complete[name]
        torch.testing.assert_close(moved, value.detach() - gradient, atol=1e-6, rtol=1e-4)


def test_rows_of_noise_alone_are_one_step_down_the_generator_s_loss() -> None:
    settings = LatentConv(latent=3, width=4, blocks=1, window=3)
    group, judge, weights = through(Soft(), settings)
    twin = load_weights(build_generator(settings, SPACE), group.weights().complete)
    noise = torch.stack([torch.randn(3, generator=torch.Generator().manual_seed(seed)) for seed in range(6)])
    rows = torch.softmax(twin(noise), 2)
    loss = -judge(rows, sequence_mask(SPACE, rows.argmax(2))).mean()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-4

    drawn = Experience(
        tokens=torch.zeros(6, 5, dtype=torch.int64),
        weights=torch.zeros(6, 5),
        row_weights=torch.full((6,), 1 / 6),
        row_seeds=torch.arange(6),
    )
    learned = group.update("adversarial", drawn, 6, judge=weights)
    assert learned["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    for (name, value), gradient in zip(twin.named_parameters(), gradients, strict=True):
        moved = group.weights().complete[name]
        torch.testing.assert_close(moved, value.detach() - gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("weighted", [2, 0])
def test_rows_of_noise_that_weigh_nothing_change_no_step(weighted: int) -> None:
    # What fills up the share of a learner, or is all of it, where rows do not divide evenly among several.
    group, _, judge = through(Soft(), LatentConv(latent=3, width=4, blocks=1, window=3))
    start, stepped = group.weights().complete, []
    weights = torch.full((weighted,), 0.5)
    for filling in (0, 2) if weighted else (2,):
        rows = Experience(
            tokens=torch.zeros(weighted + filling, 5, dtype=torch.int64),
            weights=torch.zeros(weighted + filling, 5),
            row_weights=torch.cat([weights, torch.zeros(filling)]),
            row_seeds=torch.cat([torch.arange(weighted) + 4, torch.zeros(filling, dtype=torch.int64)]),
        )
        group.load(start)
        group.update("adversarial", rows, weighted + filling, judge=judge)
        stepped.append(group.weights().complete)
    expected = stepped[0] if weighted else start
    for name, value in expected.items():
        torch.testing.assert_close(stepped[-1][name], value, atol=1e-7, rtol=0)


def test_straight_through_each_step_reads_the_token_that_was_drawn() -> None:
    generator = generator_of(learners())
    noise = gumbel_noise(uniform_of_rows(torch.arange(400), 5, 9))
    rows, tokens = generator.relaxed(noise, 0.5, straight_through=True)
    assert torch.equal(rows.argmax(2), tokens)
    with torch.no_grad():
        expected = (generator.logits(tokens) + noise).argmax(2)
    assert torch.equal(tokens, expected)
