"""Drawing through the Gymnasium environment gives the bits of the batched sampler, and is really done there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.discriminators import (
    BidirectionalLSTM,
    CausalLSTM,
    CnnHighway,
    DiscriminatorSettings,
    LanguageModel,
    PairCnn,
    PairLSTM,
    Transformer,
    build_discriminator,
)
from rlgan.envs import TokenVectorEnv
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import pad_after_end
from rlgan.generators import (
    LSTM,
    GeneratorSettings,
    PairManagerWorker,
    Seq2SeqLSTM,
    Seq2SeqRelationalMemory,
    Seq2SeqTransformer,
    TransformerDecoder,
    build_generator,
)
from rlgan.policy.credit import MonteCarlo, Prefix, Terminal
from rlgan.policy.metric_rewards import BesideTargets, ReferenceBleu
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.sampling import environment
from rlgan.sampling.environment import WRITERS
from rlgan.sampling.records import Rollouts
from tests.support.steppers import collect

FIXED = SequenceSpace(20, 7)
ENDING = SequenceSpace(6, 7, end_id=3)
GIVEN = SequenceSpace(9, 4, end_id=0)
GIVEN_FIXED, GIVEN_ENDING = (dataclasses.replace(space, condition=GIVEN) for space in (FIXED, ENDING))
# Two chunks and a rest of each batch, and sequences that end at every place.
SHARD = Shard(num_sequences=37, seed=7, generator_version=1, rollout_version=1, discriminator_version=1)
PLAN = RolloutPlan(space=FIXED, credit=Terminal(), chunk_rows=16)

PLAIN_WORLDS = [FIXED, ENDING]
GENERATORS: list[GeneratorSettings] = [LSTM(embedding=8, hidden=8), TransformerDecoder(width=16, heads=2)]
OF_PAIRS: list[GeneratorSettings] = [
    Seq2SeqLSTM(embedding=4, hidden=6),
    Seq2SeqTransformer(width=16, heads=2),
    Seq2SeqRelationalMemory(embedding=4, heads=2, head_size=3),
    PairManagerWorker(embedding=4, hidden=6, feature_embedding=4, feature_filters=(3,), feature_hidden=6),
]
JUDGES: list[DiscriminatorSettings] = [
    CnnHighway(embedding=4, windows=(1, 2, 3), filters=(4, 4, 4)),
    BidirectionalLSTM(embedding=8, hidden=8),
    Transformer(),
    CausalLSTM(embedding=8, hidden=8),
    LanguageModel(embedding=8, hidden=8),
]


def both(
    space: SequenceSpace,
    generator: GeneratorSettings,
    judge: DiscriminatorSettings | None,
    shard: Shard = SHARD,
    **changes: Any,
) -> tuple[Rollouts, Rollouts]:
    """One shard by the batched sampler, and step by step."""
    torch.manual_seed(3)
    policy = build_generator(generator, space).eval().stepper()
    reference = build_generator(generator, space).eval()
    scorer = None if judge is None else build_discriminator(judge, space).eval().scorer()
    plan = dataclasses.replace(PLAN, space=space, **changes)
    searches = isinstance(plan.credit, MonteCarlo)
    found = []
    for name in ("batched", "environment"):
        one = dataclasses.replace(plan, writer=WRITERS[name])
        found.append(collect(one, shard, policy, policy if searches else None, scorer, reference))
    return found[0], found[1]


def require_same(batched: Rollouts, stepped: Rollouts) -> None:
    for field in dataclasses.fields(Rollouts):
        one, other = getattr(batched, field.name), getattr(stepped, field.name)
        if isinstance(one, Tensor):
            assert one.dtype == other.dtype and torch.equal(one, other), field.name
        else:
            assert one == other, field.name


@pytest.mark.parametrize("judge", JUDGES, ids=lambda settings: settings.kind)
@pytest.mark.parametrize("generator", GENERATORS, ids=lambda settings: settings.kind)
@pytest.mark.parametrize("space", PLAIN_WORLDS, ids=["fixed length", "ending early"])
def test_sequences_and_judgements_are_the_same_bits(
    space: SequenceSpace, generator: GeneratorSettings, judge: DiscriminatorSettings
) -> None:
    batched, stepped = both(space, generator, judge)
    require_same(batched, stepped)
    lengths = set(stepped.mask.sum(1).tolist())
    assert len(lengths) == 1 if space.end_id is None else len(lengths) > 3


@pytest.mark.parametrize("prefix_length", [0, 2])
@pytest.mark.parametrize("generator", GENERATORS, ids=lambda settings: settings.kind)
@pytest.mark.parametrize("space", PLAIN_WORLDS, ids=["fixed length", "ending early"])
def test_monte_carlo_search_is_the_same_bits(
    space: SequenceSpace, generator: GeneratorSettings, prefix_length: int
) -> None:
    prefixes = pad_after_end(space, random_sequences(space, 37, seed=1))[:, :prefix_length] if prefix_length else None
    shard = dataclasses.replace(SHARD, prefixes=prefixes)
    batched, stepped = both(space, generator, JUDGES[0], shard, credit=MonteCarlo(num_rollouts=3))
    require_same(batched, stepped)
    assert stepped.continuation_logits is not None and bool((stepped.continuation_logits != 0).any())
    if prefixes is not None:
        assert torch.equal(stepped.tokens[:, :prefix_length], prefixes)


@pytest.mark.parametrize("generator", OF_PAIRS, ids=lambda settings: settings.kind)
@pytest.mark.parametrize("judge", [PairCnn(), PairLSTM(embedding=4, hidden=4)], ids=lambda settings: settings.kind)
@pytest.mark.parametrize("space", [GIVEN_FIXED, GIVEN_ENDING], ids=["fixed length", "ending early"])
def test_sequences_that_are_given_something_are_the_same_bits(
    space: SequenceSpace, judge: DiscriminatorSettings, generator: GeneratorSettings
) -> None:
    conditions = random_sequences(GIVEN, 37, seed=2)
    shard = dataclasses.replace(SHARD, conditions=conditions)
    batched, stepped = both(space, generator, judge, shard, credit=MonteCarlo(num_rollouts=2))
    require_same(batched, stepped)
    assert torch.equal(stepped.conditions, conditions)


def test_scores_beside_targets_are_the_same_bits() -> None:
    space = GIVEN_ENDING
    shard = dataclasses.replace(
        SHARD,
        conditions=random_sequences(GIVEN, 37, seed=2),
        targets=random_sequences(space, 37, seed=3),
        is_rewarded=True,
    )
    metric = {"credit": MonteCarlo(num_rollouts=2), "score": BesideTargets(ReferenceBleu(order=2), space)}
    batched, stepped = both(space, OF_PAIRS[0], None, shard, **metric)
    require_same(batched, stepped)
    assert stepped.scores is not None and len(set(stepped.scores.tolist())) > 3
    require_same(*both(space, OF_PAIRS[0], PairCnn(), shard, **metric))


def test_prefixes_judged_as_they_stand_are_the_same_bits() -> None:
    batched, stepped = both(ENDING, GENERATORS[0], JUDGES[0], credit=Prefix())
    require_same(batched, stepped)
    assert stepped.token_logits is not None


def test_fakes_of_which_beams_find_some_are_the_same_bits() -> None:
    is_searched = torch.arange(37) % 3 == 0
    shard = dataclasses.replace(
        SHARD, conditions=random_sequences(GIVEN, 37, seed=2), is_searched=is_searched, beam=2,
        rollout_version=None, discriminator_version=None,
    )  # fmt: skip
    require_same(*both(GIVEN_ENDING, OF_PAIRS[0], None, shard))


# ------------------------------------------------------------------------------------ it goes through the environment


class Doubles(TokenVectorEnv):
    """Pays twice as much."""

    def step(self, actions: Any) -> Any:
        observation, rewards, *rest = super().step(actions)
        return observation, 2 * rewards, *rest


class NeverWritesFour(TokenVectorEnv):
    """Writes 5 where the action is 4."""

    def step(self, actions: Any) -> Any:
        actions[actions == 4] = 5
        return super().step(actions)


class EndsAtOne(TokenVectorEnv):
    """Says of the token 1, too, that a sequence ends behind it."""

    def step(self, actions: Any) -> Any:
        observation, *rest, infos = super().step(actions)
        begun = observation == 1
        infos["action_mask"][begun.any(1), : self.space.pad_id] = 0
        infos["action_mask"][begun.any(1), self.space.pad_id + 1 :] = 0
        return observation, *rest, infos


def test_judgements_are_rewards_of_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    batched, _ = both(ENDING, GENERATORS[0], JUDGES[0], credit=MonteCarlo(num_rollouts=2))
    monkeypatch.setattr(environment, "TokenVectorEnv", Doubles)
    _, stepped = both(ENDING, GENERATORS[0], JUDGES[0], credit=MonteCarlo(num_rollouts=2))
    assert torch.equal(stepped.real_logits, 2 * batched.real_logits)
    assert torch.equal(stepped.continuation_logits, 2 * batched.continuation_logits)


def test_tokens_are_what_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    batched, _ = both(ENDING, GENERATORS[0], None)
    monkeypatch.setattr(environment, "TokenVectorEnv", NeverWritesFour)
    _, stepped = both(ENDING, GENERATORS[0], None)
    assert bool((batched.tokens == 4).any()) and not bool((stepped.tokens == 4).any())


def test_the_end_is_read_off_the_action_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "TokenVectorEnv", EndsAtOne)
    _, stepped = both(ENDING, GENERATORS[0], None)
    behind = (stepped.tokens == 1).cumsum(1) - (stepped.tokens == 1).long() > 0
    # Nobody draws any more; the actions behind it are padding.
    assert bool(behind.any()) and bool((stepped.tokens[behind] == ENDING.pad_id).all())
