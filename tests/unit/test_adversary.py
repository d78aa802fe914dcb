"""The discriminator's training: what a round sees, polarity, the known optimum, and repeatability."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.adversary import minibatches as minibatches_module
from rlgan.adversary import mismatched_pairs as mismatch
from rlgan.adversary import regularisers
from rlgan.adversary.losses import (
    CrossEntropy,
    Hinge,
    LeastSquares,
    Likelihood,
    LossSettings,
    Relativistic,
    Wasserstein,
    cross_entropy,
    hinge,
)
from rlgan.adversary.minibatches import Pairs, one_prefix_each
from rlgan.adversary.mismatched_pairs import derangement
from rlgan.adversary.regularisers import InterpolatedPenalty, NoGradientPenalty, gradient_penalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.discriminators import (
    CausalLSTM,
    CnnHighway,
    DiscriminatorSettings,
    Ensemble,
    LanguageModel,
    PairLSTM,
    ResConv,
    SplitHead,
    Tabular,
    Transformer,
    build_discriminator,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.testing import TOY_PROBS, random_sequences
from rlgan.envs.transition import pad_after_end, sequence_mask
from rlgan.layers.optimizers import SGD, Adam, OptimizerSettings
from rlgan.metrics import auc, discriminator_health
from rlgan.sampling.sampler import sample
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence

SPACE = SequenceSpace(8, 5, end_id=3)
NETWORK = CnnHighway(embedding=4, windows=(1, 2, 3), filters=(4, 4, 4))
TOKEN_NETWORK = CausalLSTM(embedding=4, hidden=6, dropout=0.0, position_features=2)
DISTRIBUTION = LanguageModel(embedding=4, hidden=6, dropout=0.0)


def reals(number: int, seed: int = 0) -> Tensor:
    """Sequences that hold no token above 3."""
    return random_sequences(SequenceSpace(4, 5, end_id=3), number, seed)


def fakes(number: int, seed: int = 0) -> Tensor:
    """Sequences that begin with a token above 3."""
    tokens = random_sequences(SPACE, number, seed)
    tokens[:, 0] = 4 + tokens[:, 0] % 4
    return tokens


def test_rows_of_tokens_are_widened_and_soft_rows_stay_as_they_are() -> None:
    soft = torch.tensor([[[0.25, 0.75], [0.5, 0.5]], [[0.9, 0.1], [0.0, 1.0]]])
    found = Pairs(soft).rows(slice(1, 2))
    assert found.conditions is None and found.tokens.dtype == torch.float32 and torch.equal(found.tokens, soft[1:])
    narrow = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16)
    some = Pairs(narrow, narrow).rows(torch.tensor([1]))
    assert some.conditions is not None
    assert [some.tokens.dtype, some.conditions.dtype] == [torch.int64] * 2
    assert some.tokens.tolist() == some.conditions.tolist() == [[3, 4]]


def adversary(
    *,
    batch: int = 8,
    sequences_per_round: int = 20,
    buffer: int | None = None,
    loss: LossSettings | None = None,
    l2_all: float | None = None,
    slope: InterpolatedPenalty | None = None,
    weight_clip: float | None = None,
    clip_every: str = "step",
    num_reals: int = 30,
    network: DiscriminatorSettings = NETWORK,
    optimizer: OptimizerSettings | None = None,
    seed: int = 0,
    learns_prefixes: bool = False,
    fakes_are_soft: bool = False,
) -> Adversary:
    settings = AdversarySettings(
        batch=batch,
        sequences_per_round=sequences_per_round,
        buffer=buffer,
        loss=loss or CrossEntropy(),
        l2_all=l2_all,
        gradient_penalty=slope or NoGradientPenalty(),
        weight_clip=weight_clip,
        clip_every=clip_every,
    )
    data = (Pairs(reals(num_reals)), Pairs(reals(25, seed=5)))
    return Adversary(
        network, settings, optimizer or Adam(lr=0.01), SPACE, *data, seed=seed,
        learns_prefixes=learns_prefixes, fakes_are_soft=fakes_are_soft,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- what a round sees


def watch(judge: Adversary) -> list[tuple[Tensor, Tensor]]:
    """Tokens and masks of every minibatch the network is trained on from now on."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: torch.nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
        if module is judge.network:  # and no frozen copy, which takes the hook along
            assert module.training
            seen.append(arguments[:2])

    judge.network.register_forward_pre_hook(note)
    return seen


def as_rows(tokens: Tensor) -> list[tuple[int, ...]]:
    return sorted(map(tuple, tokens.tolist()))


def test_every_epoch_sees_each_fresh_fake_once_and_as_many_reals() -> None:
    judge = adversary()
    judge.network.eval()  # as someone who scored with it may have left it
    seen, fresh = watch(judge), fakes(20)
    judge.train_round(Round(0, fresh, epochs=2))
    # 20 reals and 20 fakes in minibatches of 8: five an epoch.
    assert [tokens.shape[0] for tokens, _ in seen] == [8] * 10
    known = set(as_rows(reals(30)))
    for epoch in (seen[:5], seen[5:]):
        tokens = torch.cat([rows for rows, _ in epoch])
        is_fake = tokens[:, 0] > 3
        assert as_rows(tokens[is_fake]) == as_rows(fresh)
        assert int((~is_fake).sum()) == 20 and set(as_rows(tokens[~is_fake])) <= known
    for tokens, mask in seen:
        assert torch.equal(mask, sequence_mask(SPACE, tokens))
    assert any(0 < int((tokens[:, 0] > 3).sum()) < 8 for tokens, _ in seen), "reals and fakes are not mixed"
    assert not torch.equal(seen[0][0], seen[5][0]), "the order is the same in every epoch"


def test_without_a_buffer_all_fakes_are_fresh() -> None:
    judge = adversary()
    judge.train_round(Round(0, fakes(20, seed=1), epochs=1))
    seen, fresh = watch(judge), fakes(20, seed=2)
    judge.train_round(Round(1, fresh, epochs=1))
    tokens = torch.cat([rows for rows, _ in seen])
    assert as_rows(tokens[tokens[:, 0] > 3]) == as_rows(fresh)


