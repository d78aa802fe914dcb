"""A shard of rollouts: exact values of prefixes by enumeration, the slow twin, and that a shard is a pure function."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from rlgan.base.weights import weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Generator, LSTMGenerator, build_generator
from rlgan.metrics import reference_bleu, reference_rouge_l
from rlgan.policy.credit import CreditSettings, MonteCarlo, Prefix, Terminal, monte_carlo_values
from rlgan.policy.experience import token_values
from rlgan.policy.logit_maps import Probability
from rlgan.policy.metric_rewards import BesideTargets, ReferenceBleu, ReferenceRouge
from rlgan.policy.reward_base import Finished, Scored
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling.records import Rollouts, concatenate
from rlgan.workers.rollout import LocalRollouts, RolloutWorker
from tests.support import reference
from tests.support.steppers import collect, monte_carlo_search
from tests.support.tabular import TOY_SPACE, TabularDiscriminator, TabularGenerator

ENDING = SequenceSpace(4, 5, end_id=2)
SHARD = Shard(num_sequences=6, seed=7, generator_version=3, rollout_version=4, discriminator_version=5)


def plan(
    space: SequenceSpace,
    num_rollouts: int | None = 3,
    chunk_rows: int = 256,
) -> RolloutPlan:
    credit: CreditSettings = Terminal() if num_rollouts is None else MonteCarlo(num_rollouts=num_rollouts)
    return RolloutPlan(space=space, credit=credit, chunk_rows=chunk_rows)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lstm(vocab_size: int) -> LSTMGenerator:
    torch.manual_seed(vocab_size)
    return LSTMGenerator(LSTM(embedding=4, hidden=5, init_std=1.0), SequenceSpace(vocab_size, 1)).eval()


def discriminator(space: SequenceSpace) -> TabularDiscriminator:
    return TabularDiscriminator(space, torch.randn(space.vocab_size**space.max_length, generator=rng(9)))


# --------------------------------------------------------------------------------------------- exact values


def toy_search(num_rollouts: int, tokens: Tensor, seed: int = 0) -> Tensor:
    """Rewards D of continuations in the TOY world."""
    policy, scorer = TabularGenerator.toy().stepper(), TabularDiscriminator.toy().scorer()
    search = monte_carlo_search(plan(TOY_SPACE, num_rollouts, chunk_rows=10**6), tokens, policy, scorer, rng(seed))
    return torch.sigmoid(search.logits)


TOY_Q = torch.tensor([0.631008, 0.505547, 0.530027])
TOY_VARIANCE = torch.tensor([0.021674, 0.022285, 0.033047])


def test_mean_of_ten_thousand_continuations_is_the_action_value() -> None:
    # The second tokens are there to be ignored.
    rewards = toy_search(10_000, torch.tensor([[0, 2], [1, 0], [2, 1]]))
    assert rewards.shape == (3, 2, 10_000)
    error = (rewards[:, 0].mean(1) - TOY_Q).abs()
    assert bool((error < 4 * (TOY_VARIANCE / 10_000).sqrt()).all()), error
    assert float((4 * (TOY_VARIANCE / 10_000).sqrt()).max()) < 4 * 0.00182
    # Var[D | y1]; by exact fourth moments a sample variance of 10⁴ draws has a standard deviation below 1.1 %.
    torch.testing.assert_close(rewards[:, 0].var(1), TOY_VARIANCE, rtol=4 * 0.011, atol=0)


def test_variance_of_the_estimate_falls_as_one_over_n() -> None:
    # 3,000 estimates of each Q with N = 4: their variance is Var/4, known to √(2/3000) = 2.6 %.
    tokens = torch.tensor([[0, 2], [1, 0], [2, 1]]).repeat_interleave(3_000, dim=0)
    estimates = toy_search(4, tokens)[:, 0].mean(1).view(3, 3_000)
    torch.testing.assert_close(estimates.var(1), TOY_VARIANCE / 4, rtol=4 * 0.026, atol=0)


@pytest.mark.parametrize("num_rollouts", [1, 5])
def test_the_last_token_is_worth_the_sequence_itself_exactly(num_rollouts: int) -> None:
    space, policy, scorer = ENDING, lstm(4).stepper(), discriminator(ENDING).scorer()
    rollouts = collect(plan(space, num_rollouts), SHARD, policy, policy, scorer)
    values = token_values(rollouts, Probability(), MonteCarlo(num_rollouts=num_rollouts), None, rng())
    last = rollouts.mask.sum(1) - 1
    assert len(set(last.tolist())) > 1
    expected = torch.sigmoid(scorer(rollouts.tokens, rollouts.mask))
    assert torch.equal(values[torch.arange(6), last], expected)


def test_deterministic_policy_gives_every_prefix_the_value_of_the_sequence() -> None:
    tokens = torch.tensor([[1, 0, 3, 2, 2]])
    policy, scorer = TabularGenerator.deterministic(ENDING, tokens[0]).stepper(), discriminator(ENDING).scorer()
    rollouts = collect(plan(ENDING, 3), SHARD, policy, policy, scorer)
    assert torch.equal(rollouts.tokens, tokens.expand(6, 5))
    values = token_values(rollouts, Probability(), MonteCarlo(num_rollouts=3), None, rng())
    reward = torch.sigmoid(scorer(tokens, sequence_mask(ENDING, tokens)))
    torch.testing.assert_close(values, reward * rollouts.mask)


@torch.no_grad()
def exact_values(generator: Generator, space: SequenceSpace, table: TabularDiscriminator, tokens: Tensor) -> Tensor:
    """(2, B, T): mean and variance of D over the completions of each prefix, by enumeration."""
    sequences = all_sequences(space)
    mask = sequence_mask(space, sequences)
    probs = generator.logprobs(sequences).double().masked_fill(~mask, 0.0).sum(1).exp()
    rewards = torch.sigmoid(table(sequences, mask)).double()
    result = torch.zeros(2, *tokens.shape, dtype=torch.float64)
    for b, length in enumerate(sequence_mask(space, tokens).sum(1).tolist()):
        for t in range(length):
            agrees = (sequences[:, : t + 1] == tokens[b, : t + 1]).all(1)
            distribution = probs[agrees] / probs[agrees].sum()
            mean = float((distribution * rewards[agrees]).sum())
            result[0, b, t], result[1, b, t] = mean, float((distribution * (rewards[agrees] - mean).square()).sum())
    return result


@pytest.mark.parametrize("space", [ENDING, SequenceSpace(4, 5)], ids=["ending early", "fixed length"])
def test_fast_search_and_slow_twin_both_estimate_the_exact_values(space: SequenceSpace) -> None:
    generator, table = lstm(4), discriminator(space)
    tokens = torch.tensor([[1, 0, 3, 2, 2], [3, 2, 2, 2, 2], [0, 1, 1, 3, 0]])
    mask = sequence_mask(space, tokens)
    mean, variance = exact_values(generator, space, table, tokens)

    slow = reference.monte_carlo_search(generator, table.scorer(), space, tokens, 60, rng(1))
    fast_logits = monte_carlo_search(plan(space, 3_000), tokens, generator.stepper(), table.scorer(), rng(2)).logits
    fast = monte_carlo_values(torch.sigmoid(fast_logits), torch.sigmoid(table(tokens, mask)), mask)
    for estimate, number in ((slow, 60), (fast, 3_000)):
        error = (estimate - mean).abs()[mask]
        assert bool((error < 4 * (variance[mask] / number).sqrt() + 1e-6).all()), error
        assert bool((estimate[~mask] == 0).all())


# -------------------------------------------------------------------------------------------- the whole shard


def shard_of(shard: Shard = SHARD, space: SequenceSpace = ENDING, chunk_rows: int = 256) -> Rollouts:
    policy = lstm(4).stepper()
    return collect(plan(space, 3, chunk_rows), shard, policy, policy, discriminator(space).scorer())


def test_continuation_logits_are_zero_at_and_after_the_last_real_token() -> None:
    rollouts = shard_of()
    proper = torch.arange(5) < rollouts.mask.sum(1, keepdim=True) - 1
    assert rollouts.continuation_logits is not None and rollouts.continuation_logits.shape == (6, 5, 3)
    assert bool((rollouts.continuation_logits[~proper] == 0).all())
    assert bool((rollouts.continuation_logits[proper] != 0).all())


def test_search_scores_each_continuation_once_and_each_sequence_once() -> None:
    # N·Σ(length - 1) + B, where the paper's own cost for fixed length is (N·(T-1) + 1)·B.
    policy, scorer = lstm(4).stepper(), discriminator(ENDING).scorer()
    rollouts = collect(plan(ENDING, 3), SHARD, policy, policy, scorer)
    assert scorer.num_scored == 3 * int((rollouts.mask.sum(1) - 1).sum()) + 6


def test_record_holds_samples_their_logits_and_the_versions() -> None:
    generator, table = lstm(4), discriminator(ENDING)
    rollouts = shard_of()
    assert torch.equal(rollouts.mask, sequence_mask(ENDING, rollouts.tokens))
    with torch.no_grad():
        assert torch.equal(rollouts.real_logits, table(rollouts.tokens, rollouts.mask))
        expected = generator.logprobs(rollouts.tokens)
    torch.testing.assert_close(rollouts.logprobs[rollouts.mask], expected[rollouts.mask], atol=1e-5, rtol=0)
    assert (rollouts.generator_version, rollouts.discriminator_version) == (3, 5)


def test_prefixes_are_continued_by_the_rollout_policy_and_not_by_the_sampler() -> None:
    # Sampled by an LSTM, continued by one that always says token 0 until the horizon.
    space = SequenceSpace(4, 5)
    zeros = TabularGenerator.deterministic(space, torch.zeros(5, dtype=torch.int64))
    table = discriminator(space)
    rollouts = collect(plan(space, 2), SHARD, lstm(4).stepper(), zeros.stepper(), table.scorer())
    assert torch.equal(rollouts.tokens, collect(plan(space, None), SHARD, lstm(4).stepper(), None, None).tokens)
    for t in range(4):
        completed = rollouts.tokens.clone()
        completed[:, t + 1 :] = 0
        expected = table(completed, rollouts.mask).detach()
        torch.testing.assert_close(rollouts.continuation_logits[:, t], expected.unsqueeze(1).expand(6, 2))


def test_continuations_are_scored_with_the_mask_of_their_own_end() -> None:
    def length(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        assert torch.equal(mask, sequence_mask(ENDING, tokens))
        return mask.sum(1).float()

    # Token 1 until the horizon, but the terminator after two of them.
    policy = TabularGenerator.deterministic(ENDING, torch.tensor([1, 1, 2, 2, 2])).stepper()
    search = monte_carlo_search(plan(ENDING, 2), torch.tensor([[1, 1, 1, 1, 2]]), policy, length, rng())
    # After 1 and 1 1 comes the terminator: length 3; after 1 1 1 and 1 1 1 1 token 0 until the horizon: 5.
    assert search.logits[0].tolist() == [[3.0, 3.0], [3.0, 3.0], [5.0, 5.0], [5.0, 5.0], [0.0, 0.0]]
    assert search.num_drawn == 2 * ((3 - 1) + (3 - 2) + (5 - 3) + (5 - 4))


def assert_equal_rollouts(one: Rollouts, other: Rollouts) -> None:
    for field in dataclasses.fields(Rollouts):
        found, expected = getattr(one, field.name), getattr(other, field.name)
        same = torch.equal(found, expected) if isinstance(found, Tensor) else found == expected
        assert same, field.name


def test_a_shard_is_a_function_of_its_seed_and_nothing_else() -> None:
    first = shard_of()
    torch.rand(13)
    assert_equal_rollouts(first, shard_of())
    assert not torch.equal(first.tokens, shard_of(dataclasses.replace(SHARD, seed=8)).tokens)


def test_without_discriminator_and_rollout_policy_a_shard_is_samples_alone() -> None:
    # The fakes of a discriminator round: the same sequences as with everything else.
    shard = dataclasses.replace(SHARD, rollout_version=None, discriminator_version=None)
    alone = collect(plan(ENDING, None), shard, lstm(4).stepper(), None, None)
    assert alone.real_logits is None and alone.continuation_logits is None and alone.discriminator_version is None
    assert torch.equal(alone.tokens, shard_of().tokens)
    assert alone.num_drawn == int(alone.mask.sum())


def test_every_drawn_token_is_counted() -> None:
    space = SequenceSpace(4, 5)
    policy, scorer = lstm(4).stepper(), discriminator(space).scorer()
    whole = collect(plan(space, 3), SHARD, policy, policy, scorer)
    # All have 5 tokens: 5 sampled, and 4 + 3 + 2 + 1 in each of 3 continuations of each prefix.
    assert whole.num_drawn == SHARD.num_sequences * (5 + 3 * 10)
    assert concatenate([whole, whole]).num_drawn == 2 * whole.num_drawn


def test_sequences_of_one_token_need_no_search() -> None:
    tokens = torch.full((3, 5), 2)
    search = monte_carlo_search(plan(ENDING, 4), tokens, lstm(4).stepper(), discriminator(ENDING).scorer(), rng())
    assert search.logits.shape == (3, 5, 4) and bool((search.logits == 0).all())
    assert search.num_drawn == 0


def test_any_chunk_size_scores_each_prefix_by_its_own_continuations() -> None:
    # With a one-hot policy every logit is known, so logits in the wrong place show.
    space = SequenceSpace(4, 5, end_id=2)
    tokens = random_sequences(space, 7, seed=3)
    zeros = TabularGenerator.deterministic(space, torch.zeros(5, dtype=torch.int64)).stepper()
    table = discriminator(space)
    for chunk_rows in (1, 4, 10**6):
        logits = monte_carlo_search(plan(space, 2, chunk_rows=chunk_rows), tokens, zeros, table.scorer(), rng()).logits
        for b, length in enumerate(sequence_mask(space, tokens).sum(1).tolist()):
            for t in range(length - 1):
                completed = tokens[b : b + 1].clone()
                completed[:, t + 1 :] = 0
                expected = table(completed, sequence_mask(space, completed)).detach()
                torch.testing.assert_close(logits[b, t], expected.expand(2))


def test_prefixes_are_judged_as_they_stand() -> None:
    digits = 10.0 ** torch.arange(5)

    def judge(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Writes down what it was shown, a digit a token."""
        return ((tokens + 1) * mask * digits).sum(1)

    rollouts = collect(RolloutPlan(ENDING, Prefix(), 256), SHARD, lstm(4).stepper(), None, judge)
    assert rollouts.continuation_logits is None
    expected = ((rollouts.tokens + 1) * rollouts.mask * digits).cumsum(1)
    assert torch.equal(rollouts.token_logits, expected * rollouts.mask)
    assert torch.equal(rollouts.real_logits, expected[:, -1])


