"""TOY: nine sequences, so that every expected gradient, its variance and its bias are sums that can be written down.

The policy's parameters are one table: row 0 the logits of the first token (called a), rows 1-3 those of the second
token given the first (called B). Sums over all nine sequences, weighted by their probability, are expectations.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import cross_entropy
from rlgan.discriminators import CnnHighway, CnnHighwayDiscriminator, LanguageModelDiscriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.testing import TOY_PROBS, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Generator, LSTMGenerator
from rlgan.metrics import reference_bleu
from rlgan.policy.advantage_scaling import RunningScale
from rlgan.policy.baselines import (
    BaselineSettings,
    BaselineState,
    ConstantBaseline,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    LogPartition,
    NoBaseline,
)
from rlgan.policy.credit import CreditSettings, MonteCarlo, RewardToGo, Terminal, at_the_end, lambda_returns, log_ratios
from rlgan.policy.discriminator_rewards import LogRatio
from rlgan.policy.experience import Memory, by_example, learnable
from rlgan.policy.kl_penalty import penalised
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.logit_maps import DiscriminatorReward, Logit, Probability, Ratio, SignedProbability
from rlgan.policy.loss_terms import likelihood_weights, reference_penalty, weighted_nll
from rlgan.policy.metric_rewards import Bleu, Mixed, ReferenceBleu
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.policy.rewards import RewardSettings
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling.records import Experience, Rollouts
from tests.support import reference_metrics as twin
from tests.support.recipes import recipe
from tests.support.steppers import collect
from tests.support.tabular import TOY_SPACE, TabularDiscriminator, TabularGenerator, every_sequence

pytestmark = pytest.mark.integration

DOUBLE = torch.float64
SEQUENCES = every_sequence(TOY_SPACE)
MASK = torch.ones(9, 2, dtype=torch.bool)
REAL_PROBS = torch.tensor(TOY_PROBS, dtype=DOUBLE).flatten()
TASK = build_task(ToyTask())
FIXED_LOGITS = TabularDiscriminator.toy(DOUBLE).table.detach()

# Golden numbers, rows a, B[0], B[1], B[2].
GRADIENT_OF_J = torch.tensor(
    [
        [0.024648, -0.013116, -0.011532],
        [0.022581, -0.016947, -0.005634],
        [-0.012933, 0.013608, -0.000675],
        [0.016096, -0.034516, 0.018420],
    ],
    dtype=DOUBLE,
)
MLE_GRADIENT = torch.tensor(
    [
        [-0.037585, 0.049911, -0.012327],
        [0.054076, -0.015568, -0.038508],
        [0.034432, 0.061492, -0.095924],
        [-0.118928, -0.068928, 0.187855],
    ],
    dtype=DOUBLE,
)
IMPORTANCE_GRADIENT_A = torch.tensor([0.092372, -0.069656, -0.022716])
J = 0.557994
Q = torch.tensor([0.631008, 0.505547, 0.530027], dtype=DOUBLE)


def policy_probs(policy: TabularGenerator) -> Tensor:
    return policy.logprobs(SEQUENCES).sum(1).exp()


def policy_steps(policy: TabularGenerator) -> Tensor:
    """(9, 2) probability of each token."""
    return policy.logprobs(SEQUENCES).exp()


def best_logits(policy: TabularGenerator) -> Tensor:
    """Logits of the optimal discriminator, log p_d - log p_θ."""
    return REAL_PROBS.log() - policy.logprobs(SEQUENCES).sum(1).detach()


def weights_of(
    tokens: Tensor,
    real_logits: Tensor,
    reward: RewardSettings | None = None,
    credit: CreditSettings | None = None,
    baseline: BaselineSettings | None = None,
    normaliser: str = "sum",
    action_values: Tensor | None = None,
    scores: Tensor | None = None,
) -> Tensor:
    """The learner's weights of a batch of TOY sequences, by the code that the trainer calls."""
    rollouts = Rollouts(
        tokens=tokens,
        logprobs=torch.zeros(tokens.shape),
        mask=torch.ones_like(tokens, dtype=torch.bool),
        real_logits=real_logits,
        # Continuations that happen to be worth exactly Q.
        token_logits=None,
        continuation_logits=None if action_values is None else torch.logit(action_values)[tokens].unsqueeze(2),
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
        scores=scores,
    )
    axes = recipe(reward=reward, credit=credit, baseline=baseline, objective=Reinforce(loss_normaliser=normaliser))
    return learnable(rollouts, axes, Memory(), TASK, torch.Generator()).experience.weights


def gradient(policy: TabularGenerator, loss: Tensor) -> Tensor:
    """Direction of ascent: minus the gradient of the loss, (4, 3)."""
    (found,) = torch.autograd.grad(-loss, policy.table)
    return found


def expected_gradient(policy: TabularGenerator, weights: Tensor, probs: Tensor | None = None) -> Tensor:
    """Σ_y prob(y) · gradient of the learner's loss on y."""
    probs = policy_probs(policy).detach() if probs is None else probs
    return gradient(policy, weighted_nll(policy.logprobs(SEQUENCES), probs.unsqueeze(1) * weights))


def gradient_per_sequence(policy: TabularGenerator, weights: Tensor) -> Tensor:
    """(9, 4, 3): gradient of the learner's loss on each sequence alone."""
    rows = [gradient(policy, weighted_nll(policy.logprobs(SEQUENCES[i : i + 1]), weights[i : i + 1])) for i in range(9)]
    return torch.stack(rows)


def exact_gradient_of_j(policy: TabularGenerator) -> Tensor:
    (found,) = torch.autograd.grad((policy_probs(policy) * FIXED_LOGITS.sigmoid()).sum(), policy.table)
    return found


# -------------------------------------------------------------------------------------- expected gradients


