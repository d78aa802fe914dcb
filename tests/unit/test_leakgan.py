"""LeakGAN: features of prefixes are the discriminator's own, goals and their rewards by hand, who learns from what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, override, to_dict
from rlgan.discriminators import CnnHighway, build_discriminator
from rlgan.discriminators.discriminator import Discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, ManagerWorker, ManagerWorkerGenerator
from rlgan.generators.testing import check_generator
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.objectives import GoalDirected, Reinforce
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.sampling.records import Rollouts
from rlgan.schedule.phases import Position
from rlgan.training.generator_updates import recipe_of
from rlgan.training.real_sequences import RealSequences
from rlgan.training.trainer import Trainer
from rlgan.tuning.space.studies import STUDIES
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.small_presets import small
from tests.support.tiny import finish

SPACE = SequenceSpace(6, 5)
WINDOWS = (1, 2, 4, 7)  # the last is longer than the sequences
SETTINGS = ManagerWorker(
    embedding=3, hidden=4, goal_size=2, horizon=2, feature_embedding=3, feature_windows=WINDOWS, feature_filters=(2,)
)
JUDGE = CnnHighway(embedding=3, windows=WINDOWS, filters=(2,), dropout=0.3)


def judge_of(space: SequenceSpace) -> Discriminator:
    torch.manual_seed(1)
    net = build_discriminator(JUDGE, space).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return net


def generator(space: SequenceSpace = SPACE, judge: Discriminator | None = None) -> ManagerWorkerGenerator:
    torch.manual_seed(0)
    net = ManagerWorkerGenerator(SETTINGS.model_copy(update={"init_std": 0.6}), space).eval()
    if judge is not None:
        load_weights(net, {**weights_of(net, 0).complete, **SETTINGS.copied_of(weights_of(judge, 0).complete)})
    return net


# --------------------------------------------------------------------------------------------- features and goals


@pytest.mark.parametrize("space", [SPACE, SequenceSpace(6, 8, end_id=1), SequenceSpace(6, 1)], ids=str)
def test_features_of_a_prefix_are_what_the_discriminators_output_layer_reads_of_it(space: SequenceSpace) -> None:
    judge, tokens = judge_of(space), random_sequences(space, 5, seed=3)
    found = generator(space, judge).features.reader().of_prefixes(tokens)
    for number in range(space.max_length + 1):
        mask = (torch.arange(space.max_length) < number).expand(tokens.shape)
        torch.testing.assert_close(found[:, number], judge.output_features(tokens, mask).detach(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_by_the_equations_of_manager_and_worker() -> None:
    judge, tokens = judge_of(SPACE), random_sequences(SPACE, 3, seed=0)
    net = generator(SPACE, judge)

    def step(lstm: torch.nn.LSTM, read: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = read @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        take, keep, new, out = gates.split(4, 1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        return out.sigmoid() * cell.tanh(), cell

    # Columns of the output layer: U (V, H, k), then b (V, k).
    weight, bias = net.output.weight[:, :8].view(6, 4, 2), net.output.weight[:, 8:]
    of_manager, of_worker = (2 * (torch.zeros(3, 4),) for _ in range(2))
    goals: list[Tensor] = []
    previous = torch.zeros(3, dtype=torch.int64)
    for position in range(5):
        mask = (torch.arange(5) < position).expand(3, 5)
        of_manager = step(net.manager, judge.output_features(tokens, mask), *of_manager)
        goal = of_manager[0] @ net.goal.weight.T + net.goal.bias
        goals.append(goal / goal.norm(dim=1, keepdim=True))
        of_worker = step(net.worker, net.embedding.weight[previous], *of_worker)
        matrix = torch.einsum("vhk,bh->bvk", weight, of_worker[0]) + bias
        direction = sum(goals[-2:]) @ net.direction.weight.T  # a horizon of 2
        expected = torch.einsum("bvk,bk->bv", matrix, direction)
        torch.testing.assert_close(net.logits(tokens)[:, position], expected, atol=1e-5, rtol=0)
        previous = tokens[:, position]


def planned(net: ManagerWorkerGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tokens, two features, and goals by hand."""
    features = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    goals = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    monkeypatch.setattr(net, "planned", lambda tokens: (features, goals))


