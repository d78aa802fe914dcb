"""What every discriminator promises: soft rows, masks, frozen copies, weights that travel, ensembles."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.weights import load_weights, weights_of
from rlgan.discriminators import (
    BidirectionalLSTM,
    CausalLSTM,
    CnnHighway,
    DensityRatio,
    Discriminator,
    DiscriminatorSettings,
    Ensemble,
    HierarchicalLSTM,
    InteractionCnn,
    LanguageModel,
    LanguageModelDiscriminator,
    Logistic,
    MultiRepresentation,
    PairCnn,
    PairLSTM,
    PairMultiRepresentation,
    PairRanker,
    Ranker,
    ResConv,
    SequenceClassifier,
    SplitHead,
    Tabular,
    Transformer,
    TripleLSTM,
    build_discriminator,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Seq2SeqLSTM
from tests.support.errors import refused

SPACE = SequenceSpace(4, 5, end_id=2)
PAIR_SPACE = replace(SPACE, condition=SequenceSpace(5, 6, end_id=1, separator_id=3))
CNN = CnnHighway(embedding=3, windows=(1, 2, 7), filters=(3,))
EVERY: list[DiscriminatorSettings] = [
    CNN,
    BidirectionalLSTM(embedding=3, hidden=4, layers=2),
    CausalLSTM(embedding=3, hidden=4, layers=2, position_features=2),
    Transformer(width=4, heads=2),
    Transformer(width=4, heads=2, layers=1, spectral_norm=True),
    ResConv(width=3, blocks=2, window=3),
    MultiRepresentation(embedding=6, representations=3, windows=(1, 2, 7), filters=(3,)),
    Ranker(embedding=3, windows=(1, 2, 7), filters=(3,), references=3, comparisons=4),
    LanguageModel(embedding=3, hidden=4, layers=2),
    LanguageModel(embedding=3, hidden=3, tied=False),
    DensityRatio(network=LSTM(embedding=3, hidden=4)),
    DensityRatio(network=Seq2SeqLSTM(embedding=3, hidden=4)),
    Tabular(),
    Logistic(length=True),
    PairCnn(embedding=3, windows=(1, 2, 7), filters=(3,), mlp_hidden=4),
    PairCnn(embedding=3, windows=(1, 2, 7), filters=(3,), mlp_hidden=4, batch_norm=False, head=SplitHead()),
    PairLSTM(embedding=3, hidden=4, mlp_hidden=4),
    PairLSTM(embedding=3, hidden=4, mlp_hidden=4, head=SplitHead(combination="product_of_probs")),
    HierarchicalLSTM(embedding=3, hidden=4),
    InteractionCnn(embedding=3, projection=2, channels=3, mlp_hidden=8),
    TripleLSTM(embedding=3, hidden=4, mlp_hidden=4),
    PairMultiRepresentation(embedding=6, representations=3, windows=(1, 2, 7), filters=(3,)),
    PairRanker(embedding=3, windows=(1, 2, 7), filters=(3,), mlp_hidden=8, references=3, comparisons=4),
]
if find_spec("transformers") is not None:
    SIZES = {"kind": "fresh", "width": 4, "layers": 1, "heads": 2}
    EVERY += [
        SequenceClassifier(weights={**SIZES, "architecture": "bert"}),
        SequenceClassifier(weights={**SIZES, "architecture": "gpt2"}, granularity="token"),
    ]
JUDGES_TOKENS = [settings for settings in EVERY if settings.granularity == "token"]
every = pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings.kind)
every_of_pairs = pytest.mark.parametrize(
    "settings", [one for one in EVERY if one.reads == "pairs"], ids=lambda settings: settings.kind
)
every_with_soft_rows = pytest.mark.parametrize(
    "settings", [one for one in EVERY if one.reads_soft_rows], ids=lambda settings: settings.kind
)
every_with_members = pytest.mark.parametrize(
    "settings", [one for one in EVERY if "members" in type(one).model_fields], ids=lambda settings: settings.kind
)


def space_of(settings: DiscriminatorSettings) -> SequenceSpace:
    return PAIR_SPACE if settings.reads == "pairs" else SPACE


def built(settings: DiscriminatorSettings) -> Discriminator:
    torch.manual_seed(0)
    net = build_discriminator(settings, space_of(settings))
    with torch.no_grad():
        # Nothing may be distinguished by its start: gates and tables of 0, equal biases.
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def batch(settings: DiscriminatorSettings, number: int = 30) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, mask and what they are given."""
    tokens = random_sequences(SPACE, number, seed=1)
    mask = sequence_mask(SPACE, tokens)
    assert len(set(mask.sum(1).tolist())) > 1
    given = space_of(settings).condition
    return tokens, mask, None if given is None else random_sequences(given, number, seed=2)