def test_a_buffer_keeps_fakes_of_earlier_rounds() -> None:
    judge = adversary(buffer=40)
    old, fresh = fakes(20, seed=1), fakes(20, seed=2)
    judge.train_round(Round(0, old, epochs=1))
    seen = watch(judge)
    judge.train_round(Round(1, fresh, epochs=6))
    drawn = {tuple(row) for rows, _ in seen for row in rows[rows[:, 0] > 3].tolist()}
    assert drawn & (set(as_rows(old)) - set(as_rows(fresh))) and drawn & (set(as_rows(fresh)) - set(as_rows(old)))
    # An epoch is still one round's worth.
    assert sum(rows.shape[0] for rows, _ in seen) == 6 * 40


def test_reals_differ_from_round_to_round_where_there_are_more_than_a_round() -> None:
    judge = adversary(num_reals=200)
    seen = watch(judge)
    for index in range(2):
        judge.train_round(Round(index, fakes(20), epochs=1))
    first, second = (as_rows(torch.cat([rows for rows, _ in part])) for part in (seen[:5], seen[5:]))
    assert first != second


def test_fewer_reals_than_fakes_stay_balanced() -> None:
    judge = adversary(num_reals=6)
    seen = watch(judge)
    judge.train_round(Round(0, fakes(20), epochs=1))
    tokens = torch.cat([rows for rows, _ in seen])
    assert int((tokens[:, 0] > 3).sum()) == 6 and as_rows(tokens[tokens[:, 0] <= 3]) == as_rows(reals(6))


def test_a_loss_that_compares_gets_halves_and_still_sees_everything_once() -> None:
    judge = adversary(loss=Hinge())
    seen, fresh = watch(judge), fakes(20)
    judge.train_round(Round(0, fresh, epochs=1))
    known = set(as_rows(reals(30)))
    for tokens, _ in seen:
        is_fake = tokens[:, 0] > 3
        assert tokens.shape[0] == 8 and int(is_fake.sum()) == 4
        assert set(as_rows(tokens[~is_fake])) <= known
    tokens = torch.cat([rows for rows, _ in seen])
    assert as_rows(tokens[tokens[:, 0] > 3]) == as_rows(fresh)
    again = watch(judge)
    judge.train_round(Round(1, fresh, epochs=1))
    assert not torch.equal(again[0][0][4:], seen[0][0][4:]), "the order is the same in every epoch"


# ------------------------------------------------------------------------------------------------ one step


def test_a_round_of_one_minibatch_is_one_step_on_loss_and_penalty() -> None:
    network = CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4), dropout=0.0, l2_out=0.7)
    judge = adversary(batch=40, network=network, optimizer=SGD(lr=0.1), num_reals=20)
    twin, fresh = copy.deepcopy(judge.network), fakes(20)
    tokens = torch.cat([reals(20), fresh])
    loss = cross_entropy(twin(tokens, sequence_mask(SPACE, tokens)), torch.arange(40) < 20)
    (loss + twin.penalty()).backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in twin.parameters()]).norm()
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    assert metrics["discriminator/loss"] == pytest.approx(float(loss.detach()), abs=1e-6)
    assert metrics["discriminator/grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    for found, start in zip(judge.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=0)


def test_a_step_on_tokens_is_one_on_the_mean_over_real_ones() -> None:
    judge = adversary(batch=40, network=TOKEN_NETWORK, optimizer=SGD(lr=0.1), num_reals=20)
    twin, fresh = copy.deepcopy(judge.network), fakes(20)
    tokens = torch.cat([reals(20), fresh])
    mask = sequence_mask(SPACE, tokens)
    assert 0 < int(mask.sum()) < mask.numel()
    logits, is_real = twin(tokens, mask), (torch.arange(40) < 20).unsqueeze(1).expand_as(mask)[mask]
    loss = functional.softplus(torch.where(is_real, -logits[mask], logits[mask])).mean()
    loss.backward()
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    assert metrics["discriminator/loss"] == pytest.approx(float(loss.detach()), abs=1e-6)
    called_real = logits[mask] > 0
    assert metrics["discriminator/accuracy_real"] == pytest.approx(float(called_real[is_real].float().mean()))
    assert metrics["discriminator/accuracy_fake"] == pytest.approx(float((~called_real[~is_real]).float().mean()))
    for found, start in zip(judge.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=0)


def test_each_member_of_an_ensemble_learns_as_if_it_were_alone() -> None:
    network = CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4), dropout=0.0, l2_out=0.7, members=3)
    judge = adversary(batch=40, network=network, optimizer=SGD(lr=0.1), num_reals=20)
    assert isinstance(judge.network, Ensemble)
    twins, fresh = [copy.deepcopy(member) for member in judge.network.members], fakes(20)
    tokens = torch.cat([reals(20), fresh])
    mask, is_real = sequence_mask(SPACE, tokens), torch.arange(40) < 20
    logits = torch.stack([twin(tokens, mask) for twin in twins])
    torch.testing.assert_close(judge.network.scorer()(tokens, mask), logits.detach().mean(0), atol=1e-5, rtol=0)
    losses = [cross_entropy(one, is_real) for one in logits]
    assert len({float(loss.detach()) for loss in losses}) == 3  # each begins elsewhere
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    assert metrics["discriminator/loss"] == pytest.approx(sum(float(loss.detach()) for loss in losses) / 3, abs=1e-6)
    for twin, member in zip(twins, judge.network.members, strict=True):
        (cross_entropy(twin(tokens, mask), is_real) + twin.penalty()).backward()
        for found, start in zip(member.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("members", [1, 2])
def test_a_step_with_penalties_is_that_of_each_member_alone(monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []

    def spy(part: object, settings: object, space: object, *points: Tensor) -> Tensor:
        drawn.append(points)
        return gradient_penalty(part, settings, space, *points)

    monkeypatch.setattr(regularisers, "gradient_penalty", spy)
    network = CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4), dropout=0.0, l2_out=0.7, members=members)
    slope = InterpolatedPenalty(weight=3.0)
    judge = adversary(
        batch=40, network=network, optimizer=SGD(lr=0.1), num_reals=20, loss=Hinge(), l2_all=0.2, slope=slope
    )
    twins, fresh = [copy.deepcopy(part) for part in judge.network.parts()], fakes(20)
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    # Every member is judged at the same points, which pair each real with a fake.
    assert len(drawn) == members and all(torch.equal(*pair) for pair in zip(drawn[0], drawn[-1], strict=True))
    real_rows, fake_rows, epsilon = drawn[0]
    assert as_rows(real_rows) == as_rows(reals(20)) and as_rows(fake_rows) == as_rows(fresh)
    assert epsilon.shape == (20,) and 0 <= float(epsilon.min()) < 0.3 and 0.7 < float(epsilon.max()) < 1
    tokens, is_real, penalties = torch.cat([real_rows, fake_rows]), torch.arange(40) < 20, []
    for twin, member in zip(twins, judge.network.parts(), strict=True):
        penalties.append(gradient_penalty(twin, slope, SPACE, real_rows, fake_rows, epsilon))
        loss = hinge(twin(tokens, sequence_mask(SPACE, tokens)), is_real) + twin.penalty() + 3.0 * penalties[-1]
        (loss + 0.1 * sum(parameter.square().sum() for parameter in twin.parameters())).backward()
        for found, start in zip(member.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=1e-5)
    mean = sum(float(penalty.detach()) for penalty in penalties) / members
    assert metrics["discriminator/gradient_penalty"] == pytest.approx(mean, rel=1e-5)


