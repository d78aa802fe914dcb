"""The readable discriminator: features by hand, a polynomial whose parts sum, and the optimum of its convex loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import CrossEntropy
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import ShapeError
from rlgan.config.config import Config
from rlgan.discriminators import Logistic, LogisticDiscriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.spelling import Spelling
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.layers.optimizers import Adam
from rlgan.policy.credit import Terminal
from rlgan.policy.objectives import Gumbel
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import finish, of_pairs, tiny_config

NAMES = ("<end>", "A", "bc", "7", ".", "DEF")
SPACE = SequenceSpace(6, 6, end_id=0, spelling=Spelling(NAMES, "words"))
PLAIN = replace(SPACE, spelling=None)
OF_PAIR = {"ended": 0, "distinct": 1, "repeated": 2}


def filled(judge: LogisticDiscriminator, seed: int = 0) -> LogisticDiscriminator:
    with torch.no_grad():
        judge.weight.copy_(torch.randn(len(judge.terms), generator=torch.Generator().manual_seed(seed)))
        judge.bias.fill_(0.7)
    return judge


def named(judge: LogisticDiscriminator, rows: list[list[int]]) -> list[dict[str, float]]:
    tokens = torch.tensor(rows)
    found = judge.features_of(tokens, sequence_mask(SPACE, tokens))
    return [dict(zip(judge.features, row, strict=True)) for row in found.tolist()]


def test_features_of_a_text_by_hand() -> None:
    judge = LogisticDiscriminator(Logistic(length=True), SPACE)
    whole, cut, empty = named(judge, [[1, 2, 1, 2, 4, 0], [5, 3, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]])
    # "A bc A bc ." and the end: 3 of 5 tokens differ, 1 of 4 neighbours (A bc) comes again; 7 characters.
    assert whole == pytest.approx(
        {
            "ended": 1, "distinct": 3 / 5, "repeated": 1 / 4, "capital": 1, "symbol_first": 0, "sentence_end": 1,
            "line_break": 0, "digit": 0, "markup": 0, "blanks": 0, "letters": 6 / 7, "capitals": 2 / 7,
            "punctuation": 1 / 7, "word_length": (7 / 5) / (7 / 5 + 5), "length": 5 / 6,
        }
    )  # fmt: skip
    # "DEF 7 bc bc bc bc": never ends; of its 5 pairs of neighbours "bc bc" comes three times.
    assert (cut["ended"], cut["distinct"], cut["repeated"]) == pytest.approx((0, 3 / 6, 2 / 5))
    assert (cut["digit"], cut["letters"], cut["capitals"], cut["length"]) == pytest.approx((1, 11 / 12, 3 / 12, 1))
    assert empty["ended"] == 1 and sum(empty.values()) - empty["ended"] - empty["symbol_first"] == 0


def test_length_is_left_out_unless_it_is_asked_for() -> None:
    for space in (SPACE, PLAIN):
        without, beside = (LogisticDiscriminator(Logistic(length=one), space) for one in (False, True))
        assert (*without.features, "length") == beside.features
        assert {one for one in beside.terms if "length" in one.split("*")} and "length" not in "".join(
            without.terms
        ).split("*")
    assert LogisticDiscriminator(Logistic(), PLAIN).features == tuple(OF_PAIR)


def test_terms_are_features_and_products_each_once() -> None:
    # ended is 0 or 1, so that its square is itself.
    judge = LogisticDiscriminator(Logistic(), PLAIN)
    assert judge.terms == (
        "ended", "distinct", "repeated",
        "ended*distinct", "ended*repeated", "distinct*distinct", "distinct*repeated", "repeated*repeated",
    )  # fmt: skip
    assert LogisticDiscriminator(Logistic(degree=1), PLAIN).terms == judge.features


@pytest.mark.parametrize("degree", [1, 2])
@torch.no_grad()
def test_a_logit_is_the_polynomial_and_the_sum_of_its_parts(degree: int) -> None:
    judge = filled(LogisticDiscriminator(Logistic(degree=degree, length=True), SPACE))
    tokens = random_sequences(SPACE, 20, seed=1)
    mask = sequence_mask(SPACE, tokens)
    weights = judge.named_weights()
    assert weights.keys() == {*judge.terms, "constant"} and weights["constant"] == pytest.approx(0.7)
    logits, parts = judge(tokens, mask), judge.part_logits(tokens, mask)
    for row, features in enumerate(named(judge, tokens.tolist())):
        expected = weights["constant"]
        for term in judge.terms:
            one, *other = term.split("*")
            expected += weights[term] * features[one] * (features[other[0]] if other else 1.0)
        assert float(logits[row]) == pytest.approx(expected, abs=1e-4)
    assert tuple(parts) == judge.features
    torch.testing.assert_close(sum(parts.values()) + 0.7, logits, atol=1e-4, rtol=0)


def test_it_reads_no_soft_rows() -> None:
    judge = LogisticDiscriminator(Logistic(), SPACE)
    with refused(ShapeError, "logistic_reads_tokens"):
        judge(torch.zeros(2, 6, 6), torch.ones(2, 6, dtype=torch.bool))
    config = tiny_config(credit=Terminal()).model_copy(update={"discriminator": Logistic(), "objective": Gumbel()})
    assert "discriminator_reads_tokens" in [one.code for one in config.problems()]


def newton(terms: Tensor, is_real: Tensor, l2: float) -> Tensor:
    """Weights and constant of L2 logistic regression, from the paper's equation."""
    rows = torch.cat([terms, torch.ones(len(terms), 1)], 1).double()
    cost = torch.full((rows.shape[1],), l2, dtype=torch.float64)
    cost[-1] = 0.0
    weights = torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(30):
        probs = torch.sigmoid(rows @ weights)
        slope = rows.T @ (probs - is_real.double()) / len(rows) + cost * weights
        curve = (rows.T * (probs * (1 - probs))) @ rows / len(rows) + cost.diag()
        weights = weights - torch.linalg.solve(curve, slope)
    return weights


