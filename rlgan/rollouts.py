"""One shard of rollouts: sample, score, continue every prefix, score those too.

A shard is a pure function of the weights, the seed and its indices, whoever computes it. That is the whole design of
scaling out and of fault tolerance: any number of workers gives the same numbers, and a lost shard is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

from .credit import CreditSettings, MonteCarlo
from .devices import CPU
from .discriminators import Scorer
from .generators import Stepper
from .records import Rollouts
from .rewards import DiscriminatorReward, RewardSettings, discriminator_reward
from .sampling import continue_prefixes, sample
from .seeding import generator_on


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What every shard of a run has in common.

    Attributes:
        space: the task's sequences.
        reward: what continuations are paid.
        credit: whether prefixes are continued.
        chunk_rows: most rows advanced together; part of the shard's definition, since rounding depends on it.
    """

    space: SequenceSpace
    reward: RewardSettings
    credit: CreditSettings
    chunk_rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of which batch.

    Attributes:
        num_sequences: sequences of this shard.
        seed: seeds every draw of the shard.
        generator_version: of the policy that samples.
        rollout_version: of the policy that continues prefixes; None continues none.
        discriminator_version: of the discriminator that scores; None leaves the sequences unscored.
    """

    num_sequences: int
    seed: int
    generator_version: int
    rollout_version: int | None
    discriminator_version: int | None


def collect(
    plan: RolloutPlan,
    shard: Shard,
    policy: Stepper,
    rollout_policy: Stepper | None,
    scorer: Scorer | None,
    device: torch.device = CPU,
) -> Rollouts:
    """Compute one shard.

    Args:
        plan: common to the run.
        shard: which part.
        policy: samples the sequences.
        rollout_policy: continues prefixes; None continues none.
        scorer: frozen discriminator; None leaves the sequences unscored.
        device: of the three; it draws the random numbers too.

    Returns:
        The shard's rollouts, on the CPU.
    """
    rng = generator_on(device, shard.seed)
    samples = sample(policy, plan.space, shard.num_sequences, rng, plan.chunk_rows)
    continuation_rewards, num_drawn = None, int(samples.mask.sum())
    if rollout_policy is not None:
        assert scorer is not None
        search = monte_carlo_rewards(plan, samples.tokens, rollout_policy, scorer, rng)
        continuation_rewards = search.rewards
        num_drawn += search.num_drawn
    return Rollouts(
        tokens=samples.tokens.to(CPU),
        logprobs=samples.logprobs.to(CPU),
        mask=samples.mask.to(CPU),
        real_logits=None if scorer is None else scorer(samples.tokens, samples.mask).to(CPU),
        continuation_rewards=None if continuation_rewards is None else continuation_rewards.to(CPU),
        generator_version=shard.generator_version,
        discriminator_version=shard.discriminator_version,
        num_drawn=num_drawn,
    )


@dataclass(frozen=True, slots=True)
class Search:
    """What Monte Carlo search found.

    Attributes:
        rewards: (B, T, N) float32; 0 at and after each sequence's last real token.
        num_drawn: tokens that were drawn for it.
    """

    rewards: Tensor
    num_drawn: int


def monte_carlo_rewards(
    plan: RolloutPlan, tokens: Tensor, rollout_policy: Stepper, scorer: Scorer, rng: torch.Generator
) -> Search:
    """Rewards of N continuations of every proper prefix.

    Args:
        plan: space, reward map, number of continuations, chunk size.
        tokens: (B, T) int64 finished sequences.
        rollout_policy: continues the prefixes.
        scorer: frozen discriminator.
        rng: source of all randomness.

    Returns:
        Rewards and what they cost.
    """
    assert isinstance(plan.credit, MonteCarlo) and isinstance(plan.reward, DiscriminatorReward)
    num_rollouts = plan.credit.num_rollouts
    rewards = torch.zeros(*tokens.shape, num_rollouts, device=tokens.device)
    # Finished rows are cheap to keep and are scored many at a time, which is how a scorer is fast.
    finished = list(continue_prefixes(rollout_policy, plan.space, tokens, num_rollouts, rng, plan.chunk_rows))
    if not finished:
        return Search(rewards, num_drawn=0)
    rows = torch.cat([part.tokens for part in finished])
    sequence, position, rollout = (
        torch.cat([getattr(part, name) for part in finished]) for name in ("sequence", "position", "rollout")
    )
    mask = sequence_mask(plan.space, rows)
    rewards[sequence, position, rollout] = discriminator_reward(plan.reward, scorer(rows, mask))
    return Search(rewards, num_drawn=int(mask.sum()) - int((position + 1).sum()))
