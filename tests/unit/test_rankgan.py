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
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import ShapeError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.checks import problems
from rlgan.config.config import Config
from rlgan.discriminators import (
    CnnHighway,
    Discriminator,
    PairRanker,
    PairRankerDiscriminator,
    Ranker,
    RankerDiscriminator,
    build_discriminator,
)
from rlgan.discriminators.ranker import log_rank_scores, rivals_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, LSTMGenerator
from rlgan.layers.optimizers import SGD, Adam
from rlgan.policy.logit_maps import Logit
from tests.support.errors import refused
from tests.support.small_presets import small
from tests.support.tiny import PAIRS

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
        ({"discriminator": PairRanker(comparisons=3)}, "discriminator_reads_conditions"),
    ],
)
def test_ranks_go_with_the_loss_of_ranks(changes: dict[str, object], code: str) -> None:
    config = small("rankgan").model_copy(update=changes)
    assert code in codes(config)


def codes(config: Config) -> set[str]:
    parts = [config.adversary.loss, config.discriminator]
    return {problem.code for problem in problems(config, parts)}  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- pairs

SOURCE = SequenceSpace(5, 6, end_id=2)
PAIR_SPACE = SequenceSpace(6, 7, end_id=1, condition=SOURCE)
OF_PAIRS = PairRanker(
    embedding=3, windows=(1, 2), filters=(4,), mlp_hidden=8, dropout=0.0, references=3, comparisons=4, sharpness=2.0
)


def of_pairs() -> PairRankerDiscriminator:
    torch.manual_seed(0)
    net = build_discriminator(OF_PAIRS, PAIR_SPACE).eval()
    assert isinstance(net, PairRankerDiscriminator)
    net.take_reals(random_sequences(PAIR_SPACE, 7, seed=9), random_sequences(SOURCE, 7, seed=8))
    return net


