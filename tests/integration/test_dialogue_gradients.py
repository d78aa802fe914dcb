"""Dialogue's gradients where each sequence answers to a condition, by enumeration of all pairs; what a batch costs.

docs/algorithms.md §14. The policy is a table of logits for every condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlgan.adversary.minibatches import Pairs, one_prefix_each
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.discriminators import HierarchicalLSTM
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, TransductionTask, build_task
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Seq2SeqLSTM, build_generator
from rlgan.layers.optimizers import Adam
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import CreditSettings, MonteCarlo, Prefix, Terminal
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.loss_terms import weighted_nll
from rlgan.policy.objectives import Reinforce
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing
from rlgan.presets.registry import preset
from rlgan.rollouts.collecting import RolloutPlan, Shard, prefix_logits
from rlgan.sampling.records import Experience, Rollouts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.recipes import recipe
from tests.support.steppers import collect
from tests.support.tabular import TabularGenerator
from tests.support.tiny import Recorder, of_pairs

pytestmark = pytest.mark.integration

DOUBLE = torch.float64
TASK = build_task(TransductionTask(vocab_size=3, max_length=3, ends=True, num_train=64, num_valid=32, num_test=8))
SPACE = TASK.space
SEQUENCES = all_sequences(SPACE)
CONDITIONS = torch.tensor([[1, 0, 0], [2, 1, 0]])
CONDITION_PROBS = torch.tensor([0.3, 0.7], dtype=DOUBLE)
NUMBER = len(SEQUENCES)
# All pairs: every sequence under the first condition, then under the second.
TOKENS, GIVEN = SEQUENCES.repeat(2, 1), CONDITIONS.repeat_interleave(NUMBER, 0)
MASK = sequence_mask(SPACE, TOKENS)


class World:
    """A policy and a discriminator of two conditions, as tables."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(0)
        self.table = torch.randn(2, 13, 3, generator=rng, dtype=DOUBLE, requires_grad=True)
        self.real_logits = torch.randn(2 * NUMBER, generator=rng, dtype=DOUBLE)

    def logprobs(self) -> Tensor:
        """Of all pairs' tokens, (2n, T), 0 behind the terminator."""
        rows = [
            torch.func.functional_call(TabularGenerator(SPACE, one.detach()), {"table": one}, (shifted(SEQUENCES),))
            for one in self.table
        ]
        found = torch.cat(rows).log_softmax(2).gather(2, TOKENS.unsqueeze(2)).squeeze(2)
        return found.masked_fill(~MASK, 0.0)

    def probs(self) -> Tensor:
        """Of all pairs, (2n,)."""
        return self.logprobs().sum(1).exp() * CONDITION_PROBS.repeat_interleave(NUMBER)

    def gradient_of_j(self) -> Tensor:
        """∇ Σ_c p(c) Σ_y p_θ(y|c) D(c, y)."""
        (found,) = torch.autograd.grad((self.probs() * self.real_logits.sigmoid()).sum(), self.table)
        return found

    def prefix_values(self) -> Tensor:
        """Q(c, y_{1:t}) of all pairs, (2n, T), by summing over what begins alike."""
        probs, rewards = self.probs().detach(), self.real_logits.sigmoid()
        values = torch.zeros(TOKENS.shape, dtype=DOUBLE)
        for pair, position in MASK.nonzero().tolist():
            alike = (TOKENS[:, : position + 1] == TOKENS[pair, : position + 1]).all(1)
            alike &= (GIVEN[pair] == GIVEN).all(1)
            values[pair, position] = (probs * rewards)[alike].sum() / probs[alike].sum()
        return values


def shifted(tokens: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)