def test_a_judge_of_tokens_leaves_sequences_unjudged() -> None:
    def judge(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        return tokens.float() + 1.0

    rollouts = collect(plan(ENDING, None), SHARD, lstm(4).stepper(), None, judge)
    assert rollouts.real_logits is None
    assert torch.equal(rollouts.token_logits, (rollouts.tokens + 1.0) * rollouts.mask)


def test_the_reference_says_how_likely_it_finds_the_samples() -> None:
    policy, other = lstm(4).stepper(), lstm(4)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    rollouts = collect(plan(ENDING, None), SHARD, policy, None, None, other)
    with torch.no_grad():
        expected = other.logprobs(rollouts.tokens) * rollouts.mask
    assert torch.equal(rollouts.reference_logprobs, expected)
    assert collect(plan(ENDING, None), SHARD, policy, None, None).reference_logprobs is None


def test_given_tokens_are_neither_continued_nor_judged() -> None:
    space = SequenceSpace(4, 5)
    policy, scorer = lstm(4).stepper(), discriminator(space).scorer()
    shard = dataclasses.replace(SHARD, prefixes=random_sequences(space, 6, seed=1)[:, :3])
    rollouts = collect(plan(space, 2), shard, policy, policy, scorer)
    assert torch.equal(rollouts.tokens[:, :3], shard.prefixes) and rollouts.prefix_length == 3
    # Two tokens of each sequence were drawn, and in each of two continuations of the fourth token the fifth.
    assert rollouts.num_drawn == 6 * (2 + 2)
    assert scorer.num_scored == 6 * (1 + 2)
    logits = rollouts.continuation_logits
    assert bool((logits[:, :3] == 0).all()) and bool((logits[:, 3] != 0).all()) and bool((logits[:, 4] == 0).all())
    judged = collect(
        RolloutPlan(space, Prefix(), 256),
        shard,
        policy,
        None,
        lambda tokens, mask, conditions=None: mask.sum(1).float(),
    )
    assert judged.token_logits.tolist() == [[0.0, 0.0, 0.0, 4.0, 5.0]] * 6


# -------------------------------------------------------------------------------------------------- beside targets

TARGETS = random_sequences(ENDING, 6, seed=11)
COMPARED = dataclasses.replace(SHARD, targets=TARGETS, is_rewarded=True)


def comparing(num_rollouts: int | None, metric: ReferenceBleu | ReferenceRouge) -> RolloutPlan:
    return dataclasses.replace(plan(ENDING, num_rollouts), score=BesideTargets(metric, ENDING))


def test_sequences_and_their_continuations_are_scored_beside_their_own_targets() -> None:
    # Continued by one that always says token 0 until the horizon, so that every continuation is known.
    zeros = TabularGenerator.deterministic(ENDING, torch.zeros(5, dtype=torch.int64)).stepper()
    found = collect(comparing(2, ReferenceBleu()), COMPARED, lstm(4).stepper(), zeros, None)
    assert torch.equal(found.scores, reference_bleu(ENDING, found.tokens, TARGETS))
    for t in range(5):
        completed = found.tokens.clone()
        completed[:, t + 1 :] = 0
        expected = reference_bleu(ENDING, completed, TARGETS)
        proper = t < found.mask.sum(1) - 1
        scores = found.continuation_scores[:, t]
        assert torch.equal(scores, torch.where(proper, expected, 0.0).unsqueeze(1).expand(6, 2))
    assert len(set(found.scores.tolist())) > 1
    rouge = collect(comparing(None, ReferenceRouge()), COMPARED, lstm(4).stepper(), None, None)
    assert torch.equal(rouge.scores, reference_rouge_l(ENDING, rouge.tokens, TARGETS))
    assert rouge.continuation_scores is None


def test_a_metric_draws_no_numbers_and_needs_no_discriminator() -> None:
    policy, scorer = lstm(4).stepper(), discriminator(ENDING).scorer()
    judged = collect(plan(ENDING, 3), SHARD, policy, policy, scorer)
    both = collect(comparing(3, ReferenceBleu()), COMPARED, policy, policy, scorer)
    alone = collect(comparing(3, ReferenceBleu()), COMPARED, policy, policy, None)
    for field in dataclasses.fields(Rollouts):
        found = getattr(both, field.name)
        if field.name in ("scores", "continuation_scores"):
            assert getattr(judged, field.name) is None and torch.equal(found, getattr(alone, field.name))
        elif field.name in ("real_logits", "continuation_logits"):
            assert getattr(alone, field.name) is None and torch.equal(found, getattr(judged, field.name))
        else:
            others = (getattr(judged, field.name), getattr(alone, field.name))
            same = (torch.equal(found, other) if isinstance(found, Tensor) else found == other for other in others)
            assert all(same), field.name


def test_a_shard_that_is_not_rewarded_is_not_scored() -> None:
    # Fakes for the discriminator, by the plan of a run whose reward compares.
    shard = dataclasses.replace(COMPARED, is_rewarded=False)
    found = collect(comparing(None, ReferenceBleu()), shard, lstm(4).stepper(), None, None)
    assert found.scores is None and found.continuation_scores is None


def test_scores_of_shards_are_joined_in_order() -> None:
    policy = lstm(4).stepper()
    shards = [
        collect(comparing(2, ReferenceBleu()), dataclasses.replace(COMPARED, seed=seed), policy, policy, None)
        for seed in (1, 2)
    ]
    whole = concatenate(shards)
    for name in ("scores", "continuation_scores"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(shard, name) for shard in shards]))


