"""RankGAN: rank scores by hand and by loops, sets that come from the seed alone, and what the generator descends."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.adversary.losses import Ranking, ranking
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.training import Adversary, AdversarySettings, Round
from rlgan.base.errors import ShapeError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.checks import problems
from rlgan.discriminators import CnnHighway, Ranker, RankerDiscriminator, build_discriminator
from rlgan.discriminators.ranker import log_rank_scores, rivals_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, LSTMGenerator
from rlgan.layers.optimizers import SGD, Adam
from rlgan.policy.logit_maps import Logit
from tests.support.errors import refused
from tests.support.small_presets import small

SPACE = SequenceSpace(6, 7, end_id=1)
SETTINGS = Ranker(embedding=3, windows=(1, 2), filters=(16,), dropout=0.0, references=3, comparisons=4, sharpness=2.0)


def built() -> RankerDiscriminator:
    torch.manual_seed(0)
    net = build_discriminator(SETTINGS, SPACE).eval()
    assert isinstance(net, RankerDiscriminator)
    net.take_reals(random_sequences(SPACE, net.num_reals, seed=9))
    return net


# ------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("number", [1, 3, 16])
def test_what_equals_its_reference_scores_e_over_e_plus_n_among_what_is_orthogonal(number: int) -> None:
    reference = torch.eye(20)[:1]
    rivals = rivals_of(torch.eye(20)[1 : 1 + number], reference, 1.0)
    score = log_rank_scores(reference, reference, rivals, 1.0)
    assert float(score.exp()) == pytest.approx(math.e / (math.e + number))
    # What is orthogonal, too, is one of n + 1; with γ = 0 all are.
    other = log_rank_scores(torch.eye(20)[19:], reference, rivals, 1.0)
    assert float(other.exp()) == pytest.approx(1 / (math.e**0 + number))
    flat = rivals_of(torch.eye(20)[1 : 1 + number], reference, 0.0)
    assert float(log_rank_scores(reference, reference, flat, 0.0).exp()) == pytest.approx(1 / (1 + number))


def by_loops(features: Tensor, references: Tensor, comparisons: Tensor, sharpness: float) -> list[float]:
    """The paper's equations with loops: relevance, softmax over C ∪ {y}, mean logarithm over U."""

    def relevance(one: Tensor, other: Tensor) -> float:
        return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))

    found = []
    for y in features:
        logs = []
        for u in references:
            own = math.exp(sharpness * relevance(y, u))
            others = sum(math.exp(sharpness * relevance(c, u)) for c in comparisons)
            logs.append(math.log(own / (own + others)))
        found.append(sum(logs) / len(logs))
    return found


def raw_features(net: RankerDiscriminator, tokens: Tensor) -> Tensor:
    """Features before they are brought to length 1."""
    return net.highway(net.pooled(net.embed(tokens), sequence_mask(SPACE, tokens), False)).detach()


def test_a_verdict_is_the_rank_among_the_kept_reals() -> None:
    net, tokens = built(), random_sequences(SPACE, 8, seed=1)
    mask = sequence_mask(SPACE, tokens)
    expected = by_loops(
        raw_features(net, tokens), raw_features(net, net.references), raw_features(net, net.comparisons), 2.0
    )
    assert net(tokens, mask).tolist() == pytest.approx(expected, abs=1e-5)
    assert net.scorer()(tokens, mask).tolist() == pytest.approx(expected, abs=1e-5)
    # Of one sequence alone, whoever stands beside it.
    alone = torch.cat([net.scorer()(tokens[row : row + 1], mask[row : row + 1]) for row in range(8)])
    torch.testing.assert_close(alone, net.scorer()(tokens, mask))


