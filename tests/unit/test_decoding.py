"""Beam search: exact where it sees everything, greedy where it sees one, and what a length is worth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.likeliest import Likeliest
from rlgan.generators import LSTM, Generator, Seq2SeqLSTM, Seq2SeqTransformer, TransformerDecoder, build_generator
from rlgan.generators.sampler import Decoded
from rlgan.policy.credit import Terminal
from rlgan.rollouts.collecting import RolloutPlan
from rlgan.rollouts.shards import Beginnings, cut_into_shards
from rlgan.sampling import sampler
from rlgan.sampling.beam_search import BeamsAndSamples, Drawn, beam_search, length_penalty, searched_rows
from rlgan.sampling.records import concatenate
from tests.support.steppers import collect

SOURCE = SequenceSpace(6, 4, end_id=0)
ENDING, FIXED = SequenceSpace(4, 4, end_id=1, condition=SOURCE), SequenceSpace(4, 4, condition=SOURCE)
CONDITIONS = random_sequences(SOURCE, 7, seed=3)


RECURRENT = Seq2SeqLSTM(embedding=4, hidden=8, init_std=0.7, self_attention=True)
ATTENTIVE = Seq2SeqTransformer(width=8, heads=2, layers=1, init_std=0.7)


def generator(space: SequenceSpace, settings: Seq2SeqLSTM | Seq2SeqTransformer = RECURRENT) -> Generator:
    torch.manual_seed(3)
    return build_generator(settings, space).eval()


def totals(net: Generator, space: SequenceSpace, condition: Tensor, sequences: Tensor) -> Tensor:
    """Log-probability of whole sequences under one condition."""
    mask = sequence_mask(space, sequences)
    with torch.no_grad():
        logprobs = net.conditional(condition.expand(len(sequences), -1)).logprobs(sequences)
    return logprobs.masked_fill(~mask, 0.0).sum(1)


@pytest.mark.parametrize("space", [ENDING, FIXED], ids=["ending early", "fixed"])
@pytest.mark.parametrize("settings", [RECURRENT, ATTENTIVE], ids=["lstm", "transformer"])
@pytest.mark.parametrize("exponent", [0.0, 0.6, 3.0])
def test_a_beam_of_everything_finds_the_best(
    space: SequenceSpace, exponent: float, settings: Seq2SeqLSTM | Seq2SeqTransformer
) -> None:
    net, sequences = generator(space, settings), all_sequences(space)
    found = beam_search(net.stepper(), space, 7, 256, exponent, CONDITIONS, chunk_rows=1_000)
    lengths = sequence_mask(space, sequences).sum(1)
    for condition, tokens, logprob in zip(CONDITIONS, found.tokens, found.logprobs, strict=True):
        exact = totals(net, space, condition, sequences)
        best = (exact / length_penalty(lengths, exponent)).argmax()
        assert torch.equal(tokens, sequences[best])
        assert float(logprob) == pytest.approx(float(exact[best]), abs=1e-5)


@pytest.mark.parametrize("space", [ENDING, FIXED], ids=["ending early", "fixed"])
def test_a_beam_of_one_takes_the_likeliest_token(space: SequenceSpace) -> None:
    net = generator(space)
    found = beam_search(net.stepper(), space, 7, conditions=CONDITIONS)
    for condition, tokens in zip(CONDITIONS, found.tokens, strict=True):
        taken = torch.full((1, 4), space.pad_id)
        for position in range(4):
            with torch.no_grad():
                taken[0, position] = net.conditional(condition.unsqueeze(0)).logits(taken)[0, position].argmax()
            if taken[0, position] == space.end_id:
                break
        taken[~sequence_mask(space, taken)] = space.pad_id
        assert torch.equal(tokens, taken[0])


def test_wider_beams_find_likelier_sequences() -> None:
    net, conditions = generator(FIXED), random_sequences(SOURCE, 60, seed=4)
    found = [beam_search(net.stepper(), FIXED, 60, beam, 0.0, conditions).logprobs for beam in (1, 4, 256)]
    assert bool((found[2] >= found[0] - 1e-6).all()) and bool((found[2] >= found[1] - 1e-6).all())
    # Greedy is not always best, or the test would ask nothing.
    gained = [float((wider - found[0]).mean()) for wider in found[1:]]
    assert 0.05 < gained[0] <= gained[1] + 1e-6


def test_the_exponent_prefers_longer_sequences() -> None:
    net = generator(ENDING)
    lengths = [
        sequence_mask(ENDING, beam_search(net.stepper(), ENDING, 7, 256, exponent, CONDITIONS).tokens).sum(1).float()
        for exponent in (0.0, 1.0, 5.0)
    ]
    assert float(lengths[0].mean()) <= float(lengths[1].mean()) < float(lengths[2].mean())
    assert float(length_penalty(torch.tensor(7.0), 0.6)) == pytest.approx(2.0**0.6)
    assert float(length_penalty(torch.tensor(3.0), 0.0)) == 1.0


@pytest.mark.parametrize("chunk_rows", [1, 6, 100])
def test_chunks_change_nothing(chunk_rows: int) -> None:
    net = generator(ENDING)
    whole = beam_search(net.stepper(), ENDING, 7, 3, 0.5, CONDITIONS, chunk_rows=1_000)
    parts = beam_search(net.stepper(), ENDING, 7, 3, 0.5, CONDITIONS, chunk_rows=chunk_rows)
    assert torch.equal(whole.tokens, parts.tokens)
    torch.testing.assert_close(whole.logprobs, parts.logprobs)


@pytest.mark.parametrize(
    "settings", [LSTM(embedding=4, hidden=6, init_std=1.0), TransformerDecoder(width=8, heads=2, layers=1)]
)
def test_generators_that_are_given_nothing_have_a_likeliest_sequence_too(settings: LSTM | TransformerDecoder) -> None:
    space = SequenceSpace(4, 4, end_id=1)
    torch.manual_seed(2)
    net, sequences = build_generator(settings, space).eval(), all_sequences(space)
    with torch.no_grad():
        exact = net.logprobs(sequences).masked_fill(~sequence_mask(space, sequences), 0.0).sum(1)
    found = beam_search(net.stepper(), space, 2, beam=256)
    assert torch.equal(found.tokens, sequences[exact.argmax()].expand(2, -1))


# ------------------------------------------------------------------------------------- fakes of a discriminator


@pytest.mark.parametrize(("share", "number", "found"), [(0.5, 24, 12), (0.5, 7, 3), (0.29, 100, 29), (1.0, 5, 5)])
def test_searched_fakes_are_their_share_of_every_part(share: float, number: int, found: int) -> None:
    rows = searched_rows(BeamsAndSamples(beam_share=share, rounds="all"), number, pretrains=False)
    assert rows is not None and rows.shape == (number,) and int(rows.sum()) == found
    so_far = rows.cumsum(0)
    assert bool(((so_far - share * torch.arange(1, number + 1)).abs() < 1.0).all())


def test_between_generator_updates_all_are_drawn_unless_asked_for() -> None:
    assert searched_rows(Drawn(), 8, pretrains=True) is None
    assert searched_rows(BeamsAndSamples(), 8, pretrains=False) is None
    assert searched_rows(BeamsAndSamples(), 8, pretrains=True) is not None


@pytest.mark.parametrize("shard_size", [1, 3, 5, 40])
def test_in_shards_of_any_size_half_are_what_beams_find(shard_size: int) -> None:
    net, conditions = generator(ENDING), random_sequences(SOURCE, 24, seed=5)
    is_searched = searched_rows(BeamsAndSamples(beam=3), 24, pretrains=True)
    assert is_searched is not None
    begun = Beginnings(conditions=conditions)
    common = {"generator_version": 0, "rollout_version": None, "discriminator_version": None, "beam": 3}
    shards = cut_into_shards(24, shard_size, 1, ("fakes", 0), begun, is_searched, **common)
    plan = RolloutPlan(ENDING, Terminal(), chunk_rows=7)
    written = concatenate([collect(plan, shard, net.stepper(), None, None) for shard in shards])
    best = beam_search(net.stepper(), ENDING, 24, 3, conditions=conditions).tokens
    assert torch.equal(written.tokens[is_searched], best[is_searched])
    assert torch.equal(written.conditions, conditions)
    # The others are drawn, under conditions of their own; the distribution is peaked, so that some are the likeliest,
    # too.
    drawn = written.tokens[~is_searched]
    assert int((drawn != best[~is_searched]).any(1).sum()) > 2
    assert bool((written.logprobs[is_searched] == 0).all())
    with torch.no_grad():
        exact = net.conditional(conditions[~is_searched]).logprobs(drawn)
    torch.testing.assert_close(written.logprobs[~is_searched], exact * sequence_mask(ENDING, drawn), atol=1e-5, rtol=0)
    again = concatenate([collect(plan, shard, net.stepper(), None, None) for shard in shards])
    assert torch.equal(again.tokens, written.tokens)


@pytest.mark.parametrize(("beam", "searches"), [(1, 2), (3, 3)])
def test_the_likeliest_are_searched_again_only_where_another_answer_is_possible(
    beam: int, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, asked = generator(ENDING), []
    search = sampler.beam_search

    def counted(*arguments: object) -> Decoded:
        asked.append(arguments)
        return search(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler, "beam_search", counted)
    likeliest = Likeliest(ENDING, beam, 0.0)
    first = likeliest.of(net, 1.0, CONDITIONS)
    assert torch.equal(likeliest.of(net, 1.0, CONDITIONS.clone()), first)
    at_half = likeliest.of(net, 0.5, CONDITIONS)
    assert torch.equal(at_half, search(net.stepper(0.5), ENDING, 7, beam, 0.0, CONDITIONS, 512).tokens)
    assert len(asked) == searches - 1
    with torch.no_grad():
        next(net.parameters()).mul_(-2.0)
    changed = likeliest.of(net, 0.5, CONDITIONS)
    assert torch.equal(changed, search(net.stepper(0.5), ENDING, 7, beam, 0.0, CONDITIONS, 512).tokens)
    assert len(likeliest.of(net, 0.5, CONDITIONS[:3])) == 3
    assert len(asked) == searches + 1