def test_the_fixture_is_the_one_of_the_golden_numbers() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    probs, rewards = policy_probs(policy).view(3, 3), FIXED_LOGITS.sigmoid().view(3, 3)
    assert float((probs * rewards).sum().detach()) == pytest.approx(J, abs=1e-6)
    torch.testing.assert_close((probs * rewards).sum(1) / probs.sum(1), Q, atol=1e-6, rtol=0)
    torch.testing.assert_close(exact_gradient_of_j(policy), GRADIENT_OF_J, atol=1e-6, rtol=0)
    float32 = TabularGenerator.toy()
    torch.testing.assert_close(policy_probs(float32).double(), policy_probs(policy), atol=1e-6, rtol=0)


def test_terminal_reinforce_is_the_gradient_of_the_expected_reward() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    found = expected_gradient(policy, weights_of(SEQUENCES, FIXED_LOGITS))
    torch.testing.assert_close(found, GRADIENT_OF_J, atol=1e-6, rtol=0)
    torch.testing.assert_close(found, exact_gradient_of_j(policy), atol=1e-12, rtol=0)


def test_a_critic_s_scores_give_the_gradient_of_their_expectation() -> None:
    # As the expected gradients above, with the scores themselves in the place of D.
    policy = TabularGenerator.toy(DOUBLE)
    found = expected_gradient(policy, weights_of(SEQUENCES, FIXED_LOGITS, reward=Logit()))
    (exact,) = torch.autograd.grad((policy_probs(policy) * FIXED_LOGITS).sum(), policy.table)
    torch.testing.assert_close(found, exact, atol=1e-12, rtol=0)


def test_the_loss_weighs_log_probabilities_and_not_probabilities() -> None:
    # One of the released codes of BR-CSGAN minimises -Σ p(y_t)·R_t, whose direction is another.
    policy = TabularGenerator.toy(DOUBLE)
    weights = weights_of(SEQUENCES, FIXED_LOGITS)
    released = gradient(policy, -(policy_probs(policy).detach().unsqueeze(1) * weights * policy_steps(policy)).sum())

    def cosine(one: Tensor) -> float:
        return float((one * GRADIENT_OF_J).sum() / (one.norm() * GRADIENT_OF_J.norm()))

    assert cosine(released) == pytest.approx(0.644, abs=5e-4)
    assert cosine(expected_gradient(policy, weights)) == pytest.approx(1.0, abs=1e-6)


def test_a_mixed_reward_has_the_gradients_of_its_parts_by_their_weights_whatever_the_baseline() -> None:
    policy, reward = TabularGenerator.toy(DOUBLE), Mixed(metric=ReferenceBleu(order=2), weight=0.7)
    scores = reference_bleu(TOY_SPACE, SEQUENCES, torch.tensor([[0, 1]]).expand(9, 2), order=2).double()
    of_bleu = gradient(policy, -(policy_probs(policy) * scores).sum())
    baselines = (NoBaseline(), ConstantBaseline(value=0.7 * 0.6))
    for weights in (weights_of(SEQUENCES, FIXED_LOGITS, reward, baseline=one, scores=scores) for one in baselines):
        found = expected_gradient(policy, weights)
        torch.testing.assert_close(found, 0.7 * GRADIENT_OF_J + 0.3 * of_bleu, atol=1e-6, rtol=0)
    assert float((of_bleu - GRADIENT_OF_J).abs().max()) > 0.01


def test_exact_action_values_give_the_same_gradient() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    probs, rewards = policy_probs(policy).detach().view(3, 3), FIXED_LOGITS.sigmoid().view(3, 3)
    exact_q = (probs * rewards).sum(1) / probs.sum(1)
    weights = weights_of(SEQUENCES, FIXED_LOGITS, credit=MonteCarlo(num_rollouts=1), action_values=exact_q)
    assert not torch.allclose(weights[:, 0], weights[:, 1])
    found = expected_gradient(policy, weights)
    torch.testing.assert_close(found, GRADIENT_OF_J, atol=1e-6, rtol=0)
    torch.testing.assert_close(found, exact_gradient_of_j(policy), atol=1e-8, rtol=0)


def test_likelihood_weights_on_real_sequences_give_the_mle_gradient() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    # A sequence's loss is its mean over two tokens, so twice its gradient is that of its log-probability.
    weights = 2 * torch.cat([likelihood_weights(MASK[:1]).double()] * 9)
    found = expected_gradient(policy, weights, REAL_PROBS)
    torch.testing.assert_close(found, MLE_GRADIENT, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("num_real", "num_sampled"), [(1, 1), (1, 3)])
def test_by_example_is_a_share_of_the_mle_gradient_beside_a_share_of_the_gradient_of_j(
    num_real: int, num_sampled: int
) -> None:
    # Each sequence of a batch is drawn by itself, so that the mean over batches is that over sequences.
    policy, batch = TabularGenerator.toy(DOUBLE), num_real + num_sampled
    paid, unpaid, taught = (torch.zeros(4, 3, dtype=DOUBLE) for _ in range(3))
    for index in range(9):
        tokens, logit = SEQUENCES[index : index + 1], FIXED_LOGITS[index : index + 1]
        real = Experience(tokens=tokens.repeat(num_real, 1), weights=torch.ones(num_real, 2))
        for total, logits in ((paid, logit), (unpaid, torch.full_like(logit, -torch.inf))):
            rows = tokens.repeat(num_sampled, 1)
            weights = weights_of(rows, logits.repeat(num_sampled), normaliser="sequence")
            parts = by_example(Experience(tokens=rows, weights=weights), real, batch, TOY_SPACE, "sequence")
            ours, example = (gradient(policy, weighted_nll(policy.logprobs(one.tokens), one.weights)) for one in parts)
            total.add_(policy_probs(policy)[index].detach() * ours)
        taught += REAL_PROBS[index] * example
    share = num_real / batch
    torch.testing.assert_close(taught, share * MLE_GRADIENT, atol=1e-6, rtol=0)
    torch.testing.assert_close(paid, (1.0 - share) * exact_gradient_of_j(policy), atol=1e-8, rtol=0)
    assert bool((unpaid == 0).all())