def test_reals_are_ranked_among_fakes_and_fakes_among_reals() -> None:
    net, tokens = built(), random_sequences(SPACE, 12, seed=2)
    is_real = torch.tensor([True, False] * 6)
    found = net.class_logits(tokens, sequence_mask(SPACE, tokens), is_real).squeeze(0)
    features, references = raw_features(net, tokens), raw_features(net, net.references)
    reals, fakes = features[is_real], features[~is_real]
    assert found[is_real].tolist() == pytest.approx(by_loops(reals, references, fakes[:4], 2.0), abs=1e-5)
    assert found[~is_real].tolist() == pytest.approx(by_loops(fakes, references, reals[:4], 2.0), abs=1e-5)
    with refused(ShapeError, "ranker_needs_both"):
        net.class_logits(tokens, sequence_mask(SPACE, tokens), torch.ones(12, dtype=torch.bool))


def test_a_frozen_copy_keeps_its_sets() -> None:
    net, tokens = built(), random_sequences(SPACE, 8, seed=1)
    mask, scorer = sequence_mask(SPACE, tokens), net.scorer()
    before = scorer(tokens, mask)
    net.take_reals(random_sequences(SPACE, 7, seed=10))
    assert torch.equal(scorer(tokens, mask), before)
    assert not torch.allclose(net(tokens, mask), before, atol=1e-4)
    other = load_weights(build_discriminator(SETTINGS, SPACE).eval(), weights_of(net, 0).complete)
    assert torch.equal(other(tokens, mask), net(tokens, mask))


# ----------------------------------------------------------------------------------------------------- learning


def adversary(seed: int = 0, optimizer: SGD | Adam | None = None, epochs: int = 1) -> Adversary:
    settings = AdversarySettings(batch=16, sequences_per_round=40, loss=Ranking())
    # Reals are made of 2 and 3, fakes of 4 and 5.
    return Adversary(
        SETTINGS, settings, optimizer or Adam(lr=0.01), SPACE, Pairs(made_of(2)), Pairs(made_of(2, 1)), seed
    )


def made_of(first: int, seed: int = 0) -> Tensor:
    """60 sequences of two tokens, which end by themselves."""
    tokens = random_sequences(SPACE, 60, seed=seed)
    made = torch.where(tokens == 1, 1, first + tokens % 2)
    made[:, 0] = first  # none is empty: those are alike in both
    return made


def test_the_loss_by_hand() -> None:
    scores, is_real = torch.tensor([-1.0, -3.0, -2.0, -0.5]), torch.tensor([True, False, True, False])
    # Fakes (-3 - .5)/2, reals (-1 - 2)/2.
    assert float(ranking(scores, is_real)) == pytest.approx(-1.75 + 1.5)
    assert Ranking().of_generator(scores).tolist() == [1.0, 3.0, 2.0, 0.5]
    assert float(Ranking().by_class(scores, is_real).real) == 1.5


def test_a_step_goes_down_the_loss_of_ranks() -> None:
    judge, fresh = adversary(optimizer=SGD(lr=0.1)), made_of(4, 2)[:8]
    twin = copy.deepcopy(judge.network)
    seen: list[tuple[Tensor, Tensor]] = []
    class_logits = judge.network.class_logits

    def watching(tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        seen.append((tokens, is_real))
        return class_logits(tokens, mask, is_real, conditions)

    judge.network.class_logits = watching  # type: ignore[method-assign]
    metrics = judge.train_round(Round(0, fresh, epochs=1))
    ((tokens, is_real),) = seen
    assert isinstance(judge.network, RankerDiscriminator) and isinstance(twin, RankerDiscriminator)
    twin.take_reals(torch.cat([judge.network.references, judge.network.comparisons]))
    features, references = (functional.normalize(raw(twin, one), dim=1) for one in (tokens, twin.references))
    reals, fakes = features[is_real], features[~is_real]

    def score(ranked: Tensor, among: Tensor) -> Tensor:
        own = (2.0 * ranked @ references.t()).exp()
        return (own / (own + (2.0 * among[:4] @ references.t()).exp().sum(0))).log().mean()

    loss = score(fakes, reals) - score(reals, fakes)
    loss.backward()
    assert metrics["discriminator/loss"] == pytest.approx(float(loss.detach()), abs=1e-6)
    for found, start in zip(judge.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), start.detach() - 0.1 * start.grad, atol=1e-6, rtol=1e-4)


