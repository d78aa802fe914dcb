"""The convolutional discriminator against torch's own layers, and its fast scorer against itself."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.discriminators import (
    BidirectionalLSTM,
    BidirectionalLSTMDiscriminator,
    CnnHighway,
    CnnHighwayDiscriminator,
    Ensemble,
    build_discriminator,
)
from rlgan.discriminators.cnn_highway import CnnHighwayScorer
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.layers.prefix_features import SEQGAN_FILTERS, SEQGAN_WINDOWS
from tests.support.errors import refused
from tests.support.reference import PlainCnnHighway

SIZES = [
    pytest.param((1, 2, 3), (4, 3, 2), 6, id="windows within the sequence"),
    pytest.param((1, 4, 6), (2, 3, 4), 6, id="a window of the whole sequence"),
    pytest.param((2, 5, 9), (3, 2, 4), 4, id="windows longer than the sequence"),
    pytest.param((1,), (5,), 1, id="one token"),
]
ENDS = [pytest.param(None, id="fixed length"), pytest.param(2, id="ending early")]


def discriminator(
    windows: tuple[int, ...], filters: tuple[int, ...], vocab_size: int = 8, dropout: float = 0.25
) -> CnnHighwayDiscriminator:
    torch.manual_seed(0)
    net = CnnHighwayDiscriminator(
        CnnHighway(embedding=5, windows=windows, filters=filters, dropout=dropout), vocab_size
    )
    with torch.no_grad():
        # Nothing may be distinguished by its start: gates of 0, equal biases.
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def batch(length: int, end_id: int | None, num_sequences: int = 20) -> tuple[Tensor, Tensor]:
    space = SequenceSpace(8, length, end_id)
    tokens = random_sequences(space, num_sequences, seed=1)
    return tokens, sequence_mask(space, tokens)


# ------------------------------------------------------------------------------------------------- the twin


@pytest.mark.parametrize(("windows", "filters", "length"), SIZES)
@pytest.mark.parametrize("end_id", ENDS)
def test_logits_and_gradients_are_those_of_plain_torch_layers(
    windows: tuple[int, ...], filters: tuple[int, ...], length: int, end_id: int | None
) -> None:
    net = discriminator(windows, filters, dropout=0.0).train()
    twin = PlainCnnHighway(net, dropout=0.0).train()
    tokens, mask = batch(length, end_id)
    logits, expected = net(tokens, mask), twin(tokens, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    factors = torch.randn(20)
    (logits * factors).sum().backward()
    (expected * factors).sum().backward()
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(net.embedding.weight.grad, twin.embedding.weight.grad, **close)
    for window, kernel, convolution in zip(windows, net.kernels, twin.convolutions, strict=True):
        gradient = convolution.weight.grad.permute(2, 1, 0).reshape(window * 5, -1)
        torch.testing.assert_close(kernel.grad, gradient, **close)
    biases = torch.cat([convolution.bias.grad for convolution in twin.convolutions])
    torch.testing.assert_close(net.kernel_bias.grad, biases, **close)
    highway = torch.cat([twin.transform.weight.grad, twin.gate.weight.grad])
    torch.testing.assert_close(net.highway.weight.grad, highway, **close)
    highway = torch.cat([twin.transform.bias.grad, twin.gate.bias.grad])
    torch.testing.assert_close(net.highway.bias.grad, highway, **close)
    torch.testing.assert_close(net.output.weight.grad, twin.output.weight.grad, **close)
    torch.testing.assert_close(net.output.bias.grad, twin.output.bias.grad, **close)


def test_dropout_falls_on_the_same_features_as_in_the_twin() -> None:
    net = discriminator((1, 2, 3), (4, 3, 2), dropout=0.5).train()
    twin = PlainCnnHighway(net, dropout=0.5).train()
    tokens, mask = batch(6, None)
    torch.manual_seed(3)
    logits = net(tokens, mask)
    torch.manual_seed(3)
    torch.testing.assert_close(logits, twin(tokens, mask), atol=1e-5, rtol=1e-5)
    assert not torch.equal(logits, net(tokens, mask))


# ------------------------------------------------------------------------------------------------- the scorer


@pytest.mark.parametrize(("windows", "filters", "length"), SIZES)
@pytest.mark.parametrize("end_id", ENDS)
@pytest.mark.parametrize("max_table_bytes", [10**9, 0])
def test_scorer_is_the_network_without_dropout(
    windows: tuple[int, ...], filters: tuple[int, ...], length: int, end_id: int | None, max_table_bytes: int
) -> None:
    net = discriminator(windows, filters).train()
    scorer = CnnHighwayScorer(net, max_table_bytes)
    assert (scorer._tables is None) == (max_table_bytes == 0)
    tokens, mask = batch(length, end_id)
    scores = scorer(tokens, mask)
    assert net.training, "making a scorer has put the network into evaluation mode"
    with torch.no_grad():
        expected = net.eval()(tokens, mask)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    assert not scores.requires_grad
    assert torch.equal(scores, scorer(tokens, mask))


def test_scorer_joins_its_chunks_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CnnHighwayScorer, "_CHUNK", 7)
    monkeypatch.setattr(CnnHighwayScorer, "_BAGS", 11)
    net = discriminator((1, 2, 3), (4, 3, 2))
    tokens, mask = batch(6, 2)
    with torch.no_grad():
        expected = net.eval()(tokens, mask)
    torch.testing.assert_close(net.scorer()(tokens, mask), expected, atol=1e-5, rtol=1e-5)


def test_table_limit_is_bytes_of_all_tables() -> None:
    # Windows 1 and 3 with 2 and 4 filters over 8 tokens and padding: 4 · 9 · (1·2 + 3·4) = 504 bytes.
    net = discriminator((1, 3), (2, 4))
    assert CnnHighwayScorer(net, 504)._tables is not None
    assert sum(table.numel() * 4 for table in CnnHighwayScorer(net, 504)._tables) == 504
    assert CnnHighwayScorer(net, 503)._tables is None


@pytest.mark.parametrize("max_table_bytes", [10**9, 0])
def test_scorer_is_a_frozen_copy(max_table_bytes: int) -> None:
    net = discriminator((1, 2, 3), (4, 3, 2))
    tokens, mask = batch(6, 2)
    scorer = CnnHighwayScorer(net, max_table_bytes)
    before = scorer(tokens, mask)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert torch.equal(scorer(tokens, mask), before)


# ---------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("windows", [(1, 2, 3), (4, 9)])
def test_what_stands_after_the_terminator_changes_no_logit(windows: tuple[int, ...]) -> None:
    net = discriminator(windows, (3,) * len(windows)).eval()
    tokens, mask = batch(6, 2)
    littered = torch.where(mask, tokens, torch.full_like(tokens, 7))
    assert not torch.equal(littered, tokens)
    for score in (net, CnnHighwayScorer(net), CnnHighwayScorer(net, max_table_bytes=0)):
        assert torch.equal(score(tokens, mask), score(littered, mask))


def test_the_mask_counts() -> None:
    # A shorter sequence is another sequence, though the tokens in memory are the same.
    net = discriminator((1, 2, 3), (4, 3, 2)).eval()
    tokens, mask = batch(6, None)
    shorter = mask.clone()
    shorter[:, 3:] = False
    for score in (net, net.scorer()):
        assert not torch.allclose(score(tokens, mask), score(tokens, shorter))


# -------------------------------------------------------------------------------------------- small print


def test_penalty_by_hand() -> None:
    # ½ · (4 · 3² + 2 · 2²) = 22, times λ = 0.2.
    net = CnnHighwayDiscriminator(CnnHighway(embedding=2, windows=(1,), filters=(2,), l2_out=0.2), 4)
    with torch.no_grad():
        net.output.weight.fill_(-3.0)
        net.output.bias.fill_(2.0)
    net.penalty().backward()
    assert float(net.penalty().detach()) == pytest.approx(4.4)
    # λ·w and λ·b, and nothing on any other parameter.
    torch.testing.assert_close(net.output.weight.grad, torch.full((2, 2), -0.6))
    torch.testing.assert_close(net.output.bias.grad, torch.full((2,), 0.4))
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == [
        "output.weight",
        "output.bias",
    ]


def test_published_sizes_and_start() -> None:
    torch.manual_seed(0)
    net = build_discriminator(CnnHighway(), SequenceSpace(20, 20))
    assert len(SEQGAN_WINDOWS) == len(SEQGAN_FILTERS) == 12 and sum(SEQGAN_FILTERS) == 1720
    assert [tuple(kernel.shape) for kernel in net.kernels] == [
        (64 * window, filters) for window, filters in zip(SEQGAN_WINDOWS, SEQGAN_FILTERS, strict=True)
    ]
    assert net.highway.weight.shape == (2 * 1720, 1720) and net.output.weight.shape == (2, 1720)
    # Released code: gate bias 0, so the highway begins half open; all other biases of the trunk 0.1.
    assert bool((net.highway.bias == 0).all()) and bool((net.kernel_bias == 0.1).all())
    assert net.dropout.p == 0.25


@pytest.mark.parametrize(
    ("windows", "filters", "complaint"),
    [
        ((1, 2, 3), (3, 4), "filters_per_window"),
        ((0,), (3,), "windows_and_filters"),
        ((1,), (0,), "windows_and_filters"),
        ((), (), "filters_per_window"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(windows: tuple[int, ...], filters: tuple[int, ...], complaint: str) -> None:
    with refused(ValidationError, complaint):
        CnnHighway(windows=windows, filters=filters)


def test_one_number_of_filters_is_that_of_every_window() -> None:
    torch.manual_seed(0)
    one = CnnHighwayDiscriminator(CnnHighway(windows=(1, 2, 3), filters=(4,)), 8)
    torch.manual_seed(0)
    each = CnnHighwayDiscriminator(CnnHighway(windows=(1, 2, 3), filters=(4, 4, 4)), 8)
    tokens, mask = batch(6, 2)
    assert torch.equal(one.eval()(tokens, mask), each.eval()(tokens, mask))


# ------------------------------------------------------------------------------------------------ the recurrent one


def recurrent(layers: int = 2, dropout: float = 0.0) -> BidirectionalLSTMDiscriminator:
    torch.manual_seed(0)
    net = BidirectionalLSTMDiscriminator(BidirectionalLSTM(embedding=4, hidden=3, layers=layers, dropout=dropout), 8)
    return net.eval()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("end_id", ENDS)
def test_a_batch_is_its_sequences_one_by_one(layers: int, end_id: int | None) -> None:
    net = recurrent(layers)
    tokens, mask = batch(6, end_id)
    logits = net(tokens, mask)
    logits.sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    expected = []
    for row, length in zip(tokens, mask.sum(1), strict=True):
        alone = row[:length].unsqueeze(0)
        states, _ = net.lstm(net.embedding(alone), torch.ones_like(alone, dtype=torch.bool))
        expected.append(net.output(states.amax(1)).squeeze(1))
    alone = torch.cat(expected)
    torch.testing.assert_close(logits, alone, atol=1e-6, rtol=1e-5)
    alone.sum().backward()
    for gradient, parameter in zip(gradients, net.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


def test_the_recurrent_one_reads_from_both_ends_and_not_beyond() -> None:
    net = recurrent()
    tokens, mask = batch(6, 2)
    littered = torch.where(mask, tokens, torch.full_like(tokens, 7))
    assert not torch.equal(littered, tokens)
    for score in (net, net.scorer()):
        assert torch.equal(score(tokens, mask), score(littered, mask))
    full = torch.ones_like(mask)
    for position in range(6):
        other = tokens.clone()
        other[:, position] = (other[:, position] + 1) % 8
        assert not torch.equal(net(other, full), net(tokens, full)), position


def test_the_recurrent_scorer_is_a_frozen_copy_without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BidirectionalLSTMDiscriminator, "rows_at_once", 7)
    net = recurrent(dropout=0.5).train()
    tokens, mask = batch(6, 2)
    scorer = net.scorer()
    before = scorer(tokens, mask)
    assert net.training and torch.equal(before, scorer(tokens, mask)) and not before.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(before, net.eval()(tokens, mask))
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert torch.equal(scorer(tokens, mask), before)
    assert not torch.equal(net.train()(tokens, mask), net(tokens, mask))  # dropout where it learns


def test_an_ensemble_of_any_architecture_is_the_mean_of_its_members() -> None:
    for settings in (
        BidirectionalLSTM(embedding=4, hidden=3, members=3),
        CnnHighway(windows=(1,), filters=(4,), members=3),
    ):
        torch.manual_seed(0)
        net = build_discriminator(settings, SequenceSpace(8, 6)).eval()
        assert isinstance(net, Ensemble)
        tokens, mask = batch(6, None)
        members = torch.stack([member(tokens, mask) for member in net.members]).detach()
        assert len({float(row.sum()) for row in members}) == 3
        torch.testing.assert_close(net(tokens, mask).detach(), members.mean(0))
        torch.testing.assert_close(net.scorer()(tokens, mask), members.mean(0), atol=1e-5, rtol=1e-5)
        assert float(net.penalty().detach()) == pytest.approx(sum(float(one.penalty().detach()) for one in net.members))
