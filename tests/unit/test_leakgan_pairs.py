"""LeakGAN of pairs: features of a condition and a prefix are the discriminator's own, and who learns from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.paths import from_dict, override, to_dict
from rlgan.discriminators import PairCnn, PairCnnDiscriminator
from rlgan.discriminators.discriminator import read_by
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import GoalDistribution, PairManagerWorker, PairManagerWorkerGenerator, build_generator
from rlgan.generators.testing import check_generator
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sample
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.storage.export import load_run_generator, save_run_generator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.on_ray import assert_same
from tests.support.small_presets import TASK, small
from tests.support.tiny import PAIRS, finish, numbers

SOURCE = SequenceSpace(7, 6, end_id=0)
SPACE = SequenceSpace(5, 4, end_id=1, condition=SOURCE)
WINDOWS = (1, 2, 3, 8)  # the last is longer than both sides
SETTINGS = PairManagerWorker(
    embedding=3,
    hidden=4,
    goal_size=2,
    horizon=2,
    feature_embedding=3,
    feature_windows=WINDOWS,
    feature_filters=(2,),
    feature_hidden=7,
    init_std=0.6,
)
JUDGE = PairCnn(embedding=3, windows=WINDOWS, filters=(2,), mlp_hidden=7, dropout=0.3)


def judge_of(space: SequenceSpace = SPACE, batch_norm: bool = True) -> PairCnnDiscriminator:
    """A discriminator whose weights are far from those it begins with, statistics of its normalisation included."""
    torch.manual_seed(1)
    net = PairCnnDiscriminator(JUDGE.model_copy(update={"batch_norm": batch_norm}), space)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        for name, buffer in net.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.3, 2.0)
        for name, parameter in net.named_parameters():
            if name.endswith("norm.weight"):
                # A filter whose scale is below 0 has its greatest response where the product is least.
                parameter[0] = -0.7
    return net.eval()


def generator(
    space: SequenceSpace = SPACE, judge: PairCnnDiscriminator | None = None, settings: PairManagerWorker = SETTINGS
) -> PairManagerWorkerGenerator:
    torch.manual_seed(0)
    net = PairManagerWorkerGenerator(settings, space).eval()
    if judge is not None:
        load_weights(net, {**weights_of(net, 0).complete, **settings.copied_of(weights_of(judge, 0).complete)})
    return net


def features_of(judge: PairCnnDiscriminator, conditions: Tensor, tokens: Tensor, number: int) -> Tensor:
    """What the discriminator's output layer reads of conditions and prefixes of `number` tokens."""
    mask = (torch.arange(tokens.shape[1]) < number).expand(tokens.shape)
    output = judge.head.matching[-2]
    assert isinstance(output, torch.nn.Linear) and output.out_features == 1
    return read_by(output, lambda: judge(tokens, mask, conditions)).detach()


# ----------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(
    "space",
    [SPACE, SequenceSpace(6, 11, end_id=1, condition=SequenceSpace(4, 2)), SequenceSpace(3, 1, condition=SOURCE)],
    ids=str,
)
def test_features_are_what_the_discriminators_output_layer_reads(space: SequenceSpace, batch_norm: bool) -> None:
    assert space.condition is not None
    judge = judge_of(space, batch_norm)
    conditions, tokens = random_sequences(space.condition, 6, seed=3), random_sequences(space, 6, seed=4)
    assert space.condition.end_id is None or len(set(sequence_mask(space.condition, conditions).sum(1).tolist())) > 1
    found = generator(space, judge).features.reader().given(conditions).of_prefixes(tokens)
    assert float((found > 0).float().mean()) > 0.1
    for number in range(space.max_length + 1):
        torch.testing.assert_close(found[:, number], features_of(judge, conditions, tokens, number), atol=2e-5, rtol=0)