def soft(number: int, seed: int = 0) -> Tensor:
    """Rows of the simplex that stand for the sequences `fakes(number)`."""
    noise = torch.rand(number, SPACE.max_length, SPACE.vocab_size, generator=torch.Generator().manual_seed(seed))
    one_hot = functional.one_hot(fakes(number), SPACE.vocab_size)
    return 0.6 * one_hot + 0.4 * noise / noise.sum(2, keepdim=True)


@pytest.mark.parametrize("slope", [None, InterpolatedPenalty(weight=3.0), InterpolatedPenalty(space="embedding")])
@pytest.mark.parametrize("network", [NETWORK, CausalLSTM(embedding=4, hidden=5, dropout=0.0)], ids=lambda it: it.kind)
def test_one_hot_rows_teach_what_their_tokens_teach(
    network: DiscriminatorSettings, slope: InterpolatedPenalty | None
) -> None:
    if slope is not None and network.granularity == "token":
        return  # refused
    given = {"network": network, "slope": slope, "batch": 10, "loss": Hinge(), "optimizer": SGD(lr=0.1)}
    hard, rows = adversary(**given), adversary(**given, fakes_are_soft=True)
    one_hot = functional.one_hot(fakes(20), SPACE.vocab_size).float()
    expected = hard.train_round(Round(0, fakes(20), epochs=2))
    found = rows.train_round(Round(0, one_hot, epochs=2))
    assert found == pytest.approx(expected, rel=1e-4)
    for name, value in rows.network.state_dict().items():
        torch.testing.assert_close(value, hard.network.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_a_step_on_soft_rows_is_one_on_the_rows_and_on_one_hot_reals(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []

    def spy(part: object, settings: object, space: object, *points: Tensor) -> Tensor:
        drawn.append(points)
        return gradient_penalty(part, settings, space, *points)

    monkeypatch.setattr(regularisers, "gradient_penalty", spy)
    slope, network = InterpolatedPenalty(weight=3.0), ResConv(width=4, blocks=1)
    judge = adversary(
        batch=40, network=network, optimizer=SGD(lr=0.1), num_reals=20, loss=Wasserstein(), slope=slope,
        fakes_are_soft=True,
    )  # fmt: skip
    twin, fresh = copy.deepcopy(judge.network), soft(20)
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    ((real_tokens, fake_rows, epsilon),) = drawn
    assert as_rows(real_tokens) == as_rows(reals(20))
    assert sorted(fake_rows.flatten(1).tolist()) == sorted(fresh.flatten(1).tolist())
    scores = [
        twin(rows, sequence_mask(SPACE, tokens)).mean()
        for rows, tokens in (
            (functional.one_hot(real_tokens, SPACE.vocab_size).float(), real_tokens),
            (fake_rows, fake_rows.argmax(2)),
        )
    ]
    # The slope at points between one-hot rows and soft ones, both padded behind their ends (docs/algorithms.md §10).
    real_rows, padded = (
        functional.one_hot(pad_after_end(SPACE, tokens), SPACE.vocab_size).float()
        for tokens in (real_tokens, fake_rows.argmax(2))
    )
    ends = sequence_mask(SPACE, fake_rows.argmax(2))
    between = real_rows + epsilon.view(-1, 1, 1) * (torch.where(ends.unsqueeze(2), fake_rows, padded) - real_rows)
    torch.testing.assert_close(between.sum(2), torch.ones(20, SPACE.max_length), atol=1e-6, rtol=0)
    between.requires_grad_()
    mask = ends | sequence_mask(SPACE, real_tokens)
    (gradient,) = torch.autograd.grad(twin(between, mask).sum(), between, create_graph=True)
    penalty = ((gradient.square().sum((1, 2)) + 1e-12).sqrt() - 1).square().mean()
    (scores[1] - scores[0] + 3.0 * penalty).backward()
    assert metrics["discriminator/gradient_penalty"] == pytest.approx(float(penalty.detach()), rel=1e-5)
    for found, start in zip(judge.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=1e-5)


def test_held_out_figures_of_soft_rows_are_of_the_rows() -> None:
    judge = adversary(fakes_are_soft=True, network=ResConv(width=4, blocks=1))
    twin, fresh, held_out = copy.deepcopy(judge.network).eval(), soft(20), reals(25, seed=5)[:20]
    with torch.no_grad():
        real = twin(held_out, sequence_mask(SPACE, held_out))
        fake = twin(fresh, sequence_mask(SPACE, fresh.argmax(2)))
    expected = float((real.unsqueeze(1) > fake).float().mean())
    assert judge.train_round(Round(0, fresh, epochs=1))["discriminator/auc_heldout"] == pytest.approx(expected)


def sizes_of_weights(judge: Adversary, rounds: int) -> list[float]:
    """Greatest size of a weight before each of five steps a round, and after the last."""
    sizes: list[float] = []

    def note(*_: object) -> None:
        if judge.network.training:  # and not while the round's fakes are judged
            sizes.append(max(float(parameter.detach().abs().max()) for parameter in judge.network.parameters()))

    judge.network.register_forward_pre_hook(note)
    for index in range(rounds):
        judge.train_round(Round(index, fakes(20), epochs=1))
    note()
    assert len(sizes) == 5 * rounds + 1
    return sizes


def test_weights_are_clipped_after_every_step() -> None:
    sizes = sizes_of_weights(adversary(weight_clip=0.02, optimizer=SGD(lr=1.0)), rounds=1)
    assert sizes[0] > 0.02 and all(size == pytest.approx(0.02) for size in sizes[1:])


def test_weights_are_clipped_after_the_first_step_of_a_phase_alone() -> None:
    sizes = sizes_of_weights(adversary(weight_clip=0.02, clip_every="phase", optimizer=SGD(lr=1.0)), rounds=2)
    is_clipped = [size == pytest.approx(0.02) for size in sizes]
    assert is_clipped == [index in (1, 6) for index in range(11)]


def test_the_slope_comes_near_its_target() -> None:
    def after(weight: float) -> float:
        slope = InterpolatedPenalty(weight=weight)
        judge = adversary(batch=40, optimizer=Adam(lr=0.01), loss=Wasserstein(), slope=slope)
        return [judge.train_round(Round(i, fakes(20), epochs=10))["discriminator/gradient_penalty"] for i in range(8)][
            -1
        ]

    assert after(10.0) < 0.2
    assert after(1e-6) > 5.0


def test_an_ensemble_of_one_is_the_network_itself() -> None:
    assert not isinstance(build_discriminator(CnnHighway(), SPACE), Ensemble)


def test_gradients_are_clipped_to_the_optimiser_s_norm() -> None:
    def moved(clip_norm: float | None) -> float:
        judge = adversary(batch=40, optimizer=SGD(lr=1.0, clip_norm=clip_norm))
        before = torch.nn.utils.parameters_to_vector(judge.network.parameters()).detach().clone()
        judge.train_round(Round(0, fakes(20), epochs=1))
        return float((torch.nn.utils.parameters_to_vector(judge.network.parameters()).detach() - before).norm())

    assert moved(None) > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


# ----------------------------------------------------------------------------------------------- repeatability


def assert_same(one: object, other: object, path: str = "") -> None:
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), path
        for key, value in one.items():
            assert_same(value, other[key], f"{path}/{key}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": TOKEN_NETWORK.model_copy(update={"dropout": 0.3}), "loss": Relativistic()},
        {"network": DISTRIBUTION.model_copy(update={"dropout": 0.3}), "loss": Likelihood(learns="mixture")},
        # Its power iteration goes on from buffers, and ε is drawn.
        {
            "network": Transformer(width=4, heads=2, spectral_norm=True, members=2),
            "loss": Hinge(),
            "slope": InterpolatedPenalty(),
        },
    ],
    ids=["plain", "tokens", "mediator", "spectral norm and slope"],
)
def test_the_same_call_on_the_same_state_gives_the_same_result(changes: dict[str, Any]) -> None:
    judge = adversary(buffer=50, **changes)
    judge.train_round(Round(0, fakes(20), epochs=2))
    state = judge.state()
    request = Round(1, fakes(20, seed=1), epochs=2)
    results = [(judge.train_round(request), judge.state())]  # undisturbed
    for worker in (judge, judge, adversary(buffer=50, **changes)):
        worker.restore(state)
        torch.rand(5)  # what others draw from the global generator is nobody's business
        results.append((worker.train_round(request), worker.state()))
    for metrics, after in results[1:]:
        assert metrics == results[0][0]
        assert_same(after, results[0][1])
    judge.restore(state)
    assert judge.train_round(Round(2, fakes(20, seed=1), epochs=2)) != results[0][0]