@dataclasses.dataclass
class Recorded:
    """Scores a sequence by its length and something random, and remembers what it was shown."""

    seen: list[Finished]

    def __call__(self, finished: Finished) -> Scored:
        self.seen.append(finished)
        lengths, noise = finished.mask.sum(1).float(), torch.rand(len(finished.tokens), generator=rng(finished.seed))
        return Scored(lengths + noise, torch.stack([lengths, noise], 1))


def test_any_scorer_sees_sequences_and_continuations_and_needs_no_targets() -> None:
    scorer, policy = Recorded([]), lstm(4).stepper()
    shard = dataclasses.replace(SHARD, is_rewarded=True)
    found = collect(dataclasses.replace(plan(ENDING, 2), score=scorer), shard, policy, policy, None)
    continued, drawn = scorer.seen  # prefixes are continued before sequences are scored
    assert torch.equal(drawn.tokens, found.tokens) and torch.equal(drawn.mask, found.mask) and drawn.targets is None
    assert drawn.seed != continued.seed
    assert torch.equal(found.score_parts.sum(1), found.scores)
    assert torch.equal(found.score_parts[:, 0], found.mask.sum(1).float())
    proper = torch.arange(5) < found.mask.sum(1, keepdim=True) - 1
    assert len(continued.tokens) == 2 * int(proper.sum())
    assert bool(((found.continuation_scores > 0).all(2) == proper).all())
    assert torch.equal(sequence_mask(ENDING, continued.tokens), continued.mask)