def test_density_ratios_of_the_optimal_discriminator_give_the_mle_gradient() -> None:
    # p_θ · D*/(1 - D*) = p_d.
    policy = TabularGenerator.toy(DOUBLE)
    best = expected_gradient(policy, weights_of(SEQUENCES, best_logits(policy), reward=Ratio()))
    torch.testing.assert_close(best, MLE_GRADIENT, atol=1e-6, rtol=0)
    exact = expected_gradient(policy, torch.ones(9, 2, dtype=DOUBLE), REAL_PROBS)
    torch.testing.assert_close(best, exact, atol=1e-8, rtol=0)


def test_importance_weights_of_many_samples_approach_the_normalised_gradient() -> None:
    # With sequences from the sampler and weights as MaliGAN's learner gets them.
    policy = TabularGenerator.toy()
    rollouts = sampled(policy, 100_000)
    weights = weights_of(
        rollouts.tokens, rollouts.real_logits, Ratio(), baseline=ImportanceWeights(), normaliser="sequence"
    )
    found = gradient(policy, weighted_nll(policy.logprobs(rollouts.tokens), weights))
    torch.testing.assert_close(found[0], IMPORTANCE_GRADIENT_A, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("group", "fixed_bias", "best_bias"), [(1, 0.2463, None), (2, 0.1440, 0.2008), (3, 0.1005, 0.1602)]
)
def test_bias_of_self_normalised_weights_over_all_groups(
    group: int, fixed_bias: float, best_bias: float | None
) -> None:
    # Σ over all 9^m groups of prob(group) · Σ_i (w̃_i - 1/m) ∇log p(x_i), against its limit.
    policy = TabularGenerator.toy(DOUBLE)
    probs, scores = policy_probs(policy).detach(), gradient_per_sequence(policy, torch.ones(9, 2, dtype=DOUBLE))
    groups = torch.tensor(list(itertools.product(range(9), repeat=group)))
    for logits, bias in ((FIXED_LOGITS, fixed_bias), (best_logits(policy), best_bias)):
        if bias is None:
            continue
        ratios = logits.exp() * probs
        target = (ratios.view(9, 1, 1) * scores).sum(0) / ratios.sum()
        mean = torch.zeros(4, 3, dtype=DOUBLE)
        for members in groups:
            weights = weights_of(
                SEQUENCES[members], logits[members], Ratio(), baseline=ImportanceWeights(), normaliser="sequence"
            )
            mean += probs[members].prod() * (weights[:, :1].unsqueeze(2) * scores[members]).sum(0)
        assert float((mean - target).norm()) == pytest.approx(bias, abs=1e-4)


def test_logits_less_their_partition_give_the_gradient_of_the_reverse_divergence() -> None:
    # E[(u* - log Z - 1) ∇log p_θ] = -∇KL(p_θ‖p_d), whatever log Z is.
    policy = TabularGenerator.toy(DOUBLE)
    weights = weights_of(SEQUENCES, best_logits(policy), Logit(), baseline=LogPartition(decay=0.3), normaliser="sum")
    divergence = (policy_probs(policy) * (policy.logprobs(SEQUENCES).sum(1) - REAL_PROBS.log())).sum()
    (exact,) = torch.autograd.grad(-divergence, policy.table)
    torch.testing.assert_close(expected_gradient(policy, weights), exact, atol=1e-8, rtol=0)