def test_a_round_leaves_the_global_generator_alone() -> None:
    judge = adversary()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    judge.train_round(Round(0, fakes(20), epochs=1))
    assert torch.equal(torch.rand(4), expected)


def test_the_seed_decides_the_start() -> None:
    assert_same(adversary(seed=1).state(), adversary(seed=1).state())
    with pytest.raises(AssertionError):
        assert_same(adversary(seed=1).state(), adversary(seed=2).state())


# ------------------------------------------------------------------------------------------------- held out


def test_held_out_figures_are_of_the_network_before_it_saw_these_fakes() -> None:
    judge, fresh = adversary(optimizer=Adam(lr=0.05)), fakes(30)
    scorer, heldout = judge.network.scorer(), reals(25, seed=5)
    expected = discriminator_health(
        scorer(heldout, sequence_mask(SPACE, heldout)), scorer(fresh[:25], sequence_mask(SPACE, fresh[:25]))
    )
    metrics = judge.train_round(Round(0, fresh, epochs=20))
    assert metrics["discriminator/accuracy_heldout"] == expected.accuracy
    assert metrics["discriminator/auc_heldout"] == expected.auc
    assert metrics["discriminator/mean_prob_real"] == expected.mean_prob_real
    assert metrics["discriminator/mean_prob_fake"] == expected.mean_prob_fake
    after = judge.train_round(Round(1, fresh, epochs=1))
    assert after["discriminator/accuracy_heldout"] > 0.9 > metrics["discriminator/accuracy_heldout"]


def test_held_out_figures_of_tokens_are_over_real_tokens() -> None:
    judge, fresh, heldout = adversary(network=TOKEN_NETWORK), fakes(25), reals(25, seed=5)
    masks = [sequence_mask(SPACE, tokens) for tokens in (heldout, fresh)]
    logits = [judge.network.scorer()(tokens, mask)[mask] for tokens, mask in zip((heldout, fresh), masks, strict=True)]
    expected = discriminator_health(*logits)
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    assert metrics["discriminator/accuracy_heldout"] == expected.accuracy
    assert metrics["discriminator/auc_heldout"] == expected.auc
    assert metrics["discriminator/mean_prob_real"] == expected.mean_prob_real