def test_what_is_random_in_scores_depends_on_the_shard_alone() -> None:
    policy, scored = lstm(4).stepper(), dataclasses.replace(plan(ENDING, 2), score=Recorded([]))

    def scores(seed: int) -> Tensor:
        shard = dataclasses.replace(SHARD, is_rewarded=True, seed=seed)
        return collect(scored, shard, policy, policy, None).scores

    assert torch.equal(scores(1), scores(1))
    assert set(scores(1).tolist()).isdisjoint(scores(2).tolist())


def test_parts_of_scores_are_joined_in_order() -> None:
    policy, scored = lstm(4).stepper(), dataclasses.replace(plan(ENDING, None), score=Recorded([]))
    shards = [
        collect(scored, dataclasses.replace(SHARD, is_rewarded=True, seed=seed), policy, None, None) for seed in (1, 2)
    ]
    assert torch.equal(concatenate(shards).score_parts, torch.cat([shard.score_parts for shard in shards]))


# --------------------------------------------------------------------------------------------- joining shards


def test_shards_are_joined_in_order() -> None:
    shards = [shard_of(dataclasses.replace(SHARD, seed=seed)) for seed in (1, 2, 3)]
    whole = concatenate(shards)
    for index, shard in enumerate(shards):
        rows = slice(6 * index, 6 * index + 6)
        for name in ("tokens", "logprobs", "mask", "real_logits", "continuation_logits"):
            assert torch.equal(getattr(whole, name)[rows], getattr(shard, name)), name
    assert (whole.generator_version, whole.discriminator_version) == (3, 5)


