"""Equal rewards teach nothing: over all baselines, normalisations, credits, rewards, groups and masks, where they meet.

Where everything that is compared is worth the same, advantages are exactly 0, and so are the weights that the learner
gets. Baselines that are no mean of what is compared take off something else by definition; what they leave stands in
`test_what_is_left_by_definition`.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.policy.advantage_scaling import (
    Clip,
    GroupDeviation,
    NormalisationSettings,
    NoScaling,
    RankRescaled,
    RunningScale,
    Whiten,
)
from rlgan.policy.baselines import (
    BaselineSettings,
    BaselineState,
    BatchMean,
    ConstantBaseline,
    CriticBaseline,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    LogPartition,
    NoBaseline,
    PerStepMean,
)
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import CreditSettings, LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.experience import Learnable, Memory, learnable
from rlgan.policy.logit_maps import Logit, LogProbability, NegLogComplement, Probability, Ratio, SignedProbability
from rlgan.policy.metric_rewards import Mixed, ReferenceBleu, ReferenceRouge
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.policy.rewards import RewardSettings
from rlgan.policy.value_function import explained_variance
from rlgan.sampling.records import Rollouts
from tests.support.recipes import recipe

pytestmark = pytest.mark.property

OF_GROUPS: list[BaselineSettings] = [LeaveOneOut(), GroupMean()]
"""Compare the sequences of a group at one position."""
MEANS: list[BaselineSettings] = [
    BatchMean(),
    PerStepMean(),
    *OF_GROUPS,
    ImportanceWeights(),
    ImportanceWeights(normalise="all"),
    ImportanceWeights(least_ess=0.25),
]
"""Means of what is compared."""
OTHERS: list[BaselineSettings] = [
    NoBaseline(),
    ConstantBaseline(value=0.3),
    ExponentialMean(decay=0.9),
    LogPartition(decay=0.5),
    CriticBaseline(),
    ImportanceWeights(ramp_to=0.0),
]
"""Take off something else."""
NORMALISATIONS: list[NormalisationSettings] = [
    NoScaling(),
    Clip(bound=1.0),
    Whiten(),
    RankRescaled(),
    GroupDeviation(),
    GroupDeviation(epsilon=1e-30),
    RunningScale(decay=0.9),
    RunningScale(decay=0.0),
]
MAPS: list[RewardSettings] = [
    Probability(),
    Logit(),
    LogProbability(),
    NegLogComplement(),
    SignedProbability(),
    Ratio(),
]
REWARDS: list[RewardSettings] = [
    *MAPS,
    ConstantReward(),
    ReferenceBleu(),
    ReferenceRouge(),
    Mixed(),
    Mixed(map=Logit()),
]
SAME_FOR_ALL: list[CreditSettings] = [Terminal(), MonteCarlo(num_rollouts=3), Prefix(), RewardToGo(gamma=0.0)]
"""A constant reward is the same value at every token."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Lengths, groups and what is common to all sequences."""

    lengths: list[int]
    group: int | None
    prefix_length: int
    constant: float
    num_continuations: int


@st.composite
def batches(draw: st.DrawFn, same_lengths: bool = False) -> Batch:
    group = draw(st.integers(1, 9))
    number = group * draw(st.integers(1, 4))
    longest = draw(st.integers(1, 7))
    lengths = [longest] * number
    if not same_lengths:
        lengths = [draw(st.integers(1, longest)) for _ in range(number)]
    return Batch(
        lengths=lengths,
        group=draw(st.sampled_from([group, None])),
        prefix_length=draw(st.integers(0, longest - 1)),
        constant=draw(st.sampled_from([123.456, 0.1, -7.7, 1 / 3, 1e-20, 0.0]) | st.floats(-1e4, 1e4, width=32)),
        num_continuations=draw(st.integers(1, 7)),
    )


def rollouts_of(batch: Batch, logits: Tensor | float, of_tokens: bool) -> Rollouts:
    """All logits and scores as given: a number, or one a sequence."""
    lengths = torch.tensor(batch.lengths)
    number, longest = len(lengths), int(lengths.max())
    mask = torch.arange(longest) < lengths.unsqueeze(1)
    real = torch.as_tensor(logits, dtype=torch.float32).expand(number).contiguous()
    shape = (number, longest, batch.num_continuations)
    continued = real.view(-1, 1, 1).expand(shape).contiguous()
    return Rollouts(
        tokens=torch.where(mask, 1, 0),
        logprobs=-torch.rand(number, longest, generator=torch.Generator().manual_seed(0)),
        mask=mask,
        real_logits=real,
        token_logits=real.unsqueeze(1).expand(number, longest).contiguous() if of_tokens else None,
        continuation_logits=continued,
        reference_logprobs=None,
        generator_version=1,
        discriminator_version=1,
        prefix_length=batch.prefix_length,
        num_drawn=0,
        scores=real,
        continuation_scores=continued,
    )


