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
from rlgan.envs.transition import sequence_mask
from rlgan.policy.control_rewards import ConstantReward, OracleLikelihood, OracleRatio, RandomReward
from rlgan.policy.logit_maps import (
    DiscriminatorReward,
    Logit,
    LogProbability,
    NegLogComplement,
    Probability,
    Ratio,
    SignedProbability,
)
from rlgan.policy.metric_rewards import Bleu, Mixed, ReferenceBleu, ReferenceRouge
from rlgan.policy.reward_base import Finished, Reward
from rlgan.policy.token_rewards import log_ratio
from rlgan.sampling.records import Rollouts
from tests.support.drawn import drawn_in
from tests.support.errors import refused

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


def of_sequences(reward: Reward, rollouts: Rollouts, task: Task = TASK, seed: int = 0) -> Tensor:
    return reward.of_sequences(rollouts, task, torch.Generator().manual_seed(seed))


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
    assert float(reward.of_logits(torch.tensor(math.log(3)))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_more_real_is_never_paid_less(reward: DiscriminatorReward) -> None:
    rewards = reward.of_logits(torch.linspace(-8, 8, 101))
    assert bool((rewards.diff() > 0).all())


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_are_finite_at_logits_of_80(reward: DiscriminatorReward) -> None:
    # A quotient D/(1-D) of float32 probabilities is infinite from u = 17 on.
    assert bool(torch.isfinite(reward.of_logits(torch.tensor([-80.0, 80.0]))).all())


def test_far_logits_keep_their_differences() -> None:
    far = torch.tensor([60.0])
    assert float(NegLogComplement().of_logits(far)) == pytest.approx(60.0)
    assert float(LogProbability().of_logits(-far)) == pytest.approx(-60.0)
    assert float(Ratio().of_logits(far).log()) == pytest.approx(60.0)


@pytest.mark.parametrize("reward", MAPS, ids=lambda reward: reward.kind)
def test_rewards_keep_the_shape_and_carry_no_gradient(reward: DiscriminatorReward) -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    rewards = reward.of_logits(logits)
    assert rewards.shape == (4, 3) and not rewards.requires_grad


def test_discriminator_rewards_need_logits() -> None:
    with refused(ShapeError, "reward_needs_logits", {"reward": "probability"}):
        of_sequences(Probability(), drawn_in(TASK.space, TOKENS))


def test_sequence_rewards_read_the_logits() -> None:
    logits = torch.tensor([0.0, math.log(3)])
    rewards = of_sequences(Probability(), drawn_in(TASK.space, TOKENS[:2], logits))
    torch.testing.assert_close(rewards, torch.tensor([0.5, 0.75]))


def test_constant_reward_pays_every_sequence_alike() -> None:
    assert of_sequences(ConstantReward(value=2.5), drawn_in(TASK.space, TOKENS)).tolist() == [2.5] * 3


def test_random_reward_is_uniform_and_reads_only_its_stream() -> None:
    first, again = (
        of_sequences(RandomReward(), drawn_in(TASK.space, TOKENS[:1].expand(5_000, 4)), seed=seed) for seed in (1, 1)
    )
    assert torch.equal(first, again)
    assert float(first.min()) >= 0 and float(first.max()) < 1
    # The mean of 5,000 uniforms has standard deviation 0.0041, their variance 1/12 about 0.001.
    assert abs(float(first.mean()) - 0.5) < 4 * 0.0041
    assert abs(float(first.var()) - 1 / 12) < 4 * 0.0011


def test_bleu_is_of_training_sequences_without_the_terminator() -> None:
    rewards = of_sequences(Bleu(order=2, num_references=5), drawn_in(TASK.space, TOKENS))
    # 3 1: all its n-grams are there, brevity exp(1 - 3/2). 2 2 2 2: one of four 1-grams, no 2-gram of three (0.1/3).
    expected = [1.0, math.exp(-0.5), math.sqrt(0.25 * 0.1 / 3)]
    torch.testing.assert_close(rewards, torch.tensor(expected))


def test_bleu_draws_its_references_from_the_stream() -> None:
    task = dataclasses.replace(TASK, train=TOKENS)
    settings, seeds = Bleu(order=2, num_references=1), range(20)
    rewards = [of_sequences(settings, drawn_in(TASK.space, TOKENS[:1]), task, seed).item() for seed in seeds]
    # Against itself, against its first two tokens (2/3 of 1-grams, 1/2 of 2-grams), against 2 2 2 2.
    against_others = [math.sqrt(2 / 3 / 2), math.exp(1 - 4 / 3) * math.sqrt(1 / 3 * 0.1 / 2)]
    assert {round(reward, 5) for reward in rewards} == {round(one, 5) for one in (1.0, *against_others)}


def test_oracle_likelihood_pays_what_the_oracle_says() -> None:
    class Distribution:
        entropy = 1.0

        def logprobs(self, tokens: Tensor) -> Tensor:
            return -tokens.float()

    own, mask = torch.full((3, 4), -0.5), torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4])
    task, rollouts = (
        dataclasses.replace(TASK, oracle=Distribution()),
        drawn_in(TASK.space, TOKENS, logprobs=own, mask=mask),
    )
    assert torch.equal(OracleLikelihood().of_tokens(rollouts, task), -TOKENS.float() * mask)
    assert torch.equal(OracleRatio().of_tokens(rollouts, task), (0.5 - TOKENS.float()) * mask)


