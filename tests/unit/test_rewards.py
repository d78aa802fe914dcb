"""Reward maps at logits worked by hand, at the ends of float32, and the controls that need no discriminator."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.policy.logit_maps import (
    DiscriminatorReward,
    Logit,
    LogProbability,
    NegLogComplement,
    Probability,
    Ratio,
    SignedProbability,
)
from rlgan.policy.rewards import (
    Bleu,
    ConstantReward,
    Mixed,
    OracleLikelihood,
    OracleRatio,
    RandomReward,
    ReferenceBleu,
    ReferenceRouge,
    discriminator_reward,
    finished_rewards,
    log_ratio,
    metric_of,
    metric_scores,
    sequence_rewards,
    token_rewards,
)

# One training sequence, 3 1 2, and the terminator 0.
TOKENS = torch.tensor([[3, 1, 2, 0], [3, 1, 0, 0], [2, 2, 2, 2]])
TASK = Task(
    name="text",
    space=SequenceSpace(4, 4, end_id=0),
    train=TOKENS[:1],
    valid=TOKENS[:1],
    test=TOKENS[:1],
    token_names=("end", "a", "b", "c"),
)

MAPS = [Probability(), Logit(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio()]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        # u = log 3 means D = 3/4.
        (Probability(), 0.75),
        (Logit(), math.log(3)),
        (LogProbability(), math.log(0.75)),
        (NegLogComplement(), -math.log(0.25)),
        (SignedProbability(), 0.5),
        (Ratio(), 3.0),
    ],
)
def test_reward_of_three_to_one_odds(reward: DiscriminatorReward, expected: float) -> None:
    assert float(discriminator_reward(reward, torch.tensor(math.log(3)))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_more_real_is_never_paid_less(reward: DiscriminatorReward) -> None:
    rewards = discriminator_reward(reward, torch.linspace(-8, 8, 101))
    assert bool((rewards.diff() > 0).all())


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_are_finite_at_logits_of_80(reward: DiscriminatorReward) -> None:
    # A quotient D/(1-D) of float32 probabilities is infinite from u = 17 on.
    assert bool(torch.isfinite(discriminator_reward(reward, torch.tensor([-80.0, 80.0]))).all())


def test_far_logits_keep_their_differences() -> None:
    far = torch.tensor([60.0])
    assert float(discriminator_reward(NegLogComplement(), far)) == pytest.approx(60.0)
    assert float(discriminator_reward(LogProbability(), -far)) == pytest.approx(-60.0)
    assert float(discriminator_reward(Ratio(), far).log()) == pytest.approx(60.0)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_keep_the_shape_and_carry_no_gradient(reward: DiscriminatorReward) -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    rewards = discriminator_reward(reward, logits)
    assert rewards.shape == (4, 3) and not rewards.requires_grad


def test_discriminator_rewards_need_logits() -> None:
    with pytest.raises(ShapeError, match="reward='probability' needs the discriminator's logits"):
        sequence_rewards(Probability(), TOKENS, None, TASK, torch.Generator())


def test_sequence_rewards_read_the_logits() -> None:
    logits = torch.tensor([0.0, math.log(3)])
    rewards = sequence_rewards(Probability(), TOKENS[:2], logits, TASK, torch.Generator())
    torch.testing.assert_close(rewards, torch.tensor([0.5, 0.75]))


def test_constant_reward_pays_every_sequence_alike() -> None:
    assert sequence_rewards(ConstantReward(value=2.5), TOKENS, None, TASK, torch.Generator()).tolist() == [2.5] * 3


def test_random_reward_is_uniform_and_reads_only_its_stream() -> None:
    first, again = (
        sequence_rewards(RandomReward(), TOKENS[:1].expand(5_000, 4), None, TASK, torch.Generator().manual_seed(seed))
        for seed in (1, 1)
    )
    assert torch.equal(first, again)
    assert float(first.min()) >= 0 and float(first.max()) < 1
    # The mean of 5,000 uniforms has standard deviation 0.0041, their variance 1/12 about 0.001.
    assert abs(float(first.mean()) - 0.5) < 4 * 0.0041
    assert abs(float(first.var()) - 1 / 12) < 4 * 0.0011


def test_bleu_is_of_training_sequences_without_the_terminator() -> None:
    rewards = sequence_rewards(Bleu(order=2, num_references=5), TOKENS, None, TASK, torch.Generator())
    # 3 1: all its n-grams are there, brevity exp(1 - 3/2). 2 2 2 2: one of four 1-grams, no 2-gram of three (0.1/3).
    expected = [1.0, math.exp(-0.5), math.sqrt(0.25 * 0.1 / 3)]
    torch.testing.assert_close(rewards, torch.tensor(expected))


def test_bleu_draws_its_references_from_the_stream() -> None:
    task = dataclasses.replace(TASK, train=TOKENS)
    settings, seeds = Bleu(order=2, num_references=1), range(20)
    rewards = [
        sequence_rewards(settings, TOKENS[:1], None, task, torch.Generator().manual_seed(seed)).item() for seed in seeds
    ]
    # Against itself, against its first two tokens (2/3 of 1-grams, 1/2 of 2-grams), against 2 2 2 2.
    against_others = [math.sqrt(2 / 3 / 2), math.exp(1 - 4 / 3) * math.sqrt(1 / 3 * 0.1 / 2)]
    assert {round(reward, 5) for reward in rewards} == {round(one, 5) for one in (1.0, *against_others)}


def test_oracle_likelihood_pays_what_the_oracle_says() -> None:
    class Law:
        entropy = 1.0

        def logprobs(self, tokens: Tensor) -> Tensor:
            return -tokens.float()

    own, mask = torch.full((3, 4), -0.5), torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4])
    paid = token_rewards(OracleLikelihood(), Law(), TOKENS, own, mask)
    assert torch.equal(paid, -TOKENS.float() * mask)
    assert torch.equal(token_rewards(OracleRatio(), Law(), TOKENS, own, mask), (0.5 - TOKENS.float()) * mask)


def test_a_log_ratio_is_the_law_minus_own_and_zero_after_the_end() -> None:
    mask = torch.tensor([[True, True, False]])
    oracle = torch.tensor([[-1.0, -2.0, -float("inf")]])
    own = torch.tensor([[-1.5, -1.0, 0.0]], requires_grad=True)
    ratio = log_ratio(oracle, own, mask)
    assert ratio.tolist() == [[0.5, -1.0, 0.0]] and not ratio.requires_grad


# ---------------------------------------------------------------------------------------------- beside a target


def test_a_mixed_reward_is_the_mean_of_both_by_its_weight() -> None:
    logits, scores = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.5, 1.0]])
    # .8 · 3/4 + .2 · .5 and .8 · ½ + .2 · 1; of 2D - 1, ½ and 0.
    paid = finished_rewards(Mixed(weight=0.8), logits, scores)
    torch.testing.assert_close(paid, torch.tensor([[0.7, 0.6]]))
    paid = finished_rewards(Mixed(map=SignedProbability(), weight=0.8), logits, scores)
    torch.testing.assert_close(paid, torch.tensor([[0.5, 0.2]]))


def test_a_metric_alone_pays_its_scores() -> None:
    scores = torch.tensor([0.25, 1.0], requires_grad=True)
    for metric in (ReferenceBleu(), ReferenceRouge()):
        assert metric_of(metric) is metric and metric_of(Mixed(metric=metric)) is metric
        paid = sequence_rewards(metric, TOKENS[:2], None, TASK, torch.Generator(), scores)
        assert torch.equal(paid, scores) and not paid.requires_grad
    assert metric_of(Probability()) is None and metric_of(Bleu()) is None


@pytest.mark.parametrize("reward", [Mixed(), ReferenceBleu(), ReferenceRouge()], ids=lambda reward: reward.kind)
def test_rewards_beside_a_target_need_scores(reward: Mixed | ReferenceBleu | ReferenceRouge) -> None:
    with pytest.raises(ShapeError, match=f"reward='{reward.kind}' needs scores of the sequences beside their targets"):
        finished_rewards(reward, torch.zeros(2), None)


def test_a_mixed_reward_needs_logits_too() -> None:
    with pytest.raises(ShapeError, match="reward='mixed' needs the discriminator's logits"):
        finished_rewards(Mixed(), None, torch.zeros(2))


def test_scores_are_of_the_metric_that_is_set() -> None:
    targets = TOKENS[:1].expand(3, 4)
    # 3 1: 1-grams and 2-grams in full (2/2, 2/2), no 3-gram to miss; two tokens of three. 2 2 2 2: one token of 4.
    bleu = metric_scores(ReferenceBleu(order=2), TASK.space, TOKENS, targets)
    torch.testing.assert_close(bleu, torch.tensor([1.0, math.exp(-0.5), math.sqrt(1 / 4 * 1 / 4)]))
    rouge = metric_scores(ReferenceRouge(), TASK.space, TOKENS, targets)
    torch.testing.assert_close(rouge, torch.tensor([1.0, 4 / 5, 2 / 7]))


@pytest.mark.parametrize("settings", MAPS, ids=lambda one: one.kind)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (8, 5), (67,), (33_001,)])
def test_equal_logits_are_paid_alike_wherever_they_stand(settings: DiscriminatorReward, shape: tuple[int, ...]) -> None:
    for logit in torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist():
        paid = discriminator_reward(settings, torch.full(shape, logit))
        assert paid.shape == shape and bool((paid == paid.flatten()[0]).all())
