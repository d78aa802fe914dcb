"""Discriminators of pairs against their equations in loops, row by row and without padding; and that they learn."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.weights import load_weights, packed, unpacked, weights_of
from rlgan.discriminators import (
    DiscriminatorSettings,
    HeadSettings,
    HierarchicalLSTM,
    HierarchicalLSTMDiscriminator,
    InteractionCnn,
    InteractionCnnDiscriminator,
    JointHead,
    PairCnn,
    PairCnnDiscriminator,
    PairDiscriminator,
    PairLSTM,
    PairLSTMDiscriminator,
    SplitHead,
    TripleLSTM,
    TripleLSTMDiscriminator,
    build_discriminator,
)
from rlgan.discriminators.two_towers import TwoTowerDiscriminator, logit_of_product
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.layers.batch_norm import MaskedBatchNorm
from rlgan.layers.optimizers import Adam
from rlgan.layers.pair_prefix_features import windows_within
from rlgan.metrics import discriminator_health
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from tests.support.errors import refused
from tests.support.usual import usually

SOURCES = SequenceSpace(5, 6, end_id=1, separator_id=3)
SPACE = SequenceSpace(4, 5, end_id=2, condition=SOURCES)
TOKENS, GIVEN = random_sequences(SPACE, 24, seed=1), random_sequences(SOURCES, 24, seed=2)
MASK, SOURCE_MASK = sequence_mask(SPACE, TOKENS), sequence_mask(SOURCES, GIVEN)


def built(settings: DiscriminatorSettings, space: SequenceSpace = SPACE) -> PairDiscriminator:
    torch.manual_seed(0)
    net = build_discriminator(settings, space)
    assert isinstance(net, PairDiscriminator)
    with torch.no_grad():
        # Nothing may be distinguished by its start: equal biases, normalisation by 0 and 1.
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in net.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return net


def rows(net: PairDiscriminator) -> list[tuple[Tensor, Tensor, list[int]]]:
    """Embeddings (S_b, E) and (T_b, E) of each pair without its padding, and the tokens of its condition."""
    return [
        (
            net.source_embedding.weight[given[is_source]],
            net.embedding.weight[tokens[is_real]],
            given[is_source].tolist(),
        )
        for tokens, is_real, given, is_source in zip(TOKENS, MASK, GIVEN, SOURCE_MASK, strict=True)
    ]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def last_state(lstm: nn.LSTM, inputs: Tensor) -> Tensor:
    """The equations of an LSTM, a step at a time."""
    h = c = torch.zeros(lstm.hidden_size)
    for x in inputs:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


def mlp(layers: nn.Module, features: Tensor) -> Tensor:
    assert isinstance(layers, nn.Sequential)
    first, last = layers[0], layers[3]
    return last.weight[0] @ torch.relu(first.weight @ features + first.bias) + last.bias[0]


# ------------------------------------------------------------------------------------------------- the equations


@torch.no_grad()
def test_pair_lstm_is_its_equations() -> None:
    net = built(PairLSTM(embedding=3, hidden=4, mlp_hidden=5)).eval()
    assert isinstance(net, PairLSTMDiscriminator)
    for found, (x, y, _) in zip(net(TOKENS, MASK, GIVEN), rows(net), strict=True):
        features = torch.cat([last_state(net.source_tower.lstm, x), last_state(net.tower.lstm, y)])
        close(found, mlp(net.head.matching, features))


@torch.no_grad()
@pytest.mark.parametrize("separator_id", [3, None])
def test_hierarchical_lstm_is_its_equations(separator_id: int | None) -> None:
    sources = SequenceSpace(5, 6, end_id=1, separator_id=separator_id)
    net = built(HierarchicalLSTM(embedding=3, hidden=4), SequenceSpace(4, 5, end_id=2, condition=sources)).eval()
    assert isinstance(net, HierarchicalLSTMDiscriminator)
    numbers = set()
    for found, (x, y, ids) in zip(net(TOKENS, MASK, GIVEN), rows(net), strict=True):
        turns: list[list[Tensor]] = [[]]
        for index, (token, embedded) in enumerate(zip(ids, x, strict=True)):
            turns[-1].append(embedded)
            if token == separator_id and index + 1 < len(ids):
                turns.append([])
        numbers.add(len(turns))
        utterances = [last_state(net.words, torch.stack(turn)) for turn in turns]
        state = last_state(net.sentences, torch.stack([*utterances, last_state(net.words, y)]))
        close(found, net.output.weight[0] @ state + net.output.bias[0])
    assert numbers >= {1, 2, 3} if separator_id == 3 else numbers == {1}


def test_turns_count_and_their_order_does() -> None:
    net = built(HierarchicalLSTM(embedding=3, hidden=4)).eval()
    tokens, mask = TOKENS[:1], MASK[:1]
    # Separators are 3: "0 | 2 4" and "0 2 | 4" hold the same words.
    shown = [[0, 3, 2, 4, 1, 1], [0, 2, 3, 4, 1, 1], [2, 4, 3, 0, 1, 1], [3, 3, 3, 3, 3, 3], [3, 1, 1, 1, 1, 1]]
    logits = [net(tokens, mask, torch.tensor([given])).item() for given in shown]
    assert len(set(logits)) == len(shown) and all(map(math.isfinite, logits))


@torch.no_grad()
def test_triple_lstm_is_its_equations() -> None:
    net = built(TripleLSTM(embedding=3, hidden=4, mlp_hidden=5)).eval()
    assert isinstance(net, TripleLSTMDiscriminator)
    for found, (x, y, _) in zip(net(TOKENS, MASK, GIVEN), rows(net), strict=True):
        beside = []
        for e_y in y:
            weights = [math.exp(float(e_y @ net.attention.weight @ e_x)) for e_x in x]
            beside.append(torch.cat([e_y, sum(w * e_x for w, e_x in zip(weights, x, strict=True)) / sum(weights)]))
        h_x, h_y = last_state(net.source_lstm, x), last_state(net.lstm, y)
        h_c = last_state(net.attending_lstm, torch.stack(beside))
        close(found, mlp(net.output, torch.cat([h_x, h_y, h_c, h_x * h_y])))


def windows_of(embedded: Tensor, window: int) -> list[Tensor]:
    """Each window of one sequence, flat; of one that is shorter, the sequence and zeros."""
    if len(embedded) < window:
        embedded = torch.cat([embedded, torch.zeros(window - len(embedded), embedded.shape[1])])
    return [embedded[first : first + window].flatten() for first in range(len(embedded) - window + 1)]


def tower_of_windows(tower: nn.Module, settings: PairCnn, sequences: list[Tensor], training: bool) -> list[Tensor]:
    pooled: list[list[Tensor]] = [[] for _ in sequences]
    start = 0
    for index, window in enumerate(settings.windows):
        kernel = tower.kernels[index]
        scores = [[kernel.t() @ one for one in windows_of(sequence, window)] for sequence in sequences]
        bias = torch.zeros(kernel.shape[1])
        if tower.norms is None:
            bias = tower.bias[start : start + kernel.shape[1]]
        else:
            norm = tower.norms[index].norm
            mean, variance = norm.running_mean, norm.running_var
            if training:
                every = torch.stack([score for of_one in scores for score in of_one])
                mean, variance = every.mean(0), (every - every.mean(0)).square().mean(0)
            scores = [
                [norm.weight * (score - mean) / (variance + 1e-5).sqrt() + norm.bias for score in of_one]
                for of_one in scores
            ]
        for features, of_one in zip(pooled, scores, strict=True):
            features.append(torch.stack([torch.relu(score + bias) for score in of_one]).amax(0))
        start += kernel.shape[1]
    mixed = []
    for features in map(torch.cat, pooled):
        transform, gate = (tower.highway.weight @ features + tower.highway.bias).chunk(2)
        mixed.append(torch.sigmoid(gate) * torch.relu(transform) + (1 - torch.sigmoid(gate)) * features)
    return mixed


@torch.no_grad()
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_pair_cnn_is_its_equations(batch_norm: bool, training: bool) -> None:
    settings = PairCnn(
        embedding=3, windows=(1, 2, 7), filters=(3, 2, 4), mlp_hidden=5, dropout=0.0, batch_norm=batch_norm
    )
    net = built(settings).train(training)
    assert isinstance(net, PairCnnDiscriminator)
    pairs = rows(net)
    sources = tower_of_windows(net.source_tower, settings, [x for x, _, _ in pairs], training)
    sequences = tower_of_windows(net.tower, settings, [y for _, y, _ in pairs], training)
    expected = [mlp(net.head.matching, torch.cat(both)) for both in zip(sources, sequences, strict=True)]
    close(net(TOKENS, MASK, GIVEN), torch.stack(expected))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_gradients_of_pair_cnn_are_the_same_with_and_without_its_sparse_backward_pass(batch_norm: bool) -> None:
    settings = PairCnn(embedding=3, windows=(1, 2), filters=(3,), mlp_hidden=5, dropout=0.0, batch_norm=batch_norm)
    gradients = []
    for tokens in (TOKENS, functional.one_hot(TOKENS, 4).float()):
        net = built(settings)
        net(tokens, MASK, GIVEN).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for sparse, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(sparse, dense, atol=1e-5, rtol=1e-4)


def test_windows_lie_within_the_sequence() -> None:
    mask = torch.arange(4) < torch.tensor([[1], [2], [3], [4]])
    assert windows_within(mask, 1).tolist() == mask.tolist()
    t, f = True, False
    assert windows_within(mask, 3).tolist() == [[t, f], [t, f], [t, f], [t, t]]
    assert windows_within(mask, 9).tolist() == [[t]] * 4


def test_towers_do_not_know_how_much_padding_follows() -> None:
    net = built(PairCnn(embedding=3, windows=(1, 2, 7), filters=(3,), batch_norm=True)).eval()
    assert isinstance(net, PairCnnDiscriminator)
    embedded = torch.randn(24, 5, 3)
    wider, wider_mask = torch.cat([embedded, torch.randn(24, 4, 3)], 1), torch.cat([MASK, torch.zeros(24, 4).bool()], 1)
    close(net.tower(wider, wider_mask, False), net.tower(embedded, MASK, False))


# -------------------------------------------------------------------------------------------------- interactions


def interactions(**settings: object) -> InteractionCnnDiscriminator:
    net = built(InteractionCnn(embedding=3, projection=2, channels=3, mlp_hidden=8, dropout=0.0, **settings))
    assert isinstance(net, InteractionCnnDiscriminator)
    return net


def test_the_grid_holds_every_source_token_across_from_every_target_token() -> None:
    # Of what is left of the embeddings by the projections.
    net = interactions()
    z = net.interaction(net.embedded(TOKENS, MASK, GIVEN))
    assert z.shape == (24, 4, 6, 5)
    for i, j in itertools.product(range(6), range(5)):
        close(z[:, :2, i, j], net.source_projection(net.source_embedding(GIVEN[:, i])))
        close(z[:, 2:, i, j], net.projection(net.embedding(TOKENS[:, j])))
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = net.interaction(net.embedded(TOKENS[:, order], MASK, GIVEN))
    assert torch.equal(permuted, z[:, :, :, order]) and not torch.equal(permuted, z)


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
def test_interaction_cnn_is_its_equations_on_the_pair_alone(training: bool) -> None:
    net = interactions().train(training)
    grids = []
    for x, y, _ in rows(net):
        source, target = x @ net.source_projection.weight.t(), y @ net.projection.weight.t()
        grids.append(torch.stack([torch.stack([torch.cat([a, b]) for b in target]) for a in source]).movedim(2, 0))
    for block in net.blocks:
        # What is beyond the ends is beyond the tensor: convolutions see zeros there.
        grids = [functional.conv2d(grid.unsqueeze(0), block.convolution.weight, padding=1)[0] for grid in grids]
        norm = block.norm.norm
        mean, variance = norm.running_mean, norm.running_var
        if training:
            every = torch.cat([grid.flatten(1) for grid in grids], dim=1)
            mean, variance = every.mean(1), (every - every.mean(1, keepdim=True)).square().mean(1)
        scale = (norm.weight / (variance + 1e-5).sqrt())[:, None, None]
        grids = [scale * (grid - mean[:, None, None]) + norm.bias[:, None, None] for grid in grids]
        grids = [pooled(torch.relu(grid)) for grid in grids]
    expected = []
    for grid in grids:
        features = torch.zeros(3, 2, 2)
        features[:, : grid.shape[1], : grid.shape[2]] = grid
        expected.append(mlp(net.output, features.flatten()))
    close(net.train(training)(TOKENS, MASK, GIVEN), torch.stack(expected))


def pooled(grid: Tensor) -> Tensor:
    """The greatest of each 2×2 cells, of fewer at an odd border."""
    _, height, width = grid.shape
    return torch.stack(
        [
            torch.stack([grid[:, i : i + 2, j : j + 2].amax((1, 2)) for j in range(0, width, 2)], dim=1)
            for i in range(0, height, 2)
        ],
        dim=1,
    )


def test_the_grid_is_scored_as_many_rows_at_a_time_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    long = SequenceSpace(10, 50, condition=SequenceSpace(10, 350))
    net = build_discriminator(InteractionCnn(), long)
    # 2·16 numbers a cell: 32 · 50 · 350 = 560,000 a pair.
    assert net.rows_at_once == 57
    assert build_discriminator(InteractionCnn(members=2), long).rows_at_once == 57
    assert build_discriminator(InteractionCnn(), SPACE).rows_at_once == 2048
    net = interactions()
    together = net.scorer()(TOKENS, MASK, GIVEN)
    monkeypatch.setattr(InteractionCnnDiscriminator, "rows_at_once", 7)
    close(net.scorer()(TOKENS, MASK, GIVEN), together)


@pytest.mark.parametrize("lengths", [(1, 1), (1, 4), (3, 9)])
def test_short_sequences_leave_a_cell(lengths: tuple[int, int]) -> None:
    space = SequenceSpace(4, lengths[1], condition=SequenceSpace(4, lengths[0]))
    tokens, given = random_sequences(space, 20, seed=0), random_sequences(space.condition, 20, seed=1)
    net = built(InteractionCnn(embedding=3, projection=2, channels=3, mlp_hidden=20), space).eval()
    logits = net(tokens, torch.ones_like(tokens, dtype=torch.bool), given)
    assert logits.shape == (20,) and len(set(logits.tolist())) > 3


# -------------------------------------------------------------------------------------------------------- heads


HEADS: list[HeadSettings] = [SplitHead(), SplitHead(combination="product_of_probs")]
heads = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.combination)
towers = pytest.mark.parametrize(
    "network",
    [PairCnn(embedding=3, windows=(1, 2), filters=(3,), mlp_hidden=4), PairLSTM(embedding=3, hidden=4, mlp_hidden=4)],
    ids=lambda network: network.kind,
)


@heads
@towers
def test_a_split_verdict_is_made_of_its_parts(network: PairCnn | PairLSTM, head: SplitHead) -> None:
    net = built(network.model_copy(update={"head": head})).eval()
    assert isinstance(net, TwoTowerDiscriminator)
    parts = net.part_logits(TOKENS, MASK, GIVEN)
    assert list(parts) == ["realism", "matching"]
    realism, matching = parts["realism"], parts["matching"]
    if head.combination == "sum_of_logits":
        expected = realism + matching
    else:
        expected = torch.logit(torch.sigmoid(realism.double()) * torch.sigmoid(matching.double())).float()
    close(net(TOKENS, MASK, GIVEN), expected)
    # Realism does not look at the condition, matching does.
    other = net.part_logits(TOKENS, MASK, GIVEN.roll(1, 0))
    assert torch.equal(other["realism"], realism) and not torch.equal(other["matching"], matching)
    assert len(set(realism.tolist())) > 10


@towers
def test_a_joint_verdict_has_no_parts(network: PairCnn | PairLSTM) -> None:
    net = built(network)
    assert network.head == JointHead() and net.part_logits(TOKENS, MASK, GIVEN) == {}
    assert not [name for name, _ in net.named_parameters() if "realism" in name]


def test_parts_of_an_ensemble_are_means() -> None:
    settings = PairLSTM(embedding=3, hidden=4, mlp_hidden=4, head=SplitHead(), members=3)
    net = build_discriminator(settings, SPACE).eval()
    parts = net.part_logits(TOKENS, MASK, GIVEN)
    of_members = [member.part_logits(TOKENS, MASK, GIVEN) for member in net.parts()]
    for name in ("realism", "matching"):
        close(parts[name], sum(one[name] for one in of_members) / 3)
    close(net(TOKENS, MASK, GIVEN), parts["realism"] + parts["matching"])


def test_the_logit_of_a_product_is_exact_where_probabilities_are_not() -> None:
    a, b = torch.tensor([0.0, 60.0, -200.0, 60.0]), torch.tensor([0.0, 60.0, -300.0, -60.0])
    # ¼ has log-odds -log 3; exp(-u) = 2 exp(-60); e²⁰⁰·e³⁰⁰; exp(-60) + exp(60) + 1.
    close(logit_of_product(a, b), torch.tensor([-math.log(3), 60 - math.log(2), -500.0, -60.0]))


# -------------------------------------------------------------------------------------------------- batch norm


def test_one_real_cell_has_no_variance() -> None:
    norm = MaskedBatchNorm(3).train()
    norm.norm.running_mean.fill_(2.0)
    is_real = torch.tensor([[True, False]])
    values = torch.randn(1, 2, 3)
    found = norm(values, is_real)
    close(found[0, 0], (values[0, 0] - 2.0) / math.sqrt(1 + 1e-5))
    assert torch.equal(found[0, 1], torch.zeros(3)) and bool((norm.norm.running_mean == 2.0).all())
    # The last minibatch of an epoch may be one sequence.
    one = SequenceSpace(4, 1, condition=SequenceSpace(4, 1))
    for settings in (PairCnn(windows=(1, 3)), InteractionCnn()):
        zeros = torch.zeros(1, 1, dtype=torch.int64)
        assert bool(built(settings, one).train()(zeros, zeros == 0, zeros).isfinite().all())


@pytest.mark.parametrize(
    "settings",
    [
        PairCnn(embedding=3, windows=(1, 2), filters=(3,), mlp_hidden=4),
        InteractionCnn(embedding=3, projection=2, channels=3, mlp_hidden=8, members=2),
    ],
    ids=lambda settings: settings.kind,
)
def test_running_statistics_travel_with_the_weights(settings: DiscriminatorSettings, tmp_path: Path) -> None:
    def adversary() -> Adversary:
        return Adversary(
            settings, AdversarySettings(batch=8, sequences_per_round=20), Adam(lr=0.01), SPACE,
            Pairs(TOKENS, GIVEN), Pairs(TOKENS, GIVEN), seed=0,
        )  # fmt: skip

    judge = adversary()
    fresh = {name: buffer.clone() for name, buffer in judge.network.named_buffers()}
    judge.train_round(Round(index=0, fakes=TOKENS.flip(0), epochs=2, conditions=GIVEN))
    learnt = {name: buffer.clone() for name, buffer in judge.network.named_buffers()}
    assert fresh and all(not torch.equal(fresh[name], learnt[name]) for name in fresh)
    expected = judge.network.scorer()(TOKENS, MASK, GIVEN)
    assert all(torch.equal(buffer, learnt[name]) for name, buffer in judge.network.named_buffers())

    sent = load_weights(build_discriminator(settings, SPACE), weights_of(judge.network, 0).complete)
    assert torch.equal(sent.scorer()(TOKENS, MASK, GIVEN), expected)
    save_checkpoint(tmp_path, unpacked(packed(judge.state())), position=0)
    resumed = adversary()
    resumed.restore(load_latest(tmp_path).state)
    assert torch.equal(resumed.network.scorer()(TOKENS, MASK, GIVEN), expected)
    again = Round(index=1, fakes=TOKENS.flip(0), epochs=1, conditions=GIVEN)
    assert resumed.train_round(again) == judge.train_round(again)


# ----------------------------------------------------------------------------------------------------- learning


LEARN: list[DiscriminatorSettings] = [
    PairCnn(embedding=16, windows=(1, 2), filters=(32,), mlp_hidden=64, dropout=0.0),
    PairCnn(embedding=16, windows=(1, 2), filters=(32,), mlp_hidden=64, dropout=0.0, batch_norm=False),
    PairCnn(embedding=16, windows=(1, 2), filters=(32,), mlp_hidden=64, dropout=0.0, head=HEADS[0]),
    PairLSTM(embedding=16, hidden=32, mlp_hidden=64, dropout=0.0),
    PairLSTM(embedding=16, hidden=32, mlp_hidden=64, dropout=0.0, head=HEADS[1]),
    HierarchicalLSTM(embedding=16, hidden=32, dropout=0.0),
    InteractionCnn(embedding=16, projection=8, channels=16, mlp_hidden=32, dropout=0.0),
    TripleLSTM(embedding=16, hidden=32, mlp_hidden=64, dropout=0.0),
]


@pytest.mark.heavy
@pytest.mark.parametrize("settings", usually(LEARN[::3], LEARN), ids=lambda settings: settings.kind)
def test_copies_are_told_from_what_copies_nothing(settings: DiscriminatorSettings) -> None:
    # Both sides by themselves are uniform: nothing but their belonging together tells them apart.
    space = SequenceSpace(8, 5, condition=SequenceSpace(8, 5))
    torch.manual_seed(0)
    net = build_discriminator(settings, space)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    mask, is_real = torch.ones(128, 5, dtype=torch.bool), torch.arange(128) < 64

    def pairs() -> tuple[Tensor, Tensor]:
        given = torch.randint(8, (128, 5))
        return torch.where(is_real.unsqueeze(1), given, torch.randint(8, (128, 5))), given

    for _ in range(200):
        tokens, given = pairs()
        logits = net(tokens, mask, given)
        loss = functional.softplus(torch.where(is_real, -logits, logits)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scorer, logits = net.scorer(), []
    for _ in range(4):
        tokens, given = pairs()
        logits.append(scorer(tokens, mask, given))
    fresh, labels = torch.cat(logits), is_real.repeat(4)
    assert discriminator_health(fresh[labels], fresh[~labels]).auc > 0.9


# ----------------------------------------------------------------------------------------------------- settings


def test_windows_and_filters_of_pairs_are_checked() -> None:
    with refused(ValidationError, "filters_per_window"):
        PairCnn(windows=(1, 2, 3), filters=(3, 4))
    with refused(ValidationError, "windows_and_filters"):
        PairCnn(windows=(0,))


def test_both_sides_have_alphabets_of_their_own() -> None:
    for settings in (PairCnn(), PairLSTM(), HierarchicalLSTM(), InteractionCnn(), TripleLSTM()):
        net = build_discriminator(settings, SPACE)
        assert net.source_embedding.weight.shape == (5, 64) and net.embedding.weight.shape == (4, 64)