def test_features_kept_token_by_token_are_those_of_whole_prefixes_in_any_order_of_rows() -> None:
    space = SequenceSpace(6, 11, condition=SOURCE)
    conditions, tokens = random_sequences(SOURCE, 5, seed=1), random_sequences(space, 5, seed=2)
    reader = generator(space, judge_of(space)).features.reader()
    # Rows that have read 3 and 7 tokens stand beside each other, as in continuations.
    given, states = reader.given(conditions), []
    for number in (3, 7):
        state = given.start(5)
        for position in range(number):
            state = given.advance(state, tokens[:, position])
        states.append(state)
    rows = torch.tensor([4, 0, 4])
    mixed = tuple(torch.cat([one[rows], other[rows]]) for one, other in zip(*states, strict=True))
    for _ in range(4):
        mixed = given.advance(mixed, torch.cat([tokens[rows, int(mixed[1][0])], tokens[rows, int(mixed[1][-1])]]))
    anew = reader.tower.of_whole(tokens, (torch.arange(11) < 7).expand(5, 11))
    torch.testing.assert_close(reader.tower.features(mixed[1:])[:3], anew[rows])
    torch.testing.assert_close(given.features(mixed)[:3], given.of_prefixes(tokens)[rows, 7])
    torch.testing.assert_close(given.features(mixed)[3:], given.of_prefixes(tokens)[rows, 11])