def pairs(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, their mask, and what they are given."""
    tokens = random_sequences(PAIR_SPACE, number, seed=1)
    return tokens, sequence_mask(PAIR_SPACE, tokens), random_sequences(SOURCE, number, seed=2)


def pairs_of_one_token(num_rivals: int) -> PairRankerDiscriminator:
    """Of four pairs (x, y) of tokens 0 and 1, whose features are -1 but for a 1 at the pair's own place.

    (-1, -1, -1, 1)·(-1, -1, 1, -1) = 1 + 1 - 1 - 1: two of them are orthogonal. The only reference is (0, 0).
    """
    token = SequenceSpace(2, 1)
    settings = PairRanker(
        embedding=2, windows=(1,), filters=(2,), mlp_hidden=4, references=1, comparisons=num_rivals, dropout=0.0
    )
    net = build_discriminator(settings, SequenceSpace(2, 1, condition=token)).eval()
    assert isinstance(net, PairRankerDiscriminator)
    with torch.no_grad():
        for table in (net.source_embedding, net.embedding):
            table.weight.copy_(torch.eye(2))
        for tower in (net.source_tower, net.tower):
            tower.kernels[0].copy_(torch.eye(2))
            tower.bias.zero_()
            tower.highway.weight.zero_()
            tower.highway.bias.copy_(torch.tensor([0.0, 0.0, -100.0, -100.0]))  # the gate is shut
        x, y = torch.cartesian_prod(torch.arange(2), torch.arange(2)).unbind(1)
        # 50 where both sides are the unit's, at most -50 elsewhere.
        net.hidden.weight.copy_(100.0 * torch.cat([torch.eye(2)[x], torch.eye(2)[y]], 1))
        net.hidden.bias.fill_(-150.0)
    both = torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]])[: 1 + num_rivals]
    net.take_reals(both[:, 1:], both[:, :1])
    return net


@pytest.mark.parametrize("number", [1, 3])
@torch.no_grad()
def test_a_pair_that_equals_its_reference_scores_e_over_e_plus_n(number: int) -> None:
    net, mask = pairs_of_one_token(number), torch.ones(4, 1, dtype=torch.bool)
    x, y = torch.cartesian_prod(torch.arange(2), torch.arange(2)).unsqueeze(2).unbind(1)
    for score in (net, net.scorer()):
        found = score(y, mask, x).exp()
        assert float(found[0]) == pytest.approx(math.e / (math.e + number))
        # Another answer to that question, or that answer to another, is as far from it as any.
        torch.testing.assert_close(found[1:], torch.full((3,), 1 / (1 + number)))
    # Where the reference itself is all comparisons, each of them has e, too.
    both = torch.zeros(1 + number, 1, dtype=torch.int64)
    net.take_reals(both, both)
    found = net(y, mask, x).exp()
    assert float(found[0]) == pytest.approx(1 / (1 + number))
    torch.testing.assert_close(found[1:], torch.full((3,), 1 / (1 + number * math.e)))


def raw_pairs(net: PairRankerDiscriminator, tokens: Tensor, given: Tensor) -> Tensor:
    """Features before they are brought to length 1: those of both towers, and the hidden layer over them."""
    pair = net.embedded(tokens, sequence_mask(PAIR_SPACE, tokens), given)
    towers = [net.source_tower(pair.source, pair.source_mask, False), net.tower(pair.sequence, pair.mask, False)]
    return (torch.cat(towers, 1) @ net.hidden.weight.t() + net.hidden.bias).tanh().detach()


def test_a_verdict_is_the_rank_of_the_pair_among_the_kept_pairs() -> None:
    net, (tokens, mask, given) = of_pairs(), pairs(8)
    assert net.reference_conditions is not None and net.comparison_conditions is not None
    expected = by_loops(
        raw_pairs(net, tokens, given),
        raw_pairs(net, net.references, net.reference_conditions),
        raw_pairs(net, net.comparisons, net.comparison_conditions),
        2.0,
    )
    assert len({round(one, 3) for one in expected}) > 3
    assert net(tokens, mask, given).tolist() == pytest.approx(expected, abs=1e-5)
    scorer = net.scorer()
    assert scorer(tokens, mask, given).tolist() == pytest.approx(expected, abs=1e-5)
    alone = [scorer(*(one[row : row + 1] for one in (tokens, mask, given))) for row in range(8)]
    torch.testing.assert_close(torch.cat(alone), scorer(tokens, mask, given))


def test_real_pairs_are_ranked_among_fakes_and_fakes_among_real_pairs() -> None:
    net, (tokens, mask, given) = of_pairs(), pairs(12)
    is_real = torch.tensor([True, False] * 6)
    found = net.class_logits(tokens, mask, is_real, given).squeeze(0)
    assert net.reference_conditions is not None
    features, references = raw_pairs(net, tokens, given), raw_pairs(net, net.references, net.reference_conditions)
    reals, fakes = features[is_real], features[~is_real]
    assert found[is_real].tolist() == pytest.approx(by_loops(reals, references, fakes[:4], 2.0), abs=1e-5)
    assert found[~is_real].tolist() == pytest.approx(by_loops(fakes, references, reals[:4], 2.0), abs=1e-5)
    with refused(ShapeError, "ranker_needs_both"):
        net.class_logits(tokens, mask, ~torch.zeros(12, dtype=torch.bool), given)


def test_a_frozen_copy_of_pairs_keeps_its_sets_and_they_travel_with_the_weights() -> None:
    net, (tokens, mask, given) = of_pairs(), pairs(8)
    scorer = net.requires_grad_(False).scorer()  # of what is frozen itself, too
    before = scorer(tokens, mask, given)
    sequences, conditions = net.references.clone(), net.reference_conditions
    assert conditions is not None
    with torch.no_grad():
        # Other conditions of the same sequences are other pairs.
        net.take_reals(torch.cat([sequences, net.comparisons]), random_sequences(SOURCE, 7, seed=10))
    assert torch.equal(net.references, sequences)
    assert torch.equal(scorer(tokens, mask, given), before)
    assert not torch.allclose(net(tokens, mask, given), before, atol=1e-4)
    other = load_weights(build_discriminator(OF_PAIRS, PAIR_SPACE).eval(), weights_of(net, 0).complete)
    assert torch.equal(other(tokens, mask, given), net(tokens, mask, given))


def test_sets_of_pairs_have_conditions_and_those_of_sequences_none() -> None:
    sequences, conditions = random_sequences(PAIR_SPACE, 7, seed=1), random_sequences(SOURCE, 7, seed=1)
    with pytest.raises(ValueError, match="takes pairs with, and sequences without conditions"):
        of_pairs().take_reals(sequences)
    with pytest.raises(ValueError, match="takes pairs with, and sequences without conditions"):
        built().take_reals(sequences, conditions)
    members = build_discriminator(OF_PAIRS.model_copy(update={"members": 2}), PAIR_SPACE)
    members.take_reals(sequences, conditions)
    assert members.num_reals == 7
    for part in members.parts():
        assert isinstance(part, PairRankerDiscriminator) and torch.equal(part.comparisons, sequences[3:])
        assert part.comparison_conditions is not None and torch.equal(part.comparison_conditions, conditions[3:])


COPIES = SequenceSpace(4, 2, condition=SequenceSpace(4, 2))


def copying(seed: int = 0, mismatched: float | None = None) -> Adversary:
    """Real pairs are copies; both sides of a pair are uniform by themselves."""
    network = PairRanker(
        embedding=8, windows=(1, 2), filters=(32,), mlp_hidden=32, dropout=0.0, references=8, comparisons=8,
        sharpness=4.0,
    )  # fmt: skip
    settings = AdversarySettings(batch=32, sequences_per_round=160, loss=Ranking(), mismatched=mismatched)
    reals, heldout = (random_sequences(COPIES, number, seed=number) for number in (200, 100))
    return Adversary(
        network, settings, Adam(lr=0.01), COPIES, Pairs(reals, reals), Pairs(heldout, heldout), seed
    )  # fmt: skip


def fakes_of(index: int, epochs: int = 1) -> Round:
    tokens, given = (random_sequences(COPIES, 160, seed=1_000 + 2 * index + side) for side in range(2))
    return Round(index, tokens, epochs=epochs, conditions=given)


def test_it_learns_that_what_belongs_together_ranks_above_what_does_not() -> None:
    judge = copying()
    rounds = [judge.train_round(fakes_of(index, epochs=3)) for index in range(3)]
    # A fake in sixteen is a copy by chance: at most 31/32 can be had.
    assert rounds[0]["discriminator/auc_heldout"] < 0.7 and rounds[-1]["discriminator/auc_heldout"] > 0.88


def test_sets_of_pairs_come_from_the_seed_and_the_round() -> None:
    def sets(judge: Discriminator) -> Tensor:
        assert isinstance(judge, PairRankerDiscriminator)
        assert judge.reference_conditions is not None and judge.comparison_conditions is not None
        tokens = torch.cat([judge.references, judge.comparisons])
        # Each with its own condition: a copy of it.
        assert torch.equal(tokens, torch.cat([judge.reference_conditions, judge.comparison_conditions]))
        return tokens

    first, again, other = copying(), copying(), copying(seed=1)
    assert torch.equal(sets(first.network), sets(again.network))
    assert not torch.equal(sets(first.network), sets(other.network))
    start = sets(first.network).clone()
    assert len({tuple(row) for row in start.tolist()}) > 8
    first.train_round(fakes_of(0))
    assert not torch.equal(sets(first.network), start)
    restored = copying()
    restored.restore(first.state())
    assert torch.equal(sets(restored.network), sets(first.network))
    assert first.train_round(fakes_of(1)) == restored.train_round(fakes_of(1))


def test_mismatched_pairs_rank_among_reals_as_fakes_do() -> None:
    judge = copying(mismatched=1.0)
    seen: list[tuple[int, int]] = []
    class_logits = judge.network.class_logits

    def watching(tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        seen.append((int(is_real.sum()), int((~is_real).sum())))
        return class_logits(tokens, mask, is_real, conditions)

    judge.network.class_logits = watching  # type: ignore[method-assign]
    metrics = judge.train_round(fakes_of(0))
    assert set(seen) == {(16, 32)} and math.isfinite(metrics["discriminator/loss"])


def test_the_preset_has_networks_of_pairs_where_the_task_has_them() -> None:
    config = small("rankgan", PAIRS)
    assert isinstance(config.discriminator, PairRanker) and codes(config) == set()
    plain = config.model_copy(update={"discriminator": Ranker(comparisons=3)})
    assert "discriminator_reads_no_conditions" in codes(plain)
    verdicts = config.model_copy(update={"discriminator": small("seqgan", PAIRS).discriminator})
    (problem,) = problems(verdicts, [verdicts.adversary.loss])
    assert problem.code == "ranking_without_ranker" and "Use discriminator pair_ranker" in problem.text
    # Two prompts of a minibatch of 16, each with one real and seven fakes: two comparisons.
    prompts = config.model_copy(
        update={
            "adversary": config.adversary.model_copy(update={"reals": "of_prompts"}),
            "schedule": config.schedule.model_copy(update={"g_group": 7}),
        }
    )
    assert "comparisons_of_batch" in codes(prompts)
    two = prompts.model_copy(update={"discriminator": PairRanker(comparisons=2)})
    assert "comparisons_of_batch" not in codes(two)