def test_goals_and_rewards_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SequenceSpace(4, 3, end_id=1)
    net = generator(space)
    planned(net, monkeypatch)
    # One token ahead: (1, 0)·g_0 = 1, (0, 1)·g_1 = 1, (-1, 0)·g_2 = -0.6.
    # Two ahead: (1, 1)·g_0/√2 = 0.707107, (-1, 1)·g_1/√2 = 0.707107.
    half = 0.5**0.5
    # r_1 has one goal, r_2 = (1 + 0.707107)/2, r_3 = (-0.6 + 0.707107)/2.
    whole = torch.tensor([[2, 3, 2]])
    torch.testing.assert_close(net.goal_rewards(whole), torch.tensor([[1.0, 0.853553, 0.053553]]), atol=1e-6, rtol=0)
    # g_0 is judged two tokens later; at the last token g_1, and g_2, which has but one.
    torch.testing.assert_close(net.goal_cosines(whole), torch.tensor([[0.0, half, half - 0.6]]))
    # Where the second token ends the sequence, g_1 is judged there, too, and nothing behind it.
    torch.testing.assert_close(net.goal_cosines(torch.tensor([[2, 1, 0]])), torch.tensor([[0.0, half + 1.0, 0.0]]))
    # The manager's loss: -(0.25 · 0.707107 - 1 · 0.107107) = -0.069670; the worker's: -(0.5 · ln ½).
    terms = {
        "weights": torch.tensor([[0.5, 0.0, 0.0]]),
        "goal_weights": torch.tensor([[9.0, 0.25, -1.0]]),
    }
    logprobs = torch.tensor([[0.5, 0.5, 0.5]]).log()
    loss = learner_loss(GoalDirected(), terms, logprobs, goal_cosines=net.goal_cosines(whole))
    assert float(loss) == pytest.approx(-0.069670 + 0.346574, abs=1e-5)


def test_every_goal_is_judged_once() -> None:
    space = SequenceSpace(6, 5, end_id=1)
    net, tokens = generator(space), random_sequences(space, 20, seed=2)
    # With features that go straight where all goals point, each cosine is 1.
    features = torch.arange(6.0).view(1, 6, 1) * torch.ones(20, 6, 3)
    due = net._due(features, torch.ones(20, 5, 3), tokens)
    torch.testing.assert_close(due.sum(1), sequence_mask(space, tokens).sum(1).float())


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    space = SequenceSpace(3, 4, end_id=2)
    sequences = all_sequences(space)
    logprobs = generator(space).logprobs(sequences).detach().double()
    probs = logprobs.masked_fill(~sequence_mask(space, sequences), 0.0).sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("space", [SPACE, SequenceSpace(4, 3, end_id=1)], ids=str)
def test_it_keeps_the_contract_of_a_generator(space: SequenceSpace) -> None:
    check_generator(lambda: ManagerWorkerGenerator(SETTINGS, space), space)


def test_continuations_of_a_prefix_go_on_as_if_nothing_had_stopped() -> None:
    net, tokens = generator(), random_sequences(SPACE, 4, seed=4)
    stepper = net.stepper()
    states, state = stepper.prefix_states(tokens), stepper.start(4)
    rows = torch.tensor([2, 0, 2])
    for position in range(4):
        state = stepper.advance(state, tokens[:, position])
        kept = stepper.select(tuple(part[position] for part in states), rows)
        torch.testing.assert_close(stepper.weights(kept), stepper.weights(state)[rows])


# --------------------------------------------------------------------------------------------- who learns from what


def test_worker_manager_and_features_each_learn_from_their_own() -> None:
    net, tokens = generator(judge=judge_of(SPACE)), random_sequences(SPACE, 6, seed=5)
    logprobs, cosines = net.logprobs_and_goal_cosines(tokens)
    torch.testing.assert_close(logprobs, net.logprobs(tokens))
    torch.testing.assert_close(cosines, net.goal_cosines(tokens))
    of_manager = {name for name, _ in net.named_parameters() if name.split(".")[0] in ("manager", "goal")}
    for value, moved in ((logprobs, False), (cosines, True)):
        net.zero_grad()
        value.sum().backward()
        has = {name for name, one in net.named_parameters() if one.grad is not None and bool(one.grad.any())}
        assert (has & of_manager == of_manager) == moved and bool(has - of_manager) != moved
    # The discriminator's features have no gradient, and no optimiser.
    assert not any(name.startswith("features") for name, _ in net.named_parameters())
    assert not any(buffer.requires_grad for buffer in net.buffers())
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())