def test_step_wise_ratios_have_the_ratio_of_the_prefix_as_their_mean() -> None:
    # MaliGAN's step-wise weights: mean over completions of p_d/p_θ is p_d(y1)/p_θ(y1); with D* the first token's
    # gradient is that of the likelihood.
    policy = TabularGenerator.toy(DOUBLE)
    completions = best_logits(policy).view(3, 3)[SEQUENCES[:, 0]]
    # Completions in the proportion in which the policy draws them: exp is averaged with its distribution.
    distribution = policy_probs(policy).detach().view(3, 3)
    distribution = (distribution / distribution.sum(1, keepdim=True))[SEQUENCES[:, 0]]
    searched = (completions + (distribution * 3).log()).unsqueeze(1).expand(9, 2, 3)
    ratios = log_ratios(best_logits(policy), searched, MASK)
    first = (REAL_PROBS.view(3, 3).sum(1) / policy_probs(policy).detach().view(3, 3).sum(1))[SEQUENCES[:, 0]]
    torch.testing.assert_close(ratios[:, 0].exp(), first, atol=1e-10, rtol=0)
    torch.testing.assert_close(ratios[:, 1], best_logits(policy))
    found = expected_gradient(policy, ratios.exp())
    torch.testing.assert_close(found, MLE_GRADIENT, atol=1e-6, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_generalised_advantages_of_an_exact_critic_give_the_gradient_of_j(decay: float) -> None:
    policy = TabularGenerator.toy(DOUBLE)
    values = torch.stack([torch.full((9,), J, dtype=DOUBLE), Q[SEQUENCES[:, 0]]], 1)
    paid = at_the_end(FIXED_LOGITS.sigmoid(), MASK)
    weights = lambda_returns(paid, values, MASK, gamma=1.0, decay=decay) - values
    torch.testing.assert_close(expected_gradient(policy, weights), GRADIENT_OF_J, atol=2e-6, rtol=0)


def test_waiting_for_all_rewards_any_critic_will_do() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    wrong = torch.stack([torch.full((9,), 7.0, dtype=DOUBLE), SEQUENCES[:, 0].double()], 1)
    paid = at_the_end(FIXED_LOGITS.sigmoid(), MASK)
    found = expected_gradient(policy, lambda_returns(paid, wrong, MASK, gamma=1.0, decay=1.0) - wrong)
    torch.testing.assert_close(found, GRADIENT_OF_J, atol=1e-6, rtol=0)
    biased = expected_gradient(policy, lambda_returns(paid, wrong, MASK, gamma=1.0, decay=0.0) - wrong)
    assert float((biased - GRADIENT_OF_J).abs().max()) > 0.1


# ------------------------------------------------------------- token rewards, a metric, a scale; written out slowly


def scores_by_hand(table: Tensor) -> Tensor:
    """(9, 2, 4, 3): gradient of each token's log-probability in the table, one-hot less probabilities in its row."""
    scores = torch.zeros(9, 2, 4, 3, dtype=DOUBLE)
    for i, (first, second) in enumerate(SEQUENCES.tolist()):
        for t, (row, token) in enumerate(((0, first), (1 + first, second))):
            powers = [math.exp(logit) for logit in table[row].tolist()]
            for v in range(3):
                scores[i, t, row, v] = (v == token) - powers[v] / sum(powers)
    return scores


def drawn_by(policy: TabularGenerator, index: Tensor, token_logits: Tensor | None = None) -> Rollouts:
    """Some of the nine sequences, judged by the fixed table, or each of their tokens by logits (n, 2)."""
    tokens = SEQUENCES[index]
    real_logits = FIXED_LOGITS[index] if token_logits is None else None
    return Rollouts(
        tokens, policy.logprobs(tokens).detach(), MASK[index], real_logits, token_logits, None, None, 0, 0, 0, 0
    )


def test_discounted_rewards_of_tokens_weigh_their_scores_and_a_moving_average_takes_nothing_from_the_mean() -> None:
    # ScratchGAN: r = 2D - 1 of every token, R_t = r_t + 0.23 R_{t+1}, all over B·T.
    policy, gamma = TabularGenerator.toy(DOUBLE), 0.23
    token_logits = torch.stack([torch.tensor([0.7, -0.3, 1.9], dtype=DOUBLE)[SEQUENCES[:, 0]], FIXED_LOGITS], 1)
    paid = [[2.0 / (1.0 + math.exp(-u)) - 1.0 for u in row] for row in token_logits.tolist()]
    returns = [
        [paid[i][t] + sum(gamma ** (s - t) * paid[i][s] for s in range(t + 1, 2)) for t in (0, 1)] for i in range(9)
    ]
    # What is taken off is one number for the whole batch, whoever is in it.
    average = 0.08 * 0.4 + 0.92 * sum(map(sum, returns)) / 18
    scores, probs = scores_by_hand(policy.table.detach()), policy_probs(policy).detach()
    rollouts, means = drawn_by(policy, torch.arange(9), token_logits), []
    for baseline, off in ((NoBaseline(), 0.0), (ExponentialMean(decay=0.08), average)):
        axes = recipe(
            reward=SignedProbability(),
            credit=RewardToGo(gamma=gamma),
            baseline=baseline,
            objective=Reinforce(loss_normaliser="fixed"),
        )
        memory = Memory(baseline=BaselineState(moving_average=0.4, num_updates=5))
        weights = learnable(rollouts, axes, memory, TASK, torch.Generator()).experience.weights
        by_hand = torch.zeros(9, 4, 3, dtype=DOUBLE)
        for i, t in itertools.product(range(9), range(2)):
            by_hand[i] += scores[i, t] * (returns[i][t] - off) / 18
        torch.testing.assert_close(gradient_per_sequence(policy, weights), by_hand, atol=1e-10, rtol=0)
        means.append(expected_gradient(policy, weights))
        torch.testing.assert_close(means[-1], (probs.view(9, 1, 1) * by_hand).sum(0), atol=1e-10, rtol=0)
    assert abs(average) > 0.1
    torch.testing.assert_close(means[1], means[0], atol=1e-10, rtol=0)
    assert float(means[0].norm()) > 0.001


def test_policy_gradient_on_bleu_is_the_gradient_of_the_expected_bleu() -> None:
    # PG-BLEU, with all training sequences as references, so that none are drawn.
    policy, references = TabularGenerator.toy(DOUBLE), [(0, 1), (2, 2)]
    task = dataclasses.replace(TASK, train=torch.tensor(references))
    bleu = [twin.sentence_bleu(tuple(sequence), references, 3) for sequence in SEQUENCES.tolist()]
    assert len(set(bleu)) > 2
    axes = recipe(reward=Bleu(order=3, num_references=2))
    rollouts = dataclasses.replace(drawn_by(policy, torch.arange(9)), real_logits=None)
    weights = learnable(rollouts, axes, Memory(), task, torch.Generator()).experience.weights
    found = expected_gradient(policy, weights)
    scores, probs = scores_by_hand(policy.table.detach()).sum(1), policy_probs(policy).tolist()
    by_hand = sum(probs[i] * bleu[i] * scores[i] for i in range(9))
    assert isinstance(by_hand, Tensor)
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=0)
    expected = (policy_probs(policy) * torch.tensor(bleu, dtype=DOUBLE)).sum()
    torch.testing.assert_close(found, gradient(policy, -expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("baseline", [NoBaseline(), ConstantBaseline(value=J)], ids=lambda baseline: baseline.kind)
def test_a_running_scale_divides_the_gradient_and_turns_it_nowhere(baseline: BaselineSettings) -> None:
    policy, axes = TabularGenerator.toy(DOUBLE), recipe(baseline=baseline, normalisation=RunningScale(decay=0.9))
    memory = Memory(BaselineState(num_updates=3), moving_scale=0.3)
    formed = learnable(drawn_by(policy, torch.arange(9)), axes, memory, TASK, torch.Generator())
    off = baseline.value if isinstance(baseline, ConstantBaseline) else 0.0
    magnitude = float((FIXED_LOGITS.sigmoid() - off).abs().mean())
    # The fourth average, and what four updates have of its weight.
    scale = (0.9 * 0.3 + 0.1 * magnitude) / (1.0 - 0.9**4)
    found = expected_gradient(policy, formed.experience.weights)
    torch.testing.assert_close(found, exact_gradient_of_j(policy) / scale, atol=1e-7, rtol=0)


# ----------------------------------------------------------------------------------------------- GRPO and PPO


@pytest.mark.parametrize("group", [2, 3])
def test_the_mean_of_a_group_its_own_member_included_shrinks_the_gradient_and_turns_it_nowhere(group: int) -> None:
    # GRPO: b = mean of all K, so that (K-1)/K of A_i is left of what leave-one-out has. All 9^K groups are one batch,
    # each with the share of it that its probability asks for; |y| = 2 in a sequence's own mean.
    policy, objective = TabularGenerator.toy(DOUBLE), PPO(loss_normaliser="sequence_mean")
    groups = torch.tensor(list(itertools.product(range(9), repeat=group)))
    share = policy_probs(policy).detach()[groups].prod(1) * len(groups)
    axes = recipe(baseline=GroupMean(), objective=objective, group=group)
    formed = learnable(drawn_by(policy, groups.flatten()), axes, Memory(), TASK, torch.Generator()).experience
    assert formed.clipped_weights is not None
    shared = dataclasses.replace(
        formed, clipped_weights=formed.clipped_weights * share.repeat_interleave(group).unsqueeze(1)
    )
    found = gradient(policy, learner_loss(objective, shared.tensors(), policy.logprobs(shared.tokens)))
    expected = (group - 1) / group * exact_gradient_of_j(policy) / 2
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_the_clipped_gradient_of_a_policy_that_has_moved_is_the_one_by_hand() -> None:
    # Three passes in minibatches of three sequences, which the policy leaves further and further behind.
    policy, objective = TabularGenerator.toy(DOUBLE), PPO(loss_normaliser="token", clip_low=0.1, clip_high=0.28)
    axes = recipe(baseline=ConstantBaseline(value=J), objective=objective)
    whole = learnable(drawn_by(policy, torch.arange(9)), axes, Memory(), TASK, torch.Generator()).experience
    drawn_at = policy.logprobs(SEQUENCES).exp().tolist()
    met = set()
    # In this order tokens of either sign of advantage are met above the clip's range, below it and within.
    for rows in torch.tensor([5, 6, 7, 4, 3, 0, 8, 1, 2]).repeat(3).split(3):
        step = whole.rows(rows).times(3)
        found = gradient(policy, learner_loss(objective, step.tensors(), policy.logprobs(step.tokens)))
        scores, now = scores_by_hand(policy.table.detach()), policy.logprobs(SEQUENCES).exp().tolist()
        by_hand = torch.zeros(4, 3, dtype=DOUBLE)
        for i, t in itertools.product(rows.tolist(), range(2)):
            ratio, advantage = now[i][t] / drawn_at[i][t], 1.0 / (1.0 + math.exp(-float(FIXED_LOGITS[i]))) - J
            is_held = ratio > 1.28 if advantage > 0 else ratio < 0.9
            met.add((advantage > 0, "above" if ratio > 1.28 else "below" if ratio < 0.9 else "within"))
            if not is_held:
                # Of 18 tokens, a third of them in a step.
                by_hand += 3 * advantage / 18 * ratio * scores[i, t]
        torch.testing.assert_close(found, by_hand, atol=1e-10, rtol=0)
        with torch.no_grad():
            policy.table += 12.0 * found
    assert met == set(itertools.product((True, False), ("above", "below", "within")))


# --------------------------------------------------------------------------- LM-ratio discriminator and mediator


def distribution_of(probs: Tensor) -> TabularGenerator:
    """The language model of a distribution over the nine sequences."""
    table = probs.view(3, 3)
    first = table.sum(1, keepdim=True)
    return TabularGenerator(TOY_SPACE, torch.cat([first.T, table / first]).log())


def log_ratio_weights(policy: TabularGenerator, distribution: TabularGenerator) -> Tensor:
    """The learner's weights of all nine sequences, judged by a language model through its frozen copy."""
    judge = LanguageModelDiscriminator(distribution)
    rollouts = Rollouts(
        tokens=SEQUENCES,
        logprobs=policy.logprobs(SEQUENCES).detach(),
        mask=MASK,
        real_logits=None,
        token_logits=judge.scorer()(SEQUENCES, MASK),
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
    )
    axes = recipe(reward=LogRatio(), credit=RewardToGo(), objective=Reinforce(loss_normaliser="sum"), is_log_odds=False)
    return learnable(rollouts, axes, Memory(), TASK, torch.Generator()).experience.weights


def divergence_from(policy: TabularGenerator, probs: Tensor) -> Tensor:
    """KL(p_θ‖p)."""
    return (policy_probs(policy) * (policy.logprobs(SEQUENCES).sum(1) - probs.log())).sum()


def test_a_language_model_that_is_the_distribution_gives_the_gradient_of_the_reverse_divergence() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    divergence = divergence_from(policy, REAL_PROBS)
    assert float(divergence.detach()) == pytest.approx(0.314389, abs=1e-6)
    found = expected_gradient(policy, log_ratio_weights(policy, distribution_of(REAL_PROBS)))
    torch.testing.assert_close(found, gradient(policy, divergence), atol=1e-8, rtol=0)
    # The same by differences of the divergence, coordinate by coordinate.
    table, step = policy.table.detach(), 1e-5
    for row, column in itertools.product(range(4), range(3)):
        moved = torch.zeros_like(table)
        moved[row, column] = step
        above, below = (
            float(divergence_from(TabularGenerator(TOY_SPACE, table + sign * moved), REAL_PROBS).detach())
            for sign in (1, -1)
        )
        assert float(found[row, column]) == pytest.approx(-(above - below) / (2 * step), abs=1e-6)


def test_a_mediator_that_is_the_mixture_gives_twice_the_gradient_of_the_jensen_shannon_divergence() -> None:
    # E[(log M - log p_θ) ∇log p_θ] = -∇KL(p_θ‖M), M held. JS = ½KL(p_d‖M) + ½KL(p_θ‖M) is least in M at the mixture, so
    # that its gradient through M is 0: -∇KL(p_θ‖M) = -2∇JS, though M moves with p_θ.
    policy = TabularGenerator.toy(DOUBLE)
    mixture = (REAL_PROBS + policy_probs(policy)) / 2
    held = mixture.detach()
    found = expected_gradient(policy, log_ratio_weights(policy, distribution_of(held)))
    torch.testing.assert_close(found, gradient(policy, divergence_from(policy, held)), atol=1e-8, rtol=0)
    js = 0.5 * (REAL_PROBS * (REAL_PROBS / mixture).log()).sum() + 0.5 * divergence_from(policy, mixture)
    assert float(js.detach()) == pytest.approx(0.076604, abs=1e-6)
    torch.testing.assert_close(found, gradient(policy, 2 * js), atol=1e-8, rtol=0)


def test_a_policy_that_is_the_language_model_already_has_nothing_to_learn() -> None:
    policy = distribution_of(REAL_PROBS)
    assert bool((log_ratio_weights(policy, distribution_of(REAL_PROBS)).abs() < 1e-12).all())


def test_log_ratios_are_to_the_distribution_that_drew_the_tokens() -> None:
    # Through the sampler: what is paid in a shard is exactly log p_φ - log p_θ of its tokens, at temperature 1.
    policy, distribution = TabularGenerator.toy(), distribution_of(REAL_PROBS.float())
    plan = RolloutPlan(space=TOY_SPACE, credit=RewardToGo(), chunk_rows=64)
    shard = Shard(200, 0, generator_version=0, rollout_version=None, discriminator_version=0)
    rollouts = collect(plan, shard, policy.stepper(), None, LanguageModelDiscriminator(distribution).scorer())
    axes = recipe(reward=LogRatio(), credit=RewardToGo(gamma=0.0), objective=Reinforce(), is_log_odds=False)
    values = learnable(rollouts, axes, Memory(), TASK, torch.Generator()).values
    expected = (distribution.logprobs(rollouts.tokens) - policy.logprobs(rollouts.tokens)).detach()
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


# --------------------------------------------------------------------------------------- reference and entropy

REFERENCE_LOGPROBS = torch.log_softmax(torch.tensor([[0.1, 0.9, -0.4], [0.0, 1.0, 0.3]]).double(), 1)[
    torch.arange(2), SEQUENCES
]


def test_a_penalised_reward_has_the_gradient_of_reward_less_divergence() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    logprobs = policy.logprobs(SEQUENCES)
    divergence = (policy_probs(policy) * (logprobs - REFERENCE_LOGPROBS).sum(1)).sum()
    (exact,) = torch.autograd.grad(
        (policy_probs(policy) * FIXED_LOGITS.sigmoid()).sum() - 0.3 * divergence, policy.table
    )
    log_ratio_to_reference = (logprobs - REFERENCE_LOGPROBS).detach()
    values = FIXED_LOGITS.sigmoid().unsqueeze(1).expand(9, 2)
    for credit in (Terminal(), MonteCarlo(), RewardToGo()):
        weights = penalised(values, log_ratio_to_reference, MASK, weight=0.3, credit=credit)
        torch.testing.assert_close(expected_gradient(policy, weights), exact, atol=1e-8, rtol=0)


def test_the_penalty_in_the_loss_has_the_gradient_of_the_other_divergence() -> None:
    # Its value is KL(p_θ‖p_ref), but its gradient through the sampled tokens' log-probabilities is that of
    # KL(p_ref‖p_θ) of the next token, in the states that p_θ visits.
    policy = TabularGenerator.toy(DOUBLE)
    probs = policy_probs(policy).detach().unsqueeze(1)
    loss = reference_penalty(policy.logprobs(SEQUENCES), REFERENCE_LOGPROBS, probs.expand(9, 2))
    logprobs, visited = policy.logprobs(SEQUENCES).view(3, 3, 2), policy_probs(policy).detach().view(3, 3).sum(1)
    distribution = REFERENCE_LOGPROBS.view(3, 3, 2).exp()
    first = -(distribution[:, 0, 0] * logprobs[:, 0, 0]).sum()
    second = -(visited.unsqueeze(1) * distribution[:, :, 1] * logprobs[:, :, 1]).sum()
    torch.testing.assert_close(gradient(policy, loss), gradient(policy, first + second), atol=1e-8, rtol=0)


def test_entropies_are_those_of_the_distribution_and_have_its_gradient() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    logprobs, entropies = policy.logprobs_and_entropies(SEQUENCES)
    torch.testing.assert_close(logprobs, policy.logprobs(SEQUENCES))
    distribution = policy.table.softmax(1)
    expected = -(distribution * distribution.log()).sum(1)[torch.stack([torch.zeros(9).long(), 1 + SEQUENCES[:, 0]], 1)]
    torch.testing.assert_close(entropies, expected)
    torch.testing.assert_close(gradient(policy, entropies.sum()), gradient(policy, expected.sum()))


# ------------------------------------------------------------------------------- MLE-Mali, prefixes of real data


def prefixed_gradient(policy: TabularGenerator, prefix_length: int) -> Tensor:
    """Expected gradient with n given tokens of real sequences and exact ratios of groups that are infinitely large."""
    real = policy_probs(policy).detach()
    found = torch.zeros(4, 3, dtype=DOUBLE)
    for prefix in itertools.product(range(3), repeat=prefix_length):
        rows = (SEQUENCES[:, :prefix_length] == torch.tensor(prefix, dtype=torch.int64)).all(1)
        distribution = real[rows] / real[rows].sum()
        logits = best_logits(policy)[rows] - torch.log((distribution * best_logits(policy)[rows].exp()).sum())
        rollouts = Rollouts(
            tokens=SEQUENCES[rows],
            logprobs=policy.logprobs(SEQUENCES[rows]).detach(),
            mask=MASK[rows],
            real_logits=logits,
            token_logits=None,
            continuation_logits=None,
            reference_logprobs=None,
            generator_version=0,
            discriminator_version=0,
            prefix_length=prefix_length,
            num_drawn=0,
        )
        axes = recipe(reward=Ratio(), objective=Reinforce(loss_normaliser="sum"))
        weights = learnable(rollouts, axes, Memory(), TASK, torch.Generator()).experience.weights
        loss = weighted_nll(policy.logprobs(SEQUENCES[rows]), distribution.unsqueeze(1) * weights)
        found += REAL_PROBS[rows].sum() * gradient(policy, loss)
    return found


@pytest.mark.parametrize("prefix_length", [0, 1])
def test_with_the_best_discriminator_every_length_of_prefix_gives_the_mle_gradient(prefix_length: int) -> None:
    # With n = 0 it is MaliGAN; the given part is likelihood, and the ratio repairs the rest.
    policy = TabularGenerator.toy(DOUBLE)
    torch.testing.assert_close(prefixed_gradient(policy, prefix_length), MLE_GRADIENT, atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------- detach


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # metrics of logits that should have none
@pytest.mark.parametrize(
    ("reward", "credit", "baseline"),
    [
        (Probability(), Terminal(), NoBaseline()),
        (Probability(), MonteCarlo(num_rollouts=1), LeaveOneOut()),
        (Ratio(), Terminal(), ImportanceWeights()),
    ],
)
def test_the_generator_s_loss_has_no_gradient_in_discriminator_or_values(
    reward: DiscriminatorReward, credit: CreditSettings, baseline: BaselineSettings
) -> None:
    policy, table = TabularGenerator.toy(), TabularDiscriminator.toy()
    values = torch.rand(3, requires_grad=True)
    # Logits straight from the network, gradient and all, where the hot loop would have a frozen scorer.
    logits = table(SEQUENCES, MASK)
    assert logits.requires_grad
    weights = weights_of(SEQUENCES, logits, reward, credit, baseline, action_values=values)
    weighted_nll(policy.logprobs(SEQUENCES), weights).backward()
    assert table.table.grad is None and values.grad is None
    assert policy.table.grad is not None and bool((policy.table.grad != 0).any())


# --------------------------------------------------------------------------------------------------- mask

ENDING = SequenceSpace(5, 6, end_id=2)


def test_what_stands_after_the_terminator_changes_no_loss_and_no_logit() -> None:
    torch.manual_seed(0)
    generator: Generator = LSTMGenerator(LSTM(embedding=4, hidden=5, init_std=1.0), SequenceSpace(5, 1)).eval()
    judge = CnnHighwayDiscriminator(CnnHighway(embedding=3, windows=(1, 2, 4), filters=(2, 3, 2)), 5).eval()
    tokens = random_sequences(ENDING, 12, seed=0)
    mask = sequence_mask(ENDING, tokens)
    littered = torch.where(mask, tokens, torch.full_like(tokens, 4))
    assert not torch.equal(littered, tokens) and torch.equal(sequence_mask(ENDING, littered), mask)
    is_real = torch.arange(12) < 6

    seen = []
    for rows in (tokens, littered):
        real_logits = judge(rows, mask)
        discriminator_loss = cross_entropy(real_logits, is_real)
        discriminator_gradient = torch.autograd.grad(discriminator_loss, judge.kernels[0])[0]
        rollouts = Rollouts(
            rows, generator.logprobs(rows).detach(), mask, judge.scorer()(rows, mask), *3 * [None], 0, 0, 0, 0
        )
        axes = recipe(baseline=LeaveOneOut(), objective=Reinforce())
        formed = learnable(rollouts, axes, Memory(), TASK, torch.Generator())
        loss = weighted_nll(generator.logprobs(rows), formed.experience.weights)
        nll = weighted_nll(generator.logprobs(rows), likelihood_weights(mask))
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad(one, list(generator.parameters()))])
            for one in (loss, nll)
        ]
        seen.append(
            [
                real_logits,
                rollouts.real_logits,
                discriminator_loss,
                discriminator_gradient,
                formed.experience.weights,
                torch.tensor(list(formed.metrics.values())),
                loss,
                nll,
                *gradients,
            ]
        )
    for clean, dirty in zip(*seen, strict=True):
        assert torch.equal(clean, dirty)