def judge_of(values: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A discriminator that is right about every prefix under every condition."""
    known = {
        (tuple(GIVEN[pair].tolist()), tuple(TOKENS[pair, : position + 1].tolist())): values[pair, position]
        for pair, position in MASK.nonzero().tolist()
    }

    def judge(tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        rows = zip(tokens.tolist(), mask.sum(1).tolist(), conditions.tolist(), strict=True)
        verdicts = torch.stack([known[tuple(given), tuple(row[:length])] for row, length, given in rows])
        return verdicts.logit().float()

    return judge


def expected_gradient(world: World, rollouts: Rollouts, credit: CreditSettings) -> Tensor:
    axes = recipe(credit=credit, objective=Reinforce(loss_normaliser="sum"))
    weights = learnable(rollouts, axes, Memory(), TASK, torch.Generator()).experience.weights
    loss = weighted_nll(world.logprobs(), world.probs().detach().unsqueeze(1) * weights)
    (found,) = torch.autograd.grad(-loss, world.table)
    return found


def rollouts_of(tokens: Tensor, conditions: Tensor, real_logits: Tensor | None, **judged: Tensor) -> Rollouts:
    empty = {"token_logits": None, "continuation_logits": None, "reference_logprobs": None}
    return Rollouts(
        tokens=tokens,
        logprobs=torch.zeros(tokens.shape, dtype=DOUBLE),
        mask=sequence_mask(SPACE, tokens),
        real_logits=real_logits,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
        conditions=conditions,
        **(empty | judged),
    )


# ------------------------------------------------------------------------------------- exact gradients


def test_the_world_is_a_distribution_of_each_condition() -> None:
    probs = World().probs().view(2, NUMBER).sum(1)
    torch.testing.assert_close(probs, CONDITION_PROBS)


def test_whole_responses_give_the_gradient_of_the_expected_verdict() -> None:
    world = World()
    found = expected_gradient(world, rollouts_of(TOKENS, GIVEN, world.real_logits), Terminal())
    torch.testing.assert_close(found, world.gradient_of_j(), atol=1e-8, rtol=0)


def test_completions_that_are_worth_exactly_q_give_the_same() -> None:
    world = World()
    # At the last token nothing is completed: there the sequence's own verdict is read, and not what stands here.
    is_last = torch.arange(3) == MASK.sum(1, keepdim=True) - 1
    exact = torch.where(MASK & ~is_last, world.prefix_values().logit(), 9.0)
    rollouts = rollouts_of(TOKENS, GIVEN, world.real_logits, continuation_logits=exact.unsqueeze(2))
    found = expected_gradient(world, rollouts, MonteCarlo(num_rollouts=1))
    torch.testing.assert_close(found, world.gradient_of_j(), atol=1e-8, rtol=0)


def test_a_discriminator_that_is_right_about_prefixes_gives_the_same() -> None:
    world = World()
    values = world.prefix_values()
    judged = prefix_logits(TOKENS, MASK, judge_of(values), 0, GIVEN)
    # Verdicts are kept in float32; the arithmetic behind them is exact.
    exact = torch.where(MASK, values.logit(), 0.0)
    for logits, tolerance in ((judged, 1e-6), (exact, 1e-8)):
        found = expected_gradient(world, rollouts_of(TOKENS, GIVEN, world.real_logits, token_logits=logits), Prefix())
        torch.testing.assert_close(found, world.gradient_of_j(), atol=tolerance, rtol=0)
    # What is judged under the other condition is another gradient.
    other = prefix_logits(TOKENS, MASK, judge_of(values), 0, GIVEN.flip(0))
    wrong = expected_gradient(world, rollouts_of(TOKENS, GIVEN, world.real_logits, token_logits=other), Prefix())
    assert float((wrong - world.gradient_of_j()).abs().max()) > 1e-3


# -------------------------------------------------------------------------------------- one prefix each


def test_a_hundred_thousand_prefixes_are_of_every_length_alike_often() -> None:
    longest = 7
    mask = torch.ones(100_000, longest, dtype=torch.bool)
    lengths = one_prefix_each(mask, torch.Generator().manual_seed(1)).sum(1)
    shares = torch.bincount(lengths, minlength=longest + 1)[1:] / 100_000
    deviation = (1 / longest * (1 - 1 / longest) / 100_000) ** 0.5
    torch.testing.assert_close(shares, torch.full((longest,), 1 / longest), atol=4 * deviation, rtol=0)


def test_of_each_pair_a_minibatch_holds_one_prefix_under_its_own_condition() -> None:
    given = SequenceSpace(12, 3, end_id=0)
    space = SequenceSpace(9, 5, end_id=0, condition=given)
    # Which pair it is can be read off the condition, all of which differ, and off the first token.
    conditions = torch.tensor(list(itertools.product(range(1, 12), range(1, 12))))[:60]
    conditions = torch.cat([conditions, torch.zeros(60, 1, dtype=torch.int64)], 1)
    tokens = random_sequences(space, 60, seed=2)
    tokens[:, 0] = 1 + torch.arange(60) % 8
    reals, fakes = Pairs(tokens[:40], conditions[:40]), Pairs(tokens[40:], conditions[40:])
    judge = Adversary(
        HierarchicalLSTM(embedding=4, hidden=4, dropout=0.0),
        AdversarySettings(batch=20, sequences_per_round=20),
        Adam(lr=0.01),
        space,
        reals,
        reals,
        seed=0,
        learns_prefixes=True,
    )
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    score = judge.network.member_logits

    def watched(shown: Tensor, mask: Tensor, given: Tensor | None) -> Tensor:
        assert given is not None
        seen.append((shown, mask, given))
        return score(shown, mask, given)

    judge.network.member_logits = watched  # type: ignore[method-assign]
    judge.train_round(Round(0, fakes.tokens, epochs=3, conditions=fakes.conditions))
    place = {tuple(row): index for index, row in enumerate(conditions.tolist())}
    lengths = set()
    for shown, mask, conditions_shown in seen:
        pairs = [place[tuple(row)] for row in conditions_shown.tolist()]
        assert len(set(pairs)) == len(pairs) == 20
        assert torch.equal(shown, tokens[pairs])
        lengths |= set(mask.sum(1).tolist())
    assert len(seen) == 6 and len(lengths) > 2


# ------------------------------------------------------------------------------ the human response


def test_teacher_forcing_is_a_policy_gradient_of_advantage_one_on_the_real_pair() -> None:
    recorder = Recorder()
    config = of_pairs({"mle_epochs": 0, "teacher_forcing": InterleavedTeacherForcing()})
    task: Task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        trainer.step(measure=False)
        trainer.step(measure=False)
    taught = [rows for phase, rows, _ in recorder.updates if phase == "adversarial"][-1]
    assert taught.conditions is not None
    axes = recipe(reward=ConstantReward(), credit=Terminal(), objective=Reinforce(loss_normaliser="token"))
    rollouts = rollouts_of(taught.tokens, taught.conditions, None)
    paid = learnable(rollouts, axes, Memory(), task, torch.Generator()).experience
    torch.manual_seed(0)
    generator = build_generator(Seq2SeqLSTM(embedding=4, hidden=6), task.space).eval().double()

    def gradient(rows: Experience) -> list[Tensor]:
        loss = weighted_nll(generator.conditional(rows.conditions).logprobs(rows.tokens), rows.weights.double())
        return list(torch.autograd.grad(loss, list(generator.parameters())))

    real, rewarded = gradient(taught), gradient(paid)
    assert max(float(part.abs().max()) for part in real) > 1e-3
    for one, other in zip(real, rewarded, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=0)


# ----------------------------------------------------------------------------------------------- what it costs

LENGTH, BATCH = 20, 4
LONG = SequenceSpace(6, LENGTH, condition=SequenceSpace(6, 3))


def cost_of_a_batch(name: str) -> tuple[int, int]:
    """Tokens drawn and rows judged for a batch of a preset, a sequence."""
    credit = preset(name).credit
    torch.manual_seed(0)
    policy = build_generator(Seq2SeqLSTM(embedding=4, hidden=6), LONG).eval().stepper()
    judged = 0

    def judge(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        nonlocal judged
        judged += len(tokens)
        return torch.zeros(len(tokens))

    shard = Shard(BATCH, 0, 0, 0, 0, conditions=random_sequences(SequenceSpace(6, 3), BATCH, seed=0))
    continued = policy if isinstance(credit, MonteCarlo) else None
    rollouts = collect(RolloutPlan(LONG, credit, 256), shard, policy, continued, judge)
    assert rollouts.num_drawn % BATCH == judged % BATCH == 0
    return rollouts.num_drawn // BATCH, judged // BATCH


def test_judging_prefixes_costs_no_more_drawing_and_less_than_a_quarter_of_the_search() -> None:
    costs = {name: cost_of_a_batch(name) for name in ("dialogue_reinforce", "regs", "regs_prefix")}
    # T; T and 5 completions of each of the first T-1 prefixes, of T-1, T-2 … 1 tokens; T.
    assert [drawn for drawn, _ in costs.values()] == [20, 20 + 5 * 190, 20]
    # The response; and 5 completions of 19 prefixes; the response and its 20 prefixes.
    assert [judged for _, judged in costs.values()] == [1, 1 + 5 * 19, 1 + 20]
    assert all(4 * prefix < search for prefix, search in zip(costs["regs_prefix"], costs["regs"], strict=True))


def test_an_update_with_prefixes_is_within_twice_one_with_whole_responses() -> None:
    # Rows that D reads in a unit, a sequence of the batch: those judged, and those learned from, which are read thrice
    # (backward is twice forward). Steps of the generator are the same.
    def rows(name: str) -> float:
        config = preset(name)
        learned = config.schedule.d_steps * config.schedule.d_epochs * 2 * config.adversary.sequences_per_round
        return cost_of_a_batch(name)[1] + 3 * learned / config.schedule.g_batch

    assert [rows(name) for name in ("dialogue_reinforce", "regs_prefix")] == [31.0, 51.0]
    assert rows("regs_prefix") < 2 * rows("dialogue_reinforce")
