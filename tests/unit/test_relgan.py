"""RelGAN: many representations judged by one network, and a loss that compares the i-th fake with the i-th real."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.adversary.losses import BradleyTerry, Relativistic, relativistic
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import ShapeError
from rlgan.base.weights import weights_of
from rlgan.discriminators import (
    Ensemble,
    MultiRepresentation,
    MultiRepresentationDiscriminator,
    PairMultiRepresentation,
    PairMultiRepresentationDiscriminator,
    build_discriminator,
)
from rlgan.discriminators.discriminator import Discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, LSTMGenerator, Seq2SeqRelationalMemory, build_generator
from rlgan.layers.optimizers import SGD
from rlgan.layers.relaxation import Relaxation, gumbel_noise, uniform_of_rows
from rlgan.training.real_sequences import RealSequences
from rlgan.workers.through import Through
from tests.support.errors import refused
from tests.support.small_presets import small
from tests.support.tiny import PAIRS

SPACE = SequenceSpace(6, 7, end_id=1)
SETTINGS = MultiRepresentation(embedding=6, representations=3, windows=(2, 3), filters=(4, 5), dropout=0.0)


SOURCE = SequenceSpace(5, 6, end_id=3)
PAIR_SPACE = SequenceSpace(6, 7, end_id=1, condition=SOURCE)
OF_PAIRS = PairMultiRepresentation(embedding=6, representations=3, windows=(2, 3), filters=(4, 5), dropout=0.0)


def built(settings: MultiRepresentation = SETTINGS) -> Discriminator:
    torch.manual_seed(0)
    return build_discriminator(settings, SPACE).eval()


@torch.no_grad()
def plain(net: MultiRepresentationDiscriminator, tokens: Tensor, mask: Tensor) -> Tensor:
    """(R, B): torch's own convolution along time whose steps along the embedding are as wide as a representation."""
    embedded = (net.embedding.weight[tokens] * mask.unsqueeze(2)).unsqueeze(1)
    pooled, first = [], 0
    for window, kernel in zip(net.windows, net.kernels, strict=True):
        filters = kernel.shape[1]
        weight = kernel.t().reshape(filters, 1, window, 2)
        bias = net.kernel_bias[first : first + filters]
        pooled.append(functional.conv2d(embedded, weight, bias, stride=(1, 2)).relu().amax(2))
        first += filters
    features = torch.cat(pooled, 1).permute(2, 0, 1)  # (R, B, F)
    transform, gate = (features @ net.highway.weight.T + net.highway.bias).chunk(2, -1)
    features = gate.sigmoid() * transform.relu() + (1 - gate.sigmoid()) * features
    hidden = features @ net.hidden.weight.T + net.hidden.bias
    return (hidden @ net.output.weight.T + net.output.bias).squeeze(-1)


def test_representations_are_judged_alone_by_the_same_network() -> None:
    net, tokens = built(), random_sequences(SPACE, 9, seed=1)
    assert isinstance(net, MultiRepresentationDiscriminator)
    mask = sequence_mask(SPACE, tokens)
    views = net.views(tokens, mask)
    assert views.shape == (3, 9)
    torch.testing.assert_close(views.detach(), plain(net, tokens, mask), atol=1e-5, rtol=0)
    torch.testing.assert_close(net(tokens, mask), views.mean(0))
    torch.testing.assert_close(net.scorer()(tokens, mask), views.mean(0).detach(), atol=1e-5, rtol=0)


def test_representations_divide_the_embedding() -> None:
    with pytest.raises(ValueError, match="embedding=6: must be a multiple of discriminator.representations=4"):
        MultiRepresentation(embedding=6, representations=4)


@pytest.mark.parametrize("members", [1, 2])
def test_a_step_is_down_the_mean_over_representations_of_their_losses(members: int) -> None:
    reals, fakes = random_sequences(SPACE, 8, seed=2), random_sequences(SPACE, 8, seed=3)
    settings = AdversarySettings(batch=16, sequences_per_round=8, loss=Relativistic())
    judge = Adversary(
        SETTINGS.model_copy(update={"members": members}), settings, SGD(lr=0.1), SPACE, Pairs(reals), Pairs(reals), 0
    )
    twins = [copy.deepcopy(part) for part in judge.network.parts()]
    metrics = judge.train_round(Round(0, fakes, epochs=1))
    tokens = torch.cat([reals, fakes])
    mask, is_real, losses = sequence_mask(SPACE, tokens), torch.arange(16) < 8, []
    for twin, found in zip(twins, judge.network.parts(), strict=True):
        # Each representation of a fake beside the same one of a real, never beside another.
        losses.append(torch.stack([relativistic(view, is_real) for view in twin.views(tokens, mask)]).mean())
        losses[-1].backward()
        for moved, start in zip(found.parameters(), twin.parameters(), strict=True):
            assert start.grad is not None
            torch.testing.assert_close(moved.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=0)
    assert metrics["discriminator/loss"] == pytest.approx(float(torch.stack(losses).mean().detach()), abs=1e-6)


