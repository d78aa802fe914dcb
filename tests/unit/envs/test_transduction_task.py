"""The distribution of sequences given sequences, against sums over all of them and numbers worked by hand."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from rlgan.envs import SequenceSpace, ShapeError, TransductionTask, build_task, sequence_mask
from rlgan.envs.tasks.transduction import (
    Copy,
    CopyDistribution,
    RandomTable,
    Reverse,
    TableDistribution,
    uniform_conditions,
)
from rlgan.envs.testing import all_sequences, check_task
from tests.support.errors import refused

SMALL = {"num_train": 400, "num_valid": 100, "num_test": 50}
RULES = [Copy(), Reverse(noise=0.3), RandomTable(), RandomTable(law_seed=4), Copy(noise=0.0), Copy(noise=1.0)]


def distributions(space: SequenceSpace):
    return [
        CopyDistribution(space, 0.2, reverses=False),
        CopyDistribution(space, 0.0, reverses=True),
        TableDistribution(space, 3),
    ]


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_task_keeps_its_contract(rule, ends):
    task = build_task(TransductionTask(rule=rule, vocab_size=4, max_length=3, ends=ends, **SMALL))
    check_task(task)
    assert [len(task.train), len(task.valid), len(task.test)] == [400, 100, 50]
    assert task.oracle is None


@pytest.mark.parametrize("space", [SequenceSpace(3, 3), SequenceSpace(3, 4, end_id=0), SequenceSpace(3, 3, end_id=2)])
def test_of_every_condition_the_probabilities_of_all_sequences_sum_to_1(space):
    sequences = all_sequences(space)
    mask = sequence_mask(space, sequences)
    for distribution in distributions(space):
        for condition in sequences:
            logprobs = distribution(condition.repeat(len(sequences), 1)).logprobs(sequences)
            assert (logprobs[~mask] == 0).all()
            assert logprobs.sum(1).double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("space", [SequenceSpace(3, 3), SequenceSpace(3, 3, end_id=0)])
def test_the_entropy_is_that_of_all_sequences_over_their_mean_length(space):
    sequences = all_sequences(space)
    mask = sequence_mask(space, sequences)
    conditions = uniform_conditions(space, 7, seed=0)
    for distribution in distributions(space):
        total = length = 0.0
        for condition in conditions:
            logprobs = distribution(condition.repeat(len(sequences), 1)).logprobs(sequences).sum(1).double()
            total -= float(torch.special.xlogy(logprobs.exp(), logprobs.exp()).sum())
            length += float((logprobs.exp() * mask.sum(1)).sum())
        assert distribution(conditions).entropy == pytest.approx(total / length, abs=1e-6)


def test_what_is_right_by_hand():
    # With V = 4 and noise 0.2 a token is right with probability 0.8 + 0.05, and each other one with 0.05.
    space = SequenceSpace(4, 4, end_id=0)
    conditions = torch.tensor([[1, 2, 3, 0], [3, 1, 0, 0], [1, 2, 3, 1]])
    for reverses, right in (
        (False, [[1, 2, 3, 0], [3, 1, 0, 0], [1, 2, 3, 1]]),
        (True, [[3, 2, 1, 0], [1, 3, 0, 0], [1, 3, 2, 1]]),
    ):
        logprobs = CopyDistribution(space, 0.2, reverses=reverses)(conditions).logprobs(torch.tensor(right))
        mask = sequence_mask(space, torch.tensor(right))
        torch.testing.assert_close(logprobs, torch.where(mask, math.log(0.85), 0.0))
    early = CopyDistribution(space, 0.2, reverses=False)(conditions).logprobs(torch.tensor([[1, 0, 0, 0]] * 3))
    expected = torch.tensor([[0.85, 0.05, 1, 1], [0.05, 0.05, 1, 1], [0.85, 0.05, 1, 1]]).log()
    torch.testing.assert_close(early, expected)


def test_without_noise_a_sequence_is_its_condition_and_others_have_log_zero():
    task = build_task(TransductionTask(rule=Copy(noise=0.0), vocab_size=10, max_length=5, **SMALL))
    assert torch.equal(task.train, task.conditions.train)
    distribution = task.oracle_of(task.conditions.test)
    assert distribution.entropy == 0.0
    assert (distribution.logprobs(task.test) == 0).all()
    assert (distribution.logprobs((task.test + 1) % 10) == -math.inf).all()
    assert task.oracle_of(None) is None


@pytest.mark.parametrize("ends", [False, True])
def test_samples_follow_the_distribution(ends):
    space = SequenceSpace(3, 3, end_id=0 if ends else None)
    sequences, num_samples = all_sequences(space), 20_000
    for distribution in (CopyDistribution(space, 0.4, reverses=True), TableDistribution(space, 1)):
        conditions = uniform_conditions(space, 2, seed=0)
        samples = distribution(conditions.repeat(num_samples, 1)).sample(2 * num_samples, seed=0)
        for row, condition in enumerate(conditions):
            probs = distribution(condition.repeat(len(sequences), 1)).logprobs(sequences).sum(1).double().exp()
            frequencies = (samples[row::2].unsqueeze(1) == sequences).all(2).double().mean(0)
            assert ((frequencies - probs).abs() <= 4.5 * (probs * (1 - probs) / num_samples).sqrt()).all()


@pytest.mark.parametrize("end_id", [None, 0, 2])
def test_conditions_are_uniform(end_id):
    space = SequenceSpace(4, 3, end_id=end_id)
    conditions = uniform_conditions(space, 30_000, seed=0)
    found, counts = conditions.unique(dim=0, return_counts=True)
    # Without a terminator each of 64; else one or two of 3 tokens before it, the length first.
    expected = {
        tuple(one): (1 / 64 if end_id is None else 0.5 / 3 ** sum(t != end_id for t in one)) for one in found.tolist()
    }
    assert sum(expected.values()) == pytest.approx(1)
    for one, number in zip(found.tolist(), counts.tolist(), strict=True):
        prob = expected[tuple(one)]
        assert abs(number / 30_000 - prob) <= 5 * math.sqrt(prob / 30_000)


def test_splits_repeat_with_the_seed_and_distributions_with_theirs():
    settings = TransductionTask(rule=RandomTable(), vocab_size=3, max_length=3, **SMALL)
    task, again = build_task(settings), build_task(settings)
    assert task.fingerprint() == again.fingerprint()
    other_draw = build_task(settings.model_copy(update={"seed": 1}))
    assert not torch.equal(task.conditions.train, other_draw.conditions.train)
    conditions = task.conditions.valid
    same_distribution = other_draw.oracle_of(conditions).logprobs(task.valid)
    assert torch.equal(task.oracle_of(conditions).logprobs(task.valid), same_distribution)
    other_distribution = build_task(settings.model_copy(update={"rule": RandomTable(law_seed=1)}))
    assert not torch.equal(other_distribution.oracle_of(conditions).logprobs(task.valid), same_distribution)
    assert not torch.equal(task.conditions.train[:50], task.conditions.test)


def test_distributions_can_be_sent_to_other_processes():
    for distribution in distributions(SequenceSpace(3, 3)):
        conditions = uniform_conditions(distribution.space, 5, seed=0)
        sent = pickle.loads(pickle.dumps(distribution))
        assert torch.equal(sent(conditions).sample(5, 0), distribution(conditions).sample(5, 0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": {"kind": "table"}, "vocab_size": 7, "max_length": 3}, r"table_too_large: \(2 \* max_length\)"),
        ({"rule": {"kind": "table"}, "vocab_size": 2, "max_length": 9}, "table_too_large: 100000"),
        ({"ends": True, "max_length": 1}, "terminator_fills"),
        ({"rule": {"kind": "copy", "law_seed": 1}}, "setting_not_known"),
        ({"rule": {"kind": "reverse", "noise": 1.5}}, "setting_value"),
    ],
)
def test_settings_that_contradict_or_do_nothing_are_refused(settings, message):
    with refused(ValidationError, message):
        TransductionTask.model_validate(settings)


def test_what_does_not_fit_is_refused():
    space = SequenceSpace(3, 3)
    conditions = uniform_conditions(space, 4, seed=0)
    for distribution in distributions(space):
        for wrong in (conditions[:, :2], conditions[0], conditions + 3):
            with pytest.raises(ShapeError, match="^conditions "):
                distribution(wrong)
        for wrong in (conditions[:2], conditions[0], conditions - 3, conditions.repeat(1, 2)):
            with pytest.raises(ShapeError, match="^tokens "):
                distribution(conditions).logprobs(wrong)
        with refused(ShapeError, "one_sequence_per_condition", {"num_sequences": 3}):
            distribution(conditions).sample(3, seed=0)


class Unnormalised:
    entropy = 0.5

    def __init__(self, conditions):
        self.conditions = conditions

    def logprobs(self, tokens):
        # A distribution of the first condition, and none of the others.
        is_distribution = (self.conditions == first_condition).all(1, keepdim=True)
        return torch.where(is_distribution, math.log(0.25), math.log(0.2)).expand(tokens.shape)

    def sample(self, num_sequences, seed):
        return torch.randint(4, (num_sequences, 2), generator=torch.Generator().manual_seed(seed))


first_condition = torch.tensor([0, 1])


def test_conditional_tasks_that_break_their_promise_are_noticed():
    task = build_task(TransductionTask(vocab_size=4, max_length=2, **SMALL))
    given = task.conditions
    valid = given.valid.clone()
    valid[0], valid[1] = first_condition, torch.tensor([2, 2])
    for broken, message in [
        (replace(given, train=given.train[1:]), "train has 400 sequences and 399 conditions"),
        (replace(given, valid=given.valid + 4), "conditions, valid holds ids"),
        (replace(given, test=given.test[:, :1]), r"conditions, test has shape \(50, 1\)"),
        (replace(given, token_names=("a",)), "conditions, 1 token names for V=4"),
        (replace(given, space=SequenceSpace(4, 2, end_id=0)), "conditions, train is not padded"),
        (replace(given, valid=valid, distribution=Unnormalised), "next-token probabilities at position 0 sum to 0.79"),
        (
            replace(given, valid=given.valid.flip(0), distribution=CopyDistribution(given.space, 0.0, reverses=False)),
            "has probability 0",
        ),
    ]:
        with pytest.raises(AssertionError, match=message):
            check_task(replace(task, conditions=broken))
    with pytest.raises(AssertionError, match=r"needs conditions.distribution"):
        check_task(replace(task, oracle=task.oracle_of(given.valid)))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_fingerprint_knows_the_conditions(split):
    task = build_task(TransductionTask(**SMALL))
    changed = getattr(task.conditions, split).clone()
    changed[0, 0] = (changed[0, 0] + 1) % 5
    other = replace(task, conditions=replace(task.conditions, **{split: changed}))
    assert task.fingerprint() != other.fingerprint() != replace(task, conditions=None).fingerprint()