# -------------------------------------------------------------------------------------- U4, baseline invariance


@pytest.mark.parametrize("constant", [-3.0, 0.5, 10.0])
def test_a_constant_baseline_leaves_the_expected_gradient_alone(constant: float) -> None:
    policy = TabularGenerator.toy(DOUBLE)
    plain = expected_gradient(policy, weights_of(SEQUENCES, FIXED_LOGITS))
    shifted = expected_gradient(policy, weights_of(SEQUENCES, FIXED_LOGITS, baseline=ConstantBaseline(value=constant)))
    torch.testing.assert_close(shifted, plain, atol=1e-8, rtol=0)


def test_leave_one_out_is_unbiased_over_all_pairs() -> None:
    policy = TabularGenerator.toy(DOUBLE)
    probs, scores = policy_probs(policy).detach(), gradient_per_sequence(policy, torch.ones(9, 2, dtype=DOUBLE))
    mean = torch.zeros(4, 3, dtype=DOUBLE)
    for pair in torch.cartesian_prod(torch.arange(9), torch.arange(9)):
        weights = weights_of(SEQUENCES[pair], FIXED_LOGITS[pair], baseline=LeaveOneOut(), normaliser="sequence")
        mean += probs[pair].prod() * (weights[:, :1].unsqueeze(2) * scores[pair]).sum(0)
    torch.testing.assert_close(mean, exact_gradient_of_j(policy), atol=1e-8, rtol=0)