def test_views_of_an_ensemble_are_means_over_its_members() -> None:
    net, tokens = built(SETTINGS.model_copy(update={"members": 2})), random_sequences(SPACE, 5, seed=1)
    assert isinstance(net, Ensemble)
    mask = sequence_mask(SPACE, tokens)
    of_each = [part.views(tokens, mask) for part in net.parts()]
    torch.testing.assert_close(net.views(tokens, mask), (of_each[0] + of_each[1]) / 2)
    assert torch.equal(net.member_logits(tokens, mask), torch.cat(of_each))


# ------------------------------------------------------------------------------------------- the generator's side


def test_a_fake_is_compared_with_one_real() -> None:
    fake, real = torch.tensor([0.0, 2.0, 1.5]), torch.tensor([0.0, -1.0, 4.0])
    # softplus(0) = ln 2, softplus(-3), softplus(2.5).
    expected = torch.tensor([math.log(2), math.log1p(math.exp(-3.0)), math.log1p(math.exp(2.5))])
    torch.testing.assert_close(Relativistic().of_generator(fake, real), expected)
    # Equal logits: ln 2 for both sides, and what one of them gains the other loses.
    assert float(Relativistic().of_generator(fake[:1], real[:1])) == pytest.approx(math.log(2))
    mirrored = relativistic(torch.tensor([2.0, -1.0]), torch.tensor([True, False]))
    torch.testing.assert_close(Relativistic().of_generator(fake[1], real[1]), mirrored)
    with refused(ShapeError, "loss_needs_reals"):
        BradleyTerry().of_generator(fake, real)


def test_the_generator_descends_the_mean_over_representations() -> None:
    torch.manual_seed(1)
    net, generator = built(), LSTMGenerator(LSTM(embedding=3, hidden=4, init_std=1.0), SPACE)
    through = Through(SETTINGS, Relativistic(), SPACE)
    through.load(weights_of(net, 1), Relaxation(0.7, False))
    seeds, reals = torch.arange(4), random_sequences(SPACE, 4, seed=5)
    losses = through.losses(generator, seeds, reals=reals)
    rows, tokens = generator.relaxed(gumbel_noise(uniform_of_rows(seeds, 7, 6)), 0.7, False)
    assert isinstance(net, MultiRepresentationDiscriminator)
    fake = net.views(rows, sequence_mask(SPACE, tokens))
    real = net.views(reals, sequence_mask(SPACE, reals)).detach()
    expected = torch.stack([functional.softplus(real[r] - fake[r]) for r in range(3)]).mean(0)
    torch.testing.assert_close(losses, expected)
    weights = list(generator.parameters())
    pairs = zip(
        *(torch.autograd.grad(one.sum(), weights, retain_graph=True) for one in (losses, expected)), strict=True
    )
    for found, gradient in pairs:
        torch.testing.assert_close(found, gradient)


def test_rows_of_noise_have_their_reals_where_the_loss_compares_and_only_there() -> None:
    config = small("relgan")
    task = build_task(config.task)
    begun = RealSequences(config, task).noise(6, 3, 0)
    assert begun.targets is not None and begun.targets.shape == (6, 5)
    known = {tuple(row) for row in task.train.tolist()}
    assert {tuple(row) for row in begun.targets.tolist()} <= known
    again = RealSequences(config, task).noise(6, 3, 0)
    assert torch.equal(again.targets, begun.targets)  # type: ignore[arg-type]
    assert not torch.equal(RealSequences(config, task).noise(6, 4, 0).targets, begun.targets)  # type: ignore[arg-type]
    assert RealSequences(small("gumbel"), task).noise(6, 3, 0).targets is None


def test_what_stands_behind_the_end_never_matters() -> None:
    net, tokens = built(), random_sequences(SPACE, 9, seed=1)
    mask = sequence_mask(SPACE, tokens)
    changed = torch.where(mask, tokens, (tokens + 1) % 6)
    assert torch.equal(net(tokens, mask), net(changed, mask))


# ------------------------------------------------------------------------------------------------------- pairs


