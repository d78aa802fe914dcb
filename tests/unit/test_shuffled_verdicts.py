"""Logits that are dealt out at random: what stays, what moves, and that nothing is told by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.baselines import GroupMean
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.logit_maps import Logit
from rlgan.policy.shuffled_verdicts import dealt_out, with_shuffled_verdicts
from rlgan.sampling.records import Rollouts
from tests.support.recipes import recipe

LENGTHS = torch.tensor([1, 3, 2, 3, 3, 2])
MASK = torch.arange(3) < LENGTHS.unsqueeze(1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rollouts() -> Rollouts:
    values = torch.arange(18.0).view(6, 3) + 1.0
    return Rollouts(
        tokens=torch.ones(6, 3, dtype=torch.int64),
        logprobs=-torch.ones(6, 3).masked_fill(~MASK, 0.0),
        mask=MASK,
        real_logits=torch.arange(6.0),
        token_logits=values.masked_fill(~MASK, 0.0),
        continuation_logits=torch.arange(36.0).view(6, 3, 2),
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
        scores=torch.arange(6.0),
    )


def test_every_way_of_dealing_is_equally_likely() -> None:
    # Two groups of three: 6 orders each, 36 together, independent of each other.
    generator, counts = rng(), torch.zeros(36)
    for _ in range(3_600):
        out = dealt_out(torch.arange(6.0), torch.ones(6, dtype=torch.bool), 3, generator)
        assert out[:3].sort().values.tolist() == [0, 1, 2] and out[3:].sort().values.tolist() == [3, 4, 5]
        first, second = (int(one[0]) * 2 + int(one[1] > one[2]) for one in (out[:3], out[3:] - 3))
        counts[first * 6 + second] += 1
    # 100 of each, with a standard deviation of 10: χ² of 35 degrees of freedom is below 80 in all but 2 of 100,000.
    assert float(((counts - 100) ** 2 / 100).sum()) < 80


@pytest.mark.parametrize("group", [None, 3])
def test_each_position_is_dealt_out_among_those_who_have_it(group: int | None) -> None:
    before, size = rollouts(), group or 6
    after = with_shuffled_verdicts(before, group, rng())
    for name in ("tokens", "logprobs", "mask", "scores"):
        assert getattr(after, name) is getattr(before, name)
    continued = torch.arange(3) < LENGTHS.unsqueeze(1) - 1
    there = {"real_logits": None, "token_logits": MASK, "continuation_logits": continued}
    for name, where in there.items():
        old, new = getattr(before, name).view(6, -1), getattr(after, name).view(6, -1)
        columns = torch.ones(6, 1, dtype=torch.bool) if where is None else where.repeat_interleave(old.shape[1] // 3, 1)
        assert torch.equal(new[~columns], old[~columns])
        assert not torch.equal(new, old)
        for column in range(old.shape[1]):
            for first in range(0, 6, size):
                rows = torch.arange(first, first + size)[columns[first : first + size, column]]
                assert new[rows, column].sort().values.tolist() == old[rows, column].sort().values.tolist()


def test_what_is_not_judged_stays_unjudged() -> None:
    bare = replace(rollouts(), real_logits=None, token_logits=None, continuation_logits=None)
    after = with_shuffled_verdicts(bare, None, rng())
    assert after.real_logits is after.token_logits is after.continuation_logits is None


def advantages(is_shuffled: bool, seed: int) -> Tensor:
    batch = replace(rollouts(), token_logits=None, continuation_logits=None)
    settings = replace(recipe(reward=Logit(), baseline=GroupMean(), group=3), shuffles_verdicts=is_shuffled)
    task = build_task(ToyTask())
    return learnable(batch, settings, Memory(), task, rng(seed)).experience.weights[:, 0]


def test_advantages_of_a_group_are_the_run_s_and_tell_nothing() -> None:
    # Logits 0 1 2 and 3 4 5: advantages -1, 0 and 1 in each group.
    assert advantages(False, 0).tolist() == [-1.0, 0.0, 1.0, -1.0, 0.0, 1.0]
    shuffled = torch.stack([advantages(True, seed) for seed in range(600)])
    for group in shuffled.split(3, dim=1):
        assert torch.equal(group.sort(1).values, torch.tensor([-1.0, 0.0, 1.0]).expand(600, 3))
    # A mean of 600 numbers of variance 2/3 has a standard error of 0.033.
    assert float(shuffled.mean(0).abs().max()) < 0.15