@pytest.mark.parametrize("constant", [7.0, -8.0])
@pytest.mark.parametrize("space", [SequenceSpace(3, 4), SequenceSpace(3, 4, end_id=1)], ids=["fixed", "ending early"])
def test_leave_one_out_leaves_every_sampled_gradient_alone(space: SequenceSpace, constant: float) -> None:
    policy = TabularGenerator(space)
    tokens = random_sequences(space, 16, seed=0)
    mask = sequence_mask(space, tokens)
    assert space.end_id is None or len(set(mask.sum(1).tolist())) > 2
    rewards = torch.rand(16, generator=torch.Generator().manual_seed(1))
    gradients = []
    for shift in (0.0, constant):
        # A critic's score has no origin. The reward map is the identity, for a shifted D would leave (0, 1).
        rollouts = Rollouts(tokens, torch.zeros(16, 4), mask, rewards + shift, None, None, None, 0, 0, 0, 0)
        axes = recipe(reward=Logit(), baseline=LeaveOneOut(), objective=Reinforce())
        formed = learnable(rollouts, axes, Memory(), TASK, torch.Generator())
        gradients.append(gradient(policy, weighted_nll(policy.logprobs(tokens), formed.experience.weights)))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------ variance

ESTIMATORS = [
    pytest.param(Terminal(), NoBaseline(), 0.428620, id="terminal"),
    pytest.param(MonteCarlo(num_rollouts=1), NoBaseline(), 0.411880, id="per step"),
    pytest.param(Terminal(), ConstantBaseline(value=J), 0.034647, id="terminal less J"),
    pytest.param(MonteCarlo(num_rollouts=1), ConstantBaseline(value=J), 0.017907, id="per step less J"),
]