def test_shards_without_scores_are_joined_without_scores() -> None:
    policy, shard = lstm(4).stepper(), dataclasses.replace(SHARD, discriminator_version=None)
    whole = concatenate([collect(plan(ENDING, None), shard, policy, None, None)] * 2)
    assert whole.tokens.shape == (12, 5) and whole.real_logits is None and whole.continuation_logits is None


@pytest.mark.parametrize("field", ["generator_version", "discriminator_version"])
def test_shards_of_different_weights_are_refused(field: str) -> None:
    shards = [shard_of(), shard_of(dataclasses.replace(SHARD, **{field: 99}))]
    with pytest.raises(ValueError, match="different"):
        concatenate(shards)


def test_a_network_that_is_loaded_again_misses_no_weight() -> None:
    settings = LSTM(embedding=4, hidden=4)
    worker = RolloutWorker(plan(ENDING, None), settings, None)
    pool = LocalRollouts(worker)
    torch.manual_seed(1)
    first, second = (weights_of(build_generator(settings, ENDING), version) for version in (1, 1))
    before = pool.collect([SHARD], pool.publish(first))[0]
    del second.tensors["output.bias"]
    with pytest.raises(RuntimeError, match=r"output\.bias"):
        pool.collect([SHARD], pool.publish(second))
    # What was there is not half of another.
    assert torch.equal(pool.collect([SHARD], pool.publish(first))[0].logprobs, before.logprobs)
