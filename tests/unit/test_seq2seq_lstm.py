"""The encoder-decoder of LSTMs by its equations; what all encoder-decoders promise is in `test_seq2seq.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Seq2SeqLSTM, Seq2SeqLSTMGenerator, build_generator

SOURCE = SequenceSpace(7, 6, end_id=0)
SPACE = SequenceSpace(5, 4, end_id=1, condition=SOURCE)
VARIANTS: list[dict[str, Any]] = [
    {},
    {"attention": "multiplicative", "tied": True},
    {"input_feeding": True},
    {"self_attention": True},
    {"input_feeding": True, "self_attention": True, "layers": 2, "tied": True},
]
variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "+".join(variant) or "plain")


def generator(variant: dict[str, Any], space: SequenceSpace = SPACE) -> Seq2SeqLSTMGenerator:
    torch.manual_seed(3)
    net = build_generator(Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7, **variant), space)
    assert isinstance(net, Seq2SeqLSTMGenerator)
    return net.eval()


def pairs(number: int) -> tuple[Tensor, Tensor]:
    return random_sequences(SOURCE, number, seed=1), random_sequences(SPACE, number, seed=2)


def by_hand(net: Seq2SeqLSTMGenerator, condition: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (T, V) and attention (T, S) of one pair, a step and a position at a time."""
    real = condition[: int(sequence_mask(SOURCE, condition.unsqueeze(0)).sum())]
    values, ends = net.encoder(net.source_embedding(real).unsqueeze(0), torch.ones(1, len(real), dtype=torch.bool))
    memory, num_layers = values[0], net.decoder.num_layers
    hidden = torch.stack([torch.tanh(net.start(ends[layer, 0])) for layer in range(num_layers)])
    cell, output, seen, logits = torch.zeros_like(hidden), torch.zeros(6), [], []
    attention = torch.zeros(len(tokens), len(condition))
    for position, token in enumerate([net.start_id, *tokens[:-1].tolist()]):
        read = net.embedding.weight[token]
        if net.feeds_outputs:
            read = torch.cat([read, output])
        _, (hidden, cell) = net.decoder(read.unsqueeze(0), (hidden, cell))
        state = hidden[-1]
        keys = [net.keys(value) for value in memory]
        if net.query is None or net.energy is None:
            scores = torch.stack([state @ key for key in keys])
        else:
            scores = torch.stack([net.energy(torch.tanh(net.query(state) + key))[0] for key in keys])
        attention[position, : len(real)] = torch.softmax(scores, 0)
        found = [state, sum(weight * value for weight, value in zip(torch.softmax(scores, 0), memory, strict=True))]
        if net.self_query is not None:
            own = torch.zeros(6)
            if seen:
                weights = torch.softmax(torch.stack([net.self_query(state) @ before for before in seen]), 0)
                own = sum(weight * before for weight, before in zip(weights, seen, strict=True))
            found.append(own)
            seen.append(state)
        output = torch.tanh(net.mix(torch.cat(found)))
        logits.append(net.output(output if net.projection is None else net.projection(output)))
    return torch.stack(logits), attention


@variants
def test_logits_and_attention_are_those_of_the_equations(variant: dict[str, Any]) -> None:
    net, (conditions, tokens) = generator(variant), pairs(6)
    with torch.no_grad():
        distribution = net.conditional(conditions)
        logits, attention = zip(*(by_hand(net, *pair) for pair in zip(conditions, tokens, strict=True)), strict=True)
        torch.testing.assert_close(distribution.logits(tokens), torch.stack(logits), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(distribution.attention(tokens), torch.stack(attention), atol=1e-5, rtol=1e-5)
    assert float(torch.stack(logits).std(0).max()) > 0.1 and float(torch.stack(attention).std(0).max()) > 0.02