@pytest.mark.parametrize(("credit", "baseline", "variance"), ESTIMATORS)
def test_exact_variance_of_the_gradient_of_one_sequence(
    credit: CreditSettings, baseline: BaselineSettings, variance: float
) -> None:
    policy = TabularGenerator.toy(DOUBLE)
    probs = policy_probs(policy).detach()
    rows = gradient_per_sequence(
        policy, weights_of(SEQUENCES, FIXED_LOGITS, credit=credit, baseline=baseline, action_values=Q)
    ).flatten(1)
    mean = (probs.unsqueeze(1) * rows).sum(0)
    found = float((probs * rows.square().sum(1)).sum() - mean.square().sum())
    assert found == pytest.approx(variance, abs=2e-6)


def sampled(policy: TabularGenerator, number: int) -> Rollouts:
    """TOY sequences by the sampler, scored by the fixed table."""
    plan = RolloutPlan(space=TOY_SPACE, credit=Terminal(), chunk_rows=10_000)
    shard = Shard(number, seed=0, generator_version=0, rollout_version=None, discriminator_version=0)
    return collect(plan, shard, policy.stepper(), None, TabularDiscriminator.toy().scorer())


@pytest.mark.parametrize(("credit", "baseline", "variance"), ESTIMATORS)
def test_variance_of_the_gradient_of_sampled_sequences(
    credit: CreditSettings, baseline: BaselineSettings, variance: float
) -> None:
    # The baseline buys 12 times, the per-step credit 2 times.
    policy = TabularGenerator.toy()
    rollouts = sampled(policy, 100_000)
    weights = weights_of(
        rollouts.tokens, rollouts.real_logits, credit=credit, baseline=baseline, action_values=Q.float()
    )
    # ∇ log softmax = one-hot - probabilities, in the rows of the first token and of the second given the first.
    probs = policy.table.detach().softmax(1)
    first, second = rollouts.tokens.T
    rows = torch.zeros(100_000, 4, 3)
    rows[:, 0] = weights[:, :1] * (torch.nn.functional.one_hot(first, 3) - probs[0])
    rows[torch.arange(100_000), 1 + first] = weights[:, 1:] * (
        torch.nn.functional.one_hot(second, 3) - probs[1 + first]
    )
    assert float(rows.flatten(1).var(0).sum()) == pytest.approx(variance, rel=0.03)
    torch.testing.assert_close(rows.mean(0), GRADIENT_OF_J.float(), atol=4 * (variance / 100_000) ** 0.5, rtol=0)