def test_the_managers_gradient_is_that_of_finite_differences() -> None:
    net, tokens = generator(judge=judge_of(SPACE)).double(), random_sequences(SPACE, 3, seed=6)
    weights = torch.randn(3, 5, dtype=torch.float64)
    (net.goal_cosines(tokens) * weights).sum().backward()
    for parameter in (net.manager.weight_ih_l0, net.manager.weight_hh_l0, net.goal.weight):
        assert parameter.grad is not None
        index, ends = int(parameter.grad.flatten().abs().argmax()), []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter.view(-1)[index] += step
                ends.append(float((net.goal_cosines(tokens) * weights).sum()))
            parameter.view(-1)[index] += 1e-6
        assert float(parameter.grad.flatten()[index]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def rollouts() -> Rollouts:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
    return Rollouts(
        tokens=torch.tensor([[1, 2, 0, 0, 0], [2, 0, 0, 0, 0]]),
        logprobs=torch.full((2, 5), -0.5).masked_fill(~mask, 0.0),
        mask=mask,
        real_logits=torch.tensor([1.0, -1.0]),
        token_logits=None,
        continuation_logits=torch.tensor([1.0, -1.0]).view(2, 1, 1).expand(2, 5, 1),
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=5,
        goal_rewards=torch.arange(10.0).view(2, 5).masked_fill(~mask, 0.0),
    )


def test_advantages_weigh_goals_and_the_generators_own_rewards_weigh_tokens() -> None:
    config = small("leakgan")
    made = learnable(rollouts(), recipe_of(config), Memory(), build_task(config.task), torch.Generator())
    found = made.experience
    assert found.goal_weights is not None
    # Five tokens; the first sequence is ranked above the second: σ(16·(½ - ¼)) - ½ = 0.482014. Where the second has
    # ended it is compared by its last value.
    ranks = torch.tensor([[1.0, 1, 1, 0, 0], [-1, -1, 0, 0, 0]]) * 0.482014
    torch.testing.assert_close(found.goal_weights, ranks / 5, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.weights, torch.tensor([[0.0, 1, 2, 0, 0], [5, 6, 0, 0, 0]]) / 5)
    assert made.metrics["generator/goal_reward"] == pytest.approx(14 / 5)
    with refused(ShapeError, "objective_teaches_no_goals"):
        Reinforce().terms_of_goals(found.weights, found.weights)


def test_real_sequences_teach_goals_with_the_weights_of_their_tokens() -> None:
    config = small("leakgan")
    real = RealSequences(config, build_task(config.task))
    batch = real.batch(0, 0)
    assert batch.goal_weights is not None and torch.equal(batch.goal_weights, batch.weights)
    by_example = override(config, {"schedule.teacher_forcing": "by_example"})
    (alone,) = RealSequences(by_example, build_task(config.task)).beside(None, 0, 1.0)
    assert alone.goal_weights is not None and torch.equal(alone.goal_weights, alone.weights)
    assert RealSequences(small("seqgan"), build_task(config.task)).batch(0, 0).goal_weights is None


# --------------------------------------------------------------------------------------------- the discriminator's copy


def test_the_copy_follows_the_discriminator_and_pretraining_goes_side_by_side() -> None:
    rounds = {"schedule.mle_epochs": 4, "schedule.discriminator_rounds": 2, "schedule.adversarial_updates": 1}
    config = override(small("leakgan"), rounds | {"schedule.d_steps": 1, "schedule.teacher_forcing.num_updates": 1})
    task, phases = build_task(config.task), []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        assert parts.discriminator is not None

        def is_copied() -> bool:
            copied = config.generator.copied_of(parts.discriminator.weights().complete)  # type: ignore[union-attr]
            weights = trainer.current_weights()
            return all(torch.equal(weights[name], tensor) for name, tensor in copied.items())

        assert not is_copied()
        for unit in finish(trainer, lambda running: phases.append(is_copied())):
            assert phases.pop(0), unit.phase
            phases.append(unit.phase)  # type: ignore[arg-type]
            assert ("mle/goal_loss" in unit.metrics) == (unit.phase == "mle")
            assert ("generator/goal_loss" in unit.metrics) == (unit.phase == "adversarial")
        start = trainer.mle_start
    assert phases == ["discriminator", "mle", "mle", "discriminator", "mle", "mle", "adversarial"]
    # The start of controls has the features that it has learned to read.
    assert start is not None and not torch.equal(
        start["features.highway_weight"], trainer.current_weights()["features.highway_weight"]
    )


def test_an_epoch_is_the_last_of_pretraining_side_by_side() -> None:
    for epochs, rounds in ((80, 50), (3, 7), (1, 1), (5, 5)):
        schedule = preset("leakgan").schedule.model_copy(update={"mle_epochs": epochs, "discriminator_rounds": rounds})
        position, order = Position(), []
        while position.mle_epochs < epochs:
            judges = position.discriminator_rounds < rounds and schedule.discriminator_is_next(position)
            name = "discriminator_rounds" if judges else "mle_epochs"
            position = replace(position, **{name: getattr(position, name) + 1})
            order.append(name)
        assert order[0] == "discriminator_rounds" and position.discriminator_rounds == rounds
    assert not preset("seqgan").schedule.discriminator_is_next(Position())


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("features_not_leaked", {"discriminator": "lstm"}, "Use discriminator cnn_highway"),
    ("features_not_leaked", {"discriminator.members": 2}, "with one member"),
    ("features_of_other_sizes", {"discriminator.embedding": 5}, "5, [1, 2, 3] and [4, 4, 4]"),
    ("features_of_other_sizes", {"generator.feature_filters": "3"}, "discriminator.filters"),
    ("features_after_likelihood", {"schedule.pretraining": "generator_first"}, "Set it to side_by_side"),
    ("patience_with_features", {"schedule.mle_patience": 2}, "Set it to null"),
    ("goals_of_none", {"generator": "lstm"}, "Use generator manager_worker"),
    ("side_by_side_with_none", {"schedule.mle_epochs": 0}, "schedule.mle_epochs=0"),
    ("side_by_side_with_none", {"schedule.discriminator_rounds": 0}, "schedule.discriminator_rounds=0"),
]