SPACE = SequenceSpace(3, 8, end_id=0)
ONE_LINE = torch.tensor([[1, 2, 0, 0, 0, 0, 0, 0]])
TASK = Task("toy", SPACE, ONE_LINE, ONE_LINE, ONE_LINE, ("end", "a", "b"))


def learned(
    batch: Batch,
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    normalisation: NormalisationSettings,
    logits: Tensor | None = None,
    objective: Reinforce | PPO | None = None,
    state_values: Tensor | None = None,
    memory: Memory | None = None,
) -> Learnable:
    of_tokens = isinstance(credit, Prefix | RewardToGo)
    if isinstance(reward, ConstantReward):
        reward = ConstantReward(value=batch.constant)
    # Of exp(u) alone the constant must stay within what floats hold.
    constant = max(-40.0, min(40.0, batch.constant)) if isinstance(reward, Ratio) else batch.constant
    rollouts = rollouts_of(batch, constant if logits is None else logits, of_tokens)
    chosen = recipe(
        reward=reward,
        credit=credit,
        baseline=baseline,
        normalisation=normalisation,
        objective=objective or Reinforce(loss_normaliser="token"),
    )
    chosen = dataclasses.replace(chosen, group=batch.group)
    if state_values is None and isinstance(baseline, CriticBaseline):
        state_values = torch.rand(rollouts.mask.shape, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(0)
    return learnable(rollouts, chosen, memory or Memory(), TASK, rng, state_values)


def goes_together(batch: Batch, reward: RewardSettings, credit: CreditSettings, baseline: BaselineSettings) -> bool:
    """Whether the functions take it: rewards of what is finished are searched, those of D are paid by the token."""
    size = batch.group or len(batch.lengths)
    if isinstance(baseline, LeaveOneOut) and size < 2:
        return False
    if isinstance(credit, MonteCarlo) and isinstance(reward, ConstantReward):
        return False
    return not isinstance(credit, Prefix | RewardToGo) or type(reward) in {type(one) for one in MAPS}


def weights_of(found: Learnable, prefix_length: int) -> Tensor:
    """What the learner multiplies log-probabilities by, of the tokens that were drawn."""
    return found.experience.weights[:, prefix_length:]


@settings(max_examples=400, deadline=None)
@given(
    batch=batches(),
    reward=st.sampled_from(REWARDS),
    credit=st.sampled_from(SAME_FOR_ALL),
    baseline=st.sampled_from(MEANS + OTHERS),
    normalisation=st.sampled_from(NORMALISATIONS),
    updates=st.integers(0, 3),
)
@example(  # the second of the group ends within what it was given
    batch=Batch([5, 1, 4], 3, 1, -50.0, 0),
    reward=Ratio(),
    credit=Terminal(),
    baseline=ImportanceWeights(ramp_to=0.0),
    normalisation=RankRescaled(),
    updates=0,
)
def test_equal_rewards_of_a_batch_teach_nothing(
    batch: Batch,
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    normalisation: NormalisationSettings,
    updates: int,
) -> None:
    if not goes_together(batch, reward, credit, baseline):
        return
    # A critic's values differ between states, so that what is left is not the same for all.
    compared = isinstance(normalisation, Whiten | RankRescaled)
    centres = baseline in MEANS or (compared and not isinstance(baseline, CriticBaseline))
    if not centres and not isinstance(normalisation, GroupDeviation):
        return
    memory = Memory(BaselineState(0.7, updates), moving_scale=0.2 * updates)
    found = learned(batch, reward, credit, baseline, normalisation, memory=memory)
    assert bool((weights_of(found, batch.prefix_length) == 0.0).all())


def test_the_product_of_all_axes() -> None:
    """Every combination once, at the numbers of the first report."""
    batch = Batch([5, 3, 5, 1, 4, 4, 2, 5, 5], 9, 0, 123.456, 3)
    count = 0
    for reward in REWARDS:
        for credit in SAME_FOR_ALL:
            for baseline in MEANS:
                for normalisation in NORMALISATIONS:
                    for objective in (Reinforce(loss_normaliser="token"), PPO()):
                        if goes_together(batch, reward, credit, baseline):
                            found = learned(batch, reward, credit, baseline, normalisation, objective=objective)
                            weights = found.experience.weights
                            if found.experience.clipped_weights is not None:
                                weights = weights + found.experience.clipped_weights
                            described = (reward, credit, baseline, normalisation)
                            assert bool((weights == 0.0).all()), described
                            count += 1
    # 7 baselines, 8 normalisations, 2 objectives; 11 rewards with terminal credit, 10 searched, 6 with either of two.
    assert count == 7 * 8 * 2 * (11 + 10 + 2 * 6)


@settings(max_examples=200, deadline=None)
@given(
    batch=batches(),
    reward=st.sampled_from(MAPS),
    credit=st.sampled_from(SAME_FOR_ALL),
    baseline=st.sampled_from(OF_GROUPS),
    normalisation=st.sampled_from(NORMALISATIONS),
    seed=st.integers(0, 1000),
)
def test_equal_rewards_of_each_group_teach_nothing(
    batch: Batch,
    reward: RewardSettings,
    credit: CreditSettings,
    baseline: BaselineSettings,
    normalisation: NormalisationSettings,
    seed: int,
) -> None:
    if not goes_together(batch, reward, credit, baseline):
        return
    size = batch.group or len(batch.lengths)
    own = torch.randn(len(batch.lengths) // size, generator=torch.Generator().manual_seed(seed)) * 5.0
    found = learned(batch, reward, credit, baseline, normalisation, logits=own.repeat_interleave(size))
    assert bool((weights_of(found, batch.prefix_length) == 0.0).all())


@settings(max_examples=200, deadline=None)
@given(
    batch=batches(same_lengths=True),
    gamma=st.floats(0.0, 1.0),
    decay=st.floats(0.0, 1.0),
    of_critic=st.booleans(),
    baseline=st.sampled_from([PerStepMean(), *OF_GROUPS]),
    normalisation=st.sampled_from(NORMALISATIONS),
)
def test_discounted_rewards_teach_nothing_where_sequences_are_equally_long(
    batch: Batch,
    gamma: float,
    decay: float,
    of_critic: bool,
    baseline: BaselineSettings,
    normalisation: NormalisationSettings,
) -> None:
    # Later tokens have less ahead of them, all sequences alike; a longer sequence has more, and that is a difference.
    credit: CreditSettings = LambdaReturn(gamma=gamma, decay=decay) if of_critic else RewardToGo(gamma=gamma)
    if not goes_together(batch, Logit(), credit, baseline):
        return
    longest = batch.lengths[0]
    values = torch.linspace(-1.0, 1.0, longest).expand(len(batch.lengths), longest).contiguous()
    found = learned(batch, Logit(), credit, baseline, normalisation, state_values=values)
    assert bool((weights_of(found, batch.prefix_length) == 0.0).all())


@settings(max_examples=200, deadline=None)
@given(batch=batches(), baseline=st.sampled_from(MEANS), seed=st.integers(0, 1000))
def test_what_differs_still_teaches(batch: Batch, baseline: BaselineSettings, seed: int) -> None:
    if (batch.group or 2) < 2 or len(batch.lengths) < 2 or batch.prefix_length:
        return
    logits = torch.randn(len(batch.lengths), generator=torch.Generator().manual_seed(seed))
    found = learned(batch, Probability(), Terminal(), baseline, NoScaling(), logits=logits)
    assert bool((found.experience.weights[:, 0] != 0.0).any())


def test_what_is_left_by_definition() -> None:
    """Baselines that are no mean of what is compared leave a constant: SeqGAN's constant reward is self-imitation."""
    batch = Batch([2, 2, 2], None, 0, 0.75, 1)

    def left(baseline: BaselineSettings, normalisation: NormalisationSettings | None = None) -> list[float]:
        found = learned(batch, ConstantReward(), Terminal(), baseline, normalisation or NoScaling())
        return (found.experience.weights.unique() * 6).tolist()  # 6 tokens, over which the loss is a mean

    assert left(NoBaseline()) == pytest.approx([0.75])
    assert left(ConstantBaseline(value=0.5)) == pytest.approx([0.25])
    assert left(ExponentialMean(decay=0.9)) == pytest.approx([0.75 - 0.075])
    assert left(LogPartition(decay=0.0)) == pytest.approx([-1.0])
    assert left(ImportanceWeights(ramp_to=0.0)) == pytest.approx([1.0])
    # No comparison, so a scale alone does not take it away; a mean does, and so does a comparison within the group.
    assert left(NoBaseline(), RunningScale()) == pytest.approx([1.0])
    assert left(NoBaseline(), Clip(bound=0.5)) == pytest.approx([0.5])
    for normalisation in (Whiten(), GroupDeviation(), RankRescaled()):
        assert left(NoBaseline(), normalisation) == [0.0]


def test_a_critic_explains_nothing_of_equal_targets() -> None:
    assert explained_variance(torch.rand(7), torch.full((7,), 123.456)) == 0.0