def test_refit_it_comes_to_the_optimum_from_wherever_it_was() -> None:
    reals = random_sequences(PLAIN, 20, seed=0)
    reals[:, 1] = reals[:, 0].clamp_min(1)  # neighbours that are equal: few different tokens
    reals[:, 0] = reals[:, 1]
    fakes = random_sequences(PLAIN, 20, seed=1)
    settings = Logistic(l2=0.02)
    training = AdversarySettings(loss=CrossEntropy(), batch=40, sequences_per_round=20)
    judge = Adversary(settings, training, Adam(lr=0.1), PLAIN, Pairs(reals), Pairs(reals), seed=0)
    network = judge.network
    assert isinstance(network, LogisticDiscriminator)
    both = torch.cat([reals, fakes])
    terms = network._terms_of(both, sequence_mask(PLAIN, both))
    expected = newton(terms, torch.arange(40) < 20, 0.02)
    judge.train_round(Round(0, fakes, 300))
    for start in (0.0, 3.0):
        if start:
            with torch.no_grad():
                network.weight.fill_(start)
            judge.train_round(Round(1, fakes, 500))
        found = torch.cat([network.weight, network.bias]).detach().double()
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)
    # What each feature adds is logged, as it was before the round: together it is how far the classes lie apart.
    with torch.no_grad():
        logits = network(both, sequence_mask(PLAIN, both))
    metrics = judge.train_round(Round(2, fakes, 1))
    gaps = [metrics[f"discriminator/mean_{one}_real"] - metrics[f"discriminator/mean_{one}_fake"] for one in OF_PAIR]
    assert sum(gaps) == pytest.approx(float(logits[:20].mean() - logits[20:].mean()), abs=1e-4)
    assert metrics["discriminator/auc_heldout"] > 0.75


@pytest.mark.parametrize("build", [tiny_config, of_pairs])
def test_a_small_run_goes_through_with_and_without_conditions(build: Any) -> None:
    config: Config = build(discriminator=Logistic())
    with build_parts(config, task := build_task(config.task)) as parts:
        last = finish(Trainer(config, task, parts))[-1].metrics
    assert last["discriminator/mean_distinct_real"] != 0.0
    assert not [name for name in last if "mismatched" in name]