def one_hot(tokens: Tensor) -> Tensor:
    return functional.one_hot(tokens, SPACE.vocab_size).float()


# --------------------------------------------------------------------------------------------------- soft rows


@every_with_soft_rows
def test_a_one_hot_row_is_its_token(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    expected = net(tokens, mask, given)
    assert len(set(expected.flatten().tolist())) > 5
    torch.testing.assert_close(net(one_hot(tokens), mask, given), expected, atol=1e-6, rtol=1e-6)


@every_with_soft_rows
def test_soft_rows_are_twice_differentiable(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval().double()
    tokens, mask, given = batch(settings, 4)
    noise = torch.rand(*tokens.shape, SPACE.vocab_size, generator=torch.Generator().manual_seed(0))
    rows = ((one_hot(tokens) + noise) / (1 + noise.sum(2, keepdim=True))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, mask, given), rows)
    # ∂/∂rows of a function of the gradient, against differences of the gradient itself.
    assert torch.autograd.gradgradcheck(lambda x: net(x, mask, given), rows, fast_mode=True)  # in random directions


def test_a_distribution_over_tokens_refuses_soft_rows() -> None:
    tokens, mask, _ = batch(LanguageModel())
    with refused(ShapeError, "language_model_reads_tokens", match=r"\(30, 5, 4\)"):
        built(LanguageModel())(one_hot(tokens), mask)


@every_with_soft_rows
def test_what_lies_beyond_the_mask_has_no_gradient(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    rows = one_hot(tokens).requires_grad_()
    net(rows, mask, given).sum().backward()
    assert bool((rows.grad[~mask] == 0).all()) and bool((rows.grad[mask] != 0).any())


# ------------------------------------------------------------------------------------------------ granularity


@every
def test_there_is_a_logit_for_what_is_judged(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    shape = (30, 5) if settings.granularity == "token" else (30,)
    for logits in (
        net(tokens, mask, given),
        net.scorer()(tokens, mask, given),
        net.member_logits(tokens, mask, given)[0],
    ):
        assert logits.shape == shape and logits.dtype == torch.float32
        if settings.granularity == "token":
            assert bool((logits[~mask] == 0).all()) and bool((logits[mask] != 0).all())


@pytest.mark.parametrize("settings", JUDGES_TOKENS, ids=lambda settings: settings.kind)
def test_a_token_changes_its_own_logit_and_later_ones_only(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    space = SequenceSpace(4, 5)
    tokens, mask = random_sequences(space, 30, seed=2), torch.ones(30, 5, dtype=torch.bool)
    _, _, given = batch(settings)
    before = net(tokens, mask, given)
    for position in range(5):
        other = tokens.clone()
        other[:, position] = (other[:, position] + 1) % 4
        after = net(other, mask, given)
        assert torch.equal(after[:, :position], before[:, :position])
        assert bool((after[:, position:] != before[:, position:]).all())


# ------------------------------------------------------------------------------------------- masks and copies


@every
def test_what_stands_after_the_terminator_changes_no_logit(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    assert set(mask.sum(1).tolist()) == {1, 2, 3, 4, 5}
    littered = torch.where(mask, tokens, torch.full_like(tokens, 3))
    assert not torch.equal(littered, tokens)
    for score in (net, net.scorer()):
        assert torch.equal(score(tokens, mask, given), score(littered, mask, given))
    if not settings.reads_soft_rows:
        return
    soft, soft_litter = one_hot(tokens), one_hot(littered)
    assert torch.equal(net(soft, mask, given), net(soft_litter, mask, given))


@every
def test_the_scorer_is_a_frozen_copy(settings: DiscriminatorSettings) -> None:
    net = built(settings).train()
    tokens, mask, given = batch(settings)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    scorer = net.scorer()
    before = scorer(tokens, mask, given)
    assert net.training and not before.requires_grad and torch.equal(before, scorer(tokens, mask, given))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(before, net.eval()(tokens, mask, given), atol=1e-5, rtol=1e-5)
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert torch.equal(scorer(tokens, mask, given), before)


@every
def test_weights_travel(settings: DiscriminatorSettings) -> None:
    net = built(settings).train()
    tokens, mask, given = batch(settings)
    net(tokens, mask, given).sum().backward()  # buffers move, too
    arrays = weights_of(net, 0).complete
    torch.manual_seed(5)
    other = load_weights(build_discriminator(settings, space_of(settings)), arrays)
    assert torch.equal(net.scorer()(tokens, mask, given), other.scorer()(tokens, mask, given))
    # With buffers; what has two names travels by the first.
    tied = {"model.output.weight"} if isinstance(settings, LanguageModel) and settings.tied else set()
    assert arrays.keys() == net.state_dict().keys() - tied
    again = weights_of(other, 0).complete
    assert again.keys() == arrays.keys() and all((again[name] == arrays[name]).all() for name in arrays)


@every
def test_a_logit_is_of_its_own_row(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval().double()
    tokens, mask, given = batch(settings)
    together = net(tokens, mask, given)
    for row in (slice(3, 4), slice(7, 12)):
        alone = net(tokens[row], mask[row], None if given is None else given[row])
        torch.testing.assert_close(alone, together[row], atol=1e-12, rtol=0)


# ------------------------------------------------------------------------------------------------------- pairs


@every_of_pairs
def test_what_stands_after_the_end_of_a_condition_changes_no_logit(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    is_real = sequence_mask(PAIR_SPACE.condition, given)
    assert set(is_real.sum(1).tolist()) >= {1, 2, 3, 6}
    for litter in (0, 3, 4):  # 3 divides turns
        littered = torch.where(is_real, given, torch.full_like(given, litter))
        for score in (net, net.scorer()):
            assert torch.equal(score(tokens, mask, given), score(tokens, mask, littered))
    learning = []
    for shown in (given, torch.where(is_real, given, torch.full_like(given, 3))):
        torch.manual_seed(0)
        learning.append(net.train()(tokens, mask, shown))
    assert torch.equal(*learning)  # neither statistics nor dropout depend on it


@every_of_pairs
def test_a_prefix_is_judged_by_itself(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, given = batch(settings)
    mask = mask & (torch.arange(5) < torch.arange(1, 31).unsqueeze(1) % 5 + 1)
    for litter in range(4):
        littered = torch.where(mask, tokens, torch.full_like(tokens, litter))
        assert torch.equal(net(tokens, mask, given), net(littered, mask, given))


@every_of_pairs
def test_every_token_of_a_condition_counts(settings: DiscriminatorSettings) -> None:
    net = built(settings).eval()
    tokens, mask, _ = batch(settings)
    given = torch.randint(2, (30, 6), generator=torch.Generator().manual_seed(0)) * 2  # 0 or 2: nothing ends
    for position in range(6):
        other = given.clone()
        other[:, position] = 4
        assert bool((net(tokens, mask, other) != net(tokens, mask, given)).any()), position


@every_of_pairs
def test_a_pair_is_not_its_mirror_image(settings: DiscriminatorSettings) -> None:
    torch.manual_seed(0)
    space = SequenceSpace(4, 5, end_id=2)
    net = build_discriminator(settings, replace(space, condition=space)).eval()
    tokens, given = random_sequences(space, 30, seed=1), random_sequences(space, 30, seed=2)
    forth = net(tokens, sequence_mask(space, tokens), given)
    back = net(given, sequence_mask(space, given), tokens)
    differ = (tokens != given).any(1)
    assert bool(((forth - back).abs() > 1e-6)[differ].float().mean() > 0.8)


@every_of_pairs
def test_judges_of_pairs_need_something_that_is_given(settings: DiscriminatorSettings) -> None:
    tokens, mask, _ = batch(settings)
    name = type(built(settings)).__name__
    of_density = isinstance(settings, DensityRatio)
    with refused(ConfigError, "density_without_conditions" if of_density else "pairs_without_conditions", match=name):
        build_discriminator(settings, SPACE)
    for score in (built(settings), built(settings).scorer()):
        with pytest.raises(ValueError, match="needs conditions"):
            score(tokens, mask)


# --------------------------------------------------------------------------------------------------- ensembles


@every_with_members
def test_an_ensemble_is_the_mean_of_members_that_begin_apart(settings: DiscriminatorSettings) -> None:
    net = built(settings.model_copy(update={"members": 3})).eval()
    assert isinstance(net, Ensemble) and len(net.parts()) == 3
    assert built(settings).parts()[0] is not net and len(built(settings).parts()) == 1
    tokens, mask, given = batch(settings)
    members = torch.stack([member(tokens, mask, given) for member in net.parts()]).detach()
    assert len({float(row.sum()) for row in members}) == 3
    views = net.member_logits(tokens, mask, given).detach().unflatten(0, (3, -1))
    assert views.shape[1] == net.num_views == net.parts()[0].num_views
    torch.testing.assert_close(views.mean(1), members)
    torch.testing.assert_close(net(tokens, mask, given).detach(), members.mean(0))
    torch.testing.assert_close(net.scorer()(tokens, mask, given), members.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net(one_hot(tokens), mask, given).detach(), members.mean(0), atol=1e-5, rtol=1e-5)


# ----------------------------------------------------------------------------------------------- language model


@pytest.mark.parametrize("training", [True, False])
def test_a_language_model_says_log_probabilities_of_tokens_given_those_before(training: bool) -> None:
    net = built(LanguageModel(embedding=3, hidden=4, dropout=0.0)).train(training)
    assert isinstance(net, LanguageModelDiscriminator)
    space = SequenceSpace(4, 3)
    sequences = torch.cartesian_prod(*[torch.arange(4)] * 3)
    logits = net(sequences, torch.ones(64, 3, dtype=torch.bool)).detach()
    # A distribution: whatever came before, its probabilities of the next token sum to 1, and those of all sequences do.
    assert float(logits.sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    for position in range(space.max_length):
        of_next = logits.view(4, 4, 4, 3)[..., position].movedim(position, -1).exp().sum(-1)
        torch.testing.assert_close(of_next, torch.ones(4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, net.model.logprobs(sequences).detach())


def test_dropout_of_a_language_model_is_on_in_training_and_off_in_scoring() -> None:
    net = built(LanguageModel(embedding=3, hidden=4, dropout=0.5)).train()
    tokens, mask, _ = batch(LanguageModel())
    assert not torch.equal(net(tokens, mask), net(tokens, mask))
    assert torch.equal(net.scorer()(tokens, mask), net.scorer()(tokens, mask))


def test_settings_of_a_language_model_are_those_of_the_generators_network() -> None:
    settings = LanguageModel(embedding=3, hidden=5, layers=2, dropout=0.4, tied=False)
    network = settings.network
    assert all(
        getattr(network, name) == getattr(settings, name) for name in type(settings).model_fields if name != "kind"
    )