def test_padding_of_conditions_and_the_other_rows_change_nothing() -> None:
    net = generator(judge=judge_of())
    conditions, tokens = random_sequences(SOURCE, 9, seed=1), random_sequences(SPACE, 9, seed=2)
    after_end = ~sequence_mask(SOURCE, conditions)
    noisy = torch.where(after_end, torch.randint(7, conditions.shape), conditions)
    assert not torch.equal(noisy, conditions)
    order = torch.tensor([4, 0, 8, 2])
    for compute in (lambda given, one: given.logits(one), lambda given, one: given.goal_cosines(one)):
        found = compute(net.conditional(conditions), tokens).detach()
        torch.testing.assert_close(compute(net.conditional(noisy), tokens).detach(), found, atol=1e-6, rtol=0)
        alone = compute(net.conditional(conditions[order]), tokens[order]).detach()
        torch.testing.assert_close(alone, found[order], atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------- distribution


@torch.no_grad()
def test_logits_by_the_equations_of_encoder_manager_and_worker() -> None:
    judge = judge_of()
    net, tokens = generator(judge=judge), random_sequences(SPACE, 3, seed=0)
    conditions = torch.tensor([[3, 0, 5, 5, 5, 5], [2, 6, 1, 0, 1, 2], [1, 2, 3, 4, 5, 6]])

    def step(lstm: torch.nn.LSTM, read: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = read @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        take, keep, new, out = gates.split(4, -1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        return out.sigmoid() * cell.tanh(), cell

    weight, bias = net.output.weight[:, :8].view(5, 4, 2), net.output.weight[:, 8:]
    logits = net.conditional(conditions).logits(tokens)
    for row, length in enumerate((2, 4, 6)):
        ends = []
        read = conditions[row, :length]
        for lstm, one in ((net.encoder.forwards[0], read), (net.encoder.backwards[0], read.flip(0))):
            state = torch.zeros(4), torch.zeros(4)
            for token in one:
                state = step(lstm, net.source_embedding.weight[token], *state)  # type: ignore[arg-type]
            ends.append(state[0])
        both = torch.cat(ends)
        of_worker = (net.worker_start.weight @ both + net.worker_start.bias).tanh(), torch.zeros(4)
        of_manager = (net.manager_start.weight @ both + net.manager_start.bias).tanh(), torch.zeros(4)
        goals: list[Tensor] = []
        previous = torch.tensor(0)
        for position in range(4):
            found = features_of(judge, conditions[row : row + 1], tokens[row : row + 1], position)[0]
            of_manager = step(net.manager, found, *of_manager)
            goal = net.goal.weight @ of_manager[0] + net.goal.bias
            goals.append(goal / goal.norm())
            of_worker = step(net.worker, net.embedding.weight[previous], *of_worker)
            direction = net.direction.weight @ sum(goals[-2:])  # a horizon of 2
            expected = (torch.einsum("vhk,h->vk", weight, of_worker[0]) + bias) @ direction
            torch.testing.assert_close(logits[row, position], expected, atol=1e-5, rtol=0)
            previous = tokens[row, position]


def test_goals_are_judged_and_rewarded_by_the_features_of_the_pair() -> None:
    judge = judge_of()
    net, tokens = generator(judge=judge), random_sequences(SPACE, 3, seed=0)
    conditions = random_sequences(SOURCE, 3, seed=1)
    given = net.conditional(conditions)
    features = torch.stack([features_of(judge, conditions, tokens, number) for number in range(5)], 1)
    goals = given.planned(tokens)[1].detach()
    for row in range(3):
        for end in range(1, 5):
            cosines = []
            for start in range(max(0, end - 2), end):  # a horizon of 2
                moved = features[row, end] - features[row, start]
                cosines.append(float(torch.cosine_similarity(moved, goals[row, start], 0)))
            reward = float(given.goal_rewards(tokens)[row, end - 1])
            assert reward == pytest.approx(sum(cosines) / len(cosines), abs=1e-4)


def test_probabilities_of_all_sequences_sum_to_one_for_each_condition() -> None:
    source = SequenceSpace(3, 2, end_id=0)
    space = SequenceSpace(3, 4, end_id=2, condition=source)
    sequences, conditions = all_sequences(space), all_sequences(source)
    net, sums, firsts = generator(space, judge_of(space)), [], []
    with torch.no_grad():
        for condition in conditions:
            logprobs = net.conditional(condition.expand(len(sequences), -1)).logprobs(sequences).double()
            probs = logprobs.masked_fill(~sequence_mask(space, sequences), 0.0).sum(1).exp()
            sums.append(float(probs.sum()))
            firsts.append(float(probs[0]))
    assert len(conditions) == 7 and sums == pytest.approx([1.0] * 7, abs=1e-5)
    assert len({round(first, 6) for first in firsts}) == 7


@pytest.mark.parametrize("space", [SPACE, SequenceSpace(5, 9, condition=SequenceSpace(3, 2))], ids=str)
def test_it_keeps_the_contract_of_a_generator(space: SequenceSpace) -> None:
    check_generator(lambda: PairManagerWorkerGenerator(SETTINGS, space), space)


def test_continuations_of_a_prefix_go_on_as_if_nothing_had_stopped() -> None:
    net, tokens = generator(judge=judge_of()), random_sequences(SPACE, 4, seed=4)
    stepper = net.stepper(0.8).conditional(random_sequences(SOURCE, 4, seed=5))
    states, state = stepper.prefix_states(tokens), stepper.start(4)
    rows = torch.tensor([2, 0, 2])
    for position in range(3):
        state = stepper.advance(state, tokens[:, position])
        kept = stepper.select(tuple(part[position] for part in states), rows)
        torch.testing.assert_close(stepper.weights(kept), stepper.weights(state)[rows])
        on = stepper.advance(kept, tokens[rows, position + 1])
        both = stepper.joined(stepper.select(on, torch.tensor([1])), stepper.select(on, torch.tensor([0, 2])))
        further = stepper.advance(stepper.select(state, torch.arange(4)), tokens[:, position + 1])
        torch.testing.assert_close(stepper.weights(both), stepper.weights(further)[rows[torch.tensor([1, 0, 2])]])


def test_what_a_stepper_made_for_some_conditions_stays_theirs() -> None:
    stepper, conditions = generator(judge=judge_of()).stepper(), random_sequences(SOURCE, 4, seed=5)
    first = stepper.conditional(conditions[:2])
    weights = first.weights(first.start(2)).clone()
    stepper.conditional(conditions[2:])
    assert torch.equal(first.weights(first.start(2)), weights)


def test_samples_have_the_log_probabilities_of_the_distribution() -> None:
    net, conditions = generator(judge=judge_of()), random_sequences(SOURCE, 50, seed=1)
    rng = torch.Generator().manual_seed(0)
    drawn = sample(net.stepper(), SPACE, 50, rng, chunk_rows=11, conditions=conditions)
    with torch.no_grad():
        expected = net.conditional(conditions).logprobs(drawn.tokens).masked_fill(~drawn.mask, 0.0)
    torch.testing.assert_close(drawn.logprobs, expected, atol=1e-5, rtol=1e-5)


def test_conditions_are_needed() -> None:
    net = generator()
    for asked in (net.conditional, net.stepper().conditional):
        with pytest.raises(ValueError, match="needs conditions"):
            asked(None)


# --------------------------------------------------------------------------------------------- who learns from what


def test_worker_manager_and_features_each_learn_from_their_own() -> None:
    net, tokens = generator(judge=judge_of()), random_sequences(SPACE, 6, seed=5)
    given = net.conditional(random_sequences(SOURCE, 6, seed=6))
    assert isinstance(given, GoalDistribution)
    logprobs, cosines = given.logprobs_and_goal_cosines(tokens)
    torch.testing.assert_close(logprobs, given.logprobs(tokens))
    torch.testing.assert_close(cosines, given.goal_cosines(tokens))
    of_manager = {
        name for name, _ in net.named_parameters() if name.split(".")[0] in ("manager", "goal", "manager_start")
    }
    everything = {name for name, _ in net.named_parameters()}
    for value, learns in ((logprobs, everything - of_manager), (cosines, of_manager)):
        net.zero_grad()
        value.sum().backward(retain_graph=True)
        assert learns == {name for name, one in net.named_parameters() if one.grad is not None and one.grad.any()}
    assert not any(name.startswith("features") for name in everything)
    assert not any(buffer.requires_grad for buffer in net.buffers())


def test_gradients_of_what_reads_the_condition_are_those_of_finite_differences() -> None:
    net, tokens = generator(judge=judge_of()).double(), random_sequences(SPACE, 3, seed=6)
    conditions, weights = random_sequences(SOURCE, 3, seed=7), torch.randn(3, 4, dtype=torch.float64)

    # The manager reads the encoder without a gradient, so goals stand still where the encoder is moved.
    goals = net.conditional(conditions).planned(tokens)[1].detach()

    def worth(of_goals: bool) -> Tensor:
        given = net.conditional(conditions)
        if of_goals:
            return (given.goal_cosines(tokens) * weights).sum()
        logprobs = net.output(given.written(tokens, goals)).log_softmax(2)
        return (logprobs.gather(2, tokens.unsqueeze(2)).squeeze(2) * weights).sum()

    cases: list[tuple[torch.nn.Parameter, bool]] = [
        (net.manager_start.weight, True),
        (net.worker_start.weight, False),
        (net.source_embedding.weight, False),
    ]
    for parameter, of_goals in cases:
        net.zero_grad()
        (worth(True) if of_goals else (net.conditional(conditions).logprobs(tokens) * weights).sum()).backward()
        assert parameter.grad is not None
        index, ends = int(parameter.grad.flatten().abs().argmax()), []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter.view(-1)[index] += step
                ends.append(float(worth(of_goals)))
            parameter.view(-1)[index] += 1e-6
        assert float(parameter.grad.flatten()[index]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


# ------------------------------------------------------------------------------------------------------ the preset


def test_the_preset_takes_networks_of_pairs_where_its_task_has_them() -> None:
    of_pairs, alone = preset("leakgan", PAIRS), preset("leakgan")
    assert (of_pairs.generator.kind, of_pairs.discriminator.kind) == ("pair_manager_worker", "pair_cnn")  # type: ignore[union-attr]
    networks = {"generator", "discriminator", "task"}
    # All else is as without conditions.
    assert of_pairs.model_dump(exclude=networks | {"controls"}) == alone.model_dump(exclude=networks | {"controls"})
    assert of_pairs.discriminator == PairCnn(dropout=0.0)
    assert from_dict(to_dict(of_pairs)) == of_pairs


def test_it_trains_its_copy_follows_and_it_resumes(tmp_path: Path) -> None:
    config = override(small("leakgan", PAIRS), {"schedule.d_steps": 1})
    task, states, followed = build_task(config.task), [], []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        assert parts.discriminator is not None
        before = trainer.current_weights()

        def note(running: Trainer) -> None:
            copied = config.generator.copied_of(parts.discriminator.weights().complete)  # type: ignore[union-attr]
            weights = running.current_weights()
            followed.append(all(torch.equal(torch.as_tensor(weights[name]), one) for name, one in copied.items()))
            states.append(running.state())

        units = finish(trainer, note)
        weights = trainer.current_weights()
    assert [unit.phase for unit in units] == ["discriminator", "mle", "mle", "adversarial", "adversarial"]
    assert all(followed)
    for name in ("encoder.forwards.0.weight_ih_l0", "manager_start.weight", "worker_start.weight", "goal.weight"):
        assert float(abs(weights[name] - before[name]).max()) > 0.0, name
    for metrics in (unit.metrics for unit in units if unit.phase == "adversarial"):
        assert -1.0 <= metrics["generator/goal_reward"] <= 1.0 and metrics["generator/goal_loss"] != 0.0
    for number in (1, 4):
        save_checkpoint(tmp_path, states[number - 1], number)
        with build_parts(config, task) as parts:
            resumed = Trainer(config, task, parts)
            resumed.restore(load_latest(tmp_path).state)
            assert_same([numbers(unit) for unit in finish(resumed)], [numbers(unit) for unit in units[number:]])
            assert_same(resumed.current_weights(), weights)


def test_an_export_needs_nothing_of_the_discriminator(tmp_path: Path) -> None:
    config = small("leakgan", PAIRS)
    task = build_task(config.task)
    torch.manual_seed(0)
    net = build_generator(config.generator, task.space)
    save_run_generator(tmp_path, config.generator, task, weights_of(net, 0).complete)
    loaded = load_run_generator(tmp_path).generator
    assert task.conditions is not None
    conditions, tokens = task.conditions.train[:5], task.train[:5]
    expected = net.eval().conditional(conditions).logprobs(tokens)
    assert torch.equal(loaded.conditional(conditions).logprobs(tokens), expected)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("pair_features_not_leaked", {"discriminator": "pair_lstm"}, "Use discriminator pair_cnn with one member"),
    ("pair_features_not_leaked", {"discriminator.members": 2}, "with one member"),
    ("pair_features_not_leaked", {"discriminator.head": "split"}, "the head joint"),
    ("pair_features_of_other_sizes", {"discriminator.mlp_hidden": 5}, "4, [1, 2, 3], [4, 4, 4] and 5"),
    (
        "pair_features_of_other_sizes",
        {"generator.feature_hidden": 5},
        "and discriminator.mlp_hidden",
    ),
    ("pair_features_of_other_sizes", {"generator.feature_windows": "1,2"}, "generator.feature_windows=[1, 2]"),
    ("features_after_likelihood", {"schedule.pretraining": "generator_first"}, "Set it to side_by_side"),
    ("generator_reads_no_conditions", {"generator": "manager_worker"}, "Use generator pair_manager_worker"),
    ("goals_of_none", {"generator": "seq2seq_lstm"}, "tasks with conditions pair_manager_worker"),
]


@pytest.mark.parametrize(("code", "changes", "says"), REFUSED)
def test_what_does_not_go_together_is_refused(code: str, changes: dict[str, Any], says: str) -> None:
    with refused(ConfigError, code) as found:
        override(small("leakgan", PAIRS), changes)
    assert says in str(found.value)


def test_networks_of_pairs_are_refused_where_there_are_none() -> None:
    with refused(ConfigError, "generator_reads_conditions", {"generator": "pair_manager_worker"}) as found:
        override(small("leakgan", TASK), {"generator": "pair_manager_worker"})
    assert "Use generator manager_worker" in str(found.value)
