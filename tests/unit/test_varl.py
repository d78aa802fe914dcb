"""A verifiable term beside the discriminator, as VARL has it: each normalised in its group before the sum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError

from rlgan.config.config import Config
from rlgan.discriminators import PairLSTM
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.baselines import GroupMean, NoBaseline
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.logit_maps import Logit
from rlgan.policy.metric_rewards import Mixed, ReferenceMatch
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import finish, of_pairs
from tests.unit.test_shuffled_verdicts import rollouts

TASK = build_task(ToyTask())
REWARD = Mixed(map=Logit(), metric=ReferenceMatch(), weight=0.25, normalise_terms=True)


def test_terms_are_normalised_in_their_group_and_added_up_by_hand() -> None:
    # Logits 0, 10, 20 | 5, 5, 5 and right answers 1, 0, 0 | 0, 1, 0. Deviations of three, divided by 2: of 0, 10, 20
    # it is 10, of 1, 0, 0 it is .577350. Equal logits are worth nothing, however large.
    judged = replace(
        rollouts(),
        real_logits=torch.tensor([0.0, 10.0, 20.0, 5.0, 5.0, 5.0]),
        scores=torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    )
    found = REWARD.of_sequences(judged, TASK, torch.Generator(), 3)
    right, wrong = (2 / 3) / 0.577350, (-1 / 3) / 0.577350
    logits = torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    terms = torch.tensor([right, wrong, wrong, wrong, right, wrong])
    torch.testing.assert_close(found, 0.25 * logits + 0.75 * terms, rtol=2e-4, atol=1e-4)
    # The scale of logits no longer matters, nor does a constant of the prompt.
    larger = replace(judged, real_logits=100.0 * judged.real_logits + 7.0)
    torch.testing.assert_close(REWARD.of_sequences(larger, TASK, torch.Generator(), 3), found, rtol=1e-3, atol=1e-4)
    plain = replace_settings(normalise_terms=False)
    expected = 0.25 * judged.real_logits + 0.75 * judged.scores
    torch.testing.assert_close(plain.of_sequences(judged, TASK, torch.Generator(), 3), expected)


def replace_settings(**changes: Any) -> Mixed:
    return REWARD.model_copy(update=changes)


def small(reward: Mixed = REWARD, **changes: Any) -> Config:
    given = {
        "discriminator": PairLSTM(embedding=3, hidden=4, mlp_hidden=5),
        "credit": Terminal(),
        "baseline": GroupMean(),
    }
    return of_pairs({"g_group": 4}, reward=reward, **(given | changes))


def test_a_small_run_is_paid_for_right_answers_and_for_looking_real() -> None:
    config = small()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        units = finish(Trainer(config, task, parts))
    batch = units[-1].rollouts[0]
    assert batch.scores is not None and set(batch.scores.tolist()) <= {0.0, 1.0}
    # Each group's rewards add up to nothing.
    rewards = REWARD.of_sequences(batch, task, torch.Generator(), 4).view(-1, 4)
    torch.testing.assert_close(rewards.sum(1), torch.zeros(len(rewards)), rtol=0, atol=1e-4)


def test_groups_have_an_effect_where_terms_are_normalised_alone() -> None:
    small(baseline=NoBaseline())
    with refused(ValidationError, "group_without_comparison", match="reward='mixed'"):
        small(replace_settings(normalise_terms=False), baseline=NoBaseline())


def test_terms_are_of_finished_sequences() -> None:
    with refused(ValidationError, "terms_of_continuations", {"reward.normalise_terms": True}):
        small(credit=MonteCarlo(num_rollouts=2))