@pytest.mark.parametrize(
    ("loss", "has_accuracy", "has_probs"),
    [
        (CrossEntropy(), True, True),
        (Hinge(), True, False),
        (LeastSquares(), True, False),
        (Wasserstein(), False, False),
        (Relativistic(), False, False),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_only_figures_that_mean_something_are_reported(loss: LossSettings, has_accuracy: bool, has_probs: bool) -> None:
    metrics = adversary(loss=loss).train_round(Round(0, fakes(20), epochs=1))
    assert "discriminator/auc_heldout" in metrics
    for which, is_there in (("accuracy", has_accuracy), ("mean_prob", has_probs)):
        assert any(f"/{which}" in name for name in metrics) == is_there, which


# ------------------------------------------------------------------------------------- learning the right thing


def toy_adversary(
    optimizer: OptimizerSettings, settings: AdversarySettings, network: DiscriminatorSettings = NETWORK
) -> Adversary:
    task = build_task(ToyTask(num_train=100_000, num_valid=1_000))
    return Adversary(network, settings, optimizer, TOY_SPACE, Pairs(task.train), Pairs(task.valid), seed=0)


def toy_fakes(number: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return sample(TabularGenerator.toy().stepper(), TOY_SPACE, number, rng, chunk_rows=number).tokens


def test_trained_alone_it_calls_reals_more_real_than_fakes() -> None:
    # U5: 200 steps. A slip of polarity anywhere between data and logit turns this round.
    judge = toy_adversary(Adam(lr=0.01), AdversarySettings(batch=64, sequences_per_round=640))
    for index in range(10):
        metrics = judge.train_round(Round(index, toy_fakes(640, index), epochs=1))
    scorer, heldout, fresh = judge.network.scorer(), build_task(ToyTask()).test, toy_fakes(1_000, 99)
    real = torch.sigmoid(scorer(heldout, sequence_mask(TOY_SPACE, heldout))).mean()
    fake = torch.sigmoid(scorer(fresh, sequence_mask(TOY_SPACE, fresh))).mean()
    assert float(real) > float(fake) + 0.05
    assert metrics["discriminator/mean_prob_real"] > metrics["discriminator/mean_prob_fake"]
    assert metrics["discriminator/accuracy_real"] + metrics["discriminator/accuracy_fake"] > 1.1


def test_a_judge_of_tokens_reaches_the_loss_of_the_optimum_at_every_position() -> None:
    # U6 for tokens: the optimum is the ratio of prefixes, at position 0 of first tokens alone.
    network = TOKEN_NETWORK.model_copy(update={"hidden": 16})
    judge = toy_adversary(Adam(lr=0.02), AdversarySettings(batch=1_000, sequences_per_round=20_000), network)
    for index in range(3):
        judge.train_round(Round(index, toy_fakes(20_000, index), epochs=2))
    sequences = every_sequence(TOY_SPACE)
    logits = judge.network.scorer()(sequences, torch.ones(9, 2, dtype=torch.bool))
    real = torch.tensor(TOY_PROBS)
    fake = TabularGenerator.toy().logprobs(sequences).sum(1).exp().detach().view(3, 3)

    def expected_loss(scores: Tensor) -> float:
        costs = [
            (probs.flatten() * functional.softplus(sign * scores)).sum() for probs, sign in ((real, -1), (fake, 1))
        ]
        return float(sum(costs))

    for position, optimum in enumerate((real.sum(1, keepdim=True) / fake.sum(1, keepdim=True), real / fake)):
        best = expected_loss(optimum.log().expand(3, 3).flatten())
        assert best == pytest.approx((1.3828, 1.2331)[position], abs=1e-4)  # chance is 1.3863
        assert expected_loss(logits[:, position]) == pytest.approx(best, abs=0.002)


@pytest.mark.parametrize("loss", [Hinge(), Wasserstein(), LeastSquares(), Relativistic()], ids=lambda loss: loss.kind)
def test_by_any_loss_it_scores_reals_above_fakes(loss: LossSettings) -> None:
    # U5 for the others, whose scores are no log-odds: unseen sequences, ranked.
    judge = toy_adversary(Adam(lr=0.01), AdversarySettings(batch=64, sequences_per_round=640, loss=loss))
    for index in range(5):
        judge.train_round(Round(index, toy_fakes(640, index), epochs=1))
    scorer, heldout, fresh = judge.network.scorer(), build_task(ToyTask()).test, toy_fakes(1_000, 99)
    real, fake = (scorer(tokens, sequence_mask(TOY_SPACE, tokens)) for tokens in (heldout, fresh))
    assert float(real.mean()) > float(fake.mean()) and discriminator_health(real, fake).auc > 0.6


def test_a_table_trained_by_rounds_reaches_the_loss_of_the_optimum() -> None:
    # U6: 2 log 2 - 2 JS = 1.2331 nats for the sum of both class means, twice our balanced mean.
    settings = AdversarySettings(batch=2_000, sequences_per_round=40_000)
    judge = toy_adversary(Adam(lr=0.02), settings, Tabular())
    for index in range(3):
        judge.train_round(Round(index, toy_fakes(40_000, index), epochs=2))
    sequences = every_sequence(TOY_SPACE)
    logits = judge.network(sequences, torch.ones(9, 2, dtype=torch.bool)).detach()
    real_probs = torch.tensor(TOY_PROBS).flatten()
    fake_probs = TabularGenerator.toy().logprobs(sequences).sum(1).exp().detach()
    loss = (real_probs * functional.softplus(-logits)).sum() + (fake_probs * functional.softplus(logits)).sum()
    assert float(loss) == pytest.approx(1.2331, abs=0.002)


def test_the_initial_network_is_that_of_its_named_stream() -> None:
    before = torch.random.get_rng_state()
    judge = adversary()
    assert torch.equal(torch.random.get_rng_state(), before)
    other = build_discriminator(NETWORK, SPACE)
    assert not torch.equal(other.output.weight, judge.network.output.weight)


def test_one_prefix_of_every_sequence_of_a_length_drawn_evenly() -> None:
    mask = torch.arange(6) < torch.tensor([[1], [4], [6]])
    rng = torch.Generator().manual_seed(0)
    lengths = torch.stack([one_prefix_each(mask, rng).sum(1) for _ in range(3_000)])
    assert bool((lengths[:, 0] == 1).all())
    # A share of 1/4 of 3,000 has a standard deviation of .0079, one of 1/6 of .0068.
    for column, longest in ((1, 4), (2, 6)):
        shares = torch.bincount(lengths[:, column], minlength=7)[1:] / 3_000
        torch.testing.assert_close(shares[:longest], torch.full((longest,), 1 / longest), atol=4 * 0.008, rtol=0)
        assert int(shares[longest:].count_nonzero()) == 0
    once = one_prefix_each(mask, rng)
    assert torch.equal(once, mask & (torch.arange(6) < once.sum(1, keepdim=True)))


def test_where_it_learns_prefixes_it_is_shown_one_of_every_sequence_and_judged_on_whole_ones() -> None:
    judge = adversary(learns_prefixes=True)
    seen = watch(judge)
    figures = judge.train_round(Round(0, fakes(20), epochs=3))
    shown = torch.cat([mask.sum(1) for _, mask in seen])
    whole = torch.cat([sequence_mask(SPACE, tokens).sum(1) for tokens, _ in seen])
    assert bool((shown >= 1).all()) and bool((shown <= whole).all()) and bool((shown < whole).any())
    for tokens, mask in seen:
        assert torch.equal(mask, torch.arange(tokens.shape[1]) < mask.sum(1, keepdim=True))
    # Before it learned anything it was asked of whole sequences.
    assert (
        figures["discriminator/auc_heldout"]
        == adversary().train_round(Round(0, fakes(20), 1))["discriminator/auc_heldout"]
    )


def test_a_round_that_ranks_too_well_measures_adds_fakes_and_trains_nothing() -> None:
    judge, trained = adversary(buffer=50), adversary(buffer=50)
    before = judge.state()["weights"]
    figures = judge.train_round(Round(0, fakes(20), 1, hold_above=0.0))
    assert "discriminator/loss" not in figures and figures["discriminator/buffer_fake"] == 20.0
    reference = trained.train_round(Round(0, fakes(20), 1, hold_above=1.0))
    assert "discriminator/loss" in reference
    assert figures["discriminator/auc_heldout"] == reference["discriminator/auc_heldout"]
    for name, value in judge.state()["weights"].items():
        assert torch.equal(value, before[name])


def test_what_reals_weigh_is_what_they_cost() -> None:
    whole, apart, weightless = (
        adversary(batch=40, loss=Hinge()).train_round(Round(0, fakes(20), 1, real_weight=weight))
        for weight in (None, 1.0, 0.0)
    )
    assert apart["discriminator/loss"] == pytest.approx(whole["discriminator/loss"], rel=1e-6)
    total = apart["discriminator/loss_real"] + apart["discriminator/loss_fake"]
    assert apart["discriminator/loss"] == pytest.approx(total, rel=1e-5)
    assert weightless["discriminator/loss"] == pytest.approx(weightless["discriminator/loss_fake"], rel=1e-6)
    assert "discriminator/loss_real" not in whole


# ----------------------------------------------------------------------------------------------- language models


def test_a_language_model_of_reals_sees_every_real_once_an_epoch_and_no_fake() -> None:
    judge = adversary(network=DISTRIBUTION, loss=Likelihood(), num_reals=20)
    seen = watch(judge)
    metrics = judge.train_round(Round(0, torch.empty(0, 5, dtype=torch.int64), epochs=2))
    assert [tokens.shape[0] for tokens, _ in seen] == [8, 8, 4] * 2
    for epoch in (seen[:3], seen[3:]):
        assert as_rows(torch.cat([tokens for tokens, _ in epoch])) == as_rows(reals(20))
    assert (metrics["discriminator/buffer_real"], metrics["discriminator/buffer_fake"]) == (20.0, 0.0)


def test_a_mediator_sees_as_many_fakes_as_reals() -> None:
    judge = adversary(network=DISTRIBUTION, loss=Likelihood(learns="mixture"), num_reals=20)
    seen, fresh = watch(judge), fakes(20)
    judge.train_round(Round(0, fresh, epochs=1))
    tokens = torch.cat([rows for rows, _ in seen])
    assert [rows.shape[0] for rows, _ in seen] == [8] * 5
    assert as_rows(tokens) == as_rows(torch.cat([reals(20), fresh]))


@pytest.mark.parametrize("learns", ["reals", "mixture"])
def test_a_step_of_a_language_model_is_one_on_the_mean_nll_of_real_tokens(learns: str) -> None:
    judge = adversary(
        batch=40, network=DISTRIBUTION, optimizer=SGD(lr=0.1), num_reals=20, loss=Likelihood(learns=learns)
    )
    twin, fresh = copy.deepcopy(judge.network), fakes(20)
    tokens = torch.cat([reals(20), fresh]) if learns == "mixture" else reals(20)
    mask = sequence_mask(SPACE, tokens)
    nll = -twin(tokens, mask).sum() / mask.sum()
    nll.backward()
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    assert metrics["discriminator/loss"] == pytest.approx(float(nll.detach()), abs=1e-6)
    for found, start in zip(judge.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("learns", ["reals", "mixture"])
def test_a_language_model_is_measured_by_what_unseen_reals_cost_it_and_ranks_nothing(learns: str) -> None:
    judge = adversary(network=DISTRIBUTION, loss=Likelihood(learns=learns), optimizer=Adam(lr=0.05))
    heldout = reals(25, seed=5)
    mask = sequence_mask(SPACE, heldout)
    expected = -float(judge.network.scorer()(heldout, mask)[mask].mean())
    metrics = judge.train_round(Round(0, fakes(20), epochs=5))
    assert metrics["discriminator/nll_heldout"] == pytest.approx(expected, rel=1e-6)
    assert {name.rpartition("/")[2] for name in metrics} == {
        "nll_heldout", "loss", "grad_norm", "buffer_real", "buffer_fake"
    }  # fmt: skip
    after = judge.train_round(Round(1, fakes(20), epochs=1))
    assert after["discriminator/nll_heldout"] < metrics["discriminator/nll_heldout"]


@pytest.mark.parametrize(("learns", "share_of_fakes"), [("reals", 0.0), ("mixture", 0.5)])
def test_a_language_model_trained_by_rounds_becomes_the_distribution_that_it_is_to_learn(
    learns: str, share_of_fakes: float
) -> None:
    # p_d for the LM-ratio discriminator, ½(p_d + p_θ) for the mediator; and the loss ends at that distribution's
    # entropy.
    network = LanguageModel(embedding=8, hidden=16, dropout=0.0)
    settings = AdversarySettings(batch=1_000, sequences_per_round=20_000, loss=Likelihood(learns=learns))
    judge = toy_adversary(Adam(lr=0.01), settings, network)
    for index in range(6):
        metrics = judge.train_round(Round(index, toy_fakes(20_000, index), epochs=2))
    sequences = every_sequence(TOY_SPACE)
    found = judge.network.scorer()(sequences, torch.ones(9, 2, dtype=torch.bool)).sum(1).exp()
    fake = TabularGenerator.toy().logprobs(sequences).sum(1).exp().detach()
    distribution = (1 - share_of_fakes) * torch.tensor(TOY_PROBS).flatten() + share_of_fakes * fake
    torch.testing.assert_close(found, distribution, atol=0.015, rtol=0)
    assert float((distribution * (distribution.log() - found.log())).sum()) < 0.003
    assert metrics["discriminator/loss"] == pytest.approx(
        -float((distribution * distribution.log()).sum()) / 2, abs=0.01
    )


# ------------------------------------------------------------------------------------------ what sequences are given

GIVEN = SequenceSpace(3, 2)
OF_PAIRS = SequenceSpace(3, 2, condition=GIVEN)
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 2)  # the nine sequences of two tokens


def adversary_of_pairs(mismatched: float | None, number: int = 40, **changes: Any) -> Adversary:
    """Told that every sequence of `EVERY` belongs to itself and to the one behind it."""
    own = torch.arange(number) % 9
    reals = Pairs(EVERY[(own + torch.arange(number) % 2) % 9], EVERY[own])
    settings = AdversarySettings(batch=20, sequences_per_round=number, mismatched=mismatched)
    return Adversary(Tabular(), settings, changes.get("optimizer", SGD(lr=0.1)), OF_PAIRS, reals, reals, seed=0)


def test_a_step_beside_mismatched_pairs_is_one_on_three_means(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = adversary_of_pairs(0.7, number=10)
    assigned: list[Tensor] = []

    def spy(is_pair: Tensor, rng: torch.Generator) -> Tensor:
        assigned.append(derangement(is_pair, rng))
        return assigned[-1]

    monkeypatch.setattr(mismatch, "derangement", spy)
    seen: list[tuple[Any, ...]] = []
    with torch.no_grad():
        judge.network.table.copy_(torch.randn(81, generator=torch.Generator().manual_seed(0)))
    twin = copy.deepcopy(judge.network)
    judge.network.register_forward_pre_hook(lambda net, arguments: seen.append(arguments) if net.training else None)
    metrics = judge.train_round(Round(0, EVERY.flip(0).repeat(2, 1)[:10], epochs=1, conditions=EVERY.repeat(2, 1)[:10]))
    ((tokens, mask, conditions),) = seen
    num_mismatched = len(tokens) - 20
    assert num_mismatched == int((assigned[0] >= 0).sum()) > 5
    assert torch.equal(tokens[20:], tokens[:10][assigned[0] >= 0])
    assert torch.equal(conditions[20:], conditions[:10][assigned[0][assigned[0] >= 0]])
    logits = twin(tokens, mask, conditions)
    softplus = functional.softplus
    loss = softplus(-logits[:10]).mean() + softplus(logits[10:20]).mean() + 0.7 * softplus(logits[20:]).mean()
    loss.backward()
    assert metrics["discriminator/loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    called_real = (logits[20:] > 0).float().mean()
    assert metrics["discriminator/accuracy_mismatched"] == pytest.approx(1 - float(called_real))
    torch.testing.assert_close(judge.network.table.detach(), (twin.table - 0.1 * twin.table.grad).detach())


@pytest.mark.parametrize("mismatched", [None, 1.0])
def test_only_mismatched_pairs_teach_what_does_not_belong_together(mismatched: float | None) -> None:
    # Where the generator is perfect: D* is ½ on pairs of the data, and 0 on pairs that nobody makes; what a
    # table is never shown stays where it began.
    judge = adversary_of_pairs(mismatched, number=180, optimizer=Adam(lr=0.1))
    reals = judge._reals
    for index in range(20):
        judge.train_round(Round(index, reals.tokens, epochs=1, conditions=reals.conditions))
    table = judge.network.table.detach().view(9, 9)
    belongs = torch.zeros(9, 9, dtype=torch.bool)
    for first in range(9):
        for shift in (0, 1):
            belongs[first, (first + shift) % 9] = True
    assert float(table[belongs].abs().max()) < 0.3
    if mismatched is None:
        assert float(table[~belongs].abs().max()) == 0.0
    else:
        assert float(table[~belongs].max()) < -1.5


def distribution_of(pairs: Pairs, in_prefixes: bool) -> Tensor:
    """(2, 9): of a condition of one token and what is judged; with prefixes half is the first token, padded by 0."""
    distribution = torch.zeros(2, 9)
    for (given,), (first, second) in zip(pairs.conditions.tolist(), pairs.tokens.tolist(), strict=True):
        distribution[given, 3 * first + second] += (0.5 if in_prefixes else 1.0) / len(pairs.tokens)
        distribution[given, 3 * first] += 0.5 * in_prefixes / len(pairs.tokens)
    return distribution


@pytest.mark.parametrize("in_prefixes", [True, False])
@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_beside_mismatched_pairs_and_an_imperfect_generator_the_optimum_is_the_share_of_reals(
    weight: float, in_prefixes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # D* = p/(p + p_source·p_θ + w·p'). Each minibatch is all of the data, and what belongs to one condition
    # never belongs to the other, so that every derangement exchanges the two: p' is known. Whole sequences: p' is 0
    # where p is not. Prefixes: both conditions have sequences that begin alike. Lengths take turns, and are not drawn,
    # so that nothing is left to chance.
    lengths = itertools.cycle((1, 2))
    monkeypatch.setattr(
        minibatches_module, "one_prefix_each", lambda mask, _: mask & (torch.arange(mask.shape[1]) < next(lengths))
    )
    kinds = torch.tensor([[1, 1], [1, 2], [2, 1], [2, 2]])
    given = torch.arange(2).repeat_interleave(24).unsqueeze(1)
    data = Pairs(kinds.repeat(2, 1).repeat_interleave(torch.tensor([18, 0, 6, 0, 0, 8, 0, 16]), 0), given)
    made = Pairs(kinds.repeat(2, 1).repeat_interleave(torch.tensor([8, 4, 8, 4, 4, 8, 6, 6]), 0), given)
    p, p_fake, p_mismatched = (
        distribution_of(pairs, in_prefixes) for pairs in (data, made, Pairs(data.tokens, 1 - given))
    )
    assert bool((p * p_mismatched).any()) == in_prefixes
    settings = AdversarySettings(batch=96, sequences_per_round=48, mismatched=weight)
    space = SequenceSpace(3, 2, condition=SequenceSpace(2, 1))
    judge = Adversary(Tabular(), settings, SGD(lr=4.0), space, data, data, seed=0, learns_prefixes=in_prefixes)
    judge.train_round(Round(0, made.tokens, epochs=80, conditions=made.conditions))
    found = judge.network.table.detach().view(2, 9).sigmoid()
    judged = p + p_fake + weight * p_mismatched
    torch.testing.assert_close(found[p > 0], (p / judged)[p > 0], atol=1e-3, rtol=0)
    assert float(found[(p == 0) & (judged > 0)].max()) < 0.1
    assert bool((found[judged == 0] == 0.5).all())


def test_a_round_on_pairs_goes_on_after_it_was_put_back() -> None:
    original, restored = (adversary_of_pairs(1.0) for _ in range(2))
    rounds = [Round(index, EVERY, epochs=1, conditions=EVERY.flip(0)) for index in range(3)]
    original.train_round(rounds[0])
    restored.restore(original.state())
    for request in rounds[1:]:
        assert restored.train_round(request) == original.train_round(request)


def test_parts_of_a_verdict_tell_why_a_pair_failed() -> None:
    judge = adversary_of_pairs(None, number=18)
    heldout = judge._heldout_reals
    belongs = {(tuple(c), tuple(x)) for c, x in zip(heldout.conditions.tolist(), heldout.tokens.tolist(), strict=True)}
    assert len(belongs) == 18

    def parts(tokens: Tensor, mask: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        # Real is what does not begin with 2; belonging is what is known to.
        pairs = zip(conditions.tolist(), tokens.tolist(), strict=True)
        matching = torch.tensor([float((tuple(c), tuple(x)) in belongs) for c, x in pairs])
        return {"realism": torch.where(tokens[:, 0] == 2, -4.0, 2.0), "matching": 5.0 * matching}

    judge.network.part_logits = parts  # type: ignore[method-assign]
    judge._judges_pairs = True  # as a network does whose logits depend on what the sequences are given
    # Nine fakes of the one kind, each under what it belongs to, and nine that begin well under what they do not.
    unreal = Pairs(torch.tensor([[2, 2]] * 9), torch.tensor([[2, 2], [2, 1], [2, 2]] * 3))
    unfit = Pairs(torch.tensor([[0, 0]] * 9), torch.tensor([[1, 1]] * 9))
    fresh = Pairs(torch.cat([unreal.tokens, unfit.tokens]), torch.cat([unreal.conditions, unfit.conditions]))
    metrics = judge.train_round(Round(0, fresh.tokens, epochs=1, conditions=fresh.conditions))
    name = "discriminator/{}_{}_{}".format
    # A third of the reals begins with 2, and so does half of the fakes; ties count one half.
    assert metrics[name("mean", "realism", "real")] == pytest.approx((2 * 2 - 4) / 3)
    assert metrics[name("mean", "realism", "fake")] == pytest.approx((2 - 4) / 2)
    assert metrics[name("auc", "realism", "fake")] == pytest.approx(2 / 3 * (1 / 2 + 1 / 4) + 1 / 3 * 1 / 4)
    assert metrics[name("mean", "matching", "real")] == 5.0 and metrics[name("mean", "matching", "fake")] == 2.5
    assert metrics[name("auc", "matching", "fake")] == pytest.approx(1 / 2 + 1 / 4)
    # Real sequences under conditions of others: none belongs, each is as real as before.
    assert metrics[name("mean", "matching", "mismatched")] == 0.0
    assert metrics[name("auc", "matching", "mismatched")] == 1.0
    assert metrics[name("mean", "realism", "mismatched")] == pytest.approx(0.0)
    assert metrics[name("auc", "realism", "mismatched")] == pytest.approx(0.5)


def test_parts_are_judged_before_the_round_and_without_dropout() -> None:
    own = torch.arange(36) % 9
    reals, heldout = (Pairs(EVERY[own], EVERY[own.roll(turn)]) for turn in (0, 2))
    network = PairLSTM(embedding=3, hidden=4, mlp_hidden=4, dropout=0.5, head=SplitHead(), members=2)
    settings = AdversarySettings(batch=20, sequences_per_round=36, mismatched=1.0)
    judge = Adversary(network, settings, SGD(lr=0.1), OF_PAIRS, reals, heldout, seed=0)
    twin = copy.deepcopy(judge.network).eval()
    metrics = judge.train_round(Round(0, EVERY.flip(0), epochs=1, conditions=EVERY))
    mask = torch.ones(9, 2, dtype=torch.bool)
    with torch.no_grad():
        real, fake = (
            twin.part_logits(tokens, mask, conditions)
            for tokens, conditions in ((heldout.tokens[:9], heldout.conditions[:9]), (EVERY.flip(0), EVERY))
        )
    for part in ("realism", "matching"):
        assert metrics[f"discriminator/mean_{part}_real"] == pytest.approx(float(real[part].mean()), abs=1e-6)
        assert metrics[f"discriminator/mean_{part}_fake"] == pytest.approx(float(fake[part].mean()), abs=1e-6)
        assert metrics[f"discriminator/auc_{part}_fake"] == pytest.approx(auc(real[part], fake[part]))
    # The same rounds again, and no part of a verdict that is of one piece.
    again = Adversary(network, settings, SGD(lr=0.1), OF_PAIRS, reals, heldout, seed=0)
    assert again.train_round(Round(0, EVERY.flip(0), epochs=1, conditions=EVERY)) == metrics
    whole = adversary_of_pairs(1.0).train_round(Round(0, EVERY, epochs=1, conditions=EVERY))
    assert not [name for name in whole if "realism" in name or "matching" in name]


def test_where_everything_belongs_together_no_pair_is_mismatched() -> None:
    every = Pairs(EVERY.repeat(9, 1), EVERY.repeat_interleave(9, 0))
    network = PairLSTM(embedding=3, hidden=4, mlp_hidden=4, head=SplitHead())
    judge = Adversary(network, AdversarySettings(batch=20), SGD(lr=0.1), OF_PAIRS, every, every, seed=0)
    metrics = judge.train_round(Round(0, EVERY, epochs=1, conditions=EVERY))
    assert "discriminator/mean_matching_fake" in metrics
    assert not [name for name in metrics if name.endswith("mismatched")]