@pytest.mark.parametrize(("code", "changes", "says"), REFUSED)
def test_what_does_not_go_together_is_refused(code: str, changes: dict[str, Any], says: str) -> None:
    with refused(ConfigError, code) as found:
        override(small("leakgan"), changes)
    assert says in str(found.value)


def test_side_by_side_is_not_for_judges_that_begin_as_the_generator() -> None:
    config = override(small("density_ratio"), {"schedule.mle_epochs": 2, "schedule.discriminator_rounds": 2})
    begins: Config = from_dict(to_dict(override(config, {"generator": "lstm"})))
    changes = {"discriminator.start": "generator", "schedule.pretraining": "side_by_side"}
    network = {f"discriminator.network.{name}": value for name, value in begins.generator.model_dump().items()}
    network = {path: value for path, value in network.items() if not isinstance(value, dict | str)}
    with refused(ConfigError, "side_by_side_with_copies"):
        override(begins, network | changes)


def test_whoever_would_train_another_discriminator_is_refused() -> None:
    for name in ("frozen_discriminator", "shuffled_discriminator"):
        with refused(ConfigError, "control_of_leaked_features", {"controls": name}):
            control(preset("leakgan"), name)
    assert control(preset("leakgan"), "mle_continued").schedule.pretraining == "generator_first"
    study = replace(next(iter(STUDIES.values())), preset="leakgan", changes={})
    with refused(ConfigError, "study_of_leaked_features"):
        study.space(None, {})


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("feature_filters_per_window", {"feature_filters": (2, 3)}),
        ("feature_windows_and_filters", {"feature_filters": (0,)}),
    ],
)
def test_sizes_of_features_that_contradict_themselves(code: str, changes: dict[str, Any]) -> None:
    with refused(ValidationError, code):
        ManagerWorker.model_validate({"feature_windows": (1, 2, 3), **changes})
    assert LSTM().copied_of({}) == {} and LSTM().prefix_features is None