def test_a_reward_by_the_oracle_needs_one() -> None:
    with refused(ShapeError, "reward_needs_distribution", {"reward": "oracle_ratio"}, match="'text'"):
        OracleRatio().of_tokens(drawn_in(TASK.space, TOKENS), TASK)


def test_rewards_refuse_what_they_are_not_of() -> None:
    with refused(ShapeError, "reward_of_other_level", {"reward": "oracle_ratio"}):
        of_sequences(OracleRatio(), drawn_in(TASK.space, TOKENS))
    with refused(ShapeError, "reward_not_of_tokens", {"reward": "constant"}):
        ConstantReward().of_tokens(drawn_in(TASK.space, TOKENS), TASK)
    with refused(ShapeError, "reward_no_continuations", {"reward": "random"}):
        RandomReward().of_continuations(drawn_in(TASK.space, TOKENS))


def test_a_log_ratio_is_the_distribution_minus_own_and_zero_after_the_end() -> None:
    mask = torch.tensor([[True, True, False]])
    oracle = torch.tensor([[-1.0, -2.0, -float("inf")]])
    own = torch.tensor([[-1.5, -1.0, 0.0]], requires_grad=True)
    ratio = log_ratio(oracle, own, mask)
    assert ratio.tolist() == [[0.5, -1.0, 0.0]] and not ratio.requires_grad


# ---------------------------------------------------------------------------------------------- beside a target


def test_a_mixed_reward_is_the_mean_of_both_by_its_weight() -> None:
    logits, scores = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.5, 1.0]])
    # .8 · 3/4 + .2 · .5 and .8 · ½ + .2 · 1; of 2D - 1, ½ and 0.
    paid = Mixed(weight=0.8).of_finished(logits, scores)
    torch.testing.assert_close(paid, torch.tensor([[0.7, 0.6]]))
    paid = Mixed(map=SignedProbability(), weight=0.8).of_finished(logits, scores)
    torch.testing.assert_close(paid, torch.tensor([[0.5, 0.2]]))


def test_a_metric_alone_pays_its_scores() -> None:
    scores = torch.tensor([0.25, 1.0], requires_grad=True)
    for metric in (ReferenceBleu(), ReferenceRouge()):
        paid = of_sequences(metric, drawn_in(TASK.space, TOKENS[:2], scores=scores))
        assert torch.equal(paid, scores) and not paid.requires_grad


def test_only_what_compares_has_a_scorer() -> None:
    assert [reward.kind for reward in (*MAPS, Bleu(), ConstantReward(), RandomReward()) if reward.scorer(TASK)] == []
    for metric in (ReferenceBleu(order=2), ReferenceRouge()):
        assert metric.scorer(TASK) == Mixed(metric=metric).scorer(TASK)


@pytest.mark.parametrize("reward", [Mixed(), ReferenceBleu(), ReferenceRouge()], ids=lambda reward: reward.kind)
def test_rewards_beside_a_target_need_scores(reward: Mixed | ReferenceBleu | ReferenceRouge) -> None:
    with refused(ShapeError, "reward_needs_scores", {"reward": reward.kind}):
        reward.of_finished(torch.zeros(2), None)


def test_a_mixed_reward_needs_logits_too() -> None:
    with refused(ShapeError, "reward_needs_logits", {"reward": "mixed"}):
        Mixed().of_finished(None, torch.zeros(2))


def test_scores_are_of_the_metric_that_is_set() -> None:
    targets = TOKENS[:1].expand(3, 4)
    # 3 1: 1-grams and 2-grams in full (2/2, 2/2), no 3-gram to miss; two tokens of three. 2 2 2 2: one token of 4.
    finished = Finished(TOKENS, sequence_mask(TASK.space, TOKENS), None, targets)
    bleu = ReferenceBleu(order=2).scorer(TASK)(finished).scores
    torch.testing.assert_close(bleu, torch.tensor([1.0, math.exp(-0.5), math.sqrt(1 / 4 * 1 / 4)]))
    rouge = ReferenceRouge().scorer(TASK)(finished).scores
    torch.testing.assert_close(rouge, torch.tensor([1.0, 4 / 5, 2 / 7]))


@pytest.mark.parametrize("settings", MAPS, ids=lambda one: one.kind)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (8, 5), (67,), (33_001,)])
def test_equal_logits_are_paid_alike_wherever_they_stand(settings: DiscriminatorReward, shape: tuple[int, ...]) -> None:
    for logit in torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist():
        paid = settings.of_logits(torch.full(shape, logit))
        assert paid.shape == shape and bool((paid == paid.flatten()[0]).all())
