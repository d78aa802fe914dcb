"""Relational memory as generator: the equations by hand, one distribution however it is read, bits of both passes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import RelationalMemory, RelationalMemoryGenerator
from rlgan.generators.testing import check_generator
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


@torch.no_grad()
def test_logits_by_the_equations_of_the_memory() -> None:
    # The general form: attention of all rows to all rows of [memory; token], of which the memory's are kept.
    net, tokens = generator(), random_sequences(SPACE, 3, seed=0)
    cell, memory, expected = net.cell, torch.zeros(3, 8), []
    memory[:, 0] = 1.0
    previous = torch.zeros(3, dtype=torch.int64)
    for position in range(5):
        read = net.embedding.weight[previous] @ cell.read.weight.T + cell.read.bias
        both = torch.stack([memory, read], 1)
        projected = normed(both @ cell.queries_keys_values.weight.T, cell.queries_keys_values_norm)
        found = []
        for head in range(2):
            q, k, v = projected[..., 12 * head : 12 * head + 12].split(4, dim=2)
            found.append((q @ k.transpose(1, 2) / math.sqrt(12)).softmax(2) @ v)
        attended = torch.cat(found, 2)
        mixed = normed(both + attended, cell.attended_norm)
        hidden = (mixed @ cell.expand.weight.T + cell.expand.bias).clamp_min(0)
        mixed = normed(mixed + hidden @ cell.contract.weight.T + cell.contract.bias, cell.mixed_norm)[:, 0]
        gates = memory.tanh() @ cell.memory_gates.weight.T + read @ cell.input_gates.weight.T
        memory = gates[:, :8].sigmoid() * mixed.tanh() + (gates[:, 8:] + 1).sigmoid() * memory
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
