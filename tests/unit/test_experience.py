"""Rollouts to experience: the order of the four choices by numbers, metrics, and what stands after the end."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.tasks.transduction import Copy
from rlgan.envs.testing import all_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Seq2SeqLSTM, build_generator
from rlgan.policy.advantage_scaling import GroupDeviation, RunningScale, Whiten
from rlgan.policy.baselines import (
    BaselineSettings,
    BaselineState,
    BatchMean,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    NoBaseline,
    PerStepMean,
)
from rlgan.policy.control_rewards import ConstantReward, OracleRatio, RandomReward
from rlgan.policy.credit import CreditSettings, LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import LogRatio
from rlgan.policy.experience import Learnable, Memory, by_example, learnable, token_values
from rlgan.policy.kl_penalty import LossPenalty, RewardPenalty
from rlgan.policy.logit_maps import Logit, Probability, Ratio, SignedProbability
from rlgan.policy.loss_terms import LossNormaliser
from rlgan.policy.metric_rewards import Mixed, ReferenceBleu, ReferenceRouge
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.policy.rewards import RewardSettings
from rlgan.presets.controls import control
from rlgan.sampling.records import Experience, Rollouts
from tests.support.recipes import recipe
from tests.support.tiny import PAIRS, of_pairs

MASK = torch.tensor([[True, True, True], [True, True, False]])
# D = 3/4 and 1/2; the prefixes of the first sequence are worth (.1 + .3)/2 and (.5 + .9)/2, that of the second .6.
ROLLOUTS = Rollouts(
    tokens=torch.tensor([[1, 2, 3], [3, 0, 0]]),
    logprobs=torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]]),
    mask=MASK,
    real_logits=torch.tensor([math.log(3), 0.0]),
    token_logits=None,
    continuation_logits=torch.logit(
        torch.tensor([[[0.1, 0.3], [0.5, 0.9], [0.5, 0.5]], [[0.5, 0.7], [0.5, 0.5], [0.5, 0.5]]])
    ),
    reference_logprobs=None,
    generator_version=1,
    discriminator_version=2,
    prefix_length=0,
    num_drawn=0,
)


class FixedOracle:
    entropy = 1.0

    def logprobs(self, tokens: Tensor) -> Tensor:
        assert torch.equal(tokens, ROLLOUTS.tokens)
        return torch.tensor([[-0.5, -2.5, -1.0], [-4.0, -2.0, -9.0]])


TASK = Task(
    name="toy",
    space=SequenceSpace(4, 3, end_id=0),
    train=torch.tensor([[1, 2, 0]]),
    valid=torch.tensor([[1, 2, 0]]),
    test=torch.tensor([[1, 2, 0]]),
    token_names=("end", "a", "b", "c"),
    oracle=FixedOracle(),
)


def learn(
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    objective: Reinforce | None = None,
    rollouts: Rollouts = ROLLOUTS,
    state: BaselineState | None = None,
    memory: Memory | None = None,
    **axes: Any,
) -> Learnable:
    chosen = recipe(reward=reward, credit=credit, baseline=baseline, objective=objective, **axes)
    memory = memory or Memory(baseline=state or BaselineState())
    return learnable(rollouts, chosen, memory, TASK, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("reward", "credit", "baseline", "normaliser", "expected"),
    [
        # SeqGAN as released: Q itself, summed.
        (Probability(), MonteCarlo(num_rollouts=2), NoBaseline(), "sum", [[0.2, 0.7, 0.75], [0.6, 0.5, 0.0]]),
        # Means by position .4, .6, .75; halved for two sequences.
        (
            Probability(),
            MonteCarlo(num_rollouts=2),
            PerStepMean(),
            "sequence",
            [[-0.1, 0.05, 0.0], [0.1, -0.05, 0.0]],
        ),
        # Mean over the 5 real tokens (3·.75 + 2·.5)/5 = .65; over 5 tokens.
        (Probability(), Terminal(), BatchMean(), "token", [[0.02, 0.02, 0.02], [-0.03, -0.03, 0.0]]),
        # RLOO: ±(.75 - .5).
        (Probability(), Terminal(), LeaveOneOut(), "sum", [[0.25, 0.25, 0.25], [-0.25, -0.25, 0.0]]),
        # MaliGAN: ratios 3 and 1, weights 3/4 and 1/4, advantages 2·w - 1; halved.
        (Ratio(), Terminal(), ImportanceWeights(), "sequence", [[0.25, 0.25, 0.25], [-0.25, -0.25, 0.0]]),
        # Log-ratios .5 -.5 2 | 0 3, summed from each token on; over 2·3 positions.
        (OracleRatio(), RewardToGo(), NoBaseline(), "fixed", [[2 / 6, 1.5 / 6, 2 / 6], [3 / 6, 3 / 6, 0.0]]),
        # γ = ½: .5 - ½·.5 + ¼·2 = .75; -.5 + ½·2 = .5; 2 | 0 + ½·3 = 1.5; 3.
        (OracleRatio(), RewardToGo(gamma=0.5), NoBaseline(), "sum", [[0.75, 0.5, 2.0], [1.5, 3.0, 0.0]]),
        (ConstantReward(value=2.0), Terminal(), NoBaseline(), "sum", [[2.0, 2.0, 2.0], [2.0, 2.0, 0.0]]),
    ],
    ids=["seqgan", "per step", "batch mean", "rloo", "maligan", "oracle ratio", "discounted", "constant"],
)
def test_weights_by_hand(
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    normaliser: str,
    expected: list[list[float]],
) -> None:
    result = learn(reward, credit, baseline, Reinforce(loss_normaliser=normaliser))
    torch.testing.assert_close(result.experience.weights, torch.tensor(expected))
    assert torch.equal(result.experience.tokens, ROLLOUTS.tokens)


def test_metrics_by_hand() -> None:
    metrics = learn(Ratio(), Terminal(), ImportanceWeights()).metrics
    assert metrics == pytest.approx(
        {
            # Ratios 3, 3, 3, 1, 1.
            "generator/mean_value": 11 / 5,
            # Advantages .5, .5, .5, -.5, -.5: mean .1, squares .25.
            "generator/advantage_mean": 0.1,
            "generator/advantage_std": math.sqrt(0.25 - 0.01),
            "generator/entropy": (1 + 2 + 3 + 4 + 5) / 5,
            "generator/mean_length": 2.5,
            "generator/mean_prob_real": (0.75 + 0.5) / 2,
            # 1 / (9/16 + 1/16)
            "generator/effective_sample_size": 1.6,
            "generator/effective_sample_share": 0.8,
            "reward/equal_share": 0.0,
        },
        abs=1e-6,
    )


def test_controls_without_discriminator_report_no_figures_of_one() -> None:
    unscored = dataclasses.replace(ROLLOUTS, real_logits=None, continuation_logits=None, discriminator_version=None)
    metrics = learn(RandomReward(), Terminal(), LeaveOneOut(), rollouts=unscored).metrics
    assert "generator/mean_prob_real" not in metrics and "generator/effective_sample_size" not in metrics


def test_random_rewards_come_from_the_stream_that_is_handed_in() -> None:
    weights = learn(RandomReward(), Terminal(), NoBaseline()).experience.weights
    expected = torch.rand(2, generator=torch.Generator().manual_seed(0)).unsqueeze(1) * MASK
    assert torch.equal(weights, expected)


def test_the_baseline_goes_on_from_its_state() -> None:
    # Mean over real tokens .65; ½·.25 + ½·.65 = .45.
    result = learn(Probability(), Terminal(), ExponentialMean(decay=0.5), state=BaselineState(0.25, 7))
    assert result.memory.baseline.moving_average == pytest.approx(0.45)
    assert result.memory.baseline.num_updates == 8
    torch.testing.assert_close(
        result.experience.weights, torch.tensor([[0.3, 0.3, 0.3], [0.05, 0.05, 0.0]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("reward", "credit", "baseline"),
    [
        (Probability(), MonteCarlo(num_rollouts=2), PerStepMean()),
        (Probability(), MonteCarlo(num_rollouts=2), LeaveOneOut()),
        (Probability(), Terminal(), ExponentialMean()),
        (Ratio(), Terminal(), ImportanceWeights()),
        (OracleRatio(), RewardToGo(), BatchMean()),
    ],
)
def test_what_stands_after_the_end_changes_nothing(
    reward: RewardSettings, credit: CreditSettings, baseline: BaselineSettings
) -> None:
    litter = dataclasses.replace(
        ROLLOUTS,
        logprobs=ROLLOUTS.logprobs.masked_fill(~MASK, -77.0),
        continuation_logits=ROLLOUTS.continuation_logits.masked_fill(~MASK.unsqueeze(2), 55.0),
    )
    clean, dirty = (learn(reward, credit, baseline, rollouts=rollouts) for rollouts in (ROLLOUTS, litter))
    assert torch.equal(clean.experience.weights, dirty.experience.weights)
    assert clean.metrics == dirty.metrics and clean.memory == dirty.memory


# ----------------------------------------------------------------------------- prefixes, tokens, groups, references

JUDGED = dataclasses.replace(ROLLOUTS, token_logits=torch.tensor([[0.0, math.log(3), 1.0], [-1.0, 2.0, 0.0]]))


def test_prefixes_and_tokens_are_paid_by_their_own_logits() -> None:
    prefix = learn(Probability(), Prefix(), NoBaseline(), rollouts=JUDGED).experience.weights
    expected = torch.sigmoid(JUDGED.token_logits) * MASK
    torch.testing.assert_close(prefix, expected)
    tokens = learn(Logit(), RewardToGo(gamma=0.5), NoBaseline(), rollouts=JUDGED).experience.weights
    # 0 + ½·(log 3 + ½·1); log 3 + ½; 1 | -1 + ½·2; 2.
    tail = math.log(3) + 0.5
    torch.testing.assert_close(tokens, torch.tensor([[tail / 2, tail, 1.0], [0.0, 2.0, 0.0]]))


def test_a_language_model_pays_every_token_by_what_it_says_less_what_the_generator_said() -> None:
    values = learn(LogRatio(), RewardToGo(gamma=0.5), NoBaseline(), rollouts=JUDGED, is_log_odds=False).values
    # 0 + 1, log 3 + 2, 1 + 3 | -1 + 4, 2 + 5: from the end 4, log 3 + 2 + ½·4, 1 + ½·(log 3 + 4) | 7, 3 + ½·7.
    tail = math.log(3) + 4.0
    expected = torch.tensor([[1.0 + tail / 2, tail, 4.0], [6.5, 7.0, 0.0]])
    torch.testing.assert_close(values, expected)
    waits = LambdaReturn(gamma=0.5, decay=1.0)
    critic = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    found = token_values(JUDGED, LogRatio(), waits, TASK, torch.Generator(), critic)
    torch.testing.assert_close(found, expected)


def test_the_terminator_is_paid_and_what_stands_after_it_is_not() -> None:
    # The second sequence ends with its second token, a terminator; D says -2 of it, and something of padding.
    rollouts = dataclasses.replace(JUDGED, real_logits=None, token_logits=torch.tensor([[0.5, 1.0, -1.0], [3, -2, 9]]))
    assert ROLLOUTS.tokens[1, 1] == TASK.space.end_id
    weights = learn(SignedProbability(), RewardToGo(gamma=0.0), NoBaseline(), rollouts=rollouts).experience.weights
    assert weights[1, 1] == pytest.approx(2 / (1 + math.exp(2)) - 1) and weights[1, 2] == 0.0


def test_a_judge_of_tokens_alone_is_reported_too() -> None:
    rollouts = dataclasses.replace(JUDGED, real_logits=None)
    metrics = learn(Logit(), RewardToGo(), NoBaseline(), rollouts=rollouts).metrics
    assert metrics["generator/mean_prob_real"] == pytest.approx(float(torch.sigmoid(JUDGED.token_logits[MASK]).mean()))


def test_importance_weights_of_continuations() -> None:
    # Ratios D/(1-D) of the first prefixes: (1/9 + 3/7)/2 and (1 + 7/3)/2; at the second position (1 + 9)/2 and the
    # second sequence itself, 1; at the last one 3 and, held, 1. Advantage 2·share - 1.
    weights = learn(Ratio(), MonteCarlo(num_rollouts=2), ImportanceWeights()).experience.weights
    pairs = [((1 / 9 + 3 / 7) / 2, (1 + 7 / 3) / 2), (5.0, 1.0), (3.0, 1.0)]
    expected = torch.tensor([[2 * a / (a + b) - 1, 2 * b / (a + b) - 1] for a, b in pairs]).T * MASK
    torch.testing.assert_close(weights, expected)


def test_what_straying_costs_comes_before_the_baseline() -> None:
    reference = RewardPenalty(weight=0.5)
    log_ratio_to_reference = dataclasses.replace(
        ROLLOUTS, reference_logprobs=torch.tensor([[-2.0, -1.0, -6.0], [-4.0, -8.0, 0.0]])
    )
    # log p_θ - log p_ref: 1 -1 3 | 0 3, together 3 and 3; values .75 and .5 less 1.5.
    result = learn(Probability(), Terminal(), NoBaseline(), rollouts=log_ratio_to_reference, reference=reference)
    torch.testing.assert_close(result.experience.weights, torch.tensor([[-0.75] * 3, [-1.0, -1.0, 0.0]]))
    assert result.metrics["generator/kl_reference"] == pytest.approx(3.0)
    # With credit to go γ = ½ discounts both alike: 1 + ½·(-1 + ½·3) = 1.25, .5, 3 | 1.5, 3, halved by the weight.
    rollouts = dataclasses.replace(log_ratio_to_reference, token_logits=torch.zeros(2, 3))
    result = learn(Logit(), RewardToGo(gamma=0.5), NoBaseline(), rollouts=rollouts, reference=reference)
    torch.testing.assert_close(result.experience.weights, -torch.tensor([[1.25, 0.5, 3.0], [1.5, 3.0, 0.0]]) / 2)


def test_the_weight_of_the_reference_is_adapted_for_the_next_batch() -> None:
    log_ratio_to_reference = dataclasses.replace(ROLLOUTS, reference_logprobs=ROLLOUTS.logprobs - 1.0 * MASK)
    reference = RewardPenalty(weight=0.5, target=2.5)
    memory = Memory(kl_factor=3.0)
    result = learn(
        Probability(), Terminal(), NoBaseline(), rollouts=log_ratio_to_reference, reference=reference, memory=memory
    )
    # A divergence of 2.5 is just the target.
    assert result.memory.kl_factor == pytest.approx(3.0)
    assert result.metrics["generator/kl_weight"] == pytest.approx(1.5)
    torch.testing.assert_close(result.experience.weights[0], torch.full((3,), 0.75 - 1.5 * 3))
    reference = RewardPenalty(weight=0.5, target=1.0)
    result = learn(
        Probability(), Terminal(), NoBaseline(), rollouts=log_ratio_to_reference, reference=reference, memory=memory
    )
    assert result.memory.kl_factor == pytest.approx(3.0 * 1.02)


def test_grpo_by_hand() -> None:
    # Rewards 3/4 and 1/2: ±1 of their deviation; a sequence's mean over its length, over two sequences.
    objective = PPO(loss_normaliser="sequence_mean", entropy_bonus=0.2)
    log_ratio_to_reference = dataclasses.replace(ROLLOUTS, reference_logprobs=ROLLOUTS.logprobs - 1.0 * MASK)
    experience = learn(
        Probability(),
        Terminal(),
        GroupMean(),
        objective,
        rollouts=log_ratio_to_reference,
        normalisation=GroupDeviation(epsilon=1e-9),
        reference=LossPenalty(weight=0.04),
        group=2,
    ).experience
    share = torch.tensor([[1 / 6, 1 / 6, 1 / 6], [1 / 4, 1 / 4, 0.0]])
    torch.testing.assert_close(experience.clipped_weights, share * torch.tensor([[1.0], [-1.0]]))
    assert bool((experience.weights == 0).all())
    assert torch.equal(experience.old_logprobs, ROLLOUTS.logprobs)
    torch.testing.assert_close(experience.kl_weights, 0.04 * share)
    assert torch.equal(experience.reference_logprobs, log_ratio_to_reference.reference_logprobs)
    torch.testing.assert_close(experience.entropy_weights, 0.2 * share)


def test_a_plain_objective_has_plain_weights_alone() -> None:
    assert set(learn(Probability(), Terminal(), NoBaseline()).experience.tensors()) == {
        "tokens", "weights", "old_logprobs",
    }  # fmt: skip


def test_the_running_scale_is_remembered() -> None:
    settings = RunningScale(decay=0.5)
    result = learn(ConstantReward(value=4.0), Terminal(), NoBaseline(), normalisation=settings)
    assert result.memory.moving_scale == 2.0
    torch.testing.assert_close(result.experience.weights, 1.0 * MASK)


def test_given_tokens_are_learned_by_likelihood_and_drawn_ones_by_the_objective() -> None:
    # In between: one token is given; weights 2·(3/4, 1/4) - 1 of what was drawn, all halved.
    given = dataclasses.replace(ROLLOUTS, prefix_length=1)
    objective = Reinforce(loss_normaliser="sequence")
    result = learn(Ratio(), Terminal(), ImportanceWeights(), objective, rollouts=given)
    torch.testing.assert_close(result.experience.weights, torch.tensor([[0.5, 0.25, 0.25], [0.5, -0.25, 0.0]]))
    # -(-2 - 3 - 5)/3: the given tokens were not drawn and have no entropy to tell of.
    assert result.metrics["generator/entropy"] == pytest.approx(10 / 3)
    assert result.metrics["generator/advantage_mean"] == pytest.approx((0.5 + 0.5 - 0.5) / 3)


def test_a_reference_and_a_clip_see_what_was_drawn_alone() -> None:
    given = dataclasses.replace(ROLLOUTS, prefix_length=2, reference_logprobs=-10.0 * MASK)
    experience = learn(
        Probability(),
        Terminal(),
        NoBaseline(),
        PPO(loss_normaliser="sum"),
        rollouts=given,
        reference=RewardPenalty(weight=0.5),
    ).experience
    # Only the third token of the first sequence was drawn: -3 + 10 = 7 nats.
    torch.testing.assert_close(experience.clipped_weights, torch.tensor([[0.0, 0.0, 0.75 - 3.5], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(experience.weights, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))


def test_of_scores_that_are_no_log_odds_no_probability_is_told() -> None:
    metrics = learn(Logit(), Terminal(), LeaveOneOut(), is_log_odds=False).metrics
    assert "generator/mean_prob_real" not in metrics


def test_where_all_sequences_ended_within_what_was_given_likelihood_is_left() -> None:
    given = dataclasses.replace(ROLLOUTS, prefix_length=3)
    result = learn(Ratio(), Terminal(), ImportanceWeights(), rollouts=given, normalisation=Whiten())
    assert torch.equal(result.experience.weights, 1.0 * MASK)
    assert all(math.isfinite(value) for value in result.metrics.values())


# --------------------------------------------------------------------------------------------------- by example

# Of 1 token, and of 3.
REAL = Experience(tokens=torch.tensor([[0, 0, 0], [2, 3, 1]]), weights=torch.tensor([[1.5] * 3, [0.5] * 3]))
REAL_MASK = torch.tensor([[True, False, False], [True, True, True]])


@pytest.mark.parametrize(
    ("normaliser", "norms"),
    # Four sequences of 3, 2, 1 and 3 tokens, three positions.
    [("sum", [1, 1, 1, 1]), ("sequence", [4] * 4), ("token", [9] * 4), ("fixed", [12] * 4)]
    + [("sequence_mean", [12, 8, 4, 12])],
)
def test_real_and_generated_sequences_are_over_the_norm_of_all(normaliser: LossNormaliser, norms: list[int]) -> None:
    objective = Reinforce(loss_normaliser=normaliser, entropy_bonus=0.5)
    sampled = learn(Probability(), Terminal(), NoBaseline(), objective).experience
    drawn, real = by_example(sampled, REAL, 4, TASK.space, normaliser)
    over = torch.tensor(norms, dtype=torch.float32).unsqueeze(1)
    torch.testing.assert_close(drawn.weights, torch.tensor([[0.75] * 3, [0.5, 0.5, 0.0]]) / over[:2])
    assert drawn.entropy_weights is not None
    torch.testing.assert_close(drawn.entropy_weights, 0.5 * MASK / over[:2])
    torch.testing.assert_close(real.weights, REAL.weights * REAL_MASK / over[2:])
    assert torch.equal(drawn.tokens, ROLLOUTS.tokens) and torch.equal(real.tokens, REAL.tokens)


@pytest.mark.parametrize(
    ("normaliser", "norms"),
    # The two that are missing count as two more of 2 tokens, the mean of 1 and 3.
    [("sum", [1, 1]), ("sequence", [4, 4]), ("token", [8, 8]), ("fixed", [12, 12]), ("sequence_mean", [4, 12])],
)
def test_without_generated_ones_real_sequences_weigh_as_beside_them(
    normaliser: LossNormaliser, norms: list[int]
) -> None:
    (real,) = by_example(None, REAL, 4, TASK.space, normaliser)
    over = torch.tensor(norms, dtype=torch.float32).unsqueeze(1)
    torch.testing.assert_close(real.weights, REAL.weights * REAL_MASK / over)


def test_the_ceiling_of_a_task_that_gives_something_follows_the_gradient_of_its_divergence() -> None:
    # All 15 sequences for each of two conditions in the place of samples. With the exact ratio of every token,
    # Σ_y p_θ(y|x) Σ_t (r_t + r_{t+1} + … - b_t) ∇log p_θ(y_t|y_<t, x) is -∇KL(p_θ(·|x) ‖ p(·|x)) whatever b_t is.
    size, noise = 3, 0.3
    config = control(of_pairs(task=PAIRS.model_copy(update={"rule": Copy(noise=noise)})), "oracle_ratio")
    task = build_task(config.task)
    torch.manual_seed(0)
    generator = build_generator(Seq2SeqLSTM(embedding=3, hidden=4, init_std=0.6), task.space).double()
    sources = torch.tensor([[1, 2, 0], [2, 0, 0]])
    every = all_sequences(task.space)
    tokens, conditions = every.repeat(2, 1), sources.repeat_interleave(len(every), 0)
    mask = sequence_mask(task.space, tokens)

    def exact(source: list[int], sequence: list[int]) -> float:
        """Log p(y|x), token by token up to the terminator."""
        total = 0.0
        for right, token in zip(source, sequence, strict=True):
            total += math.log((1 - noise) * (token == right) + noise / size)
            if token == 0:
                break
        return total

    distribution = torch.tensor(
        [exact(*pair) for pair in zip(conditions.tolist(), tokens.tolist(), strict=True)]
    ).double()
    assert float(distribution.exp().sum()) == pytest.approx(2.0)
    logprobs = generator.conditional(conditions).logprobs(tokens).masked_fill(~mask, 0.0)
    probs = logprobs.sum(1).exp()
    divergence = (probs * (logprobs.sum(1) - distribution)).sum()
    expected = torch.autograd.grad(divergence, list(generator.parameters()), retain_graph=True)

    drawn = dataclasses.replace(
        ROLLOUTS,
        tokens=tokens,
        logprobs=logprobs.detach(),
        mask=mask,
        real_logits=None,
        continuation_logits=None,
        conditions=conditions,
    )
    chosen = recipe(
        reward=config.reward,
        credit=config.credit,
        baseline=config.baseline,
        normalisation=config.normalisation,
        objective=config.objective,
    )
    found = learnable(drawn, chosen, Memory(), task, torch.Generator())
    # What is paid from the first token on, in expectation.
    paid = found.values[:, 0].double()
    assert float((probs * paid).sum().detach()) == pytest.approx(-float(divergence.detach()), rel=1e-5)
    # A sequence counts once in a batch: here as often as it is drawn.
    weights = found.experience.weights.double() * len(tokens) * probs.detach().unsqueeze(1)
    gradients = torch.autograd.grad(-(weights * logprobs).sum(), list(generator.parameters()))
    assert max(float(gradient.abs().max()) for gradient in expected) > 0.01
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ beside a target

SCORED = dataclasses.replace(
    ROLLOUTS,
    scores=torch.tensor([1.0, 0.25]),
    continuation_scores=torch.tensor([[[0.0, 0.4], [0.6, 1.0], [9.0, 9.0]], [[0.1, 0.3], [9.0, 9.0], [9.0, 9.0]]]),
)


def test_a_metric_pays_continuations_and_at_the_end_the_sequence() -> None:
    result = learn(ReferenceBleu(), MonteCarlo(num_rollouts=2), NoBaseline(), rollouts=SCORED)
    torch.testing.assert_close(result.values, torch.tensor([[0.2, 0.8, 1.0], [0.2, 0.25, 0.0]]))
    result = learn(ReferenceRouge(), Terminal(), NoBaseline(), rollouts=SCORED)
    torch.testing.assert_close(result.values, torch.tensor([[1.0, 1.0, 1.0], [0.25, 0.25, 0.0]]))
    assert result.metrics["generator/mean_score"] == pytest.approx(0.625)
    assert "generator/mean_score" not in learn(Probability(), Terminal(), NoBaseline()).metrics


@pytest.mark.parametrize("credit", [MonteCarlo(num_rollouts=2), Terminal()], ids=lambda credit: credit.kind)
def test_values_of_a_mixed_reward_are_those_of_its_parts_by_their_weights(credit: CreditSettings) -> None:
    parts = [learn(reward, credit, NoBaseline(), rollouts=SCORED).values for reward in (Probability(), ReferenceBleu())]
    mixed = learn(Mixed(weight=0.75), credit, NoBaseline(), rollouts=SCORED).values
    torch.testing.assert_close(mixed, 0.75 * parts[0] + 0.25 * parts[1])
    assert not torch.allclose(parts[0], parts[1])


def test_no_discriminator_is_needed_by_a_metric() -> None:
    alone = dataclasses.replace(SCORED, real_logits=None, continuation_logits=None, discriminator_version=None)
    credit = MonteCarlo(num_rollouts=2)
    found = learn(ReferenceBleu(), credit, LeaveOneOut(), rollouts=alone)
    assert torch.equal(found.values, learn(ReferenceBleu(), credit, LeaveOneOut(), rollouts=SCORED).values)
    assert "generator/mean_prob_real" not in found.metrics
