"""The enumerable world against numbers worked by hand and against sums written out."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from rlgan.envs import ConfigError, SequenceSpace, ShapeError, ToyTask, build_task, sequence_mask
from rlgan.envs.tasks import TabularOracle
from rlgan.envs.testing import (
    TOY_FIRST_LOGITS,
    TOY_PROBS,
    TOY_REAL_LOGITS,
    TOY_SECOND_LOGITS,
    all_sequences,
    check_task,
)
from tests.support.errors import refused


def toy_policy() -> TabularOracle:
    """The fixed tabular policy of the golden numbers, as a distribution."""
    first = torch.tensor(TOY_FIRST_LOGITS, dtype=torch.float64).softmax(0)
    second = torch.tensor(TOY_SECOND_LOGITS, dtype=torch.float64).softmax(1)
    return TabularOracle(SequenceSpace(3, 2), first.unsqueeze(1) * second)


def test_golden_numbers_of_the_fixed_distribution():
    data, policy = TabularOracle.fixed(), toy_policy()
    assert data.entropy == pytest.approx(1.006346, abs=1e-6)
    assert policy.entropy == pytest.approx(1.055480, abs=1e-6)
    # Mean negative log-likelihood per token of the policy's sequences under the data's distribution, and the reverse.
    nll_oracle = -(policy.probs() * data.logprobs(data.sequences()).sum(1)).sum() / 2
    nll_gen = -(data.probs() * policy.logprobs(data.sequences()).sum(1)).sum() / 2
    assert nll_oracle.item() == pytest.approx(1.212674, abs=1e-6)
    assert nll_gen.item() == pytest.approx(1.171577, abs=1e-6)
    mean_prob_real = (policy.probs() * torch.tensor(TOY_REAL_LOGITS).double().sigmoid().view(-1)).sum()
    assert mean_prob_real.item() == pytest.approx(0.557994, abs=1e-6)


def test_conditionals_by_hand():
    logprobs = TabularOracle.fixed().logprobs(torch.tensor([[0, 0], [1, 2], [2, 1]]))
    # First tokens have probability .30, .30, .40; then .20/.30, .05/.30, .10/.40.
    expected = torch.tensor([[0.3, 2 / 3], [0.3, 1 / 6], [0.4, 1 / 4]]).log()
    torch.testing.assert_close(logprobs, expected)
    assert logprobs.dtype == torch.float32


@pytest.mark.parametrize("ends", [False, True])
def test_probabilities_are_products_of_conditionals_and_sum_to_1(ends):
    oracle = TabularOracle.random(SequenceSpace(3, 4, end_id=0 if ends else None), seed=5)
    sequences, probs = oracle.sequences(), oracle.probs()
    assert torch.equal(sequences, all_sequences(oracle.space))
    # With a terminator: 2^0 + 2^1 + 2^2 + 2^3 that end, and 2^4 that do not.
    assert len(sequences) == (31 if ends else 81)
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(oracle.logprobs(sequences).sum(1).exp().double(), probs, rtol=1e-5, atol=0)


def test_padding_costs_nothing_whatever_stands_there():
    oracle = TabularOracle.random(SequenceSpace(3, 4, end_id=0), seed=5)
    logprobs = oracle.logprobs(torch.tensor([[1, 0, 0, 0], [1, 0, 2, 1]]))
    assert torch.equal(logprobs[0], logprobs[1])
    assert (logprobs[:, 2:] == 0).all()
    assert (logprobs[:, :2] < 0).all()


def test_entropy_is_per_real_token():
    # Half end at once, half have two tokens: H = 0.5 ln 2 + 2 · 0.25 ln 4 = 1.5 ln 2, over 1.5 tokens.
    probs = torch.tensor([[0.5, 0.0], [0.25, 0.25]])
    assert TabularOracle(SequenceSpace(2, 2, end_id=0), probs).entropy == pytest.approx(math.log(2))


@pytest.mark.parametrize("ends", [False, True])
def test_samples_follow_the_distribution(ends):
    oracle = TabularOracle.random(SequenceSpace(3, 3, end_id=0 if ends else None), seed=2)
    num_samples = 40_000
    samples = oracle.sample(num_samples, seed=0)
    counts = (samples.unsqueeze(1) == oracle.sequences()).all(2).sum(0)
    assert counts.sum() == num_samples
    probs = oracle.probs()
    deviations = (probs * (1 - probs) / num_samples).sqrt()
    assert ((counts / num_samples - probs).abs() <= 4.5 * deviations).all()


def test_impossible_sequences_are_never_drawn_and_have_log_zero():
    probs = torch.tensor([[0.0, 0.4], [0.6, 0.0]])
    oracle = TabularOracle(SequenceSpace(2, 2), probs)
    assert set(map(tuple, oracle.sample(500, seed=0).tolist())) == {(0, 1), (1, 0)}
    assert oracle.logprobs(torch.tensor([[0, 0]]))[0, 1] == -torch.inf
    assert oracle.entropy == pytest.approx(-(0.4 * math.log(0.4) + 0.6 * math.log(0.6)) / 2)
    never_first = TabularOracle(SequenceSpace(2, 2), torch.tensor([[0.0, 0.0], [0.6, 0.4]]))
    assert never_first.logprobs(torch.tensor([[0, 1]])).tolist() == [[-math.inf, -math.inf]]


@pytest.mark.parametrize(
    "settings",
    [ToyTask(), ToyTask(seed=3), ToyTask(vocab_size=5, max_length=4), ToyTask(vocab_size=2, max_length=6, ends=True)],
    ids=["fixed", "seeded", "larger", "ends"],
)
def test_the_task_keeps_its_contract(settings):
    check_task(build_task(settings))


def test_the_fixed_distribution_stands_only_where_nothing_else_is_asked_for():
    torch.testing.assert_close(
        build_task(ToyTask()).oracle.probs().view(3, 3), torch.tensor(TOY_PROBS, dtype=torch.float64)
    )
    for settings in (ToyTask(seed=0), ToyTask(vocab_size=3), ToyTask(max_length=2), ToyTask(ends=True)):
        assert not settings.is_fixed_distribution
        assert "a random distribution with seed 0" in build_task(settings).notes[0]


def test_splits_are_different_draws_and_repeat_with_the_seed():
    settings = ToyTask(vocab_size=4, max_length=4, num_train=100, num_valid=100, num_test=100)
    task, again = build_task(settings), build_task(settings)
    assert torch.equal(task.train, again.train)
    assert not torch.equal(task.train, task.valid)
    assert not torch.equal(task.valid, task.test)
    other = build_task(settings.model_copy(update={"seed": 1}))
    assert not torch.equal(task.oracle.probs(), other.oracle.probs())


def test_sequences_of_a_world_that_ends_have_several_lengths():
    task = build_task(ToyTask(vocab_size=3, max_length=4, ends=True))
    assert set(sequence_mask(task.space, task.train).sum(1).tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize("sizes", [{"vocab_size": 47, "max_length": 3}, {"vocab_size": 2, "max_length": 17}])
def test_worlds_too_large_to_write_down_are_refused(sizes):
    with refused(ValidationError, "toy_too_large", match="100000"):
        ToyTask(**sizes)


@pytest.mark.parametrize(
    ("probs", "error", "message"),
    [
        ([0.5, 0.5], ShapeError, "probs_shape"),
        ([[0.5, 0.5], [0.5, -0.5]], ConfigError, "probs_values: 0.5"),
        ([[0.5, 0.5], [0.5, 0.5]], ConfigError, "probs_values: 2.0"),
        ([[0.5, math.nan], [0.5, 0.5]], ConfigError, "probs_values"),
        ([[0.5, 0.25], [0.25, 0.0]], ConfigError, "probs_after_end"),
    ],
)
def test_tables_that_are_no_distribution_are_refused(probs, error, message):
    with refused(error, message):
        TabularOracle(SequenceSpace(2, 2, end_id=0), torch.tensor(probs))


@pytest.mark.parametrize("tokens", [[[0, 3]], [[-1, 0]], [[0, 0, 0]], [0, 0]])
def test_sequences_of_another_world_are_refused(tokens):
    with pytest.raises(ShapeError):
        TabularOracle.fixed().logprobs(torch.tensor(tokens))
