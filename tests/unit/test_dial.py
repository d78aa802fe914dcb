"""DIAL's reward of a turn: by hand, what it adds up to, where turns end, a small run on dialogues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import DataError, ShapeError
from rlgan.discriminators import CausalLSTM
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import TextTask, ToyTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.baselines import GroupMean
from rlgan.policy.credit import RewardToGo, rewards_to_go
from rlgan.policy.discriminator_rewards import TurnIncrement
from rlgan.policy.token_rewards import ends_of_turns, turn_increments
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import finish, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

SPACE = SequenceSpace(vocab_size=6, max_length=6, end_id=0, separator_id=5)
TOKENS = torch.tensor([[1, 5, 2, 3, 5, 0], [1, 2, 0, 0, 0, 0], [5, 5, 1, 2, 3, 4], [1, 5, 0, 0, 0, 0]])


def test_a_turn_ends_at_its_mark_and_the_last_with_the_sequence() -> None:
    assert ends_of_turns(SPACE, TOKENS).int().tolist() == [
        [0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0],
    ]  # fmt: skip
    one = replace(SPACE, separator_id=None)
    assert ends_of_turns(one, TOKENS).sum(1).tolist() == [1, 1, 1, 1]


def test_the_reward_of_a_turn_by_hand() -> None:
    # From p = .5 to .8: log 4 - log 1 = 1.386294; from there back to .5 as much is lost.
    logits = torch.logit(torch.tensor([[0.9, 0.5, 0.1, 0.8, 0.5]]))
    is_end = torch.tensor([[0, 1, 0, 1, 1]]).bool()
    assert turn_increments(logits, is_end).tolist() == [pytest.approx([0, 0, 0, 1.386294, -1.386294], abs=1e-6)]


def test_rewards_of_a_dialogue_add_up_to_its_logit() -> None:
    logits = torch.randn(TOKENS.shape, generator=torch.Generator().manual_seed(0))
    mask, ends = sequence_mask(SPACE, TOKENS), ends_of_turns(SPACE, TOKENS)
    found = turn_increments(logits, ends)
    last = logits.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
    torch.testing.assert_close(found.sum(1), last)
    assert not bool(found[~ends].any())
    # To go from a token: all turns from its own on, so the logit of the whole less that before its turn.
    values = rewards_to_go(found, mask, 1.0)
    assert float(values[0, 2]) == pytest.approx(float(logits[0, 5] - logits[0, 1]), abs=1e-6)
    # Logits within turns, and after the end, do not matter.
    moved = torch.where(ends, logits, logits + 9.0)
    assert torch.equal(turn_increments(moved, ends), found)


def test_the_reward_reads_turns_of_the_task_and_logits_of_prefixes() -> None:
    task = build_task(ToyTask())
    judged = rollouts()
    found = TurnIncrement().of_tokens(judged, task)
    torch.testing.assert_close(found, turn_increments(judged.token_logits, ends_of_turns(task.space, judged.tokens)))
    with refused(ShapeError, "increment_needs_logits", {"reward": "turn_increment"}):
        TurnIncrement().of_tokens(replace(judged, token_logits=None), task)


@pytest.fixture
def dialogues(tmp_path: Path) -> TextTask:
    names = ["ann", "bob", "eve", "joe", "kim", "lea", "max", "ned"]
    lines = [f"hi {name} | fine {other} | bye" for name in names for other in names]
    (tmp_path / "talk.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return TextTask.model_validate({"data": str(tmp_path / "talk.txt"), "between_turns": "|"})


def test_a_small_run_is_rewarded_turn_by_turn(dialogues: TextTask) -> None:
    task = build_task(dialogues)
    names = task.token_names
    assert task.space.separator_id is not None and names[task.space.separator_id] == "|"
    assert ends_of_turns(task.space, task.train).sum(1).tolist() == [3] * len(task.train)
    config = tiny_config(
        {"g_group": 4}, task=dialogues, discriminator=CausalLSTM(embedding=4, hidden=5), reward=TurnIncrement(),
        credit=RewardToGo(), baseline=GroupMean(),
    )  # fmt: skip
    with build_parts(config, task) as parts:
        batch = finish(Trainer(config, task, parts))[-1].rollouts[0]
    found = TurnIncrement().of_tokens(batch, task)
    torch.testing.assert_close(
        found.sum(1), batch.token_logits.gather(1, batch.mask.sum(1, keepdim=True) - 1).squeeze(1), rtol=1e-4, atol=1e-5
    )


def test_a_mark_that_no_line_has_is_refused(dialogues: TextTask) -> None:
    for mark in ("__eou__", "hi ann"):
        with refused(DataError, "no_such_turn_mark", {"between_turns": mark}):
            build_task(dialogues.model_copy(update={"between_turns": mark}))


def test_a_judge_of_sequences_knows_no_turns() -> None:
    with refused(ValidationError, "increment_of_sequences", {"reward": "turn_increment"}):
        tiny_config(reward=TurnIncrement(), credit=RewardToGo(), baseline=GroupMean())