def raw(net: RankerDiscriminator, tokens: Tensor) -> Tensor:
    return net.highway(net.pooled(net.embed(tokens), sequence_mask(SPACE, tokens), False))


def test_it_learns_to_rank_reals_above_fakes() -> None:
    judge = adversary()
    rounds = [judge.train_round(Round(index, made_of(4, 3 + index), epochs=3)) for index in range(3)]
    assert rounds[-1]["discriminator/auc_heldout"] > 0.95 > rounds[0]["discriminator/auc_heldout"]
    scorer = judge.network.scorer()
    real, fake = (scorer(one, sequence_mask(SPACE, one)).mean() for one in (made_of(2, 1), made_of(4, 20)))
    assert float(real) > float(fake)


def test_sets_come_from_the_seed_and_the_round() -> None:
    def sets(judge: Adversary) -> Tensor:
        assert isinstance(judge.network, RankerDiscriminator)
        return torch.cat([judge.network.references, judge.network.comparisons])

    first, again, other = adversary(), adversary(), adversary(seed=1)
    known = {tuple(row) for row in made_of(2).tolist()}
    assert {tuple(row) for row in sets(first).tolist()} <= known
    assert torch.equal(sets(first), sets(again)) and not torch.equal(sets(first), sets(other))
    start = sets(first).clone()
    first.train_round(Round(0, made_of(4, 2), epochs=1))
    assert not torch.equal(sets(first), start)
    again.train_round(Round(0, made_of(4, 7), epochs=1))  # other fakes, the same sets
    assert torch.equal(sets(first), sets(again))
    # What was kept goes on as if it had never stopped.
    restored = adversary()
    restored.restore(first.state())
    assert torch.equal(sets(restored), sets(first))
    found = [judge.train_round(Round(1, made_of(4, 5), epochs=1)) for judge in (first, restored)]
    assert found[0] == found[1] and torch.equal(sets(restored), sets(first))


# ------------------------------------------------------------------------------------------- the generator's side


def test_policy_gradient_of_log_ranks_is_that_of_their_expectation() -> None:
    # All 3² sequences: Σ p (log R - b) ∇ log p = ∇ E[log R], whatever the constant b.
    space = SequenceSpace(3, 2)
    torch.manual_seed(2)
    net = build_discriminator(SETTINGS, space).eval()
    net.take_reals(random_sequences(space, net.num_reals, seed=1))
    generator, tokens = LSTMGenerator(LSTM(embedding=2, hidden=2, init_std=1.0), space).double(), all_sequences(space)
    rewards = Logit().of_logits(net.scorer()(tokens, sequence_mask(space, tokens))).double()
    assert float(rewards.max()) < 0.0 and len(set(rewards.tolist())) > 3
    probs = generator.logprobs(tokens).sum(1).exp()
    exact = torch.autograd.grad((probs * rewards).sum(), list(generator.parameters()))
    logprobs = generator.logprobs(tokens).sum(1)
    surrogate = (probs.detach() * (rewards - rewards.mean()) * logprobs).sum()
    for found, expected in zip(torch.autograd.grad(surrogate, list(generator.parameters())), exact, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"discriminator": CnnHighway()}, "ranking_without_ranker"),
        ({"adversary": AdversarySettings()}, "ranker_learns_ranks"),
        ({"discriminator": Ranker(comparisons=9)}, "comparisons_of_batch"),
    ],
)
def test_ranks_go_with_the_loss_of_ranks(changes: dict[str, object], code: str) -> None:
    config = small("rankgan").model_copy(update=changes)
    parts = [config.adversary.loss, config.discriminator]
    assert code in {problem.code for problem in problems(config, parts)}  # type: ignore[arg-type]
