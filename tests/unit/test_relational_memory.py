"""Relational memory as generator: the equations by hand, one distribution however it is read, bits of both passes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlgan.discriminators import InteractionCnn, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import (
    RelationalMemory,
    RelationalMemoryGenerator,
    Seq2SeqRelationalMemory,
    Seq2SeqRelationalMemoryGenerator,
)
from rlgan.generators.relational_memory import MemoryCell
from rlgan.generators.testing import check_generator
from rlgan.layers.embeddings import with_embeddings_of
from rlgan.layers.relaxation import gumbel_noise, uniform_of_rows

SPACE = SequenceSpace(7, 5)


def generator(space: SequenceSpace = SPACE) -> RelationalMemoryGenerator:
    torch.manual_seed(0)
    net = RelationalMemoryGenerator(RelationalMemory(embedding=3, heads=2, head_size=4), space).eval()
    with torch.no_grad():
        # Scales of 1 and biases of 0 would hide a norm or a bias that is left out.
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def normed(rows: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    deviation = (rows - rows.mean(-1, keepdim=True)).square().mean(-1, keepdim=True).add(1e-5).sqrt()
    return (rows - rows.mean(-1, keepdim=True)) / deviation * norm.weight + norm.bias


def stepped(cell: MemoryCell, embedded: Tensor, memory: Tensor) -> Tensor:
    """The memory (R, 8) of two heads after a token.

    The general form: attention of all rows to all rows of [memory; token], of which the memory's are kept.
    """
    read = embedded @ cell.read.weight.T + cell.read.bias
    both = torch.stack([memory, read], 1)
    projected = normed(both @ cell.queries_keys_values.weight.T, cell.queries_keys_values_norm)
    found = []
    for head in range(2):
        q, k, v = projected[..., 12 * head : 12 * head + 12].split(4, dim=2)
        found.append((q @ k.transpose(1, 2) / math.sqrt(12)).softmax(2) @ v)
    mixed = normed(both + torch.cat(found, 2), cell.attended_norm)
    hidden = (mixed @ cell.expand.weight.T + cell.expand.bias).clamp_min(0)
    mixed = normed(mixed + hidden @ cell.contract.weight.T + cell.contract.bias, cell.mixed_norm)[:, 0]
    gates = memory.tanh() @ cell.memory_gates.weight.T + read @ cell.input_gates.weight.T
    return gates[:, :8].sigmoid() * mixed.tanh() + (gates[:, 8:] + 1).sigmoid() * memory


@torch.no_grad()
def test_logits_by_the_equations_of_the_memory() -> None:
    net, tokens = generator(), random_sequences(SPACE, 3, seed=0)
    memory, expected = torch.zeros(3, 8), []
    memory[:, 0] = 1.0
    previous = torch.zeros(3, dtype=torch.int64)
    for position in range(5):
        memory = stepped(net.cell, net.embedding.weight[previous], memory)
        expected.append(memory @ net.output.weight.T + net.output.bias)
        previous = tokens[:, position]
    torch.testing.assert_close(net.logits(tokens), torch.stack(expected, 1), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_step_is_the_whole_pass_bit_for_bit() -> None:
    net, tokens = generator(), random_sequences(SPACE, 6, seed=1)
    inputs = torch.cat([torch.zeros(6, 1, dtype=torch.int64), tokens[:, :-1]], 1)
    whole, stepper = net.memories(inputs), net.stepper()
    state = stepper.start(6)
    for position in range(5):
        if position:
            state = stepper.advance(state, tokens[:, position - 1])
        assert torch.equal(state[0], whole[:, position])


@torch.no_grad()
@pytest.mark.parametrize("end_id", [None, 2])
def test_probabilities_of_all_sequences_sum_to_one(end_id: int | None) -> None:
    space = SequenceSpace(3, 4, end_id)
    sequences = all_sequences(space)
    logprobs = generator(space).logprobs(sequences).double()
    probs = logprobs.masked_fill(~sequence_mask(space, sequences), 0.0).sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)


def test_it_keeps_the_contract_of_a_generator() -> None:
    settings = RelationalMemory(embedding=3, heads=2, head_size=4)
    for space in (SPACE, SequenceSpace(4, 3, end_id=1)):
        check_generator(lambda: RelationalMemoryGenerator(settings, space), space)  # noqa: B023


def test_soft_rows_are_differentiable_through_all_steps() -> None:
    net = generator().double()
    noise = gumbel_noise(uniform_of_rows(torch.arange(2), 5, 7)).double()
    weights = torch.randn(2, 5, 7, dtype=torch.float64)

    def value() -> Tensor:
        return (net.relaxed(noise, 0.7, straight_through=False)[0] * weights).sum()

    value().backward()
    for parameter in (net.embedding.weight, net.cell.queries_keys_values.weight, net.cell.input_gates.weight):
        assert parameter.grad is not None
        index = int(parameter.grad.flatten().abs().argmax())
        with torch.no_grad():
            ends = []
            for step in (1e-6, -2e-6):
                parameter.view(-1)[index] += step
                ends.append(float(value()))
        found = float(parameter.grad.flatten()[index])
        with torch.no_grad():
            parameter.view(-1)[index] += 1e-6
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


# --------------------------------------------------------------------------------------------- what reads first

SOURCE = SequenceSpace(6, 4, end_id=2)
GIVEN = SequenceSpace(3, 4, end_id=1, start_id=2, condition=SOURCE)


def reader() -> Seq2SeqRelationalMemoryGenerator:
    torch.manual_seed(0)
    net = Seq2SeqRelationalMemoryGenerator(Seq2SeqRelationalMemory(embedding=3, heads=2, head_size=4), GIVEN).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


@torch.no_grad()
def test_a_condition_is_read_token_by_token_before_the_start() -> None:
    # Each pair by itself, its condition without padding.
    net, conditions, tokens = reader(), random_sequences(SOURCE, 12, seed=4), random_sequences(GIVEN, 12, seed=1)
    lengths = sequence_mask(SOURCE, conditions).sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4}
    expected = []
    for condition, length, sequence in zip(conditions, lengths, tokens, strict=True):
        memory, logits = torch.eye(8)[:1], []
        for token in condition[:length]:
            memory = stepped(net.cell, net.source_embedding.weight[token].unsqueeze(0), memory)
        for token in [2, *sequence[:-1].tolist()]:  # 2 is the start
            memory = stepped(net.cell, net.embedding.weight[token].unsqueeze(0), memory)
            logits.append((memory @ net.output.weight.T + net.output.bias)[0])
        expected.append(torch.stack(logits))
    torch.testing.assert_close(net.conditional(conditions).logits(tokens), torch.stack(expected), atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_of_a_condition_changes_no_bit() -> None:
    net, conditions, tokens = reader(), random_sequences(SOURCE, 9, seed=0), random_sequences(GIVEN, 9, seed=1)
    is_real = sequence_mask(SOURCE, conditions)
    logits = net.conditional(conditions).logits(tokens)
    for litter in (0, 2, 5):
        littered = torch.where(is_real, conditions, litter)
        assert torch.equal(net.conditional(littered).logits(tokens), logits)
    wider = torch.cat([conditions, torch.full((9, 3), 5)], 1)
    ended = (conditions == 2).any(1)  # the others would go on
    torch.testing.assert_close(net.conditional(wider).logits(tokens)[ended], logits[ended], atol=1e-6, rtol=0)


@torch.no_grad()
def test_probabilities_sum_to_one_under_each_condition() -> None:
    net, sequences, totals, probs_of = reader(), all_sequences(GIVEN), [], []
    mask = sequence_mask(GIVEN, sequences)
    for condition in random_sequences(SOURCE, 5, seed=3):
        logprobs = net.conditional(condition.expand(len(sequences), -1)).logprobs(sequences).double()
        probs_of.append(logprobs.masked_fill(~mask, 0.0).sum(1).exp())
        totals.append(float(probs_of[-1].sum()))
    assert totals == pytest.approx([1.0] * 5, abs=1e-5)
    assert float((torch.stack(probs_of).std(0)).max()) > 0.01  # and they differ


@torch.no_grad()
def test_a_step_of_what_reads_first_is_the_whole_pass_bit_for_bit() -> None:
    net, conditions, tokens = reader(), random_sequences(SOURCE, 6, seed=0), random_sequences(GIVEN, 6, seed=1)
    inputs = torch.cat([torch.full((6, 1), 2), tokens[:, :-1]], 1)
    whole, stepper = net.memories(inputs, net.read(conditions)), net.stepper().conditional(conditions)
    state = stepper.start(6)
    for position in range(4):
        if position:
            state = stepper.advance(state, tokens[:, position - 1])
        assert len(state) == 1 and torch.equal(state[0], whole[:, position])


def test_what_reads_first_keeps_the_contract_of_a_generator() -> None:
    settings = Seq2SeqRelationalMemory(embedding=3, heads=2, head_size=4)
    check_generator(lambda: Seq2SeqRelationalMemoryGenerator(settings, GIVEN), GIVEN)
    for call in (reader().conditional, reader().stepper().conditional):
        with pytest.raises(ValueError, match="needs conditions"):
            call(None)


def test_a_discriminator_may_copy_both_tables() -> None:
    # Of discriminator interaction_cnn, whose embeddings may be the generator's.
    settings, net = Seq2SeqRelationalMemory(embedding=3, heads=2, head_size=4), reader()
    judge = build_discriminator(InteractionCnn(embedding=settings.table_width, embeddings="generator"), GIVEN)
    judge.load_state_dict(with_embeddings_of(judge.state_dict(), net.state_dict()))
    for name in ("source_embedding.weight", "embedding.weight"):
        assert torch.equal(judge.state_dict()[name], net.state_dict()[name])


def test_it_learns_to_copy_what_it_has_read() -> None:
    # Three of four tokens, 64 conditions: without having read, at least log 4 a token is lost.
    space = SequenceSpace(4, 3, condition=SequenceSpace(4, 3))
    torch.manual_seed(0)
    net = Seq2SeqRelationalMemoryGenerator(Seq2SeqRelationalMemory(embedding=8, heads=2, head_size=8), space)
    conditions, optimizer = all_sequences(SequenceSpace(4, 3)), torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = -net.conditional(conditions).logprobs(conditions).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > math.log(4) and losses[-1] < 0.3
