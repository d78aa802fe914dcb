"""The discriminator of tokens against torch's own LSTM and against its equations in loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rlgan.discriminators import CausalLSTM, CausalLSTMDiscriminator
from rlgan.discriminators.causal_lstm import position_features
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences

SPACE = SequenceSpace(6, 7)
TOKENS, MASK = random_sequences(SPACE, 8, seed=0), torch.ones(8, 7, dtype=torch.bool)


def network(**settings: object) -> CausalLSTMDiscriminator:
    torch.manual_seed(0)
    return CausalLSTMDiscriminator(CausalLSTM(embedding=4, hidden=5, position_features=3, **settings), SPACE)


def inputs_of(net: CausalLSTMDiscriminator) -> Tensor:
    positions = position_features(7, 3).expand(8, -1, -1)
    return net.projection(torch.cat([net.embedding(TOKENS), positions], dim=2))


def test_without_layer_norm_it_is_torch_s_lstm() -> None:
    net = network(layer_norm=False, layers=2).eval()
    twin = nn.LSTM(5, 5, 2, batch_first=True)
    with torch.no_grad():
        for index, layer in enumerate(net.layers):
            # Ours are admit, new, keep, show, with 1 added to keep; torch's are admit, keep, new, show.
            order = torch.cat([torch.arange(5) + 5 * gate for gate in (0, 2, 1, 3)])
            getattr(twin, f"weight_ih_l{index}").copy_(layer.inputs.weight[order])
            getattr(twin, f"weight_hh_l{index}").copy_(layer.recurrent.weight[order])
            getattr(twin, f"bias_ih_l{index}").copy_(layer.inputs.bias[order])
            getattr(twin, f"bias_hh_l{index}").zero_()[5:10] = 1.0
        expected = net.output(twin(inputs_of(net))[0]).squeeze(2)
        torch.testing.assert_close(net(TOKENS, MASK), expected, atol=1e-6, rtol=1e-5)


def test_with_layer_norm_it_is_its_equations() -> None:
    net = network().eval()
    layer = net.layers[0]
    with torch.no_grad():
        layer.norm.weight.copy_(torch.rand(20) + 0.5)
        layer.norm.bias.copy_(torch.randn(20))
        inputs = inputs_of(net)
        for b in range(8):
            h, c = torch.zeros(5), torch.zeros(5)
            for t in range(7):
                z = layer.inputs.weight @ inputs[b, t] + layer.inputs.bias + layer.recurrent.weight @ h
                z = (z - z.mean()) / ((z - z.mean()).square().mean() + 1e-5).sqrt()
                z = z * layer.norm.weight + layer.norm.bias
                i, j, f, o = z[:5], z[5:10], z[10:15], z[15:]
                c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(j)
                h = torch.sigmoid(o) * torch.tanh(c)
                logit = net.output.weight[0] @ h + net.output.bias[0]
                torch.testing.assert_close(net(TOKENS, MASK)[b, t], logit, atol=1e-5, rtol=1e-5)


def test_position_features_by_hand() -> None:
    # T = 8, three sinusoids: periods 2, 4, 8 and shifts 0, 1, 2.
    found = position_features(8, 3)
    for t in range(8):
        expected = [math.cos(math.pi * (t / period + shift)) for period, shift in ((2, 0), (4, 1), (8, 2))]
        torch.testing.assert_close(found[t], torch.tensor(expected), atol=1e-6, rtol=0)
    assert position_features(5, 0).shape == (5, 0)


def test_dropout_thins_the_table_once_for_the_whole_minibatch() -> None:
    net = network(dropout=0.5).train()
    torch.manual_seed(1)
    embedded = net.embed(TOKENS)
    of_token: dict[int, Tensor] = {}
    for token, row in zip(TOKENS.flatten().tolist(), embedded.flatten(0, 1), strict=True):
        assert torch.equal(of_token.setdefault(token, row), row)
    rows = torch.stack([of_token[token] for token in range(6)])
    kept = rows != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(rows[kept], 2.0 * net.embedding.weight[kept])
    assert not torch.equal(net.embed(TOKENS), embedded)
    torch.manual_seed(1)
    assert torch.equal(net.embed(nn.functional.one_hot(TOKENS, 6).float()), embedded)
    assert torch.equal(net.eval().embed(TOKENS), net.embedding(TOKENS))