def of_pairs(settings: PairMultiRepresentation = OF_PAIRS) -> PairMultiRepresentationDiscriminator:
    torch.manual_seed(0)
    net = build_discriminator(settings, PAIR_SPACE).eval()
    assert isinstance(net, PairMultiRepresentationDiscriminator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def greatest(table: Tensor, tokens: Tensor, view: int, kernels: torch.nn.ParameterList, bias: Tensor) -> Tensor:
    """(F,) responses of one side of one pair in one representation: only its own tokens, window by window."""
    narrow = table[tokens][:, 2 * view : 2 * view + 2]
    found = []
    for window, kernel in zip((2, 3), kernels, strict=True):
        rows = narrow
        if len(rows) < window:
            rows = torch.cat([rows, torch.zeros(window - len(rows), 2)])
        scores = [rows[first : first + window].flatten() @ kernel for first in range(len(rows) - window + 1)]
        found.append(torch.stack(scores).amax(0))
    return (torch.cat(found) + bias).relu()


@torch.no_grad()
def test_representations_of_both_sides_are_joined_and_judged_by_the_same_network() -> None:
    net, tokens, given = of_pairs(), random_sequences(PAIR_SPACE, 9, seed=1), random_sequences(SOURCE, 9, seed=2)
    mask, source_mask = sequence_mask(PAIR_SPACE, tokens), sequence_mask(SOURCE, given)
    assert int(mask.sum(1).min()) < 3 and int(source_mask.sum(1).min()) < 3  # shorter than a window
    expected = torch.zeros(3, 9)
    for view in range(3):
        for row in range(9):
            x, y = given[row][source_mask[row]], tokens[row][mask[row]]
            source = greatest(net.source_embedding.weight, x, view, net.source_kernels, net.source_bias)
            sequence = greatest(net.embedding.weight, y, view, net.kernels, net.kernel_bias)
            features = torch.cat([source, sequence])
            transform, gate = (net.highway.weight @ features + net.highway.bias).chunk(2)
            features = gate.sigmoid() * transform.relu() + (1 - gate.sigmoid()) * features
            hidden = net.hidden.weight @ features + net.hidden.bias
            expected[view, row] = (net.output.weight @ hidden + net.output.bias)[0]
    views = net.views(tokens, mask, given)
    torch.testing.assert_close(views, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(net(tokens, mask, given), views.mean(0))
    assert torch.equal(net.scorer()(tokens, mask, given), net(tokens, mask, given))
    assert net.rows_at_once == 682  # 2048 over three representations


@torch.no_grad()
def test_how_much_padding_follows_is_not_seen() -> None:
    net, tokens, given = of_pairs(), random_sequences(PAIR_SPACE, 9, seed=1), random_sequences(SOURCE, 9, seed=2)
    given[:, -1] = 3  # each has an end
    wider = torch.cat([given, torch.zeros(9, 4, dtype=torch.int64)], 1)
    mask = sequence_mask(PAIR_SPACE, tokens)
    torch.testing.assert_close(net(tokens, mask, wider), net(tokens, mask, given), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_verdict_is_no_sum_over_both_sides() -> None:
    net, tokens, given = of_pairs(), random_sequences(PAIR_SPACE, 8, seed=1), random_sequences(SOURCE, 8, seed=2)
    rows, others = torch.cartesian_prod(torch.arange(8), torch.arange(8)).unbind(1)
    table = net(tokens[rows], sequence_mask(PAIR_SPACE, tokens[rows]), given[others]).view(8, 8)
    # Of a sum a(x) + b(y) nothing is left of the table less its means.
    left = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    assert float(left.abs().max()) > 1e-2


def test_a_memory_that_reads_descends_beside_the_real_of_its_condition() -> None:
    torch.manual_seed(1)
    net = of_pairs()
    generator = build_generator(Seq2SeqRelationalMemory(embedding=3, heads=1, head_size=4), PAIR_SPACE)
    through = Through(OF_PAIRS, Relativistic(), PAIR_SPACE)
    through.load(weights_of(net, 1), Relaxation(0.7, False))
    seeds, given = torch.arange(4), random_sequences(SOURCE, 4, seed=2)
    reals = random_sequences(PAIR_SPACE, 4, seed=5)
    losses = through.losses(generator, seeds, given, reals)
    rows, tokens = generator.conditional(given).relaxed(gumbel_noise(uniform_of_rows(seeds, 7, 6)), 0.7, False)
    fake = net.views(rows, sequence_mask(PAIR_SPACE, tokens), given)
    real = net.views(reals, sequence_mask(PAIR_SPACE, reals), given).detach()
    torch.testing.assert_close(losses, functional.softplus(real - fake).mean(0))
    losses.sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


def test_the_real_beside_a_fake_is_that_of_its_condition() -> None:
    config = small("relgan", PAIRS)
    task = build_task(config.task)
    begun = RealSequences(config, task).noise(6, 3, 0)
    assert begun.conditions is not None and begun.targets is not None and task.conditions is not None
    known = {(tuple(x), tuple(y)) for x, y in zip(task.conditions.train.tolist(), task.train.tolist(), strict=True)}
    assert {
        (tuple(x), tuple(y)) for x, y in zip(begun.conditions.tolist(), begun.targets.tolist(), strict=True)
    } <= known