# ----------------------------------------------------------------------------------- U6, optimal discriminator


def test_a_discriminator_trained_to_the_end_reaches_its_optimum_and_its_loss() -> None:
    # The sum of both class means at D* is 2 log 2 - 2 JS = 1.233086 nats. Ours is the mean over a balanced minibatch,
    # as in the released SeqGAN code: half of that.
    policy, table = TabularGenerator.toy(DOUBLE), TabularDiscriminator(TOY_SPACE, torch.zeros(9, dtype=DOUBLE))
    fake_probs = policy_probs(policy).detach()
    optimizer = torch.optim.LBFGS(table.parameters(), max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def expected_loss() -> Tensor:
        logits = table(SEQUENCES, MASK)
        pairs = [
            real * cross_entropy(logits[i : i + 1], torch.tensor([True]))
            + fake * cross_entropy(logits[i : i + 1], torch.tensor([False]))
            for i, (real, fake) in enumerate(zip(REAL_PROBS, fake_probs, strict=True))
        ]
        return torch.stack(pairs).sum() / 2

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = expected_loss()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert 2 * float(expected_loss().detach()) == pytest.approx(1.233086, abs=1e-6)
    torch.testing.assert_close(table.table.detach(), best_logits(policy), atol=1e-4, rtol=0)
