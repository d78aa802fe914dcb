"""The hot loop against exact distributions: sequences, log-probabilities, and continuations of prefixes.

On worlds that can be enumerated, the share of each sequence must lie within 4 standard deviations of its probability.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlgan.envs.categorical import BLOCK
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Generator, LSTMGenerator
from rlgan.generators.lstm import LSTMStepper
from rlgan.sampling.sampler import Continuations, continue_prefixes, mixed_inputs, sample
from tests.support import reference
from tests.support.tabular import TabularGenerator

FIXED = SequenceSpace(vocab_size=3, max_length=3)
ENDING = SequenceSpace(vocab_size=3, max_length=3, end_id=1)
SPACES = [pytest.param(FIXED, id="fixed length"), pytest.param(ENDING, id="ending early")]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lstm(vocab_size: int, layers: int = 1, init_std: float = 1.0, hidden: int = 5) -> LSTMGenerator:
    torch.manual_seed(vocab_size + layers)
    return LSTMGenerator(
        LSTM(embedding=4, hidden=hidden, layers=layers, init_std=init_std), SequenceSpace(vocab_size, 1)
    ).eval()


@torch.no_grad()
def exact_probs(generator: Generator, space: SequenceSpace, sequences: Tensor, temperature: float = 1.0) -> Tensor:
    """Probability of whole sequences by teacher forcing, in float64."""
    logprobs = generator.logprobs(sequences, temperature).double()
    return logprobs.masked_fill(~sequence_mask(space, sequences), 0.0).sum(1).exp()


def counts(tokens: Tensor, sequences: Tensor) -> Tensor:
    """How often each of `sequences` stands among the rows of `tokens`; every row must be one of them."""
    matches = (tokens.unsqueeze(1) == sequences.unsqueeze(0)).all(2)
    assert bool(matches.any(1).all()), "a row is none of the legal sequences"
    return matches.sum(0)


def assert_distribution(observed: Tensor, probs: Tensor) -> None:
    """Counts of independent draws against probabilities: 4 standard deviations of a binomial count."""
    number = int(observed.sum())
    assert abs(float(probs.sum()) - 1) < 1e-5
    deviation = (observed - number * probs).abs() / (number * probs * (1 - probs)).sqrt().clamp_min(1e-9)
    assert float(deviation.max()) < 4, f"worst deviation {float(deviation.max()):.2f} standard deviations"


# ---------------------------------------------------------------------------------------------------- sample


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sample_draws_every_sequence_with_its_probability(space: SequenceSpace, temperature: float) -> None:
    generator = lstm(space.vocab_size, layers=2)
    sequences = all_sequences(space)
    drawn = sample(generator.stepper(temperature), space, 40_000, rng(), chunk_rows=4_000)
    assert_distribution(counts(drawn.tokens, sequences), exact_probs(generator, space, sequences, temperature))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sample_draws_from_any_stepper(space: SequenceSpace, temperature: float) -> None:
    generator = TabularGenerator(space)
    sequences = all_sequences(space)
    drawn = sample(generator.stepper(temperature), space, 40_000, rng(1), chunk_rows=4_000)
    assert_distribution(counts(drawn.tokens, sequences), exact_probs(generator, space, sequences, temperature))


@pytest.mark.parametrize("vocab_size", [2, BLOCK - 1, BLOCK, BLOCK + 1, 150])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.5])
@pytest.mark.parametrize("end_id", [None, 1])
def test_logprobs_of_samples_are_those_of_teacher_forcing(
    vocab_size: int, layers: int, temperature: float, end_id: int | None
) -> None:
    space = SequenceSpace(vocab_size, max_length=7, end_id=end_id)
    generator = lstm(vocab_size, layers)
    drawn = sample(generator.stepper(temperature), space, 40, rng(), chunk_rows=16)
    with torch.no_grad():
        expected = generator.logprobs(drawn.tokens, temperature)
    assert torch.equal(drawn.mask, sequence_mask(space, drawn.tokens))
    torch.testing.assert_close(drawn.logprobs[drawn.mask], expected[drawn.mask], atol=1e-5, rtol=0)
    assert bool((drawn.logprobs[~drawn.mask] == 0).all())


def test_finished_sequences_are_padded_and_have_differing_lengths() -> None:
    space = SequenceSpace(vocab_size=5, max_length=6, end_id=2)
    drawn = sample(lstm(5).stepper(), space, 200, rng())
    lengths = drawn.mask.sum(1)
    assert sorted(set(lengths.tolist())) == [1, 2, 3, 4, 5, 6]
    for row, length in zip(drawn.tokens.tolist(), lengths.tolist(), strict=True):
        assert 2 not in row[: length - 1], "a token follows the terminator"
        assert row[length - 1] == 2 or length == 6
        assert row[length:] == [2] * (6 - length)


def test_smallest_world_is_one_coin() -> None:
    space = SequenceSpace(vocab_size=2, max_length=1)
    generator = lstm(2)
    drawn = sample(generator.stepper(), space, 20_000, rng(), chunk_rows=4_000)
    assert drawn.tokens.shape == (20_000, 1)
    sequences = torch.tensor([[0], [1]])
    assert_distribution(counts(drawn.tokens, sequences), exact_probs(generator, space, sequences))
    assert list(continue_prefixes(generator.stepper(), space, drawn.tokens[:5], 3, rng())) == []


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 8, 100])
def test_any_chunk_size_draws_as_many_sequences_from_the_same_distribution(chunk_rows: int) -> None:
    space = SequenceSpace(vocab_size=4, max_length=5, end_id=3)
    generator = lstm(4)
    drawn = sample(generator.stepper(), space, 7, rng(), chunk_rows)
    assert drawn.tokens.shape == drawn.logprobs.shape == drawn.mask.shape == (7, 5)
    with torch.no_grad():
        expected = generator.logprobs(drawn.tokens)
    torch.testing.assert_close(drawn.logprobs[drawn.mask], expected[drawn.mask], atol=1e-5, rtol=0)


def test_samples_across_a_chunk_boundary_are_independent() -> None:
    # Rows at the same place of two chunks: every chunk must draw fresh numbers.
    drawn = sample(lstm(50, init_std=0.1).stepper(), SequenceSpace(50, 10), 8, rng(), chunk_rows=4)
    assert not torch.equal(drawn.tokens[:4], drawn.tokens[4:])


def test_same_stream_same_samples() -> None:
    stepper, space = lstm(30).stepper(), SequenceSpace(30, 5)
    first, again, other = (sample(stepper, space, 9, rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.logprobs, again.logprobs)
    assert not torch.equal(first.tokens, other.tokens)


def test_given_prefixes_stand_and_what_follows_has_its_conditional_distribution() -> None:
    generator, space = lstm(3), ENDING
    prefixes = torch.tensor([[0, 2], [2, 0], [1, 1], [0, 1]])
    drawn = sample(generator.stepper(), space, 4_000, rng(), 300, prefixes.repeat(1_000, 1))
    assert torch.equal(drawn.tokens[:, :2], prefixes.repeat(1_000, 1))
    assert bool((drawn.logprobs[:, :2] == 0).all())
    sequences = all_sequences(space)
    probs = exact_probs(generator, space, sequences)
    for row, prefix in enumerate(prefixes):
        tokens = drawn.tokens[row::4]
        if row > 1:  # it has ended: nothing was drawn
            assert bool((tokens[:, 2] == space.pad_id).all()) and bool((drawn.logprobs[row::4] == 0).all())
            continue
        agrees = (sequences[:, :2] == prefix).all(1)
        assert_distribution(counts(tokens, sequences[agrees]), probs[agrees] / probs[agrees].sum())
    with torch.no_grad():
        expected = generator.logprobs(drawn.tokens)[:, 2] * drawn.mask[:, 2]
    torch.testing.assert_close(drawn.logprobs[:, 2], expected, atol=1e-5, rtol=0)


def test_mixed_inputs_are_real_where_they_stand_and_own_draws_elsewhere() -> None:
    generator, number = lstm(3), 4_000
    tokens = torch.tensor([[2, 0, 1]]).expand(number, 3)
    draws = torch.rand(number, 3, generator=rng())
    draws[:, 1] = -1.0
    read = mixed_inputs(generator.stepper(), tokens, draws)
    assert bool((read[:, 1] == 0).all())
    # The third is drawn given what was read, and not given what was real.
    with torch.no_grad():
        distributions = generator.logits(torch.tensor([[first, 0, 0] for first in range(3)])).softmax(2).double()
    assert_distribution(torch.bincount(read[:, 0], minlength=3), distributions[0, 0])
    for first in range(3):
        assert_distribution(torch.bincount(read[read[:, 0] == first, 2], minlength=3), distributions[first, 2])
    assert torch.equal(mixed_inputs(generator.stepper(), tokens, torch.full((number, 3), -1.0)), tokens)


# --------------------------------------------------------------------------------------------------- stepper


def subtracts_maximum(stepper: LSTMStepper) -> bool:
    return stepper._subtract_maximum


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_weights_are_the_softmax_with_and_without_subtracting_the_maximum(scale: float) -> None:
    generator = lstm(70)
    with torch.no_grad():
        generator.output.weight.mul_(scale)
        generator.output.bias.mul_(scale)
    stepper = generator.stepper(temperature=0.9)
    # hidden 5 with N(0, 1) parameters: the bound on |logit| is about 10 / (0.9 log 2) = 16, times 40 it is past 60.
    assert subtracts_maximum(stepper) == (scale > 1)
    tokens = random_sequences(SequenceSpace(70, 4), 6, seed=0)
    with torch.no_grad():
        expected = (generator.logits(tokens) / 0.9).softmax(2)
    state = stepper.start(6)
    for position in range(4):
        if position:
            state = stepper.advance(state, tokens[:, position - 1])
        weights = stepper.weights(state)
        found = (weights / weights.sum(1, keepdim=True))[:, :70]
        torch.testing.assert_close(found, expected[:, position], atol=1e-5, rtol=1e-4)


def test_subtracting_the_maximum_does_not_change_the_distribution() -> None:
    stepper = lstm(70).stepper()
    state = stepper.start(3)
    plain = stepper.weights(state).clone()
    stepper._subtract_maximum = True
    shifted = stepper.weights(state).clone()
    assert bool((shifted.amax(1) == 1).all())
    torch.testing.assert_close(plain / plain.sum(1, keepdim=True), shifted / shifted.sum(1, keepdim=True))


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_huge_logits_stay_finite(scale: float) -> None:
    generator = lstm(10)
    with torch.no_grad():
        generator.output.weight.mul_(scale)
    drawn = sample(generator.stepper(), SequenceSpace(10, 5), 50, rng())
    assert bool(torch.isfinite(drawn.logprobs).all())


@pytest.mark.parametrize("subtract", [False, True])
def test_padding_columns_have_weight_zero_and_are_never_drawn(subtract: bool) -> None:
    generator = lstm(BLOCK + 3)
    with torch.no_grad():
        # Every real token is improbable beside a logit of 0, which padding would have if it were not shut out.
        generator.output.bias.sub_(30.0)
    stepper = generator.stepper()
    stepper._subtract_maximum = subtract
    weights = stepper.weights(stepper.start(4))
    assert weights.shape == (4, 2 * BLOCK)
    assert bool((weights[:, BLOCK + 3 :] == 0).all())
    assert bool((weights.sum(1) > 0).all())
    drawn = sample(stepper, SequenceSpace(BLOCK + 3, 4), 500, rng())
    assert int(drawn.tokens.max()) < BLOCK + 3


@pytest.mark.parametrize("hidden", [1, 5])
def test_stepper_is_a_frozen_copy(hidden: int) -> None:
    generator, space = lstm(9, layers=2, hidden=hidden), SequenceSpace(9, 6)
    stepper = generator.stepper()
    before = sample(stepper, space, 20, rng())
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(1.0)
    after = sample(stepper, space, 20, rng())
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.logprobs, after.logprobs)


def test_stepper_ignores_dropout() -> None:
    torch.manual_seed(0)
    generator = LSTMGenerator(
        LSTM(embedding=4, hidden=5, layers=2, dropout=0.5, init_std=1.0), SequenceSpace(9, 1)
    ).train()
    drawn = sample(generator.stepper(), SequenceSpace(9, 6), 20, rng())
    with torch.no_grad():
        expected = generator.eval().logprobs(drawn.tokens)
    torch.testing.assert_close(drawn.logprobs, expected, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------ continuations


def joined(parts: list[Continuations]) -> Continuations:
    return Continuations(
        **{
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("tokens", "sequence", "position", "rollout")
        }
    )


def continued(
    generator: Generator, space: SequenceSpace, tokens: Tensor, num_rollouts: int, seed: int = 0, chunk_rows: int = 256
) -> Continuations:
    return joined(list(continue_prefixes(generator.stepper(), space, tokens, num_rollouts, rng(seed), chunk_rows)))


LONGER = [
    pytest.param(SequenceSpace(4, 6), id="fixed length"),
    pytest.param(SequenceSpace(4, 6, end_id=2), id="ending early"),
]
CHUNKS = [1, 5, 16, 10_000]


@pytest.mark.parametrize("space", LONGER)
@pytest.mark.parametrize("chunk_rows", CHUNKS)
def test_every_proper_prefix_is_continued_n_times_and_the_last_token_never(
    space: SequenceSpace, chunk_rows: int
) -> None:
    tokens = random_sequences(space, 9, seed=1)
    lengths = sequence_mask(space, tokens).sum(1).tolist()
    assert space.end_id is None or len(set(lengths)) > 2
    parts = list(continue_prefixes(lstm(4).stepper(), space, tokens, 3, rng(), chunk_rows))
    assert all(part.tokens.shape[0] <= chunk_rows for part in parts)
    found = joined(parts)
    triples = list(zip(found.sequence.tolist(), found.position.tolist(), found.rollout.tolist(), strict=True))
    expected = {(b, t, n) for b, length in enumerate(lengths) for t in range(length - 1) for n in range(3)}
    assert len(triples) == len(expected) and set(triples) == expected


@pytest.mark.parametrize("space", LONGER)
@pytest.mark.parametrize("chunk_rows", CHUNKS)
def test_continuations_agree_with_their_prefix_action_included_and_are_finished(
    space: SequenceSpace, chunk_rows: int
) -> None:
    tokens = random_sequences(space, 9, seed=1)
    found = continued(lstm(4), space, tokens, 3, chunk_rows=chunk_rows)
    mask = sequence_mask(space, found.tokens)
    for row, real, b, t in zip(found.tokens, mask, found.sequence.tolist(), found.position.tolist(), strict=True):
        assert torch.equal(row[: t + 1], tokens[b, : t + 1])
        assert bool(real[t + 1]), "nothing was added to the prefix"
        length = int(real.sum())
        assert length == space.max_length or int(row[length - 1]) == space.end_id
        assert bool((row[length:] == space.pad_id).all())


@pytest.mark.parametrize("chunk_rows", [1, 4, 100])
def test_one_hot_policy_reproduces_the_sequence_from_every_prefix(chunk_rows: int) -> None:
    # A lag of one step in the stored states shows as another token here.
    for space, row in ((SequenceSpace(4, 6), [2, 0, 3, 1, 2, 3]), (SequenceSpace(4, 6, end_id=2), [1, 0, 3, 2, 2, 2])):
        tokens = torch.tensor([row])
        policy = TabularGenerator.deterministic(space, tokens[0])
        assert torch.equal(sample(policy.stepper(), space, 2, rng()).tokens, tokens.repeat(2, 1))
        found = continued(policy, space, tokens, 2, chunk_rows=chunk_rows)
        assert found.tokens.shape[0] == 2 * (int(sequence_mask(space, tokens).sum()) - 1)
        assert torch.equal(found.tokens, tokens.expand_as(found.tokens))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("chunk_rows", [64, 10**6])
def test_continuations_follow_the_distribution_given_the_prefix(space: SequenceSpace, chunk_rows: int) -> None:
    # In one chunk of 10⁶ rows all prefixes run together, the longer ones joining later; chunks of 64 are mostly
    # of one prefix length, those at the seams of two.
    generator = lstm(3, layers=2)
    tokens = torch.tensor([[2, 0, 0], [0, 2, 1], [2, 2, 1]])
    num_rollouts = 8_000 if chunk_rows > 64 else 2_000
    found = continued(generator, space, tokens, num_rollouts, chunk_rows=chunk_rows)
    sequences = all_sequences(space)
    probs = exact_probs(generator, space, sequences)
    for b in range(3):
        for t in range(2):
            agrees = (sequences[:, : t + 1] == tokens[b, : t + 1]).all(1)
            rows = found.tokens[(found.sequence == b) & (found.position == t)]
            assert rows.shape[0] == num_rollouts
            assert_distribution(counts(rows, sequences[agrees]), probs[agrees] / probs[agrees].sum())


@pytest.mark.parametrize("space", SPACES)
def test_slow_twin_and_fast_loop_both_follow_the_distribution(space: SequenceSpace) -> None:
    # The twin decodes the whole prefix again for every token, by torch.multinomial.
    generator = lstm(3, layers=2)
    sequences = all_sequences(space)
    agrees = sequences[:, 0] == 2
    probs = exact_probs(generator, space, sequences)[agrees]
    source = rng(5)
    with torch.no_grad():
        rows = [reference.finish(generator, space, [2], source) for _ in range(2_000)]
    slow = torch.tensor([row + [space.pad_id] * (space.max_length - len(row)) for row in rows])
    fast = continued(generator, space, torch.tensor([[2, 0, 0]]), 2_000, seed=6)
    for tokens in (slow, fast.tokens[fast.position == 0]):
        assert_distribution(counts(tokens, sequences[agrees]), probs / probs.sum())


def test_continuations_of_one_prefix_are_independent_draws() -> None:
    # Two continuations of a prefix agree as often as two draws from the distribution do: Σ p².
    generator, tokens = lstm(3), torch.tensor([[2, 0, 0]] * 4_000)
    found = continued(generator, FIXED, tokens, 2, chunk_rows=10**6)
    pairs = found.tokens[found.position == 0].view(4_000, 2, 3)
    sequences = all_sequences(FIXED)
    probs = exact_probs(generator, FIXED, sequences)[sequences[:, 0] == 2]
    expected = float((probs / probs.sum()).square().sum())
    share = float((pairs[:, 0] == pairs[:, 1]).all(1).double().mean())
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 4_000)


def test_what_stands_after_the_terminator_changes_no_continuation() -> None:
    space = SequenceSpace(4, 6, end_id=2)
    tokens = random_sequences(space, 9, seed=1)
    littered = torch.where(sequence_mask(space, tokens), tokens, torch.full_like(tokens, 3))
    assert not torch.equal(littered, tokens)
    clean, dirty = (continued(lstm(4), space, rows, 3) for rows in (tokens, littered))
    assert torch.equal(clean.tokens, dirty.tokens)


def test_sequences_of_one_token_have_nothing_to_continue() -> None:
    space = SequenceSpace(4, 6, end_id=2)
    tokens = torch.full((3, 6), 2)
    assert list(continue_prefixes(lstm(4).stepper(), space, tokens, 3, rng())) == []


def test_prefix_states_have_consumed_the_action() -> None:
    generator = lstm(9, layers=2)
    tokens = random_sequences(SequenceSpace(9, 5), 4, seed=0)
    stepper = generator.stepper()
    states = stepper.prefix_states(tokens)
    with torch.no_grad():
        expected = generator.logits(tokens).softmax(2)
    for position in range(4):
        weights = stepper.weights(tuple(part[position] for part in states))[:, :9]
        torch.testing.assert_close(weights / weights.sum(1, keepdim=True), expected[:, position + 1], atol=1e-5, rtol=0)
