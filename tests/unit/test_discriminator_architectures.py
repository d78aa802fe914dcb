"""What is peculiar to the attention, the residual and the tabular discriminator."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.discriminators import (
    ResConv,
    ResConvDiscriminator,
    Tabular,
    TabularDiscriminator,
    Transformer,
    TransformerDiscriminator,
    build_discriminator,
)
from rlgan.discriminators.transformer import SelfAttention
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from tests.support.errors import refused
from tests.support.tabular import every_sequence

SPACE = SequenceSpace(6, 5, end_id=2)
TOKENS = random_sequences(SPACE, 12, seed=0)
MASK = sequence_mask(SPACE, TOKENS)


# ------------------------------------------------------------------------------------------------ the transformer


def transformer(**settings: object) -> TransformerDiscriminator:
    torch.manual_seed(0)
    return TransformerDiscriminator(Transformer(width=8, **settings), SPACE)


def test_attention_begins_as_the_identity() -> None:
    layer = SelfAttention(Transformer(width=8))
    states = torch.randn(12, 5, 8)
    assert torch.equal(layer(states, MASK), states)
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    assert not torch.equal(layer(states, MASK), states)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_its_equations(heads: int) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(Transformer(width=8, heads=heads)).eval()
    with torch.no_grad():
        layer.gamma.fill_(0.7)
        states = torch.randn(12, 5, 8)
        found = layer(states, MASK)
        for b in range(12):
            x = functional.layer_norm(states[b], (8,))
            q, k, v = (each(x).view(5, heads, -1) for each in (layer.query, layer.key, layer.value))
            for i in range(5):
                attended = []
                for h in range(heads):
                    weights = [
                        math.exp(float(q[i, h] @ k[j, h]) / math.sqrt(8 / heads)) for j in range(5) if MASK[b, j]
                    ]
                    attended.append(sum(w * v[j, h] for j, w in enumerate(weights)) / sum(weights))
                expected = states[b, i] + 0.7 * layer.out(torch.cat(attended))
                torch.testing.assert_close(found[b, i], expected, atol=1e-5, rtol=1e-5)


def test_attention_learns_from_its_first_step() -> None:
    net = transformer(dropout=0.0)
    net(TOKENS, MASK).sum().backward()
    assert all(bool(layer.gamma.grad != 0) for layer in net.attentions)


def test_the_order_of_tokens_counts() -> None:
    net = transformer().eval()
    full = torch.ones_like(MASK)
    assert not torch.allclose(net(TOKENS, full), net(TOKENS.flip(1), full))


def test_the_logit_is_of_the_mean_over_real_positions() -> None:
    net = transformer().eval()  # attention adds nothing yet
    with torch.no_grad():
        for layer in net.feed_forwards:
            layer.second.weight.zero_()
            layer.second.bias.zero_()
        for tokens, mask, found in zip(TOKENS, MASK, net(TOKENS, MASK), strict=True):
            length = int(mask.sum())
            states = net.embedding.weight[tokens[:length]] + net.positions[:length]
            expected = net.output(functional.layer_norm(states, (8,)).mean(0))
            torch.testing.assert_close(found, expected.squeeze(0), atol=1e-5, rtol=1e-5)


def linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def test_spectral_norm_holds_every_matrix_at_1() -> None:
    net = transformer(spectral_norm=True, layers=2).train()
    plain = transformer(layers=2)
    with torch.no_grad():
        for linear in linears(net):
            linear.parametrizations.weight.original.mul_(7.0).add_(0.3 * torch.randn_like(linear.weight))
        for name, parameter in net.named_parameters():
            if "norm.weight" in name:
                parameter.mul_(10.0)
    for _ in range(50):
        net(TOKENS, MASK)
    net.eval()
    assert len(linears(net)) == 2 * 6 + 1
    for linear in linears(net):
        assert float(torch.linalg.matrix_norm(linear.weight.detach(), 2)) == pytest.approx(1.0, rel=0.02)
    assert any(abs(float(torch.linalg.matrix_norm(linear.weight.detach(), 2)) - 1) > 0.1 for linear in linears(plain))
    # The last layer norm has no scale, so nothing that is learned makes the logit larger than √width + bias.
    assert float((net(TOKENS, MASK) - net.output.bias).detach().abs().max()) <= 1.02 * math.sqrt(8)


def test_only_learning_iterates() -> None:
    net = transformer(spectral_norm=True).train()

    def buffers() -> list[Tensor]:
        return [buffer.clone() for buffer in net.buffers()]

    before = buffers()
    scorer = net.scorer()
    assert torch.equal(scorer(TOKENS, MASK), scorer(TOKENS, MASK))
    assert before and all(map(torch.equal, buffers(), before))
    net(TOKENS, MASK)
    assert not all(map(torch.equal, buffers(), before))


def test_heads_share_the_width() -> None:
    with refused(ValidationError, "discriminator_heads", {"discriminator.width": 6, "discriminator.heads": 4}):
        Transformer(width=6, heads=4)


# ----------------------------------------------------------------------------------------- residual convolutions


def test_residual_convolutions_are_their_equations_on_the_sequence_alone() -> None:
    torch.manual_seed(0)
    net = ResConvDiscriminator(ResConv(width=4, blocks=2, window=3), SPACE).eval()
    with torch.no_grad():
        for tokens, mask, found in zip(TOKENS, MASK, net(TOKENS, MASK), strict=True):
            length = int(mask.sum())
            # What is beyond the end is beyond the tensor: convolutions see zeros there.
            x = net.embedding.weight[tokens[:length]].t().unsqueeze(0)
            for first, second in zip(net.blocks.first, net.blocks.second, strict=True):
                x = x + 0.3 * second(torch.relu(first(torch.relu(x))))
            features = torch.zeros(4, 5)
            features[:, :length] = x[0]
            expected = net.output.weight[0] @ features.flatten() + net.output.bias[0]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_published_sizes_of_the_critic() -> None:
    net = build_discriminator(ResConv(), SequenceSpace(96, 32))
    assert [tuple(layer.weight.shape) for layer in [*net.blocks.first, *net.blocks.second]] == [(512, 512, 5)] * 10
    assert net.output.weight.shape == (1, 32 * 512) and net.embedding.weight.shape == (96, 512)
    assert not [module for module in net.modules() if "Norm" in type(module).__name__]


def test_a_window_has_a_middle() -> None:
    with refused(ValidationError, "even_window", {"discriminator.window": 4}):
        ResConv(window=4)


# ------------------------------------------------------------------------------------------------------ the table


def test_every_pair_has_a_logit_of_its_own() -> None:
    given = SequenceSpace(2, 2, end_id=1)
    net = TabularDiscriminator(SequenceSpace(3, 2, condition=given))
    sequences = every_sequence(SequenceSpace(3, 2))
    with torch.no_grad():
        net.table.copy_(torch.arange(36.0))
    mask = torch.ones_like(sequences, dtype=torch.bool)
    # What stands behind the end of a condition is padding, the terminator again.
    for condition, first in (([0, 0], 0), ([0, 1], 9), ([1, 0], 27), ([1, 1], 27)):
        conditions = torch.tensor([condition]).expand(9, -1)
        logits = net(sequences, mask, conditions)
        assert logits.tolist() == list(range(first, first + 9))
        one_hot = functional.one_hot(sequences, 3).float()
        assert net(one_hot, mask, conditions).tolist() == logits.tolist()
    rows = torch.softmax(torch.randn(1, 2, 3), 2)
    expected = sum(float(rows[0, 0, a] * rows[0, 1, b]) * (9 + 3 * a + b) for a in range(3) for b in range(3))
    found = net(rows, mask[:1], torch.tensor([[0, 1]]))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    with refused(ConfigError, "tabular_too_large"):
        TabularDiscriminator(SequenceSpace(3, 2, condition=SequenceSpace(2, 20)))


def test_every_sequence_has_a_logit_of_its_own() -> None:
    net = TabularDiscriminator(SequenceSpace(3, 2))
    sequences = every_sequence(net.space)
    with torch.no_grad():
        net.table.copy_(torch.arange(9.0))
    logits = net(sequences, torch.ones_like(sequences, dtype=torch.bool))
    assert logits.tolist() == list(range(9))
    logits[4].backward()
    assert net.table.grad.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_soft_rows_are_an_expectation() -> None:
    space = SequenceSpace(3, 4)
    net = TabularDiscriminator(space)
    torch.manual_seed(0)
    with torch.no_grad():
        net.table.normal_()
    rows = torch.rand(5, 4, 3).softmax(2)
    sequences = every_sequence(space)
    probs = torch.stack([rows[:, t].t()[sequences[:, t]] for t in range(4)]).prod(0)  # (V**T, B)
    found = net(rows, torch.ones(5, 4, dtype=torch.bool))
    torch.testing.assert_close(found, net.table @ probs, atol=1e-5, rtol=1e-5)


def test_a_world_that_is_too_large_is_refused() -> None:
    build_discriminator(Tabular(), SequenceSpace(10, 5))
    with refused(ConfigError, "tabular_too_large", match="'tabular'.*10.*100,000"):
        build_discriminator(Tabular(), SequenceSpace(10, 6))
